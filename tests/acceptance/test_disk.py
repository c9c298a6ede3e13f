"""A disk that is full, a folder that may not be written, a database that is damaged, newer, or a copy."""

import contextlib
import http.client
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import psutil
import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess, envelope, new_token, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process from outside")


@contextlib.contextmanager
def full_disk(node: NodeProcess) -> Iterator[None]:
    """Have no file of a node grow: to the process, the disk is full."""
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    wal = node.state / "mesh.db-wal"
    process.rlimit(psutil.RLIMIT_FSIZE, (wal.stat().st_size, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


def refused_start(node: NodeProcess, status: int, *under: str) -> str:
    """See that a node does not start, and return the one line by which it says why."""
    shown = len(node.log.read_text()) if node.log.exists() else 0
    assert node.launch(under=under).ended() == status, node.log.read_text()
    said = node.log.read_text()[shown:].splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("lanmesh: ")
    return said[0]


def with_a_short_wal(node: NodeProcess) -> NodeProcess:
    """Start a node whose WAL grows with all that is written: what made its tables is not in it any more."""
    assert node.start().terminate() == 0
    return node.start()


def with_a_task(mesh: Mesh) -> tuple[NodeProcess, str]:
    """Return a node that has done a task and was stopped, and the task's id."""
    node, task = mesh.lone().start(), envelope("kept")
    node.give(task)
    node.final(task["id"])
    assert node.terminate() == 0
    return node, str(task["id"])


# --- a disk that takes nothing --------------------------------------------------------------------


@linux_only
def test_a_full_disk_acknowledges_nothing_loses_nothing_and_goes_on_by_itself(
    mesh: Mesh, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    wait = 'while [ ! -e "$0" ]; do sleep 0.02; done; echo done'
    a, b = mesh.of(a={}, b={"command": ["sh", "-c", wait, str(gate)]})
    with_a_short_wal(b)
    a.start()
    running = a.delegate("b", "begun before")
    b.in_state(running, "working")
    refused, message = envelope("came too early"), envelope(type="message", payload={"text": "hello"})

    with full_disk(b):
        answer = b.give(refused)
        said = b.lan("POST", "/lan/message", message, token=b.token)
        waiting = a.delegate("b", "asked meanwhile")
        gate.touch()
        until(lambda: a.task(waiting)["delivery"]["attempts"], lambda: a.task(waiting))
        told = b.op("GET", "/op/status").json["warnings"]

        assert [(each.status, each.json["code"]) for each in (answer, said)] == [(507, "storage-failed")] * 2
        assert b.task(refused["id"])["code"] == "task-not-found"
        assert b.task(running)["state"] == "working"
        assert any("mesh.db: " in sentence and "disk" in sentence for sentence in told)

    assert b.give(refused).status == 202
    assert b.final(refused["id"])["state"] == "completed"
    for task in (running, waiting):
        assert a.final(task, 60.0)["result"] == "done"
    assert b.op("GET", "/op/messages").json == []
    assert not any("mesh.db: " in sentence for sentence in b.op("GET", "/op/status").json["warnings"])
    assert b.log.read_text().count('event="commit failed"') == 1


def test_a_folder_that_may_not_be_written_is_named_and_used_once_it_may(mesh: Mesh) -> None:
    node, task = with_a_task(mesh)
    # The superuser may write everywhere, unless it is without that power.
    under = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    if under and shutil.which(under[0]) is None:
        pytest.skip("runs as root, and setpriv is not there")
    (node.state / "lock").chmod(0o400)
    node.state.chmod(0o500)

    said = refused_start(node, 74, *under)

    assert f"{node.state} cannot be used as a state folder: Permission denied; see that" in said
    node.state.chmod(0o700)
    (node.state / "lock").chmod(0o600)
    assert node.start().task(task)["result"] == "kept"


# --- a database that cannot be used ---------------------------------------------------------------


def without_header(file: bytes) -> bytes:
    return b"\0" * 100 + file[100:]


def with_other_pages_in_the_middle(file: bytes) -> bytes:
    return file[:8192] + b"\xff" * (len(file) - 12288) + file[-4096:]


def cut_short(file: bytes) -> bytes:
    return file[: len(file) // 2]


@pytest.mark.parametrize("damage", [without_header, with_other_pages_in_the_middle, cut_short])
def test_a_damaged_database_is_named_left_alone_and_used_once_it_is_restored(
    mesh: Mesh, damage: Callable[[bytes], bytes]
) -> None:
    node, task = with_a_task(mesh)
    database = node.state / "mesh.db"
    good = database.read_bytes()
    database.write_bytes(damage(good))
    damaged = database.read_bytes()

    said = refused_start(node, 65)

    assert f"{database} is damaged (" in said
    assert "restore it, or move it away" in said
    assert database.read_bytes() == damaged
    database.write_bytes(good)
    assert node.start().task(task)["result"] == "kept"


def test_what_is_found_damaged_by_a_running_node_ends_it_with_a_status_of_its_own(mesh: Mesh) -> None:
    node = mesh.lone({"peers": {"off": {"host": "127.0.0.1", "port": 1}}}, LAN_PEER_OFF_TOKEN=new_token())
    node.start()
    for number in range(40):
        node.delegate("off", f"{number} {'long ' * 800}")
    assert node.terminate() == 0
    node.start()
    database = node.state / "mesh.db"
    with contextlib.closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as look:
        root = look.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox'").get
    with database.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xde\xad" * 2048)

    # A commit has it look again; whether this one goes through depends on what it had in memory.
    with contextlib.suppress(OSError, http.client.HTTPException):
        node.op("POST", "/op/tasks", {"peer": "off", "text": "one more"})

    assert node.ended() == 65
    assert "lanmesh: the node's database is damaged; restore it" in node.log.read_text()


def test_a_damaged_database_that_was_moved_away_is_begun_anew(mesh: Mesh) -> None:
    node, task = with_a_task(mesh)
    database = node.state / "mesh.db"
    database.write_bytes(without_header(database.read_bytes()))
    refused_start(node, 65)

    for file in node.state.glob("mesh.db*"):
        file.rename(node.home / file.name)

    assert node.start().task(task)["code"] == "task-not-found"


def test_a_wal_that_was_cut_loses_nothing_of_what_stands_before_the_cut(mesh: Mesh) -> None:
    node, task = with_a_short_wal(mesh.lone()), envelope("kept")
    node.give(task)
    node.final(task["id"])
    wal = node.state / "mesh.db-wal"
    before = wal.stat().st_size
    node.give(envelope("cut away"))
    node.kill()
    assert wal.stat().st_size > before

    os.truncate(wal, before + 1000)  # in the middle of the next frame

    assert node.start().task(str(task["id"]))["result"] == "kept"


def test_a_database_of_a_newer_version_is_named_and_left_to_that(mesh: Mesh) -> None:
    node, task = with_a_task(mesh)
    database = node.state / "mesh.db"
    connection = apsw.Connection(str(database))
    own = connection.pragma("user_version")
    connection.pragma("user_version", own + 1)
    connection.close()
    newer = database.read_bytes()

    said = refused_start(node, 78)

    assert f"{database} was written by a newer version of this program" in said
    assert database.read_bytes() == newer
    connection = apsw.Connection(str(database))
    connection.pragma("user_version", own)
    connection.close()
    assert node.start().task(task)["result"] == "kept"


# --- a folder that is there twice -----------------------------------------------------------------


def test_a_copied_folder_is_told_for_as_long_as_its_original_is_there(mesh: Mesh) -> None:
    node, copy = mesh.lone(), mesh.lone()
    node.start()
    shutil.rmtree(copy.state)
    shutil.copytree(node.state, copy.state)

    copy.start()
    beside = copied(copy)
    node.terminate()
    alone = copied(copy)
    copy.restart()
    again = copied(copy)
    shutil.rmtree(node.state)
    copy.restart()
    copy.restart()

    assert f"a copy of {node.state}, where a node runs now" in beside[0]
    assert f"a copy of {node.state}, maybe of another machine" in alone[0]
    assert again == alone
    assert "level=warning" in copy.log.read_text()
    assert copied(copy) == []


def test_a_moved_folder_is_no_copy(mesh: Mesh) -> None:
    node = mesh.lone().start()
    node.terminate()
    moved = node.home / "elsewhere"
    node.state.rename(moved)
    node.state = moved

    node.start("--state-dir", str(moved))

    assert copied(node) == []


def copied(node: NodeProcess) -> list[str]:
    return [told for told in node.op("GET", "/op/status").json["warnings"] if "is a copy of" in told]
