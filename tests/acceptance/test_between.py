"""Somebody between two real nodes, who ends TLS: what they get to see, and what they do not."""

import base64
from pathlib import Path

import pytest

from tests.acceptance.between import Between
from tests.acceptance.mesh import Mesh, pair, shown_code, start_all
from tests.acceptance.node_process import NodeProcess, free_port, until

LONG_S = 60.0

pytestmark = pytest.mark.timeout(180)


def peers_of(*nodes: NodeProcess) -> list[object]:
    return [peer for node in nodes for peer in node.op("GET", "/op/peers").json]


def finds_another_key(a: NodeProcess) -> bool:
    return "shows another key" in a.lanmesh("profile", "b").err


def certificate(node: NodeProcess) -> bytes:
    """Return what a node shows, as it stands in JSON."""
    text = (node.state / "identity.pem").read_text()
    begin = "-----BEGIN CERTIFICATE-----"
    return base64.b64encode(base64.b64decode(text[text.index(begin) + len(begin) :].split("-----")[0]))


@pytest.mark.parametrize("changing", [False, True], ids=["hands-on", "puts-in-its-own-key"])
def test_whoever_terminates_tls_between_two_nodes_that_pair_gets_nothing(
    mesh: Mesh, tmp_path: Path, changing: bool
) -> None:
    a, b = mesh.strangers()
    port = free_port()
    with Between(tmp_path, port, b.port) as somebody:
        if changing:
            mine, own = certificate(a), base64.b64encode(somebody.identity.certificate)
            somebody.change = lambda said: said.replace(mine, own)
        somebody.end_tls()

        code = shown_code(b)
        said = a.lanmesh("pair", code, "--at", f"127.0.0.1:{port}")

    assert said.status == 5, said
    assert b"/lan/pair/finish" in somebody.seen, "they saw the whole ceremony"
    assert peers_of(a, b) == []
    for secret in (code, code.replace("-", "")):
        assert secret.encode() not in somebody.seen
    assert b"earer" not in somebody.seen
    assert not a.tokens() | b.tokens()


def test_whoever_terminates_tls_between_paired_nodes_sees_no_byte_of_what_they_say(
    mesh: Mesh, tmp_path: Path
) -> None:
    a, b = mesh.strangers()
    port = free_port()
    with Between(tmp_path, port, b.port) as somebody:
        somebody.hand_on()
        assert pair(a, b, port).status == 0
        somebody.end_tls()
        a.lanmesh("send", "b", "a secret")
        until(  # b may dial a itself, past whoever is between
            lambda: finds_another_key(a) or b.op("GET", "/op/messages").json,
            lambda: a.op("GET", "/op/peers").json,
            LONG_S,
        )

        assert bytes(somebody.seen) == b""
        somebody.hand_on()
        until(lambda: b.op("GET", "/op/messages").json, lambda: a.op("GET", "/op/peers").json, LONG_S)


def test_whoever_terminates_tls_before_a_peer_that_was_seen_once_sees_no_byte(
    mesh: Mesh, tmp_path: Path
) -> None:
    port = free_port()
    a, b = mesh.of(reached_by={"b": port}, a={}, b={})
    start_all(a, b)
    with Between(tmp_path, port, b.port) as somebody:
        somebody.hand_on()
        assert a.lanmesh("send", "b", "the first").out.startswith("delivered")

        somebody.end_tls()
        a.lanmesh("send", "b", "the second")
        until(lambda: finds_another_key(a), lambda: a.op("GET", "/op/peers").json, LONG_S)

        assert bytes(somebody.seen) == b""
        somebody.hand_on()
        until(
            lambda: len(b.op("GET", "/op/messages").json) == 2,
            lambda: a.op("GET", "/op/peers").json,
            LONG_S,
        )


def test_whoever_terminates_tls_while_tokens_are_turned_into_keys_gets_nothing(
    mesh: Mesh, tmp_path: Path
) -> None:
    port = free_port()
    a, b = mesh.of(reached_by={"b": port}, a={}, b={})
    start_all(a, b)
    with Between(tmp_path, port, b.port) as somebody:
        somebody.end_tls()

        said = a.lanmesh("peers", "upgrade", "b")

    assert said.status == 5, said
    assert b"/lan/pair/finish" in somebody.seen
    for node in (a, b):
        assert node.token.encode() not in somebody.seen
        assert not node.tokens()
