"""Agents that ask and agents that do: equal delegations, parents, replies."""

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.engine.ports import Interrupted, NotBegun
from lanmesh.errors import IllegalTransition, InvalidRequest, TaskNotFound
from lanmesh.model.task import Outcome, Task, TaskError, TaskState
from lanmesh.protocol.json import MAX_RESULT_BYTES
from tests.fakes import FakeExecutor, Mesh, NodeUnderTest, a_task, done, settle, soon, until

CHAT = "agent:main:main"
OTHER = "agent:main:telegram:42"


async def busy(mesh: Mesh) -> NodeUnderTest:
    """Return `a`, whose peers `b` and `c` are off."""
    a = mesh.describe("a", peers=["b", "c"])
    await a.start()
    return a


async def read(node: NodeUnderTest, task: Task) -> None:
    await soon(node.node.tasks.mark_read(task.local_id, node.task(task.local_id).version))


async def test_the_same_of_the_same_session_is_the_task_that_is_open(mesh: Mesh) -> None:
    a = await busy(mesh)

    first = await a.delegate("b", session=CHAT)
    again = await a.delegate("b", session=CHAT)

    assert again.local_id == first.local_id
    assert len(a.node.tasks.page(10)) == 1


async def test_what_differs_in_session_peer_or_text_is_another_task(mesh: Mesh) -> None:
    a = await busy(mesh)

    tasks = [
        await a.delegate("b", session=CHAT),
        await a.delegate("b", session=OTHER),
        await a.delegate("c", session=CHAT),
        await a.delegate("b", "count ", session=CHAT),
        await a.delegate("b"),
        await a.delegate("b"),
    ]

    assert len({task.local_id for task in tasks}) == len(tasks)


async def test_an_outcome_that_the_session_has_not_had_is_the_answer_and_no_second_run(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    first = await a.delegate("b", session=CHAT)
    await until(lambda: a.task(first.local_id).final)

    again = await a.delegate("b", session=CHAT)
    assert (again.local_id, again.result) == (first.local_id, "done: count")

    await read(a, again)
    anew = await a.delegate("b", session=CHAT)
    await until(lambda: a.task(anew.local_id).final)

    assert anew.local_id != first.local_id
    assert len(b.executor.runs) == 2


async def test_an_outcome_that_was_pointed_out_but_not_read_is_still_the_answer(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    first = await a.delegate("b", session=CHAT)
    await until(lambda: a.task(first.local_id).final)
    assert [task.local_id for task in a.node.tasks.unread_outcomes()] == [first.local_id]

    await soon(a.node.tasks.mark_told(a.task(first.local_id)))

    assert a.node.tasks.unread_outcomes() == []
    assert (await a.delegate("b", session=CHAT)).local_id == first.local_id


async def test_a_task_that_is_open_cannot_be_read_away(mesh: Mesh) -> None:
    a = await busy(mesh)
    asked = await a.delegate("b", session=CHAT)

    await read(a, asked)

    assert a.task(asked.local_id).read_at is None
    assert (await a.delegate("b", session=CHAT)).local_id == asked.local_id


async def test_a_session_finds_its_task_after_a_restart_and_a_crash_of_the_node(mesh: Mesh) -> None:
    a = await busy(mesh)
    asked = await a.delegate("b", session=CHAT)

    await a.restart()
    assert (await a.delegate("b", session=CHAT)).local_id == asked.local_id
    await a.crash()
    await a.start()

    assert (await a.delegate("b", session=CHAT)).local_id == asked.local_id
    assert a.task(asked.local_id).session == CHAT


async def test_what_nobody_s_session_asked_for_waits_for_nobody_to_read_it(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert a.node.tasks.unread_outcomes() == []


async def test_a_task_s_run_is_the_parent_of_what_it_delegates(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.executor.hold()
    await a.receive(a_task())
    await until(lambda: len(a.executor.runs) == 1)
    parent = a.task("t-1")

    child = await a.delegate("b", parent=parent.local_id, session=f"agent:main:lan-task:{parent.local_id}")
    await until(lambda: len(b.executor.runs) == 1)

    assert (child.parent, child.chain.root_id) == (parent.local_id, "t-1")
    assert b.executor.runs[0].chain.path == ("a",)
    assert b.executor.runs[0].chain.root_id == "t-1"


async def test_what_was_asked_of_a_peer_is_no_run_and_no_parent(mesh: Mesh) -> None:
    a = await busy(mesh)
    asked = await a.delegate("b")

    with pytest.raises(InvalidRequest, match="has no run"):
        await a.delegate("c", parent=asked.local_id, session=CHAT)
    with pytest.raises(TaskNotFound):
        await a.delegate("c", parent="none-such", session=CHAT)


# --- replies -------------------------------------------------------------------------------------


async def doing(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, Task, Task]:
    """Return an asker and a doer, and the task as each of them has it while it is done."""
    a, b = await mesh.pair(executor=FakeExecutor(done("the turn's last words"), outlives=True))
    b.executor.hold()
    asked = await a.delegate("b", session=CHAT)
    await until(lambda: len(b.executor.runs) == 1)
    return a, b, asked, b.task(asked.wire_id)


async def test_the_first_reply_is_the_outcome_and_goes_to_the_asker(mesh: Mesh) -> None:
    a, b, asked, task = await doing(mesh)

    replied = await soon(b.node.tasks.reply(task.local_id, "42"))
    await until(lambda: a.task(asked.local_id).final)

    assert (replied.state, replied.result) == (TaskState.COMPLETED, "42")
    assert a.task(asked.local_id).result == "42"


async def test_the_same_reply_again_changes_nothing_and_another_is_refused(mesh: Mesh) -> None:
    _, b, _, task = await doing(mesh)
    replied = await soon(b.node.tasks.reply(task.local_id, "42"))

    again = await soon(b.node.tasks.reply(task.local_id, "42"))
    with pytest.raises(IllegalTransition, match="completed already: this reply comes too late"):
        await soon(b.node.tasks.reply(task.local_id, "43"))
    await settle()

    assert (again.state, again.result) == (replied.state, replied.result)
    assert b.task(task.local_id).result == "42"
    assert len([sent for sent in b.link.sent_to("a") if sent.reply_to]) == 1


async def test_the_outcome_of_a_run_that_has_been_replied_to_is_dropped(mesh: Mesh) -> None:
    a, b, asked, task = await doing(mesh)
    await soon(b.node.tasks.reply(task.local_id, "42"))

    b.executor.release()
    await settle()

    assert (b.task(task.local_id).result, a.task(asked.local_id).result) == ("42", "42")
    assert b.history(task.local_id)[:3] == ["submit", "claim", "complete"]
    assert "failed" not in b.history(task.local_id)


async def test_a_slot_is_free_again_after_a_run_that_was_replied_to(mesh: Mesh) -> None:
    _, b, _, task = await doing(mesh)
    await soon(b.node.tasks.reply(task.local_id, "42"))
    b.executor.release()

    for number in range(5):
        await b.receive(a_task(f"t-{number}"))
    await until(lambda: all(task.final for task in b.tasks_of_others()))


async def test_a_reply_after_the_turn_has_ended_is_too_late_unless_it_is_the_same(mesh: Mesh) -> None:
    a, b, asked, task = await doing(mesh)
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    with pytest.raises(IllegalTransition):
        await soon(b.node.tasks.reply(task.local_id, "42"))
    same = await soon(b.node.tasks.reply(task.local_id, "the turn's last words"))

    assert same.result == "the turn's last words"


async def test_a_reply_to_a_task_that_failed_is_too_late(mesh: Mesh) -> None:
    _, b, _, task = await doing(mesh)
    await mesh.clock.advance(task.timeout_s)
    assert b.task(task.local_id).state is TaskState.FAILED

    with pytest.raises(IllegalTransition, match="failed already"):
        await soon(b.node.tasks.reply(task.local_id, "42"))


async def test_what_a_peer_was_asked_for_is_not_replied_to_here(mesh: Mesh) -> None:
    a, _, asked, _ = await doing(mesh)

    with pytest.raises(TaskNotFound):
        await soon(a.node.tasks.reply(asked.local_id, "42"))
    with pytest.raises(TaskNotFound):
        await soon(a.node.tasks.reply("none-such", "42"))

    assert not a.task(asked.local_id).final


async def test_a_reply_that_is_too_long_is_cut_and_the_same_again_is_the_same(mesh: Mesh) -> None:
    _, b, _, task = await doing(mesh)
    long = "z" * (MAX_RESULT_BYTES + 5)

    first = await soon(b.node.tasks.reply(task.local_id, long))
    again = await soon(b.node.tasks.reply(task.local_id, long))

    assert (first.truncated, len(first.result or "")) == (True, MAX_RESULT_BYTES)
    assert (again.state, again.result) == (first.state, first.result)


# --- runs that go on without their node ------------------------------------------------------------


async def lasting(
    mesh: Mesh, *outcomes: Outcome | Exception, repeatable: bool = False
) -> tuple[NodeUnderTest, NodeUnderTest, Task]:
    """Return an asker, a doer whose run goes on without it, and the task."""
    a, b = await mesh.pair(executor=FakeExecutor(*outcomes, repeatable=repeatable, outlives=True))
    b.executor.host_boot = "gateway-boot-1"
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    return a, b, asked


@pytest.mark.parametrize("ending", ["stop", "crash"])
async def test_a_run_that_outlives_its_node_is_one_run(mesh: Mesh, ending: str) -> None:
    a, b, asked = await lasting(mesh)
    local_id = b.task(asked.wire_id).local_id

    await (b.stop() if ending == "stop" else b.crash())
    await b.start()
    await until(lambda: len(b.executor.resumed) == 1)
    assert b.task(local_id).state is TaskState.WORKING
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    assert (a.task(asked.local_id).result, a.task(asked.local_id).attempt) == ("done: count", 1)
    assert b.executor.history == [f"run {local_id}", f"resume {local_id}"]
    assert b.history(local_id)[:4] == ["submit", "claim", "adopt", "complete"]


async def test_a_resumed_run_is_known_by_the_boot_of_the_gateway_that_began_it(mesh: Mesh) -> None:
    _, b, _ = await lasting(mesh)
    await b.stop()
    b.executor.host_boot = "gateway-boot-2"

    await b.start()
    await until(lambda: len(b.executor.resumed) == 1)

    (resumed,) = b.executor.resumed
    assert (resumed.host_boot, resumed.boot, resumed.attempt) == ("gateway-boot-1", "b-boot-2", 1)


async def test_the_deadline_counts_from_the_first_claim(mesh: Mesh) -> None:
    _, b, asked = await lasting(mesh)
    await mesh.clock.advance(500)
    await b.stop()
    await mesh.clock.advance(50)

    await b.start()
    await until(lambda: len(b.executor.resumed) == 1)
    await mesh.clock.advance(49)
    assert b.task(asked.wire_id).state is TaskState.WORKING
    await mesh.clock.advance(1)

    task = b.task(asked.wire_id)
    assert (task.state, task.error) == (
        TaskState.FAILED,
        TaskError(code="timed-out", detail="it took longer than its 600 s"),
    )
    assert b.executor.history[-1] == f"abort {task.local_id}"


async def test_a_deadline_that_passed_while_the_node_was_off_ends_the_run_for_real(mesh: Mesh) -> None:
    a, b, asked = await lasting(mesh)
    await b.stop()
    await mesh.clock.advance(601)

    await b.start()
    await until(lambda: a.task(asked.local_id).final)

    error = a.task(asked.local_id).error
    assert error is not None
    assert error.code == "timed-out"
    assert b.executor.history.count(f"abort {b.task(asked.wire_id).local_id}") == 1


async def test_a_run_is_aborted_at_its_deadline_and_only_then(mesh: Mesh) -> None:
    _, b, asked = await lasting(mesh)
    local_id = b.task(asked.wire_id).local_id

    await mesh.clock.advance(600)

    assert b.executor.history == [f"run {local_id}", f"abort {local_id}"]
    assert b.task(local_id).error == TaskError(code="timed-out", detail="it took longer than its 600 s")


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_run_that_came_to_nothing_is_done_again_or_fails(mesh: Mesh, repeatable: bool) -> None:
    broken = Interrupted("the gateway knows nothing of it")
    a, b, asked = await lasting(mesh, broken, repeatable=repeatable)

    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    task = a.task(asked.local_id)
    if repeatable:
        assert (task.result, task.attempt, len(b.executor.runs)) == ("done: count", 2, 2)
        assert b.history(asked.wire_id)[:4] == ["submit", "claim", "run-again", "claim"]
    else:
        detail = "the gateway knows nothing of it; it may be done in part"
        assert task.error == TaskError(code="interrupted", detail=detail)
        assert len(b.executor.runs) == 1


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_run_that_cannot_be_resumed_is_done_again_or_fails(mesh: Mesh, repeatable: bool) -> None:
    lost = Interrupted("the gateway was restarted")
    a, b, asked = await lasting(mesh, done("never told"), lost, repeatable=repeatable)
    await b.stop()
    b.executor.release()

    await b.start()
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).state is (TaskState.COMPLETED if repeatable else TaskState.FAILED)
    assert len(b.executor.runs) == (2 if repeatable else 1)


async def test_an_adopted_run_that_waits_for_a_slot_is_not_begun_anew_after_the_next_stop(mesh: Mesh) -> None:
    b = mesh.describe("b", executor=FakeExecutor(outlives=True), limits=Limits(concurrency=2))
    await b.start()
    b.executor.hold()
    for name in ("t-1", "t-2"):
        await b.receive(a_task(name))
    await until(lambda: len(b.executor.runs) == 2)
    await b.stop()

    b.limits = Limits(concurrency=1)
    await b.start()
    await until(lambda: len(b.executor.resumed) == 1)
    await b.stop()
    b.executor.release()
    await b.start()
    await until(lambda: all(task.final for task in b.tasks_of_others()))

    assert len(b.executor.runs) == 2
    assert [task.attempt for task in b.tasks_of_others()] == [1, 1]
    assert all("run-again" not in b.history(name) for name in ("t-1", "t-2"))


async def test_a_reply_that_came_while_the_node_was_off_duty_is_the_end(mesh: Mesh) -> None:
    a, b, asked = await lasting(mesh)
    await b.restart()
    await until(lambda: len(b.executor.resumed) == 1)

    await soon(b.node.tasks.reply(b.task(asked.wire_id).local_id, "42"))
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)
    await settle()

    assert a.task(asked.local_id).result == b.task(asked.wire_id).result == "42"


async def test_nothing_is_claimed_before_work_can_be_begun(mesh: Mesh) -> None:
    b = mesh.describe("b", executor=FakeExecutor(outlives=True))
    b.executor.leave()
    await b.start()
    await b.receive(a_task())
    await settle()
    assert (b.task("t-1").state, b.task("t-1").attempt) == (TaskState.SUBMITTED, 0)

    b.executor.come_back()
    await until(lambda: b.task("t-1").final)

    assert b.task("t-1").attempt == 1


async def test_a_node_that_waits_for_its_gateway_can_be_stopped(mesh: Mesh) -> None:
    b = mesh.describe("b", executor=FakeExecutor(outlives=True))
    b.executor.leave()
    await b.start()
    await b.receive(a_task())

    await b.stop()
    b.executor.come_back()
    await b.start()
    await until(lambda: b.task("t-1").final)

    assert (b.task("t-1").state, b.task("t-1").attempt) == (TaskState.COMPLETED, 1)


async def test_a_run_that_was_never_begun_is_begun_anew_whatever_the_task(mesh: Mesh) -> None:
    a, _ = await mesh.pair(executor=FakeExecutor(NotBegun("the gateway knows nothing of it")))

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert (a.task(asked.local_id).result, a.task(asked.local_id).attempt) == ("done: count", 2)
