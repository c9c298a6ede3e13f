"""Pairing between real processes, by the command line, and what the wire gives away afterwards."""

import contextlib
import http.client
import io
import os
import pty
import ssl
import stat
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import psutil
import pytest
import segno

from tests.acceptance import confidential
from tests.acceptance.guest import WRONG, Guest, guess
from tests.acceptance.mesh import Mesh, pair, start_all
from tests.acceptance.node_process import (
    LANMESH,
    PATIENCE_S,
    NodeProcess,
    Said,
    anybody,
    free_port,
    http_call,
    http_connection,
    until,
)

LONG_S = 30.0
PAIRED_BYTES = 70 * 1024 * 1024


def calling_as(a: NodeProcess, b: NodeProcess) -> http.client.HTTPSConnection:
    """Return a connection to b that proves the key of a."""
    return http_connection(b.port, LONG_S, a.state / "identity.pem")


def standing(connection: http.client.HTTPSConnection, token: str) -> bytes:
    connection.request("GET", "/lan/whoami", headers={"Authorization": f"Bearer {token}"})
    return connection.getresponse().read()


def told_once(a: NodeProcess, b: NodeProcess, token: str) -> bytes:
    with contextlib.closing(calling_as(a, b)) as connection:
        return standing(connection, token)


def test_one_code_and_the_first_task_is_done(mesh: Mesh) -> None:
    a, b = mesh.strangers()

    said = pair(a, b)
    done = a.final(a.delegate("b", "one two three"), within_s=LONG_S)
    back = b.final(b.delegate("a", "one two"), within_s=LONG_S)

    assert said.status == 0, said.err
    assert said.out.startswith("paired with b (node ")
    assert (done["result"].strip(), back["result"].strip()) == ("3", "2")
    assert [peer["wire"] for node in (a, b) for peer in node.op("GET", "/op/peers").json] == ["paired"] * 2
    assert {stat.S_IMODE((node.state / "identity.pem").stat().st_mode) for node in (a, b)} == {0o600}
    for node in (a, b):  # what pairs stays in memory, and is not much
        assert node.process is not None
        assert psutil.Process(node.process.pid).memory_info().rss < PAIRED_BYTES


def test_a_terminal_shows_a_code_to_a_camera_too(mesh: Mesh) -> None:
    node = mesh.lone().start()
    here, there = pty.openpty()
    command = [LANMESH, "pair"]
    with (
        os.fdopen(here, "rb", buffering=0) as screen,
        subprocess.Popen(command, env=node.environ(), cwd=node.home, stdout=there, stderr=there) as waiting,
    ):
        os.close(there)
        shown = b""
        try:
            while b"for HOST.\r\n" not in shown:
                piece = screen.read(4096)
                assert piece, shown
                shown += piece
        finally:
            waiting.kill()
    confidential.hand_out_code(shown)
    code = node.op("GET", "/op/pairing").json["code"]

    drawn = io.StringIO()
    segno.make(f"lanmesh pair {code}", error="l").terminal(drawn, compact=True)

    assert drawn.getvalue().count("\n") > 10
    assert drawn.getvalue() in shown.decode().replace("\r\n", "\n")


def test_a_pairing_outlives_both_nodes(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)

    a.restart()
    b.restart()

    assert a.final(a.delegate("b", "one two"), within_s=LONG_S)["result"].strip() == "2"


def test_each_check_has_a_reason_of_its_own(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    c = mesh.lone({"profile": {"id": "c"}}).start()
    pair(a, b)
    pair(c, b)
    (token,) = a.tokens()

    told = [
        b.lan("GET", "/lan/whoami", token=token).json["status"],
        *(told_once(node, b, token) for node in (a, c)),
        b.lan("GET", "/lan/profile", token=token).json["code"],
        b.lan("GET", "/lan/whoami", token="guessed").json["status"],
    ]

    assert told == [
        "client_cert_required",
        b'{"status":"paired","origin":"a"}',
        b'{"status":"cert_mismatch"}',
        "client-cert-required",
        "not_paired",
    ]


def test_an_unpaired_peer_is_cut_off_at_once_and_told_why(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)
    (token,) = a.tokens()
    connection = calling_as(a, b)
    assert b"paired" in standing(connection, token)
    assert connection.sock is not None

    assert b.lanmesh("unpair", "a").status == 0

    with contextlib.suppress(OSError):
        connection.sock.sendall(b"GET /lan/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.sock.recv(100) == b"", "the connection goes on"
    connection.close()
    assert "not_paired" in a.lanmesh("send", "b", "hello").out
    b.restart()  # from then on it does not know the certificate either
    assert "not_paired" in asked_of_b(a)


def test_a_certificate_that_is_not_paired_opens_what_no_certificate_opens(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    c = mesh.lone({"profile": {"id": "c"}}).start()
    pair(a, b)
    (token,) = a.tokens()
    asked = ("/lan/whoami", "/lan/profile", "/lan/task/t", "/lan/health")

    def told(shown: NodeProcess | None) -> list[object]:
        """Return what is said to the token of a with somebody's certificate."""
        file = None if shown is None else shown.state / "identity.pem"
        headers = {"Authorization": f"Bearer {token}"}
        answers = [http_call(b.port, "GET", path, None, headers, shown=file) for path in asked]
        return [(answer.status, answer.json.get("status"), answer.json.get("code")) for answer in answers]

    assert b.lanmesh("unpair", "a").status == 0

    stranger = [(200, "not_paired", None), *[(401, 401, "not-authenticated")] * 2, (200, "ok", None)]
    assert told(None) == told(a) == stranger
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        told(c)
    b.restart()
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        told(a)
    assert told(None) == stranger


def asked_of_b(a: NodeProcess) -> str:
    """Return all that the command line says of another node's profile: the last that it showed, if it did."""
    said = a.lanmesh("profile", "b")
    return said.out + said.err


def set_up_anew(node: NodeProcess) -> None:
    """Let a node begin again without its key and all that it kept, at the same port."""
    node.terminate()
    for file in ("identity.pem", "mesh.db", "mesh.db-wal", "mesh.db-shm"):
        (node.state / file).unlink(missing_ok=True)
    node.start()


def why_b_is_not_reached(a: NodeProcess) -> str:
    (b,) = a.op("GET", "/op/peers").json
    return str(b["error"])


def test_a_peer_that_was_set_up_anew_is_paired_again_while_the_other_goes_on(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)
    set_up_anew(b)

    a.lanmesh("send", "b", "is that you?")
    until(lambda: "shows another key" in why_b_is_not_reached(a), a.log.read_text)
    assert "lanmesh unpair" in why_b_is_not_reached(a)
    assert a.lanmesh("unpair", "b").status == 0
    again = pair(a, b)

    assert again.out.startswith("paired with b (node "), again
    assert a.final(a.delegate("b", "one two"), within_s=LONG_S)["result"].strip() == "2"


def test_a_peer_that_is_known_by_its_first_key_is_known_by_another_once_its_owner_says_so(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={})
    assert a.lanmesh("send", "b", "the first").out.startswith("delivered")
    set_up_anew(b)

    changed = a.lanmesh("profile", "b")
    assert (changed.status, "shows another key" in changed.err) == (6, True)
    assert "lanmesh unpair" in changed.err
    assert a.lanmesh("unpair", "b").status == 0

    assert a.lanmesh("profile", "b").status == 0
    assert a.lanmesh("unpair", "b").status == 0  # the new key was kept as the old one was
    assert a.lanmesh("unpair", "b").status == 3


def test_a_blocked_peer_is_cut_off_and_may_not_even_pair_until_it_is_unpaired(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)

    assert b.lanmesh("block", "a").status == 0
    cut_off = asked_of_b(a)
    again = pair(a, b)

    assert "not_paired" in cut_off
    assert (again.status, "paired with" in again.out) == (5, False)
    assert b.lanmesh("unpair", "a").status == 0
    assert a.lanmesh("unpair", "b").status == 0
    assert pair(a, b).status == 0
    assert a.lanmesh("profile", "b").status == 0


def test_new_tokens_are_given_by_one_command_and_the_old_ones_open_nothing(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)
    (old,) = a.tokens()

    said = a.lanmesh("peers", "upgrade", "b")

    assert said.status == 0, said.err
    assert told_once(a, b, old) == b'{"status":"not_paired"}'
    assert a.final(a.delegate("b", "one two"), within_s=LONG_S)["result"].strip() == "2"


def test_a_node_keeps_what_others_present_to_it_as_a_digest_only(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)

    for presents, accepts in ((a, b), (b, a)):
        (token,) = presents.tokens()
        files = [file for file in accepts.state.rglob("*") if file.is_file()]
        assert not [file.name for file in files if token.encode() in file.read_bytes()]


def test_whoever_takes_the_place_of_a_paired_peer_is_sent_nothing(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    pair(a, b)
    port = b.port
    b.kill()
    mallory = mesh.lone({"profile": {"id": "b"}, "node": {"port": port}}).start()

    said = a.lanmesh("send", "b", "a secret")

    assert said.out.startswith("queued")
    until(
        lambda: "shows another key" in asked_of_b(a),
        lambda: a.op("GET", "/op/peers").json,
        LONG_S,
    )
    assert mallory.op("GET", "/op/messages").json == []
    mallory.kill()
    b.start()
    until(lambda: b.op("GET", "/op/messages").json, lambda: a.op("GET", "/op/peers").json, 60)


def test_the_mesh_port_speaks_tls_1_3_and_nothing_else(mesh: Mesh) -> None:
    node = mesh.lone().start()
    old = anybody()
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises((ssl.SSLError, ConnectionError)):
        http.client.HTTPSConnection("127.0.0.1", node.port, timeout=LONG_S, context=old).connect()
    plain = http.client.HTTPConnection("127.0.0.1", node.port, timeout=LONG_S)
    plain.request("GET", "/lan/health")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()
    plain.close()

    assert node.lan("GET", "/lan/health").status == 200


def test_peers_with_tokens_are_upgraded_by_one_command(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["wc", "-w"]})
    assert a.final(a.delegate("b", "one"), within_s=LONG_S)["result"].strip() == "1"

    said = a.lanmesh("peers", "upgrade", "b")

    assert said.status == 0, said.err
    assert a.final(a.delegate("b", "one two"), within_s=LONG_S)["result"].strip() == "2"
    assert [peer["wire"] for node in (a, b) for peer in node.op("GET", "/op/peers").json] == ["paired"] * 2


def test_peers_in_clear_text_are_upgraded_where_the_mesh_port_is_said_to_be(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={"command": ["wc", "-w"]})
    for node, other in ((a, b), (b, a)):  # as the seed has them: at the port of a gateway, which is not there
        node.settings["peers"][other.settings["profile"]["id"]] = {"host": "127.0.0.1", "port": 9}
        node.write_settings(node.settings)
    start_all(a, b)
    before = [peer["wire"] for node in (a, b) for peer in node.op("GET", "/op/peers").json]

    said = a.lanmesh("peers", "upgrade", "b", "--at", f"127.0.0.1:{b.port}")

    assert (said.status, before) == (0, ["cleartext"] * 2), said.err
    assert a.final(a.delegate("b", "one two"), within_s=LONG_S)["result"].strip() == "2"
    assert [peer["wire"] for node in (a, b) for peer in node.op("GET", "/op/peers").json] == ["paired"] * 2


def test_an_agent_pairs_with_nobody(mesh: Mesh) -> None:
    node = mesh.lone().start()

    for verb in (
        ("pair",),
        ("pair", "AAAA-AAAA", "--at", "h"),
        ("unpair", "b"),
        ("block", "b"),
        ("peers", "upgrade", "b"),
    ):
        for variable in ("LANMESH_TASK_ID", "OPENCLAW_SHELL"):
            said = node.lanmesh(*verb, **{variable: "x"})
            assert (said.status, said.out) == (4, ""), verb


def test_the_next_node_of_a_name_gets_nothing_that_was_for_the_one_before(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    anew = mesh.lone({"profile": {"id": "b"}, "node": {"port": free_port()}})
    secret = a.home / "secret.txt"
    secret.write_text("secret")
    pair(a, b)
    b.kill()
    assert a.lanmesh("send", "b", "for the old b", "--file", str(secret)).status == 0

    assert a.lanmesh("unpair", "b").status == 0
    anew.start()
    assert pair(a, anew).status == 0
    assert a.lanmesh("send", "b", "for the new b").status == 0
    until(lambda: anew.op("GET", "/op/messages").json, a.log.read_text)

    assert [message["text"] for message in anew.op("GET", "/op/messages").json] == ["for the new b"]
    assert "b was unpaired" in a.lanmesh("outbox").out


def test_a_key_that_others_may_read_starts_no_node(mesh: Mesh) -> None:
    node = mesh.lone().start()
    node.terminate()
    (node.state / "identity.pem").chmod(0o640)

    node.launch()

    assert node.ended(PATIENCE_S) == 78
    assert "chmod 600" in node.log.read_text()


def showing_a_code(node: NodeProcess, beside: Executor) -> tuple[Future[Said], str]:
    """Let the command line show a code and wait; return what it will have said, and the code."""
    waiting = beside.submit(node.lanmesh, "pair")
    until(lambda: node.op("GET", "/op/pairing").status == 200, node.log.read_text)
    return waiting, str(node.op("GET", "/op/pairing").json["code"])


def test_whoever_waits_with_a_code_is_told_of_each_wrong_one(mesh: Mesh) -> None:
    a, b = mesh.strangers()
    with ThreadPoolExecutor(1) as beside:
        waiting, code = showing_a_code(b, beside)

        wrong = a.lanmesh("pair", WRONG, "--at", f"127.0.0.1:{b.port}")
        right = a.lanmesh("pair", code, "--at", f"127.0.0.1:{b.port}")
        said = waiting.result(PATIENCE_S)

    assert (wrong.status, right.status, said.status) == (5, 0, 0), (wrong, right, said)
    assert "try 1 of 3 came to nothing: a wrong code or none, from 127.0.0.1\n" in said.out
    assert "paired with a (node " in said.out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one address of itself")
def test_whoever_waits_with_a_code_is_told_who_has_used_it_up(mesh: Mesh) -> None:
    node = mesh.lone().start()
    guesser = Guest(node.state, "guesser")
    with ThreadPoolExecutor(1) as beside:
        waiting, _ = showing_a_code(node, beside)

        for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
            assert guess(node, guesser, source).status == 403
        said = waiting.result(PATIENCE_S)

    assert (said.status, "from 127.0.0.2, 127.0.0.3: if that is not who you pair with" in said.err) == (
        5,
        True,
    )
    assert any("127.0.0.2, 127.0.0.3" in one for one in node.op("GET", "/op/status").json["warnings"])
    assert node.log.read_text().count('"a wrong code was tried" address=127.0.0.') == 3
