"""The asker keeps up with its peers: it reads there what it was not told, at a return and now and then."""

from lanmesh.engine.pull import SILENCE_S
from lanmesh.engine.retry import LONGEST_S
from lanmesh.model.delivery import TTL_S, DeliveryState
from lanmesh.model.ids import PeerId
from lanmesh.model.task import TaskError, TaskState
from lanmesh.store import tasks
from tests.fakes import FakeExecutor, Fault, Mesh, NodeUnderTest, a_message, proven, settle, soon, until

LOOK_S = 30.0
"""Within which the asker looks for the first time, when nothing has told it anything."""


async def one_way(mesh: Mesh, *, proven: bool = True) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return an asker whom nobody can reach, and a doer that holds its tasks."""
    a, b = await mesh.pair(executor=FakeExecutor(), proven=proven)
    b.link.faults["a"] = Fault.DOWN
    b.executor.hold()
    return a, b


async def handed_over(a: NodeUnderTest, b: NodeUnderTest, text: str = "count") -> str:
    """Return a task that the doer works on."""
    asked = await a.delegate("b", text)
    await until(lambda: a.delivery(asked.local_id).state is DeliveryState.DELIVERED)
    return asked.local_id


async def test_a_result_arrives_where_nobody_waits_and_the_doer_cannot_reach_the_asker(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    task = await handed_over(a, b)
    await mesh.clock.advance(5)
    b.executor.release()

    await mesh.clock.advance(2 * LOOK_S)

    assert a.task(task).result == "done: count"
    assert b.delivery(task).state is DeliveryState.QUEUED


async def test_when_a_peer_is_heard_from_again_its_tasks_are_read(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    task = await handed_over(a, b)
    a.link.faults["b"] = Fault.DOWN
    await mesh.clock.advance(400)
    asked_before = len(a.link.questions)
    b.executor.release()
    await settle()
    del a.link.faults["b"]

    await a.hear(a_message(sender="b"), proven("b"))
    await mesh.clock.advance(2)

    assert a.task(task).result == "done: count"
    assert len(a.link.questions) <= asked_before + 2


async def test_after_a_crash_the_asker_reads_what_it_had_asked_for(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    task = await handed_over(a, b)
    await a.crash()
    b.executor.release()
    await settle()

    await a.start()
    await mesh.clock.advance(2)

    assert a.task(task).result == "done: count"


async def test_a_doer_that_was_away_and_began_anew_is_read_too(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    task = await handed_over(a, b)
    await b.crash()
    await mesh.clock.advance(120)
    await b.start()  # the run was interrupted, and the asker cannot be told

    await mesh.clock.advance(2 * 300)

    known = a.task(task)
    assert (known.state, known.assumed) == (TaskState.FAILED, False)
    assert known.error is not None
    assert known.error.code == "interrupted"


async def test_questions_become_rare_while_nothing_is_new(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    await handed_over(a, b)

    await mesh.clock.advance(590)

    assert 4 <= len(a.link.questions) <= 10
    assert a.link.most_under_way == 1


async def test_a_return_is_no_storm_even_with_many_tasks(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    for number in range(120):
        await a.delegate("b", f"count {number}")
    await until(lambda: a.node.numbers().queued == 0)
    a.link.faults["b"] = Fault.DOWN
    await mesh.clock.advance(400)
    before = len(a.link.questions)
    del a.link.faults["b"]
    a.link.most_under_way = 0

    for number in range(50):
        await a.hear(a_message(f"m-{number}", sender="b"), proven("b"))
    await mesh.clock.advance(2)

    assert len(a.link.questions) - before <= 100
    assert a.link.most_under_way == 1
    b.executor.release()
    await mesh.clock.advance(1200)
    assert tasks.unsettled(a.database.read, PeerId("b"), 300) == []


async def test_a_request_that_nobody_confirmed_is_found_at_the_doer(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    a.link.faults["b"] = Fault.LOSE_ANSWER
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    a.link.faults["b"] = Fault.DOWN
    b.executor.release()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).assumed)

    a.link.faults.clear()
    await mesh.clock.advance(400)

    assert (a.task(asked.local_id).result, a.task(asked.local_id).assumed) == ("done: count", False)
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def test_what_never_arrived_is_known_not_to_have_once_the_peer_says_so(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    a.link.faults["b"] = Fault.LOSE_REQUEST
    asked = await a.delegate("b")
    await settle()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).assumed)
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN

    a.link.faults.clear()
    await mesh.clock.advance(600)

    task, delivery = a.task(asked.local_id), a.delivery(asked.local_id)
    assert (delivery.state, delivery.error) == (DeliveryState.EXPIRED, "b did not get it in time")
    assert (task.error and task.error.code, task.assumed) == ("expired", True)
    assert b.executor.runs == []
    await soon(a.node.mail.resend(asked.local_id))
    b.executor.release()
    await mesh.clock.advance(600)
    assert a.task(asked.local_id).result == "done: count"


async def test_a_request_that_may_be_on_its_way_is_not_missed(mesh: Mesh) -> None:
    a, _ = await one_way(mesh)
    a.link.faults["b"] = Fault.LOSE_REQUEST
    asked = await a.delegate("b")
    await settle()
    a.link.faults["b"] = Fault.BLACK_HOLE
    await mesh.clock.advance(LONGEST_S)
    assert a.delivery(asked.local_id).state in {DeliveryState.SENT, DeliveryState.UNKNOWN}

    assert not a.task(asked.local_id).final
    a.link.gate.set()


async def test_a_doer_that_lost_its_state_is_not_waited_for_any_longer(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    asked = await a.delegate("b", session="agent:main:main")
    await until(lambda: a.delivery(asked.local_id).state is DeliveryState.DELIVERED)
    await mesh.clock.advance(3)
    await b.stop()
    b.path.unlink()
    await b.start()

    await mesh.clock.advance(2 * LOOK_S)

    task = a.task(asked.local_id)
    assert (task.state, task.assumed) == (TaskState.FAILED, True)
    assert task.error is not None
    assert (task.error.code, task.error.detail) == (
        "unknown",
        "b took it, and does not know it any more; its last word was working",
    )
    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [asked.local_id]
    questions = len(a.link.questions)
    await mesh.clock.advance(900)
    assert len(a.link.questions) == questions


async def test_a_doer_that_never_comes_back_is_not_waited_for_for_ever(mesh: Mesh) -> None:
    a, _ = await one_way(mesh)
    task = (await a.delegate("b", session="agent:main:main")).local_id
    await until(lambda: a.delivery(task).state is DeliveryState.DELIVERED)
    a.link.faults["b"] = Fault.DOWN

    await mesh.clock.jump(SILENCE_S - 3600)
    await mesh.clock.advance(900)
    assert not a.task(task).final
    await mesh.clock.jump(3600)
    await mesh.clock.advance(900)

    ended = a.task(task)
    assert (ended.state, ended.assumed) == (TaskState.FAILED, True)
    assert ended.error == TaskError(code="silent", detail="b took it, and was not heard of for 31 days")
    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [task]


async def test_a_doer_that_was_silent_for_long_is_asked_again_once_it_is_back(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    task = await handed_over(a, b)
    a.link.faults["b"] = Fault.DOWN
    await mesh.clock.jump(SILENCE_S)
    await mesh.clock.advance(900)
    assert a.task(task).final
    del a.link.faults["b"]

    await mesh.clock.advance(900)

    ended = a.task(task)
    assert (ended.error and ended.error.code, ended.assumed) == ("timed-out", False)


async def test_a_peer_that_does_not_tell_is_asked_no_more_than_one_that_is_off(mesh: Mesh) -> None:
    a, b = await one_way(mesh)
    await handed_over(a, b)
    a.link.faults["b"] = Fault.BREAK

    await mesh.clock.advance(900)

    assert len(a.link.questions) <= 12
    assert a.running


async def test_the_questions_are_found_by_an_index(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    plans = [
        " ".join(str(row) for row in a.database.read.rows(f"EXPLAIN QUERY PLAN {query}", *values))
        for query, values in (
            (tasks.UNSETTLED, ("b", 1, 0)),
            (tasks.PEERS_ASKED, ()),
        )
    ]

    assert all("tasks_unsettled" in plan for plan in plans), plans
