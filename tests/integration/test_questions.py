"""Tasks that ask back: the question, its answer, and the attempt that goes on with it."""

from dataclasses import replace

import pytest

from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.dialogue import MOST_QUESTIONS, Exchange
from lanmesh.model.envelope import Envelope, Question
from lanmesh.model.history import REPORT
from lanmesh.model.ids import WireId
from lanmesh.model.report import report_of
from lanmesh.model.task import Task, TaskMode, TaskState
from lanmesh.store import history
from tests.fakes import FakeExecutor, Fault, Mesh, NodeUnderTest, a_task, proven, settle, soon, until

ASKS = TaskState.INPUT_REQUIRED


async def asking(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest, Task]:
    """Return two nodes, and a task of the first that waits for an answer; its run is over."""
    a, b = await mesh.pair(executor=FakeExecutor())
    b.executor.hold()
    asked = await a.delegate("b", session="agent:main:main")
    await until(lambda: len(b.executor.runs) == 1)
    await soon(b.node.tasks.ask(b.executor.runs[0].local_id, "which one?"))
    b.executor.release()
    await until(lambda: a.task(asked.local_id).question is not None)
    await settle()
    return a, b, asked


async def test_a_question_goes_to_the_asker_and_the_answer_begins_the_next_attempt(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)
    waiting = [a.task(asked.local_id), b.task(asked.wire_id)]

    await soon(a.node.tasks.answer(asked.local_id, "the left one"))
    await until(lambda: a.task(asked.local_id).final)

    for task in waiting:
        assert (task.state, task.question, task.boot) == (ASKS, "which one?", None)
    assert a.task(asked.local_id).state is TaskState.COMPLETED
    again = b.executor.runs[1]
    assert again.attempt == 2
    assert again.dialogue == (Exchange(attempt=1, question="which one?", answer="the left one"),)
    assert b.history(asked.wire_id)[:2] == ["submit", "claim"]


async def test_a_question_and_its_answer_survive_the_crash_of_both(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)
    await b.crash()
    await soon(a.node.tasks.answer(asked.local_id, "the left one"))
    await a.crash()
    await a.start()
    await b.start()
    await mesh.clock.advance(120)

    assert a.task(asked.local_id).state is TaskState.COMPLETED
    assert len(b.executor.runs) == 2


async def test_the_time_of_waiting_does_not_count_and_ends_after_three_days(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)

    await mesh.clock.jump(71 * 3600)
    still = b.task(asked.wire_id).state
    await mesh.clock.jump(2 * 3600)
    await mesh.clock.advance(120)

    assert still is ASKS
    for task in (a.task(asked.local_id), b.task(asked.wire_id)):
        assert task.state is TaskState.FAILED
        assert task.error is not None
        assert (task.error.code, task.error.detail) == (
            "expired",
            "its question was not answered within 72 h",
        )


async def test_an_answer_is_given_once_and_only_where_there_is_a_question(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)
    a.link.faults["b"] = Fault.DOWN

    first = await soon(a.node.tasks.answer(asked.local_id, "left"))
    again = await soon(a.node.tasks.answer(asked.local_id, "left"))
    with pytest.raises(IllegalTransition, match="has another answer already"):
        await soon(a.node.tasks.answer(asked.local_id, "right"))
    with pytest.raises(IllegalTransition, match="is done here"):
        await soon(b.node.tasks.answer(asked.wire_id, "left"))

    assert first.dialogue == again.dialogue
    assert a.task(asked.local_id).question is None


async def test_a_task_that_waits_for_an_answer_is_canceled_at_once(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)

    await soon(a.node.tasks.cancel(asked.local_id))
    await until(lambda: a.task(asked.local_id).final)

    assert b.task(asked.wire_id).state is TaskState.CANCELED
    with pytest.raises(IllegalTransition):
        await soon(a.node.tasks.answer(asked.local_id, "left"))


async def test_an_answer_that_is_refused_leaves_the_question_open(mesh: Mesh) -> None:
    a, b, asked = await asking(mesh)
    a.link.faults["b"] = IllegalTransition("it waits for no such answer")

    await soon(a.node.tasks.answer(asked.local_id, "left"))
    await until(lambda: a.task(asked.local_id).question is not None)

    del a.link.faults["b"]
    await soon(a.node.tasks.answer(asked.local_id, "right"))
    await until(lambda: a.task(asked.local_id).final)
    assert b.executor.runs[1].dialogue[-1].answer == "right"


async def test_the_next_attempt_waits_for_the_end_of_the_one_that_asked(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor())
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    local_id = b.executor.runs[0].local_id
    await soon(b.node.tasks.ask(local_id, "which one?"))
    await until(lambda: a.task(asked.local_id).question is not None)

    await soon(a.node.tasks.answer(asked.local_id, "left"))
    await until(lambda: len(b.executor.runs) == 2)

    assert b.executor.canceled == [local_id]
    assert b.executor.history == [f"run {local_id}", f"abort {local_id}", f"run {local_id}"]


async def test_nobody_is_asked_who_does_not_wait(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    b.executor.hold()
    await b.receive(a_task(sender="a", mode=TaskMode.FIRE_AND_FORGET), proven("a"))
    await until(lambda: len(b.executor.runs) == 1)

    with pytest.raises(IllegalTransition, match="decide by yourself"):
        await soon(b.node.tasks.ask(b.task("t-1").local_id, "which one?"))


async def test_a_session_is_told_of_a_question_once(mesh: Mesh) -> None:
    a, _b, asked = await asking(mesh)

    (untold,) = a.node.tasks.untold_questions()
    await soon(a.node.tasks.mark_asked(untold))

    assert untold.local_id == asked.local_id
    assert a.node.tasks.untold_questions() == []
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def test_a_doer_that_asks_without_end_fills_nothing_at_its_asker(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor())
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    report = report_of(b.task(asked.wire_id))
    for attempt in range(1, 131):
        said = replace(report, state=ASKS, attempt=attempt, version=100 + attempt, question="why? " * 20_000)
        envelope = Envelope(
            id=WireId(f"q-{attempt}"),
            sender="b",
            recipient="a",
            timestamp_ms=0,
            payload=Question(report=said),
        )
        await a.receive(envelope, proven("b"))

    details = [event.detail for event in a.node.tasks.find(asked.local_id).events if event.event == REPORT]
    assert len(a.task(asked.local_id).dialogue) == MOST_QUESTIONS
    assert sum(map(len, details)) <= history.MOST_WORDS_BYTES
    assert all(len(each.question) <= 64_000 for each in a.task(asked.local_id).dialogue)


async def test_a_task_asks_so_often_and_no_more(mesh: Mesh) -> None:
    _, b, asked = await asking(mesh)
    often = tuple(Exchange(attempt=n, question="?", answer="!") for n in range(1, MOST_QUESTIONS + 1))

    with pytest.raises(IllegalTransition, match="asked 100 times already"):
        replace(b.task(asked.wire_id), state=TaskState.WORKING, dialogue=often).asking("and now?")
