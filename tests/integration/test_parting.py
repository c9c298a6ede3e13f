"""What unpairing and blocking end, and what whoever bears the name next does not get."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from lanmesh.errors import FileNotFound, MeshError, NotAllowed, TaskNotFound
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.file import FileState
from lanmesh.model.ids import SELF, Origin, PeerId, WireId
from lanmesh.model.task import AcceptMode, Failure, TaskState
from tests.fakes import (
    FakeExecutor,
    Fault,
    Mesh,
    NodeUnderTest,
    a_message,
    a_result,
    proven,
    settle,
    soon,
    until,
)
from tests.integration.desk import CAT, a_file, ref, with_shelf
from tests.integration.test_pairing import dial


async def paired(mesh: Mesh, executor: FakeExecutor | None = None) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return two nodes that are paired by a code, with real disks; `a` has the executor."""
    a, b = with_shelf(mesh.describe("a", executor=executor), mesh), with_shelf(mesh.describe("b"), mesh)
    await a.start()
    await b.start()
    await dial(a, b)
    return a, b


async def another(mesh: Mesh, old: NodeUnderTest) -> NodeUnderTest:
    """Start another node under the name of one, in its place."""
    if old.running:
        await old.stop()
    old.path.unlink()
    other = mesh.describe("other")
    anew = with_shelf(mesh.describe(old.name), mesh)
    anew.certificate, anew.node_id = other.certificate, other.node_id
    await anew.start()
    return anew


async def parted(mesh: Mesh, a: NodeUnderTest, b: NodeUnderTest) -> NodeUnderTest:
    """Unpair a peer; pair another node, which bears its name, and return that."""
    await soon(a.node.pairing.unpair("b"))
    anew = await another(mesh, b)
    assert (await dial(a, anew)).peer == "b"
    return anew


async def test_with_a_blocked_peer_no_file_is_tried(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    a.file_link.cut_after = b.file_link.cut_after = 1000
    kept = await soon(a.node.files.keep([a_file(mesh)]))
    await soon(a.node.mail.send("b", "look", files=kept, wait_s=5))
    await until(lambda: bool(a.file_link.moved))

    await soon(a.node.pairing.block("b"))
    await mesh.clock.advance(120)
    tried = list(a.file_link.moved)
    await mesh.clock.advance(600)

    assert a.file_link.moved == tried


async def test_a_newcomer_gets_nothing_that_was_for_the_one_that_was_unpaired(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    (kept,) = await soon(a.node.files.keep([a_file(mesh)]))
    await soon(a.node.mail.send("b", "has come", files=(kept,), wait_s=5))
    await b.stop()
    await soon(a.node.mail.send("b", "the secret", files=(kept,)))
    asked = await a.delegate("b", "the work")
    await settle()

    anew = await parted(mesh, a, b)
    for _ in range(5):
        await mesh.clock.advance(60)

    assert (anew.node.mail.inbox(5), anew.tasks_of_others()) == ([], [])
    with pytest.raises(FileNotFound):
        a.node.files.offered(proven("b"), kept.sha256)
    assert {each.state for each in a.node.mail.outbox(5)} == {DeliveryState.EXPIRED}
    assert {each.error for each in a.node.mail.outbox(5)} == {"b was unpaired"}
    assert [each.envelope.id for each in a.node.mail.undelivered()] != []
    ended = a.task(asked.local_id)
    assert ended.error is not None
    assert (ended.state, ended.error.code, ended.assumed) == (TaskState.FAILED, Failure.EXPIRED, True)


async def test_what_an_unpairing_has_given_up_goes_to_the_newcomer_if_the_owner_says_so(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await b.stop()
    (kept,) = await soon(a.node.files.keep([a_file(mesh)]))
    sent = await soon(a.node.mail.send("b", "for whoever is b", files=(kept,)))
    asked = await soon(a.node.tasks.delegate("b", "look", files=(kept,)))

    anew = await parted(mesh, a, b)
    await soon(a.node.mail.resend(sent.envelope.id))
    await soon(a.node.mail.resend(asked.local_id))
    await mesh.clock.advance(60)
    await until(lambda: a.task(asked.local_id).final)

    assert a.task(asked.local_id).state is TaskState.COMPLETED
    assert [message.text for message in anew.node.mail.inbox(5)] == ["for whoever is b"]
    await until(lambda: all(file.settled for file in _files(anew)))
    assert [file.error for file in _files(anew)] == [None]
    assert a.node.files.offered(proven("b"), kept.sha256) == kept


def _files(node: NodeUnderTest) -> list[FileState]:
    return node.node.files.of_message(*_first(node))


def _first(node: NodeUnderTest) -> tuple[Origin, WireId]:
    mail = node.node.mail.inbox(5)[0]
    return Origin(mail.origin), mail.id


async def test_a_task_asked_of_an_unpaired_peer_ends_at_once_and_no_newcomer_is_asked_of_it(
    mesh: Mesh,
) -> None:
    a, b = await paired(mesh)
    b.executor.hold()
    asked = await a.delegate("b", "count")
    await until(lambda: a.has_delivery(asked.local_id, DeliveryState.DELIVERED))

    anew = await parted(mesh, a, b)
    a.link.questions.clear()
    await mesh.clock.advance(3600)

    ended = a.task(asked.local_id)
    assert ended.error is not None
    assert (ended.state, ended.error.code, ended.assumed) == (TaskState.FAILED, Failure.UNKNOWN, True)
    assert a.link.questions == []
    assert anew.tasks_of_others() == []
    with pytest.raises(NotAllowed):
        await a.receive(a_result(ended, "a lie"), proven("b"))
    await a.receive(a_result(ended, "the truth", id="r-2", reply_key=ended.reply_key), proven("b"))
    assert a.task(asked.local_id).result == "the truth"


async def test_what_an_unpaired_peer_has_asked_for_is_stopped_and_told_to_no_newcomer(mesh: Mesh) -> None:
    a, b = await paired(mesh, FakeExecutor())
    over = await b.delegate("a", "first")
    await until(lambda: b.task(over.local_id).final)
    a.executor.hold()
    asked = await b.delegate("a", "second")
    await until(lambda: len(a.executor.runs) == 2)
    doing = a.executor.runs[-1]

    await parted(mesh, a, b)
    await until(lambda: a.task(doing.local_id).final)

    assert a.task(doing.local_id).state is TaskState.CANCELED
    assert a.executor.canceled == [doing.local_id]
    assert a.node.mail.outbox(5) == []
    for name in (over.wire_id, asked.wire_id, doing.local_id):
        with pytest.raises(TaskNotFound):
            await soon(a.node.arrivals.report(proven("b"), name))
        with pytest.raises(TaskNotFound):
            await soon(a.node.arrivals.cancel_named(proven("b"), name))


async def test_of_an_unpaired_peer_nothing_is_known_of_the_next_one_of_that_name(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await soon(a.node.peers.profile("b"))
    await soon(a.node.modes.decide(AcceptMode.OFF, "b"))
    a.presences.heard(PeerId("b"))

    await parted(mesh, a, b)
    (state,) = a.node.peers.all()

    assert (state.contact.heard_at, state.contact.reached_at) == (None, None)
    assert a.node.modes.of("b") is None


async def test_who_names_what_an_unpaired_peer_has_brought_has_to_bring_it_itself(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    (kept,) = await soon(b.node.files.keep([a_file(mesh)]))
    await soon(b.node.mail.send("a", "look", files=(kept,), wait_s=5))
    await until(lambda: all(file.place for file in a.node.files.of_message(*_first(a))))

    await parted(mesh, a, b)
    with pytest.raises(FileNotFound):
        a.node.files.standing(proven("b"), kept.sha256)
    await a.hear(a_message("m-2", sender="b", files=(kept,)), proven("b"))

    assert not a.node.files.standing(proven("b"), kept.sha256).whole
    assert all(file.place for file in a.node.files.of_message(*_first(a)))


async def test_what_was_half_here_of_an_unpaired_peer_does_not_become_whole(mesh: Mesh) -> None:
    a, _ = await paired(mesh)
    named = ref(CAT)
    await a.hear(a_message("m-1", sender="b", files=(named,)), proven("b"))

    async def chunks() -> AsyncIterator[bytes]:
        yield CAT[:1000]
        await a.node.pairing.unpair("b")
        yield CAT[1000:]

    with suppress(MeshError):
        await soon(a.node.files.take(proven("b"), named.sha256, 0, len(CAT), chunks()))
    await mesh.clock.advance(60)

    (state,) = a.node.files.of_message(*_first(a))
    assert (state.error, state.place) == ("b was unpaired", None)


async def test_a_node_that_pairs_again_without_being_unpaired_keeps_what_waits_for_it(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    b.executor.hold()
    asked = await a.delegate("b", "count")
    await until(lambda: a.has_delivery(asked.local_id, DeliveryState.DELIVERED))
    a.link.faults["b"] = Fault.DOWN
    await soon(a.node.mail.send("b", "still for you"))

    await dial(b, a)
    a.link.faults.clear()
    b.executor.release()
    await mesh.clock.advance(60)

    assert [message.text for message in b.node.mail.inbox(5)] == ["still for you"]
    assert a.task(asked.local_id).state is TaskState.COMPLETED


async def test_a_node_that_was_set_up_anew_gets_nothing_until_the_old_one_is_unpaired(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await b.stop()
    await soon(a.node.mail.send("b", "for the old one"))

    anew = await another(mesh, b)
    pairing = await dial(a, anew)
    await mesh.clock.advance(60)

    assert (pairing.peer, anew.node.mail.inbox(5)) == (f"b-{anew.node_id[:8]}", [])
    assert [each.state for each in a.node.mail.outbox(5)] == [DeliveryState.QUEUED]


async def test_who_is_paired_under_the_name_of_one_that_left_the_settings_gets_nothing_of_it(
    mesh: Mesh,
) -> None:
    a = mesh.describe("a", peers=["b"])
    await a.start()
    await soon(a.node.mail.send("b", "for the one in the settings"))
    await a.stop()
    a.peers.clear()
    await a.start()
    b = mesh.describe("b")
    await b.start()

    await dial(a, b)
    await mesh.clock.advance(60)

    assert b.node.mail.inbox(5) == []
    assert [each.state for each in a.node.mail.outbox(5)] == [DeliveryState.EXPIRED]


async def test_a_peer_of_the_settings_that_is_unpaired_goes_on_as_that(mesh: Mesh) -> None:
    a, b = mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"])
    await a.start()
    await b.start()
    await soon(a.node.pairing.renew("b", "b.lan"))
    a.link.faults["b"] = Fault.DOWN
    await soon(a.node.mail.send("b", "hello"))

    await soon(a.node.pairing.unpair("b"))
    await soon(b.node.pairing.unpair("a"))
    a.link.faults.clear()
    await mesh.clock.advance(60)

    assert [message.text for message in b.node.mail.inbox(5)] == ["hello"]


@pytest.mark.parametrize("gone", ["sender", "reader"])
async def test_a_file_whose_peer_is_gone_for_good_ends_and_its_tries_are_told_once(
    mesh: Mesh, caplog: pytest.LogCaptureFixture, gone: str
) -> None:
    caplog.set_level(logging.INFO)
    a, b = await paired(mesh)
    a.file_link.cut_after = b.file_link.cut_after = 1000
    near, far = (b, a) if gone == "reader" else (a, b)
    kept = await soon(far.node.files.keep([a_file(mesh)]))
    await soon(far.node.mail.send(near.name, "look", files=kept, wait_s=5))
    await until(lambda: bool(far.file_link.moved))
    stays, named = (a, SELF if gone == "reader" else Origin("b"))
    envelope = near.node.mail.inbox(5)[0].id

    await b.stop()
    await mesh.clock.advance(3600)
    told = [record.getMessage() for record in caplog.records].count("file put off")
    await soon(stays.clearance.sweep())
    (early,) = stays.node.files.of_message(named, envelope)
    await mesh.clock.jump(31 * 24 * 3600.0)
    await soon(stays.clearance.sweep())
    (state,) = stays.node.files.of_message(named, envelope)
    await mesh.clock.advance(120)

    did = "take" if gone == "reader" else "bring"
    assert (early.settled, state.error) == (False, f"b did not {did} it within 31 days")
    assert told <= 2 * 2, "each way tells each cause once"
    assert mesh.clock.pauses == [] or min(mesh.clock.pauses) > 60, "it is tried no more"
