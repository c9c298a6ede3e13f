"""The straight line of a task: asked on one node, done on another, and its result back."""

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.errors import InvalidRequest, PeerNotFound, TaskNotFound
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.task import MAX_TIMEOUT_S, Failure, TaskMode, TaskState, failed
from lanmesh.protocol.json import MAX_BODY_BYTES
from tests.fakes import (
    EPOCH,
    FakeExecutor,
    Fault,
    Mesh,
    a_task,
    done,
    proven,
    settle,
    soon,
    until,
)


async def test_a_task_is_done_by_the_peer_and_its_result_comes_back(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(done("42")))

    asked = await a.delegate("b", "what is the answer?")
    await until(lambda: a.task(asked.local_id).final)

    known = a.task(asked.local_id)
    assert (known.state, known.result, known.error) == (TaskState.COMPLETED, "42", None)
    assert (known.asked, known.peer, known.attempt, known.finished_at) == (True, "b", 1, EPOCH)
    (run,) = b.executor.runs
    assert (run.wire_id, run.origin, run.description) == (asked.wire_id, "a", "what is the answer?")


async def test_what_happened_to_a_task_is_kept_in_order_on_both_sides(mesh: Mesh) -> None:
    a, b = await mesh.pair()

    asked = await a.delegate("b")
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.DELIVERED))

    for node in (a, b):
        versions = [event.version for event in node.node.tasks.find(asked.wire_id).events]
        assert versions == list(range(1, len(versions) + 1))
    states = list(dict.fromkeys(event.state for event in a.node.tasks.find(asked.wire_id).events))
    assert states == ["submitted", "completed"]
    carried = ["delivery-queued", "delivery-sent", "delivery-delivered"]
    assert a.history(asked.wire_id)[:4] == ["submit", *carried]
    assert b.history(asked.wire_id) == ["submit", "claim", "complete", *carried]


async def test_an_asker_sees_that_its_task_is_stored_before_it_is_done(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()

    asked = await a.delegate("b")
    await settle()

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert a.task(asked.local_id).state is TaskState.SUBMITTED
    assert a.task(asked.local_id).seen_version == 1
    assert b.task(asked.wire_id).state is TaskState.WORKING


async def test_a_task_that_failed_comes_back_with_the_reason(mesh: Mesh) -> None:
    a, _ = await mesh.pair(executor=FakeExecutor(failed(Failure.COMMAND_FAILED, "exit status 3")))

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    known = a.task(asked.local_id)
    assert known.state is TaskState.FAILED
    assert known.error is not None
    assert (known.error.code, known.error.detail) == ("command-failed", "exit status 3")


async def test_an_executor_that_breaks_is_told_to_the_asker_and_the_next_task_is_done(mesh: Mesh) -> None:
    a, _ = await mesh.pair(executor=FakeExecutor(ValueError("a secret"), done("fine")))

    first = await a.delegate("b", "first")
    second = await a.delegate("b", "second")
    await until(lambda: a.task(first.local_id).final and a.task(second.local_id).final)

    error = a.task(first.local_id).error
    assert error is not None
    assert (error.code, error.detail) == ("interrupted", "the executor broke: ValueError")
    assert a.task(second.local_id).result == "fine"


async def test_a_result_reaches_the_asker_though_it_was_down(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)

    await a.stop()
    b.executor.release()
    await until(lambda: b.task(asked.wire_id).final)
    await settle()
    assert b.delivery(asked.wire_id).state is DeliveryState.QUEUED
    await a.start()
    await mesh.clock.advance(2)

    assert a.task(asked.local_id).result == "done: count"


async def test_a_task_for_a_peer_that_is_down_is_done_once_it_comes_up(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    b = mesh.describe("b", peers=["a"])
    await a.start()
    asked = await a.delegate("b")
    await mesh.clock.advance(30)
    assert a.delivery(asked.local_id).state is DeliveryState.QUEUED
    assert a.delivery(asked.local_id).error == "b is down"

    await b.start()
    await mesh.clock.advance(60)

    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_dead_peer_holds_up_no_other(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["hole", "b"])
    b = mesh.describe("b", peers=["a"])
    await mesh.describe("hole", peers=["a"]).start()
    await a.start()
    await b.start()
    a.link.faults["hole"] = Fault.BLACK_HOLE

    for _ in range(20):
        await a.delegate("hole")
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).result == "done: count"


async def test_a_task_to_be_forgotten_is_done_and_no_result_is_sent(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()

    await b.receive(a_task(sender="a", mode=TaskMode.FIRE_AND_FORGET), proven("a"))
    await until(lambda: b.task("t-1").final)

    found = b.node.tasks.find("t-1")
    assert found.task.result == "done: count"
    assert found.delivery is None


async def test_an_asker_that_is_no_peer_gets_no_result_but_may_read_it(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()

    stored = await b.receive(a_task(sender="a-script"))
    await until(lambda: b.task("t-1").final)
    caller = await b.node.identify("shared@b")
    report = await b.node.arrivals.report(caller, "t-1")

    assert b.node.tasks.find("t-1").delivery is None
    assert (report.state, report.result) == (TaskState.COMPLETED, "done: count")
    assert (await b.node.arrivals.report(caller, stored.local_id)) == report


async def test_a_task_is_read_by_its_origin_alone(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c"])
    await b.start()
    stored = await b.receive(a_task(sender="a"), proven("a"))

    for caller in (proven("c"), await b.node.identify("shared@b")):
        for name in ("t-1", stored.local_id):
            with pytest.raises(TaskNotFound):
                await b.node.arrivals.report(caller, name)


async def test_as_many_tasks_run_at_once_as_the_limit_says_and_the_oldest_first(mesh: Mesh) -> None:
    b = mesh.describe("b", limits=Limits(concurrency=2))
    await b.start()
    b.executor.hold()

    for number in range(5):
        await b.receive(a_task(f"t-{number}"))
    await settle()
    running = [task.wire_id for task in b.executor.runs]
    b.executor.release()
    await until(lambda: all(task.final for task in b.tasks_of_others()))

    assert running == ["t-0", "t-1"]
    assert [task.wire_id for task in b.executor.runs] == [f"t-{number}" for number in range(5)]


async def test_a_delegation_that_cannot_be_is_refused_and_leaves_nothing(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    with pytest.raises(PeerNotFound, match='did you mean "b"'):
        await soon(a.node.tasks.delegate("bb", "count"))
    with pytest.raises(InvalidRequest, match="blank"):
        await soon(a.node.tasks.delegate("b", " \n"))
    with pytest.raises(InvalidRequest, match="timeout"):
        await soon(a.node.tasks.delegate("b", "count", timeout_s=0))
    with pytest.raises(InvalidRequest, match="timeout"):
        await soon(a.node.tasks.delegate("b", "count", timeout_s=MAX_TIMEOUT_S + 1))
    with pytest.raises(InvalidRequest, match="at most"):
        await soon(a.node.tasks.delegate("b", "x" * MAX_BODY_BYTES))
    with pytest.raises(TaskNotFound):
        await soon(a.node.tasks.delegate("b", "count", parent="no-such-task"))

    assert a.node.tasks.page(10) == []
    assert a.node.numbers().queued == 0


async def test_a_text_that_can_be_stored_can_be_sent(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    fits, too_much = MAX_BODY_BYTES - 600, MAX_BODY_BYTES
    while too_much - fits > 1:
        size = (fits + too_much) // 2
        try:
            await soon(a.node.tasks.delegate("b", "x" * size))
            fits = size
        except InvalidRequest:
            too_much = size

    await until(lambda: a.node.numbers().queued == 0)

    assert MAX_BODY_BYTES - 600 < fits < too_much
    assert {a.delivery(task.local_id).state for task in a.node.tasks.page(100)} == {DeliveryState.DELIVERED}


async def test_a_task_is_found_by_the_beginning_of_its_id(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    asked = await a.delegate("b")

    assert a.task(asked.local_id[:8].upper()).local_id == asked.local_id
    for unknown in (asked.local_id[:3], "zzzzzzzz", "%%%%%%%%", "________"):
        with pytest.raises(TaskNotFound):
            a.task(unknown)


async def test_a_name_that_means_two_tasks_is_refused(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c"])
    await b.start()
    for origin in ("a", "c"):
        await b.receive(a_task(sender=origin), proven(origin))

    with pytest.raises(InvalidRequest, match="more than one"):
        b.task("t-1")


async def test_what_no_peer_would_take_for_a_task_is_refused_before_it_is_kept(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    with pytest.raises(InvalidRequest, match="timeout"):
        await soon(a.node.tasks.delegate("b", "count", timeout_s=0.0001))

    assert a.node.tasks.page(10) == []
    assert a.running
