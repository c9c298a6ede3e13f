"""What a run of the command is given, what becomes of its output, and what ends it."""

import json
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Json, NodeProcess, envelope, until

Pair = tuple[NodeProcess, NodeProcess]
Trio = tuple[NodeProcess, NodeProcess, NodeProcess]


def result(pair: Pair, script: str, **more: object) -> Json:
    """Return a task as its asker has it once b has run a script for it."""
    a, _ = pair
    return a.final(a.delegate("b", script, **more))


def test_a_run_beyond_its_deadline_fails_in_time_and_leaves_no_process(pair: Pair) -> None:
    _, b = pair

    ended = result(pair, "sleep 30 & sleep 30; echo never", timeout=1000)

    assert (ended["state"], ended["error"]["code"]) == ("failed", "timed-out")
    assert 1000 <= ended["finishedAt"] - ended["startedAt"] < 2500
    assert not b.programs()


def test_a_nonzero_exit_is_a_failure_with_the_end_of_stderr(pair: Pair) -> None:
    ended = result(pair, "seq 100000 >&2; echo 'the disk is full' >&2; echo partial; exit 3")

    assert (ended["state"], ended["error"]["code"], ended["result"]) == ("failed", "command-failed", None)
    assert ended["error"]["detail"].startswith("exit status 3: ")
    assert ended["error"]["detail"].endswith("\n100000\nthe disk is full")
    assert len(ended["error"]["detail"]) < 5000


def test_a_run_that_is_killed_is_a_failure(pair: Pair) -> None:
    ended = result(pair, "kill -9 $$")

    assert ended["error"] == {"code": "command-failed", "detail": "ended by signal SIGKILL"}


def test_two_megabytes_of_output_arrive_cut(pair: Pair) -> None:
    a, b = pair

    ended = result(pair, "yes 0123456789abcde | head -c 2000000")

    assert (ended["state"], ended["truncated"]) == ("completed", True)
    assert 400_000 < len(ended["result"]) <= 512_000
    assert ended["result"].startswith("0123456789abcde\n0123")
    said = a.lanmesh("task", ended["id"])
    assert said.out.endswith(ended["result"] + "\n")
    assert "all of it is in the file result.txt" in said.err
    until(lambda: a.task(ended["id"])["files"][0]["settled"], lambda: a.task(ended["id"]))
    whole = Path(a.task(ended["id"])["files"][0]["place"])
    assert whole.read_text() + "\n" == ("0123456789abcde\n" * 125_000)
    until(lambda: b.task(ended["id"])["delivery"]["state"] == "delivered", lambda: b.task(ended["id"]))


def test_half_a_megabyte_that_json_makes_three_of_arrives_cut_too(pair: Pair) -> None:
    ended = result(pair, "head -c 500000 /dev/zero")

    assert (ended["state"], ended["truncated"]) == ("completed", True)
    assert set(ended["result"]) == {"\0"}


@pytest.mark.parametrize(
    "text", ["天气 🌤️ für señor", "quotes \" and \\ and $(id) `id` '", "tab\tand\r\n\r\nlines"]
)
def test_any_text_goes_to_the_program_and_comes_back_unchanged(pair: Pair, text: str) -> None:
    ended = result(pair, f"cat <<'end-of-text'\n{text}\nend-of-text")

    assert ended["result"] == text


def test_the_text_of_a_task_is_never_an_argument(mesh: Mesh) -> None:
    node = mesh.lone(
        {"node": {"command": ["sh", "-c", 'echo "$#: $*"; cat', "name", "{taskId}", "--"]}}
    ).start()
    task = envelope("--help; rm -rf /nonexistent {taskId}")

    node.give(task)

    done = node.final(task["id"])
    assert done["result"] == f"2: {done['id']} --\n--help; rm -rf /nonexistent {{taskId}}"


def test_the_environment_of_a_run_holds_ids_and_no_secret(mesh: Mesh) -> None:
    node = mesh.lone({"node": {"command": ["env"]}}, SOME_API_KEY="in-the-file")
    secret = dict.fromkeys(("OPENCLAW_LAN_TOKEN", "ANTHROPIC_API_KEY", "LANG_OF_MINE"), "inherited")
    node.start(environ={**secret, "LC_TIME": "C"})
    task = envelope(rootId="the-beginning")

    node.give(task)

    done = node.final(task["id"])
    variables = dict(line.split("=", 1) for line in done["result"].split("\n"))
    assert variables["LANMESH_TASK_ID"] == done["id"]
    assert variables["LANMESH_ROOT_ID"] == "the-beginning"
    assert variables["LANMESH_ATTEMPT"] == "1"
    assert variables["LANMESH_STATE_DIR"] == str(node.state)
    assert variables["LC_TIME"] == "C"
    assert not {"SOME_API_KEY", *secret} & set(variables)
    assert "inherited" not in done["result"]


def test_a_program_that_is_not_there_is_named(mesh: Mesh) -> None:
    node = mesh.lone({"node": {"command": ["no-such-program"]}}).start()
    task = envelope(payload={"mode": "wait"})

    answer = node.give(task)

    assert (answer.status, answer.json["state"]) == (200, "failed")
    assert answer.json["error"]["code"] == "command-failed"
    assert "no-such-program" in answer.json["error"]["detail"]


def test_what_a_run_leaves_behind_ends_with_it(pair: Pair) -> None:
    _, b = pair

    ended = result(pair, "sleep 1000 & echo gone")

    assert (ended["state"], ended["result"]) == ("completed", "gone")
    until(lambda: not b.programs(), b.programs)


def test_no_more_runs_at_a_time_than_were_set_and_the_oldest_first(mesh: Mesh, tmp_path: Path) -> None:
    node = mesh.lone({"node": {"command": ["sh"], "concurrency": 1}}).start()
    script = f"echo in >> {tmp_path}/log; sleep 0.05; echo out >> {tmp_path}/log; :"
    tasks = [envelope(f"{script} {number}") for number in range(4)]

    for task in tasks:
        node.give(task)
    ended = [node.final(task["id"]) for task in tasks]

    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 4
    assert ended == sorted(ended, key=lambda view: view["startedAt"])


def test_a_full_queue_refuses_what_is_new_for_now(mesh: Mesh, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    node = mesh.lone({"node": {"command": ["sh"], "concurrency": 1, "maxWaiting": 1}}).start()
    running, waiting = envelope(f'while [ ! -e "{gate}" ]; do sleep 0.02; done'), envelope("echo done")
    node.give(running)
    node.in_state(running["id"], "working")
    node.give(waiting)

    full = node.give(envelope())
    repeated = node.give(waiting)
    gate.touch()

    assert (full.status, full.json["code"]) == (429, "too-busy")
    assert int(full.headers["Retry-After"]) > 0
    assert repeated.status == 202
    assert node.final(waiting["id"])["result"] == "done"


# --- chains --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trio(shared_mesh: Mesh) -> Trio:
    """Three nodes that run scripts."""
    a, b, c = shared_mesh.started(a={"command": ["sh"]}, b={"command": ["sh"]}, c={"command": ["sh"]})
    return a, b, c


def test_a_run_may_delegate_onward_and_the_chain_is_known(trio: Trio) -> None:
    a, b, c = trio

    task = a.delegate("b", 'lanmesh delegate c "echo from the end" --wait 10')
    done = a.final(task)

    assert (done["state"], done["result"]) == ("completed", "from the end")
    assert (done["rootId"], done["path"], done["hops"]) == (task, ["a"], 1)
    at_b = b.task(task)
    onward = next(each for each in b.op("GET", "/op/tasks").json if each["parent"] == at_b["id"])
    at_c = c.task(onward["id"])
    assert (onward["direction"], onward["peer"]) == ("asked", "c")
    assert (at_c["rootId"], at_c["path"], at_c["hops"]) == (task, ["a", "b"], 2)


def test_a_chain_does_not_come_back(trio: Trio) -> None:
    a, *_ = trio
    before = len(a.op("GET", "/op/tasks").json)

    ended = a.final(a.delegate("b", "lanmesh delegate a 'echo again' --json 2>&1; echo status $?"))

    problem, _, status = ended["result"].rpartition("\n")
    assert json.loads(problem)["code"] == "chain-refused"
    assert status == "status 5"
    assert len(a.op("GET", "/op/tasks").json) == before + 1


def test_a_longer_chain_does_not_come_back_either(trio: Trio) -> None:
    a, *_ = trio
    back = "lanmesh delegate a 'echo again' --wait 5 2>&1; true"

    ended = a.final(a.delegate("b", f'lanmesh delegate c "{back}" --wait 10'))

    assert "this task came from a: a > b" in ended["result"]


def test_a_run_cannot_take_the_decisions_of_the_owner(trio: Trio) -> None:
    a, b, _ = trio
    script = "for verb in 'accept off' 'approve 1234' 'deny 1234'; do lanmesh $verb 2>&1; echo $?; done"

    ended = a.final(a.delegate("b", script))

    assert ended["result"].split("\n")[1::2] == ["4", "4", "4"]
    assert "owner's decision" in ended["result"]
    assert b.op("GET", "/op/status").json["acceptMode"] == "auto"


def test_a_run_may_read_and_write(trio: Trio) -> None:
    a, _, c = trio

    ended = a.final(a.delegate("b", "lanmesh send c 'from a run' && lanmesh peers --json"))

    sent, _, peers = ended["result"].partition("\n")
    assert sent == "delivered: c has it"
    assert [peer["id"] for peer in json.loads(peers)] == ["a", "c"]
    assert "from a run" in [mail["text"] for mail in c.op("GET", "/op/messages").json]
