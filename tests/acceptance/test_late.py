"""What comes late, between real processes: it counts, whoever was killed and whatever was given up before."""

import json
import signal
import time
from pathlib import Path

import apsw
import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess

AFTER_A_LOOK_S = 90.0
"""By then a node that nobody tells anything has looked at its peers by itself, twice."""

AFTER_GATE = ["sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.02; done; echo done']
"""A command that ends once a file is there."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def let_time_pass(node: NodeProcess, task: str, state: str) -> None:
    """Make the request of a task as old as its patience, with its answer lost if `state` says so.

    The node must not run: its file is changed as a day would have changed it.
    """
    (path,) = node.home.rglob("mesh.db")
    connection = apsw.Connection(str(path))
    with connection:
        connection.execute(
            "UPDATE outbox SET state = ?, due_at = ?2, expires_at = ?2, settled_at = NULL WHERE wire_id = ?",
            (state, time.time() - 1, task),
        )
        assert connection.changes() == 1
    connection.close()


def test_a_result_counts_that_was_made_after_its_request_was_given_up_while_its_asker_was_dead(
    mesh: Mesh, gate: Path
) -> None:
    a, b = mesh.started(a={}, b={"command": [*AFTER_GATE, str(gate)]})
    task = a.delegate("b", "something")
    b.in_state(task, "working")

    a.kill()
    let_time_pass(a, task, "unknown")
    b.signal(signal.SIGSTOP)
    a.start()
    given_up = a.final(task)
    a.kill()
    b.signal(signal.SIGCONT)
    gate.touch()
    b.in_state(task, "completed")
    a.start()

    late = a.in_state(task, "completed", within_s=AFTER_A_LOOK_S)
    assert (given_up["state"], given_up["assumed"], given_up["error"]["code"]) == ("failed", True, "unknown")
    assert (late["result"], late["assumed"], late["error"]) == ("done", False, None)
    assert late["delivery"]["state"] == "delivered"
    assert len(b.op("GET", "/op/tasks").json) == 1


def test_a_request_that_expired_is_listed_told_and_sent_again(mesh: Mesh) -> None:
    a, b = mesh.of(a={}, b={})
    a.start()
    task = a.delegate("b", "still wanted")
    a.kill()
    let_time_pass(a, task, "queued")
    a.start()
    given_up = a.final(task)

    shown, status = a.lanmesh("outbox").out, a.lanmesh("status").out
    (listed,) = json.loads(a.lanmesh("outbox", "--json").out)
    b.start()
    again = a.lanmesh("resend", task[:8])

    assert (given_up["error"]["code"], given_up["assumed"]) == ("expired", True)
    assert task[:8] in shown
    assert "expired, given up" in shown
    assert "1 not delivered" in status
    assert (listed["id"], listed["state"], listed["type"]) == (task, "expired", "task")
    assert (again.status, again.out) == (0, f"task {task[:8]} to b is sent again\n")
    assert a.in_state(task, "completed", within_s=AFTER_A_LOOK_S)["result"] == "still wanted"
    assert a.lanmesh("outbox").out == "nothing waits, and nothing failed\n"
    assert a.lanmesh("resend", task).status == 5


def test_a_result_arrives_where_nobody_waits_and_its_doer_knows_no_way_to_its_asker(
    mesh: Mesh, gate: Path
) -> None:
    a, b = mesh.of(a={}, b={"command": [*AFTER_GATE, str(gate)]})
    b.write_settings({**b.settings, "peers": {}})
    a.start()
    b.start()
    task = a.delegate("b", "come and get it")
    b.in_state(task, "working")
    a.in_state(task, "working", within_s=AFTER_A_LOOK_S)

    a.kill()
    gate.touch()
    b.in_state(task, "completed")
    a.start()

    assert a.in_state(task, "completed", within_s=AFTER_A_LOOK_S)["result"] == "done"
