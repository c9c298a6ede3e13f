"""What a peer's files may take of this disk, and when it is given back."""

import asyncio

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.errors import QuotaReached
from lanmesh.model.envelope import Envelope, TaskRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import Origin, WireId
from lanmesh.model.task import TaskState
from lanmesh.store import files
from tests.fakes import Mesh, NodeUnderTest, proven, soon, until
from tests.integration.desk import CAT, Maker, bytes_of, read, ref, two, with_shelf

DOG = b"dog!" * 1000
A = Origin("a")


def asks(*named: FileRef, wire_id: str = "t-1") -> Envelope:
    return Envelope(
        id=WireId(wire_id), sender="a", recipient="b", timestamp_ms=0,
        payload=TaskRequest(description="look at it", files=named),
    )  # fmt: skip


def laid_out(mesh: Mesh, name: str) -> int:
    """Return how many bytes lie in the folders of a node's tasks and messages."""
    return sum(path.stat().st_size for path in (mesh.folder / f"{name}.work").rglob("*") if path.is_file())


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
    for _ in range(200):
        if a.node.files.complete(task.local_id):
            break
        await mesh.clock.advance(10)
        await asyncio.sleep(0.01)
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
