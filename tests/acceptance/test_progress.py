"""Progress between real nodes: the asker sees it while the program still runs."""

import asyncio
import http.client
import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lanmesh.client import Client
from lanmesh.locations import StateFolder
from lanmesh.model.draft import Passage
from lanmesh.protocol.views import EventView, TaskView
from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import ANSWER_S, LANMESH, NodeProcess, envelope, http_connection, until
from tests.acceptance.terminal import lanmesh_on_a_terminal

Pair = tuple[NodeProcess, NodeProcess]
PATIENCE_S = 30.0


def slow(folder: Path) -> str:
    """Return a script that says something, then waits until the test lets it go on."""
    go = shlex.quote(str(folder / "go"))
    return f"echo half of it >&2; until [ -e {go} ]; do sleep 0.05; done; echo all of it"


@contextmanager
def events_of(
    port: int, path: str, token: str, after: int | None = None, *, tls: bool = True
) -> Iterator[Iterator[Any]]:
    """Read a stream of events, but for drafts: name, version and data of each."""
    connection = (
        http_connection(port, ANSWER_S)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    )
    headers = {"Authorization": f"Bearer {token}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        yield _events(answer)
    finally:
        connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[Any]:
    fields: dict[str, str] = {}
    while line := answer.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line != "\n":
            fields[name] = value
        elif "data" in fields:
            if fields["event"] != "draft":
                yield fields["event"], int(fields["id"].partition(".")[0]), json.loads(fields["data"])
            fields = {}


def seen_until(events: Iterator[Any], name: str) -> list[Any]:
    """Return what comes, up to the first event of that name."""
    seen = []
    for event in events:
        seen.append(event)
        if event[0] == name:
            return seen
    raise AssertionError(f"the stream ended without {name}: {seen}")


def test_the_progress_of_a_program_is_seen_at_the_asker_before_its_end(pair: Pair, tmp_path: Path) -> None:
    a, _ = pair
    task = a.delegate("b", slow(tmp_path))

    with events_of(a.operator_port, f"/op/tasks/{task}/events", a.operator_token, tls=False) as events:
        *_, (_, _, words) = seen_until(events, "progress")
        shown = a.task(task)
        (tmp_path / "go").touch()
        *_, (_, _, end) = seen_until(events, "end")

    assert words["detail"] == "half of it"
    assert (shown["state"], shown["progress"], shown["result"]) == ("working", "half of it", None)
    assert (end["state"], end["progress"], end["result"]) == ("completed", None, "all of it")


@pytest.mark.parametrize("verb", ["delegate", "task"])
def test_the_command_line_tells_progress_while_it_waits(pair: Pair, tmp_path: Path, verb: str) -> None:
    a, _ = pair
    if verb == "delegate":
        command = [LANMESH, "delegate", "b", slow(tmp_path), "--wait", "60"]
    else:
        command = [LANMESH, "task", a.delegate("b", slow(tmp_path)), "--follow"]
    told = tmp_path / "told"
    with told.open("wb") as errors:
        running = subprocess.Popen(
            command, env=a.environ(), cwd=a.home, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        until(lambda: "  half of it\n" in told.read_text(), told.read_text, PATIENCE_S)
        (tmp_path / "go").touch()
        out, _ = running.communicate(timeout=PATIENCE_S)
    finally:
        running.kill()
        running.communicate()

    assert (running.returncode, out) == (0, "all of it\n")
    assert told.read_text().count("half of it") == 1


def test_following_a_task_that_fails_ends_with_1(pair: Pair) -> None:
    a, _ = pair
    task = a.delegate("b", "echo trouble >&2; exit 3")

    said = a.lanmesh("task", task, "--follow")
    again = a.lanmesh("task", task, "--follow", "--json")

    assert (said.status, said.out) == (1, "")
    assert "lanmesh: failed: exit status 3: trouble" in said.err
    assert (again.status, again.json["state"]) == (1, "failed")


def test_a_stream_ends_when_its_node_stops(mesh: Mesh, tmp_path: Path) -> None:
    b = mesh.lone({"node": {"command": ["sh"]}})
    b.start()
    sent = envelope(slow(tmp_path))
    b.give(sent)
    with events_of(b.port, f"/lan/task/{sent['id']}/events", b.token) as events:
        seen_until(events, "progress")
        assert b.terminate() == 0
        left = list(events)

    assert [name for name, _, _ in left] in ([], ["end"])  # the run was interrupted by the stop


def test_the_python_library_yields_what_happens_and_last_the_finished_task(
    pair: Pair, tmp_path: Path
) -> None:
    a, _ = pair
    task = a.delegate("b", slow(tmp_path))

    async def follow() -> list[EventView | TaskView]:
        seen: list[EventView | TaskView] = []
        async with asyncio.timeout(PATIENCE_S), Client(StateFolder(path=a.state)) as node:
            async for news in node.events(task):
                if isinstance(news, Passage):
                    continue
                seen.append(news)
                if isinstance(news, EventView) and news.event == "progress":
                    (tmp_path / "go").touch()
            assert [news async for news in node.events(task, after=seen[-1].version)] == []
            assert [news async for news in node.events(task, after=seen[-2].version)] == seen[-1:]
        return seen

    *happened, end = asyncio.run(follow())

    assert isinstance(end, TaskView)
    assert (end.state, end.result) == ("completed", "all of it")
    assert "half of it" in [news.detail for news in happened if isinstance(news, EventView)]


def test_on_a_terminal_the_words_stand_in_place_and_cannot_play_tricks(pair: Pair, tmp_path: Path) -> None:
    a, _ = pair
    script = f"printf 'evil\\033[2Jwords\\n' >&2; {slow(tmp_path)}"
    with lanmesh_on_a_terminal(a, ["delegate", "b", script, "--wait", "60"]) as (running, terminal):
        terminal.shows("half of it")
        (tmp_path / "go").touch()
        out, _ = running.communicate(timeout=PATIENCE_S)

    assert (running.returncode, out) == (0, b"all of it\n")
    assert b"\x1b[2J" not in terminal.told
    assert b"working" in terminal.told


def test_a_caller_goes_on_with_a_stream_after_the_node_was_killed(mesh: Mesh, tmp_path: Path) -> None:
    b = mesh.lone({"node": {"command": ["sh"], "repeatable": True}})
    b.start()
    sent = envelope(slow(tmp_path))
    path = f"/lan/task/{sent['id']}/events"
    assert b.give(sent).status == 202
    with events_of(b.port, path, b.token) as events:
        before = seen_until(events, "progress")
    b.restart()
    with events_of(b.port, path, b.token, before[-1][1]) as events:
        after = seen_until(events, "progress")
        (tmp_path / "go").touch()
        after += seen_until(events, "end")
    with events_of(b.port, path, b.token) as events:
        whole = seen_until(events, "end")

    assert before + after == whole
    assert [number for _, number, _ in whole] == sorted({number for _, number, _ in whole})
    assert [data["state"] for name, _, data in after if name == "state"] == [
        "working",
        "submitted",
        "working",
    ]
    assert whole[-1][2]["result"] == "all of it"


def test_a_last_event_id_that_is_none_is_refused(pair: Pair) -> None:
    _, b = pair
    sent = envelope("echo")
    b.give(sent)

    answer = b.lan(
        "GET", f"/lan/task/{sent['id']}/events", token=b.token, headers={"Last-Event-ID": "the last"}
    )

    assert answer.status == 400
    assert answer.json["detail"] == "Last-Event-ID must be the id of an event, or 0"
