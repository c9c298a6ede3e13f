"""Bad input: each kind gets a clear answer, leaves nothing behind and harms nothing."""

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import (
    Answer,
    Json,
    envelope,
    http_call,
    http_connection,
    new_token,
    tls_socket,
)

ME = "tester"
DESK_TOKEN = new_token()
LAPTOP_TOKEN = new_token()
MEGABYTE = 1024 * 1024

KNOWN = "known-to-all"
"""A task that was sent under the shared token."""
OF_DESK = "known-to-the-desk"
"""A task that the peer `desk` sent under a token of its own."""


class BadNode:
    """A node with a few tasks, and with all that it might have stored."""

    def __init__(self, mesh: Mesh) -> None:
        peers = {
            "desk": {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": "TOKEN_OF_DESK"},
            "laptop": {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": "TOKEN_OF_LAPTOP"},
        }
        self.node = mesh.lone(
            {"profile": {"id": ME}, "peers": peers},
            TOKEN_OF_DESK=DESK_TOKEN,
            TOKEN_OF_LAPTOP=LAPTOP_TOKEN,
            LAN_PEER_DESK_TOKEN=new_token(),
        ).start()
        self.node.give(envelope("known", id=KNOWN))
        of_desk = envelope("of the desk", id=OF_DESK, from_="desk", to=ME)
        self.send(json.dumps(of_desk).encode(), DESK_TOKEN)
        self.asked = self.node.delegate("desk", "of this node")
        for task in (KNOWN, OF_DESK):
            self.node.final(task)

    def send(self, body: bytes, token: str | None = None, path: str = "/lan/task") -> Answer:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.node.token}"}
        return http_call(self.node.port, "POST", path, body, headers)

    def stored(self) -> tuple[list[tuple[str, str]], list[Json]]:
        """Return all tasks and messages, as `lanmesh tasks --json` and `lanmesh inbox --json` tell them."""
        tasks = self.node.op("GET", "/op/tasks?limit=1000").json
        messages = self.node.op("GET", "/op/messages?limit=1000").json
        return sorted((task["id"], task["state"]) for task in tasks), messages


@pytest.fixture(scope="module")
def bad(shared_mesh: Mesh) -> Iterator[BadNode]:
    bad = BadNode(shared_mesh)
    before = bad.stored()
    yield bad
    # The command line says the same, and the log knows of no fault of the node's own.
    assert (
        sorted((task["id"], task["state"]) for task in bad.node.lanmesh("tasks", "--json").json) == before[0]
    )
    assert bad.node.lanmesh("inbox", "--json").json == before[1] == []
    assert "level=error" not in bad.node.log.read_text()


@pytest.fixture
def unharmed(bad: BadNode) -> Iterator[BadNode]:
    """See that a test leaves nothing behind, and a node that answers."""
    before = bad.stored()
    yield bad
    assert bad.stored() == before
    assert bad.node.lan("GET", "/lan/health").json["status"] == "ok"


def assert_is_problem(answer: Answer, status: int, code: str) -> None:
    """See that an answer is a problem document (RFC 9457) that helps whoever reads it."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    problem = answer.json
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:lanmesh:problem:{code}"
    assert problem["title"]
    assert re.match(r"\S+( \S+){2,}", problem["detail"]), problem["detail"]
    assert len(problem["detail"]) < 500
    assert "Traceback" not in problem["detail"]
    assert "msgspec" not in problem["detail"]


# --- who is calling ------------------------------------------------------------------------------

NO_ENTRY: list[tuple[str, dict[str, str]]] = [
    ("no token", {}),
    ("wrong token", {"Authorization": f"Bearer {new_token()}"}),
    ("empty token", {"Authorization": "Bearer "}),
    ("no scheme", {"Authorization": DESK_TOKEN}),
    ("another scheme", {"Authorization": f"Basic {DESK_TOKEN}"}),
    ("a part of the token", {"Authorization": f"Bearer {DESK_TOKEN[:-1]}"}),
    ("more than the token", {"Authorization": f"Bearer {DESK_TOKEN}0"}),
    ("token in upper case", {"Authorization": f"Bearer {DESK_TOKEN.upper()}"}),
    ("token that is no ASCII", {"Authorization": "Bearer \xe9\xff"}),
    ("token in another header", {"X-Authorization": f"Bearer {DESK_TOKEN}"}),
    ("token as a cookie", {"Cookie": f"token={DESK_TOKEN}"}),
]


@pytest.mark.parametrize("headers", [headers for _, headers in NO_ENTRY], ids=[name for name, _ in NO_ENTRY])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/lan/profile"),
        ("GET", f"/lan/task/{KNOWN}"),
        ("POST", "/lan/task"),
        ("POST", "/lan/message"),
        ("POST", "/lan/result"),
    ],
)
def test_without_a_known_token_nothing_is_told_or_taken(
    unharmed: BadNode, method: str, path: str, headers: Mapping[str, str]
) -> None:
    body = json.dumps(envelope()).encode() if method == "POST" else None

    answer = http_call(unharmed.node.port, method, path, body, headers)

    assert_is_problem(answer, 401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("token", "claim", "code"),
    [
        (DESK_TOKEN, {"from": "laptop", "to": ME}, "not-allowed"),
        (DESK_TOKEN, {"from": "my-agent", "to": ME}, "not-allowed"),
        (DESK_TOKEN, {"from": "DESK", "to": ME}, "not-allowed"),
        (None, {"from": "desk"}, "not-allowed"),
        (DESK_TOKEN, {"from": "desk", "to": "target-agent"}, "invalid-request"),
    ],
    ids=["another peer", "nobody", "another case", "a peer, by the shared token", "for another node"],
)
@pytest.mark.parametrize("path", ["/lan/task", "/lan/message"])
def test_nobody_speaks_in_the_name_of_another(
    unharmed: BadNode, token: str | None, claim: Json, code: str, path: str
) -> None:
    said = {**envelope(), **claim}
    if path == "/lan/message":
        said |= {"type": "message", "payload": {"text": "hello"}}

    answer = unharmed.send(json.dumps(said).encode(), token, path)

    assert_is_problem(answer, 403 if code == "not-allowed" else 400, code)


# --- what is said --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A body that must be refused."""

    name: str
    body: bytes
    status: int = 400
    code: str = "invalid-request"
    path: str = "/lan/task"


def field(name: str, status: int = 400, code: str = "invalid-request", **fields: Any) -> Bad:
    """Return a task with a bad field."""
    return Bad(name, json.dumps(envelope(**fields)).encode(), status, code)


def payload(name: str, path: str = "/lan/task", **fields: Any) -> Bad:
    """Return a task with a bad field in its payload; `None` takes one away."""
    said = envelope(payload=fields)
    said["payload"] = {key: value for key, value in said["payload"].items() if value is not None}
    return Bad(name, json.dumps(said).encode())


def without(key: str) -> Bad:
    return Bad(f"no {key}", json.dumps({k: v for k, v in envelope().items() if k != key}).encode())


def raw(name: str, value: str) -> Bad:
    """Return a task with an extra field whose value is spelled as given."""
    return Bad(name, json.dumps(envelope(extra="@")).replace('"@"', value).encode("utf-8", "surrogatepass"))


def message(name: str, **fields: Any) -> Bad:
    said = envelope(type="message")
    said["payload"] = fields
    return Bad(f"message: {name}", json.dumps(said).encode(), path="/lan/message")


def report(
    name: str, task: str | None, status: int, code: str, payload: Json | None = None, **fields: Any
) -> Bad:
    """Return a result; a task of `None` is one that the node asked for, filled in by the test."""
    said = envelope(type="result", from_="my-agent", to=ME, **fields)
    said["payload"] = {
        "taskId": task or "@asked",
        "state": "completed",
        "result": "forged",
        **(payload or {}),
    }
    return Bad(f"result: {name}", json.dumps(said).encode(), status, code, "/lan/result")


SAID = [
    # not an envelope at all
    Bad("empty", b""),
    Bad("not JSON", b"hello"),
    Bad("half of it", json.dumps(envelope()).encode()[:-5]),
    Bad("two of them", json.dumps(envelope()).encode() * 2),
    Bad("an array", json.dumps([envelope()]).encode()),
    Bad("a string", b'"task"'),
    Bad("a number", b"5"),
    Bad("null", b"null"),
    Bad("an empty object", b"{}"),
    Bad("a form", b"id=1&type=task"),
    Bad("single quotes", str(envelope()).encode()),
    Bad("not UTF-8", json.dumps(envelope("@")).encode().replace(b"@", b"\xff\xfe")),
    Bad("UTF-16", json.dumps(envelope()).encode("utf-16")),
    Bad("a byte order mark", json.dumps(envelope()).encode("utf-8-sig")),
    raw("NaN", "NaN"),
    raw("Infinity", "Infinity"),
    raw("minus Infinity", "-Infinity"),
    raw("a number beyond a double", "1e400"),
    raw("nesting of 50,000 arrays", "[" * 50_000 + "]" * 50_000),
    raw("nesting of 50,000 objects", '{"a":' * 50_000 + "1" + "}" * 50_000),
    raw("nesting of 50,000, left open", "[" * 50_000),
    raw("nesting of 33", "[" * 33 + "]" * 33),
    raw("a lone surrogate", '"\\ud800"'),
    raw("a lone surrogate, the other half", '"\\udc00 alone"'),
    raw("a lone surrogate, in bytes", '"\ud800"'),
    raw("a control character", '"\x01"'),
    raw("a comment", "1 /* one */"),
    raw("a trailing comma", "[1,]"),
    Bad("a lone surrogate in the text", json.dumps(envelope("@")).replace("@", "\\ud800").encode()),
    # type and version
    field("unknown type", code="unknown-type", type="dance"),
    field("a type of a later part", code="unknown-type", type="progress"),
    field("type in upper case", code="unknown-type", type="TASK"),
    field("empty type", code="unknown-type", type=""),
    field("type that is a number", type=1),
    without("type"),
    field("other major version", code="unsupported-version", protocolVersion="2.0"),
    field("older major version", code="unsupported-version", protocolVersion="0.9"),
    field("version without sense", code="unsupported-version", protocolVersion="one"),
    field("empty version", code="unsupported-version", protocolVersion=""),
    field("version that is a number", protocolVersion=1.0),
    without("protocolVersion"),
    Bad(
        "a message sent to /lan/task",
        json.dumps(envelope(type="message", payload={"text": "hello"})).encode(),
    ),
    Bad("a task sent to /lan/message", json.dumps(envelope()).encode(), path="/lan/message"),
    Bad("a task sent to /lan/result", json.dumps(envelope()).encode(), path="/lan/result"),
    # id and from
    field("empty id", id=""),
    field("too long id", id="x" * 129),
    field("id with a space", id="a b"),
    field("id with a slash", id="a/b"),
    field("id that climbs", id="../../etc/passwd"),
    field("id that is a dot", id="."),
    field("id that is two dots", id=".."),
    field("id with a line break", id="a\nb"),
    field("id that ends in a line break", id="task\n"),
    field("id with a NUL", id="a\x00b"),
    field("id that is no ASCII", id="tâche"),
    field("id in full-width letters", id="\uff54\uff41\uff53\uff4b"),
    field("id with a quote", id="a'--"),
    field("id that is a number", id=5),
    field("id that is null", id=None),
    without("id"),
    field("id seen with another text", 409, "id-conflict", id=KNOWN),
    field("empty from", from_=""),
    field("too long from", from_="x" * 129),
    field("from that is a list", from_=["a"]),
    without("from"),
    field("empty to", to=""),
    field("to that is a number", to=7),
    field("timestamp that is text", timestamp="today"),
    field("ttl of 0", ttl=0),
    field("negative ttl", ttl=-1),
    field("huge ttl", ttl=10**30),
    field("ttl that is text", ttl="1h"),
    # chains
    field("hops over 5", 409, "chain-refused", hops=6),
    field("huge hops", 400, hops=10**12),
    field("negative hops", hops=-1),
    field("hops that is text", hops="1"),
    field("this node on the path", 409, "chain-refused", path=["a", ME, "b"], hops=3),
    field("this node on the path, hops not told", 409, "chain-refused", path=[ME]),
    field("a path longer than the hops told", 409, "chain-refused", path=list("uvwxyz"), hops=0),
    field("path of 65", path=["a"] * 65),
    field("path that is text", path=ME),
    field("path of numbers", path=[1]),
    field("path with an empty name", path=[""]),
    field("odd root id", rootId="../x"),
    # the task
    without("payload"),
    Bad("payload that is text", json.dumps({**envelope(), "payload": "hello"}).encode()),
    Bad("payload that is an array", json.dumps({**envelope(), "payload": []}).encode()),
    Bad("payload that is null", json.dumps({**envelope(), "payload": None}).encode()),
    payload("no description", description=None),
    payload("empty description", description=""),
    payload("blank description", description=" \n\t"),
    payload("description that is a number", description=5),
    payload("timeout of 0", timeout=0),
    payload("negative timeout", timeout=-1),
    payload("huge timeout", timeout=10**30),
    payload("timeout just over a day", timeout=24 * 3600 * 1000 + 1),
    payload("timeout that is text", timeout="60000"),
    payload("timeout that is a fraction", timeout=0.5),
    payload("timeout that is true", timeout=True),
    payload("timeout that is a list", timeout=[60000]),
    payload("unknown mode", mode="later"),
    payload("mode that is a number", mode=1),
    payload("negative waitMs", mode="wait", waitMs=-1),
    payload("waitMs that is text", mode="wait", waitMs="soon"),
    # messages
    message("no text"),
    message("empty text", text=""),
    message("blank text", text="  "),
    message("text that is a number", text=5),
    # results
    report("without its replyKey", None, 403, "not-allowed"),
    report("with a wrong replyKey", None, 403, "not-allowed", replyKey="guessed"),
    report("with an empty replyKey", None, 400, "invalid-request", replyKey=""),
    report("with a replyKey that is a number", None, 400, "invalid-request", replyKey=5),
    report("of a task that nobody asked for", "never-asked", 404, "task-not-found", replyKey="x"),
    report("of a task that others asked for", KNOWN, 404, "task-not-found", replyKey="x"),
    report("without a task", "", 400, "invalid-request", {"taskId": None}),
    report("that is none yet", None, 400, "invalid-request", {"state": "working"}),
    report("in an unknown state", None, 400, "invalid-request", {"state": "great"}),
    report("with an error that is text", None, 400, "invalid-request", {"error": "broken"}),
    report("that is a number", None, 400, "invalid-request", {"result": 5}),
]


@pytest.mark.parametrize("bad_one", SAID, ids=[bad.name for bad in SAID])
def test_what_cannot_be_taken_is_refused_in_clear_words(unharmed: BadNode, bad_one: Bad) -> None:
    body = bad_one.body.replace(b"@asked", unharmed.asked.encode())

    answer = unharmed.send(body, path=bad_one.path)

    assert_is_problem(answer, bad_one.status, bad_one.code)


def test_a_result_of_another_peer_than_the_one_that_was_asked_is_refused(unharmed: BadNode) -> None:
    forged = envelope(type="result", from_="laptop", to=ME)
    forged["payload"] = {"taskId": unharmed.asked, "state": "completed", "result": "forged"}

    answer = unharmed.send(json.dumps(forged).encode(), LAPTOP_TOKEN, "/lan/result")

    assert_is_problem(answer, 403, "not-allowed")
    assert unharmed.node.task(unharmed.asked)["state"] == "submitted"


# --- how much ------------------------------------------------------------------------------------


def test_a_body_over_one_megabyte_is_refused_before_it_is_read(unharmed: BadNode) -> None:
    connection = http_connection(unharmed.node.port)
    connection.putrequest("POST", "/lan/task")
    connection.putheader("Authorization", f"Bearer {unharmed.node.token}")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders(b"{")
    try:
        got = connection.getresponse()
        answer = Answer(got.status, got.headers, got.read())
    finally:
        connection.close()

    assert_is_problem(answer, 413, "too-large")


def test_a_body_over_one_megabyte_is_refused_when_it_is_sent_as_well(unharmed: BadNode) -> None:
    body = json.dumps(envelope("x" * MEGABYTE)).encode()

    assert_is_problem(unharmed.send(body), 413, "too-large")


def test_a_body_over_one_megabyte_in_chunks_is_refused(unharmed: BadNode) -> None:
    body = json.dumps(envelope("x" * (2 * MEGABYTE))).encode()
    chunks = [body[at : at + 16384] for at in range(0, len(body), 16384)]

    answer = http_call(
        unharmed.node.port, "POST", "/lan/task", chunks, {"Authorization": f"Bearer {unharmed.node.token}"}
    )

    assert_is_problem(answer, 413, "too-large")


def test_a_body_just_below_one_megabyte_is_taken(mesh: Mesh) -> None:
    node = mesh.lone({"node": {"command": ["wc", "-c"]}}).start()
    task = envelope("x" * (MEGABYTE - 1000))

    answer = node.give(task)

    assert answer.status == 202
    assert node.final(task["id"])["result"].strip() == str(MEGABYTE - 1000)


def test_a_body_that_breaks_off_leaves_nothing(unharmed: BadNode) -> None:
    body = json.dumps(envelope()).encode()
    head = (
        f"POST /lan/task HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {unharmed.node.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with tls_socket(unharmed.node.port) as caller:
        caller.sendall(head.encode() + body[:-1])
        caller.shutdown(socket.SHUT_WR)
        with suppress(ssl.SSLEOFError):  # TLS has no half of a connection: it is over
            while caller.recv(4096):
                pass


@pytest.mark.parametrize(
    "noise",
    [b"\x00" * 100, b"BREW / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"A" * 200_000],
)
def test_what_is_no_http_harms_nothing(unharmed: BadNode, noise: bytes) -> None:
    with tls_socket(unharmed.node.port) as caller:
        try:
            caller.sendall(noise)
            caller.shutdown(socket.SHUT_WR)
            while caller.recv(4096):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # the node has had enough of it


# --- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["of the desk", "its local id"])
def test_the_task_of_another_origin_is_not_there(unharmed: BadNode, name: str) -> None:
    identifier = OF_DESK if name == "of the desk" else unharmed.node.task(OF_DESK)["id"]

    for token, status in ((unharmed.node.token, 404), (LAPTOP_TOKEN, 404), (DESK_TOKEN, 200)):
        answer = unharmed.node.lan("GET", f"/lan/task/{identifier}", token=token)
        assert answer.status == status
        if status != 200:
            assert_is_problem(answer, 404, "task-not-found")


def test_a_peer_with_a_token_of_its_own_does_not_see_what_others_sent_under_the_shared_one(
    unharmed: BadNode,
) -> None:
    assert_is_problem(unharmed.node.lan("GET", f"/lan/task/{KNOWN}", token=DESK_TOKEN), 404, "task-not-found")


def test_a_task_that_this_node_asked_for_is_not_shown_to_callers(unharmed: BadNode) -> None:
    for token in (unharmed.node.token, DESK_TOKEN):
        answer = unharmed.node.lan("GET", f"/lan/task/{unharmed.asked}", token=token)
        assert_is_problem(answer, 404, "task-not-found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/lan/task/never-heard-of", 404, "task-not-found"),
        ("GET", "/lan/task/%00", 404, "task-not-found"),
        ("GET", "/lan/task/%ff%fe", 404, "task-not-found"),
        ("GET", "/lan/task/" + "x" * 5000, 404, "task-not-found"),
        ("GET", "/lan/task/%25", 404, "task-not-found"),
        ("GET", f"/lan/task/{KNOWN}?wait=long", 400, "invalid-request"),
        ("GET", f"/lan/task/{KNOWN}?wait=-1", 400, "invalid-request"),
        ("GET", f"/lan/task/{KNOWN}?wait=nan", 400, "invalid-request"),
        ("GET", f"/lan/task/{KNOWN}?version=last", 400, "invalid-request"),
        ("GET", f"/lan/task/{KNOWN}?version=-1", 400, "invalid-request"),
        ("GET", f"/lan/task/{KNOWN}?version={10**30}", 400, "invalid-request"),
        ("GET", "/", 404, "route-not-found"),
        ("GET", "/lan", 404, "route-not-found"),
        ("GET", "/lan/tasks", 404, "route-not-found"),
        ("GET", "/lan/../op/status", 404, "route-not-found"),
        ("GET", "/op/status", 404, "route-not-found"),
        ("GET", "/lan/task", 405, "method-not-allowed"),
        ("DELETE", f"/lan/task/{KNOWN}", 405, "method-not-allowed"),
        ("PUT", "/lan/profile", 405, "method-not-allowed"),
        ("POST", "/lan/health", 405, "method-not-allowed"),
        ("PROPFIND", "/lan/task", 405, "method-not-allowed"),
    ],
)
def test_a_question_that_has_no_answer_is_told_so(
    unharmed: BadNode, method: str, path: str, status: int, code: str
) -> None:
    answer = unharmed.node.lan(method, path, token=unharmed.node.token)

    assert_is_problem(answer, status, code)
    if status == 405:
        assert answer.headers["Allow"]


# --- the operator port ---------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "guessed", DESK_TOKEN, "shared"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/op/status"), ("GET", "/op/tasks"), ("POST", "/op/tasks"), ("PUT", "/op/accept")],
)
def test_the_operator_port_takes_its_own_token_alone(
    unharmed: BadNode, method: str, path: str, token: str | None
) -> None:
    presented = unharmed.node.token if token == "shared" else token
    headers = {} if presented is None else {"Authorization": f"Bearer {presented}"}

    answer = http_call(unharmed.node.operator_port, method, path, b'{"mode": "off"}', headers, tls=False)

    assert_is_problem(answer, 401, "not-authenticated")


@pytest.mark.parametrize(
    ("call", "asked", "status", "code"),
    [
        ("POST /op/tasks", {"peer": "nobody", "text": "x"}, 404, "peer-not-found"),
        ("POST /op/tasks", {"peer": "desk", "text": " "}, 400, "invalid-request"),
        ("POST /op/tasks", {"peer": "desk", "text": "x", "timeout": 0}, 400, "invalid-request"),
        ("POST /op/tasks", {"peer": "desk", "text": "x", "timeout": 10**12}, 400, "invalid-request"),
        ("POST /op/tasks", {"peer": "desk", "text": "x", "parent": "nothing"}, 404, "task-not-found"),
        ("POST /op/tasks", {"peer": ME, "text": "x"}, 404, "peer-not-found"),
        ("POST /op/tasks", {"peer": "desk", "text": "x" * (MEGABYTE - 100)}, 400, "invalid-request"),
        ("POST /op/tasks", [], 400, "invalid-request"),
        ("POST /op/messages", {"peer": "desk"}, 400, "invalid-request"),
        ("POST /op/messages", {"peer": "nobody", "text": "x"}, 404, "peer-not-found"),
        ("PUT /op/accept", {"mode": "sometimes"}, 400, "invalid-request"),
        ("GET /op/tasks?limit=many", None, 400, "invalid-request"),
        ("GET /op/tasks?state=great", None, 400, "invalid-request"),
        ("GET /op/tasks/nothing-like-it", None, 404, "task-not-found"),
        ("GET /op/tasks/%25%25%25%25", None, 404, "task-not-found"),
        ("GET /op/peers/nobody/profile", None, 404, "peer-not-found"),
        (f"POST /op/tasks/{KNOWN}/approve", None, 409, "illegal-transition"),
        (f"POST /op/tasks/{KNOWN}/deny", None, 409, "illegal-transition"),
    ],
)
def test_the_owner_too_is_told_what_is_wrong(
    unharmed: BadNode, call: str, asked: object, status: int, code: str
) -> None:
    method, _, path = call.partition(" ")

    assert_is_problem(unharmed.node.op(method, path, asked), status, code)
