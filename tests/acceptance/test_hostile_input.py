"""The 82 bad inputs of the threat model, one by one, while an honest peer goes on being served."""

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import hostile_files, hostile_trust  # noqa: F401  # note their inputs
from tests.acceptance.hostile import (
    DESK,
    DOG,
    FLOOD,
    INPUTS,
    LAPTOP,
    ME,
    OUTGOING,
    PATIENCE_S,
    Honest,
    Target,
    Wire,
    bad,
    bearer,
    head,
    refused,
)
from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Json, envelope, http_call, new_token, until

pytestmark = pytest.mark.timeout(240)

MOST_GROWTH = 64 * 1024 * 1024
MOST_FILES = 20
MANY = 1000

ELSEWHERE = {
    40: "test_the_official_library_reads_it_as_it_is_meant",
    46: "test_a_code_is_good_for_two_minutes_and_once",
    55: "test_whoever_terminates_tls_between_two_nodes_that_pair_gets_nothing",
    58: "test_a_crash_at_any_commit_of_a_ceremony_ends_alike_on_both_sides",
    82: "test_a_spoofed_answer_adds_a_place_and_takes_none_away, "
    "test_a_goodbye_makes_no_node_forgotten, test_nobody_makes_a_node_dial_beyond_its_networks, "
    "test_of_a_crowd_of_strangers_a_bounded_number_is_kept_and_every_peer, "
    "test_what_no_node_of_ours_would_announce_is_passed_over",
    77: "test_the_outcome_of_an_overtaken_attempt_is_dropped, test_a_result_after_the_end_gets_that_end",
}
"""Shown by other tests."""


# --- the inputs ----------------------------------------------------------------------------------


def raw_input(number: int, name: str, said: bytes, *statuses: int) -> None:
    """Note an input that is a few bytes on a connection of its own."""
    bad(number, name)(lambda target: void(refused(target.raw(said), *statuses)))


def said_input(number: int, name: str, *bodies: object, statuses: tuple[int, ...] = (400,)) -> None:
    """Note an input that is a body, or several, sent as a task by a holder of the shared token."""

    def attack(target: Target) -> None:
        for body in bodies:
            refused(target.post(body), *statuses)

    bad(number, name)(attack)


def void(_: object) -> None:
    """Return nothing."""


def spelled(value: str) -> bytes:
    """Return a task with an extra field whose value is spelled as given."""
    return json.dumps(envelope(extra="@")).replace('"@"', value).encode("utf-8", "surrogatepass")


SLOW: dict[int, Callable[[Wire, Target], object]] = {
    1: lambda wire, _: wire.say(b"GET /lan/hea"),
    2: lambda wire, _: wire.trickle(head("GET", "/lan/health")),
    3: lambda wire, target: wire.say(
        head("POST", "/lan/task", f"Authorization: Bearer {target.node.token}", "Content-Length: 500")
    ).trickle(b"x" * 500),
    22: lambda wire, target: wire.say(
        head(
            "POST",
            "/lan/task",
            f"Authorization: Bearer {target.node.token}",
            "Content-Length: 500",
            "Expect: 100-continue",
        )
    ),
}
"""Inputs that take the node's patience; they run beside all others."""

raw_input(7, "a header of 70 kB", head("GET", "/lan/health", f"X: {'x' * 70_000}"), 431)
raw_input(8, "500 headers", head("GET", "/lan/health", *(f"X-{n}: 1" for n in range(500))), 431)
raw_input(
    9,
    "Content-Length and Transfer-Encoding",
    head("POST", "/lan/task", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    400,
)
raw_input(10, "two Content-Lengths", head("POST", "/lan/task", "Content-Length: 5", "Content-Length: 6"), 400)
raw_input(11, "two Hosts", head("GET", "/lan/health", "Host: localhost"), 400)
raw_input(12, "Host evil.com", head("GET", "/lan/health", host="evil.com"), 421)
raw_input(13, "Host 127.0.0.1.evil.com", head("GET", "/lan/health", host="127.0.0.1.evil.com"), 421)
raw_input(14, "Origin https://evil.com", head("GET", "/lan/health", "Origin: https://evil.com"), 403)
raw_input(15, "Origin null", head("GET", "/lan/health", "Origin: null"), 403)
raw_input(
    16,
    "a WebSocket with a foreign Origin",
    head(
        "GET", "/lan/link", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://evil.com",
    ),
    403,
)  # fmt: skip


@bad(17, "JSON that calls itself text")
def _(target: Target) -> None:
    headers = {**bearer(target.node.token), "Content-Type": "text/plain"}
    refused(target.ask("POST", "/lan/task", json.dumps(envelope()).encode(), headers), 415)


@bad(18, "a multipart form")
def _(target: Target) -> None:
    headers = {**bearer(target.node.token), "Content-Type": "multipart/form-data; boundary=x"}
    refused(target.ask("POST", "/lan/task", b"--x\r\n\r\n{}\r\n--x--\r\n", headers), 415)


@bad(19, "a gzip bomb")
def _(target: Target) -> None:
    headers = {**bearer(target.node.token), "Content-Encoding": "gzip"}
    refused(target.ask("POST", "/lan/task", b"\x1f\x8b" + b"\0" * 1000, headers), 415)


@bad(20, "a million chunks of one byte")
def _(target: Target) -> None:
    lines = f"Authorization: Bearer {target.node.token}", "Transfer-Encoding: chunked"
    pieces = [b"1\r\nx\r\n" * 10_000] * 100
    refused(target.raw(head("POST", "/lan/task", *lines), *pieces, b"0\r\n\r\n"), 400, 413)


@bad(21, "a negative and a huge Content-Length")
def _(target: Target) -> None:
    authorized = f"Authorization: Bearer {target.node.token}"
    refused(target.raw(head("POST", "/lan/task", authorized, "Content-Length: -1")), 400)
    refused(target.raw(head("POST", "/lan/task", authorized, f"Content-Length: {10**15}")), 413)
    refused(target.raw(head("POST", "/lan/task", authorized, f"Content-Length: {10**40}")), 400)


@bad(23, "paths that climb, hide or do not end")
def _(target: Target) -> None:
    for path in (
        "//lan/v1/../admin",
        "/lan/%2e%2e/op/status",
        "/lan/%00",
        "/lan/" + "x" * 10_000,
        "/lan/\xff",
    ):
        refused(target.raw(head("GET", path)), 400, 404)


@bad(24, "TRACE, CONNECT, and a header that overrides the method")
def _(target: Target) -> None:
    refused(target.raw(head("TRACE", "/lan/health")), 405)
    refused(target.raw(head("CONNECT", "evil.com:443")), 400)
    assert target.ask("GET", "/lan/health", headers={"X-HTTP-Method-Override": "DELETE"}).status == 200


raw_input(25, "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)


@bad(26, "a thousand requests at once")
def _(target: Target) -> None:
    with target.wire() as wire:
        wire.say(head("GET", "/lan/health") * 1000)
        assert {wire.hear()[0] for _ in range(1000)} == {200}


@bad(27, "60 connections of one address, and more than may be")
def _(target: Target) -> None:
    with contextlib.ExitStack() as held:
        for _number in range(60):
            held.enter_context(target.wire()).say(b"GET /lan/hea")
        assert target.ask("GET", "/lan/health").status == 200
        for _number in range(60):
            held.enter_context(target.wire()).say(b"GET /lan/hea")
        assert target.ask("GET", "/lan/health").status == 200


@bad(28, "a body of a megabyte and one byte")
def _(target: Target) -> None:
    refused(target.post(b" " * (1024 * 1024 + 1)), 413)


# --- who is calling


@bad(30, "no token")
def _(target: Target) -> None:
    refused(target.ask("POST", "/lan/task", b"{}"), 401)


def token_input(number: int, name: str, *values: str) -> None:
    def attack(target: Target) -> None:
        for value in values:
            authorization = value.replace("@", target.node.token)
            refused(target.raw(head("GET", "/lan/profile", f"Authorization: {authorization}")), 401)

    bad(number, name)(attack)


token_input(31, "an empty token", "Bearer", "Bearer ", "Bearer  \t")


@bad(32, "a token with a line break or a blank behind it")
def _(target: Target) -> None:
    line = f"Authorization: Bearer {target.node.token}"
    status, _ = target.raw(head("GET", "/lan/profile", line + " \t "))
    assert status == 200  # blanks around a header are no part of it (RFC 9110 section 5.5)
    refused(target.raw(head("GET", "/lan/profile", line + "\n")), 400)
    refused(target.raw(head("GET", "/lan/profile", line + "%0a")), 401)


@bad(33, "a token in the query")
def _(target: Target) -> None:
    refused(
        target.ask("GET", f"/lan/profile?token={target.node.token}&access_token={target.node.token}"), 401
    )


@bad(34, "another peer's token")
def _(target: Target) -> None:
    refused(target.post(envelope(from_="desk", to=ME), LAPTOP), 403)


@bad(35, "the token that the node itself presents")
def _(target: Target) -> None:
    refused(target.post(envelope(from_="desk", to=ME), OUTGOING), 401)


@bad(37, "a token that is changed while its connection is open")
def _(target: Target) -> None:
    before = dict(target.node.variables)
    request = head("GET", "/lan/profile", f"Authorization: Bearer {DOG}")
    with target.wire() as wire:
        assert wire.say(request).hear()[0] == 200
        target.node.write_variables({**before, "TOKEN_OF_DOG": new_token()})
        try:
            refused(wire.say(request).hear(), 401)
        finally:
            target.node.write_variables(before)


@bad(41, "a name that is not the token's")
def _(target: Target) -> None:
    refused(target.post(envelope(from_="desk", to=ME), LAPTOP), 403)
    refused(target.post(envelope(from_="desk")), 403)


@bad(42, "a caller that says what it may")
def _(target: Target) -> None:
    said = envelope(from_="laptop", to=ME, scope="owner", admin=True, acceptMode="auto", roles=["operator"])
    assert target.post(said, LAPTOP).status == 202
    refused(target.ask("GET", "/op/status", headers=bearer(LAPTOP)), 404)
    refused(http_call(target.node.operator_port, "GET", "/op/status", None, bearer(LAPTOP), tls=False), 401)


token_input(43, "a token in another case", f"Bearer {DESK.upper()}", f"Bearer {DESK.title()}")
raw_input(
    44,
    "a token of a megabyte",
    head("GET", "/lan/profile", f"Authorization: Bearer {'x' * 1024 * 1024}"),
    431,
)


@bad(59, "names that hide, turn around, ring or do not end")
def _(target: Target) -> None:
    odd = (
        "</script><script>alert(1)</script>",
        "\x1b[2J\x1b]0;owned\x07",
        "\u202egnp.exe",
        "a\x00b",
        "\x9b31m",
    )
    for name in odd:
        said = envelope(type="message", from_=name, payload={"text": "hello"})
        assert target.post(said, path="/lan/message").status in {202, 400}
    for name in ("", "x" * 10_000):
        refused(target.post(envelope(type="message", from_=name), path="/lan/message"), 400)
    shown = target.node.lanmesh("inbox", "--limit", "1000")
    told = shown.out + target.node.lanmesh("inbox", "--json", "--limit", "1000").out
    for trick in "\x1b\x07\u202e\x00\x9b":
        assert trick not in told + target.node.log.read_text(), ascii(trick)


# --- what is said

said_input(
    60, "100,000 arrays in one another", spelled("[" * 100_000 + "]" * 100_000), spelled('{"a":' * 100_000)
)


@bad(61, "a number of 5,000 digits")
def _(target: Target) -> None:
    for said in (spelled("1" * 5000), json.dumps(envelope(hops="@")).replace('"@"', "1" * 5000).encode()):
        assert target.post(said).status in {202, 400}


said_input(62, "numbers that are none", *map(spelled, ("NaN", "Infinity", "-Infinity", "1e999")))
said_input(63, "half a character", spelled('"\\ud800"'), spelled('"\ud800"'))


@bad(64, "a NUL")
def _(target: Target) -> None:
    refused(target.post(envelope(id="a\0b")), 400)
    refused(target.post(spelled('"\0"')), 400)
    taken = envelope("a\0b")
    assert target.post(taken).status == 202  # in a text it is data like any other
    assert target.node.final(taken["id"], PATIENCE_S)["result"] == "a\0b"


said_input(65, "a name twice in one object", spelled('1, "id": "x"'), spelled('{"a": 1, "a": 2}'))
said_input(
    66,
    "UTF-16, a byte order mark, and what is not UTF-8",
    json.dumps(envelope()).encode("utf-16"),
    json.dumps(envelope()).encode("utf-8-sig"),
    json.dumps(envelope("@")).encode().replace(b"@", b"\xff"),
)
said_input(67, "what is no object", [], "task", None, 5, b"", b"{")
said_input(
    68, "an unknown version", *(envelope(protocolVersion=version) for version in ("2.0", "0.1", "", "v"))
)


@bad(69, "unknown fields")
def _(target: Target) -> None:
    assert target.post(envelope(payload={"colour": "red"}, unknown={"a": [1]}, v=7)).status == 202


said_input(
    70,
    "ids that are none",
    *(envelope(id=odd) for odd in ("", "x" * 1_000_000, "a/b", "a' OR 1=1 --", "..", 5, None)),
)


@bad(71, "one id with two bodies")
def _(target: Target) -> None:
    first = envelope("one")
    assert target.post(first).status == 202
    refused(target.post({**first, "payload": {"description": "two"}}), 409)


@bad(72, "one id of two peers")
def _(target: Target) -> None:
    one = envelope("one", from_="laptop", to=ME)
    answers = [target.post(one, LAPTOP), target.post({**one, "from": "dog"}, DOG)]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json["localId"] != answers[1].json["localId"]


said_input(
    73,
    "times to live that are none",
    *(envelope(ttl=odd) for odd in (0, -1, 10**18, "7d")),
    json.dumps(envelope(ttl="@")).replace('"@"', "NaN").encode(),
)
said_input(
    74, "negative counts, and more hops than may be", envelope(hops=-1), envelope(hops=6), statuses=(400, 409)
)
said_input(75, "a path that has been here", envelope(path=["a", ME]), statuses=(409,))


def result_of(task: str, **fields: Any) -> Json:
    said = envelope(type="result", from_="desk", to=ME, **fields)
    return {**said, "payload": {"taskId": task, "state": "completed", "result": "forged"}}


@bad(76, "a result of a task that nobody asked for")
def _(target: Target) -> None:
    refused(target.post(result_of("never-asked", replyKey="x"), DESK, "/lan/result"), 404)
    forged = {**result_of(target.asked, replyKey="x"), "from": "laptop"}
    refused(target.post(forged, LAPTOP, "/lan/result"), 403)


@bad(78, "a word on the task of another")
def _(target: Target) -> None:
    mine = envelope("of the laptop", from_="laptop", to=ME)
    assert target.post(mine, LAPTOP).status == 202
    refused(target.ask("GET", f"/lan/task/{mine['id']}", headers=bearer(DOG)), 404)
    refused(target.post(envelope(type="heartbeat", from_="dog", to=ME), DOG), 400)


@bad(79, "tiny messages without end")
def _(target: Target) -> None:
    lines = f"Authorization: Bearer {FLOOD}", "Content-Type: application/json"
    statuses = []
    with target.wire() as wire:
        for begun in range(0, MANY, 100):
            for number in range(begun, begun + 100):
                said = envelope(type="message", id=f"tiny-{number}", from_="flood", to=ME)
                body = json.dumps({**said, "payload": {"text": "."}}).encode()
                wire.say(head("POST", "/lan/message", *lines, f"Content-Length: {len(body)}") + body)
            statuses += [wire.hear()[0] for _ in range(100)]
    target.statuses += statuses
    assert len(statuses) == MANY
    assert set(statuses) <= {202, 429}  # which of them depends on how fast this machine is


@bad(80, "an acknowledgement of what was never sent")
def _(target: Target) -> None:
    refused(target.post(envelope(type="ack", replyTo="never-sent")), 400)
    refused(target.post(result_of("never-sent", replyTo="never-sent"), DESK, "/lan/result"), 404)


# --- the tests -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def target(shared_mesh: Mesh) -> Iterator[Target]:
    target = Target(shared_mesh)
    before = target.process.memory_info().rss
    files = target.process.num_fds()
    yield target

    assert not [status for status in target.statuses if status >= 500]
    until(lambda: target.process.num_fds() <= files + MOST_FILES, target.process.num_fds, PATIENCE_S)
    grown = target.process.memory_info().rss - before
    assert grown < MOST_GROWTH, f"{grown / 1e6:.0f} MB"
    told = target.node.log.read_text()
    assert "level=error" not in told
    assert len(told) < 1_000_000


@pytest.fixture(scope="module")
def honest(target: Target) -> Iterator[Honest]:
    honest = Honest(target.port)
    honest.start()
    yield honest
    honest.end()

    assert honest.faults == []
    stored = {task["wireId"]: task for task in target.node.op("GET", "/op/tasks?limit=1000").json}
    lost = [task for task in honest.acknowledged[-300:] if task not in stored]
    assert lost == []
    for task in honest.acknowledged[-20:]:
        assert target.node.final(task, PATIENCE_S)["state"] == "completed"


@pytest.fixture(scope="module")
def slow(target: Target) -> Iterator[dict[int, "Future[tuple[int, Json]]"]]:
    """Begin the inputs that take long, all at once."""

    def attack(number: int) -> tuple[int, Json]:
        with target.wire() as wire:
            SLOW[number](wire, target)
            answer = wire.hear()
            return wire.hear() if answer[0] == 100 else answer

    with ThreadPoolExecutor(len(SLOW)) as pool:
        yield {number: pool.submit(attack, number) for number in SLOW}


@pytest.fixture
def beside(honest: Honest) -> Iterator[None]:
    """See that an honest peer was served meanwhile, and is afterwards."""
    yield
    served = honest.rounds
    until(lambda: honest.rounds >= served + 1 or honest.faults, lambda: honest.faults, PATIENCE_S)
    assert honest.faults == []


def test_every_one_of_the_82_is_shown() -> None:
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parents[1].rglob("test_*.py"))

    assert sorted([*INPUTS, *SLOW, *ELSEWHERE]) == list(range(1, 83))
    for names in ELSEWHERE.values():
        assert all(f"def {name}(" in tests for name in names.split(", ")), names


@pytest.mark.parametrize(
    "number",
    SLOW,
    ids=["1-half-a-request-line", "2-a-head-in-drops", "3-a-body-in-drops", "22-expect-and-silence"],
)
def test_a_slow_caller_is_given_up(
    number: int, slow: dict[int, "Future[tuple[int, Json]]"], beside: None
) -> None:
    assert refused(slow[number].result(PATIENCE_S), 408)["code"] == "too-slow"


@pytest.mark.parametrize(
    "number",
    sorted(INPUTS),
    ids=[f"{number}-{INPUTS[number][0].replace(' ', '-')}" for number in sorted(INPUTS)],
)
@pytest.mark.usefixtures("slow", "beside")
def test_a_bad_input_gets_a_clear_answer_and_harms_nobody(target: Target, number: int) -> None:
    INPUTS[number][1](target)
