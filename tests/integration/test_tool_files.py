"""Files in the agent's tools: what it may send, and where it finds what came."""

import asyncio
import re
from pathlib import Path

import pytest

from lanmesh.model.file import FileRef
from lanmesh.model.ids import Origin
from lanmesh.model.task import TaskState
from lanmesh.protocol import sessions
from lanmesh.shelf import Shelf
from tests.fakes import Mesh, NodeUnderTest, a_task, proven, soon, until
from tests.integration.agent import Agent, an_agent
from tests.integration.desk import CAT, Maker, a_file, two


def found(text: str) -> dict[str, bytes]:
    """Return the files whose places a tool tells, each by its name."""
    paths = map(Path, re.findall(r"^\| (/.*)$", text, re.MULTILINE))
    return {path.name: path.read_bytes() for path in paths}


def desk(mesh: Mesh, agent: Agent) -> None:
    """Let the agent work in a folder where a file lies."""
    a_file(mesh, "cat.jpg")
    agent.workspace = str(mesh.folder / "desk")


async def test_a_file_goes_with_a_task_and_the_answer_names_what_came_back(mesh: Mesh) -> None:
    maker = Maker(("dog.jpg", b"dog" * 1000))
    a, _ = await two(mesh, maker)
    async with an_agent(a) as agent:
        desk(mesh, agent)

        said = await agent.outcome(files=["cat.jpg"])

        assert maker.got == {"cat.jpg": CAT}
        assert "1 file came with it. On this machine, under names that the peer chose:" in said["text"]
        assert 'file names from "b">>>' in said["text"]
        assert found(said["text"]) == {"dog.jpg": b"dog" * 1000}
        assert a.task(said["task"]).read_at is not None


async def test_an_answer_whose_files_are_still_to_come_is_open_until_they_are_here(mesh: Mesh) -> None:
    a, b = await two(mesh, Maker(("dog.jpg", b"dog")))
    b.file_link.cut_after = 1
    async with an_agent(a) as agent:
        said = await soon(agent.begin("lan_delegate", peer="b", task="count"))
        await until(lambda: a.task(said["task"]).final)
        coming = await agent.call("lan_task", task=said["task"])
        waiting = agent.begin("lan_task", task=said["task"], action="wait")
        await until(lambda: 25.0 in mesh.clock.pauses)
        unread = a.task(said["task"]).read_at is None
        b.file_link.cut_after = None
        here = coming
        while here["open"]:  # the disk is a real one, and may take longer than the clock of the mesh
            while not waiting.done():
                await mesh.clock.advance(1)
            here = await soon(waiting)
            waiting = agent.begin("lan_task", task=said["task"], action="wait")
        waiting.cancel()

        assert coming["open"] is True
        assert "| dog.jpg: still on its way" in coming["text"]
        assert unread
        assert here["open"] is False
        assert found(here["text"]) == {"dog.jpg": b"dog"}


async def test_a_file_goes_with_a_message_and_the_inbox_names_its_place(mesh: Mesh) -> None:
    a, b = await two(mesh)
    async with an_agent(a) as agent, an_agent(b) as other:
        desk(mesh, agent)

        said = await agent.text("lan_send", peer="b", text="look", files=["cat.jpg"])
        (mail,) = b.node.mail.inbox(1)
        await until(lambda: b.node.files.of_message(Origin("a"), mail.id)[0].settled)

        assert said == "Message to b: delivered. 1 file will follow."
        assert found(await other.text("lan_inbox")) == {"cat.jpg": CAT}


class SlowShelf(Shelf):
    """A disk that copies nothing until it is told to."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh.folder / "a.blobs", mesh.folder / "a.work")
        self.asked, self.told, self.kept = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def keep(self, path: Path, name: str) -> FileRef:
        self.asked.set()
        await self.told.wait()
        ref = await super().keep(path, name)
        self.kept.set()
        return ref


@pytest.mark.parametrize(("tool", "what"), [("lan_send", "text"), ("lan_delegate", "task")])
async def test_a_call_that_is_given_up_while_its_files_are_copied_sends_nothing(
    mesh: Mesh, tool: str, what: str
) -> None:
    """Its caller takes it for not done and may ask again: so it must not be done twice."""
    a = mesh.describe("a", peers=["b"])
    a.shelf = shelf = SlowShelf(mesh)
    await a.start()
    async with an_agent(a) as agent:
        desk(mesh, agent)
        asking = agent.begin(tool, peer="b", files=["cat.jpg"], **{what: "look"})
        await soon(shelf.asked.wait())
        asking.cancel()
        await soon(asyncio.wait({asking}))
        await agent.text("lan_inbox")  # came later than the end of that call: the node has seen both

        shelf.told.set()
        await soon(shelf.kept.wait())

    assert a.node.mail.outbox(10) == []
    assert a.node.tasks.page(10) == []


async def test_an_agent_sends_files_of_its_workspace_only_and_nothing_hidden(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    async with an_agent(a) as agent:
        desk(mesh, agent)
        a_file(mesh, ".ssh/id_ed25519", b"secret")
        a_file(mesh, "../outside", b"secret")
        (mesh.folder / "desk" / "way-out").symlink_to(mesh.folder / "outside")
        for path in ("../outside", str(mesh.folder / "outside"), "way-out", ".ssh/id_ed25519", "/etc/passwd"):
            for tool, args in (("lan_send", {"text": "x"}), ("lan_delegate", {"task": "x"})):
                refused = await agent.ask(tool, peer="b", files=["cat.jpg", path], **args)

                assert (refused.status, refused.code) == (403, "not-allowed"), path
                assert path in refused.json["detail"]
        missing = await agent.ask("lan_send", peer="b", text="x", files=["dog.jpg"])

        assert (missing.status, missing.code) == (400, "invalid-request")
        assert a.node.tasks.page(10) == []
        assert a.node.mail.outbox(10) == []


@pytest.mark.parametrize("workspace", [None, "", "desk"])
async def test_without_a_workspace_no_file_is_sent(mesh: Mesh, workspace: str | None) -> None:
    a, _ = await two(mesh)
    async with an_agent(a) as agent:
        agent.workspace = workspace

        refused = await agent.ask("lan_send", peer="b", text="x", files=[a_file(mesh)])

        assert (refused.status, refused.code) == (403, "not-allowed")
        assert "lanmesh send --file" in refused.json["detail"]


async def test_a_subagent_sends_no_file_since_it_may_be_that_of_a_peer_s_task(mesh: Mesh) -> None:
    a, _ = await two(mesh)
    async with an_agent(a, "agent:main:subagent:7f3a") as agent:
        desk(mesh, agent)

        refused = await agent.ask("lan_send", peer="b", text="x", files=["cat.jpg"])

        assert (refused.status, refused.code) == (403, "not-allowed")


async def working(b: NodeUnderTest) -> Path:
    """Have a node work on a task of a's, and return the task's folder."""
    b.executor.hold()
    await b.receive(a_task(sender="a"), proven("a"))
    await until(lambda: len(b.executor.runs) == 1)
    return b.shelf.folder(b.task("t-1").local_id, "made").parent


async def test_a_task_of_a_peer_sends_nothing_but_its_own_files(mesh: Mesh) -> None:
    """What a peer asks for sends neither the agent's workspace nor `~/.ssh`, nor another task's files."""
    _, b = await two(mesh)
    own = await working(b)
    other = own.parent / "another-task" / "made" / "x"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"secret")
    async with an_agent(b, sessions.of_task("main", b.task("t-1").local_id)) as agent:
        desk(mesh, agent)
        home = str(Path.home() / ".ssh" / "id_ed25519")
        for path in ("cat.jpg", str(mesh.folder / "desk" / "cat.jpg"), "../another-task/made/x", home):
            answers = [
                await agent.ask("lan_task_reply", result="here", files=[path]),
                await agent.ask("lan_delegate", peer="a", task="keep this", files=[path]),
                await agent.ask("lan_send", peer="a", text="here", files=[path]),
            ]

            assert {answer.status for answer in answers} <= {400, 403}, path
        assert b.task("t-1").state is TaskState.WORKING
        assert b.node.mail.outbox(10) == []

        # Nor by the name of a session that does no task of this node.
        for name in ("../../../desk", "another-task"):
            agent.session = f"agent:main:lan-task:{name}"
            refused = await agent.ask("lan_send", peer="a", text="here", files=["made/x"])
            assert (refused.status, refused.code) == (404, "task-not-found"), name


async def test_a_reply_takes_along_what_lies_in_the_folder_for_that_and_what_it_names(mesh: Mesh) -> None:
    a, b = await two(mesh)
    async with an_agent(a) as asker:
        b.executor.hold()
        given = await soon(asker.begin("lan_delegate", peer="b", task="count"))
        await until(lambda: len(b.executor.runs) == 1)
        run = b.executor.runs[0]
        own = b.shelf.folder(run.local_id, "made").parent
        for name, content in (("made/dog.jpg", b"dog"), ("made/.hidden", b"h"), ("notes.txt", b"notes")):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_bytes(content)
        async with an_agent(b, sessions.of_task("main", run.local_id)) as doer:
            said = await doer.call(
                "lan_task_reply", result="42", files=["notes.txt", str(own / "made" / "dog.jpg")]
            )
            again = await doer.call("lan_task_reply", result="42", files=["notes.txt"])
        await until(lambda: a.task(given["task"]).final and a.node.files.complete(given["task"]))

        assert said["text"] == "Replied to a. The task is done. 3 files will follow."
        assert again["text"] == said["text"]
        text = await asker.text("lan_task", task=given["task"])
        assert found(text) == {"_.hidden": b"h", "dog.jpg": b"dog", "notes.txt": b"notes"}
