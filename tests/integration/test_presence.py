"""Who is there, over long times: by the clock that tests move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from lanmesh.engine.presence import Presences
from lanmesh.errors import TooBusy
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Peer
from lanmesh.model.presence import Presence
from tests.fakes import FakeClock, FakeMachine, Mesh, settle, until

B, C = PeerId("b"), PeerId("c")


class Seen:
    """A node that listens to b, and to c, which is only configured."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.machine = FakeMachine()
        self.peers = {B: Peer(id=B, host="b.lan", node_id=NodeId("b" * 52)), C: Peer(id=C, host="c.lan")}
        self.presences = Presences(self.peers, self.machine, self.clock)

    def b(self) -> Presence | None:
        return self.presences.of(B)

    async def beats(self, seconds: float) -> list[Presence | None]:
        """Let b be heard every 5 s for some time; return what it was meanwhile."""
        seen = []
        for _ in range(int(seconds / 5)):
            self.presences.heard(B)
            await self.clock.advance(5)
            seen.append(self.b())
        return seen


@asynccontextmanager
async def listening() -> AsyncIterator[Seen]:
    seen = Seen()
    running = asyncio.create_task(seen.presences.run())
    try:
        yield seen
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_peer_that_beats_is_here_and_there_is_no_flapping() -> None:
    async with listening() as seen:
        assert set(await seen.beats(100)) == {Presence.HERE}


async def test_a_peer_that_is_silent_is_quiet_then_gone_and_here_again_at_its_first_word() -> None:
    async with listening() as seen:
        await seen.beats(20)
        told = []
        for _ in range(30):
            await seen.clock.advance(1)
            told.append(seen.b())
        seen.presences.heard(B)

        assert told == [Presence.HERE] * told.index(Presence.QUIET) + [Presence.QUIET] * told.count(
            Presence.QUIET
        ) + [Presence.GONE] * told.count(Presence.GONE)
        assert told[-1] is Presence.GONE
        assert seen.b() is Presence.HERE


async def test_a_node_that_was_suspended_says_nothing_of_others() -> None:
    async with listening() as seen:
        await seen.beats(20)
        await seen.clock.jump(120)

        assert seen.b() is Presence.HERE
        seen.presences.heard(B)
        assert set(await seen.beats(60)) == {Presence.HERE}
        await seen.clock.advance(31)
        assert seen.b() is Presence.GONE


async def test_what_is_heard_first_after_a_suspension_does_not_count_for_longer() -> None:
    async with listening() as seen:
        await seen.beats(20)
        seen.clock._passed_s += 120  # the first frame is read before anything else runs
        seen.presences.heard(B)
        await seen.clock.advance(31)

        assert seen.b() is Presence.GONE


async def test_a_peer_is_not_gone_while_no_network_of_this_node_leads_to_it() -> None:
    async with listening() as seen:
        await seen.beats(20)
        seen.machine.cut_off = {"b.lan"}
        await seen.clock.advance(300)
        without = seen.b()
        seen.machine.cut_off = {"c.lan"}
        await seen.clock.advance(3)

        assert (without, seen.b()) == (Presence.QUIET, Presence.GONE)


async def test_of_a_peer_to_which_there_can_be_no_link_nothing_is_said() -> None:
    async with listening() as seen:
        assert seen.presences.of(C) is None
        assert seen.presences.of(PeerId("nobody")) is None


async def test_another_boot_says_that_a_peer_was_started_anew() -> None:
    async with listening() as seen:
        told = [seen.presences.greeted(B, boot) for boot in ("b-1", "b-1", "b-2", "b-2")]

    assert told == [False, False, True, False]


async def test_a_peer_that_was_started_anew_is_sent_at_once_what_it_did_not_acknowledge(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    await a.node.peers.met(B, "b-1")
    a.link.faults[B] = TooBusy("full", retry_after_s=60)
    task = await a.delegate("b")
    await until(lambda: a.delivery(task.local_id).attempts == 1)
    await settle()
    del a.link.faults[B]

    await a.node.peers.met(B, "b-1")
    await settle()
    before = a.delivery(task.local_id).state
    await a.node.peers.met(B, "b-2")
    await until(lambda: a.has_delivery(task.local_id, DeliveryState.DELIVERED))

    assert before is DeliveryState.QUEUED
