"""A node under attack: what attackers say to it and hear, and an honest peer that goes on meanwhile."""

import contextlib
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Answer, Json, anybody, envelope, http_call, new_token

ME = "target"
DESK, LAPTOP, DOG, FLOOD = new_token(), new_token(), new_token(), new_token()
"""Tokens of four peers: an honest one, and three that attack."""
OUTGOING = new_token()
"""What the node itself presents to the desk."""
PATIENCE_S = 60.0


class Honest(threading.Thread):
    """A peer that gives a task, looks at it and asks for the profile, over and over."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.rounds = 0
        self.acknowledged: list[str] = []
        self.faults: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            try:
                self._round()
            except Exception as fault:  # noqa: BLE001  # whatever it is, the test tells
                self.faults.append(repr(fault))

    def _round(self) -> None:
        task = envelope("hello", from_="desk", to=ME)
        for method, path, body, good in (
            ("POST", "/lan/task", task, 202),
            ("GET", f"/lan/task/{task['id']}", None, 200),
            ("GET", "/lan/profile", None, 200),
        ):
            raw = None if body is None else json.dumps(body).encode()
            answer = http_call(self.port, method, path, raw, bearer(DESK))
            if answer.status != good:
                self.faults.append(f"{method} {path}: {answer.status} {answer.body!r}")
                return
        self.acknowledged.append(task["id"])
        self.rounds += 1

    def end(self) -> None:
        self._over.set()
        self.join(PATIENCE_S)


class Wire:
    """One connection to a node, byte by byte."""

    def __init__(self, port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket = anybody().wrap_socket(plain)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def say(self, *said: bytes) -> "Wire":
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError, ssl.SSLError
        ):  # it may have had enough
            for part in said:
                self._socket.sendall(part)
        return self

    def trickle(self, said: bytes) -> "Wire":
        """Send a byte a second, until the node has had enough."""
        for number in range(len(said)):
            self.say(said[number : number + 1])
            if select.select([self._socket], [], [], 1)[0]:
                break
        return self

    def hear(self) -> tuple[int, Json]:
        """Return the next answer's status and body; an empty one where the connection ends."""
        try:
            status = self._file.readline().split(b" ")
            length = 0
            while (line := self._file.readline()) not in {b"\r\n", b""}:
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = self._file.read(length)
        except (ConnectionResetError, ssl.SSLError):
            return 0, {}
        return (int(status[1]), json.loads(body or b"{}")) if len(status) > 1 else (0, {})


@dataclass
class Target:
    """The node under attack, and all that it has answered."""

    mesh: Mesh
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.node = self.mesh.lone(
            {
                "profile": {"id": ME},
                "node": {"maxRequests": 1200},
                "peers": {
                    name: {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": f"TOKEN_OF_{name.upper()}"}
                    for name in ("desk", "laptop", "dog", "flood")
                },
            },
            TOKEN_OF_DESK=DESK,
            TOKEN_OF_LAPTOP=LAPTOP,
            TOKEN_OF_DOG=DOG,
            TOKEN_OF_FLOOD=FLOOD,
            LAN_PEER_DESK_TOKEN=OUTGOING,
        ).start()
        self.port = self.node.port
        self.asked = self.node.delegate("desk", "never answered")
        assert self.node.process is not None
        self.process = psutil.Process(self.node.process.pid)

    def wire(self) -> Wire:
        return Wire(self.port)

    def raw(self, *said: bytes) -> tuple[int, Json]:
        """Say something on a connection of its own, and return the answer's status and body."""
        with self.wire() as wire:
            status, body = wire.say(*said).hear()
        self.statuses.append(status)
        return status, body

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        answer = http_call(self.port, method, path, body, headers)
        self.statuses.append(answer.status)
        return answer

    def post(self, said: object, token: str | None = None, path: str = "/lan/task") -> Answer:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return self.ask("POST", path, body, bearer(token or self.node.token))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def head(method: str, path: str, *lines: str, host: str = "localhost") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


Attack = Callable[[Target], None]
INPUTS: dict[int, tuple[str, Attack]] = {}


def bad(number: int, name: str) -> Callable[[Attack], Attack]:
    """Give an input the number that it has in the threat model."""

    def note(attack: Attack) -> Attack:
        assert number not in INPUTS
        INPUTS[number] = (name, attack)
        return attack

    return note


def refused(answer: Answer | tuple[int, Json], *allowed: int) -> Json:
    """See that an answer is a problem document with one of some statuses, and return it."""
    status, body = answer if isinstance(answer, tuple) else (answer.status, answer.json)
    assert status in allowed, (status, body)
    assert body["status"] == status, body
    assert body["type"].startswith("urn:lanmesh:problem:")
    return body
