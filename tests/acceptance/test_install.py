"""install.sh on real homes, compared file by file."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.openclaw.gateway import free_ports

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys._base_executable).resolve().parent  # type: ignore[attr-defined]  # what made this venv

CLONED = ["install.sh", "scripts", "src", "plugin", "requirements", "pyproject.toml", "README.md", "LICENSE"]

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(480)]

CONFIG = """\
// Mine. Do not touch.
{
  gateway: {
    mode: 'local', bind: "loopback", port: PORT, // the usual one is taken
    auth: { mode: "token", token: "${MY_TOKEN}" },
    controlUi: { enabled: false },
  },
  update: { checkOnStart: false }, discovery: { mdns: { mode: "off" } },
  agents: { $include: "./agents.json5" },
  /* plugins */
  plugins: {
    allow: ["openclaw-lan-mesh-not", /* and */ 'memory-core'],
    entries: {
      "memory-core": { enabled: true }, // memory
    }
  },
}
"""


def registered_config(port: int, plugin: Path) -> str:
    """The same, as a careful person would have added the plugin."""
    text = CONFIG.replace("PORT", str(port)).replace(
        "'memory-core']", "'memory-core', \"openclaw-lan-mesh\"]"
    )
    lines = text.splitlines(keepends=True)
    assert lines[13:] == ['      "memory-core": { enabled: true }, // memory\n', "    }\n", "  },\n", "}\n"]
    entry = ['      "openclaw-lan-mesh": {\n', '        "enabled": true\n', "      },\n"]
    load = ['    "load": {\n', '      "paths": [\n', f'        "{plugin}"\n', "      ]\n", "    }\n"]
    return "".join([*lines[:14], *entry, "    },\n", *load, *lines[15:]])


INCLUDED = '{ defaults: { skipBootstrap: true, heartbeat: { every: "0m" } } } // agents\n'
DOTENV = b"# mine\r\nMY_TOKEN='owner of it'\r\nexport OTHER=\"a b\"\r\n\r\nLAST=without newline"

File = tuple[str, bytes | str]
"""Its mode, and what it holds or points to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A home with an OpenClaw, and a clone of this repository that is reached by a link."""

    home: Path
    clone: Path
    linked: Path
    path: str
    spare: Path
    """The environment that the first run made, for the runs that are not about making it."""

    @property
    def state(self) -> Path:
        return self.home / ".openclaw"

    @property
    def config(self) -> Path:
        return self.state / "openclaw.json"

    @property
    def dotenv(self) -> Path:
        return self.state / ".env"

    @property
    def mesh(self) -> Path:
        return self.state / "lanmesh"

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_", "HTTP"))}
        return {"PATH": self.path, "HOME": str(self.home), "LC_ALL": "C", **kept, **more}

    def install(self, *options: str, status: int = 0, **environ: str) -> str:
        ran = subprocess.run(
            [self.linked / "install.sh", *options],
            cwd="/",
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ran.returncode == status, ran.stdout
        return ran.stdout

    def files(self) -> dict[str, File]:
        """Every file, apart from the inside of the environment and what OpenClaw keeps for itself."""
        found: dict[str, File] = {}
        for folder, folders, names in os.walk(self.home):
            here = Path(folder).relative_to(self.home)
            if here.name in {"venvs", "state"}:
                found |= {str(here / name): ("", "") for name in folders if here.name == "venvs"}
                folders.clear()
                continue
            folders[:] = [name for name in folders if name not in {".rustup", ".cache", ".npm"}]
            for name in [*names, *(each for each in folders if (Path(folder) / each).is_symlink())]:
                path = Path(folder) / name
                content = path.readlink().as_posix() if path.is_symlink() else path.read_bytes()
                found[str(here / name)] = (stat.filemode(path.lstat().st_mode), content)
        return found

    def begin(self, *, environment: bool) -> None:
        """Empty the home, except for the environment if that is wanted."""
        for path in self.home.iterdir():
            shutil.rmtree(path)
        if environment:
            self.state.mkdir(0o700)
            shutil.copytree(self.spare, self.mesh, symlinks=True, copy_function=os.link)

    def write_config(self, port: int = 18789) -> dict[str, File]:
        self.state.mkdir(0o700, exist_ok=True)
        self.config.write_text(CONFIG.replace("PORT", str(port)))
        (self.state / "agents.json5").write_text(INCLUDED)
        self.dotenv.write_bytes(DOTENV)
        for path in (self.config, self.dotenv):
            path.chmod(0o600)
        return self.files()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs of the system, without any Python, Node.js or OpenClaw."""
    folder = tmp_path_factory.mktemp("tools")
    for place in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if (
                not program.name.startswith(("python", "node", "openclaw"))
                and not (folder / program.name).exists()
            ):
                (folder / program.name).symlink_to(program)
    return folder


@pytest.fixture(scope="module")
def machine(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard", *CLONED],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "clone" / name)
    (folder / "linked").symlink_to(folder / "clone")
    (folder / "home").mkdir()
    launcher = subprocess.run([ROOT / "scripts" / "openclaw"], stdout=subprocess.PIPE, text=True, check=True)
    node = shutil.which("node")
    machine = Machine(
        home=folder / "home",
        clone=folder / "clone",
        linked=folder / "linked",
        path=os.pathsep.join(
            [str(tools), str(PYTHON), str(Path(launcher.stdout.strip()).parent)]
            + ([str(Path(node).parent)] if node else [])
        ),
        spare=folder / "spare",
    )
    yield machine
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first(machine: Machine) -> str:
    """What the first run on an empty home says."""
    machine.begin(environment=False)
    said = machine.install()
    machine.spare.mkdir()
    shutil.copytree(machine.mesh / "venvs", machine.spare / "venvs", symlinks=True, copy_function=os.link)
    (machine.spare / "venv").symlink_to((machine.mesh / "venv").readlink())
    return said


def test_empty_home(machine: Machine, first: str) -> None:
    machine.begin(environment=True)
    machine.install()
    files = machine.files()

    assert "checked: the node starts" in first
    assert "openclaw gateway restart" in first
    plugin = {name for name in files if name.startswith(".openclaw/lanmesh/plugin/")}
    assert {Path(name).name for name in plugin} >= {"index.js", "openclaw.plugin.json", "SKILL.md"}
    assert not any("node_modules" in name or "/test/" in name for name in plugin)
    environments = {name for name in files if name.startswith(".openclaw/lanmesh/venv")}
    assert len(environments) == 2
    assert set(files) - plugin - environments == {".openclaw/openclaw.json", ".openclaw/.env"}
    token = machine.dotenv.read_text().splitlines()[1].removeprefix("OPENCLAW_LAN_TOKEN=")
    assert len(token) == 64
    assert token not in first
    assert files[".openclaw/.env"][0] == files[".openclaw/openclaw.json"][0] == "-rw-------"
    plugins = json.loads(machine.config.read_text())["plugins"]
    assert plugins == {
        "load": {"paths": [str(machine.mesh / "plugin")]},
        "entries": {"openclaw-lan-mesh": {"enabled": True}},
    }

    assert "nothing was changed" in machine.install()
    assert machine.files() == files

    assert "Nothing was changed" in machine.install("--uninstall", "--purge", "--dry-run")
    assert machine.files() == files

    machine.install("--uninstall", "--purge")
    assert machine.files() == {}


def test_home_with_a_commented_config_and_a_dotenv(machine: Machine, first: str) -> None:
    machine.begin(environment=True)
    port = free_ports(1)[0]
    machine.write_config(port)
    shutil.rmtree(machine.mesh)
    before = machine.files()
    shutil.copytree(machine.spare, machine.mesh, symlinks=True, copy_function=os.link)
    machine.mesh.chmod(0o755)  # as somebody may have left it

    machine.install()
    after = machine.files()

    assert stat.S_IMODE(machine.mesh.stat().st_mode) == 0o700
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {".openclaw/openclaw.json", ".openclaw/.env"}
    assert machine.dotenv.read_bytes().endswith(b"\n" + DOTENV)
    assert machine.config.read_text() == registered_config(port, machine.mesh / "plugin")
    backup = machine.config.with_name("openclaw.json.before-lan-mesh")
    assert backup.read_bytes() == before[".openclaw/openclaw.json"][1]

    machine.install()
    assert machine.files() == after

    assert_gateway_serves_the_mesh(machine, port)
    machine.config.write_text(
        registered_config(port, machine.mesh / "plugin")
    )  # OpenClaw may have rewritten it

    (machine.mesh / "mesh.db").touch()  # the node has made one anyway
    machine.install("--uninstall")
    left = machine.files()
    assert left[".openclaw/openclaw.json"] == before[".openclaw/openclaw.json"]
    assert left[".openclaw/.env"] == after[".openclaw/.env"]
    assert ".openclaw/lanmesh/mesh.db" in left
    assert not any(name.startswith((".openclaw/lanmesh/plugin", ".openclaw/lanmesh/venv")) for name in left)

    machine.install("--uninstall", "--purge")
    left = machine.files()
    assert {name: left.get(name) for name in before} == before
    assert not machine.mesh.exists()


def assert_gateway_serves_the_mesh(machine: Machine, port: int) -> None:
    """The seed's two calls on the gateway's own port."""
    log = machine.home / "gateway.log"
    quiet = {"OPENCLAW_DISABLE_BONJOUR": "1", "OPENCLAW_NO_RESPAWN": "1", "LANMESH_LISTEN": "127.0.0.1"}
    with log.open("wb") as output:
        gateway = subprocess.Popen(
            ["openclaw", "gateway", "run"],
            cwd=machine.home,
            env=machine.environ(**quiet),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            executable=shutil.which("openclaw", path=machine.path),
        )
    try:
        deadline = time.monotonic() + 180
        while get(f"http://127.0.0.1:{port}/lan/health")[0] != 200:
            assert gateway.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.25)
        token = next(
            line.split("=")[1]
            for line in machine.dotenv.read_text().splitlines()
            if "OPENCLAW_LAN_TOKEN" in line
        )
        assert get(f"http://127.0.0.1:{port}/lan/profile")[0] == 401
        assert get(f"http://127.0.0.1:{port}/lan/profile", token)[0] == 200
        assert (machine.mesh / "node.json").exists()
    finally:
        gateway.terminate()
        gateway.wait(60)
        log.unlink()


def get(url: str, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, b""
    except OSError:
        return 0, b""


def test_an_updated_clone_updates_both_copies_and_keeps_what_is_the_users(
    machine: Machine, first: str
) -> None:
    machine.begin(environment=True)
    machine.state.chmod(0o700)
    machine.dotenv.write_text("OPENCLAW_LAN_TOKEN=mine\n")
    machine.install("--no-check")
    written = machine.config.read_text()
    module, manifest = machine.clone / "src" / "lanmesh" / "added.py", machine.clone / "plugin" / "added.md"
    module.write_text('"""new"""\n')
    manifest.write_text("new\n")
    # What an interrupted run may leave behind.
    (machine.mesh / "venvs" / "0123456789abcdef").mkdir()
    (machine.mesh / "plugin.new").mkdir()
    try:
        said = machine.install()
    finally:
        module.unlink()
        manifest.unlink()

    assert "checked" in said
    assert (machine.mesh / "plugin" / "added.md").exists()
    python = machine.mesh / "venv" / "bin" / "python"
    where = [str(python), "-c", "import lanmesh.added; print(lanmesh.added.__file__)"]
    assert (
        str(machine.mesh) in subprocess.run(where, cwd="/", check=True, capture_output=True, text=True).stdout
    )
    assert [path.name for path in (machine.mesh / "venvs").iterdir()] == [
        (machine.mesh / "venv").readlink().name
    ]
    assert not (machine.mesh / "plugin.new").exists()
    assert machine.config.read_text() == written
    assert machine.dotenv.read_text() == "OPENCLAW_LAN_TOKEN=mine\n"

    machine.install("--uninstall", "--purge")
    assert set(machine.files()) == {".openclaw/.env"}


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    machine.begin(environment=False)

    said = machine.install("--dry-run")
    assert said.count("would ") == 4
    assert list(machine.home.iterdir()) == []

    files = machine.write_config()
    assert machine.install("--dry-run").count("would ") == 4
    assert machine.files() == files
    assert not machine.mesh.exists()


def test_without_openclaw(machine: Machine, tools: Path) -> None:
    machine.begin(environment=False)

    said = machine.install(status=1, PATH=f"{tools}:{PYTHON}")

    assert "openclaw is not on PATH" in said
    assert list(machine.home.iterdir()) == []


def test_without_python(machine: Machine, tools: Path) -> None:
    machine.begin(environment=False)

    said = machine.install(status=1, PATH=str(tools))

    assert "no Python 3.11 or newer" in said
    assert list(machine.home.iterdir()) == []


def test_an_openclaw_that_is_too_old(machine: Machine, tools: Path, tmp_path: Path) -> None:
    machine.begin(environment=False)
    (tmp_path / "openclaw").write_text("#!/bin/sh\necho 2026.3.11\n")
    (tmp_path / "openclaw").chmod(0o755)

    said = machine.install(status=1, PATH=f"{tmp_path}:{tools}:{PYTHON}")

    assert "OpenClaw 2026.3.11 is too old: update it to 2026.3.12" in said
    assert list(machine.home.iterdir()) == []


def test_a_config_that_cannot_be_read_stops_it_before_any_change(machine: Machine) -> None:
    machine.begin(environment=False)
    machine.write_config()
    machine.config.write_text("{\n  gateway: { port 1 },\n}\n")
    files = machine.files()

    said = machine.install(status=1)

    assert f"{machine.config}: line 2: unexpected '1'" in said
    assert machine.files() == files
    assert not machine.mesh.exists()


def test_a_config_that_openclaw_refuses_is_put_back(machine: Machine, first: str) -> None:
    machine.begin(environment=True)
    machine.write_config()
    machine.config.write_text('{ gateway: { port: "no port" } }\n')

    said = machine.install(status=1)

    assert "was put back as it was" in said
    assert machine.config.read_text() == '{ gateway: { port: "no port" } }\n'


def test_a_home_that_cannot_be_written_to(machine: Machine, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    home = Path("/proc") if os.geteuid() == 0 else tmp_path  # root may write where the mode forbids it

    said = machine.install(status=1, HOME=str(home))
    tmp_path.chmod(0o700)

    assert f"{home}/.openclaw/lanmesh cannot be written to. Nothing was changed." in said


def test_it_speaks_chinese_where_the_locale_does(machine: Machine) -> None:
    machine.begin(environment=False)

    assert "未作任何改动" in machine.install("--dry-run", LC_ALL="", LANG="zh_CN.UTF-8")
    assert "卸载" in machine.install("--help", LC_ALL="zh_TW.UTF-8")
    assert "用法" not in machine.install("--help", LC_ALL="C", LANG="zh_CN.UTF-8")
