"""The command line: what programs read from it, and how it ends."""

import json
import os
import shlex
import subprocess

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import LANMESH, NodeProcess, Said, envelope

Pair = tuple[NodeProcess, NodeProcess]


def problem(said: Said) -> tuple[int, str]:
    """Return exit status and code of a verb that failed under --json: a problem on stderr alone."""
    assert said.out == ""
    return said.status, json.loads(said.err)["code"]


# --- --json --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "shows"),
    [
        ("status", {"id": "a", "acceptMode": "auto", "running": 0}),
        ("peers", [{"id": "b", "hasToken": True}]),
        ("profile", {"id": "a", "schemaVersion": "1.0"}),
        ("profile b", {"id": "b"}),
        ("send b hello", {"peer": "b", "state": "delivered"}),
        ("inbox", []),
        ("outbox", []),
        ("delegate b 'echo hello'", {"direction": "asked", "peer": "b", "state": "submitted"}),
        ("delegate b 'echo hello' --wait 10", {"state": "completed", "result": "hello"}),
        ("delegate b cat --timeout 5", {"timeout": 5000}),
        ("tasks", None),
        ("tasks --state rejected --limit 3", []),
        ("tasks --approvals", []),
        ("accept auto", {"mode": "auto"}),
        ("config", None),
    ],
)
def test_a_verb_prints_json_for_programs(pair: Pair, verb: str, shows: object) -> None:
    a, _ = pair

    said = a.lanmesh(*shlex.split(verb), "--json")

    assert (said.status, said.err) == (0, "")
    match shows:
        case dict():
            assert shows.items() <= said.json.items()
        case [{} as first]:
            assert isinstance(first, dict)
            assert first.items() <= said.json[0].items()
        case _:
            assert isinstance(said.json, list)


def test_a_task_can_be_named_by_the_beginning_of_its_id(pair: Pair) -> None:
    a, b = pair
    task = a.delegate("b", "echo hello")
    a.final(task)

    said = a.lanmesh("task", task[:8], "--json")

    assert (said.status, said.json["id"], said.json["result"]) == (0, task, "hello")
    assert [event["event"] for event in said.json["events"]][:2] == ["submit", "delivery-queued"]
    assert b.lanmesh("task", task[:8], "--json").json["wireId"] == task


def test_the_inbox_tells_each_message_and_then_counts_it_as_read(pair: Pair) -> None:
    a, b = pair
    b.lanmesh("inbox")

    sent = a.lanmesh("send", "b", "-", stdin="two\nlines")
    first = b.lanmesh("inbox", "--unread", "--json")
    second = b.lanmesh("inbox", "--unread")

    assert (sent.status, sent.out) == (0, "delivered: b has it\n")
    assert [(mail["sender"], mail["text"]) for mail in first.json] == [("a", "two\nlines")]
    assert second.out == "no new messages\n"


def test_delegate_takes_the_text_from_stdin_and_prints_the_result_alone(pair: Pair) -> None:
    a, _ = pair

    said = a.lanmesh("delegate", "b", "-", "--wait", "10", stdin="echo from stdin")

    assert (said.status, said.out) == (0, "from stdin\n")
    assert said.err.startswith("task ")  # its id, before anything can break off the wait
    for told in ("submitted", "delivery-delivered", "completed"):
        assert told in said.err


# --- exit statuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "status", "code"),
    [
        ("delegate nobody x", 3, "peer-not-found"),
        ("send nobody x", 3, "peer-not-found"),
        ("task nothing-like-it", 3, "task-not-found"),
        ("delegate b ' '", 2, "invalid-request"),
        ("delegate b x --timeout 0", 2, "invalid-request"),
    ],
)
def test_an_error_ends_the_command_with_the_status_of_the_table(
    pair: Pair, verb: str, status: int, code: str
) -> None:
    assert problem(pair[0].lanmesh(*shlex.split(verb), "--json")) == (status, code)


def test_an_error_is_a_sentence_for_people(pair: Pair) -> None:
    said = pair[0].lanmesh("delegate", "bb", "x")

    assert (said.status, said.out) == (3, "")
    assert said.err == 'lanmesh: no peer "bb" is configured; did you mean "b"?\n'


@pytest.mark.parametrize(
    "verb", ["accept sometimes", "tasks --state great", "delegate b", "dance", "run --port x"]
)
def test_a_call_that_makes_no_sense_ends_with_2(pair: Pair, verb: str) -> None:
    said = pair[0].lanmesh(*shlex.split(verb))

    assert (said.status, said.out) == (2, "")
    assert "Traceback" not in said.err


def test_without_a_running_node_a_verb_ends_with_6(mesh: Mesh) -> None:
    node = mesh.lone()

    assert problem(node.lanmesh("tasks", "--json")) == (6, "node-unreachable")
    assert "lanmesh run" in node.lanmesh("status").err


def test_a_node_that_was_killed_is_not_running(mesh: Mesh) -> None:
    node = mesh.lone().start()
    node.kill()

    assert node.lanmesh("delegate", "b", "x").status == 6


def test_a_wait_that_is_over_ends_with_7_and_the_task_goes_on(pair: Pair, mesh: Mesh) -> None:
    a, b = pair
    b.op("PUT", "/op/accept", {"mode": "manual"})
    try:
        said = a.lanmesh("delegate", "b", "echo in the end", "--wait", "0.5")
    finally:
        b.op("PUT", "/op/accept", {"mode": "auto"})

    assert (said.status, said.out) == (7, "")
    assert "is submitted, waits for approval after 0.5 s, and goes on" in said.err
    task = a.op("GET", "/op/tasks?limit=1").json[0]["id"]
    b.op("POST", f"/op/tasks/{task}/approve")
    assert a.final(task)["result"] == "in the end"


def test_a_task_that_fails_ends_with_1_and_says_why(pair: Pair) -> None:
    said = pair[0].lanmesh("delegate", "b", "echo no luck >&2; exit 9", "--wait", "10")

    assert (said.status, said.out) == (1, "")
    assert said.err.endswith("lanmesh: failed: exit status 9: no luck\n")


def test_a_task_that_fails_under_json_is_told_whole_and_ends_with_1(pair: Pair) -> None:
    said = pair[0].lanmesh("delegate", "b", "exit 9", "--wait", "10", "--json")

    assert (said.status, said.json["error"]["code"]) == (1, "command-failed")


def test_a_message_that_is_refused_ends_with_5(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    b.write_settings(
        {**b.settings, "peers": {"a": {"host": "127.0.0.1", "inboundTokenEnvVar": "TOKEN_OF_A"}}}
    )
    b.write_variables({**b.variables, "TOKEN_OF_A": "which-a-does-not-use"})
    a.start()
    b.start()

    said = a.lanmesh("send", "b", "by the shared token")

    assert said.status == 5
    assert said.out.startswith("refused: ")
    assert "a token of its own" in said.out


@pytest.mark.parametrize(
    ("verb", "variable"),
    [
        ("accept off", "LANMESH_TASK_ID"),
        ("accept off", "OPENCLAW_SHELL"),
        ("approve 1234", "LANMESH_TASK_ID"),
        ("deny 1234", "LANMESH_TASK_ID"),
    ],
)
def test_an_agent_does_not_decide_for_its_owner(pair: Pair, verb: str, variable: str) -> None:
    a, _ = pair

    said = a.lanmesh(*shlex.split(verb), "--json", **{variable: "x"})

    assert problem(said) == (4, "not-allowed")
    assert a.op("GET", "/op/status").json["acceptMode"] == "auto"


# --- for people ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["status", "profile", "inbox", "tasks", "config", "--help"])
def test_a_verb_tells_people_in_words(pair: Pair, verb: str) -> None:
    said = pair[0].lanmesh(*verb.split())

    assert (said.status, said.err) == (0, "")
    assert said.out.strip()
    assert "None" not in said.out
    assert "{" not in said.out


def test_what_a_peer_wrote_moves_no_cursor(pair: Pair) -> None:
    _, b = pair
    evil = "echo \x1b[2J\x1b]0;owned\x07 \u202e 2>&1"
    task = envelope(evil, from_="ev\x1b[31mil")
    b.give(task)
    b.final(task["id"])

    for verb in (["tasks"], ["task", task["id"]]):
        shown = b.lanmesh(*verb).out
        before_result = shown.partition("\n\n")[0]
        assert "\x1b" not in before_result
        assert "\u202e" not in before_result
        assert "ev\\x1b[31mil" in before_result


@pytest.mark.parametrize("lines", [1, 20_000])
def test_a_reader_who_has_gone_is_no_reason_to_complain(pair: Pair, lines: int) -> None:
    a, _ = pair
    task = a.delegate("b", f"seq {lines}")
    a.final(task)
    reading, writing = os.pipe()
    os.close(reading)

    try:
        done = subprocess.run(
            [LANMESH, "task", task], env=a.environ(), stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)

    assert done.stderr == b""
    assert done.returncode in {0, 1}  # 1 is typer's own, where it meets the closed pipe first
