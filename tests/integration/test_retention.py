"""What is over is forgotten by age and by count, in small steps; what anyone may still need is not."""

import asyncio

import pytest

from lanmesh.engine.retention import Keep, Retention
from lanmesh.engine.retry import LONGEST_S
from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import KEPT_S, REMEMBERED_S, TTL_S, DeliveryState
from lanmesh.model.ids import LocalId, Origin
from lanmesh.model.task import AcceptMode, TaskState
from lanmesh.store import files, retention
from tests.fakes import Fault, Mesh, NodeUnderTest, a_message, a_task, proven, settle, soon, until
from tests.integration.desk import Maker, a_file, in_time, read, two

DAY_S = 86_400.0
MONTH = Keep(age_s=30 * DAY_S, count=1000)
BY_AGE = Keep(age_s=30 * DAY_S, count=1000, ids=0)
FEW = Keep(age_s=300 * DAY_S, count=2)


async def swept(node: NodeUnderTest, keep: Keep = MONTH) -> int:
    """Return how many rows one sweep has forgotten."""
    return await soon(Retention(database=node.database, clock=node.clock, keep=keep).sweep())


def kept_deliveries(node: NodeUnderTest) -> int:
    return int(node.database.read.rows("SELECT count(*) FROM outbox")[0][0])


async def finished(a: NodeUnderTest, text: str = "count", session: str | None = None) -> str:
    asked = await a.delegate("b", text, session=session)
    await until(lambda: a.task(asked.local_id).final)
    return asked.local_id


async def test_what_is_old_and_over_goes_with_all_that_is_about_it(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    old = await finished(a)
    await settle()
    await mesh.clock.jump(31 * DAY_S)
    new = await finished(a, "again")
    await settle()

    for node in (a, b):
        assert await swept(node) == 1
        assert [task.wire_id for task in node.node.tasks.page(10)] == [new]
        assert kept_deliveries(node) == 1
        events = node.database.read.rows("SELECT DISTINCT local_id FROM task_events")
        assert events == [(node.task(new).local_id,)]
        assert old not in str(events)


async def test_of_too_many_the_latest_stay_and_nothing_of_the_last_day_goes(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    asked = []
    for number in range(5):
        asked.append(await finished(a, f"count {number}"))
        await mesh.clock.jump(60)

    assert await swept(a, FEW) == 0
    await mesh.clock.jump(DAY_S)
    assert await swept(a, FEW) == 2

    assert [task.local_id for task in a.node.tasks.page(10)] == list(reversed(asked[2:]))


async def test_open_tasks_and_outcomes_that_nobody_heard_of_stay(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    unread = await finished(a, "unread", session="agent:main:main")
    heard = await finished(a, "heard", session="agent:main:main")
    await soon(a.node.tasks.mark_read(a.task(heard).local_id, a.task(heard).version))
    await soon(b.node.modes.decide(AcceptMode.MANUAL))
    waiting = await a.delegate("b", "wait")
    await settle()
    a_claim = {waiting.local_id, unread}

    await mesh.clock.jump(400 * DAY_S)
    await settle()
    await swept(a)

    assert a_claim <= {task.local_id for task in a.node.tasks.page(10)}
    assert heard not in {task.local_id for task in a.node.tasks.page(10)}


async def test_an_end_that_was_only_assumed_stays_as_long_as_its_result_may_come(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    await mesh.clock.jump(TTL_S + 60)
    await until(lambda: a.task(asked.local_id).assumed)

    await mesh.clock.jump(REMEMBERED_S - 60)
    await swept(a)
    assert a.task(asked.local_id).assumed
    await mesh.clock.jump(120)
    await swept(a)

    assert a.node.tasks.page(10) == []


async def test_a_result_that_waits_or_can_be_sent_again_keeps_its_task(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.QUEUED))

    await mesh.clock.jump(29 * DAY_S)
    await swept(b, Keep(age_s=DAY_S, count=1))
    assert b.delivery(asked.wire_id).state is DeliveryState.QUEUED
    await mesh.clock.jump(2 * DAY_S)
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.EXPIRED))
    await mesh.clock.jump(29 * DAY_S)
    await swept(b, Keep(age_s=DAY_S, count=1))
    assert b.delivery(asked.wire_id).state is DeliveryState.EXPIRED
    await mesh.clock.jump(3 * DAY_S)
    await swept(b, Keep(age_s=DAY_S, count=1))

    assert b.node.tasks.page(10) == []
    assert kept_deliveries(b) == 0


async def test_a_message_that_failed_stays_as_long_as_it_can_be_sent_again(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    await soon(a.node.mail.send("b", "arrives", wait_s=5))
    a.link.faults["b"] = Fault.DOWN
    lost = await soon(a.node.mail.send("b", "does not", wait_s=5))
    await mesh.clock.jump(TTL_S + 60)
    await until(lambda: a.node.numbers().undelivered == 1)

    await mesh.clock.jump(KEPT_S - 120)
    assert await swept(a, Keep(age_s=DAY_S, count=1)) == 1
    assert [item.envelope.id for item in a.node.mail.outbox(10)] == [lost.envelope.id]
    await mesh.clock.jump(2 * DAY_S)
    with pytest.raises(IllegalTransition):
        await soon(a.node.mail.resend(lost.envelope.id))
    assert await swept(a, Keep(age_s=DAY_S, count=1)) == 1

    assert kept_deliveries(a) == 0


async def test_mail_that_was_read_goes_and_mail_that_was_not_stays(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    for number in range(4):
        await b.hear(a_message(f"m-{number}", f"text {number}", sender="a"), proven("a"))
    await soon(b.node.mail.mark_read([1, 2]))
    await mesh.clock.jump(31 * DAY_S)

    assert await swept(b) == 2

    assert [message.id for message in b.node.mail.inbox(10)] == ["m-2", "m-3"]
    assert b.node.numbers().unread == 2
    await b.hear(a_message("m-0", "text 0", sender="a"), proven("a"))  # a repeat is still known
    assert [message.id for message in b.node.mail.inbox(10)] == ["m-2", "m-3"]


async def test_ids_are_known_for_sixty_days_and_as_long_as_their_task_is_kept(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    await b.receive(a_task("open", timeout_s=DAY_S, sender="a"), proven("a"))
    await b.hear(a_message("read", sender="a"), proven("a"))
    await b.hear(a_message("unread", sender="a"), proven("a"))
    await soon(b.node.mail.mark_read([2]))
    await a.stop()
    await b.stop()
    await mesh.clock.jump(REMEMBERED_S + 60)
    b.executor.leave()
    await b.start()
    await swept(b, BY_AGE)

    left = [wire_id for (wire_id,) in b.database.read.rows("SELECT wire_id FROM inbox ORDER BY seq")]

    assert b.task("open").wire_id == "open"
    assert left == ["open", "unread"]


async def test_a_repeat_of_what_was_forgotten_gets_the_first_answer_and_runs_nothing(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    first = await b.receive(a_task("t-1", sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final and not b.has_delivery("t-1", DeliveryState.QUEUED))
    b.peers.clear()
    await mesh.clock.jump(50 * DAY_S)
    await swept(b, Keep(age_s=DAY_S, count=1))

    again = await b.receive(a_task("t-1", sender="a"), proven("a"))

    assert (again.task_id, again.local_id, again.state) == ("t-1", first.local_id, TaskState.SUBMITTED)
    assert len(b.executor.runs) == 1


async def test_what_came_before_the_clock_was_set_right_is_done_once(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    first = await b.receive(a_task("t-1", sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final)
    mesh.clock.ahead_s += 400 * DAY_S  # a machine without a clock of its own has found the network

    await swept(b)
    again = await b.receive(a_task("t-1", sender="a"), proven("a"))
    await settle()

    assert again.local_id == first.local_id
    assert len(b.executor.runs) == 1


async def test_a_task_that_is_kept_for_longer_is_known_again_for_as_long(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    first = await b.receive(a_task("t-1", sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final)
    await mesh.clock.jump(REMEMBERED_S + 60)

    await swept(b, Keep(age_s=300 * DAY_S, ids=0))
    again = await b.receive(a_task("t-1", sender="a"), proven("a"))

    assert again.local_id == first.local_id


def on_their_way(node: NodeUnderTest) -> int:
    return node.database.read.number("SELECT count(*) FROM files WHERE settled_at IS NULL")


async def with_files_on_their_way(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, LocalId]:
    """Return two nodes between which no byte of a file gets through, and what they know of one another.

    It is a task whose result names a file, and a message that does.
    """
    a, b = await two(mesh, Maker(("dog.jpg", b"dog")))
    a.file_link.cut_after = b.file_link.cut_after = 0
    asked = await a.delegate("b", "look")
    await until(lambda: a.task(asked.local_id).final)
    kept = await soon(a.node.files.keep([a_file(mesh, content=b"cat")]))
    await soon(a.node.mail.send("b", "see", wait_s=5, files=kept))
    (mail,) = b.node.mail.inbox(10)
    await soon(b.node.mail.mark_read([mail.number]))
    await settle()
    return a, b, asked.local_id


async def test_what_is_over_stays_while_files_of_it_are_on_their_way(mesh: Mesh) -> None:
    a, b, asked = await with_files_on_their_way(mesh)
    (dog,) = a.node.files.of_task(asked)
    (mail,) = b.node.mail.inbox(10)
    soon_gone = Keep(age_s=DAY_S, count=1)

    await mesh.clock.jump(3 * DAY_S)
    await swept(a, soon_gone)
    await swept(b, soon_gone)
    assert (kept_deliveries(a), kept_deliveries(b)) == (2, 1)
    a.file_link.cut_after = b.file_link.cut_after = None
    await in_time(mesh, lambda: not on_their_way(a) + on_their_way(b))

    (dog,) = a.node.files.of_task(asked)
    (cat,) = b.node.files.of_message(Origin("a"), mail.id)
    assert (read(dog), read(cat)) == (b"dog", b"cat")
    await swept(a, soon_gone)
    await swept(b, soon_gone)
    assert (kept_deliveries(a), kept_deliveries(b)) == (0, 0)
    assert a.node.tasks.page(10) == b.node.tasks.page(10) == []


async def test_files_that_never_come_hold_up_nothing_for_ever(mesh: Mesh) -> None:
    a, b, _ = await with_files_on_their_way(mesh)

    await mesh.clock.jump(31 * DAY_S)
    await swept(a, Keep(age_s=DAY_S, count=1))
    await swept(b, Keep(age_s=DAY_S, count=1))

    assert (kept_deliveries(a), kept_deliveries(b)) == (0, 0)
    assert a.node.tasks.page(10) == b.node.tasks.page(10) == []
    assert files.bytes_of(a.database.read, Origin("b")) == files.bytes_of(b.database.read, Origin("a")) == 0


async def test_what_was_asked_back_goes_with_its_task(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b", "count")
    await until(lambda: bool(b.executor.runs))
    await soon(b.node.tasks.ask(b.task(asked.wire_id).local_id, "which one?"))
    await until(lambda: a.task(asked.local_id).question is not None)
    b.executor.release()
    await soon(a.node.tasks.answer(asked.local_id, "the red one"))
    await until(lambda: a.task(asked.local_id).final)
    await settle()
    await mesh.clock.jump(31 * DAY_S)

    for node in (a, b):
        await swept(node)
        assert node.node.tasks.page(10) == []
        assert node.database.read.rows("SELECT question, answer FROM task_questions") == []


async def test_much_is_forgotten_in_small_steps_between_which_others_write(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    for number in range(450):
        await b.hear(a_message(f"m-{number}", sender="a"), proven("a"))
    await soon(b.node.mail.mark_read(range(451)))
    await mesh.clock.jump(31 * DAY_S)
    before = b.writer.commits

    sweep = asyncio.create_task(Retention(database=b.database, clock=b.clock, keep=MONTH).sweep())
    await until(lambda: b.writer.commits > before)
    await b.hear(a_message("meanwhile", sender="a"), proven("a"))
    assert not sweep.done()
    await mesh.clock.advance(1)
    assert await soon(sweep) == 450

    assert [message.id for message in b.node.mail.inbox(10)] == ["meanwhile"]


async def test_the_sweeps_come_by_themselves(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    await finished(a)
    await mesh.clock.jump(31 * DAY_S)
    running = asyncio.create_task(Retention(database=a.database, clock=a.clock, keep=MONTH).run())
    await mesh.clock.advance(400)
    await until(lambda: a.node.tasks.page(10) == [])
    await finished(a, "later")
    await mesh.clock.jump(31 * DAY_S)
    await until(lambda: a.node.tasks.page(10) == [])
    running.cancel()
    await soon(asyncio.wait({running}))


async def test_every_sweep_finds_its_rows_by_an_index(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    def plan(query: str, *values: object) -> str:
        return str(a.database.read.rows(f"EXPLAIN QUERY PLAN {query}", *values))

    plans = [
        (plan(retention.TASKS, 1.0, 1.0, 1.0, 1.0, 1), "tasks_settled"),
        (plan(retention.DELIVERIES, 1.0, 1.0, 1.0, 1), "outbox_settled"),
        (plan(retention.TEXTS, 1.0, 1.0, 1), "inbox_read"),
        (plan(retention.IDS, 1.0, 1, 1), "inbox_received"),
        (plan(retention.NTH_TASK, 1), "tasks_settled"),
        (plan(retention.NTH_DELIVERY, 1), "outbox_settled"),
        (plan(retention.NTH_MESSAGE, 1), "inbox_read"),
    ]

    for found, index in plans:
        assert index in found, found
        assert "TEMP B-TREE" not in found
        assert "SCAN tasks'" not in found
        assert "SCAN files" not in found
