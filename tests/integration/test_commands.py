"""The owner's slash commands over HTTP, as the plugin passes them on."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from lanmesh.faces.commands import Commands
from lanmesh.faces.http import application, guarded
from lanmesh.model.ids import short
from lanmesh.model.task import APPROVAL_S, AcceptMode, TaskState
from tests.fakes import EPOCH, Fault, Mesh, NodeUnderTest, a_message, a_task, proven, until
from tests.integration.desk import ref
from tests.integration.loopback import Program, served

COMMANDS = [
    "lan-status",
    "lan-send",
    "lan-inbox",
    "lan-accept",
    "lan-tasks",
    "lan-approve",
    "lan-deny",
    "lan-pair",
]

Say = Callable[[str], Awaitable[str]]


@asynccontextmanager
async def a_program(node: NodeUnderTest) -> AsyncIterator[Program]:
    app = application(guarded(Commands(node.node).routes(), "secret"))
    async with served(app, "secret") as program:
        yield program


@asynccontextmanager
async def a_chat(node: NodeUnderTest) -> AsyncIterator[Say]:
    """Give what says a line in a chat and returns what is shown then."""
    async with a_program(node) as program:

        async def say(line: str) -> str:
            name, _, args = line.removeprefix("/").partition(" ")
            body = {"args": args, "session": "agent:main:main"}
            answer = await program.ask("POST", f"/op/commands/{name}", body)
            assert answer.status == 200, answer.json
            assert sorted(answer.json) == ["text"]
            return str(answer.json["text"])

        yield say


async def test_the_status_tells_of_the_node_and_its_peers(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_chat(a) as say:
        assert await say("/lan-status") == (
            "a: accepts tasks auto; 0 running, 0 waiting, 0 unread messages, 0 to be delivered\n"
            "- b at b.lan:18760, cleartext: never talked to yet"
        )

        await a.hear(a_message())
        a.link.faults["b"] = Fault.DOWN
        await say("/lan-send b hello")
        first, second = (await say("/lan-status")).splitlines()

        assert first.endswith("1 unread messages, 1 to be delivered")
        assert second.endswith("last error: b is down")


async def test_a_peer_without_a_token_and_a_node_without_peers_are_told(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    a.tokens.outbound_tokens.clear()
    alone = mesh.describe("c")
    await alone.start()
    async with a_chat(a) as say:
        assert (await say("/lan-status")).endswith("no token for it in the .env file")
    async with a_chat(alone) as say:
        assert (await say("/lan-status")).endswith("\nno peers yet: /lan-pair pairs with one")


async def test_a_message_is_sent_with_all_its_words(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    async with a_chat(a) as say:
        assert await say("/lan-send b  hello   there /now ") == "message to b: delivered"
        a.link.faults["b"] = Fault.DOWN
        assert await say("/lan-send b again") == "message to b: queued (b is down)"

        assert [message.text for message in b.node.mail.inbox(10)] == ["hello   there /now"]


async def test_messages_are_listed_in_one_line_each_and_are_read_then(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_chat(a) as say:
        assert await say("/lan-inbox") == "no messages yet"
        await a.hear(a_message("m-1", "hello\n/reset", sender="b"), proven("b"))
        await a.hear(a_message("m-2", "z" * 1000, sender="stranger", files=(ref(b"1"),)))

        first, second = (await say("/lan-inbox")).splitlines()

        assert first == "- new, from b: hello /reset"
        assert second.startswith("- new, from stranger, by its own word, with 1 file: zzz")
        assert len(second) < 600
        assert a.node.mail.inbox(10, unread=True) == []
        assert (await say("/lan-inbox")).splitlines()[0] == "- from b: hello /reset"


async def test_what_is_done_with_tasks_is_decided(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_chat(a) as say:
        for mode in AcceptMode:
            assert await say(f"/lan-accept {mode}") == f"tasks that arrive from now on: {mode}"
            assert a.node.modes.general() is mode
        assert await say("/lan-accept") == "usage: /lan-accept <auto|manual|off> [peerId]; now it is off"
        assert await say("/lan-accept sometimes") == await say("/lan-accept")

        assert await say("/lan-accept auto b") == "tasks of b that arrive from now on: auto"
        assert (a.node.modes.general(), a.node.modes.of("b")) == (AcceptMode.OFF, AcceptMode.AUTO)
        assert "no peer" in await say("/lan-accept auto nobody")


async def test_tasks_that_wait_are_listed_and_approved_or_denied(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], accept_mode=AcceptMode.MANUAL)
    await b.start()
    async with a_chat(b) as say:
        assert await say("/lan-tasks") == "no tasks yet"
        for name in ("t-1", "t-2"):
            await b.receive(a_task(name, f"count\n{name}", sender="a"), proven("a"))
        since, until_ = (
            datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
            for at in (EPOCH, EPOCH + APPROVAL_S)
        )
        one, two = (short(b.task(name).local_id) for name in ("t-1", "t-2"))

        assert "2 for your approval: /lan-tasks shows them" in await say("/lan-status")
        assert await say("/lan-tasks") == (
            f"- {one} for a: submitted, waits for approval since {since}, until {until_}: count t-1\n"
            f"- {two} for a: submitted, waits for approval since {since}, until {until_}: count t-2"
        )
        assert (await say(f"/lan-approve {one}")).startswith(f"approved: - {one} for a: ")
        assert await say(f"/lan-deny {two}") == f"denied: - {two} for a: rejected: count t-2"
        await until(lambda: b.task("t-1").final)
        assert b.task("t-1").state is TaskState.COMPLETED
        assert (await say(f"/lan-approve {two}")).startswith("/lan-approve: ")


async def test_tasks_that_were_asked_of_a_peer_are_listed_too(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    asked = await a.delegate("b", "x" * 200)
    await until(lambda: a.task(asked.local_id).final)
    async with a_chat(a) as say:
        line = await say("/lan-tasks")

        assert line.startswith(f"- {short(asked.local_id)} asked of b: completed: xxx")
        assert len(line) < 150


MISTAKES = [
    ("/lan-send", "usage: /lan-send <peerId> <text>"),
    ("/lan-send b", "usage: /lan-send <peerId> <text>"),
    ("/lan-send b   ", "usage: /lan-send <peerId> <text>"),
    ("/lan-send c hello", '/lan-send: no peer "c" is configured; known: b'),
    ("/lan-approve", "usage: /lan-approve <id>; /lan-tasks shows what waits"),
    ("/lan-deny", "usage: /lan-deny <id>; /lan-tasks shows what waits"),
    ("/lan-approve none-such", '/lan-approve: no task "none-such" on this node; `lanmesh tasks` lists them'),
    ("/lan-deny none-such", '/lan-deny: no task "none-such" on this node; `lanmesh tasks` lists them'),
]


async def test_a_mistake_is_answered_in_words(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_chat(a) as say:
        for line, shown in MISTAKES:
            assert await say(line) == shown


async def test_a_command_that_there_is_not_is_a_problem(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_program(a) as program:
        answer = await program.ask("POST", "/op/commands/lan-explode", {"args": ""})

        assert (answer.status, answer.code) == (404, "route-not-found")
        assert "lan-approve" in answer.json["detail"]


async def test_no_command_is_taken_without_the_operator_token(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with a_program(a) as program:
        for command, token in itertools.product(COMMANDS, (None, "guessed", "shared@a")):
            answer = await program.ask("POST", f"/op/commands/{command}", {"args": "auto"}, token=token)
            assert (answer.status, answer.code) == (401, "not-authenticated"), command
