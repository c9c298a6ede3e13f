"""The peers that a node knows, what they show of themselves, and what it shows to them."""

import msgspec
import pytest

from lanmesh.errors import NotAllowed, NotAuthenticated, PeerNotFound, PeerUnreachable
from lanmesh.model.task import AcceptMode
from lanmesh.protocol import profiles
from tests.fakes import EPOCH, SHARED_CALLER, Fault, Mesh, a_task, proven, soon, until


async def test_a_peers_profile_is_fresh_while_it_answers(mesh: Mesh) -> None:
    a, b = await mesh.pair()

    seen = await soon(a.node.peers.profile("b"))

    shown = msgspec.json.decode(seen.body)
    assert (shown["id"], shown["name"], shown["hardware"]["cpu"]) == ("b", "The node b", "Abacus")
    assert shown["load"] == {"cpuPercent": 12.5, "memoryPercent": 50.0, "running": 0, "waiting": 0}
    assert (seen.seen_at, seen.error) == (EPOCH, None)
    assert seen.body == profiles.encode(b.node.peers.own_profile())


async def test_a_peer_that_is_away_is_known_by_the_profile_it_last_showed(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    fresh = await soon(a.node.peers.profile("b"))
    await a.restart()
    await mesh.clock.advance(3600)
    a.link.faults["b"] = Fault.DOWN

    last = await soon(a.node.peers.profile("b"))

    assert (last.body, last.seen_at, last.error) == (fresh.body, EPOCH, "b is down")
    (state,) = a.node.peers.all()
    assert (state.contact.failed_at, state.contact.error) == (EPOCH + 3600, "b is down")


async def test_a_peer_that_never_showed_a_profile_has_none(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.link.faults["b"] = Fault.DOWN

    with pytest.raises(PeerUnreachable):
        await soon(a.node.peers.profile("b"))
    with pytest.raises(PeerNotFound):
        await soon(a.node.peers.profile("c"))


async def test_a_peer_that_refuses_to_show_its_profile_is_believed(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    await soon(a.node.peers.profile("b"))
    a.link.faults["b"] = NotAllowed("not for you")

    with pytest.raises(NotAllowed):
        await soon(a.node.peers.profile("b"))


async def test_a_profile_counts_what_is_done_for_others(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], accept_mode=AcceptMode.MANUAL)
    await b.start()
    for number in range(3):
        await b.receive(a_task(f"t-{number}"))
    b.executor.hold()
    await soon(b.node.tasks.approve("t-0"))
    await mesh.clock.advance(30)
    busy = b.node.peers.own_profile()
    b.executor.release()
    await until(lambda: b.task("t-0").final)
    await b.delegate("a")

    profile = b.node.peers.own_profile()
    assert (busy.tasks.running, busy.tasks.waiting) == (1, 2)
    assert (profile.tasks.running, profile.tasks.waiting, profile.tasks.done) == (0, 2, 1)
    assert profile.tasks.mean_s == 30
    assert profile.accept_mode is AcceptMode.MANUAL


async def test_callers_are_who_their_token_proves(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()

    assert await b.node.identify("a@b") == proven("a")
    assert await b.node.identify("shared@b") == SHARED_CALLER
    for unknown in (None, "", "a@b ", "A@B", "\udce4"):
        with pytest.raises(NotAuthenticated):
            await b.node.identify(unknown)


async def test_a_node_tells_how_long_it_runs(mesh: Mesh) -> None:
    b = mesh.describe("b")
    await b.start()

    await mesh.clock.advance(90)
    running_s = b.node.uptime_s
    await b.restart()

    assert running_s == 90
    assert b.node.uptime_s == 0
