"""Finished work is told whatever becomes of the files that it has made."""

from pathlib import Path

import pytest

from lanmesh.errors import NoRoom, StorageFailed
from lanmesh.model.file import MAX_FILES, FileRef
from lanmesh.model.task import Task, TaskState
from lanmesh.protocol.json import MAX_RESULT_BYTES
from lanmesh.shelf import Shelf
from tests.fakes import Mesh, NodeUnderTest, a_task, proven, soon, until
from tests.fakes import done as ended
from tests.integration.desk import Maker, in_time, two, with_shelf


class FullShelf(Shelf):
    """On a disk that is full for a number of tries, for files of some name, or lets nothing be removed."""

    tries = 0
    name = ""
    clings = False

    async def keep(self, path: Path, name: str) -> FileRef:
        if name == self.name and self.tries > 0:
            self.tries -= 1
            raise NoRoom("the disk is full")
        return await super().keep(path, name)

    async def clear(self, holder: str) -> None:
        if self.clings:
            raise StorageFailed("the disk keeps it")
        await super().clear(holder)


async def over(mesh: Mesh, maker: Maker, shelf: FullShelf | None = None) -> tuple[NodeUnderTest, Task]:
    """Return an asker, and its task once that has ended."""
    if shelf is None:
        a, _ = await two(mesh, maker)
    else:
        a = with_shelf(mesh.describe("a", peers=["b"]), mesh)
        b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
        b.shelf = shelf
        await a.start()
        await b.start()
    task = await soon(a.node.tasks.delegate("b", "look"))
    await in_time(mesh, lambda: a.task(task.local_id).final, 1.0)
    await until(lambda: a.node.files.complete(task.local_id))
    return a, a.task(task.local_id)


def names(node: NodeUnderTest, task: Task) -> list[str]:
    return [state.ref.name for state in node.node.files.of_task(task.local_id)]


async def test_of_more_files_than_may_travel_the_first_do_and_the_others_are_named(mesh: Mesh) -> None:
    maker = Maker(*((f"f{number:03}", b"") for number in range(MAX_FILES + 2)))
    b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
    await b.start()

    await b.receive(a_task("t-1", sender="a", recipient="b"), proven("a"))
    await until(lambda: b.task("t-1").final)
    task = b.task("t-1")

    assert (task.state, task.truncated) == (TaskState.COMPLETED, False)
    assert names(b, task) == [f"f{number:03}" for number in range(MAX_FILES)]
    assert task.result == (
        "done: count\n\n[Not all of the files that this task has made could be sent. Missing: "
        '"f256": at most 256 go with a result; "f257": at most 256 go with a result]'
    )


async def test_a_disk_that_is_full_for_a_moment_costs_no_file(mesh: Mesh) -> None:
    shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    shelf.name, shelf.tries = "two", 3

    a, task = await over(mesh, Maker(("one", b"1"), ("two", b"2")), shelf)

    assert (task.state, task.result) == (TaskState.COMPLETED, "done: look")
    assert names(a, task) == ["one", "two"]


async def test_work_on_a_full_disk_is_completed_without_its_files_and_says_so(mesh: Mesh) -> None:
    shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    shelf.name, shelf.tries = "two", 1000

    a, task = await over(mesh, Maker(("one", b"1"), ("two", b"2")), shelf)

    assert task.state is TaskState.COMPLETED
    assert names(a, task) == ["one"]
    assert (task.result or "").endswith('Missing: "two": no room on the disk]')


async def test_a_long_result_leaves_room_for_what_is_said_of_its_files(mesh: Mesh) -> None:
    shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    shelf.name, shelf.tries = "one", 1000
    maker = Maker(("one", b"1"))
    maker.outcomes = [ended("x" * (MAX_RESULT_BYTES + 1))]

    a, task = await over(mesh, maker, shelf)

    assert (task.state, task.truncated) == (TaskState.COMPLETED, True)
    assert names(a, task) == ["result.txt"]
    assert (task.result or "").endswith('Missing: "one": no room on the disk]')


async def test_work_that_was_done_when_its_node_was_stopped_is_told_without_its_files(mesh: Mesh) -> None:
    maker = Maker(("one", b"1"))
    b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
    b.shelf = shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    most = 1000
    shelf.name, shelf.tries = "one", most
    await b.start()

    await b.receive(a_task("t-1", sender="a", recipient="b"), proven("a"))
    await until(lambda: shelf.tries < most)
    await b.stop()
    await b.start()

    task = b.task("t-1")
    assert task.state is TaskState.COMPLETED
    assert (task.result or "").startswith("done: count\n\n[Not all of the files")


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_what_an_interrupted_attempt_left_half_written_is_not_sent_with_the_next_ones_result(
    mesh: Mesh, end: str
) -> None:
    maker = Maker(("half.tmp", b"ha"), ("sub/half.tmp", b"ha"), repeatable=True)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
    maker.hold()
    await b.start()
    await b.receive(a_task("t-1", sender="a", recipient="b"), proven("a"))
    await until(lambda: len(maker.runs) == 1)

    await getattr(b, end)()
    maker.made = (("whole", b"whole"),)
    maker.release()
    await b.start()
    await until(lambda: b.task("t-1").final)

    assert (b.task("t-1").state, b.task("t-1").attempt) == (TaskState.COMPLETED, 2)
    assert names(b, b.task("t-1")) == ["whole"]


async def test_what_a_run_left_before_it_asked_is_sent_with_the_result_of_the_one_that_goes_on(
    mesh: Mesh,
) -> None:
    maker = Maker(("before", b"1"))
    a, b = await two(mesh, maker)
    maker.hold()
    asked = await soon(a.node.tasks.delegate("b", "look"))
    await until(lambda: len(maker.runs) == 1)
    await soon(b.node.tasks.ask(maker.runs[0].local_id, "which one?"))
    maker.made = (("after", b"2"),)
    maker.release()
    await until(lambda: a.task(asked.local_id).question is not None)

    await soon(a.node.tasks.answer(asked.local_id, "the left one"))
    await until(lambda: a.task(asked.local_id).final)

    assert names(a, asked) == ["after", "before"]


async def test_a_turn_that_went_on_without_its_node_keeps_what_it_has_made(mesh: Mesh) -> None:
    maker = Maker(("one", b"1"), outlives=True)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
    maker.hold()
    await b.start()
    await b.receive(a_task("t-1", sender="a", recipient="b"), proven("a"))
    await until(lambda: len(maker.runs) == 1)

    await b.crash()
    maker.release()
    await b.start()
    await until(lambda: b.task("t-1").final)

    assert len(maker.runs) == 1
    assert names(b, b.task("t-1")) == ["one"]


async def test_an_attempt_whose_folder_cannot_be_emptied_fails_and_says_so(mesh: Mesh) -> None:
    maker = Maker(("half.tmp", b"ha"), repeatable=True)
    b = with_shelf(mesh.describe("b", peers=["a"], executor=maker), mesh)
    b.shelf = shelf = FullShelf(mesh.folder / "b.blobs", mesh.folder / "b.work")
    shelf.clings = True
    maker.hold()
    await b.start()
    await b.receive(a_task("t-1", sender="a", recipient="b"), proven("a"))
    await until(lambda: len(maker.runs) == 1)

    await b.restart()
    await until(lambda: b.task("t-1").final)

    error = b.task("t-1").error
    assert error is not None
    assert (error.code, len(maker.runs)) == ("incomplete", 1)
    assert error.detail.startswith("what an interrupted attempt has left cannot be removed")
