"""Profiles that peers tell by themselves over their links: who is asked none the more, and for how long."""

import asyncio

import msgspec
import pytest

from lanmesh.engine.callers import Caller
from lanmesh.errors import InvalidRequest, PeerUnreachable
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import DEFAULT_PORT
from lanmesh.model.presence import QUIET_AFTER_S, Presence
from lanmesh.model.task import AcceptMode
from lanmesh.protocol import profiles
from tests.fakes import EPOCH, Fault, Mesh, NodeUnderTest, settle, soon

B = PeerId("b")


async def paired(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return two nodes that know each other's keys, the first with a link to the second."""
    a, b = mesh.describe("a"), mesh.describe("b")
    await a.start()
    await b.start()
    code = b.node.pairing.invite().code
    await soon(a.node.pairing.dial(code, "b.lan", DEFAULT_PORT))
    await a.node.peers.met(B, b.boot)
    a.link.faults["b"] = Fault.DOWN  # what is asked of it beside its link has no answer
    a.link.questions.clear()
    return a, b


async def tell(a: NodeUnderTest, b: NodeUnderTest) -> None:
    """Let b tell its profile over the link."""
    a.presences.heard(B)
    profile = b.node.peers.own_profile(Caller(peer=PeerId("a")))
    await soon(a.node.peers.told(B, profiles.encode(profile)))


async def test_a_peer_that_is_here_and_has_told_its_profile_is_not_asked(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await tell(a, b)
    await b.node.modes.decide(AcceptMode.OFF)
    await mesh.clock.advance(5)
    await tell(a, b)
    await mesh.clock.advance(3)

    seen = await soon(a.node.peers.profile("b"))

    assert msgspec.json.decode(seen.body)["acceptMode"] == "off"
    assert (seen.seen_at, seen.error) == (EPOCH + 5, None)
    assert a.link.questions == []


async def test_a_peer_that_has_told_nothing_is_asked(mesh: Mesh) -> None:
    a, _ = await paired(mesh)

    with pytest.raises(PeerUnreachable):
        await soon(a.node.peers.profile("b"))

    assert a.link.questions == ["b"]


async def test_a_peer_whose_link_has_ended_is_asked(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await tell(a, b)
    a.node.peers.parted(B)

    last = await soon(a.node.peers.profile("b"))

    assert a.link.questions == ["b"]
    assert (last.seen_at, last.error) == (EPOCH, "b is down")


async def test_a_peer_that_is_not_here_any_more_is_asked_and_known_by_its_last_word(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await tell(a, b)
    await mesh.clock.advance(1)
    await b.node.modes.decide(AcceptMode.OFF)
    await tell(a, b)
    for _ in range(round(QUIET_AFTER_S)):
        await mesh.clock.advance(1)
        a.presences.of(B)  # this node is well, and hears nothing

    last = await soon(a.node.peers.profile("b"))

    assert a.link.questions == ["b"]
    assert msgspec.json.decode(last.body)["acceptMode"] == "off"
    assert (last.seen_at, last.error) == (EPOCH + 1, "b is down")


async def test_what_was_told_outlives_a_restart_and_costs_few_commits(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    before = a.writer.commits
    for _ in range(20):
        await tell(a, b)
        await mesh.clock.advance(1)
    commits = a.writer.commits - before
    await a.restart()

    last = await soon(a.node.peers.profile("b"))

    assert commits <= 2  # the pairing may settle meanwhile
    assert (last.seen_at, last.error) == (EPOCH, "b is down")


async def test_over_a_new_link_the_profile_of_the_last_one_does_not_count(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await tell(a, b)
    await a.node.peers.met(B, "another boot")
    await settle()
    a.link.questions.clear()

    last = await soon(a.node.peers.profile("b"))

    assert last.error is not None
    assert a.link.questions == ["b"]


async def test_what_is_no_profile_is_not_kept(mesh: Mesh) -> None:
    a, _ = await paired(mesh)

    with pytest.raises(InvalidRequest):
        await a.node.peers.told(B, b'{"schemaVersion":7}')
    with pytest.raises(PeerUnreachable):
        await soon(a.node.peers.profile("b"))


async def test_a_call_of_a_peer_that_has_lost_its_link_does_not_make_it_here(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    running = asyncio.create_task(a.presences.run())
    a.node.peers.parted(B)
    await mesh.clock.advance(60)
    token = b.roster.outbound(PeerId("a"))

    await soon(a.node.identify(token, b.node_id))

    assert a.presences.of(B) is Presence.GONE  # the answer may never arrive
    running.cancel()


async def test_a_peer_that_calls_under_its_own_credentials_is_here_though_it_has_no_link(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    await a.restart()
    running = asyncio.create_task(a.presences.run())
    await mesh.clock.advance(60)
    before = a.presences.of(B)
    token = b.roster.outbound(PeerId("a"))

    await soon(a.node.identify(token, b.node_id))

    assert (before, a.presences.of(B)) == (Presence.GONE, Presence.HERE)
    running.cancel()
