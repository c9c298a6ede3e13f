"""The outbox: what is kept, tried again, refused, expired, and told truthfully meanwhile."""

import asyncio

import pytest

from lanmesh.engine.retry import LONGEST_S
from lanmesh.errors import (
    IdConflict,
    InvalidRequest,
    MeshError,
    NotAllowed,
    PeerUnreachable,
    TaskNotFound,
    TooBusy,
)
from lanmesh.model.delivery import TTL_S, DeliveryState
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import PeerId
from lanmesh.model.task import Outcome, TaskState
from lanmesh.store import outbox
from lanmesh.store.database import Change, Topic
from tests.fakes import (
    EPOCH,
    FakeExecutor,
    Fault,
    Mesh,
    NodeUnderTest,
    a_message,
    proven,
    settle,
    soon,
    until,
)

JUST_BEFORE = 0.001


async def lonely(mesh: Mesh, uniform: float | None = None) -> NodeUnderTest:
    """Return a node whose one peer is down."""
    a = mesh.describe("a", peers=["b"], uniform=uniform)
    await a.start()
    return a


async def test_the_pauses_grow_up_to_their_bound(mesh: Mesh) -> None:
    a = await lonely(mesh, uniform=0.5)

    asked = await a.delegate("b")
    pauses = []
    for _ in range(10):
        await settle()
        due_at = a.delivery(asked.local_id).due_at
        assert due_at is not None
        pauses.append(due_at - mesh.clock.now())
        await mesh.clock.advance(pauses[-1] + JUST_BEFORE)

    assert pauses[:6] == pytest.approx([0.5, 1, 2, 4, 8, 16], abs=2 * JUST_BEFORE)
    assert pauses[-1] == pytest.approx(LONGEST_S / 2, abs=2 * JUST_BEFORE)
    assert a.delivery(asked.local_id).attempts == 11


@pytest.mark.parametrize("moment", ["while it waits", "before it waits"])
async def test_a_clock_that_is_set_back_by_a_day_holds_nothing_up(mesh: Mesh, moment: str) -> None:
    a = mesh.describe("a", peers=["b"])
    b = mesh.describe("b", peers=["a"])
    await b.start()
    await a.start()
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    if moment == "before it waits":
        await a.stop()
        mesh.clock.ahead_s = -24 * 3600.0
        await a.start()
    mesh.clock.ahead_s = -24 * 3600.0
    a.link.faults.clear()

    for _ in range(8):
        await mesh.clock.advance(60.0)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def test_a_clock_that_was_a_year_ahead_and_is_set_right_has_nothing_refused(mesh: Mesh) -> None:
    """As on a machine without a clock of its own: the time that is left would be longer than any may be."""
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()

    mesh.clock.ahead_s = -365 * 24 * 3600.0
    a.link.faults.clear()
    for _ in range(8):
        await mesh.clock.advance(60.0)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert a.link.sent_to("b")[-1].ttl_s == TTL_S


async def test_a_day_of_equal_failures_is_one_line_in_the_history(mesh: Mesh) -> None:
    a = await lonely(mesh)

    asked = await a.delegate("b")
    await mesh.clock.advance(600)

    assert a.delivery(asked.local_id).attempts > 10
    assert a.history(asked.local_id) == [
        "submit",
        "delivery-queued",
        "delivery-sent",
        "delivery-queued",
    ]


async def test_contact_with_a_peer_cuts_the_pause_short(mesh: Mesh) -> None:
    a = await lonely(mesh, uniform=0.9)
    asked = [await a.delegate("b", f"task {number}") for number in range(3)]
    await mesh.clock.advance(300)

    b = mesh.describe("b", peers=["a"])
    await b.start()
    assert (a.delivery(asked[0].local_id).due_at or 0.0) > mesh.clock.now() + 1
    await a.hear(a_message(sender="b"), proven("b"))
    await settle()

    assert [a.task(task.local_id).result for task in asked] == [f"done: task {number}" for number in range(3)]


async def test_new_mail_does_not_cut_the_pause_short(mesh: Mesh) -> None:
    a = await lonely(mesh, uniform=0.9)
    await a.delegate("b")
    await mesh.clock.advance(300)
    before = len(a.link.sent)

    for _ in range(5):
        await a.delegate("b")
    await settle()

    assert len(a.link.sent) == before


async def test_at_most_eight_envelopes_are_under_way_to_a_peer(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.HOLD_ANSWER

    await asyncio.gather(*(a.node.mail.send("b", f"message {number}") for number in range(20)))
    await settle()
    under_way = a.link.under_way
    a.link.gate.set()
    await until(lambda: a.node.numbers().queued == 0)

    assert under_way == 8
    assert a.link.most_under_way == 8
    assert len(b.node.mail.inbox(100)) == 20


async def test_a_peer_that_takes_connections_and_does_not_answer_is_asked_again_soon(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_REQUEST
    asked = await a.delegate("b")
    await mesh.clock.advance(300)

    del a.link.faults["b"]
    await mesh.clock.advance(21)

    assert a.task(asked.local_id).result == "done: count"


async def test_an_envelope_without_an_answer_holds_up_no_other(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.BLACK_HOLE
    swallowed = await a.delegate("b", "swallowed")
    await until(lambda: a.link.under_way == 1)
    await settle()
    del a.link.faults["b"]

    others = [await a.delegate("b", f"task {number}") for number in range(20)]
    await until(lambda: all(a.task(task.local_id).final for task in others))

    assert a.delivery(swallowed.local_id).state is DeliveryState.SENT


async def test_a_peer_that_failed_is_probed_with_one_envelope(mesh: Mesh) -> None:
    a = await lonely(mesh, uniform=0.9)
    await asyncio.gather(*(a.delegate("b") for _ in range(20)))
    await settle()
    assert a.link.most_under_way == 8
    a.link.most_under_way = 0

    await mesh.clock.advance(120)

    assert a.link.most_under_way == 1


async def test_a_peer_that_does_not_know_our_token_is_tried_again(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.tokens.outbound_tokens["b"] = "mistyped"

    asked = await a.delegate("b")
    await settle()
    assert a.delivery(asked.local_id).state is DeliveryState.QUEUED
    assert a.delivery(asked.local_id).error == "b does not know our token"
    a.tokens.outbound_tokens["b"] = "a@b"
    await mesh.clock.advance(2)

    assert a.task(asked.local_id).result == "done: count"


@pytest.mark.parametrize(
    "refusal",
    [
        NotAllowed("not you"),
        TaskNotFound("no such route"),
        IdConflict("used before"),
        InvalidRequest("not so"),
    ],
    ids=lambda refusal: str(refusal.code),
)
async def test_a_refusal_ends_the_delivery_and_rejects_the_task(mesh: Mesh, refusal: MeshError) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = refusal

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)
    await mesh.clock.advance(120)

    delivery, task = a.delivery(asked.local_id), a.task(asked.local_id)
    assert (delivery.state, delivery.due_at, delivery.error) == (DeliveryState.REFUSED, None, refusal.detail)
    assert task.state is TaskState.REJECTED
    assert task.error is not None
    assert (task.error.code, task.error.detail) == ("refused", f"b refused it: {refusal.detail}")
    assert len(a.link.sent) == 1


async def test_what_was_never_taken_in_time_is_expired(mesh: Mesh) -> None:
    a = await lonely(mesh)
    asked = await a.delegate("b")
    await settle()

    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.task(asked.local_id).final)

    delivery, task = a.delivery(asked.local_id), a.task(asked.local_id)
    assert (delivery.state, delivery.due_at) == (DeliveryState.EXPIRED, None)
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert (task.error.code, task.error.detail) == (
        "expired",
        "b could not be reached in time; last: b is down",
    )


async def test_what_may_have_arrived_is_not_called_expired(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_ANSWER
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN
    a.link.faults["b"] = Fault.DOWN
    await mesh.clock.advance(60)
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN

    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.delivery(asked.local_id).due_at is None)

    task = a.task(asked.local_id)
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN
    assert (task.state, task.assumed) == (TaskState.FAILED, True)
    assert task.error is not None
    assert (task.error.code, task.error.detail) == (
        "unknown",
        "b may have it and may have done it, but did not say so in time; last: b is down",
    )
    assert len(b.executor.runs) == 1


async def test_a_result_of_a_request_that_was_given_up_as_unknown_still_counts(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_ANSWER
    b.link.faults["a"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()
    await mesh.clock.jump(TTL_S + LONGEST_S)
    await until(lambda: a.delivery(asked.local_id).due_at is None)
    assert a.task(asked.local_id).assumed

    del b.link.faults["a"]
    await mesh.clock.advance(LONGEST_S)
    await until(lambda: not a.task(asked.local_id).assumed)

    assert a.task(asked.local_id).result == "done: count"
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def test_an_outcome_that_no_envelope_could_carry_is_cut(mesh: Mesh) -> None:
    endless = Outcome(state=TaskState.COMPLETED, result='"' * 2_000_000)
    a, _ = await mesh.pair(executor=FakeExecutor(endless))

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)

    task = a.task(asked.local_id)
    assert (len(task.result or ""), task.truncated) == (256_000, True)


async def test_a_lost_answer_is_asked_for_again_and_the_task_is_done_once(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_ANSWER
    b.link.faults["a"] = Fault.DOWN

    asked = await a.delegate("b")
    await settle()
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN
    del a.link.faults["b"]
    await mesh.clock.advance(2)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert len(a.link.sent_to("b")) == 2
    assert len({envelope.id for envelope in a.link.sent_to("b")}) == 1
    assert len(b.executor.runs) == 1


async def test_a_lost_request_is_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_REQUEST

    asked = await a.delegate("b")
    await settle()
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN
    assert b.tasks_of_others() == []
    del a.link.faults["b"]
    await mesh.clock.advance(2)

    assert a.task(asked.local_id).result == "done: count"


async def test_a_result_settles_a_request_of_which_nobody_knew_whether_it_arrived(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.LOSE_ANSWER

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)
    await mesh.clock.advance(120)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_result_whose_acknowledgement_was_lost_is_sent_again_and_counts_once(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.link.faults["a"] = Fault.LOSE_ANSWER

    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)
    await settle()
    version = a.task(asked.local_id).version
    assert b.delivery(asked.wire_id).state is DeliveryState.UNKNOWN
    del b.link.faults["a"]
    await mesh.clock.advance(2)

    assert b.delivery(asked.wire_id).state is DeliveryState.DELIVERED
    assert a.task(asked.local_id).version == version


async def test_a_peer_that_says_when_is_not_asked_before(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = TooBusy("full", retry_after_s=90.0)

    asked = await a.delegate("b")
    await settle()
    del a.link.faults["b"]
    await mesh.clock.advance(90 - JUST_BEFORE)
    before = len(a.link.sent)
    await mesh.clock.advance(2 * JUST_BEFORE)

    assert before == 1
    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_busy_peer_still_takes_other_mail(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = TooBusy("full", retry_after_s=90.0)
    asked = await a.delegate("b")
    await settle()
    del a.link.faults["b"]

    await soon(a.node.mail.send("b", "hello"))
    await settle()

    assert [message.text for message in b.node.mail.inbox(10)] == ["hello"]
    assert a.delivery(asked.local_id).state is DeliveryState.QUEUED


async def test_what_was_said_first_is_sent_first(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = PeerUnreachable("not now")
    for number in range(5):
        await soon(a.node.mail.send("b", f"{number}"))
    del a.link.faults["b"]

    await mesh.clock.jump(60)

    assert [message.text for message in b.node.mail.inbox(10)] == ["0", "1", "2", "3", "4"]


async def test_an_envelope_says_how_much_time_it_has_left(mesh: Mesh) -> None:
    a = await lonely(mesh)

    await a.delegate("b")
    await mesh.clock.advance(100)

    left = [envelope.ttl_s for envelope in a.link.sent_to("b")]
    assert left[0] == TTL_S
    assert None not in left
    assert left == sorted(left, key=lambda ttl_s: -(ttl_s or 0.0))
    assert TTL_S - 100 <= (left[-1] or 0.0) < TTL_S - 10


async def test_contact_is_noted_as_it_was(mesh: Mesh) -> None:
    a = await lonely(mesh)
    await a.delegate("b")
    await settle()
    (state,) = a.node.peers.all()
    assert (state.contact.reached_at, state.contact.failed_at, state.contact.error) == (
        None,
        EPOCH,
        "b is down",
    )
    assert (state.has_token, state.queued) == (True, 1)

    await mesh.describe("b", peers=["a"]).start()
    await mesh.clock.advance(2)

    (state,) = a.node.peers.all()
    assert state.contact.reached_at is not None
    assert state.contact.heard_at is not None
    assert (state.contact.error, state.queued) == (None, 0)


async def test_an_answer_that_comes_after_the_result_changes_nothing(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.HOLD_ANSWER
    asked = await a.delegate("b")
    await until(lambda: a.task(asked.local_id).final)
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    known = a.task(asked.local_id)

    a.link.gate.set()
    await settle()

    assert a.task(asked.local_id) == known
    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED


async def test_mail_for_a_peer_that_was_taken_out_of_the_settings_waits(mesh: Mesh) -> None:
    a = await lonely(mesh)
    asked = await a.delegate("b")
    await settle()
    await a.stop()
    del a.peers[PeerId("b")]
    await a.start()
    await settle()

    assert a.delivery(asked.local_id).state is DeliveryState.QUEUED
    assert outbox.count_waiting(a.database.read) == 1
    assert {envelope.type for envelope in a.link.sent_to("b")} == {EnvelopeType.TASK}


async def test_an_attempt_that_breaks_ends_neither_the_lane_nor_the_node(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.BREAK
    asked = await a.delegate("b")
    await settle()
    broken = a.delivery(asked.local_id)

    del a.link.faults["b"]
    await mesh.clock.advance(2)
    await until(lambda: a.task(asked.local_id).final)

    assert (broken.state, broken.error) == (DeliveryState.UNKNOWN, "the attempt broke here: ValueError")
    assert a.task(asked.local_id).result == "done: count"


async def test_a_disk_that_is_full_for_a_while_loses_no_delivery_and_no_outcome(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: bool(b.executor.runs))

    a.writer.broken = b.writer.broken = True
    b.executor.release()
    await mesh.clock.advance(10)
    a.writer.broken = b.writer.broken = False
    await mesh.clock.advance(60)
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1


async def test_a_disk_that_fails_in_the_moment_of_contact_ends_no_lane(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN
    asked = await a.delegate("b")
    await settle()

    del a.link.faults["b"]
    a.writer.broken = True
    a.events.publish([Change(Topic.CONTACT, "b")])
    await settle()
    a.writer.broken = False
    await mesh.clock.advance(60)
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).result == "done: count"
    assert len(b.executor.runs) == 1
