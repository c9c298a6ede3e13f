"""How an asker learns of the outcome, and what an owner has done with tasks that arrive."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.node_process import Json, NodeProcess, envelope, http_connection, until

Pair = tuple[NodeProcess, NodeProcess]

ECHO = "echo done"


def waiting(path: str) -> str:
    """Return a script that ends once a file is there."""
    return f'while [ ! -e "{path}" ]; do sleep 0.02; done; echo done'


@pytest.fixture(autouse=True)
def accepting(pair: Pair) -> Iterator[None]:
    """Let each test begin with a node that takes tasks, and leave one."""
    for node in pair:
        node.op("PUT", "/op/accept", {"mode": "auto"})
    yield
    for node in pair:
        node.op("PUT", "/op/accept", {"mode": "auto"})


def set_mode(node: NodeProcess, mode: str) -> None:
    assert node.lanmesh("accept", mode).status == 0


def read(node: NodeProcess, task: Json, wait_s: float = 10) -> Json:
    """Return what the task's sender may read of it."""
    report: Json = node.lan("GET", f"/lan/task/{task['id']}?wait={wait_s}", token=node.token).json
    return report


# --- the three modes -----------------------------------------------------------------------------


def test_callback_brings_the_result_back_as_an_envelope(pair: Pair) -> None:
    a, b = pair

    task = a.delegate("b", ECHO)
    done = a.final(task)  # which asks nobody: the result was brought

    assert (done["state"], done["result"], done["mode"]) == ("completed", "done", "callback")
    until(lambda: b.task(task)["delivery"]["state"] == "delivered", lambda: b.task(task))


def test_fire_and_forget_brings_nothing_back_yet_can_be_read(pair: Pair) -> None:
    _, b = pair
    task = envelope(ECHO, {"mode": "fire-and-forget"}, from_="a")

    taken = b.give(task)

    assert (taken.status, taken.json["state"]) == (202, "submitted")
    assert read(b, task)["result"] == "done"
    assert b.task(task["id"])["delivery"] is None


def test_wait_answers_with_the_finished_task(pair: Pair) -> None:
    _, b = pair
    task = envelope("sleep 0.3; echo done", {"mode": "wait"})

    answer = b.give(task)

    assert (answer.status, answer.json["state"], answer.json["result"]) == (200, "completed", "done")
    assert answer.json["taskId"] == task["id"]


def test_wait_answers_with_a_failure_too(pair: Pair) -> None:
    _, b = pair

    answer = b.give(envelope("echo 'no such book' >&2; exit 4", {"mode": "wait"}))

    assert (answer.status, answer.json["state"]) == (200, "failed")
    assert answer.json["error"] == {"code": "command-failed", "detail": "exit status 4: no such book"}


def test_a_repeated_wait_waits_for_the_same_run(pair: Pair, tmp_path: Path) -> None:
    _, b = pair
    task = envelope(f"echo run >> {tmp_path}/runs; cat {tmp_path}/runs", {"mode": "wait"})

    answers = [b.give(task), b.give(task)]

    assert [(answer.status, answer.json["result"]) for answer in answers] == [(200, "run")] * 2


def test_a_short_wait_answers_with_the_task_as_it_is(pair: Pair, tmp_path: Path) -> None:
    _, b = pair
    task = envelope(waiting(f"{tmp_path}/gate"), {"mode": "wait", "waitMs": 200})

    answer = b.give(task)

    assert (answer.status, answer.json["state"]) == (202, "working")
    assert "result" not in answer.json
    b.give(envelope(f"touch {tmp_path}/gate"))
    assert read(b, task)["result"] == "done"


def test_a_wait_whose_caller_hangs_up_leaves_a_readable_result(pair: Pair, tmp_path: Path) -> None:
    _, b = pair
    task = envelope(waiting(f"{tmp_path}/gate"), {"mode": "wait"})
    caller = http_connection(b.port)
    caller.request("POST", "/lan/task", json.dumps(task), {"Authorization": f"Bearer {b.token}"})
    until(lambda: b.task(task["id"]).get("state") == "working", lambda: b.task(task["id"]))

    caller.close()
    b.give(envelope(f"touch {tmp_path}/gate"))

    assert read(b, task)["result"] == "done"


def test_a_wait_of_a_peer_has_its_result_sent_back_as_well(pair: Pair) -> None:
    _, b = pair
    task = envelope(ECHO, {"mode": "wait"}, from_="a")

    answer = b.give(task)

    assert answer.status == 200
    # a asked for nothing of that id, and says so for good.
    until(lambda: b.task(task["id"])["delivery"]["state"] == "refused", lambda: b.task(task["id"]))


def test_a_long_poll_tells_of_each_step(pair: Pair, tmp_path: Path) -> None:
    _, b = pair
    set_mode(b, "manual")
    task = envelope(ECHO)
    b.give(task)
    known = read(b, task, 0)["version"]

    b.op("POST", f"/op/tasks/{task['id']}/approve")
    path = f"/lan/task/{task['id']}?wait=10&version={known}"
    news = b.lan("GET", path, token=b.token).json

    assert news["version"] > known
    assert "waitingFor" not in news


# --- the owner's word ----------------------------------------------------------------------------


def test_a_task_that_waits_for_approval_runs_once_approved(pair: Pair) -> None:
    a, b = pair
    set_mode(b, "manual")
    task = a.delegate("b", ECHO)

    until(lambda: a.task(task)["waitingFor"], lambda: a.task(task))
    seen = a.lanmesh("task", task, "--json").json
    approved = b.lanmesh("approve", task, "--json")

    assert (seen["state"], seen["waitingFor"]) == ("submitted", "approval")
    assert approved.status == 0
    done = a.final(task)
    assert (done["state"], done["result"], done["waitingFor"]) == ("completed", "done", None)


def test_a_task_that_is_denied_ends_and_its_asker_is_told(pair: Pair) -> None:
    a, b = pair
    set_mode(b, "manual")
    task = a.delegate("b", ECHO)
    until(lambda: a.task(task)["waitingFor"], lambda: a.task(task))

    denied = b.lanmesh("deny", task, "--json")

    assert (denied.status, denied.json["state"]) == (0, "rejected")
    ended = a.final(task)
    assert (ended["state"], ended["error"]["code"], ended["attempt"]) == ("rejected", "denied", 0)
    late = b.lanmesh("approve", task, "--json")
    assert (late.status, json.loads(late.err)["code"]) == (5, "illegal-transition")


def test_what_waits_for_approval_survives_a_crash_and_is_counted(pair: Pair) -> None:
    a, b = pair
    set_mode(b, "manual")
    before = b.op("GET", "/op/status").json["approvals"]
    task = a.delegate("b", ECHO)
    until(lambda: a.task(task)["waitingFor"], lambda: a.task(task))

    b.restart()

    status = b.op("GET", "/op/status").json
    assert (status["acceptMode"], status["approvals"]) == ("manual", before + 1)
    assert b.task(task)["waitingFor"] == "approval"
    assert b.lanmesh("approve", "zzzzzzzz").status == 3
    assert b.lanmesh("approve", b.task(task)["id"][:8]).status == 0
    assert a.final(task)["state"] == "completed"


def test_waiting_for_approval_does_not_count_against_the_timeout(pair: Pair) -> None:
    a, b = pair
    set_mode(b, "manual")
    task = a.delegate("b", "sleep 0.2; echo done", timeout=800)
    until(lambda: a.task(task)["waitingFor"], lambda: a.task(task))
    asked_at = a.task(task)["createdAt"]
    until(lambda: time.time() * 1000 - asked_at > 1000, lambda: "the clock stands still")
    b.op("POST", f"/op/tasks/{task}/approve")

    assert a.final(task)["state"] == "completed"


def test_off_rejects_what_is_new_yet_repeats_get_their_first_answer(pair: Pair) -> None:
    a, b = pair
    old = envelope(ECHO)
    first = b.give(old)
    b.final(old["id"])
    set_mode(b, "off")

    refused = b.give(envelope(ECHO))
    repeated = b.give(old)
    asked = a.final(a.delegate("b", ECHO))

    assert (refused.status, refused.json["code"]) == (403, "tasks-not-accepted")
    assert (repeated.status, repeated.body) == (first.status, first.body)
    assert (asked["state"], asked["error"]["code"]) == ("rejected", "refused")
    assert asked["delivery"]["state"] == "refused"


def test_a_repeat_of_what_waited_for_approval_gets_its_first_answer(pair: Pair) -> None:
    _, b = pair
    set_mode(b, "manual")
    task = envelope(ECHO)
    first = b.give(task)
    b.op("POST", f"/op/tasks/{task['id']}/approve")
    b.final(task["id"])

    again = b.give(task)

    assert first.json["waitingFor"] == "approval"
    assert (again.status, again.body) == (first.status, first.body)


def test_the_profile_tells_the_accept_mode(pair: Pair) -> None:
    a, b = pair
    set_mode(b, "manual")

    said = a.lanmesh("profile", "b", "--json")

    assert said.json["acceptMode"] == "manual"
