"""Tasks that are ended before their time: at once, while they run, on their way, and down the chain."""

from typing import Any

import pytest

from lanmesh.engine.retry import LONGEST_S
from lanmesh.errors import IllegalTransition, NotAllowed, PeerUnreachable, RouteNotFound, TaskNotFound
from lanmesh.model.delivery import TTL_S, DeliveryState
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import LocalId
from lanmesh.model.task import AcceptMode, Task, TaskError, TaskMode, TaskState
from tests.fakes import (
    SHARED_CALLER,
    FakeExecutor,
    Fault,
    Mesh,
    NodeUnderTest,
    a_cancel,
    a_task,
    proven,
    settle,
    soon,
    until,
)

CANCELED, WORKING = TaskState.CANCELED, TaskState.WORKING


async def running(mesh: Mesh, **how: Any) -> tuple[NodeUnderTest, NodeUnderTest, Task]:
    """Return two nodes, and a task of the first that the second works on."""
    a, b = await mesh.pair(executor=FakeExecutor(**how))
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).state is WORKING or len(b.executor.runs) == 1)
    return a, b, asked


async def cancel(node: NodeUnderTest, name: str, **more: Any) -> Task:
    return await soon(node.node.tasks.cancel(name, **more))


def types_to(node: NodeUnderTest, peer: str) -> list[EnvelopeType]:
    return [envelope.type for envelope in node.link.sent_to(peer)]


async def test_a_task_that_runs_is_stopped_and_both_sides_say_so(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)

    told = await cancel(a, asked.local_id)
    await until(lambda: a.task(asked.local_id).final)

    assert told.canceling == "the owner of a canceled it"
    at_b = b.task(asked.wire_id)
    assert b.executor.canceled == [at_b.local_id]
    assert b.executor.history[-1] == f"abort {at_b.local_id}"
    for task in (a.task(asked.local_id), at_b):
        assert (task.state, task.canceling, task.boot) == (CANCELED, None, None)
        assert task.error == TaskError(code="canceled", detail='"a" canceled it')
    assert b.history(asked.wire_id)[:4] == ["submit", "claim", "stop", "cancel"]


async def test_it_is_canceling_at_both_sides_until_its_run_has_ended(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    b.executor.hold_aborts()

    await cancel(a, asked.local_id)
    await until(lambda: len(b.executor.history) == 2)
    await settle()
    meanwhile = [a.task(asked.local_id), b.task(asked.wire_id)]
    b.executor.release_aborts()
    await until(lambda: a.task(asked.local_id).final)

    for task in meanwhile:
        assert task.state is not CANCELED
        assert task.canceling is not None
    assert a.task(asked.local_id).state is CANCELED


async def test_a_slot_is_free_again_after_a_cancel(mesh: Mesh) -> None:
    a, b, first = await running(mesh)
    await a.delegate("b", "another")
    await until(lambda: len(b.executor.runs) == 2)
    third = await a.delegate("b", "one more")
    await settle()
    assert len(b.executor.runs) == 2

    await cancel(a, first.local_id)

    await until(lambda: len(b.executor.runs) == 3)
    assert b.executor.runs[2].wire_id == third.wire_id


async def test_a_task_that_waits_at_its_doer_is_canceled_at_once(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"], accept_mode=AcceptMode.MANUAL)
    await a.start()
    await b.start()
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).waiting_for is not None)

    await cancel(a, asked.local_id)
    await until(lambda: a.task(asked.local_id).final)

    assert (b.task(asked.wire_id).state, b.executor.runs) == (CANCELED, [])
    with pytest.raises(IllegalTransition, match="it is canceled"):
        await soon(b.node.tasks.approve(asked.wire_id))
    assert b.task(asked.wire_id).state is CANCELED


async def test_a_request_that_nobody_has_is_withdrawn_and_never_sent(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"])
    await a.start()
    asked = await a.delegate("b")
    await until(lambda: a.has_delivery(asked.local_id, DeliveryState.QUEUED))
    await settle()
    assert a.delivery(asked.local_id).attempts == 1

    told = await cancel(a, asked.local_id)
    await b.start()
    await mesh.clock.advance(3600)

    assert told.state is CANCELED
    assert a.delivery(asked.local_id).state is DeliveryState.WITHDRAWN
    assert b.node.tasks.page(10) == []
    assert types_to(a, "b").count(EnvelopeType.CANCEL) == 0


async def test_a_cancel_waits_for_a_peer_that_is_down(mesh: Mesh) -> None:
    a, b, asked = await running(mesh, outlives=True)
    await b.crash()

    await cancel(a, asked.local_id)
    await mesh.clock.advance(600)
    waiting = a.task(asked.local_id)
    await a.restart()
    await b.start()
    await mesh.clock.advance(120)

    assert (waiting.final, waiting.canceling) == (False, "the owner of a canceled it")
    assert a.task(asked.local_id).final
    assert b.executor.canceled == [b.task(asked.wire_id).local_id] * 2, "by the crash, and by the cancel"


async def test_a_lost_answer_to_a_cancel_ends_nothing_twice(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    a.link.faults["b"] = Fault.LOSE_ANSWER

    await cancel(a, asked.local_id)
    await until(lambda: b.task(asked.wire_id).final)
    del a.link.faults["b"]
    await mesh.clock.advance(60)

    assert a.task(asked.local_id).state is CANCELED
    assert b.history(asked.wire_id).count("cancel") == 1
    assert types_to(a, "b").count(EnvelopeType.CANCEL) > 1


async def test_to_cancel_again_is_to_cancel_once(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    b.executor.hold_aborts()

    first = await cancel(a, asked.local_id)
    again = await cancel(a, asked.local_id)
    await settle()
    b.executor.release_aborts()
    await until(lambda: a.task(asked.local_id).final)
    after = await cancel(a, asked.local_id)

    assert again.canceling == first.canceling
    assert types_to(a, "b").count(EnvelopeType.CANCEL) == 1
    assert after == a.task(asked.local_id)


async def test_a_cancel_after_the_end_finds_the_finished_task(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    asked = await a.delegate("b")
    await until(lambda: b.task(asked.wire_id).final if b.node.tasks.page(1) else False)

    report = await b.receive(a_cancel(asked.wire_id, sender="a"), proven("a"))
    told = await cancel(b, asked.wire_id)

    assert (report.state, report.result) == (TaskState.COMPLETED, "done: count")
    assert told.state is TaskState.COMPLETED
    assert "cancel" not in b.history(asked.wire_id)


async def test_a_reply_that_is_stored_before_the_run_has_ended_wins(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    b.executor.hold_aborts()
    local_id = b.task(asked.wire_id).local_id
    await cancel(a, asked.local_id)
    await until(lambda: len(b.executor.history) == 2)

    await soon(b.node.tasks.reply(local_id, "just in time"))
    b.executor.release_aborts()
    await until(lambda: a.task(asked.local_id).final)
    await settle()

    for task in (a.task(asked.local_id), b.task(local_id)):
        assert (task.state, task.result, task.canceling) == (TaskState.COMPLETED, "just in time", None)


async def test_a_reply_after_the_cancel_is_refused(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    await cancel(a, asked.local_id)
    await until(lambda: b.task(asked.wire_id).final)

    with pytest.raises(IllegalTransition, match="is canceled already: this reply comes too late"):
        await soon(b.node.tasks.reply(b.task(asked.wire_id).local_id, "too late"))

    assert b.task(asked.wire_id).state is CANCELED


async def test_what_cannot_be_stopped_is_said_and_goes_on(mesh: Mesh) -> None:
    a, b, asked = await running(mesh, outlives=True)
    b.executor.unstoppable = "this version cannot end a turn"

    await cancel(a, asked.local_id)
    await until(lambda: a.task(asked.local_id).not_stopped is not None)
    at_a, at_b = a.task(asked.local_id), b.task(asked.wire_id)
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    for task in (at_a, at_b):
        assert (task.state, task.canceling) == (WORKING, None)
        assert task.not_stopped == "this version cannot end a turn"
    assert len(b.executor.resumed) == 1
    assert a.task(asked.local_id).state is TaskState.COMPLETED
    assert b.history(asked.wire_id)[:4] == ["submit", "claim", "stop", "go-on"]
    assert EnvelopeType.CANCEL_RESULT in types_to(b, "a")


async def test_what_could_not_be_stopped_may_be_canceled_again(mesh: Mesh) -> None:
    a, b, asked = await running(mesh, outlives=True)
    b.executor.unstoppable = "not now"
    await cancel(a, asked.local_id)
    await until(lambda: a.task(asked.local_id).not_stopped is not None)
    b.executor.unstoppable = None

    await cancel(a, asked.local_id)
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).state is CANCELED


async def test_a_run_whose_end_is_never_confirmed_is_said_to_go_on(mesh: Mesh) -> None:
    a, b, asked = await running(mesh, outlives=True)
    b.executor.hold_aborts()

    await cancel(a, asked.local_id)
    await until(lambda: len(b.executor.history) == 2)
    await mesh.clock.advance(31)

    task = a.task(asked.local_id)
    assert task.not_stopped == "what runs it did not confirm its end within 30 s"


@pytest.mark.parametrize("outlives", [True, False])
async def test_a_cancel_is_not_forgotten_by_a_node_that_dies_over_it(mesh: Mesh, outlives: bool) -> None:
    a, b, asked = await running(mesh, outlives=outlives, repeatable=True)
    b.executor.hold_aborts()
    await cancel(a, asked.local_id)
    await until(lambda: len(b.executor.history) == 2)

    await b.crash()
    b.executor.release_aborts()
    await b.start()
    await mesh.clock.advance(120)

    assert a.task(asked.local_id).state is CANCELED
    assert len(b.executor.runs) == 1


async def test_a_run_that_is_given_back_while_it_is_canceled_is_not_begun_anew(mesh: Mesh) -> None:
    a, b, asked = await running(mesh, repeatable=True)
    b.executor.hold_aborts()
    await cancel(a, asked.local_id)
    await until(lambda: len(b.executor.history) == 2)

    await b.restart()
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).state is CANCELED
    assert len(b.executor.runs) == 1


async def test_a_cancel_that_overtakes_its_task_refuses_it_when_it_comes(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()

    told = await b.receive(a_cancel("t-1", sender="a"), proven("a"))
    await b.restart()
    first = await b.receive(a_task("t-1", sender="a"), proven("a"))
    again = await b.receive(a_task("t-1", sender="a"), proven("a"))
    await settle()

    assert (told.state, told.local_id) == (CANCELED, "")
    assert (first.state, first) == (CANCELED, again)
    assert b.executor.runs == []
    assert b.history("t-1") == ["submit"]


async def test_a_cancel_refuses_no_task_of_another_origin(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c"])
    await b.start()

    await b.receive(a_cancel("t-1", sender="a"), proven("a"))
    taken = await b.receive(a_task("t-1", sender="c"), proven("c"))
    await b.receive(a_cancel("t-2", id="c-2", sender="a-script"))
    earlier = await b.receive(a_task("t-2", sender="a"), proven("a"))

    assert taken.state is TaskState.SUBMITTED
    assert earlier.state is TaskState.SUBMITTED


async def test_a_cancel_under_the_shared_token_counts_once_its_sender_has_a_token_of_its_own(
    mesh: Mesh,
) -> None:
    b = mesh.describe("b", peers=["a"], proven=False)
    await b.start()

    await b.receive(a_cancel("t-1", sender="a"))
    taken = await b.receive(a_task("t-1", sender="a"), proven("a"))

    assert taken.state is CANCELED


async def test_a_request_that_may_have_arrived_is_canceled_over_there(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    a.link.faults["b"] = Fault.LOSE_REQUEST
    asked = await a.delegate("b")
    await until(lambda: a.delivery(asked.local_id).state is DeliveryState.UNKNOWN)

    told = await cancel(a, asked.local_id)
    del a.link.faults["b"]
    await mesh.clock.advance(120)

    assert (told.state, told.canceling is not None) == (TaskState.SUBMITTED, True)
    assert a.task(asked.local_id).state is CANCELED
    assert b.task(asked.wire_id).state is CANCELED
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def chain(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, NodeUnderTest, Task, Task]:
    """Return three nodes, and two tasks that run: of a at b, and what came of it at c."""
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a", "c"])
    c = mesh.describe("c", peers=["b"])
    for node in (a, b, c):
        await node.start()
        node.executor.hold()
    first = await a.delegate("b", "plan")
    await until(lambda: len(b.executor.runs) == 1)
    second = await b.delegate("c", "work", parent=b.executor.runs[0].local_id)
    await until(lambda: len(c.executor.runs) == 1)
    await settle()
    return a, b, c, first, second


async def test_what_a_canceled_task_has_delegated_is_canceled_down_the_chain(mesh: Mesh) -> None:
    a, b, c, first, second = await chain(mesh)

    await cancel(a, first.local_id)
    await until(lambda: a.task(first.local_id).final and b.task(second.local_id).final)

    assert {a.task(first.local_id).state, b.task(first.wire_id).state} == {CANCELED}
    assert {b.task(second.local_id).state, c.task(second.wire_id).state} == {CANCELED}
    assert (len(b.executor.canceled), len(c.executor.canceled)) == (1, 1)


async def test_the_chain_is_canceled_even_where_its_end_is_down(mesh: Mesh) -> None:
    a, b, c, first, second = await chain(mesh)
    await c.crash()

    await cancel(a, first.local_id)
    await until(lambda: a.task(first.local_id).final)
    await b.crash()
    await b.start()
    await c.start()
    await mesh.clock.advance(120)

    assert b.task(second.local_id).final
    assert c.task(second.wire_id).final
    assert len(c.executor.runs) == 1


async def test_the_run_of_a_canceled_task_can_ask_for_nothing_more(mesh: Mesh) -> None:
    a, b, c, first, _ = await chain(mesh)
    b.executor.hold_aborts()
    await cancel(a, first.local_id)
    await until(lambda: b.task(first.wire_id).canceling is not None)

    with pytest.raises(IllegalTransition, match="was canceled: its run can ask for nothing more"):
        await b.delegate("c", "more", parent=b.task(first.wire_id).local_id)

    b.executor.release_aborts()
    await until(lambda: a.task(first.local_id).final)
    with pytest.raises(IllegalTransition):
        await b.delegate("c", "more", parent=b.task(first.wire_id).local_id)
    assert len(c.node.tasks.page(10)) == 1


async def test_what_another_task_has_delegated_goes_on(mesh: Mesh) -> None:
    a, b, c, first, second = await chain(mesh)
    other = await b.delegate("c", "something else")
    await until(lambda: len(c.executor.runs) == 2)

    await cancel(a, first.local_id)
    await until(lambda: b.task(second.local_id).final)
    c.executor.release()
    await until(lambda: b.task(other.local_id).final)

    assert b.task(other.local_id).state is TaskState.COMPLETED


async def test_the_owner_may_cancel_what_is_done_here_and_its_asker_is_told(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)

    await cancel(b, asked.wire_id)
    await until(lambda: a.task(asked.local_id).final)

    for task in (a.task(asked.local_id), b.task(asked.wire_id)):
        assert task.error == TaskError(code="canceled", detail="the owner of b canceled it")


async def test_a_run_cancels_only_what_it_has_asked_for(mesh: Mesh) -> None:
    a, b, _c, first, second = await chain(mesh)
    parent = b.task(first.wire_id).local_id
    other = await b.delegate("c", "something else")

    for name in (parent, other.local_id):
        with pytest.raises(NotAllowed, match="has not asked for task"):
            await cancel(b, name, run=parent)
    await cancel(b, second.local_id, run=parent)
    await until(lambda: b.task(second.local_id).final)

    assert not a.task(first.local_id).final
    with pytest.raises(TaskNotFound):
        await cancel(b, "none", run=LocalId("x"))


async def test_one_who_sent_a_task_to_be_forgotten_is_told_that_it_was_canceled(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    a = mesh.describe("a", peers=["b"])
    await a.start()
    await b.start()
    b.executor.hold()
    await b.receive(a_task(sender="a", mode=TaskMode.FIRE_AND_FORGET), proven("a"))
    await until(lambda: len(b.executor.runs) == 1)

    report = await b.receive(a_cancel("t-1", sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final and types_to(b, "a") != [])

    assert (report.state, report.canceling) == (WORKING, True)
    assert types_to(b, "a") == [EnvelopeType.CANCEL_RESULT]


async def test_only_the_origin_of_a_task_may_cancel_it(mesh: Mesh) -> None:
    _a, b, asked = await running(mesh)

    report = await b.receive(a_cancel(asked.wire_id, sender="asker"), SHARED_CALLER)
    with pytest.raises(TaskNotFound):
        await soon(b.node.arrivals.cancel_named(SHARED_CALLER, asked.wire_id))

    assert report.local_id == ""
    assert b.task(asked.wire_id).canceling is None


@pytest.mark.parametrize(
    "fault", [RouteNotFound("there is nothing at this address"), PeerUnreachable("no route to host")]
)
async def test_a_cancel_that_comes_to_nothing_leaves_the_task_as_it_was(
    mesh: Mesh, fault: RouteNotFound | PeerUnreachable
) -> None:
    a, b, asked = await running(mesh)
    a.link.faults["b"], b.link.faults["a"] = fault, Fault.DOWN

    await cancel(a, asked.local_id)
    await mesh.clock.jump(24 * 3600)
    await mesh.clock.advance(120)

    task = a.task(asked.local_id)
    assert (task.final, task.canceling) == (False, None)
    assert task.not_stopped is not None
    assert fault.detail in task.not_stopped
    assert b.task(asked.wire_id).final, "by its deadline"


async def test_a_deadline_that_passes_while_a_run_is_stopped_is_not_waited_for(mesh: Mesh) -> None:
    a, b, asked = await running(mesh)
    b.executor.unstoppable = "it does not hear"

    await mesh.clock.advance(601)
    await until(lambda: a.task(asked.local_id).final)

    error = a.task(asked.local_id).error
    assert error is not None
    assert error.detail == "it took longer than its 600 s; it could not be stopped: it does not hear"


async def test_a_task_whose_end_is_only_assumed_is_canceled_where_it_may_still_run(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor())
    b.executor.hold()
    a.link.faults["b"], b.link.faults["a"] = Fault.LOSE_ANSWER, Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).final)
    assert b.task(asked.wire_id).state is TaskState.FAILED or b.executor.runs
    a.link.faults.clear()

    told = await cancel(a, asked.local_id)
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: a.task(asked.local_id).canceling is None)

    assert (told.state, told.canceling) == (TaskState.FAILED, "the owner of a canceled it")
    assert EnvelopeType.CANCEL in types_to(a, "b")
    assert not a.task(asked.local_id).assumed
    assert a.task(asked.local_id).state is b.task(asked.wire_id).state


async def test_a_task_that_surely_never_arrived_is_not_canceled_at_its_peer(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).final)

    told = await cancel(a, asked.local_id)

    assert (told.state, told.canceling) == (TaskState.FAILED, None)
    assert a.node.numbers().queued == 0
