"""Nodes behind a firewall, and on networks that lose, cut and come back: nothing lost, nothing begun anew."""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.node_process import NodeProcess, until
from tests.acceptance.test_files import TURNED, a_file, all_here, back
from tests.acceptance.test_live_link import linked, shown
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
    said = asking.lanmesh("pair", code, "--at", f"{at}:{MESH_PORT}")
    assert said.status == 0, said.err + asking.log.read_text()


def whole(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        assert whole(Path(message["files"][0]["place"])) == message["files"][0]["sha256"]

    assert wall.turned_away


def test_a_file_goes_on_where_the_cable_was_pulled_out(networks: Networks, say: Say) -> None:
    left, right = two(networks)
    cable = left.cable("lan")
    left.start()
    right.start()
    a, b = left.node, right.node
    pair(a, b, "10.77.0.2")
    linked(a, b)
    size = 32 * MB
    path = a_file(a, content=os.urandom(size))
    before = cable.passed[Way.OUT]

    cable.cut_at = before + size // 2
    assert a.lanmesh("send", "b", "see", "--file", str(path)).status == 0
    until(lambda: cable.cut, a.log.read_text, PATIENCE_S)
    until(lambda: shown(b, "a") == "quiet", lambda: shown(b, "a"), PATIENCE_S)
    cable.mend()
    until(lambda: all_here(b), lambda: json.dumps(b.op("GET", "/op/messages").json), PATIENCE_S)

    ((came,),) = [message["files"] for message in b.op("GET", "/op/messages").json]
    carried = cable.passed[Way.OUT] - before
    assert whole(Path(came["place"])) == whole(path)
    assert size < carried < 1.25 * size, "it was begun anew, not resumed"
    say(f"a file of 32 MB, cut in the middle: {carried / size:.3f} times its bytes crossed the wire")
