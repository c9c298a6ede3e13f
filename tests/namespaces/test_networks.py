"""Nodes on hosts and networks of their own: found, paired, lost and found again; lied to by mDNS."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lanmesh.net.discovery import SERVICE
from tests.acceptance.node_process import Json, until
from tests.namespaces.hosts import MESH_PORT, Host, Networks, ip

Lay = Callable[..., tuple[Host, ...]]
Say = Callable[[str], None]

PATIENCE_S = 90.0
"""No bound on how fast it is, which is said instead; after so long, it does not come."""

pytestmark = pytest.mark.timeout(400)


def ask(host: Host, peer: str, text: str) -> str:
    """Delegate a task; return its id."""
    with host.inside() as node:
        return node.delegate(peer, text)


def done(host: Host, task: str) -> str:
    """Return the result of a delegated task, once it is there."""
    with host.inside() as node:
        return str(node.final(task, within_s=PATIENCE_S)["result"]).strip()


def tried_in_vain(host: Host, task: str) -> None:
    """Return once a task could not be delivered."""
    with host.inside() as node:
        until(lambda: node.task(task)["delivery"]["error"], node.log.read_text, PATIENCE_S)


def words(host: Host, peer: str, text: str) -> str:
    return done(host, ask(host, peer, text))


def status(host: Host) -> Json:
    with host.inside() as node:
        view: Json = node.op("GET", "/op/status").json
        return view


def pair(asking: Host, showing: Host) -> None:
    """Type the code that one host shows on the other, and nothing else."""
    with showing.inside() as node:
        code = node.lanmesh("pair", "--json").json["code"]
    with asking.inside() as node:
        said = node.lanmesh("pair", code)
        assert said.status == 0, said.err + node.log.read_text()


def key(host: Host) -> str:
    return str(status(host)["nodeId"])


def seen(host: Host) -> set[str]:
    """Return the keys of the nodes that a node has found and is not paired with."""
    return {one["nodeId"] for one in status(host)["seen"]}


def default_routes(host: Host) -> list[str]:
    with host.inside():
        routes = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
    return [route for route in routes if route.split()[1] == "00000000"]


def peers(host: Host) -> dict[str, Json]:
    return {peer["id"]: peer for peer in status(host)["peers"]}


def test_from_two_empty_folders_to_the_first_task_with_one_code_typed(lay: Lay, say: Say) -> None:
    # Nothing is set on either but its name and its program; see `Host`.
    a, b = lay(a={"lan": "10.77.0.1"}, b={"lan": "10.77.0.2"})
    began = time.monotonic()

    a.start()
    b.start()
    started = time.monotonic()
    pair(a, b)
    paired = time.monotonic()
    answer = words(a, "b", "one two three")
    ended = time.monotonic()

    assert answer == "3"
    assert words(b, "a", "one two") == "2"
    assert peers(a)["b"]["host"] == "10.77.0.2"
    say(
        f"two hosts: {ended - began:.1f} s from empty folders to the first result "
        f"({started - began:.1f} s to start both, {paired - started:.1f} s to pair)"
    )


def test_a_node_that_listens_on_loopback_is_there_for_its_own_machine_alone(
    lay: Lay, networks: Networks
) -> None:
    a, b = lay(a={"lan": "10.77.0.1"}, b={"lan": "10.77.0.2"})
    hidden = networks.host("hidden", {"lan": "10.77.0.3"}, listen="127.0.0.1")
    hidden.start()
    a.start()
    b.start()

    until(lambda: seen(a) and seen(b), lambda: (status(a), status(b)), PATIENCE_S)
    assert (seen(a), seen(b), seen(hidden)) == ({key(b)}, {key(a)}, set())
    with a.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("10.77.0.3", MESH_PORT), PATIENCE_S)
    with hidden.inside() as node:
        assert node.lan("GET", "/lan/health").status == 200


def test_links_that_go_and_addresses_that_change_are_found_again_without_a_restart(
    lay: Lay, say: Say
) -> None:
    left, middle, right = lay(
        left={"one": "10.77.1.1"},
        middle={"one": "10.77.1.2", "two": "10.77.2.2"},
        right={"two": "10.77.2.1"},
    )
    for host in (left, middle, right):
        host.start()
        assert default_routes(host) == [], "there is no way out of these networks"
    pair(left, middle)
    pair(right, middle)
    assert (words(left, "middle", "one"), words(right, "middle", "one two")) == ("1", "2")
    assert (words(middle, "left", "one"), words(middle, "right", "one two")) == ("1", "2")

    left.unplug("one")
    to_middle, to_left = ask(left, "middle", "one two"), ask(middle, "left", "one two three")
    tried_in_vain(left, to_middle)
    tried_in_vain(middle, to_left)
    assert words(middle, "right", "one") == "1"
    began = time.monotonic()
    left.plug_in("one")
    assert done(left, to_middle) == "2"
    there = time.monotonic() - began
    assert done(middle, to_left) == "3"
    back = time.monotonic() - began
    say(f"link up again: {there:.1f} s to the result there, {back:.1f} s from the other side")

    to_left = ask(middle, "left", "one")
    assert done(middle, to_left) == "1"
    began = time.monotonic()
    left.move("one", "10.77.1.1", "10.77.1.77")
    assert words(middle, "left", "one two") == "2"
    there = time.monotonic() - began
    assert words(left, "middle", "one two three") == "3"
    back = time.monotonic() - began
    say(f"another address: {there:.1f} s to a result from there, {back:.1f} s to one that it asked for")


async def lie_about(victim: str, address: str, while_it_stands: Callable[[], None]) -> None:
    """Say by mDNS that a node is at an address and shows a code, and in the end that it is gone."""
    mdns = AsyncZeroconf(interfaces=[address], ip_version=IPVersion.V4Only)
    try:
        # Under the name of the node itself, so that its records give way in every cache; and beside it.
        for name in (victim[:16], "liar"):
            told = AsyncServiceInfo(
                SERVICE,
                f"{name}.{SERVICE}",
                port=MESH_PORT,
                parsed_addresses=[address],
                properties={"id": victim, "n": "a liar", "pair": "1", "s": "lie"},
                server=f"{name}.local.",
            )
            await (await mdns.async_register_service(told, cooperating_responders=True))
        await asyncio.to_thread(while_it_stands)
        await mdns.async_unregister_all_services()  # the goodbyes
    finally:
        await mdns.async_close()


def test_spoofed_answers_and_goodbyes_change_nothing_for_a_paired_peer(lay: Lay, say: Say) -> None:
    a, b, mallory = lay(a={"lan": "10.77.0.1"}, b={"lan": "10.77.0.2"}, mallory={"lan": "10.77.0.66"})
    for host in (a, b, mallory):
        host.start()
    victim = key(b)

    def sees_the_lie() -> bool:
        said = {each for one in status(a)["seen"] if one["nodeId"] == victim for each in one["addresses"]}
        return {f"10.77.0.66:{MESH_PORT}", f"10.77.0.2:{MESH_PORT}"} <= said

    def all_is_as_ever() -> None:
        until(sees_the_lie, lambda: status(a), PATIENCE_S)
        pair(a, b)
        assert words(a, "b", "one two") == "2"
        with a.inside() as node:
            node.restart()  # now it knows where b may be, and not where it answered a moment ago
        assert words(a, "b", "one") == "1"

    with mallory.inside():
        asyncio.run(lie_about(victim, "10.77.0.66", all_is_as_ever))

    assert words(a, "b", "one two three") == "3"
    assert peers(a)["b"]["host"] == "10.77.0.2"
    assert peers(mallory) == {}
    with mallory.inside() as node:
        assert node.op("GET", "/op/tasks").json == []
    say("lies and goodbyes by mDNS: paired with, and every task done by, the node that proves its key")


_LED_TO = """
import json, sys
from lanmesh.machine import LocalMachine
print(json.dumps([LocalMachine().online([host]) for host in sys.argv[1:]]))
"""


def led_to(host: Host, *addresses: str) -> list[bool]:
    """Return to which addresses a network of a host leads, as a node there sees it."""
    with host.inside():
        done = subprocess.run(
            [sys.executable, "-c", _LED_TO, *addresses], capture_output=True, text=True, check=True
        )
    told: list[bool] = json.loads(done.stdout)
    return told


def test_what_containers_and_tunnels_have_up_leads_to_no_peer_on_the_network(networks: Networks) -> None:
    host = networks.host("a", {"lan": "10.77.0.1"})
    ip("link add docker0 type veth peer name inner", host.name)
    ip("address add 172.17.0.1/16 dev docker0", host.name)
    ip("link set docker0 up", host.name)
    ip("link set inner up", host.name)
    places = ("10.77.0.2", "172.17.0.2", "127.0.0.1")

    plugged_in = led_to(host, *places)
    ip(f"link set {host.name}-lan down")
    without_carrier = led_to(host, *places)
    host.unplug("lan")
    unplugged = led_to(host, *places)
    ip("route add default via 172.17.0.9", host.name)
    by_default = led_to(host, *places)

    assert plugged_in == by_default == [True, True, True]
    assert without_carrier == unplugged == [False, True, True]
