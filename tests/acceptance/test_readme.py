"""The commands of the README, as they are written there but for addresses, ports and places."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.node_process import PATIENCE_S, SEARCH_PATH, free_port, http_call, until
from tests.acceptance.test_seed import HEALTH, PROFILE
from tests.docs.markdown import Block, blocks, read

REPOSITORY = Path(__file__).resolve().parents[2]
README = blocks(read("README.md"))
ADDRESSES = {"macbook": "192.168.1.20", "server-219": "192.168.1.219"}

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="there is no curl or no openssl here"
)


def under(heading: str, language: str) -> list[str]:
    """Return the code that stands under a heading of the README."""
    found = [block.text for block in README if (block.heading, block.language) == (heading, language)]
    assert found, f"the README has no {language} under {heading}"
    return found


@dataclass
class Machine:
    """A machine of the README: a home, an address, a port."""

    name: str
    home: Path
    ports: Mapping[str, int]

    def shell(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the README here."""
        return subprocess.run(
            ["bash", "-euc", self.here(script)],
            env=self.environ(**environ),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def here(self, text: str) -> str:
        return text.replace("18760", str(self.ports[self.name]))

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LANMESH_LISTEN": "127.0.0.1",
            "LANMESH_PORT": str(self.ports[self.name]),
            "LANMESH_OPERATOR_PORT": "0",
            **more,
        }

    def token(self) -> str:
        return (self.home / ".openclaw/.env").read_text().partition("=")[2].splitlines()[0]

    def configure(self, settings: str) -> None:
        for name, address in ADDRESSES.items():
            settings = settings.replace(f'"{address}"', f'"127.0.0.1"\nport = {self.ports[name]}\ntls = true')
        (self.home / ".openclaw/lanmesh/config.toml").write_text(settings)

    def answers(self) -> bool:
        try:
            return http_call(self.ports[self.name], "GET", "/lan/health").status == 200
        except ConnectionError:
            return False


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    """Two machines, set up by the README and running."""
    folder = tmp_path_factory.mktemp("machines")
    ports = {name: free_port() for name in ADDRESSES}
    machines = {name: Machine(name, folder / name, ports) for name in ADDRESSES}
    (tokens,) = under("Tokens", "sh")
    for machine in machines.values():
        machine.home.mkdir()
        assert machine.shell(tokens).returncode == 0
    own = {name: machine.token() for name, machine in machines.items()}
    for machine, line, settings in zip(
        machines.values(), under("Tokens", "ini"), under("Settings", "toml"), strict=True
    ):
        for name, token in own.items():
            line = line.replace(f"<the OPENCLAW_LAN_TOKEN of {name}>", token)  # noqa: PLW2901  # one for each
        with (machine.home / ".openclaw/.env").open("a") as file:
            file.write(line)
        machine.configure(settings)
    (run,) = under("Run", "sh")
    processes = []
    for machine in machines.values():
        command = shlex.split(run)
        with (machine.home / "log").open("wb") as log:
            processes.append(
                subprocess.Popen(command, env=machine.environ(), cwd=machine.home, stdout=log, stderr=log)
            )
    try:
        for machine in machines.values():
            until(machine.answers, (machine.home / "log").read_text)
        yield machines
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(PATIENCE_S)


def test_the_folders_and_the_token_file_are_the_owners_alone(machines: dict[str, Machine]) -> None:
    modes = {
        name: oct((machine.home / ".openclaw" / name).stat().st_mode & 0o777)
        for machine in machines.values()
        for name in ("", "lanmesh", ".env")
    }

    assert modes == {"": "0o700", "lanmesh": "0o700", ".env": "0o600"}


def test_the_laptop_delegates_to_the_server_and_prints_the_result(machines: dict[str, Machine]) -> None:
    (send,) = under("Send and delegate", "sh")[:1]

    done = machines["macbook"].shell(send)

    assert done.returncode == 0, done.stderr
    assert "macbook (My laptop)" in done.stdout
    assert done.stdout.endswith("\n3\ndelivered: server-219 has it\n")
    assert "delivery-delivered" in done.stderr
    assert "completed" in done.stderr


def test_the_server_reads_the_message(machines: dict[str, Machine]) -> None:
    machines["macbook"].shell('lanmesh send server-219 "the numbers look good"')

    (inbox,) = under("Send and delegate", "sh")[1:]
    done = machines["server-219"].shell(inbox)

    assert done.returncode == 0, done.stderr
    assert "the numbers look good" in done.stdout


def test_the_server_decides_what_may_run(machines: dict[str, Machine]) -> None:
    server, laptop = machines["server-219"], machines["macbook"]
    manual, queue = under("Decide what may run", "sh")[0].splitlines()
    assert server.shell(manual).returncode == 0

    asked = laptop.shell(
        "lanmesh delegate server-219 'four words in all' --json | grep -m 1 '\"id\"' | cut -d '\"' -f 4"
    )
    name = asked.stdout.strip()
    until(lambda: "approval" in laptop.shell(f"lanmesh task {name}").stdout, lambda: asked)
    waiting = server.shell(queue).stdout.splitlines()[1].split()[0]
    approved = server.shell(f"lanmesh approve {waiting}")
    until(lambda: "completed" in laptop.shell(f"lanmesh task {name}").stdout, lambda: approved)
    server.shell("lanmesh accept auto")

    assert approved.returncode == 0, approved.stderr
    assert laptop.shell(f"lanmesh task {name}").stdout.endswith("\n4\n")


def test_a_folder_goes_with_a_task_and_what_came_is_saved(machines: dict[str, Machine]) -> None:
    server, laptop = machines["server-219"], machines["macbook"]
    photo = laptop.home / "photos" / "cat.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"\xff\xd8 a cat")
    delegate, save = under("Files", "sh")[0].splitlines()

    done = laptop.shell(delegate)
    (name,) = [
        row.split()[0]
        for row in server.shell("lanmesh tasks").stdout.splitlines()
        if "Sort these photos" in row
    ]
    saved = server.shell(save.replace("ID", name))

    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert saved.returncode == 0, saved.stderr
    assert (server.home / "sorted" / "photos" / "cat.jpg").read_bytes() == photo.read_bytes()


def test_the_calls_by_curl_are_answered(machines: dict[str, Machine]) -> None:
    health, profile, task = [machines["server-219"].shell(script) for script in under("With curl", "sh")]

    assert '"status":"ok"' in health.stdout
    assert '"acceptMode"' in profile.stdout
    assert '"state":"submitted"' in task.stdout
    assert '"state":"completed"' in task.stdout


def test_the_python_program_prints_the_result(machines: dict[str, Machine]) -> None:
    program = REPOSITORY / "examples" / "delegate.py"

    done = machines["macbook"].shell(f"{sys.executable} {program} server-219 'five words make a task'")
    wrong = machines["macbook"].shell(f"{sys.executable} {program} nobody 'anything'")

    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    assert wrong.returncode != 0
    assert "PeerNotFound" in wrong.stderr


def test_the_program_without_the_package_prints_the_result(machines: dict[str, Machine]) -> None:
    server = machines["server-219"]
    program = shlex.quote(str(REPOSITORY / "examples" / "over_http.py"))
    call = f"{sys.executable} -I {program} https://127.0.0.1:18760 'one two'"

    done = server.shell(call, LAN_TOKEN=server.token())
    wrong = server.shell(call, LAN_TOKEN="wrong")

    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "the token opens nothing on this node" in wrong.stderr


@pytest.mark.timeout(300)
def test_the_installation_gives_a_command_that_answers(tmp_path: Path) -> None:
    (script,) = under("Install", "sh")

    # The home stays as it is for pip's own settings and cache; only what is installed goes elsewhere.
    done = subprocess.run(
        ["bash", "-euc", script.replace("~/", f"{tmp_path}/")],
        env={**os.environ, "PATH": SEARCH_PATH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    command = tmp_path / ".local/bin/lanmesh"

    assert done.returncode == 0, done.stderr
    said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.startswith("lanmesh ")


def test_every_shell_block_is_run_by_a_test() -> None:
    run_here = {
        "Install",
        "Tokens",
        "Run",
        "Send and delegate",
        "Decide what may run",
        "Files",
        "With curl",
    }
    run_elsewhere = {
        "Two commands",  # scripts/demo by test_demo.py, scripts/test by whoever reads this
        "Install the plugin",  # install.sh by test_install.py; the two links ask a person for consent
        "Uninstall",  # by test_install.py
        "Verify",  # by openclaw/test_surface.py on a gateway's port; they are those calls, see below
    }

    shells: list[Block] = [block for block in README if block.language == "sh"]

    assert {block.heading for block in shells} == run_here | run_elsewhere


def test_the_calls_to_verify_are_those_that_two_gateways_are_asked() -> None:
    calls = [" ".join(block.split()) for block in under("Verify", "sh")]

    assert calls == [" ".join(call.split()) for call in (HEALTH, PROFILE)]
