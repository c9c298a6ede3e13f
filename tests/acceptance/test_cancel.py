"""Real programs that are ended before their time, on this node and down a chain of nodes."""

import signal
import sys
from pathlib import Path

import psutil

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess, envelope, until

LONG_S = 30.0
"""A busy machine may be slow to start and to end programs."""

STUBBORN = "trap '' TERM; (trap '' TERM; sleep 600) & (trap '' TERM; sleep 600) & wait; sleep 600"
"""Ignores SIGTERM, as do its children."""


def running(node: NodeProcess, least: int = 1) -> list[psutil.Process]:
    """Return the programs of a node's tasks, once there are so many."""

    def found() -> list[psutil.Process]:
        programs = node.programs()
        return programs if len(programs) >= least else []

    return until(found, node.programs, LONG_S)


def canceled(node: NodeProcess, task: str) -> None:
    ended = node.final(task, within_s=LONG_S)
    assert (ended["state"], ended["canceling"]) == ("canceled", None), ended


def test_a_program_that_ignores_being_asked_is_killed_with_its_children(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh"]})
    task = a.delegate("b", STUBBORN)
    running(b, 3)

    said = a.lanmesh("cancel", task[:8], "--wait", "30")

    assert (said.status, said.out) == (0, f"task {task[:8]}: canceled\n"), said
    assert not b.programs()
    canceled(b, task)
    canceled(a, task)


def test_the_owner_of_a_node_cancels_what_is_done_there(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh"]})
    task = a.delegate("b", "sleep 600")
    running(b)

    said = b.lanmesh("cancel", task, "--wait", "30", "--json")

    assert (said.status, said.json["state"]) == (0, "canceled")
    canceled(a, task)
    assert a.task(task)["error"] == {"code": "canceled", "detail": "the owner of b canceled it"}
    assert not b.programs()


def test_a_chain_of_three_nodes_is_canceled_from_its_beginning(mesh: Mesh) -> None:
    a, b, c = mesh.started(a={}, b={"command": ["sh"]}, c={"command": ["sh"]})
    task = a.delegate("b", "lanmesh delegate c 'sleep 600' --wait 600")
    running(c)

    said = a.lanmesh("cancel", task, "--wait", "30")

    assert said.status == 0, said
    until(lambda: not b.programs() and not c.programs(), lambda: (b.programs(), c.programs()), LONG_S)
    (asked,) = [view for view in b.op("GET", "/op/tasks").json if view["direction"] == "asked"]
    canceled(b, asked["id"])
    canceled(c, asked["wireId"])
    assert c.task(asked["wireId"])["error"]["detail"] == '"b" canceled it'


def test_a_cancel_waits_for_a_node_that_is_down_and_stops_what_it_left_running(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh"], "repeatable": True})
    task = a.delegate("b", "sleep 600")
    running(b)
    b.kill()

    said = a.lanmesh("cancel", task, "--wait", "0.1")
    a.restart()
    assert (said.status, a.task(task)["canceling"]) == (7, "the owner of a canceled it"), said
    b.start()

    canceled(a, task)
    canceled(b, task)
    until(lambda: not b.programs(), b.programs, LONG_S)


def test_a_node_that_is_killed_while_it_stops_a_program_ends_it_at_its_next_start(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh"], "repeatable": True})
    task = a.delegate("b", STUBBORN)
    running(b, 3)

    a.op("POST", f"/op/tasks/{task}/cancel")
    until(lambda: b.task(task)["canceling"], lambda: b.task(task))
    b.restart()

    canceled(a, task)
    until(lambda: not b.programs(), b.programs, LONG_S)
    assert [event["event"] for event in b.task(task)["events"]].count("claim") == 1


def test_a_cancel_that_overtakes_its_task_is_kept_over_a_crash(mesh: Mesh) -> None:
    node = mesh.lone({"node": {"command": ["sh"]}}).start()
    task = envelope("echo done")
    wish = {**task, "id": "the-cancel", "type": "cancel", "payload": {"taskId": task["id"]}}

    first = node.lan("POST", f"/lan/task/{task['id']}/cancel", wish, token=node.token)
    node.restart()
    answer = node.give(task)

    assert (first.status, first.json["state"]) == (200, "canceled")
    assert (answer.status, answer.json["state"]) == (200, "canceled")
    assert node.task(task["id"])["attempt"] == 0


def test_a_request_that_waits_for_a_node_that_is_off_is_withdrawn(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={"command": ["sh"]})
    a.start()
    task = a.delegate("b", "echo done")

    def is_queued() -> bool:
        request = a.task(task)["delivery"]
        return bool(request["state"] == "queued" and request["error"])

    until(is_queued, lambda: a.task(task))

    said = a.lanmesh("cancel", task)

    assert (said.status, said.out) == (0, f"task {task[:8]}: canceled\n")
    assert a.task(task)["delivery"]["state"] == "withdrawn"
    assert b.process is None


def test_a_run_may_cancel_what_it_asked_for_and_nothing_else(mesh: Mesh, tmp_path: Path) -> None:
    script = (
        "given=$(lanmesh delegate b 'sleep 600' --json | "
        f"{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[\"id\"])'); "
        "lanmesh cancel $given --wait 30; lanmesh cancel $LANMESH_TASK_ID 2>&1; echo $?"
    )
    a, b = mesh.started(a={"command": ["sh"]}, b={"command": ["sh"]})
    task = envelope(script)

    a.give(task)
    ended = a.final(task["id"], within_s=LONG_S)

    lines = ended["result"].splitlines()
    assert lines[0].endswith(": canceled"), ended
    assert "LANMESH_TASK_ID" in ended["result"]
    assert lines[-1] == "4"
    assert ended["state"] == "completed"
    until(lambda: not b.programs(), b.programs, LONG_S)


def test_a_node_that_is_asked_to_stop_in_the_midst_of_a_cancel_stops(mesh: Mesh) -> None:
    a, b = mesh.started(a={}, b={"command": ["sh"]})
    task = a.delegate("b", STUBBORN)
    running(b, 3)
    a.op("POST", f"/op/tasks/{task}/cancel")
    until(lambda: b.task(task)["canceling"], lambda: b.task(task))

    b.signal(signal.SIGTERM)
    assert b.ended(LONG_S) == 0

    b.start()
    canceled(a, task)
    assert not b.programs()
