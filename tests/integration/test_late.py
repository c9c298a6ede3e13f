"""What comes late is kept and counts; what did not get through is told, kept, and can be sent again."""

import pytest

from lanmesh.engine.retry import FIRST_S, LONGEST_S
from lanmesh.errors import DeliveryNotFound, IllegalTransition, InvalidRequest, TasksNotAccepted
from lanmesh.model.delivery import KEPT_S, RESULT_TTL_S, TTL_S, DeliveryState
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import PeerId
from lanmesh.model.task import AcceptMode, TaskState
from lanmesh.protocol import codec
from tests.fakes import (
    FakeExecutor,
    FakeRandom,
    Fault,
    Mesh,
    NodeUnderTest,
    a_result,
    proven,
    settle,
    soon,
    until,
)

CHAT = "agent:main:main"


class SameBeginnings(FakeRandom):
    """Chance whose numbers all begin in the same way."""

    def bytes(self, count: int) -> bytes:
        return b"same" + super().bytes(count - 4)


async def given_up(mesh: Mesh, fault: Fault, session: str | None = CHAT) -> tuple[NodeUnderTest, str]:
    """Return a node whose request to `b` came to nothing in time, and its task."""
    a, b = await mesh.pair()
    a.link.faults["b"] = fault
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b", session=session)
    await settle()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).final)
    return a, asked.local_id


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.DOWN, "expired"), (Fault.LOSE_REQUEST, "unknown"), (Fault.LOSE_ANSWER, "unknown")],
)
async def test_a_late_result_wins_over_an_end_that_was_assumed(mesh: Mesh, fault: Fault, code: str) -> None:
    a, task = await given_up(mesh, fault)
    before = a.task(task)
    assert (before.error and before.error.code, before.assumed) == (code, True)

    report = await a.receive(a_result(before, "late, but here"), proven("b"))

    after = a.task(task)
    assert (report.state, report.result) == (TaskState.COMPLETED, "late, but here")
    assert (after.state, after.result, after.error, after.assumed) == (
        TaskState.COMPLETED,
        "late, but here",
        None,
        False,
    )
    assert a.delivery(task).state is DeliveryState.DELIVERED
    assert a.node.mail.outbox(10) == []


async def test_a_session_that_was_told_the_assumption_is_told_the_late_result_too(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    (assumed,) = a.node.tasks.unread_outcomes()
    await soon(a.node.tasks.mark_told(assumed))
    await soon(a.node.tasks.mark_read(assumed.local_id, assumed.version))
    assert a.node.tasks.unread_outcomes() == []

    await a.receive(a_result(assumed, "late"), proven("b"))

    assert [outcome.result for outcome in a.node.tasks.unread_outcomes()] == ["late"]
    await soon(a.node.tasks.mark_told(assumed))  # that was the earlier end, not this one
    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [task]


async def test_an_assumption_and_a_late_result_survive_a_crash_of_the_asker(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.LOSE_ANSWER)
    await a.crash()
    await a.start()
    assert a.task(task).assumed

    del mesh.nodes["b"].link.faults["a"]
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: not a.task(task).assumed)

    assert a.task(task).result == "done: count"


async def test_a_copy_of_a_given_up_request_that_comes_late_is_noticed(mesh: Mesh) -> None:
    """Even where its doer cannot say so: a network may have kept it, after every attempt had failed."""
    a, task = await given_up(mesh, Fault.DOWN)
    del a.link.faults["b"]
    await mesh.clock.advance(30.0)
    assert a.delivery(task).state is DeliveryState.EXPIRED  # asked, and not there

    await soon(mesh.nodes["b"].take(proven("a"), codec.encode_envelope(a.delivery(task).envelope)))
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: not a.task(task).assumed)

    assert (a.task(task).result, a.delivery(task).state) == ("done: count", DeliveryState.DELIVERED)


async def test_a_request_that_did_not_arrive_is_not_asked_about_for_ever(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    del a.link.faults["b"]
    await mesh.clock.advance(3600.0)
    assert "b" in a.link.questions

    a.link.questions.clear()
    await mesh.clock.advance(3600.0)

    assert a.link.questions == []
    assert a.task(task).assumed


async def test_what_waits_and_what_was_given_up_is_listed_with_the_reason(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    message = await soon(a.node.mail.send("b", "hello", wait_s=5))

    waits, failed = a.node.mail.outbox(10)

    assert (waits.envelope.id, waits.state, waits.settled_at) == (
        message.envelope.id,
        DeliveryState.QUEUED,
        None,
    )
    assert (failed.task, failed.state, failed.error) == (task, DeliveryState.EXPIRED, "b is down")
    assert failed.settled_at is not None
    numbers = a.node.numbers()
    assert (numbers.queued, numbers.undelivered) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.DOWN, Fault.LOSE_REQUEST, Fault.LOSE_ANSWER])
async def test_a_request_that_is_sent_again_is_done_once_and_its_task_is_open_again(
    mesh: Mesh, fault: Fault
) -> None:
    a, task = await given_up(mesh, fault)
    b = mesh.nodes["b"]
    a.link.faults.clear()
    b.link.faults.clear()

    again = await soon(a.node.mail.resend(task))
    assert (again.envelope.id, again.expires_at - mesh.clock.now()) == (task, TTL_S)
    await mesh.clock.advance(FIRST_S)  # so long a lane whose last try failed rests first
    await until(lambda: a.task(task).state is TaskState.COMPLETED)

    assert not a.task(task).assumed
    assert len(b.executor.runs) == 1
    assert [outcome.result for outcome in a.node.tasks.unread_outcomes()] == ["done: count"]
    assert a.node.numbers().undelivered == 0


async def test_what_was_refused_may_be_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    await soon(b.node.modes.decide(AcceptMode.OFF))
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)
    refused = a.task(asked.local_id)
    assert (refused.state, refused.assumed) == (TaskState.REJECTED, True)

    await soon(b.node.modes.decide(AcceptMode.AUTO))
    await soon(a.node.mail.resend(asked.local_id[:8]))
    await until(lambda: a.task(asked.local_id).state is TaskState.COMPLETED)

    assert a.history(asked.local_id).count("reopen") == 1


async def test_what_is_refused_again_is_told_again(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = TasksNotAccepted()
    asked = await a.delegate("b", session=CHAT)
    await until(lambda: a.task(asked.local_id).final)
    await soon(a.node.tasks.mark_told(a.task(asked.local_id)))

    await soon(a.node.mail.resend(asked.local_id))
    await until(lambda: a.delivery(asked.local_id).attempts == 2 and a.task(asked.local_id).final)

    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [asked.local_id]


async def test_a_result_that_expired_may_be_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.QUEUED))
    await mesh.clock.jump(RESULT_TTL_S + LONGEST_S)
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.EXPIRED))

    b.link.faults.clear()
    (listed,) = b.node.mail.outbox(10)
    await soon(b.node.mail.resend(b.task(asked.wire_id).local_id))
    await until(lambda: b.has_delivery(asked.wire_id, DeliveryState.DELIVERED))

    assert listed.envelope.id == b.delivery(asked.wire_id).envelope.id
    assert a.task(asked.local_id).result == "done: count"


async def test_a_message_that_came_to_nothing_is_told_once_and_can_be_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN
    sent = await soon(a.node.mail.send("b", "hello"))
    await settle()
    assert a.node.mail.undelivered() == []
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.node.mail.undelivered() != [])
    (failed,) = a.node.mail.undelivered()
    await soon(a.node.mail.mark_undelivered_told([failed]))
    assert a.node.mail.undelivered() == []

    a.link.faults.clear()
    await soon(a.node.mail.resend(sent.envelope.id))
    await soon(a.node.mail.mark_undelivered_told([failed]))  # of the earlier end
    await until(lambda: len(b.node.mail.inbox(10)) == 1)

    assert [message.id for message in b.node.mail.inbox(10)] == [sent.envelope.id]
    with pytest.raises(IllegalTransition, match="cannot resend a delivery that is delivered"):
        await soon(a.node.mail.resend(sent.envelope.id))


async def test_the_end_of_a_task_is_told_as_that_and_not_as_a_delivery(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)

    assert a.node.mail.undelivered() == []
    assert [outcome.local_id for outcome in a.node.tasks.unread_outcomes()] == [task]


async def test_a_task_that_ended_for_real_is_not_asked_for_again(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    await a.receive(a_result(a.task(task), "42"), proven("b"))

    with pytest.raises(IllegalTransition):
        await soon(a.node.mail.resend(task))

    assert a.task(task).result == "42"


async def test_what_is_too_old_is_not_sent_again(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    await mesh.clock.jump(KEPT_S)

    with pytest.raises(IllegalTransition, match="too old"):
        await soon(a.node.mail.resend(task))

    assert a.task(task).assumed


async def test_only_what_is_named_for_sure_is_sent_again(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    await a.start()
    await soon(a.node.mail.send("b", "one"))

    for name in ("", "abc", "no-such-id", "zzzzzzzz", "*", "[a-z]*"):
        with pytest.raises(DeliveryNotFound):
            await soon(a.node.mail.resend(name))


async def test_a_beginning_that_two_share_names_neither(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    a.chance = SameBeginnings("a")
    await a.start()
    await soon(a.node.mail.send("b", "one"))
    await soon(a.node.mail.send("b", "two"))
    (first, second) = (item.envelope.id for item in a.node.mail.outbox(10))
    assert first[:6] == second[:6]

    with pytest.raises(InvalidRequest, match="more than one"):
        await soon(a.node.mail.resend(first[:6]))


async def test_a_peer_that_was_taken_out_of_the_settings_keeps_its_list(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    del a.peers[PeerId("b")]
    await a.restart()

    assert [item.task for item in a.node.mail.outbox(10)] == [task]


async def test_what_comes_between_a_look_and_its_mark_stays_to_be_told(mesh: Mesh) -> None:
    a, task = await given_up(mesh, Fault.DOWN)
    seen = a.task(task)

    await a.receive(a_result(seen, "late"), proven("b"))
    await soon(a.node.tasks.mark_read(seen.local_id, seen.version))

    assert [outcome.result for outcome in a.node.tasks.unread_outcomes()] == ["late"]


async def given_up_about(mesh: Mesh, kind: EnvelopeType) -> tuple[NodeUnderTest, NodeUnderTest, str, str]:
    """Return two nodes, a task whose cancel or answer came to nothing, and the id of that envelope."""
    a, b = await mesh.pair(executor=FakeExecutor())
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    await soon(b.node.tasks.ask(b.executor.runs[0].local_id, "which one?"))  # so that it stays open
    await until(lambda: a.task(asked.local_id).question is not None)
    b.executor.release()
    a.link.faults["b"] = Fault.DOWN
    if kind is EnvelopeType.ANSWER:
        await soon(a.node.tasks.answer(asked.local_id, "left"))
    else:
        await soon(a.node.tasks.cancel(asked.local_id))
    await settle()
    (waits,) = a.node.mail.outbox(10)
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: [each.state for each in a.node.mail.outbox(10)] == [DeliveryState.EXPIRED])
    a.link.faults.clear()
    return a, b, asked.local_id, waits.envelope.id


async def test_a_cancel_that_is_sent_again_is_canceling_again_and_ends_the_task(mesh: Mesh) -> None:
    a, b, task, cancel = await given_up_about(mesh, EnvelopeType.CANCEL)
    assert a.task(task).canceling is None

    await soon(a.node.mail.resend(cancel))
    assert a.task(task).canceling == "its cancel is sent again"
    await mesh.clock.advance(FIRST_S)
    await until(lambda: a.task(task).final)

    assert a.task(task).canceling is None
    assert a.task(task).state == b.task(task).state == TaskState.CANCELED


async def test_an_answer_that_is_sent_again_is_the_answer(mesh: Mesh) -> None:
    a, b, task, answer = await given_up_about(mesh, EnvelopeType.ANSWER)
    assert a.task(task).question == "which one?"

    await soon(a.node.mail.resend(answer))
    assert a.task(task).question is None
    await mesh.clock.advance(FIRST_S)
    await until(lambda: a.task(task).final)

    assert b.executor.runs[1].dialogue[-1].answer == "left"


async def test_an_answer_is_not_sent_again_beside_another(mesh: Mesh) -> None:
    a, _, task, answer = await given_up_about(mesh, EnvelopeType.ANSWER)
    a.link.faults["b"] = Fault.DOWN
    await soon(a.node.tasks.answer(task, "right"))

    with pytest.raises(IllegalTransition, match="does not wait for that answer any more"):
        await soon(a.node.mail.resend(answer))


async def test_a_cancel_is_not_sent_again_once_its_task_has_ended(mesh: Mesh) -> None:
    a, _, task, cancel = await given_up_about(mesh, EnvelopeType.CANCEL)
    await soon(a.node.tasks.cancel(task))
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: a.task(task).final)

    with pytest.raises(IllegalTransition, match="has ended"):
        await soon(a.node.mail.resend(cancel))
