"""The same task, however often it is sent, is done once and answered alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import Answer, Json, NodeProcess, envelope

COUNTING = ["sh", "-c", 'echo run >> "$0"; cat']


class CountedNode:
    """A node that keeps count of the runs of its command."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self._count = folder / "runs"
        self.node = mesh.lone({"node": {"command": [*COUNTING, str(self._count)]}}).start()

    @property
    def runs(self) -> int:
        return self._count.read_text().count("run\n") if self._count.exists() else 0


@pytest.fixture(scope="module")
def counted(shared_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> CountedNode:
    return CountedNode(shared_mesh, tmp_path_factory.mktemp("count"))


def as_it_is(task: Json) -> Json:
    return task


def with_another_ttl_and_timestamp(task: Json) -> Json:
    return {**task, "ttl": 5000, "timestamp": 1700000000000}


def with_another_spelling(task: Json) -> Json:
    """Return it with fields in another order, and with some that nobody knows."""
    return {**dict(reversed(task.items())), "traceparent": "00-1-2-01", "budget": {"tokens": 5}}


REPEATS = [as_it_is, with_another_ttl_and_timestamp, with_another_spelling]


@pytest.mark.parametrize("repeat", REPEATS)
def test_a_repeat_gets_the_first_answer_and_runs_nothing(
    counted: CountedNode, repeat: Callable[[Json], Json]
) -> None:
    node, before = counted.node, counted.runs
    task = envelope()

    first = node.give(task)
    node.final(task["id"])
    second = node.give(repeat(task))

    assert (first.status, first.json["state"]) == (202, "submitted")
    assert (second.status, second.body) == (first.status, first.body)
    assert counted.runs == before + 1


def test_a_repeat_after_a_crash_gets_the_first_answer_and_runs_nothing(counted: CountedNode) -> None:
    node, before = counted.node, counted.runs
    task = envelope()
    first = node.give(task)
    node.final(task["id"])

    node.restart()
    answers = [node.give(repeat(task)) for repeat in REPEATS]

    assert {(answer.status, answer.body) for answer in answers} == {(first.status, first.body)}
    assert node.task(task["id"])["result"] == "hello"
    assert counted.runs == before + 1


def test_twenty_at_once_are_one(counted: CountedNode) -> None:
    node, before = counted.node, counted.runs
    task = envelope()

    def give(_: int) -> Answer:
        return node.give(task)

    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(give, range(20)))
    node.final(task["id"])

    assert {(answer.status, answer.body) for answer in answers} == {(202, answers[0].body)}
    assert counted.runs == before + 1


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"description": "another"}},
        {"payload": {"description": "hello", "timeout": 5}},
        {"to": "another"},
        {"to": None},
    ],
    ids=["text", "timeout", "recipient", "no recipient"],
)
def test_an_id_that_was_used_for_something_else_is_refused(counted: CountedNode, change: Json) -> None:
    node, before = counted.node, counted.runs
    task = envelope()
    node.give(task)
    stands = node.final(task["id"])

    refused = node.give({**task, **change})

    assert (refused.status, refused.json["code"]) == (409, "id-conflict")
    assert node.task(task["id"]) == stands
    assert counted.runs == before + 1


def test_one_id_of_two_origins_is_two_tasks(mesh: Mesh, tmp_path: Path) -> None:
    own = "token-of-the-desk-alone"
    node: NodeProcess = mesh.lone(
        {"peers": {"desk": {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": "TOKEN_OF_DESK"}}},
        TOKEN_OF_DESK=own,
    ).start()
    by_anybody = envelope("of somebody")
    by_desk = {**envelope("of the desk"), "id": by_anybody["id"], "from": "desk"} | {"to": None}

    node.give(by_anybody)
    taken = node.lan("POST", "/lan/task", by_desk, token=own)

    assert taken.status == 202
    path = f"/lan/task/{by_anybody['id']}?wait=10"
    assert node.lan("GET", path, token=node.token).json["result"] == "of somebody"
    assert node.lan("GET", path, token=own).json["result"] == "of the desk"


def test_what_was_sent_before_a_peer_had_a_token_of_its_own_is_a_repeat_after(
    mesh: Mesh, tmp_path: Path
) -> None:
    counted = CountedNode(mesh, tmp_path)
    node, task = counted.node, envelope(from_="desk")
    first = node.give(task)
    node.final(task["id"])
    node.terminate()
    node.write_settings(
        {
            **node.settings,
            "profile": {"id": "target-agent"},
            "peers": {"desk": {"host": "127.0.0.1", "port": 9, "inboundTokenEnvVar": "TOKEN_OF_DESK"}},
        }
    )
    node.write_variables({**node.variables, "TOKEN_OF_DESK": "token-of-the-desk-alone"})
    node.start()

    second = node.lan("POST", "/lan/task", task, token="token-of-the-desk-alone")

    assert (second.status, second.body) == (first.status, first.body)
    assert counted.runs == 1
