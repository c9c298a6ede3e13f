"""What the owner decides: whether tasks are taken, and each one that waits for a word; and deadlines."""

import pytest

from lanmesh.errors import IllegalTransition, InvalidRequest, TasksNotAccepted
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.task import APPROVAL_S, AcceptMode, TaskState, WaitingFor
from lanmesh.store import tasks
from tests.fakes import EPOCH, Mesh, NodeUnderTest, a_task, proven, settle, soon, until


async def cautious(mesh: Mesh, mode: AcceptMode = AcceptMode.MANUAL) -> tuple[NodeUnderTest, NodeUnderTest]:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"], accept_mode=mode)
    await a.start()
    await b.start()
    return a, b


async def test_a_task_waits_for_approval_and_its_asker_sees_so(mesh: Mesh) -> None:
    a, b = await cautious(mesh)

    asked = await a.delegate("b")
    await mesh.clock.advance(3600)

    for task in (a.task(asked.local_id), b.task(asked.wire_id)):
        assert (task.state, task.waiting_for) == (TaskState.SUBMITTED, WaitingFor.APPROVAL)
    assert b.executor.runs == []
    assert b.node.numbers().approvals == 1
    assert a.node.numbers().approvals == 0


async def test_an_approved_task_is_run_and_its_deadline_counts_from_then(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    asked = await soon(a.node.tasks.delegate("b", "count", timeout_s=10))
    await mesh.clock.advance(3600)
    b.executor.hold()

    approved = await soon(b.node.tasks.approve(asked.wire_id))
    await mesh.clock.advance(9)
    still_running = b.task(asked.wire_id).state
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    assert (approved.state, approved.waiting_for) == (TaskState.SUBMITTED, None)
    assert still_running is TaskState.WORKING
    assert a.task(asked.local_id).result == "done: count"
    assert b.history(asked.wire_id)[:3] == ["submit", "approve", "claim"]


async def test_a_denied_task_is_rejected_on_both_sides(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    asked = await a.delegate("b")
    await settle()

    await soon(b.node.tasks.deny(asked.wire_id))
    await until(lambda: a.task(asked.local_id).final)

    for task in (a.task(asked.local_id), b.task(asked.wire_id)):
        assert (task.state, task.waiting_for) == (TaskState.REJECTED, None)
        assert task.error is not None
        assert (task.error.code, task.error.detail) == ("denied", "the owner of b denied it")
    assert b.executor.runs == []


async def test_what_is_decided_is_not_decided_again(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    first, second = await a.delegate("b"), await a.delegate("b")
    await settle()
    b.executor.hold()
    await soon(b.node.tasks.approve(first.wire_id))
    await soon(b.node.tasks.deny(second.wire_id))

    for name in (first.wire_id, second.wire_id):
        for decide in (b.node.tasks.approve, b.node.tasks.deny):
            with pytest.raises(IllegalTransition):
                await soon(decide(name))
    b.executor.release()
    await until(lambda: b.task(first.wire_id).final)
    for decide in (b.node.tasks.approve, b.node.tasks.deny):
        with pytest.raises(IllegalTransition):
            await soon(decide(first.wire_id))

    assert b.task(first.wire_id).state is TaskState.COMPLETED


async def test_the_asker_does_not_decide_for_the_doers_owner(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    asked = await a.delegate("b")
    await settle()

    for decide in (a.node.tasks.approve, a.node.tasks.deny):
        with pytest.raises(IllegalTransition):
            await soon(decide(asked.local_id))
    await settle()

    assert a.task(asked.local_id).waiting_for is WaitingFor.APPROVAL
    assert b.task(asked.wire_id).waiting_for is WaitingFor.APPROVAL


async def test_a_decision_survives_a_crash(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    asked = await a.delegate("b")
    await settle()
    b.executor.hold()
    await soon(b.node.tasks.approve(asked.wire_id))
    await b.crash()

    b.executor.repeatable = True
    b.executor.release()
    await b.start()
    await settle()

    assert b.history(asked.wire_id)[:2] == ["submit", "approve"]
    assert b.task(asked.wire_id).waiting_for is None


async def test_a_repeat_of_an_approved_task_gets_the_first_answer(mesh: Mesh) -> None:
    _, b = await cautious(mesh)
    first = await b.receive(a_task(sender="a"), proven("a"))
    await soon(b.node.tasks.approve("t-1"))
    await until(lambda: b.task("t-1").final)

    again = await b.receive(a_task(sender="a"), proven("a"))

    assert again == first
    assert again.waiting_for is WaitingFor.APPROVAL


async def test_a_node_that_takes_no_tasks_says_so_and_stores_nothing(mesh: Mesh) -> None:
    a, b = await cautious(mesh, AcceptMode.OFF)

    with pytest.raises(TasksNotAccepted):
        await b.receive(a_task())
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert b.tasks_of_others() == []
    assert a.task(asked.local_id).state is TaskState.REJECTED
    assert a.delivery(asked.local_id).state is DeliveryState.REFUSED


async def test_a_refused_id_may_be_used_once_tasks_are_taken(mesh: Mesh) -> None:
    _, b = await cautious(mesh, AcceptMode.OFF)
    with pytest.raises(TasksNotAccepted):
        await b.receive(a_task())

    await soon(b.node.modes.decide(AcceptMode.AUTO))
    await b.receive(a_task())
    await until(lambda: b.task("t-1").final)

    assert b.task("t-1").state is TaskState.COMPLETED


async def test_what_waits_still_waits_when_tasks_are_accepted_at_once(mesh: Mesh) -> None:
    _, b = await cautious(mesh)
    await b.receive(a_task("t-1"))

    await soon(b.node.modes.decide(AcceptMode.AUTO))
    await b.receive(a_task("t-2"))
    await until(lambda: b.task("t-2").final)

    assert b.task("t-1").waiting_for is WaitingFor.APPROVAL


async def test_the_accept_mode_decided_at_run_time_holds_until_the_configured_one_changes(mesh: Mesh) -> None:
    b = mesh.describe("b", accept_mode=AcceptMode.AUTO)
    await b.start()
    await soon(b.node.modes.decide(AcceptMode.OFF))

    await b.restart()
    after_restart = b.node.modes.general()
    b.accept_mode = AcceptMode.MANUAL
    await b.restart()
    after_change = b.node.modes.general()
    b.accept_mode = AcceptMode.AUTO
    await b.restart()

    assert after_restart is AcceptMode.OFF
    assert after_change is AcceptMode.MANUAL
    assert b.node.modes.general() is AcceptMode.AUTO


async def test_a_run_beyond_its_time_is_ended_and_fails(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await soon(a.node.tasks.delegate("b", "count", timeout_s=10))
    await until(lambda: len(b.executor.runs) == 1)

    await mesh.clock.advance(9.999)
    assert b.executor.canceled == []
    await mesh.clock.advance(0.001)
    await until(lambda: a.task(asked.local_id).final)

    assert b.executor.canceled == [b.task(asked.wire_id).local_id]
    error = a.task(asked.local_id).error
    assert error is not None
    assert (error.code, error.detail) == ("timed-out", "it took longer than its 10 s")


async def test_waiting_for_its_turn_does_not_count_against_a_deadline(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()
    b.executor.hold()
    for number in range(3):
        await b.receive(a_task(f"t-{number}", timeout_s=10 if number == 2 else 3600))
    await mesh.clock.advance(60)
    b.executor.release()
    await until(lambda: all(task.final for task in b.tasks_of_others()))

    assert {task.state for task in b.tasks_of_others()} == {TaskState.COMPLETED}
    assert b.task("t-2").started_at == mesh.clock.now()


async def test_a_task_cannot_pass_for_another_by_the_id_that_its_asker_chose(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], accept_mode=AcceptMode.MANUAL)
    await b.start()
    seen = await b.receive(a_task("good", "benign"))
    await b.receive(a_task(seen.local_id, "evil"))
    await b.receive(a_task(seen.local_id[:8], "evil"))

    approved = await soon(b.node.tasks.approve(seen.local_id))
    with pytest.raises(InvalidRequest, match="more than one task"):
        await soon(b.node.tasks.approve(seen.local_id[:8]))

    assert (approved.wire_id, approved.description) == ("good", "benign")


async def test_what_nobody_decides_in_time_is_rejected_and_its_asker_is_told(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    asked = await a.delegate("b", session="agent:main:main")
    await settle()
    assert b.task(asked.wire_id).decide_by == EPOCH + APPROVAL_S

    await mesh.clock.jump(APPROVAL_S - 60)
    assert not b.task(asked.wire_id).final
    await mesh.clock.advance(120)
    await until(lambda: a.task(asked.local_id).final)

    for task in (a.task(asked.local_id), b.task(asked.wire_id)):
        assert (task.state, task.waiting_for, task.assumed) == (TaskState.REJECTED, None, False)
        assert task.error is not None
        assert (task.error.code, task.error.detail) == (
            "expired",
            "the owner of b did not decide within 72 h",
        )
    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [asked.local_id]
    assert b.executor.runs == []
    with pytest.raises(IllegalTransition):
        await soon(b.node.tasks.approve(asked.wire_id))


async def test_the_end_of_the_wait_comes_also_over_a_crash_and_a_sleep_of_the_machine(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    first = await a.delegate("b", "first")
    await settle()
    await b.crash()
    await mesh.clock.jump(APPROVAL_S + 1)
    await b.start()
    await until(lambda: b.task(first.wire_id).final)
    second = await a.delegate("b", "second")
    await until(lambda: a.delivery(second.local_id).state is DeliveryState.DELIVERED)

    await mesh.clock.jump(2 * APPROVAL_S)
    await until(lambda: b.task(second.wire_id).final)

    assert b.task(second.wire_id).state is TaskState.REJECTED


async def test_many_that_nobody_decided_end_and_those_decided_do_not(mesh: Mesh) -> None:
    _, b = await cautious(mesh)
    for number in range(130):
        await b.receive(a_task(f"t-{number}", sender="a"), proven("a"))
    await soon(b.node.tasks.approve("t-7"))
    await mesh.clock.jump(APPROVAL_S + 1)
    await until(lambda: b.node.tasks.awaiting_approval(10) == [])

    assert b.task("t-7").state is TaskState.COMPLETED
    assert b.task("t-129").state is TaskState.REJECTED
    assert b.node.numbers().approvals == 0


async def test_the_queue_tells_what_waits_and_what_was_not_told_yet(mesh: Mesh) -> None:
    a, b = await cautious(mesh)
    first = await a.delegate("b", "first")
    await mesh.clock.advance(60)
    second = await a.delegate("b", "second")
    await settle()

    queue = b.node.tasks.awaiting_approval(10)
    await soon(b.node.tasks.mark_told(queue[0]))

    assert [task.wire_id for task in queue] == [first.wire_id, second.wire_id]
    untold = b.node.tasks.awaiting_approval(10, untold=True)
    assert [task.wire_id for task in untold] == [second.wire_id]
    assert a.node.tasks.awaiting_approval(10) == []
    assert a.task(first.local_id).decide_by is None
    (plan, *_) = b.database.read.rows(f"EXPLAIN QUERY PLAN {tasks.AWAITING}", False, 1)
    assert "tasks_awaiting" in str(plan)
