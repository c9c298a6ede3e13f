"""Nodes behind a firewall, and on networks that lose, cut and come back: nothing lost, nothing begun anew."""

import contextlib
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.node_process import NodeProcess, until
from tests.acceptance.test_files import TURNED, a_file, all_here, back
from tests.acceptance.test_live_link import linked
from tests.campaigns.weather import Weather, sha256_of
from tests.namespaces.cable import Way
from tests.namespaces.hosts import MESH_PORT, Host, Networks

Say = Callable[[str], None]

PATIENCE_S = 90.0

MB = 1024 * 1024

pytestmark = pytest.mark.timeout(400)


def two(networks: Networks, **keys: object) -> tuple[Host, Host]:
    """Return two hosts whose nodes are not started; what the first one's does is kept under `keys`."""
    return (
        networks.host("a", {"lan": "10.77.0.1"}, command=TURNED, **keys),
        networks.host("b", {"lan": "10.77.0.2"}, command=TURNED),
    )


def pair(asking: NodeProcess, showing: NodeProcess, at: str) -> None:
    code = showing.lanmesh("pair", "--json").json["code"]
    said = asking.lanmesh("pair", code, "--at", at)
    assert said.status == 0, said.err + asking.log.read_text()


@pytest.mark.parametrize("told", [True, False], ids=["it knows", "it does not know"])
def test_behind_a_firewall_a_node_delegates_is_delegated_to_and_exchanges_files(
    networks: Networks, told: bool
) -> None:
    inside, outside = two(networks, dialOnly=told)
    wall = inside.cable("lan")
    wall.walled = True
    inside.start()
    outside.start()
    a, b = inside.node, outside.node

    pair(a, b, "10.77.0.2")
    linked(a, b)
    with outside.inside(), contextlib.suppress(OSError):
        socket.create_connection(("10.77.0.1", MESH_PORT), timeout=2).close()
        pytest.fail("somebody got in")
    for near, far in ((a, "b"), (b, "a")):
        content = os.urandom(2 * MB)
        said = near.lanmesh(
            "delegate", far, "turn it", "--file", str(a_file(near, content=content)), "--json"
        )
        task = said.json["id"]
        assert near.final(task, PATIENCE_S)["state"] == "completed"
        (made,) = back(near, task)
        assert Path(made["place"]).read_bytes() == content[::-1]
        near.lanmesh("send", far, "look", "--file", str(a_file(near, "dog.bin", content)))
    for node in (a, b):
        until(lambda node=node: all_here(node), node.log.read_text, PATIENCE_S)  # type: ignore[misc]  # bound at once
        (message,) = node.op("GET", "/op/messages").json
        assert sha256_of(Path(message["files"][0]["place"])) == message["files"][0]["sha256"]

    assert wall.turned_away


def test_in_bad_weather_nothing_is_lost_nothing_flaps_and_a_file_goes_on_where_it_was_cut(
    tmp_path: Path, say: Say
) -> None:
    with ExitStack() as parts:
        weather = Weather(tmp_path, parts, say, right_s=PATIENCE_S)
        weather.live_through(weather.lossy(0.1, 5), tasks=3)
        weather.live_through(weather.one_way(Way.OUT, 1), tasks=3)
        weather.file(32, weather.cut_for(2), weather.a.restart, weather.b.restart, way=Way.IN)
        found = weather.account()

    assert not found.violations, "\n".join(found.lines())
    assert (found.figures["tasks acknowledged"], found.figures["messages acknowledged"]) == (36, 36)
