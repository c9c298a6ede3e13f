"""What becomes of tasks while one side is down, or dies in the middle."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import envelope, until

AFTER_A_PAUSE_S = 30.0
"""By then a node has tried again what it could not deliver a few seconds before (full jitter)."""

AFTER_GATE = ["sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.02; done; echo done']
"""A command that ends once a file is there."""

TWO_ATTEMPTS = """
import json, os, pathlib, psutil, sys, time
folder = pathlib.Path(sys.argv[1])
if os.environ["LANMESH_ATTEMPT"] == "1":
    child = psutil.Popen(["sleep", "1000"])
    (folder / "new").write_text(json.dumps([os.getpid(), child.pid]))
    (folder / "new").rename(folder / "pids")
    time.sleep(1000)
first = json.loads((folder / "pids").read_text())
living = [pid for pid in first if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
print("the first run lives" if living else "alone")
"""
"""A program whose first run never ends, and whose second tells what has become of the first."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def test_a_task_asked_while_the_doer_is_down_is_done_when_it_comes_up(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    a.start()

    task = json.loads(a.lanmesh("delegate", "b", "wake up", "--json").out)["id"]
    a_says = a.task(task)
    b.start()

    assert (a_says["state"], a_says["delivery"]["state"]) == ("submitted", "queued")
    done = a.final(task, AFTER_A_PAUSE_S)
    assert (done["state"], done["result"]) == ("completed", "wake up")
    assert done["delivery"]["state"] == "delivered"


def test_a_task_outlives_a_crash_of_its_asker_before_it_was_sent(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    a.start()
    task = a.delegate("b", "still wanted")

    a.kill()
    b.start()
    a.start()

    assert a.final(task, AFTER_A_PAUSE_S)["result"] == "still wanted"
    assert len(b.op("GET", "/op/tasks").json) == 1


def test_a_result_made_while_the_asker_is_down_reaches_it(mesh: Mesh, gate: Path) -> None:
    a, b = mesh.started(a={}, b={"command": [*AFTER_GATE, str(gate)]})
    task = a.delegate("b", "something")
    b.in_state(task, "working")

    a.kill()
    gate.touch()
    b.in_state(task, "completed")
    until(lambda: b.task(task)["delivery"]["attempts"], lambda: b.task(task))
    assert b.task(task)["delivery"]["state"] != "delivered"
    a.start()

    # Nobody asks a peer here: the result is pushed.
    assert a.final(task, AFTER_A_PAUSE_S)["result"] == "done"
    until(lambda: b.task(task)["delivery"]["state"] == "delivered", lambda: b.task(task))


def test_a_result_reaches_an_asker_that_the_doer_cannot_reach(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    b.write_settings({**b.settings, "peers": {}})
    a.start()
    b.start()

    said = a.lanmesh("delegate", "b", "come and get it", "--wait", "10")

    assert (said.status, said.out) == (0, "come and get it\n")
    assert b.op("GET", "/op/tasks").json[0]["delivery"] is None


def test_a_run_that_may_not_be_repeated_fails_as_interrupted_when_its_node_dies(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh", "-c", "sleep 1000 & sleep 1000; echo never"]})
    task = a.delegate("b", "something")
    b.in_state(task, "working")
    until(lambda: len(b.programs()) == 3, b.programs)

    b.kill()
    orphans = b.programs()
    b.start()

    assert len(orphans) == 3
    until(lambda: not b.programs(), b.programs)
    failed = a.final(task, AFTER_A_PAUSE_S)
    assert (failed["state"], failed["error"]["code"], failed["attempt"]) == ("failed", "interrupted", 1)
    assert "it may be done in part" in failed["error"]["detail"]
    assert b.task(task)["state"] == "failed"


def test_a_repeatable_run_is_done_again_when_its_node_died_and_never_beside_the_first(
    mesh: Mesh, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", TWO_ATTEMPTS, str(tmp_path)]
    a, b = mesh.started(a={}, b={"command": command, "repeatable": True})
    task = a.delegate("b", "something")
    until((tmp_path / "pids").exists, lambda: b.task(task))

    b.kill()
    first = [psutil.Process(pid) for pid in json.loads((tmp_path / "pids").read_text())]
    b.start()

    done = a.final(task, AFTER_A_PAUSE_S)
    assert (done["state"], done["result"], done["attempt"]) == ("completed", "alone", 2)
    assert not [process for process in first if process in b.programs()]
    assert [event["event"] for event in b.task(task)["events"]][:5] == [
        "submit",
        "claim",
        "adopt",
        "run-again",
        "claim",
    ]


def test_a_repeatable_run_goes_back_into_the_queue_when_its_node_is_stopped(
    mesh: Mesh, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", TWO_ATTEMPTS, str(tmp_path)]
    a, b = mesh.started(a={}, b={"command": command, "repeatable": True})
    task = a.delegate("b", "something")
    until((tmp_path / "pids").exists, lambda: b.task(task))

    assert b.terminate() == 0
    until(lambda: not b.programs(), b.programs)
    b.start()

    done = a.final(task, AFTER_A_PAUSE_S)
    assert (done["result"], done["attempt"]) == ("alone", 2)


def test_a_run_that_may_not_be_repeated_fails_when_its_node_is_stopped(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sleep", "1000"]})
    task = a.delegate("b", "something")
    b.in_state(task, "working")

    assert b.terminate() == 0
    until(lambda: not b.programs(), b.programs)
    b.start()

    failed = a.final(task, AFTER_A_PAUSE_S)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "interrupted")


def test_one_dead_peer_holds_up_no_other(mesh: Mesh) -> None:
    a, b, _ = mesh.of(a={}, b={}, dead={})
    a.start()
    b.start()
    for number in range(20):
        a.delegate("dead", f"number {number}")

    done = a.final(a.delegate("b", "quick"))

    assert done["result"] == "quick"
    assert done["finishedAt"] - done["createdAt"] < 2000


def test_messages_outlive_a_crash_of_either_side(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    a.start()

    queued = a.lanmesh("send", "b", "are you there?", "--json")
    a.restart()
    b.start()
    until(lambda: b.op("GET", "/op/messages").json, b.log.read_text, AFTER_A_PAUSE_S)
    b.restart()

    assert queued.json["state"] == "queued"
    said = b.lanmesh("inbox", "--json").json
    assert [(message["sender"], message["text"]) for message in said] == [("a", "are you there?")]


def test_a_node_that_dies_right_after_it_took_a_task_has_it(mesh: Mesh) -> None:
    node = mesh.lone().start()
    for _ in range(3):
        task = envelope("kept")

        taken = node.give(task)
        node.kill()
        node.start()

        assert taken.status == 202
        ended = node.final(task["id"])
        assert ended["state"] == "completed" or ended["error"]["code"] == "interrupted"
