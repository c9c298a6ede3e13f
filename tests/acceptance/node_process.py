"""A node as a process of its own, and what a person or a peer can do to it."""

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw
import psutil

from tests.acceptance import confidential

PATIENCE_S = 30.0
"""A condition that takes longer fails the test."""

ANSWER_S = 70.0
"""Longer than a node may hold an answer back."""

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
"""Where the `lanmesh` command of this environment lies."""

SEARCH_PATH = os.pathsep.join([str(TOOLS), os.environ.get("PATH", os.defpath)])
LANMESH = shutil.which("lanmesh", path=SEARCH_PATH) or "lanmesh"

T = TypeVar("T")
Json = dict[str, Any]


def until(
    condition: Callable[[], T],
    else_say: Callable[[], object],
    within_s: float = PATIENCE_S,
    every_s: float = 0.02,
) -> T:
    """Return what the condition returns, once that is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"after {within_s:g} s: {else_say()}"
        time.sleep(every_s)
    return found


_handed_out: set[int] = set()


def free_port() -> int:
    """Return a port for a node whose peers must know it before it starts.

    Not one that the kernel may give to an outgoing connection while the node is down (from 32768
    on Linux, from 49152 on macOS), nor one of a gateway.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            if port not in _handed_out:
                _handed_out.add(port)
                return port
    raise AssertionError("no free port")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_call(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    tls: bool = True,
    shown: Path | None = None,
    source: str = "127.0.0.1",
) -> Answer:
    """Return the answer to one request on a connection of its own; an iterable body is sent in chunks."""
    connection = (
        http_connection(port, shown=shown, source=source)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port)
    )
    connection.timeout = ANSWER_S
    try:
        # A node may answer, and close, before it has read a body that is too large.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, dict(headers or {}))
        got = connection.getresponse()
        answer = Answer(got.status, got.headers, got.read())
        confidential.show(answer.headers.as_bytes() + answer.body)
        return answer
    finally:
        connection.close()


def anybody(shown: Path | None = None) -> ssl.SSLContext:
    """Return the TLS of a program that takes any certificate, and may show one that lies in a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(shown)
    return context


def http_connection(
    port: int, timeout: float = PATIENCE_S, shown: Path | None = None, source: str = "127.0.0.1"
) -> http.client.HTTPSConnection:
    """Return a connection to a mesh port, from an address of this machine."""
    return http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=timeout, context=anybody(shown), source_address=(source, 0)
    )


@contextlib.contextmanager
def tls_socket(port: int, timeout: float = PATIENCE_S) -> Iterator[ssl.SSLSocket]:
    """Give a connection to a mesh port on which anything can be said."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout) as plain,
        anybody().wrap_socket(plain) as connection,
    ):
        yield connection


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class NodeProcess:
    """A node with a home of its own: config.toml, .env and state in one folder, nothing inherited."""

    def __init__(self, home: Path, settings: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        """Lay out a home. A port that is not set is any free one."""
        home.mkdir(parents=True)
        self.home = home
        self.openclaw = home / ".openclaw"
        self.state = self.openclaw / "lanmesh"
        self.state.mkdir(mode=0o700, parents=True)
        self.dotenv = self.openclaw / ".env"
        self.log = home / "log"
        self.secrets: set[str] = set()
        self.printed: list[str] = []
        self.command_lines: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.network: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        """Lets a thread be on the node's network meanwhile, where that is another one."""
        self.settings = {
            **settings,
            # On loopback alone; and without mDNS, which would show it the nodes of all other tests.
            "node": {
                "listen": "127.0.0.1",
                "port": 0,
                "operatorPort": 0,
                "discovery": False,
                **settings.get("node", {}),
            },
        }
        self.write_settings(self.settings)
        self.write_variables(variables)

    # --- its files --------------------------------------------------------------------------------

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        (self.state / "config.toml").write_text(toml(settings), encoding="utf-8")

    def write_variables(self, variables: Mapping[str, str]) -> None:
        """Replace the .env file."""
        self.variables = dict(variables)
        self.secrets.update(variables.values())
        beside = self.dotenv.with_suffix(".new")
        beside.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        beside.chmod(0o600)
        beside.replace(self.dotenv)

    @property
    def token(self) -> str:
        """What any caller may present."""
        return self.variables["OPENCLAW_LAN_TOKEN"]

    @property
    def operator_token(self) -> str:
        return confidential.hand_out((self.state / "operator.token").read_text().strip())

    @property
    def about(self) -> Json:
        """The content of node.json."""
        about: Json = json.loads((self.state / "node.json").read_text())
        return about

    @property
    def port(self) -> int:
        return int(self.about["mesh"]["port"])

    @property
    def operator_port(self) -> int:
        return int(self.about["operator"]["port"])

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(self.home),
            "OPENCLAW_STATE_DIR": str(self.openclaw),
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            **more,
        }

    # --- its life ---------------------------------------------------------------------------------

    def launch(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> "NodeProcess":
        """Start the process, by another command where one is given; it is not up yet."""
        assert self.process is None
        with self.log.open("ab") as log, self.network():
            self.process = subprocess.Popen(
                [*under, LANMESH, "run", *arguments], env=self.environ(**(environ or {})), cwd=self.home,
                stdin=stdin, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def ready(self) -> "NodeProcess":
        """Return once it answers."""
        until(self._answers, self.log.read_text)
        confidential.hand_out_key(self.state / "identity.pem")
        return self

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
    ) -> "NodeProcess":
        return self.launch(*arguments, stdin=stdin, environ=environ).ready()

    def tell(self, line: bytes) -> None:
        """Write a line to its stdin, which must be a pipe."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def close_stdin(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self.ended()

    def terminate(self) -> int:
        """Ask it to end; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def restart(self) -> None:
        self.kill()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.note_command_lines()
        self.process.send_signal(number)

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Return the exit status of the process once it has ended."""
        assert self.process is not None
        process, self.process = self.process, None
        try:
            return process.wait(within_s)
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def let_go(self) -> "subprocess.Popen[bytes]":
        """Return the process to whoever ends it instead; another may be started."""
        assert self.process is not None
        process, self.process = self.process, None
        return process

    def programs(self) -> list[psutil.Process]:
        """Return the processes that run for tasks of this node, whoever their parent is by now."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if (
                    process.environ().get("LANMESH_STATE_DIR") == str(self.state)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    mine.append(process)
        return mine

    def note_command_lines(self) -> None:
        """Keep what anybody on this machine can see of it and of its programs."""
        if self.process is not None:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(self.process.pid)
                for each in (process, *process.children(recursive=True)):
                    self.command_lines.append(" ".join(each.cmdline()))

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"the node ended with {status}: {self.log.read_text()}"
        try:
            return self.about["pid"] == self.process.pid and self.lan("GET", "/lan/health").status == 200
        except (FileNotFoundError, ConnectionError, ssl.SSLEOFError):
            return False

    # --- what one can say to it -------------------------------------------------------------------

    def lanmesh(self, *arguments: str, stdin: str = "", **environ: str) -> Said:
        """Run a verb of the command line against it."""
        with self.network():
            done = subprocess.run(
                [LANMESH, *arguments], env=self.environ(**environ), cwd=self.home, input=stdin.encode(),
                capture_output=True, timeout=60, check=False,
            )  # fmt: skip
        said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
        self.printed += [said.out, said.err]
        confidential.show(done.stdout + done.stderr)
        if arguments[0] == "pair":
            confidential.hand_out_code(done.stdout)
        return said

    def lan(
        self,
        method: str,
        path: str,
        envelope: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask on the mesh port; with a token if one is given."""
        with self.network():
            return http_call(
                self.port,
                method,
                path,
                None if envelope is None else json.dumps(envelope).encode(),
                {"Content-Type": "application/json", **_bearer(token), **(headers or {})},
            )

    def give(self, envelope: Mapping[str, Any]) -> Answer:
        """Post a task under the shared token."""
        return self.lan("POST", "/lan/task", envelope, token=self.token)

    def op(self, method: str, path: str, asked: object = None) -> Answer:
        """Ask on the operator port; what the CLI shows with --json, without starting a process."""
        with self.network():
            answer = http_call(
                self.operator_port,
                method,
                path,
                None if asked is None else json.dumps(asked).encode(),
                _bearer(self.operator_token),
                tls=False,
            )
        if path.startswith("/op/pairing"):
            confidential.hand_out_code(answer.body)
        return answer

    def task(self, name: str) -> Json:
        """Return what its owner sees of a task. Asks nobody else, and waits for nothing."""
        view: Json = self.op("GET", f"/op/tasks/{name}").json
        return view

    def delegate(self, peer: str, text: str, **more: object) -> str:
        """Ask a peer to do something; return the task's id."""
        answer = self.op("POST", "/op/tasks", {"peer": peer, "text": text, **more})
        assert answer.status == 202, answer.body
        return str(answer.json["id"])

    def in_state(self, name: str, *states: str, within_s: float = PATIENCE_S) -> Json:
        """Return a task once it is in one of some states; its asker does not look after it meanwhile."""

        def reached() -> Json | None:
            view = self.task(name)
            return view if view.get("state") in states else None

        return until(reached, lambda: self.task(name), within_s) or {}

    def final(self, name: str, within_s: float = PATIENCE_S) -> Json:
        return self.in_state(name, "completed", "failed", "rejected", "canceled", within_s=within_s)

    # --- what must never be seen of it ------------------------------------------------------------

    def tokens(self) -> set[str]:
        """Return what it presents to those it is paired with."""
        file = self.state / "mesh.db"
        if not file.exists():
            return set()
        with contextlib.closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            found = connection.execute("SELECT token FROM pairings")
            return {confidential.hand_out_token(str(token)) for (token,) in found}

    def leaks(self) -> list[str]:
        """Return where a token can be read that should not be there."""
        self.note_command_lines()
        hidden = {secret for secret in self.secrets if secret}
        operator = self.state / "operator.token"
        if operator.exists():
            hidden.add(operator.read_text().strip())
        seen = {"printed": "\n".join(self.printed).encode(), "ps": "\n".join(self.command_lines).encode()}
        for file in (self.log, *self.state.rglob("*")):
            if file.is_file() and file != operator:
                seen[file.name] = file.read_bytes()
        return [place for place, said in seen.items() for secret in hidden if secret.encode() in said]


def new_token() -> str:
    return confidential.hand_out(secrets.token_hex(32))


def envelope(description: str = "hello", payload: Mapping[str, Any] | None = None, **fields: Any) -> Json:
    """Return a task as a program without a node of its own would send it; `from_` stands for `from`."""
    if "from_" in fields:
        fields["from"] = fields.pop("from_")
    return {
        "id": f"task-{secrets.token_hex(6)}",
        "protocolVersion": "1.0",
        "type": "task",
        "from": "my-agent",
        "to": "target-agent",
        "timestamp": 1234567890000,
        "payload": {"description": description, **(payload or {})},
        **fields,
    }


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML; its values are written as JSON has them, tables inline."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
