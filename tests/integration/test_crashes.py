"""A node that ends at the worst moment, and what its next boot makes of it."""

from dataclasses import replace

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.engine.ports import Interrupted, NotBegun
from lanmesh.engine.retry import LONGEST_S, MOST_TRIES
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.file import FileRef
from lanmesh.model.task import Outcome, TaskState
from lanmesh.store import tasks
from tests.fakes import FakeExecutor, Fault, Mesh, NodeUnderTest, a_task, done, settle, until


async def interrupted(mesh: Mesh, *, repeatable: bool) -> tuple[NodeUnderTest, NodeUnderTest, str]:
    """Return an asker, a doer that crashed in the middle of a run, and the task's wire id."""
    a, b = await mesh.pair(executor=FakeExecutor(repeatable=repeatable))
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    await b.crash()
    b.executor.release()
    return a, b, asked.wire_id


async def test_a_repeatable_task_whose_node_crashed_is_run_again(mesh: Mesh) -> None:
    a, b, name = await interrupted(mesh, repeatable=True)

    await b.start()
    await until(lambda: a.task(name).final)

    local_id = b.task(name).local_id
    assert b.executor.history == [f"run {local_id}", f"resume {local_id}", f"run {local_id}"]
    assert [run.attempt for run in b.executor.runs] == [1, 2]
    assert (a.task(name).result, a.task(name).attempt) == ("done: count", 2)
    assert b.history(name)[:6] == ["submit", "claim", "adopt", "run-again", "claim", "complete"]


async def test_a_task_that_must_not_be_repeated_fails_as_interrupted(mesh: Mesh) -> None:
    a, b, name = await interrupted(mesh, repeatable=False)

    await b.start()
    await until(lambda: a.task(name).final)

    local_id = b.task(name).local_id
    assert b.executor.history == [f"run {local_id}", f"resume {local_id}"]
    for node in (a, b):
        task = node.task(name)
        assert task.state is TaskState.FAILED
        assert task.error is not None
        assert task.error.code == "interrupted"
        assert "may be done in part" in task.error.detail


async def test_whether_a_task_may_be_repeated_was_decided_by_its_claim(mesh: Mesh) -> None:
    _, b, name = await interrupted(mesh, repeatable=False)
    b.executor.repeatable = True

    await b.start()
    await settle()

    assert b.task(name).state is TaskState.FAILED


async def test_what_waited_when_the_node_crashed_is_done_by_the_next_boot(mesh: Mesh) -> None:
    b = mesh.describe("b", limits=Limits(concurrency=1))
    await b.start()
    b.executor.hold()
    for number in range(3):
        await b.receive(a_task(f"t-{number}"))
    await settle()

    await b.crash()
    b.executor.release()
    await b.start()
    await until(lambda: all(task.final for task in b.tasks_of_others()))

    assert {task.wire_id: task.state for task in b.tasks_of_others()} == {
        "t-0": TaskState.FAILED,
        "t-1": TaskState.COMPLETED,
        "t-2": TaskState.COMPLETED,
    }


async def test_a_crash_before_the_acknowledgement_is_unknown_and_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.HOLD_ANSWER
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    await a.crash()

    a.link.faults["b"] = Fault.DOWN
    await a.start()
    await settle()
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN
    del a.link.faults["b"]
    await mesh.clock.advance(2)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert len(a.link.sent_to("b")) >= 2
    assert len(b.executor.runs) == 1


async def test_the_next_boot_says_why_it_does_not_know(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.BLACK_HOLE
    asked = await a.delegate("b")
    await until(lambda: a.link.under_way == 1)
    await a.crash()

    await a.start()
    await settle()

    details = [event.detail for event in a.node.tasks.find(asked.local_id).events]
    assert "task to b: this node ended while it was sent" in details


async def test_a_task_that_was_stored_survives_the_crash_of_its_asker(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    await a.start()
    asked = await a.delegate("b")
    await a.crash()

    await mesh.describe("b", peers=["a"]).start()
    await a.start()
    await mesh.clock.advance(2)

    assert a.task(asked.local_id).result == "done: count"


async def test_a_result_that_was_stored_survives_the_crash_of_its_doer(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await until(lambda: b.task(asked.wire_id).final if b.tasks_of_others() else False)
    await b.crash()

    del b.link.faults["a"]
    await b.start()
    await mesh.clock.advance(2)

    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_repeatable_run_that_is_stopped_waits_for_the_next_boot(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(repeatable=True))
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)

    await b.stop()
    assert b.executor.canceled == [b.executor.runs[0].local_id]
    b.executor.release()
    await b.start()
    await until(lambda: a.task(asked.local_id).final)

    assert b.history(asked.wire_id)[:4] == ["submit", "claim", "run-again", "claim"]
    assert (a.task(asked.local_id).result, a.task(asked.local_id).attempt) == ("done: count", 2)
    assert not any(entry.startswith("resume") for entry in b.executor.history)


async def test_a_run_that_is_stopped_and_must_not_be_repeated_fails(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)

    await b.stop()
    await b.start()
    await until(lambda: a.task(asked.local_id).final)

    error = a.task(asked.local_id).error
    assert error is not None
    assert error.code == "interrupted"
    assert "the node was stopped" in error.detail
    assert len(b.executor.runs) == 1


async def test_a_claim_in_the_moment_of_stopping_is_given_back(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()
    await settle()
    claim = b.writer.commits + 2  # after that of the task itself
    b.writer.committed = lambda number: b.stop_soon() if number == claim else None

    await b.receive(a_task())
    await b.stop()

    assert b.executor.runs == []
    await b.start()
    await until(lambda: b.task("t-1").final)
    assert b.history("t-1") == ["submit", "claim", "run-again", "claim", "complete"]


@pytest.mark.parametrize("repeatable", [True, False])
async def test_the_outcome_of_an_overtaken_attempt_is_dropped(mesh: Mesh, repeatable: bool) -> None:
    b = mesh.describe("b", executor=FakeExecutor(done("late"), done("new"), repeatable=repeatable))
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: len(b.executor.runs) == 1)

    taken = b.task("t-1")
    await b.database.write(
        lambda tx: tasks.save(tx, taken.released(), "run-again", mesh.clock.now(), "settled by another")
    )
    b.executor.release()  # the next attempt begins once what still runs for the task has ended
    await until(lambda: b.task("t-1").final)
    await settle()

    assert (b.task("t-1").result, b.task("t-1").attempt) == ("new", 2)
    assert b.history("t-1") == ["submit", "claim", "run-again", "claim", "complete"]


async def test_an_overtaken_attempt_that_is_stopped_changes_nothing(mesh: Mesh) -> None:
    b = mesh.describe("b", limits=Limits(concurrency=1))
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: len(b.executor.runs) == 1)

    taken = b.task("t-1")
    await b.database.write(
        lambda tx: tasks.save(tx, taken.released(), "run-again", mesh.clock.now(), "settled by another")
    )
    await b.stop()

    await b.start()
    b.executor.release()
    await until(lambda: b.task("t-1").final)
    assert (b.task("t-1").state, b.task("t-1").attempt) == (TaskState.COMPLETED, 2)


@pytest.mark.parametrize("fault", [Interrupted("the run is gone"), NotBegun("it could not be begun")])
async def test_what_came_to_nothing_is_begun_again_after_pauses_that_grow(
    mesh: Mesh, fault: Exception
) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(*[fault] * 5, repeatable=True))
    asked = await a.delegate("b")
    begun = []

    for _ in range(20):
        await settle()
        begun.append(len(b.executor.runs))
        await mesh.clock.advance(1.0)

    # At once, then after 1, 2, 4 and 8 s.
    assert begun[:17] == [2, 3, 3, *[4] * 4, *[5] * 8, 6, 6]
    assert a.task(asked.local_id).state is TaskState.COMPLETED


async def test_another_task_does_not_wait_while_one_rests(mesh: Mesh) -> None:
    faults = [Interrupted("the run is gone")] * 5
    executor = FakeExecutor(*faults, repeatable=True)
    b = mesh.describe("b", executor=executor, limits=Limits(concurrency=1))
    await b.start()
    await b.receive(a_task("t-1"))
    await mesh.clock.advance(4.0)
    runs = len(b.executor.runs)
    b.executor.outcomes.clear()

    await b.receive(a_task("t-2"))
    await until(lambda: b.task("t-2").final)

    assert len(b.executor.runs) == runs + 1
    assert b.task("t-1").state is TaskState.SUBMITTED


async def test_a_task_that_is_interrupted_at_every_try_ends_in_the_end(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(*[Interrupted("the run is gone")] * 99, repeatable=True))
    asked = await a.delegate("b")

    await mesh.clock.advance(MOST_TRIES * LONGEST_S)

    error = a.task(asked.local_id).error
    assert error is not None
    assert (error.code, len(b.executor.runs)) == ("interrupted", MOST_TRIES)
    assert f"the run is gone, the last of {MOST_TRIES} tries; it may be done in part" in error.detail


async def test_a_task_that_ends_its_node_each_time_ends_in_the_end(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(repeatable=True))
    b.executor.hold()
    asked = await a.delegate("b")

    for runs in range(1, MOST_TRIES + 1):
        await until(lambda: len(b.executor.runs) == runs)  # noqa: B023  # awaited in this very round
        await b.crash()
        await b.start()
        await mesh.clock.advance(LONGEST_S)

    error = a.task(asked.local_id).error
    assert error is not None
    assert (error.code, len(b.executor.runs)) == ("interrupted", MOST_TRIES)


async def test_an_owner_who_stops_a_node_often_fails_no_repeatable_task(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(repeatable=True))
    b.executor.hold()
    asked = await a.delegate("b")

    for runs in range(1, MOST_TRIES + 3):
        await until(lambda: len(b.executor.runs) == runs)  # noqa: B023  # awaited in this very round
        await b.stop()
        await b.start()
    b.executor.release()
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).state is TaskState.COMPLETED


async def test_a_clock_that_was_set_back_gives_a_resumed_run_no_more_than_its_timeout(mesh: Mesh) -> None:
    _, b = await mesh.pair(executor=FakeExecutor(outlives=True))
    b.executor.hold()
    await b.receive(a_task("t-1", timeout_s=60.0))
    await until(lambda: len(b.executor.runs) == 1)

    await b.crash()
    mesh.clock.ahead_s = -3600.0
    await b.start()
    await until(lambda: len(b.executor.resumed) == 1)
    await mesh.clock.advance(61.0)

    error = b.task("t-1").error
    assert error is not None
    assert error.code == "timed-out"


async def test_an_outcome_that_cannot_be_told_ends_its_task_and_nothing_else(mesh: Mesh) -> None:
    nowhere = FileRef(name="x", size=1, sha256="0" * 64)
    unfit = Outcome(state=TaskState.COMPLETED, result="\ud800")
    a, b = await mesh.pair(executor=FakeExecutor(replace(done("good"), files=(nowhere,)), unfit))
    asked = [await a.delegate("b", text) for text in ("one", "two", "three")]
    await until(lambda: all(a.task(task.local_id).final for task in asked))

    ends = [a.task(task.local_id) for task in asked]

    assert [end.state for end in ends] == [TaskState.FAILED, TaskState.FAILED, TaskState.COMPLETED]
    assert [end.error and end.error.code for end in ends] == ["incomplete", "incomplete", None]
    assert b.running
