"""A node is killed in the midst of a pairing: both sides come out of it paired, or none does."""

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.between import Between
from tests.acceptance.mesh import Mesh, pair
from tests.acceptance.node_process import NodeProcess, free_port, until

LONG_S = 60.0

pytestmark = pytest.mark.timeout(240)


class Kill:
    """Ends a node by SIGKILL while the first request of a path, or its answer, is under way; that is lost."""

    def __init__(self, somebody: Between, victim: NodeProcess, path: str, *, answered: bool) -> None:
        """Let somebody who is between two nodes see to it."""
        self.victim = victim
        self.done = False
        self._path = path.encode()
        self._asked = False
        self._answered = answered
        somebody.change = self._on_request
        somebody.change_answer = self._on_answer

    def _on_request(self, said: bytes) -> bytes:
        self._asked = self._asked or self._path in said
        return said if self._answered else self._strike(said)

    def _on_answer(self, said: bytes) -> bytes:
        return self._strike(said) if self._answered else said

    def _strike(self, said: bytes) -> bytes:
        if self.done or not self._asked:
            return said
        self.done = True
        assert self.victim.process is not None
        os.kill(self.victim.process.pid, signal.SIGKILL)
        raise ConnectionResetError


def are_paired(a: NodeProcess, b: NodeProcess) -> bool:
    return (peers(a), peers(b)) == (["b paired"], ["a paired"])


def peers(node: NodeProcess) -> list[str]:
    return [f"{peer['id']} {peer['wire']}" for peer in node.op("GET", "/op/peers").json]


def told(*nodes: NodeProcess) -> str:
    return "\n".join(f"{peers(node)}\n{node.log.read_text()}" for node in nodes)


@pytest.mark.parametrize("victim", ["a", "b"])
@pytest.mark.parametrize("path", ["/lan/pair/start", "/lan/pair/finish"])
def test_a_kill_before_both_have_stored_makes_no_peer_and_the_next_code_does(
    mesh: Mesh, tmp_path: Path, path: str, victim: str
) -> None:
    a, b = mesh.strangers()
    with Between(tmp_path, port := free_port(), b.port) as somebody:
        somebody.end_tls_as(b.state, a.state)
        kill = Kill(somebody, {"a": a, "b": b}[victim], path, answered=True)
        pair(a, b, port)
        assert kill.done
        kill.victim.restart()

        assert (peers(a), peers(b)) == ([], [])
        for node, other in ((a, "b"), (b, "a")):
            asked = node.op("POST", "/op/tasks", {"peer": other, "text": "one two"})
            assert asked.status == 404, asked.body
        for token in a.tokens() | b.tokens():  # b has kept the pairing as pending, if it came so far
            assert a.lan("GET", "/lan/profile", token=token).status == 401

    assert pair(a, b).status == 0
    until(lambda: are_paired(a, b), lambda: told(a, b), LONG_S)
    assert a.final(a.delegate("b", "one two"), LONG_S)["result"].strip() == "2"


@pytest.mark.parametrize("victim", ["a", "b"])
@pytest.mark.parametrize("answered", [False, True], ids=["asked", "answered"])
def test_a_kill_in_the_first_call_ends_paired_on_both_sides(
    mesh: Mesh, tmp_path: Path, answered: bool, victim: str
) -> None:
    a, b = mesh.strangers()
    with Between(tmp_path, port := free_port(), b.port) as somebody:
        somebody.end_tls_as(b.state, a.state)
        kill = Kill(somebody, {"a": a, "b": b}[victim], "/lan/whoami", answered=answered)
        pair(a, b, port)
        assert kill.done
        kill.victim.restart()

        until(lambda: are_paired(a, b), lambda: told(a, b), LONG_S)
        assert a.final(a.delegate("b", "one two"), LONG_S)["result"].strip() == "2"
        assert b.final(b.delegate("a", "one"), LONG_S)["result"].strip() == "1"
