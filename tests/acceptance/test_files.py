"""Files between real nodes: both ways, resumed after kills, from and to a node that nobody can dial."""

import contextlib
import hashlib
import json
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh, pair
from tests.acceptance.node_process import Json, NodeProcess, free_port, until
from tests.acceptance.terminal import lanmesh_on_a_terminal
from tests.acceptance.test_live_link import linked

LONG_S = 60.0
SIZE = 8 * 1024 * 1024
CONTENT = hashlib.sha256(b"seed").digest() * (SIZE // 32)

COPY = """
import os, pathlib, sys
given, made = pathlib.Path(os.environ["LANMESH_FILES"]), pathlib.Path(os.environ["LANMESH_OUTPUT"])
for path in sorted(given.rglob("*")):
    if path.is_file():
        target = made / "back" / path.relative_to(given)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes()[::-1])
        print(path.relative_to(given))
"""
"""A program that gives each file back, turned around."""

TURNED = [sys.executable, "-c", COPY]


class Gate(threading.Thread):
    """Stands between two nodes, counts what the one sends the other, or its answers, and can stop it."""

    def __init__(self, target: int, *, back: bool = False) -> None:
        super().__init__(daemon=True)
        self._back = back
        self.passed = 0
        self.most: int | None = None
        """After so many bytes nothing more passes; `None`: all does."""
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._carriers: list[threading.Thread] = []
        self.carried: Counter[threading.Thread] = Counter()
        """How many bytes went each of the ways, by who carries them for as long as it is open."""
        self._moved = threading.Condition()
        self.port = int(self._listening.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self._ends.append(near)
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._ends.append(far)
            for here, there in ((near, far), (far, near)):
                counted = (here is far) is self._back
                carrier = threading.Thread(target=self._carry, args=(here, there, counted), daemon=True)
                self._carriers.append(carrier)
                carrier.start()

    def open(self) -> None:
        with self._moved:
            self.most = None
            self._moved.notify_all()

    def end(self) -> None:
        self.open()
        self._listening.shutdown(socket.SHUT_RDWR)
        self.join(LONG_S)
        for end in self._ends:
            _shut(end)
        for carrier in self._carriers:
            carrier.join(LONG_S)
        for end in (*self._ends, self._listening):
            end.close()

    def _carry(self, here: socket.socket, there: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while some := here.recv(65536):
                if counted:
                    self._count(len(some))
                    self.carried[threading.current_thread()] += len(some)
                there.sendall(some)
        _shut(here)
        _shut(there)

    def _count(self, size: int) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self.most is None or self.passed + size <= self.most, LONG_S)
            self.passed += size


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def a_file(node: NodeProcess, name: str = "cat.bin", content: bytes = CONTENT) -> Path:
    path = node.home / "desk" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files_of(node: NodeProcess, task: str) -> list[Json]:
    found: list[Json] = node.task(task)["files"]
    return found


def back(node: NodeProcess, task: str) -> list[Json]:
    """Return what the doer of a task has made, once all of it is there."""

    def there() -> list[Json] | None:
        made = [file for file in files_of(node, task) if file["made"]]
        return made if made and all(file["place"] for file in made) else None

    return until(there, lambda: json.dumps(node.task(task)), LONG_S) or []


def all_here(node: NodeProcess) -> bool:
    """Return whether a message has come, with its files."""
    messages = node.op("GET", "/op/messages").json
    return bool(messages) and all(file["place"] for message in messages for file in message["files"])


@pytest.fixture
def gated(mesh: Mesh) -> Iterator[tuple[NodeProcess, NodeProcess, Gate]]:
    """Two nodes, the first of which reaches the second by a gate only."""
    port = free_port()
    gate = Gate(port)
    gate.start()
    a, b = mesh.of(reached_by={"b": gate.port}, a={}, b={"command": TURNED, "port": port})
    yield a.start(), b.start(), gate
    gate.end()


def test_files_go_there_and_what_is_made_of_them_comes_back(mesh: Mesh, tmp_path: Path) -> None:
    a, b = (mesh.lone({"profile": {"id": name}, "node": {"command": TURNED}}) for name in ("a", "b"))
    a.start()
    b.start()
    assert pair(a, b).status == 0
    a_file(a, "set/one.txt", b"one")
    cat = a_file(a)

    said = a.lanmesh(
        "delegate", "b", "turn them", "--file", str(cat), "--file", "desk/set", "--wait", "50", "--json"
    )
    task = said.json["id"]
    made = back(a, task)
    saved = a.lanmesh("task", task, "--save", str(tmp_path / "out"))

    assert (said.status, said.json["result"]) == (0, "cat.bin\nset/one.txt")
    assert sorted(file["name"] for file in made) == ["back/cat.bin", "back/set/one.txt"]
    assert saved.status == 0, saved.err
    assert (tmp_path / "out" / "back" / "cat.bin").read_bytes() == CONTENT[::-1]
    assert (tmp_path / "out" / "back" / "set" / "one.txt").read_bytes() == b"eno"
    assert "back/set/one.txt" in a.lanmesh("task", task).out
    assert a.lanmesh("task", task, "--save", str(tmp_path / "out")).status == 2
    other = b.final(b.delegate("a", "nothing to turn"), LONG_S)
    assert (other["state"], other["files"]) == ("completed", [])


def test_a_message_s_files_lie_beside_it(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={})

    said = a.lanmesh("send", "b", "look", "--file", str(a_file(a)))
    until(lambda: all_here(b), b.log.read_text, LONG_S)
    (message,) = b.op("GET", "/op/messages").json

    assert said.status == 0, said.err
    assert Path(message["files"][0]["place"]).read_bytes() == CONTENT
    assert "cat.bin" in b.lanmesh("inbox").out


@pytest.mark.parametrize("killed", ["sender", "receiver"])
def test_a_transfer_goes_on_where_a_kill_has_cut_it(
    gated: tuple[NodeProcess, NodeProcess, Gate], killed: str
) -> None:
    a, b, gate = gated
    path = a_file(a)
    gate.most = 5 * 1024 * 1024

    task = a.lanmesh("delegate", "b", "turn it", "--file", str(path), "--json").json["id"]
    parts = b.state / "blobs" / "parts"
    until(
        lambda: sum(part.stat().st_size for part in parts.glob("*")) >= 4 * 1024 * 1024,
        b.log.read_text,
        LONG_S,
    )
    waits = b.op("GET", "/op/tasks").json[0]
    (a if killed == "sender" else b).restart()
    gate.open()
    done = a.final(task, LONG_S)
    (made,) = back(a, task)

    assert (waits["state"], waits["waitingFor"]) == ("submitted", "files")
    assert done["state"] == "completed"
    assert Path(made["place"]).read_bytes() == CONTENT[::-1]
    assert SIZE <= gate.passed < SIZE + 3 * 1024 * 1024, "it was begun anew, not resumed"


def test_a_block_ends_what_this_node_is_just_bringing(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    gate = Gate(b.port)
    gate.start()
    code = b.lanmesh("pair", "--json").json["code"]
    assert a.lanmesh("pair", code, "--at", f"127.0.0.1:{gate.port}").status == 0
    linked(a, b)

    gate.most = gate.passed + SIZE // 2
    assert a.lanmesh("send", "b", "see", "--file", str(a_file(a, content=CONTENT * 4))).status == 0
    parts = b.state / "blobs" / "parts"
    until(lambda: any(part.stat().st_size for part in parts.glob("*")), b.log.read_text, LONG_S)
    ((bringing, _),) = gate.carried.most_common(1)
    assert a.lanmesh("block", "b").status == 0
    gate.open()
    until(lambda: not bringing.is_alive(), lambda: f"{gate.passed} bytes; {a.log.read_text()}", LONG_S)
    gate.end()

    assert gate.passed < 3 * SIZE, "it went on, beyond what had left"
    assert not all_here(b)


def test_a_node_that_nobody_can_dial_sends_and_gets_files(mesh: Mesh) -> None:
    keys = {"command": TURNED}
    a = mesh.lone({"profile": {"id": "a"}, "node": {**keys, "dialOnly": True}})
    b = mesh.lone({"profile": {"id": "b"}, "node": keys})
    a.start()
    b.start()
    assert pair(a, b).status == 0
    linked(a, b)

    for near, far in ((a, "b"), (b, "a")):
        said = near.lanmesh("delegate", far, "turn it", "--file", str(a_file(near)), "--json")
        task = said.json["id"]
        assert near.final(task, LONG_S)["state"] == "completed"
        (made,) = back(near, task)
        assert Path(made["place"]).read_bytes() == CONTENT[::-1]


def test_a_bar_on_the_terminal_shows_how_far_the_files_have_come(
    gated: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    a, _, gate = gated
    path = a_file(a, content=CONTENT * 3)  # much more than lies in the buffers of sockets
    gate.most = SIZE // 2

    with lanmesh_on_a_terminal(a, ["delegate", "b", "turn it", "--file", str(path), "--wait", "120"]) as (
        running,
        terminal,
    ):
        partly = re.compile(rb"m *[1-8]\d%")
        until(lambda: partly.search(terminal.told), lambda: terminal.told[-900:], LONG_S)
        assert running.poll() is None
        gate.open()
        out, _ = running.communicate(timeout=LONG_S)

    assert (running.returncode, out) == (0, b"cat.bin\n")
    assert b"m100%" in terminal.told
    assert b"\x1b[2K" in terminal.told  # it is taken away in the end
