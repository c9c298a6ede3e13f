"""Files are laid out where they are needed, and one that cannot be holds up no other."""

from pathlib import Path

import pytest

from lanmesh.model.envelope import Envelope, TaskRequest
from lanmesh.model.file import FILES_S, FileRef, FileState
from lanmesh.model.ids import WireId
from lanmesh.model.task import TaskState
from lanmesh.shelf import Shelf
from tests.fakes import Mesh, NodeUnderTest, proven, soon, until
from tests.integration.desk import CAT, Maker, bytes_of, in_time, read, ref, two, with_shelf

DOG = b"dog!" * 1000


def asks(wire_id: str, *named: FileRef) -> Envelope:
    return Envelope(
        id=WireId(wire_id), sender="a", recipient="b", timestamp_ms=0,
        payload=TaskRequest(description="look at it", files=named),
    )  # fmt: skip


async def brings(b: NodeUnderTest, content: bytes) -> None:
    await soon(b.node.files.take(proven("a"), ref(content).sha256, 0, len(content), bytes_of(content)))


def of(node: NodeUnderTest, name: str) -> list[FileState]:
    return node.node.files.of_task(node.task(name).local_id)


def in_the_way(mesh: Mesh, b: NodeUnderTest, name: str) -> Path:
    """Put a file where the folder of a task would be."""
    path = mesh.folder / "b.work" / b.task(name).local_id
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    return path


async def one_that_has_lost_a_cat(mesh: Mesh) -> NodeUnderTest:
    """Return a node that had a file whole, and whose bytes of it somebody has removed since."""
    _, b = await two(mesh)
    await b.receive(asks("t-1", ref(CAT)), proven("a"))
    await brings(b, CAT)
    await until(lambda: b.task("t-1").final)
    sha256 = ref(CAT).sha256
    (mesh.folder / "b.blobs" / sha256[:2] / sha256[2:]).unlink()
    return b


async def test_a_file_that_is_gone_holds_up_no_other_and_comes_again(mesh: Mesh) -> None:
    b = await one_that_has_lost_a_cat(mesh)

    for name, content in (("t-2", CAT), ("t-3", DOG), ("t-4", CAT)):
        await b.receive(asks(name, ref(content)), proven("a"))
    await brings(b, DOG)
    await until(lambda: b.task("t-3").final)
    assert b.node.files.standing(proven("a"), ref(CAT).sha256).present == 0
    await brings(b, CAT)

    await until(lambda: b.task("t-2").final and b.task("t-4").final)
    assert b.task("t-2").state is TaskState.COMPLETED
    assert [read(state) for state in of(b, "t-2")] == [CAT]


async def test_a_task_whose_file_is_gone_and_comes_no_more_is_ended(mesh: Mesh) -> None:
    b = await one_that_has_lost_a_cat(mesh)

    await b.receive(asks("t-2", ref(CAT)), proven("a"))
    await in_time(mesh, lambda: b.task("t-2").final, FILES_S / 50)

    assert b.task("t-2").state is TaskState.REJECTED


async def test_what_cannot_be_laid_out_says_why_and_is_tried_again(mesh: Mesh) -> None:
    maker = Maker()
    _, b = await two(mesh, maker)
    await b.receive(asks("t-1", ref(CAT)), proven("a"))
    await b.receive(asks("t-2", ref(DOG)), proven("a"))
    blocking = in_the_way(mesh, b, "t-1")

    await brings(b, CAT)
    await brings(b, DOG)
    await until(lambda: b.task("t-2").final)
    await until(lambda: of(b, "t-1")[0].error is not None)
    (waits,) = of(b, "t-1")
    assert (waits.settled, "disk does not take" in (waits.error or "")) == (False, True)
    assert not b.task("t-1").final

    blocking.unlink()
    await in_time(mesh, lambda: b.task("t-1").final, 5)
    assert b.task("t-1").state is TaskState.COMPLETED
    assert (of(b, "t-1")[0].settled, of(b, "t-1")[0].error) == (True, None)


async def test_a_task_whose_file_cannot_be_laid_out_for_a_day_ends_and_says_why(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks("t-1", ref(CAT, "cat.jpg")), proven("a"))
    in_the_way(mesh, b, "t-1")
    await brings(b, CAT)

    await in_time(mesh, lambda: b.task("t-1").final, FILES_S / 50)

    error = b.task("t-1").error
    assert error is not None
    assert error.code == "incomplete"
    assert error.detail.startswith(
        'its files did not come within 24 h: "cat.jpg" (it is here, and cannot be laid out: '
    )


async def test_a_file_that_breaks_the_layout_neither_ends_the_node_nor_holds_up_others(
    mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    class Unnameable(Shelf):
        async def lay_out(self, ref: FileRef, holder: str, kind: str, parts: tuple[str, ...]) -> str:
            if parts == ("odd",):
                raise UnicodeEncodeError("ascii", "odd", 0, 1, "as where the file system is not UTF-8")
            return await super().lay_out(ref, holder, kind, parts)

    b = with_shelf(mesh.describe("b", peers=["a"], executor=Maker()), mesh)
    b.shelf = Unnameable(mesh.folder / "b.blobs", mesh.folder / "b.work")
    await b.start()
    await b.receive(asks("t-1", ref(CAT, "odd")), proven("a"))
    await b.receive(asks("t-2", ref(DOG)), proven("a"))

    await brings(b, CAT)
    await brings(b, DOG)
    await until(lambda: b.task("t-2").final)
    await in_time(mesh, lambda: b.task("t-1").final, FILES_S / 50)

    assert b.task("t-1").state is TaskState.REJECTED
    assert "layout broke" in caplog.messages


async def test_a_name_too_long_for_the_file_system_is_cut(mesh: Mesh) -> None:
    deep = mesh.folder.joinpath(*["w" * 200] * 18)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=Maker()), mesh)
    b.shelf = Shelf(mesh.folder / "b.blobs", deep)
    await b.start()
    name = "/".join(["d" * 200] * 4 + ["deep.txt"])

    await b.receive(asks("t-1", ref(DOG, name)), proven("a"))
    await brings(b, DOG)
    await until(lambda: b.task("t-1").final)

    (state,) = of(b, "t-1")
    assert (state.ref.name, state.error) == (name, None)
    assert (state.place or "").endswith("/deep.txt")
    assert read(state) == DOG


async def test_no_name_is_that_of_a_file_on_its_way_to_its_place(mesh: Mesh) -> None:
    maker = Maker()
    _, b = await two(mesh, maker)
    await b.receive(asks("t-1", ref(DOG, "x/.a.part"), ref(CAT, "x/a")), proven("a"))

    await brings(b, DOG)
    await brings(b, CAT)
    await until(lambda: b.task("t-1").final)

    assert maker.got == {"x/.a.part": DOG, "x/a": CAT}


async def test_what_could_not_be_laid_out_leaves_nothing_behind(mesh: Mesh) -> None:
    _, b = await two(mesh)
    await b.receive(asks("t-1", ref(CAT, "cat.jpg")), proven("a"))
    work = mesh.folder / "b.work"
    (work / b.task("t-1").local_id / "given" / "cat.jpg").mkdir(parents=True)

    await brings(b, CAT)
    await until(lambda: of(b, "t-1")[0].error is not None)

    assert [path for path in work.rglob("*") if path.is_file()] == []
