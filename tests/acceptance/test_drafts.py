"""What a program writes is seen by whoever asked for it, before its end: over a live link and by HTTP."""

import asyncio
import shlex
from pathlib import Path

import pytest

from lanmesh.client import Client
from lanmesh.locations import StateFolder
from lanmesh.model.draft import START, Mark, Passage
from lanmesh.protocol.views import EventView, TaskView
from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess
from tests.acceptance.terminal import PATIENCE_S, lanmesh_on_a_terminal
from tests.acceptance.test_live_link import linked, two

Pair = tuple[NodeProcess, NodeProcess]


@pytest.fixture(params=["link", "http"], scope="module")
def way(request: pytest.FixtureRequest, shared_mesh: Mesh) -> Pair:
    """Return two nodes between which there is a live link, or none; the second one runs scripts."""
    if request.param == "http":
        a, b = shared_mesh.started(a={}, b={"command": ["sh"]})
        return a, b
    a, b = two(shared_mesh, b={"command": ["sh"]})
    linked(a, b)
    return a, b


def writing(folder: Path, *texts: str) -> str:
    """Return a script that writes each text once the file of its number is there; no line is ended."""
    steps = [
        f"until [ -e {shlex.quote(str(folder / str(number)))} ]; do sleep 0.05; done; "
        f"printf %s {shlex.quote(text)}"
        for number, text in enumerate(texts)
    ]
    return "; ".join(steps)


@pytest.mark.parametrize("verb", ["delegate", "task"])
def test_the_command_line_shows_on_a_terminal_what_is_being_written(
    way: Pair, tmp_path: Path, verb: str
) -> None:
    a, _ = way
    script = writing(tmp_path, "Once upon", " a time", ".")
    if verb == "delegate":
        command = ["delegate", "b", script, "--wait", "60"]
    else:
        command = ["task", a.delegate("b", script), "--follow"]

    with lanmesh_on_a_terminal(a, command) as (running, terminal):
        for number, shown in enumerate(["Once upon", "Once upon a time"]):
            (tmp_path / str(number)).touch()
            terminal.shows(shown)
            assert running.poll() is None
        (tmp_path / "2").touch()
        out, _ = running.communicate(timeout=PATIENCE_S)

    assert (running.returncode, out) == (0, b"Once upon a time.\n")


def test_a_reader_that_comes_again_misses_nothing_and_has_nothing_twice(way: Pair, tmp_path: Path) -> None:
    a, _ = way
    task = a.delegate("b", writing(tmp_path, "Once upon", " a time", " there was", "."))

    async def read(node: Client, after: int, seen: Mark) -> tuple[int, Passage]:
        """Return the version at which the next passage comes, and that."""
        async for news in node.events(task, after=after, seen=seen):
            if isinstance(news, Passage):
                return after, news
            assert isinstance(news, EventView)
            after = news.version
        raise AssertionError("it has ended")

    async def follow() -> tuple[str, TaskView]:
        version, seen, text = 0, START, ""
        async with asyncio.timeout(PATIENCE_S * 3), Client(StateFolder(path=a.state)) as node:
            for number in range(3):
                (tmp_path / str(number)).touch()
                version, passage = await read(node, version, seen)
                assert passage.offset == len(text)
                seen, text = passage.end, text + passage.text
            (tmp_path / "3").touch()
            *_, end = [news async for news in node.events(task, after=version, seen=seen)]
        assert isinstance(end, TaskView)
        return text, end

    text, end = asyncio.run(follow())

    assert (text, end.result) == ("Once upon a time there was", "Once upon a time there was.")


def test_what_is_written_cannot_play_tricks_on_the_terminal(way: Pair, tmp_path: Path) -> None:
    a, _ = way
    script = writing(tmp_path, "evil\033[2Jwords\033]0;title\007", "")

    with lanmesh_on_a_terminal(a, ["delegate", "b", script, "--wait", "60"]) as (running, terminal):
        (tmp_path / "0").touch()
        terminal.shows("words")
        (tmp_path / "1").touch()
        running.communicate(timeout=PATIENCE_S)

    assert b"\x1b[2J" not in terminal.told
    assert b"\x1b]0;" not in terminal.told
