"""A disk that is really full, in the middle: a small one of its own under a node, filled to the last byte."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess, envelope, free_port, until
from tests.acceptance.test_disk import refused_start, with_a_short_wal
from tests.acceptance.test_files import Gate, a_file, all_here
from tests.campaigns.weather import sha256_of

PATIENCE_S = 120.0
MB = 1024 * 1024
DISK_MB = 160
"""A node leaves 64 MB free, and needs twice the size of a file."""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with Mesh(tmp_path) as mesh:
        yield mesh


@pytest.fixture
def pair(mesh: Mesh) -> Iterator[tuple[NodeProcess, NodeProcess, Gate]]:
    """Two nodes that are not started: the first reaches the second by a gate, and that has a small disk."""
    port = free_port()
    gate = Gate(port)
    gate.start()
    a, b = mesh.of(reached_by={"b": gate.port}, a={}, b={"port": port})
    with small_disk(b):
        yield a, b, gate
        gate.end()
        for node in (a, b):
            if node.process is not None:
                node.terminate()


@contextlib.contextmanager
def small_disk(node: NodeProcess) -> Iterator[None]:
    """Have the state folder of a node, which is not started yet, on a disk of its own."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(node.state))
    subprocess.run(mount, check=True)
    node.write_settings(node.settings)
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(node.state)), check=True)


@contextlib.contextmanager
def full(node: NodeProcess) -> Iterator[None]:
    """Leave not one byte on the disk of a node."""
    filler = node.state / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MB, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as fault:
                assert fault.errno == errno.ENOSPC
    try:
        yield
    finally:
        filler.unlink()


def test_a_file_whose_disk_is_full_in_the_middle_goes_on_once_there_is_room(
    pair: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    a, b, gate = pair
    a.start()
    b.start()
    size = 24 * MB
    path = a_file(a, content=os.urandom(size))

    def come() -> int:
        return sum(part.stat().st_size for part in (b.state / "blobs" / "parts").glob("*"))

    gate.most = gate.passed + size // 2

    assert a.lanmesh("send", "b", "see", "--file", str(path)).status == 0
    until(lambda: come() > size // 3, b.log.read_text, PATIENCE_S)
    with full(b):
        gate.open()
        until(lambda: "the disk is full" in a.log.read_text(), a.log.read_text, PATIENCE_S)
        assert not all_here(b)
        assert come() > size // 3, "what had come is kept"
        assert b.process is not None
        assert b.process.poll() is None
    until(lambda: all_here(b), b.log.read_text, PATIENCE_S)

    (message,) = b.op("GET", "/op/messages").json
    assert sha256_of(Path(message["files"][0]["place"])) == sha256_of(path)


def test_a_database_whose_disk_is_full_acknowledges_nothing_and_goes_on_once_there_is_room(
    pair: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    a, b, _ = pair
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
    pair: tuple[NodeProcess, NodeProcess, Gate],
) -> None:
    _, b, _ = pair
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
