"""What each caller may: which kinds, how often, how much, and an accept mode of its own."""

from dataclasses import replace
from typing import Any

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.engine.callers import Caller
from lanmesh.errors import (
    NotAllowed,
    PeerNotFound,
    QuotaReached,
    TaskNotFound,
    TasksNotAccepted,
    TooBusy,
    TooFast,
)
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.envelope import Envelope, EnvelopeType, Question
from lanmesh.model.ids import PeerId, WireId
from lanmesh.model.report import report_of
from lanmesh.model.task import AcceptMode, TaskState, WaitingFor
from lanmesh.store import outbox, peers
from tests.fakes import (
    SHARED_CALLER,
    Mesh,
    NodeUnderTest,
    a_message,
    a_result,
    a_task,
    proven,
    soon,
    until,
)

A = PeerId("a")


async def b_with(
    mesh: Mesh, *, limits: Limits | None = None, mode: AcceptMode = AcceptMode.AUTO, **of_a: Any
) -> NodeUnderTest:
    """Return a started node that knows `a`, and has settings for it."""
    b = mesh.describe("b", peers=["a", "c"], limits=limits or Limits(), accept_mode=mode)
    b.peers[A] = replace(b.peers[A], **of_a)
    await b.start()
    return b


async def called(b: NodeUnderTest, peer: str = "a") -> Caller:
    """Return who presents the token of a peer, which counts as a request."""
    return await b.node.identify(f"{peer}@b")


# --- which kinds ---------------------------------------------------------------------------------


async def test_a_peer_sends_what_it_may_and_nothing_else(mesh: Mesh) -> None:
    b = await b_with(mesh, may=frozenset({EnvelopeType.MESSAGE}))

    await b.hear(a_message(sender="a"), proven("a"))
    with pytest.raises(NotAllowed, match="may not send a task"):
        await b.receive(a_task(sender="a"), proven("a"))
    with pytest.raises(NotAllowed):
        await b.receive(a_task(sender="a"), SHARED_CALLER)

    assert (await b.receive(a_task(sender="c"), proven("c"))).state is TaskState.SUBMITTED


async def test_a_peer_that_may_nothing_still_tells_what_came_of_a_task(mesh: Mesh) -> None:
    b = await b_with(mesh, may=frozenset())
    asked = await b.delegate("a")

    report = await b.receive(a_result(b.task(asked.local_id), sender="a"), proven("a"))

    assert report.state is TaskState.COMPLETED


# --- how often -----------------------------------------------------------------------------------


async def test_a_caller_that_asks_too_often_is_put_off_until_there_is_room(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(requests_per_minute=2))
    for number in range(2):
        await b.hear(a_message(f"m-{number}", sender="a"), await called(b))

    with pytest.raises(TooFast) as refusal:
        await b.hear(a_message("m-2", sender="a"), await called(b))
    with pytest.raises(TooFast):
        await b.receive(a_task(sender="a"), await called(b))
    with pytest.raises(TooFast):
        await soon(b.node.arrivals.report(await called(b), "t-1"))

    assert refusal.value.retry_after_s == pytest.approx(30)
    await b.hear(a_message(sender="c"), await called(b, "c"))
    await mesh.clock.advance(30)
    await b.hear(a_message("m-2", sender="a"), await called(b))
    assert len(b.node.mail.inbox(10)) == 4


async def test_a_pause_earns_no_more_than_a_minute_s_requests(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(requests_per_minute=2))
    await mesh.clock.advance(3600)

    assert [(await called(b)).early_s > 0 for _ in range(4)] == [False, False, True, True]


async def test_a_repeat_gets_its_first_answer_even_from_a_caller_that_asks_too_often(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(requests_per_minute=1))
    first = await b.receive(a_task(sender="a"), await called(b))
    await until(lambda: b.task("t-1").final)

    assert await b.receive(a_task(sender="a"), await called(b)) == first
    with pytest.raises(TooFast):
        await b.receive(a_task("t-2", sender="a"), await called(b))


async def test_a_sender_rests_as_long_as_it_is_told_and_nothing_is_lost(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    b = mesh.describe("b", peers=["a"], limits=Limits(requests_per_minute=60))
    await a.start()
    await b.start()
    for _ in range(60):
        await called(b)
    sent = [await soon(a.node.mail.send("b", f"hello {number}")) for number in range(5)]
    await until(lambda: len(a.link.sent) >= 1 and not outbox.in_flight(a.database.read))
    tried = len(a.link.sent)

    for _ in range(20):
        await mesh.clock.advance(1)
    await until(lambda: len(b.node.mail.inbox(10)) == 5)

    assert tried <= 5
    assert len(a.link.sent) < 40
    for delivery in sent:
        found = outbox.find(a.database.read, delivery.envelope.id)
        assert found is not None
        assert found.state is DeliveryState.DELIVERED


# --- how much ------------------------------------------------------------------------------------


async def test_one_caller_has_no_more_than_its_tasks_open_and_others_have_theirs(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(open_tasks=2, concurrency=1))
    b.executor.hold()
    for number in range(2):
        await b.receive(a_task(f"t-{number}", sender="a"), proven("a"))

    with pytest.raises(TooBusy, match="2 tasks of yours") as refusal:
        await b.receive(a_task("t-2", sender="a"), proven("a"))
    await b.receive(a_task("t-2", sender="c"), proven("c"))
    again = await b.receive(a_task("t-1", sender="a"), proven("a"))

    assert refusal.value.retry_after_s == 5
    assert again.state is TaskState.SUBMITTED
    b.executor.release()
    await until(lambda: b.task("t-0").final)
    await b.receive(a_task("t-2", sender="a"), proven("a"))


async def test_one_caller_has_no_more_stored_than_it_may_and_others_have_theirs(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(stored_bytes=10_000))
    await b.hear(a_message("m-1", "x" * 6000, sender="a"), proven("a"))
    await b.receive(a_task("t-1", "x" * 4000, sender="a"), proven("a"))

    with pytest.raises(QuotaReached) as refusal:
        await b.hear(a_message("m-2", sender="a"), proven("a"))
    with pytest.raises(QuotaReached):
        await b.receive(a_task("t-2", sender="a"), proven("a"))
    await b.hear(a_message("m-1", "x" * 6000, sender="a"), proven("a"))
    await b.hear(a_message("m-1", "x" * 6000, sender="c"), proven("c"))

    assert refusal.value.retry_after_s == 600
    assert len(b.node.mail.inbox(10)) == 2


async def test_small_messages_count_too(mesh: Mesh) -> None:
    b = await b_with(mesh, limits=Limits(stored_bytes=1000))
    for number in range(5):
        await b.hear(a_message(f"m-{number}", "x", sender="a"), proven("a"))

    with pytest.raises(QuotaReached):
        await b.hear(a_message("m-5", "x", sender="a"), proven("a"))


async def test_what_a_doer_tells_has_room_beside_its_unread_messages_but_not_without_end(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"], limits=Limits(stored_bytes=1000))
    b = mesh.describe("b", peers=["a"])
    b.executor.hold()
    await a.start()
    await b.start()
    asked = await a.delegate("b")
    await until(lambda: len(b.executor.runs) == 1)
    report = replace(report_of(b.task(asked.wire_id)), state=TaskState.INPUT_REQUIRED, question="?")

    async def ask(number: int) -> None:
        said = Question(report=replace(report, attempt=number, version=100 + number))
        await a.receive(
            Envelope(id=WireId(f"q-{number}"), sender="b", recipient="a", timestamp_ms=0, payload=said),
            proven("b"),
        )

    await a.hear(a_message("m-1", "x" * 1000, sender="b"), proven("b"))
    for number in range(1, 5):
        await ask(number)
    with pytest.raises(QuotaReached):
        await ask(5)


async def test_what_is_removed_is_given_back(mesh: Mesh) -> None:
    b = await b_with(mesh)
    stored = [peers.stored_bytes(b.database.read, proven("a").origin)]
    await b.hear(a_message("m-1", "天" * 100, sender="a"), proven("a"))
    stored.append(peers.stored_bytes(b.database.read, proven("a").origin))
    await b.receive(a_task("t-1", "x" * 50, sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final)
    stored.append(peers.stored_bytes(b.database.read, proven("a").origin))
    await soon(b.database.write(lambda tx: tx.run("DELETE FROM inbox")))
    stored.append(peers.stored_bytes(b.database.read, proven("a").origin))

    assert stored == [0, 500, 750, 50]


async def test_what_this_node_asks_of_others_counts_for_nobody(mesh: Mesh) -> None:
    b = await b_with(mesh)
    asked = await b.delegate("a", "x" * 1000)
    await b.receive(a_result(b.task(asked.local_id), sender="a"), proven("a"))

    assert peers.stored_bytes(b.database.read, proven("a").origin) == 200


# --- a mode of its own ---------------------------------------------------------------------------


async def test_a_peer_has_an_accept_mode_of_its_own(mesh: Mesh) -> None:
    b = await b_with(mesh, mode=AcceptMode.MANUAL, accept_mode=AcceptMode.AUTO)

    own = await b.receive(a_task(sender="a"), proven("a"))
    others = await b.receive(a_task(sender="c"), proven("c"))

    assert (own.waiting_for, others.waiting_for) == (None, WaitingFor.APPROVAL)
    assert b.node.peers.own_profile(proven("a")).accept_mode is AcceptMode.AUTO
    assert b.node.peers.own_profile(proven("c")).accept_mode is AcceptMode.MANUAL


async def test_a_name_that_is_not_proven_opens_nothing(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a", "c"], proven=False, accept_mode=AcceptMode.MANUAL)
    b.peers[A] = replace(b.peers[A], accept_mode=AcceptMode.AUTO)
    b.peers[PeerId("c")] = replace(b.peers[PeerId("c")], accept_mode=AcceptMode.OFF)
    await b.start()

    assert (await b.receive(a_task(sender="a"))).waiting_for is WaitingFor.APPROVAL
    with pytest.raises(TasksNotAccepted):
        await b.receive(a_task("t-2", sender="c"))


async def test_what_the_owner_decides_for_a_peer_holds_until_the_configured_mode_changes(mesh: Mesh) -> None:
    b = await b_with(mesh, accept_mode=AcceptMode.AUTO)
    await soon(b.node.modes.decide(AcceptMode.OFF, "a"))
    modes = [b.node.modes.of("a"), b.node.modes.of("c"), b.node.modes.general()]
    await b.crash()
    await b.start()
    modes.append(b.node.modes.of("a"))
    await b.crash()
    b.peers[A] = replace(b.peers[A], accept_mode=None)
    await b.start()
    modes.append(b.node.modes.of("a"))

    assert modes == [AcceptMode.OFF, None, AcceptMode.AUTO, AcceptMode.OFF, None]
    with pytest.raises(PeerNotFound):
        await soon(b.node.modes.decide(AcceptMode.OFF, "nobody"))


async def test_a_report_of_nothing_is_still_not_found(mesh: Mesh) -> None:
    b = await b_with(mesh)

    with pytest.raises(TaskNotFound):
        await soon(b.node.arrivals.report(await called(b), "t-1"))
