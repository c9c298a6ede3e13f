"""The live link between real processes: one WebSocket carries all, both ways."""

import signal
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.mesh import Mesh, pair
from tests.acceptance.node_process import NodeProcess, until

LONG_S = 30.0


def two(mesh: Mesh, **keys: Mapping[str, Any]) -> tuple[NodeProcess, NodeProcess]:
    """Return two nodes that are paired, each with its keys under `node`; a task counts its words."""
    a, b = mesh.strangers(**keys)
    paired = pair(a, b)
    assert paired.status == 0, paired.err
    return a, b


def said(node: NodeProcess) -> str:
    return node.log.read_text()


def ups(node: NodeProcess) -> int:
    return node.log.read_text().count('event="link up"')


def downs(node: NodeProcess) -> int:
    return node.log.read_text().count('event="link down"')


def shown(node: NodeProcess, name: str) -> object:
    """Return what a node says of a peer's presence."""
    views = {view["id"]: view["presence"] for view in node.op("GET", "/op/peers").json}
    return views[name]


def linked(*nodes: NodeProcess) -> None:
    """Return once each has one link, and no second one."""
    until(lambda: all(ups(node) - downs(node) == 1 for node in nodes), lambda: "\n".join(map(said, nodes)))


def test_a_node_that_nobody_can_dial_delegates_and_is_delegated_to(mesh: Mesh) -> None:
    a, b = two(mesh, a={"dialOnly": True})
    linked(a, b)

    done = a.final(a.delegate("b", "one two three"), within_s=LONG_S)
    back = b.final(b.delegate("a", "one two"), within_s=LONG_S)
    refused = a.lanmesh("pair")

    assert (done["result"].strip(), back["result"].strip()) == ("3", "2")
    assert "127.0.0.1, dials only" in b.lanmesh("peers").out
    assert (refused.status, "nobody can dial" in refused.err) == (5, True)


def test_what_waits_for_a_node_that_nobody_can_dial_goes_once_it_has_dialled(mesh: Mesh) -> None:
    a, b = two(mesh, a={"dialOnly": True})
    linked(a, b)
    a.kill()

    waiting = b.delegate("a", "one two")
    until(lambda: b.task(waiting)["delivery"]["attempts"] > 0, lambda: b.task(waiting))
    a.start()

    assert b.final(waiting, within_s=LONG_S)["result"].strip() == "2"


def test_a_link_that_was_killed_in_the_middle_comes_up_again_and_nothing_is_lost(mesh: Mesh) -> None:
    a, b = two(mesh, b={"repeatable": True})
    linked(a, b)

    asked = [a.delegate("b", f"one two {'x ' * 20_000}{number}") for number in range(20)]
    b.restart()
    asked += [a.delegate("b", "one two three")]

    assert [a.final(name, within_s=LONG_S)["state"] for name in asked] == ["completed"] * 21
    linked(a)


@pytest.mark.timeout(240)
def test_a_peer_that_stops_for_a_while_is_found_again_and_nothing_is_done_twice(mesh: Mesh) -> None:
    a, b = two(mesh)
    linked(a, b)

    assert shown(a, "b") == "here"
    b.signal(signal.SIGSTOP)
    asked = a.delegate("b", "one two three")
    until(lambda: a.task(asked)["delivery"]["state"] == "unknown", lambda: a.task(asked), within_s=60)
    until(lambda: shown(a, "b") == "quiet", lambda: shown(a, "b"), within_s=60)
    b.signal(signal.SIGCONT)

    assert a.final(asked, within_s=60)["result"].strip() == "3"
    until(
        lambda: shown(a, "b") == shown(b, "a") == "here", lambda: (shown(a, "b"), shown(b, "a")), within_s=60
    )
    assert len(b.op("GET", "/op/tasks").json) == 1


def test_a_peer_that_is_parted_with_loses_its_link_at_once(mesh: Mesh) -> None:
    a, b = two(mesh)
    linked(a, b)

    assert b.lanmesh("unpair", "a").status == 0

    until(lambda: downs(a) == ups(a) and downs(b) == ups(b), lambda: said(a) + said(b))


def test_a_link_comes_up_after_pairing_and_carries_tasks_both_ways(mesh: Mesh) -> None:
    a, b = two(mesh)
    linked(a, b)

    done = a.final(a.delegate("b", "one two three"), within_s=LONG_S)
    back = b.final(b.delegate("a", "one two"), within_s=LONG_S)

    assert (done["result"].strip(), back["result"].strip()) == ("3", "2")
