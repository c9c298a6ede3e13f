"""What comes twice is acted on once; and who may say what about whose task."""

from dataclasses import replace

import pytest

from lanmesh.engine.admission import Limits
from lanmesh.engine.callers import Caller
from lanmesh.errors import (
    IdConflict,
    InvalidRequest,
    MeshError,
    NotAllowed,
    TaskNotFound,
    TasksNotAccepted,
    TooBusy,
)
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.envelope import Envelope
from lanmesh.model.ids import WireId
from lanmesh.model.task import AcceptMode, Task, TaskState
from tests.fakes import (
    SHARED_CALLER,
    Fault,
    Mesh,
    NodeUnderTest,
    a_cancel,
    a_message,
    a_result,
    a_task,
    proven,
    settle,
    soon,
    until,
)


async def doer(
    mesh: Mesh, *, accept_mode: AcceptMode = AcceptMode.AUTO, waiting: int = 1000
) -> NodeUnderTest:
    b = mesh.describe(
        "b", peers=["a", "c"], accept_mode=accept_mode, limits=Limits(concurrency=1, max_waiting=waiting)
    )
    await b.start()
    return b


async def asker(mesh: Mesh) -> tuple[NodeUnderTest, Task]:
    """Return a node that asked its peer `b`, which is down, for something."""
    a = mesh.describe("a", peers=["b", "c"])
    await a.start()
    return a, await a.delegate("b")


async def test_the_same_envelope_twice_is_one_task_and_one_answer(mesh: Mesh) -> None:
    b = await doer(mesh)

    first = await b.receive(a_task())
    again = await b.receive(a_task())

    assert again == first
    assert len(b.tasks_of_others()) == 1


async def test_what_a_retry_may_change_does_not_make_another_task(mesh: Mesh) -> None:
    b = await doer(mesh)

    first = await b.receive(a_task(sender="a", path=["a"], hops=1), proven("a"))
    again = await b.receive(
        a_task(sender="a", ttl_s=5.0, timestamp_ms=99, path=["c", "a"], hops=2, reply_key="k"), proven("a")
    )

    assert again == first


async def test_a_repeat_gets_the_first_answer_even_after_the_end(mesh: Mesh) -> None:
    b = await doer(mesh)
    first = await b.receive(a_task())
    await until(lambda: b.task("t-1").final)

    again = await b.receive(a_task())

    assert again == first
    assert again.state is TaskState.SUBMITTED
    assert len(b.executor.runs) == 1


async def test_a_repeat_is_known_after_a_restart_and_after_a_crash(mesh: Mesh) -> None:
    b = await doer(mesh)
    first = await b.receive(a_task())
    await until(lambda: b.task("t-1").final)

    await b.restart()
    after_restart = await b.receive(a_task())
    await b.crash()
    await b.start()
    after_crash = await b.receive(a_task())

    assert first == after_restart == after_crash
    assert len(b.executor.runs) == 1


async def test_a_repeat_is_answered_while_no_tasks_are_accepted(mesh: Mesh) -> None:
    b = await doer(mesh)
    first = await b.receive(a_task())
    await soon(b.node.modes.decide(AcceptMode.OFF))

    assert await b.receive(a_task()) == first
    with pytest.raises(TasksNotAccepted):
        await b.receive(a_task("t-2"))


async def test_a_repeat_is_answered_while_the_queue_is_full(mesh: Mesh) -> None:
    b = await doer(mesh, accept_mode=AcceptMode.MANUAL, waiting=2)
    first = await b.receive(a_task())
    await b.receive(a_task("t-2"))

    assert await b.receive(a_task()) == first
    with pytest.raises(TooBusy) as refusal:
        await b.receive(a_task("t-3"))
    assert refusal.value.retry_after_s == 5.0
    assert [task.wire_id for task in b.tasks_of_others()] == ["t-2", "t-1"]


@pytest.mark.parametrize(
    "other", [a_task(text="something else"), a_task(timeout_s=1.0), a_task(recipient="b")]
)
async def test_an_id_with_other_content_is_refused(mesh: Mesh, other: Envelope) -> None:
    b = await doer(mesh)
    await b.receive(a_task())

    with pytest.raises(IdConflict):
        await b.receive(other)

    assert len(b.tasks_of_others()) == 1


async def test_the_same_id_from_two_origins_is_two_tasks(mesh: Mesh) -> None:
    b = await doer(mesh)

    reports = [
        await b.receive(a_task(sender="a"), proven("a")),
        await b.receive(a_task(sender="c"), proven("c")),
        await b.receive(a_task(sender="a-script")),
    ]

    assert len({report.local_id for report in reports}) == 3
    assert {task.origin for task in b.tasks_of_others()} == {"a", "c", "shared"}


async def test_pairing_later_does_not_run_a_repeat_again(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], proven=False)
    await b.start()
    first = await b.receive(a_task(sender="a"))
    await until(lambda: b.task("t-1").final)
    await b.stop()
    b.proven = True
    await b.start()

    again = await b.receive(a_task(sender="a"), proven("a"))
    report = await b.node.arrivals.report(proven("a"), "t-1")

    assert again == first
    assert report.state is TaskState.COMPLETED
    assert len(b.executor.runs) == 1


async def test_losing_the_own_token_does_not_run_a_repeat_again(mesh: Mesh) -> None:
    b = await doer(mesh)
    first = await b.receive(a_task(sender="a"), proven("a"))
    await b.hear(a_message(sender="a"), proven("a"))
    await until(lambda: b.task("t-1").final)
    await b.stop()
    b.proven = False
    await b.start()

    again = await b.receive(a_task(sender="a"))
    await b.hear(a_message(sender="a"))
    other = await b.receive(a_task(sender="a-script"))

    assert again == first
    assert other != first
    assert len(b.node.mail.inbox(10)) == 1
    with pytest.raises(TaskNotFound):  # it was a's own, and the shared token proves no name
        await b.node.arrivals.report(SHARED_CALLER, first.local_id)


async def test_a_cancel_that_came_with_an_own_token_refuses_its_task_under_the_shared_one(mesh: Mesh) -> None:
    b = await doer(mesh)
    await b.receive(a_cancel("t-1", sender="a"), proven("a"))
    await b.stop()
    b.proven = False
    await b.start()

    refused = await b.receive(a_task(sender="a"))

    assert refused.state is TaskState.CANCELED
    assert b.executor.runs == []


async def test_what_another_sent_under_the_shared_token_is_not_a_peers(mesh: Mesh) -> None:
    b = await doer(mesh)
    first = await b.receive(a_task(sender="a-script"))

    own = await b.receive(a_task(sender="a"), proven("a"))

    assert own.local_id != first.local_id
    with pytest.raises(TaskNotFound):
        await b.node.arrivals.report(proven("a"), first.local_id)


async def test_a_message_twice_is_one_message(mesh: Mesh) -> None:
    b = await doer(mesh)

    await b.hear(a_message())
    await b.hear(a_message())
    await b.restart()
    await b.hear(a_message())

    assert [message.id for message in b.node.mail.inbox(10)] == ["m-1"]
    with pytest.raises(IdConflict):
        await b.hear(a_message(text="something else"))
    with pytest.raises(IdConflict):
        await b.receive(a_task("m-1"))


async def test_a_result_twice_is_one_result(mesh: Mesh) -> None:
    a, asked = await asker(mesh)
    result = a_result(asked)

    first = await a.receive(result, proven("b"))
    version = a.task(asked.local_id).version
    again = await a.receive(result, proven("b"))

    assert (first.state, first.result) == (TaskState.COMPLETED, "42")
    assert (again.state, again.result) == (TaskState.COMPLETED, "42")
    assert a.task(asked.local_id).version == version


async def test_a_result_after_the_end_gets_that_end(mesh: Mesh) -> None:
    a, asked = await asker(mesh)
    await a.receive(a_result(asked, "42"), proven("b"))

    late = await a.receive(a_result(asked, "43", id="r-2", state=TaskState.FAILED), proven("b"))

    assert (late.state, late.result) == (TaskState.COMPLETED, "42")
    assert a.task(asked.local_id).result == "42"


async def test_a_result_tells_that_the_request_has_arrived(mesh: Mesh) -> None:
    a, asked = await asker(mesh)
    a.link.faults["b"] = Fault.LOSE_REQUEST
    await mesh.clock.advance(60)
    assert a.delivery(asked.local_id).state is DeliveryState.UNKNOWN

    await a.receive(a_result(asked), proven("b"))
    before = len(a.link.sent)
    await mesh.clock.advance(120)

    assert a.delivery(asked.local_id).state is DeliveryState.DELIVERED
    assert len(a.link.sent) == before


@pytest.mark.parametrize("key", [None, "guessed"])
async def test_a_result_under_the_shared_token_needs_the_reply_key(mesh: Mesh, key: str | None) -> None:
    a = mesh.describe("a", peers=["b"], proven=False)
    await a.start()
    asked = await a.delegate("b")

    with pytest.raises(NotAllowed, match="replyKey"):
        await a.receive(a_result(asked, reply_key=key))
    assert not a.task(asked.local_id).final

    report = await a.receive(a_result(asked, id="r-2", reply_key=asked.reply_key))
    assert report.state is TaskState.COMPLETED


async def test_a_result_comes_from_the_peer_that_was_asked(mesh: Mesh) -> None:
    a, asked = await asker(mesh)

    with pytest.raises(NotAllowed, match="asked of b"):
        await a.receive(a_result(asked, sender="c", reply_key=asked.reply_key), proven("c"))
    with pytest.raises(NotAllowed, match="replyKey"):
        await a.receive(a_result(asked, reply_key="guessed"), proven("b"))

    assert not a.task(asked.local_id).final


async def test_a_refused_result_may_be_sent_again_as_it_should_be(mesh: Mesh) -> None:
    a, asked = await asker(mesh)
    with pytest.raises(NotAllowed):
        await a.receive(a_result(asked, reply_key="guessed"), proven("b"))

    report = await a.receive(a_result(asked, reply_key=asked.reply_key), proven("b"))

    assert report.state is TaskState.COMPLETED


async def test_a_result_of_what_nobody_asked_for_is_not_taken(mesh: Mesh) -> None:
    a, asked = await asker(mesh)
    await a.receive(a_task("t-1", sender="c"), proven("c"))
    other = a.task("t-1")

    for task in (other, replace(asked, wire_id=WireId("never-asked"))):
        with pytest.raises(TaskNotFound):
            await a.receive(a_result(task, id=f"r-{task.wire_id}"), proven("b"))


async def test_an_envelope_says_truly_whom_it_is_from_and_for(mesh: Mesh) -> None:
    b = await doer(mesh)
    cases: list[tuple[Envelope, Caller, type[MeshError]]] = [
        (a_task(sender="c"), proven("a"), NotAllowed),
        (a_task(sender="a-script"), proven("a"), NotAllowed),
        (a_task(sender="a"), SHARED_CALLER, NotAllowed),
        (a_task(sender="a", recipient="c"), proven("a"), InvalidRequest),
    ]
    for envelope, caller, refusal in cases:
        with pytest.raises(refusal):
            await b.receive(envelope, caller)
    with pytest.raises(NotAllowed):
        await b.hear(a_message(sender="c"), proven("a"))

    assert b.tasks_of_others() == []
    assert b.node.mail.inbox(10) == []


async def test_the_shared_token_proves_no_name_and_needs_no_recipient(mesh: Mesh) -> None:
    b = await doer(mesh)

    await b.receive(a_task(sender="anyone at all", recipient="whoever"))

    assert b.task("t-1").origin == "shared"
    assert b.task("t-1").peer == "anyone at all"


async def test_an_envelope_of_another_type_does_not_belong_there(mesh: Mesh) -> None:
    b = await doer(mesh)

    with pytest.raises(InvalidRequest):
        await b.node.arrivals.receive(SHARED_CALLER, a_message(), b"")
    with pytest.raises(InvalidRequest):
        await b.node.arrivals.receive_result(SHARED_CALLER, a_message(), b"")
    with pytest.raises(InvalidRequest):
        await b.node.mail.receive(SHARED_CALLER, a_task(), b"")


async def test_what_arrives_under_a_peers_name_counts_as_contact(mesh: Mesh) -> None:
    b = await doer(mesh)

    await b.hear(a_message(sender="c"), proven("c"))
    await b.hear(a_message("m-2", sender="nobody-known"))
    await settle()

    heard = {state.peer.id: state.contact.heard_at for state in b.node.peers.all()}
    assert heard == {"a": None, "c": mesh.clock.now()}
