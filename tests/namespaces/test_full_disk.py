"""A disk that is really full, in the middle: a small one of its own under a node, filled to the last byte."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh, pair, start_all
from tests.acceptance.node_process import Json, NodeProcess, envelope, free_port, until
from tests.acceptance.test_disk import refused_start, with_a_short_wal
from tests.acceptance.test_files import Gate, a_file, all_here
from tests.campaigns.weather import sha256_of

PATIENCE_S = 120.0
MB = 1024 * 1024
DISK_MB = 160
"""A node leaves 64 MB free, and needs twice the size of a file."""

MADE_MB = 20
MAKES = f'mkdir -p "$LANMESH_OUTPUT" && head -c {MADE_MB * MB} /dev/zero >"$LANMESH_OUTPUT/big" && echo made'

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with Mesh(tmp_path) as mesh:
        yield mesh


@pytest.fixture
def by_a_gate(mesh: Mesh) -> Iterator[tuple[NodeProcess, NodeProcess, Gate]]:
    """Two nodes that are not started: the first reaches the second by a gate, and that has a small disk."""
    port = free_port()
    gate = Gate(port)
    gate.start()
    a, b = mesh.of(reached_by={"b": gate.port}, a={}, b={"port": port})
    with small_disk(b), ended(a, b):
        yield a, b, gate
        gate.end()


@contextlib.contextmanager
def small_disk(node: NodeProcess, megabytes: int = DISK_MB) -> Iterator[None]:
    """Have the state folder of a node, which is not started yet, on a disk of its own."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(node.state))
    subprocess.run(mount, check=True)
    node.write_settings(node.settings)
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(node.state)), check=True)


@contextlib.contextmanager
def full(node: NodeProcess, but_for: int = 0) -> Iterator[None]:
    """Leave not one byte on the disk of a node, or only so many."""
    filler = node.state / "filler"
    with filler.open("wb", buffering=0) as file:
        if but_for:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(node.state).free - but_for)
        for size in () if but_for else (MB, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as fault:
                assert fault.errno == errno.ENOSPC
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def ended(*nodes: NodeProcess) -> Iterator[None]:
    """Have nodes ended before their disks are taken away."""
    try:
        yield
    finally:
        for node in nodes:
            if node.process is not None:
                node.terminate()


def come(node: NodeProcess) -> int:
    """Return how many bytes have come of files that are not whole."""
    return sum(part.stat().st_size for part in (node.state / "blobs" / "parts").glob("*"))


def files_of_message(node: NodeProcess, text: str) -> list[Json]:
    found = [message["files"] for message in node.op("GET", "/op/messages").json if message["text"] == text]
    return found[0] if found else []


def laid_out(node: NodeProcess, text: str) -> str:
    """Return where the file of a message lies; empty if it does not lie there."""
    return "".join(file["place"] or "" for file in files_of_message(node, text))


def half_way(a: NodeProcess, b: NodeProcess, gate: Gate, path: Path) -> None:
    """Send a file in a message, and let half of it pass the gate."""
    size = path.stat().st_size
    gate.most = gate.passed + size // 2
    assert a.lanmesh("send", "b", "see", "--file", str(path)).status == 0
    until(lambda: come(b) > size // 3, b.log.read_text, PATIENCE_S)


def test_a_file_whose_disk_is_full_in_the_middle_goes_on_once_there_is_room(
    by_a_gate: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    a, b, gate = by_a_gate
    a.start()
    b.start()
    size = 24 * MB
    path = a_file(a, content=os.urandom(size))

    half_way(a, b, gate, path)
    with full(b):
        gate.open()
        until(lambda: "the disk is full" in a.log.read_text(), a.log.read_text, PATIENCE_S)
        assert not all_here(b)
        assert come(b) > size // 3, "what had come is kept"
        assert b.process is not None
        assert b.process.poll() is None
    until(lambda: all_here(b), b.log.read_text, PATIENCE_S)

    (message,) = b.op("GET", "/op/messages").json
    assert sha256_of(Path(message["files"][0]["place"])) == sha256_of(path)


def test_what_has_no_room_to_be_fetched_laid_out_or_kept_waits_for_it_and_all_else_goes_on(
    mesh: Mesh,
) -> None:
    port = free_port()
    gate = Gate(port, back=True)
    gate.start()
    a = mesh.lone({"profile": {"id": "a"}, "node": {"port": port}})
    b = mesh.lone({"profile": {"id": "b"}, "node": {"dialOnly": True, "command": ["sh", "-c", MAKES]}})
    size, spare = 72 * MB, 64 * MB
    large = a_file(a, content=os.urandom(size))
    with small_disk(b, 360), ended(a, b):
        start_all(a, b)
        assert pair(b, a, gate.port).status == 0

        half_way(a, b, gate, large)
        with full(b):
            gate.open()
            until(lambda: "once there is room" in b.log.read_text(), b.log.read_text, PATIENCE_S)
            assert come(b) > size // 3, "what had come is kept"
            passed = gate.passed
        until(lambda: all_here(b), b.log.read_text, PATIENCE_S)
        passed = gate.passed - passed

        with full(b, but_for=spare + 4 * MB):
            assert a.lanmesh("send", "b", "again", "--file", str(large)).status == 0
            until(lambda: "file not laid out" in b.log.read_text(), b.log.read_text, PATIENCE_S)
            assert a.lanmesh("send", "b", "small", "--file", str(a_file(a, "s", b"small"))).status == 0
            until(lambda: laid_out(b, "small"), b.log.read_text, PATIENCE_S)
            (waiting,) = files_of_message(b, "again")
            task = a.delegate("b", "make it")
            until(lambda: a.task(task)["progress"], b.log.read_text, PATIENCE_S)
            begun = a.task(task)["state"]
        done = a.final(task, PATIENCE_S)
        until(lambda: laid_out(b, "again"), b.log.read_text, PATIENCE_S)
        gate.end()

        assert (
            sha256_of(Path(laid_out(b, "see"))) == sha256_of(Path(laid_out(b, "again"))) == sha256_of(large)
        )
        assert passed < size, "it was begun anew, not resumed"
        assert (waiting["place"], "once there is room" in waiting["error"]) == (None, True)
        assert (begun, done["state"], done["result"].strip()) == ("working", "completed", "made")
        assert [(file["name"], file["size"]) for file in done["files"]] == [("big", MADE_MB * MB)]


def test_a_database_whose_disk_is_full_acknowledges_nothing_and_goes_on_once_there_is_room(
    by_a_gate: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    a, b, _ = by_a_gate
    with_a_short_wal(b)
    a.start()
    early, refused = envelope("before"), envelope("came too early")
    message = envelope(type="message", payload={"text": "hello"})
    assert b.give(early).status == 202
    b.final(early["id"])

    with full(b):
        answer = until(lambda: _refusal(b, refused), b.log.read_text, PATIENCE_S)
        said = b.lan("POST", "/lan/message", message, token=b.token)
        waiting = a.delegate("b", "asked meanwhile")
        until(lambda: a.task(waiting)["delivery"]["attempts"], lambda: a.task(waiting))
        told = b.op("GET", "/op/status").json["warnings"]

        assert (answer, said.status, said.json["code"]) == ("storage-failed", 507, "storage-failed")
        assert b.task(early["id"])["state"] == "completed"
        assert any("mesh.db: " in sentence for sentence in told), told

    assert b.give(refused).status == 202
    assert b.final(refused["id"], PATIENCE_S)["state"] == "completed"
    assert a.final(waiting, PATIENCE_S)["state"] == "completed"


def _refusal(node: NodeProcess, task: dict[str, object]) -> str:
    return str(node.give(task).json.get("code", ""))


def test_a_node_that_cannot_start_on_a_full_disk_says_so_and_starts_once_there_is_room(
    by_a_gate: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    _, b, _ = by_a_gate
    with full(b):
        never_begun = refused_start(b, 74)
    task = envelope("kept")
    b.start()
    b.give(task)
    b.final(task["id"])
    b.kill()

    with full(b):
        said = refused_start(b, 74)
    b.start()

    assert "No space left on device" in never_begun
    assert "No space left on device" in said
    assert not list(b.state.glob(".node.json.*"))
    assert b.task(task["id"])["state"] == "completed"
