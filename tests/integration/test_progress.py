"""What a run says while it goes on: gathered, kept within bounds, and gone once it says no more."""

import asyncio

import pytest

from lanmesh.engine.progress import GATHER_S, MOST_BYTES
from lanmesh.model.history import PROGRESS
from lanmesh.model.task import Task, TaskState
from lanmesh.store import history
from tests.fakes import FakeExecutor, Mesh, NodeUnderTest, a_task, settle, soon, until


async def busy(mesh: Mesh, *, outlives: bool = False, repeatable: bool = False) -> NodeUnderTest:
    """Return a node in the middle of task `t-1`."""
    b = mesh.describe("b", executor=FakeExecutor(outlives=outlives, repeatable=repeatable))
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: b.task("t-1").state is TaskState.WORKING)
    await until(lambda: bool(b.executor.say))
    return b


async def say(mesh: Mesh, node: NodeUnderTest, *lines: str) -> None:
    """Have the only run of a node say something, and let it be kept."""
    ((_, said),) = node.executor.say.items()
    for line in lines:
        said(line)
    await mesh.clock.advance(GATHER_S)


def words(node: NodeUnderTest, name: str = "t-1") -> list[str]:
    """Return what is kept of what a task's runs have said."""
    return [event.detail for event in node.node.tasks.find(name).events if event.event == PROGRESS]


async def test_what_a_run_says_is_kept_and_leaves_its_state(mesh: Mesh) -> None:
    b = await busy(mesh)
    before = b.task("t-1")

    await say(mesh, b, "10 %")

    after = b.task("t-1")
    assert (after.state, after.progress) == (TaskState.WORKING, "10 %")
    assert after.claim == before.claim
    assert after.version == before.version + 1
    assert words(b) == ["10 %"]


async def test_what_is_said_within_a_quarter_of_a_second_is_one_event_and_one_commit(mesh: Mesh) -> None:
    b = await busy(mesh)
    before = b.writer.commits

    await say(mesh, b, "10 %", "20 %")
    await say(mesh, b, "30 %")

    assert words(b) == ["10 %\n20 %", "30 %"]
    assert b.task("t-1").progress == "30 %"
    assert b.writer.commits == before + 2


async def test_nothing_is_written_while_nothing_is_said(mesh: Mesh) -> None:
    b = await busy(mesh)
    before = b.writer.commits

    await mesh.clock.advance(60)

    assert b.writer.commits == before


@pytest.mark.parametrize("character", ["z", "世", "🦞"])
async def test_of_one_flood_the_end_is_kept(mesh: Mesh, character: str) -> None:
    b = await busy(mesh)

    await say(mesh, b, *[character * 1000] * 100, "the end")

    kept = b.task("t-1").progress or ""
    assert MOST_BYTES - 4 <= len(kept.encode()) <= MOST_BYTES
    assert kept.endswith("the end")
    assert set(kept) <= set(character + "\nthe end")


async def test_of_many_words_the_latest_are_kept(mesh: Mesh) -> None:
    b = await busy(mesh)

    for number in range(history.MOST_WORDS + 20):
        await say(mesh, b, f"step {number}")

    assert words(b) == [f"step {number}" for number in range(20, history.MOST_WORDS + 20)]
    assert b.history("t-1")[:2] == ["submit", "claim"]


async def test_of_large_words_only_so_many_bytes_are_kept(mesh: Mesh) -> None:
    b = await busy(mesh)

    for number in range(20):
        await say(mesh, b, f"{number}" + "世" * 1300)

    assert sum(len(text.encode()) for text in words(b)) > history.MOST_WORDS_BYTES - MOST_BYTES
    assert sum(len(text.encode()) for text in words(b)) <= history.MOST_WORDS_BYTES


async def test_words_end_with_their_run(mesh: Mesh) -> None:
    b = await busy(mesh)
    await say(mesh, b, "nearly")

    b.executor.release()
    await until(lambda: b.task("t-1").final)

    assert b.task("t-1").progress is None
    assert words(b) == ["nearly"]


async def test_words_that_come_after_the_end_of_their_run_change_nothing(mesh: Mesh) -> None:
    b = await busy(mesh)
    b.executor.release()
    await until(lambda: b.task("t-1").final)
    before = b.task("t-1")

    await say(mesh, b, "too late")

    assert b.task("t-1") == before
    assert words(b) == []


async def test_words_of_a_claim_that_was_fenced_change_nothing(mesh: Mesh) -> None:
    b = await busy(mesh, outlives=True)
    old = next(iter(b.executor.say.values()))
    await b.restart()
    await until(lambda: bool(b.executor.resumed))

    old("of an earlier boot")
    await mesh.clock.advance(GATHER_S)

    assert words(b) == []


async def test_the_latest_words_outlive_a_restart_with_their_run(mesh: Mesh) -> None:
    b = await busy(mesh, outlives=True)
    await say(mesh, b, "half of it")

    await b.restart()
    assert b.task("t-1").progress == "half of it"
    await until(lambda: bool(b.executor.resumed))
    await say(mesh, b, "more of it")

    assert b.task("t-1").progress == "more of it"


async def test_a_run_that_is_done_again_begins_without_words(mesh: Mesh) -> None:
    b = await busy(mesh, repeatable=True)
    await say(mesh, b, "half of it")

    await b.restart()
    await until(lambda: len(b.executor.runs) == 2)

    assert b.task("t-1").progress is None


async def test_words_are_lost_rather_than_waited_for_when_the_disk_fails(mesh: Mesh) -> None:
    b = await busy(mesh)
    b.writer.broken = True
    await say(mesh, b, "lost")
    b.writer.broken = False

    await say(mesh, b, "kept")

    assert words(b) == ["kept"]


async def asked(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, Task]:
    """Return two nodes and the task that the first asked of the second, which works on it."""
    a, b = await mesh.pair()
    b.executor.hold()
    task = await a.delegate("b")
    await until(lambda: bool(b.executor.say))
    return a, b, task


def _start(node: NodeUnderTest, task: Task) -> "asyncio.Task[Task]":
    """Begin to wait for news of a task."""
    watching = node.node.tasks.watch(task.local_id, wait_s=600.0, version=task.version)
    return asyncio.create_task(watching)


async def test_words_reach_the_asker_while_somebody_waits_there(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    seen = a.task(task.local_id)
    news = await soon(_start(a, seen))
    assert (news.state, news.progress) == (TaskState.WORKING, None)

    again = _start(a, news)
    await settle()
    await say(mesh, b, "half of it")

    assert (await soon(again)).progress == "half of it"
    assert words(a, task.local_id) == ["half of it"]
    assert a.history(task.local_id)[-1] == PROGRESS


async def test_words_that_were_said_before_somebody_waited_reach_the_asker_too(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    await say(mesh, b, "half of it")
    assert a.task(task.local_id).progress is None

    await soon(_start(a, a.task(task.local_id)))

    assert a.task(task.local_id).progress == "half of it"
    assert a.history(task.local_id)[-2:] == ["report", PROGRESS]


async def test_the_asker_keeps_no_words_of_a_task_that_has_ended(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    waiting = _start(a, a.task(task.local_id))
    await soon(waiting)
    waiting = _start(a, a.task(task.local_id))
    await settle()
    await say(mesh, b, "half of it")
    await soon(waiting)

    b.executor.release()
    await until(lambda: a.task(task.local_id).final)

    assert a.task(task.local_id).progress is None
