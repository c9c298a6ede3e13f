"""What a run writes, before its end: who sees it, from where on, and when it is gone."""

import asyncio
from contextlib import aclosing

import pytest

from lanmesh.engine.drafts import LONGEST_PASSAGE, MOST_HEARD, MOST_KEPT, Drafts
from lanmesh.engine.events import Events
from lanmesh.engine.progress import GATHER_S
from lanmesh.model.draft import START, Mark, Passage
from lanmesh.model.history import PROGRESS
from lanmesh.model.ids import LocalId
from lanmesh.model.task import Task
from lanmesh.store.database import Change, Topic
from tests.fakes import SHARED_CALLER, FakeExecutor, Mesh, NodeUnderTest, a_task, settle, soon, until


async def busy(mesh: Mesh, *, outlives: bool = False) -> NodeUnderTest:
    """Return a node in the middle of task `t-1`."""
    b = mesh.describe("b", executor=FakeExecutor(outlives=outlives))
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: bool(b.executor.say))
    return b


async def write(mesh: Mesh, node: NodeUnderTest, *texts: str) -> None:
    """Have the only run of a node write something, and let it be seen."""
    ((_, said),) = node.executor.say.items()
    for text in texts:
        said.write(text)
    await mesh.clock.advance(GATHER_S)


async def read(node: NodeUnderTest, seen: Mark = START, *, wait_s: float = 0.0) -> Passage | None:
    """Return what the asker of `t-1` is told that was written beyond a mark."""
    report = await node.node.arrivals.report(SHARED_CALLER, "t-1", wait_s=wait_s, version=2, draft=seen)
    return report.draft


async def test_a_reader_is_told_what_was_written_since_and_no_more(mesh: Mesh) -> None:
    b = await busy(mesh)

    await write(mesh, b, "Once upon", " a time")
    first = await read(b)
    assert first is not None
    await write(mesh, b, " there was")
    second = await read(b, first.end)
    assert second is not None

    assert (first.offset, first.text, second.offset, second.text) == (0, "Once upon a time", 16, " there was")
    assert await read(b, second.end) is None


async def test_whoever_does_not_ask_for_the_draft_is_not_told_of_it(mesh: Mesh) -> None:
    b = await busy(mesh)
    await write(mesh, b, "Once upon")

    report = await b.node.arrivals.report(SHARED_CALLER, "t-1")

    assert (report.draft, report.version) == (None, 2)


async def test_a_question_that_is_held_is_answered_once_something_is_written(mesh: Mesh) -> None:
    b = await busy(mesh)
    asking = asyncio.create_task(read(b, wait_s=25.0))
    await settle()
    assert not asking.done()

    await write(mesh, b, "Once")

    told = await soon(asking)
    assert told is not None
    assert told.text == "Once"


async def test_what_is_written_within_a_quarter_of_a_second_is_seen_at_once_and_not_before(
    mesh: Mesh,
) -> None:
    b = await busy(mesh)
    ((_, said),) = b.executor.say.items()

    said.write("Once")
    await mesh.clock.advance(GATHER_S / 2)
    before = await read(b)
    said.write(" upon")
    await mesh.clock.advance(GATHER_S / 2)

    assert before is None
    assert await read(b) == Passage(run=f"1.{b.boot}", offset=0, text="Once upon")


async def test_nothing_of_a_draft_is_stored_but_its_lines_that_are_complete(mesh: Mesh) -> None:
    b = await busy(mesh)
    before = b.writer.commits

    await write(mesh, b, "in the middle of a")
    assert b.writer.commits == before
    await write(mesh, b, " line\n  \r\nthe next")

    events = b.node.tasks.find("t-1").events
    assert [event.detail for event in events if event.event == PROGRESS] == ["in the middle of a line"]


async def test_a_reader_that_is_slow_misses_some_of_a_flood_and_no_state(mesh: Mesh) -> None:
    b = await busy(mesh)
    news = b.node.arrivals.events(SHARED_CALLER, "t-1", 2, START)
    assert news is not None
    await write(mesh, b, *(f"{number:07} " for number in range(MOST_KEPT // 4)))
    b.executor.say[b.task("t-1").local_id]("a word")
    await mesh.clock.advance(GATHER_S)

    passages: list[Passage] = []
    kinds: list[str] = []
    async with aclosing(news):
        while sum(len(passage.text) for passage in passages) < MOST_KEPT:
            some = await soon(anext(news))
            kinds += [event.kind for event in some.events]
            passages += [some.draft] if some.draft else []
        b.executor.release()
        while (some := await soon(anext(news))).end is None:
            pass

    assert max(len(passage.text) for passage in passages) <= LONGEST_PASSAGE
    assert [passage.offset for passage in passages] == [MOST_KEPT, MOST_KEPT + LONGEST_PASSAGE]
    assert passages[-1].text.endswith(f"{MOST_KEPT // 4 - 1:07} ")
    assert kinds == [PROGRESS]
    assert some.end is not None


async def test_a_draft_is_gone_with_its_run(mesh: Mesh) -> None:
    b = await busy(mesh)
    late = next(iter(b.executor.say.values()))
    await write(mesh, b, "nearly")

    b.executor.release()
    await until(lambda: b.task("t-1").final)
    await settle()
    late.write("too late")
    await mesh.clock.advance(GATHER_S)

    assert b.node.tasks.drafts.mark(b.task("t-1").local_id) == START
    assert await read(b) is None


async def test_after_a_restart_a_draft_begins_anew_under_another_name(mesh: Mesh) -> None:
    b = await busy(mesh, outlives=True)
    await write(mesh, b, "lost with the node")
    before = await read(b)
    assert before is not None
    await b.restart()
    await until(lambda: bool(b.executor.resumed))

    await write(mesh, b, "going on")
    after = await read(b, before.end)

    assert after is not None
    assert (after.offset, after.text) == (0, "going on")
    assert after.run != before.run


async def test_what_is_no_whole_character_does_no_harm(mesh: Mesh) -> None:
    b = await busy(mesh)

    await write(mesh, b, "a\ud83e", "b\n")

    assert (await read(b) or START) == Passage(run=f"1.{b.boot}", offset=0, text="a?b\n")
    assert b.task("t-1").progress == "a?b"


async def asked(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, Task]:
    """Return two nodes and the task that the first asked of the second, which works on it."""
    a, b = await mesh.pair()
    b.executor.hold()
    task = await a.delegate("b")
    await until(lambda: bool(b.executor.say))
    return a, b, task


async def seen(node: NodeUnderTest, task: Task, written: list[Passage], marked: Mark = START) -> None:
    """Follow a task, and take what is written; for ever."""
    news = node.node.tasks.events(task.local_id, 0, marked)
    assert news is not None
    async with aclosing(news):
        async for some in news:
            written += [some.draft] if some.draft else []


async def test_a_draft_reaches_all_who_follow_at_the_asker_and_whoever_comes_later(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    first: list[Passage] = []
    second: list[Passage] = []
    third: list[Passage] = []
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(seen(a, task, heard)) for heard in (first, second)]
        await mesh.clock.advance(2)
        await write(mesh, b, "Once upon")
        await until(lambda: bool(first and second))
        watching[0].cancel()
        await write(mesh, b, " a time")
        await until(lambda: len(second) == 2)
        watching.append(group.create_task(seen(a, task, third, first[-1].end)))
        await until(lambda: bool(third))
        for each in watching:
            each.cancel()

    assert [passage.text for passage in first] == ["Once upon"]
    assert [passage.text for passage in second] == ["Once upon", " a time"]
    assert [passage.text for passage in third] == [" a time"]


async def test_passages_alone_cost_the_asker_no_commit(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    written: list[Passage] = []
    watching = asyncio.create_task(seen(a, task, written))
    await mesh.clock.advance(2)
    await write(mesh, b, "x")
    await until(lambda: bool(written))
    before = a.writer.commits

    for _ in range(10):
        await write(mesh, b, "x")
    await until(lambda: sum(len(passage.text) for passage in written) == 11)
    watching.cancel()

    assert a.writer.commits == before


async def crowd_out(node: NodeUnderTest, draft: LocalId) -> None:
    """Hear so many other drafts, whenever one is heard, that it is forgotten at once; for ever."""
    with node.events.watch(Change(Topic.DRAFT, draft)) as heard:
        while True:
            await heard.wait()
            heard.clear()
            for number in range(MOST_HEARD):
                node.node.tasks.drafts.hear(LocalId(f"x{number}"), Passage(run="1", offset=0, text="x"))


async def test_who_follows_a_draft_that_others_crowd_out_asks_for_no_part_of_it_twice(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    written: list[Passage] = []
    async with asyncio.TaskGroup() as group:
        works = [group.create_task(work) for work in (seen(a, task, written), crowd_out(a, task.local_id))]
        await mesh.clock.advance(2)
        before = len(a.link.questions)
        for number in range(5):
            await write(mesh, b, f"line {number}\n")
            await mesh.clock.advance(2)
        after = len(a.link.questions)
        for each in works:
            each.cancel()

    assert after - before == 5


async def test_whoever_waits_without_reading_drafts_lets_none_travel(mesh: Mesh) -> None:
    a, b, task = await asked(mesh)
    waiting = asyncio.create_task(a.node.tasks.watch(task.local_id, wait_s=600.0, version=99))
    await mesh.clock.advance(2)

    await write(mesh, b, "Once upon")
    waiting.cancel()

    assert a.node.tasks.drafts.mark(task.local_id) == START


@pytest.mark.parametrize("final", [True, False])
async def test_whoever_waits_for_what_is_written_is_woken_by_that_or_the_end(mesh: Mesh, final: bool) -> None:
    a, b, task = await asked(mesh)
    waiting = asyncio.create_task(a.node.tasks.watch(task.local_id, wait_s=600.0, version=99, draft=START))
    await mesh.clock.advance(2)

    if final:
        b.executor.release()
    else:
        await write(mesh, b, "Once upon")
    await mesh.clock.advance(2)

    assert (await soon(waiting)).final == final
    assert a.node.tasks.drafts.latest(task.local_id, 4) == ("" if final else "upon")


def test_only_so_many_drafts_of_peers_are_kept() -> None:
    drafts = Drafts(Events())

    for number in range(MOST_HEARD + 1):
        drafts.hear(LocalId(f"t{number}"), Passage(run="1", offset=0, text="x" * (MOST_KEPT + 1)))

    assert drafts.mark(LocalId("t0")) == START
    assert len(drafts.latest(LocalId("t1"), MOST_KEPT * 2)) == MOST_KEPT
