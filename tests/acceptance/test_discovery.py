"""Nodes find each other by real mDNS, on the loopback address alone.

Nodes of other tests may be there too, so each test looks for its own alone.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lanmesh.engine.events import Events
from lanmesh.engine.sightings import Sightings
from lanmesh.machine import SystemClock
from lanmesh.model import ids
from lanmesh.model.ids import NodeId
from lanmesh.model.peer import Sighting
from lanmesh.net.discovery import SERVICE, Discovery
from tests.acceptance.mesh import Mesh, start_all
from tests.acceptance.node_process import NodeProcess
from tests.acceptance.node_process import until as until_so

WAIT_S = 30.0
HERE = frozenset({IPv4Interface("127.0.0.1/8")})


class Looking:
    """A node that looks for others, as far as mDNS is concerned."""

    def __init__(
        self, port: int, *, name: str = "a name", interfaces: Collection[IPv4Interface] = HERE
    ) -> None:
        self.node_id = a_node()
        self.sightings = Sightings(
            node_id=self.node_id, peer_of=lambda _: None, events=Events(), clock=SystemClock()
        )
        self.discovery = Discovery(
            node_id=self.node_id, boot="b00t", name=name, port=port, interfaces=lambda: interfaces,
            sightings=self.sightings, clock=SystemClock(),
        )  # fmt: skip

    def sees(self, node_id: NodeId) -> Sighting | None:
        return next((seen for seen in self.sightings.strangers() if seen.node_id == node_id), None)

    def places(self, node_id: NodeId) -> tuple[tuple[str, int], ...]:
        return self.sightings.places(node_id)


def a_node() -> NodeId:
    return ids.node_id(secrets.token_bytes(32))


@asynccontextmanager
async def running(*some: Looking) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.discovery.run()) for one in some]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 — mDNS tells when it likes; there is no event to wait for
            await asyncio.sleep(0.02)


@asynccontextmanager
async def attacker() -> AsyncIterator[AsyncZeroconf]:
    mdns = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    try:
        yield mdns
    finally:
        await mdns.async_close()


def record(name: str, port: int, *addresses: str, **facts: str) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        parsed_addresses=list(addresses) or ["127.0.0.1"],
        properties=facts,
        server=f"{name}.local.",
    )


def lie(**facts: str) -> AsyncServiceInfo:
    """Return a record under a name of its own."""
    return record(f"liar-{secrets.token_hex(4)}", 4666, **facts)


async def test_two_nodes_find_each_other_and_a_code_that_is_shown_is_seen() -> None:
    one, two = Looking(4001, name="pi"), Looking(4002, name="mac")

    def code() -> bool:
        return two.node_id in {seen.node_id for seen in one.sightings.showing_a_code()}

    async with running(one, two):
        await until(lambda: one.places(two.node_id) and two.places(one.node_id))
        two.discovery.show_code(True)
        await until(code)
        two.discovery.show_code(False)
        await until(lambda: not code())

    assert one.places(two.node_id) == (("127.0.0.1", 4002),)
    assert (found := one.sees(two.node_id)) is not None
    assert found.name == "mac"
    assert two.places(one.node_id) == (("127.0.0.1", 4001),)
    assert not one.places(one.node_id)


async def test_a_spoofed_answer_adds_a_place_and_takes_none_away() -> None:
    one, two = Looking(4001), Looking(4002)

    async with running(one, two), attacker() as mdns:
        await until(lambda: one.places(two.node_id))
        await (await mdns.async_register_service(lie(id=two.node_id)))
        await until(lambda: ("127.0.0.1", 4666) in one.places(two.node_id))

        assert ("127.0.0.1", 4002) in one.places(two.node_id)


async def test_a_goodbye_makes_no_node_forgotten() -> None:
    one, leaving, coming = Looking(4001), a_node(), a_node()

    async with running(one):
        async with attacker() as mdns:
            await (await mdns.async_register_service(lie(id=leaving)))
            await until(lambda: one.places(leaving))
            await mdns.async_unregister_all_services()
            await (await mdns.async_register_service(lie(id=coming)))
            await until(lambda: one.places(coming))

        assert one.places(leaving) == (("127.0.0.1", 4666),)


async def test_what_no_node_of_ours_would_announce_is_passed_over() -> None:
    one, honest = Looking(4001), Looking(4002)
    odd = ("", "../../etc/passwd", "a" * 200, "\x1b[2J")

    async with attacker() as mdns, running(one):
        lies = [lie(), *(lie(id=node_id, n="A" * 200) for node_id in odd)]
        await asyncio.gather(*[await mdns.async_register_service(each) for each in lies])
        async with running(honest):
            await until(lambda: one.places(honest.node_id))

        assert not {seen.node_id for seen in one.sightings.strangers()} & set(odd)


async def test_nobody_makes_a_node_dial_beyond_its_networks() -> None:
    one, far = Looking(4001, interfaces={IPv4Interface("127.0.0.1/8")}), a_node()
    lies = record(
        f"far-{secrets.token_hex(4)}",
        4002,
        "169.254.169.254",
        "192.0.2.1",
        "224.0.0.251",
        "127.0.0.9",
        id=far,
    )

    async with attacker() as mdns, running(one):
        await (await mdns.async_register_service(lies))
        await until(lambda: one.places(far))

        assert one.places(far) == (("127.0.0.9", 4002),)


async def test_a_name_reaches_nobody_with_what_steers_a_terminal() -> None:
    one, named = Looking(4001), a_node()

    async with attacker() as mdns, running(one):
        await (await mdns.async_register_service(lie(id=named, n="a\x1b[2J\u202eb")))
        await until(lambda: one.places(named))

        assert (found := one.sees(named)) is not None
        assert found.name.isprintable()


async def test_whoever_takes_the_name_of_a_node_does_not_keep_it_from_being_found() -> None:
    one, two = Looking(4001), Looking(4002, name="ü" * 100)

    async with attacker() as mdns:
        await (await mdns.async_register_service(record(two.node_id[:16], 4666, id="liar")))
        async with running(one, two):
            await until(lambda: one.places(two.node_id))
            two.discovery.show_code(True)
            await until(one.sightings.showing_a_code)

    assert two.sightings.trouble is None


async def test_a_machine_without_addresses_is_waited_for() -> None:
    interfaces: set[IPv4Interface] = set()
    one, two = Looking(4001, interfaces=interfaces), Looking(4002)

    async with running(one, two):
        interfaces |= HERE
        await until(lambda: one.places(two.node_id))

    assert one.sightings.trouble is None


# The library lets go of a socket that could not join the group without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_address_that_this_machine_does_not_have_stops_nothing() -> None:
    interfaces = {IPv4Interface("192.0.2.1/24")}
    one, two = Looking(4001, interfaces=interfaces), Looking(4002)

    async with running(one, two):
        await until(lambda: one.sightings.trouble is not None)
        interfaces.clear()
        interfaces |= HERE
        await until(lambda: one.places(two.node_id))

    assert one.sightings.trouble is None


# --- whole nodes ---------------------------------------------------------------------------------


def seen_by(node: NodeProcess, other: NodeProcess) -> dict[str, object]:
    """Return what a node tells of another that it has seen."""
    key = other.op("GET", "/op/status").json["nodeId"]
    seen = node.op("GET", "/op/status").json["seen"]
    return next((one for one in seen if one["nodeId"] == key), {})


def finding(mesh: Mesh, *names: str) -> tuple[NodeProcess, ...]:
    """Start nodes that look for each other, and that know nobody."""
    keys = {"discovery": True, "command": ["wc", "-w"]}
    return start_all(*(mesh.lone({"profile": {"id": name}, "node": keys}) for name in names))


def test_a_node_shows_who_is_there_and_not_paired(mesh: Mesh) -> None:
    a, b = finding(mesh, "a", "b")

    until_so(lambda: seen_by(a, b), a.log.read_text)

    assert seen_by(a, b)["addresses"] == [f"127.0.0.1:{b.port}"]
    said = a.lanmesh("peers").out
    assert "seen, not paired" in said
    assert f"127.0.0.1:{b.port}" in said
    assert "seen, not paired" in a.op("POST", "/op/commands/lan-status", {}).json["text"]


def test_a_code_typed_without_an_address_finds_the_node_that_shows_it(mesh: Mesh) -> None:
    a, b = finding(mesh, "a", "b")
    code = b.lanmesh("pair", "--json").json["code"]
    until_so(lambda: seen_by(a, b).get("showsCode"), a.log.read_text)

    said = a.lanmesh("pair", code)
    if "more than one node shows a code" in said.err:  # another test is about codes on this machine now
        said = a.lanmesh("pair", code, "--at", f"127.0.0.1:{b.port}")
    done = a.final(a.delegate("b", "one two three"))

    assert said.status == 0, said.err
    assert said.out.startswith("paired with b (node ")
    assert done["result"].strip() == "3"
    assert seen_by(a, b) == {}  # it is no stranger any more


def test_paired_peers_that_both_come_back_elsewhere_find_each_other(mesh: Mesh) -> None:
    a, b = finding(mesh, "a", "b")
    code = b.lanmesh("pair", "--json").json["code"]
    assert a.lanmesh("pair", code, "--at", f"127.0.0.1:{b.port}").status == 0
    before = a.port, b.port
    a.kill()
    b.kill()

    start_all(a, b)

    assert not {a.port, b.port} & set(before)
    assert a.final(a.delegate("b", "one two"))["result"].strip() == "2"
    assert b.final(b.delegate("a", "one"))["result"].strip() == "1"


def test_a_node_that_is_told_not_to_look_sees_nobody_and_says_so(mesh: Mesh) -> None:
    node = mesh.lone().start()

    said = node.lanmesh("pair", "ABCD-EFGH")

    assert (said.status, said.out) == (5, "")
    assert "node.discovery" in said.err
