"""Messages: kept where they arrive, shown with who sent them, and what their sender may know."""

import asyncio

import pytest

from lanmesh.errors import InvalidRequest, NotAllowed, PeerNotFound
from lanmesh.model.delivery import TTL_S, DeliveryState
from tests.fakes import Fault, Mesh, a_message, a_task, proven, settle, soon, until


async def test_a_message_arrives_and_waits_to_be_read(mesh: Mesh) -> None:
    a, b = await mesh.pair()

    sent = await soon(a.node.mail.send("b", "hello, b", wait_s=5))

    (message,) = b.node.mail.inbox(10)
    assert sent.state is DeliveryState.DELIVERED
    assert (message.text, message.sender, message.origin, message.read_at) == ("hello, b", "a", "a", None)
    assert message.proven
    assert b.node.numbers().unread == 1


async def test_reading_a_message_says_nothing_of_another_s_under_the_same_id(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    await b.hear(a_message("m-1", "important", sender="a"), proven("a"))
    await b.hear(a_message("m-1", "chatter", sender="anyone"))

    chatter = b.node.mail.inbox(10)[1]
    await soon(b.node.mail.mark_read([chatter.number]))

    assert [message.text for message in b.node.mail.inbox(10, unread=True)] == ["important"]


async def test_a_sender_waits_for_the_first_attempt_only(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN

    sent = await soon(a.node.mail.send("b", "hello", wait_s=5))

    assert (sent.state, sent.attempts, sent.error) == (DeliveryState.QUEUED, 1, "b is down")


async def test_a_sender_waits_no_longer_than_it_wants(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.BLACK_HOLE

    sending = asyncio.create_task(a.node.mail.send("b", "hello", wait_s=5))
    await mesh.clock.advance(4.9)
    assert not sending.done()
    await mesh.clock.advance(0.1)

    assert (await soon(sending)).state is DeliveryState.SENT


async def test_a_sender_that_does_not_wait_is_told_that_it_is_queued(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    sent = await soon(a.node.mail.send("b", "hello"))

    assert sent.state in {DeliveryState.QUEUED, DeliveryState.SENT}


async def test_a_message_that_nobody_took_in_time_is_expired(mesh: Mesh) -> None:
    a = mesh.describe("a", peers=["b"])
    await a.start()
    sent = await soon(a.node.mail.send("b", "hello", wait_s=5))

    await mesh.clock.jump(TTL_S + 60)
    await until(lambda: a.node.numbers().queued == 0)
    await mesh.describe("b", peers=["a"]).start()
    await mesh.clock.advance(60)

    assert sent.expires_at == sent.created_at + TTL_S
    assert mesh.nodes["b"].node.mail.inbox(10) == []


async def test_a_message_that_cannot_be_sent_is_refused(mesh: Mesh) -> None:
    a, _ = await mesh.pair()

    with pytest.raises(PeerNotFound, match="known: b"):
        await soon(a.node.mail.send("somebody", "hello"))
    with pytest.raises(InvalidRequest, match="blank"):
        await soon(a.node.mail.send("b", "\t"))
    with pytest.raises(InvalidRequest, match="at most"):
        await soon(a.node.mail.send("b", "x" * 2**20))

    assert a.node.numbers().queued == 0


async def test_read_messages_stay_and_keep_the_time_of_their_first_reading(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    for number in range(3):
        await b.hear(a_message(f"m-{number}", f"{number}", sender="a"), proven("a"))

    await soon(b.node.mail.mark_read([1, 2, 99]))
    first_read_at = mesh.clock.now()
    await mesh.clock.advance(60)
    await soon(b.node.mail.mark_read([1]))

    assert [message.id for message in b.node.mail.inbox(10, unread=True)] == ["m-2"]
    assert [message.read_at for message in b.node.mail.inbox(10)] == [first_read_at, first_read_at, None]
    assert b.node.numbers().unread == 1


async def test_the_inbox_shows_the_latest_messages_the_oldest_of_them_first(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()
    for number in range(5):
        await b.hear(a_message(f"m-{number}"))
    await b.receive(a_task())

    assert [message.id for message in b.node.mail.inbox(3)] == ["m-2", "m-3", "m-4"]


async def test_a_name_under_the_shared_token_is_shown_as_unproven(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], proven=False)
    await b.start()

    await b.hear(a_message(sender="a"))

    (message,) = b.node.mail.inbox(10)
    assert (message.origin, message.sender, message.proven) == ("shared", "a", False)


@pytest.mark.parametrize("name", ["shared", "self", "any"])
async def test_no_label_passes_for_a_proven_name(mesh: Mesh, name: str) -> None:
    b = mesh.describe("b")
    await b.start()

    with pytest.raises(NotAllowed):
        await b.hear(a_message(sender=name))
    with pytest.raises(NotAllowed):
        await b.receive(a_task(sender=name))
    await settle()

    assert b.node.mail.inbox(10) == []
    assert b.tasks_of_others() == []
