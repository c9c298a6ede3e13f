"""Nodes find each other by real mDNS, on the loopback address alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lanmesh.machine import SystemClock
from lanmesh.model import ids
from lanmesh.model.ids import NodeId
from lanmesh.net.discovery import MOST_STRANGERS, SERVICE, Discovery, Sighting

WAIT_S = 20.0
A, B = (ids.node_id(bytes([n]) * 32) for n in (1, 2))
HERE = frozenset({"127.0.0.1"})


def discovery(
    node_id: NodeId, port: int, *, known: Callable[[NodeId], bool] = lambda _: False, name: str = "a name"
) -> Discovery:
    return Discovery(
        node_id=node_id, name=name, port=port, addresses=lambda: HERE, known=known, clock=SystemClock()
    )


@asynccontextmanager
async def running(*some: Discovery) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in some]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 — mDNS tells when it likes; there is no event to wait for
            await asyncio.sleep(0.02)


def sighting(of: Discovery, node_id: NodeId) -> Sighting | None:
    return next((seen for seen in of.seen() if seen.node_id == node_id), None)


@asynccontextmanager
async def attacker() -> AsyncIterator[AsyncZeroconf]:
    mdns = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    try:
        yield mdns
    finally:
        await mdns.async_close()


def record(name: str, port: int, **facts: str) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        parsed_addresses=["127.0.0.1"],
        properties=facts,
        server=f"{name}.local.",
    )


async def test_two_nodes_find_each_other_and_an_open_pairing_is_seen() -> None:
    one, two = discovery(A, 4001, name="pi"), discovery(B, 4002, name="mac")

    async with running(one, two):
        await until(lambda: bool(one.places(B)) and bool(two.places(A)))
        two.open_for_pairing(True)
        await until(lambda: any(seen.pairing for seen in one.seen()))
        two.open_for_pairing(False)
        await until(lambda: not any(seen.pairing for seen in one.seen() if seen.node_id == B))

    assert one.places(B) == (("127.0.0.1", 4002),)
    assert (found := sighting(one, B)) is not None and found.name == "mac"
    assert two.places(A) == (("127.0.0.1", 4001),)
    assert not one.places(A)


async def test_a_spoofed_answer_adds_a_place_and_takes_none_away() -> None:
    one, two = discovery(A, 4001), discovery(B, 4002)

    async with running(one, two), attacker() as mdns:
        await until(lambda: bool(one.places(B)))
        await (await mdns.async_register_service(record("imposter", 4666, id=B), allow_name_change=True))
        await until(lambda: ("127.0.0.1", 4666) in one.places(B))

        assert ("127.0.0.1", 4002) in one.places(B)


async def test_a_goodbye_makes_no_node_forgotten() -> None:
    one = discovery(A, 4001)

    async with running(one):
        async with attacker() as mdns:
            await (await mdns.async_register_service(record("leaves", 4002, id=B)))
            await until(lambda: bool(one.places(B)))
            await mdns.async_unregister_all_services()
            await (await mdns.async_register_service(record("comes", 4003, id=ids.node_id(b"\3" * 32))))
            await until(lambda: len(one.seen()) == 2)

        assert one.places(B) == (("127.0.0.1", 4002),)


async def test_what_no_node_of_ours_would_announce_is_passed_over() -> None:
    one, honest = discovery(A, 4001), discovery(B, 4002)

    async with attacker() as mdns, running(one):
        for name, facts in {
            "no-id": {},
            "odd-id": {"id": "../../etc/passwd"},
            "long": {"id": "a" * 200, "n": "A" * 200},
            "escape": {"id": "\x1b[2J"},
        }.items():
            await (await mdns.async_register_service(record(name, 4666, **facts)))
        async with running(honest):
            await until(lambda: bool(one.places(B)))

        assert [seen.node_id for seen in one.seen()] == [B]


async def test_a_name_reaches_nobody_with_what_steers_a_terminal() -> None:
    one = discovery(A, 4001)

    async with attacker() as mdns, running(one):
        await (await mdns.async_register_service(record("named", 4002, id=B, n="a\x1b[2J\u202eb")))
        await until(lambda: bool(one.seen()))

        assert one.seen()[0].name.isprintable()


async def test_of_a_crowd_of_strangers_a_bounded_number_is_kept_and_every_peer() -> None:
    peer = ids.node_id(b"\xff" * 32)
    one = discovery(A, 4001, known=lambda node_id: node_id == peer)
    crowd = [ids.node_id(number.to_bytes(32, "big")) for number in range(1000, 1000 + 2 * MOST_STRANGERS)]

    for node_id in (peer, *crowd):
        one.note(Sighting(node_id=node_id, name="", places=(("127.0.0.1", 4002),), pairing=False))

    assert len(one.seen()) == MOST_STRANGERS + 1
    assert one.places(peer)
    assert one.places(crowd[-1])


async def test_a_machine_without_addresses_is_waited_for() -> None:
    addresses: set[str] = set()
    one = Discovery(
        node_id=A, name="", port=4001, addresses=lambda: addresses, known=lambda _: False, clock=SystemClock()
    )
    two = discovery(B, 4002)

    async with running(one, two):
        addresses.add("127.0.0.1")
        await until(lambda: bool(one.places(B)))

    assert one.trouble is None


# The library lets go of a socket that could not join the group without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_address_that_this_machine_does_not_have_stops_nothing() -> None:
    addresses = {"192.0.2.1"}
    one = Discovery(
        node_id=A, name="", port=4001, addresses=lambda: addresses, known=lambda _: False, clock=SystemClock()
    )
    two = discovery(B, 4002)

    async with running(one, two):
        await until(lambda: one.trouble is not None)
        addresses.clear()
        addresses.add("127.0.0.1")
        await until(lambda: bool(one.places(B)))

    assert one.trouble is None
