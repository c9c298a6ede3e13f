"""What a peer's files may take of this disk, and when it is given back."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.errors import FileDiffers, NoRoom, QuotaReached
from lanmesh.model.envelope import Envelope, TaskRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import Origin, WireId
from lanmesh.model.task import AcceptMode, TaskState
from lanmesh.part import PIECE
from lanmesh.store import files
from tests.fakes import Mesh, NodeUnderTest, proven, soon, until
from tests.integration.desk import CAT, Maker, a_file, bytes_of, in_time, read, ref, two, with_shelf

DOG = b"dog!" * 1000
A = Origin("a")


def asks(*named: FileRef, wire_id: str = "t-1") -> Envelope:
    return Envelope(
        id=WireId(wire_id), sender="a", recipient="b", timestamp_ms=0,
        payload=TaskRequest(description="look at it", files=named),
    )  # fmt: skip


def laid_out(mesh: Mesh, name: str) -> int:
    """Return how many bytes lie in the folders of a node's tasks and messages."""
    size = 0
    for folder, _, names in os.walk(mesh.folder / f"{name}.work"):
        for file in names:
            with suppress(FileNotFoundError):  # it may just be removed
                size += Path(folder, file).stat().st_size
    return size


async def brought(b: NodeUnderTest, content: bytes) -> None:
    await soon(b.node.files.take(proven("a"), ref(content).sha256, 0, len(content), bytes_of(content)))


async def with_a_result(mesh: Mesh, limit: int, *made: tuple[str, bytes]) -> tuple[NodeUnderTest, str]:
    """Return an asker with such a limit, and its task, once all that will come of that has come."""
    a = with_shelf(mesh.describe("a", peers=["b"], limits=Limits(file_bytes=limit)), mesh)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=Maker(*made)), mesh)
    await a.start()
    await b.start()
    task = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: a.task(task.local_id).final)
    await in_time(mesh, lambda: a.node.files.complete(task.local_id))
    return a, task.local_id


async def test_each_naming_of_a_file_counts_for_each_is_a_copy(mesh: Mesh) -> None:
    _, b = await two(mesh, limits=Limits(file_bytes=3 * len(CAT)))
    await b.receive(asks(ref(CAT)), proven("a"))
    await brought(b, CAT)
    await b.receive(asks(ref(CAT), ref(CAT), wire_id="t-2"), proven("a"))

    with pytest.raises(QuotaReached, match=f"{3 * len(CAT)} bytes of your files are here or named"):
        await b.receive(asks(ref(CAT), wire_id="t-3"), proven("a"))

    await until(lambda: b.task("t-1").final and b.task("t-2").final)
    assert laid_out(mesh, "b") == 3 * len(CAT) == files.bytes_of(b.database.read, A)


async def test_a_result_s_files_are_taken_as_far_as_there_is_room_and_the_rest_is_told(mesh: Mesh) -> None:
    limit = len(DOG) + 10
    a, task = await with_a_result(mesh, limit, ("a-dog", DOG), ("b-cat", CAT), ("c-ten", b"ten bytes."))

    assert a.task(task).state is TaskState.COMPLETED
    dog, cat, ten = a.node.files.of_task(a.task(task).local_id)
    assert (read(dog), read(ten)) == (DOG, b"ten bytes.")
    assert cat.place is None
    assert cat.error is not None
    assert (
        f"its {len(CAT)} bytes are more than may come from b, which are 10: raise node.maxFiles" in cat.error
    )
    assert laid_out(mesh, "a") == limit


async def test_what_a_result_names_too_much_of_holds_up_nothing_else_of_that_peer(mesh: Mesh) -> None:
    a, _ = await with_a_result(mesh, 1000, ("cat", CAT))

    assert files.bytes_of(a.database.read, Origin("b")) == 0


async def test_what_was_named_before_the_owner_allowed_less_waits_until_there_is_room(mesh: Mesh) -> None:
    _, b = await two(mesh, limits=Limits(file_bytes=len(CAT) + len(DOG)))
    await b.receive(asks(ref(CAT), ref(DOG)), proven("a"))
    await brought(b, DOG)
    await b.crash()
    b.limits = Limits(file_bytes=len(CAT))
    await b.start()

    with pytest.raises(QuotaReached):
        await brought(b, CAT)
    await b.crash()
    b.limits = Limits(file_bytes=len(CAT) + len(DOG))
    await b.start()
    await brought(b, CAT)

    await until(lambda: b.task("t-1").final)


def parts(mesh: Mesh, name: str) -> list[str]:
    """Return the names of what has come of files to a node, and is not whole."""
    return sorted(path.name for path in (mesh.folder / f"{name}.blobs" / "parts").glob("*"))


async def cleared(b: NodeUnderTest, mesh: Mesh) -> None:
    """Wait until nothing of what a has named is here, nor counts."""
    await until(lambda: files.bytes_of(b.database.read, A) == 0 and not files.unwanted(b.database.read, 1))
    await until(lambda: not parts(mesh, b.name) and laid_out(mesh, b.name) == 0)


async def half_brought(b: NodeUnderTest, content: bytes) -> None:
    sha256, half = ref(content).sha256, len(content) // 2
    await soon(b.node.files.take(proven("a"), sha256, 0, None, bytes_of(content[:half])))
    assert b.node.files.standing(proven("a"), sha256).present == half


async def test_of_what_is_not_what_was_announced_nothing_is_kept(mesh: Mesh) -> None:
    _, b = await two(mesh)
    lie = ref(CAT, size=len(CAT) - 1)
    await b.receive(asks(lie), proven("a"))

    for _ in range(2):
        with pytest.raises(FileDiffers):
            await soon(b.node.files.take(proven("a"), lie.sha256, 0, None, bytes_of(CAT[:-1], CAT[-1:])))
        assert parts(mesh, "b") == []

    await until(lambda: b.task("t-1").final)
    await cleared(b, mesh)
    assert not files.known(b.database.read, lie.sha256)


async def test_what_has_come_for_a_task_is_removed_when_it_is_canceled(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(CAT), ref(DOG)), proven("a"))
    await brought(b, DOG)
    await half_brought(b, CAT)
    await until(lambda: laid_out(mesh, "b") == len(DOG))

    await soon(b.node.arrivals.cancel_named(proven("a"), "t-1"))

    await cleared(b, mesh)
    assert [state.error for state in b.node.files.of_task(b.task("t-1").local_id)] == [
        "its task has ended without it"
    ] * 2
    with pytest.raises(FileDiffers, match="given up: its task has ended"):
        b.node.files.standing(proven("a"), ref(CAT).sha256)


async def test_a_task_that_its_owner_denies_leaves_no_file(mesh: Mesh) -> None:
    _, b = await two(mesh, accept_mode=AcceptMode.MANUAL)
    await b.receive(asks(ref(DOG)), proven("a"))
    await brought(b, DOG)
    await until(lambda: laid_out(mesh, "b") == len(DOG))

    await soon(b.node.tasks.deny("t-1"))

    await cleared(b, mesh)
    await until(lambda: not (mesh.folder / "b.work" / b.task("t-1").local_id).exists())


async def test_a_file_that_another_task_waits_for_goes_on_where_it_stood(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(CAT)), proven("a"))
    await b.receive(asks(ref(CAT), wire_id="t-2"), proven("a"))
    await half_brought(b, CAT)

    await soon(b.node.arrivals.cancel_named(proven("a"), "t-2"))
    half = len(CAT) // 2
    await soon(b.node.files.take(proven("a"), ref(CAT).sha256, half, None, bytes_of(CAT[half:])))

    await until(lambda: b.task("t-1").final)
    assert files.bytes_of(b.database.read, A) == len(CAT)


async def test_what_its_owner_removes_counts_no_more(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(DOG), ref(CAT)), proven("a"))
    await brought(b, DOG)
    await brought(b, CAT)
    await until(lambda: b.task("t-1").final)
    dog, cat = b.node.files.of_task(b.task("t-1").local_id)
    await asyncio.to_thread(Path(cat.place or "").unlink)

    await soon(b.clearance.sweep())

    assert files.bytes_of(b.database.read, A) == len(DOG)
    assert b.node.files.of_task(b.task("t-1").local_id) == [
        dog,
        replace(cat, place=None, present=0, error="it was removed from this machine"),
    ]


async def test_the_bytes_of_what_lies_where_it_belongs_are_kept_once(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks(ref(DOG)), proven("a"))
    await brought(b, DOG)
    await until(lambda: b.task("t-1").final)

    await soon(b.clearance.sweep())
    assert files.known(b.database.read, ref(DOG).sha256)
    await mesh.clock.jump(2 * 24 * 3600.0)
    await soon(b.clearance.sweep())

    assert not files.known(b.database.read, ref(DOG).sha256)
    (dog,) = b.node.files.of_task(b.task("t-1").local_id)
    assert read(dog) == DOG
    assert b.node.files.standing(proven("a"), ref(DOG).sha256).whole
    await b.receive(asks(ref(DOG), wire_id="t-2"), proven("a"))
    assert not b.node.files.standing(proven("a"), ref(DOG).sha256).whole
    await brought(b, DOG)
    await until(lambda: b.task("t-2").final)


# --- the disk itself -----------------------------------------------------------------------------


async def test_others_that_eat_up_the_disk_meanwhile_leave_what_the_database_needs(mesh: Mesh) -> None:
    _, b = await two(mesh)
    content = bytes(range(256)) * 12_288
    await b.receive(asks(ref(content)), proven("a"))
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]

    async def until_others_take_the_rest() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            if piece is pieces[1]:
                b.shelf.spare = 2**62

    sha256, spare = ref(content).sha256, b.shelf.spare
    with pytest.raises(NoRoom, match="goes on once there is room"):
        await soon(b.node.files.take(proven("a"), sha256, 0, None, until_others_take_the_rest()))

    present = b.node.files.standing(proven("a"), sha256).present
    assert PIECE <= present < len(content)
    b.shelf.spare = spare
    await soon(b.node.files.take(proven("a"), sha256, present, None, bytes_of(content[present:])))
    await until(lambda: b.task("t-1").final)


async def test_no_copy_takes_what_the_database_needs_and_none_stays_that_is_not_all(mesh: Mesh) -> None:
    _, b = await two(mesh)
    kept = await soon(b.shelf.keep(Path(a_file(mesh, "dog.jpg", DOG)), "dog.jpg"))
    b.shelf.spare = 2**62

    with pytest.raises(NoRoom, match="goes on once there is room"):
        await soon(b.shelf.lay_out(kept, "t-1", "given", ("dog.jpg",)))

    assert laid_out(mesh, "b") == 0
    assert parts(mesh, "b") == []
