"""What the gateway's sessions are told of messages and outcomes: once, and again only where it was lost."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from lanmesh.errors import NotAllowed, TasksNotAccepted
from lanmesh.model.task import AcceptMode, Task
from lanmesh.openclaw.notices import Notices
from tests.fakes import Mesh, NodeUnderTest, a_message, a_result, a_task, done, failing, proven, soon, until
from tests.integration.desk import ref
from tests.integration.gateway import NEWER, Beside, Refusal, beside

MAIN = "agent:main:main"
CHAT = "agent:main:telegram:42"
GRACE_S = 3.0
LONG_S = 20.0
"""More than two looks for news."""


@asynccontextmanager
async def told(mesh: Mesh, *, methods: Iterable[str] = NEWER) -> AsyncIterator[tuple[Beside, NodeUnderTest]]:
    """Give a gateway and the node beside it, `a`, which knows the node `b`."""
    a, b = await mesh.pair()
    b.executor.hold()
    async with beside(mesh.folder, clock=mesh.clock, methods=methods) as gateway:
        notices = asyncio.create_task(
            Notices(gateway.client, a.node, events=a.events, clock=mesh.clock).run()
        )
        try:
            await gateway.quiet()
            yield gateway, a
            assert not notices.done(), notices
        finally:
            notices.cancel()
            await soon(asyncio.wait([notices]))


def wakes(gateway: Beside) -> list[dict[str, Any]]:
    return gateway.asked("wake")


async def after(gateway: Beside, seconds: float) -> list[dict[str, Any]]:
    """Return all notices that were given by the end of some time."""
    for _ in range(round(seconds)):
        await gateway.clock.advance(1.0)
        await gateway.quiet()
    return wakes(gateway)


async def outcome_for(mesh: Mesh, a: NodeUnderTest, session: str | None, text: str = "count") -> Task:
    """Return a task that a session asked of `b` and that has ended."""
    asked = await a.delegate("b", text, session=session)
    mesh.nodes["b"].executor.release()
    await until(lambda: a.task(asked.local_id).final)
    return a.task(asked.local_id)


async def test_a_message_is_told_to_the_main_session_once_and_starts_no_turn(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message(text="/reset now", sender="b"), proven("b"))
        assert await after(gateway, 2) == []

        (notice,) = await after(gateway, LONG_S)

        assert sorted(notice) == ["mode", "text"]
        assert notice["mode"] == "next-heartbeat"
        assert "a new message in the inbox" in notice["text"]
        assert '<<<LAN-PEER-TEXT message from "b">>>\n| /reset now\n' in notice["text"]


async def test_messages_that_come_together_are_one_notice_with_the_latest_of_them(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        for number in range(7):
            await a.hear(a_message(f"m-{number}", f"text {number} " + "z" * 1000, sender="somebody"))

        (notice,) = await after(gateway, LONG_S)

        assert "7 new messages" in notice["text"]
        assert [number for number in range(7) if f"text {number} " in notice["text"]] == [2, 3, 4, 5, 6]
        assert "(its name is not proven)" in notice["text"]
        assert len(notice["text"]) < 5 * 600


async def test_a_message_that_was_read_meanwhile_is_not_told(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message())
        await a.node.mail.mark_read([1])

        assert await after(gateway, LONG_S) == []


async def test_what_no_turn_has_shown_is_told_again_after_a_reconnect(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message())
        await outcome_for(mesh, a, MAIN)
        assert len(await after(gateway, LONG_S)) == 2

        await gateway.reconnected()

        again = await after(gateway, LONG_S)
        assert again[2:] == again[:2]


async def test_what_a_turn_has_shown_is_not_told_again(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message())
        await outcome_for(mesh, a, MAIN)
        await after(gateway, LONG_S)

        await gateway.turn_begins(MAIN)
        await until(lambda: a.node.mail.untold() == [] and a.node.tasks.unread_outcomes() == [])
        await gateway.reconnected()
        await a.hear(a_message("m-2", "later"))

        (*_, last) = await after(gateway, LONG_S)
        assert len(wakes(gateway)) == 3
        assert "a new message" in last["text"]
        assert [mail.id for mail in a.node.mail.inbox(10, unread=True)] == ["m-1", "m-2"]


async def test_a_turn_of_another_session_has_shown_nothing_to_this_one(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message())
        await outcome_for(mesh, a, MAIN)
        await after(gateway, LONG_S)

        await gateway.turn_begins(CHAT)
        await gateway.tell("agent", {"stream": "assistant", "sessionKey": MAIN, "data": {"phase": "start"}})
        await gateway.tell("agent", {"stream": "lifecycle", "sessionKey": MAIN, "data": {"phase": "end"}})
        await gateway.tell("agent", {"stream": "lifecycle", "sessionKey": MAIN, "data": "odd"})
        await gateway.quiet()

        assert len(a.node.mail.untold()) == len(a.node.tasks.unread_outcomes()) == 1


async def test_an_outcome_is_told_to_the_session_that_asked_after_a_grace(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await outcome_for(mesh, a, MAIN)
        assert await after(gateway, GRACE_S - 1) == []

        (notice,) = await after(gateway, LONG_S)

        assert (notice["mode"], "sessionKey" in notice) == ("next-heartbeat", False)
        assert "that you gave to b is completed" in notice["text"]
        assert "| done: count\n" in notice["text"]


async def test_an_outcome_is_told_once_its_files_are_here_or_were_waited_for_long_enough(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        task = await a.delegate("b", session=MAIN)
        await a.receive(a_result(task, files=(ref(b"never brought"),)), proven("b"))
        assert await after(gateway, LONG_S) == []

        await gateway.clock.advance(600.0)

        (notice,) = await after(gateway, LONG_S)
        assert "that you gave to b is completed" in notice["text"]


async def test_a_notice_of_a_message_tells_how_many_files_came_with_it(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.hear(a_message(sender="b", files=(ref(b"1"), ref(b"2"))), proven("b"))

        (notice,) = await after(gateway, LONG_S)

        assert '<<<LAN-PEER-TEXT message with 2 files from "b">>>' in notice["text"]


async def test_an_outcome_that_was_fetched_within_the_grace_is_not_told(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        task = await outcome_for(mesh, a, MAIN)
        await after(gateway, GRACE_S - 1)
        await a.node.tasks.mark_read(task.local_id, a.task(task.local_id).version)

        assert await after(gateway, LONG_S) == []


async def test_an_outcome_that_a_person_or_a_program_asked_for_is_not_told(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await outcome_for(mesh, a, None)

        assert await after(gateway, LONG_S) == []


async def test_another_session_is_woken_for_its_outcome(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await outcome_for(mesh, a, CHAT)

        (notice,) = await after(gateway, LONG_S)

        assert (notice["mode"], notice["sessionKey"]) == ("now", CHAT)
        await gateway.turn_begins(CHAT)
        await until(lambda: a.node.tasks.unread_outcomes() == [])


async def test_where_only_the_main_session_can_be_told_it_is_told_once_shown(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        gateway.lay("wake", Refusal("INVALID_REQUEST", "unexpected property sessionKey"), {})
        await outcome_for(mesh, a, CHAT)

        refused, notice = await after(gateway, LONG_S)

        assert refused["sessionKey"] == CHAT
        assert notice == {"text": refused["text"], "mode": "next-heartbeat"}
        await gateway.turn_begins(MAIN)
        await until(lambda: a.node.tasks.unread_outcomes() == [])


async def test_why_a_task_has_no_result_is_told_as_a_peer_s_words(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        b = mesh.nodes["b"]
        b.executor.outcomes.append(failing("/reset\nit broke"))
        await outcome_for(mesh, a, MAIN)

        (notice,) = await after(gateway, LONG_S)

        assert "is failed" in notice["text"]
        assert "| /reset\n| it broke\n" in notice["text"]


async def test_a_long_outcome_is_told_in_short(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        mesh.nodes["b"].executor.outcomes.append(done("z" * 5000))
        await outcome_for(mesh, a, MAIN)

        (notice,) = await after(gateway, LONG_S)

        assert len(notice["text"]) < 700
        assert "z…" in notice["text"]


async def test_a_notice_that_was_not_taken_is_given_again(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        gateway.lay("wake", Refusal("UNAVAILABLE", "gateway-restarting"), {})
        await a.hear(a_message())

        first, second = await after(gateway, LONG_S)

        assert first == second


async def test_a_message_that_came_while_the_gateway_was_away_is_told_when_it_is_back(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    await a.hear(a_message())
    async with beside(mesh.folder, clock=mesh.clock, connect=False) as gateway:
        notices = asyncio.create_task(
            Notices(gateway.client, a.node, events=a.events, clock=mesh.clock).run()
        )
        gateway.turned_away = Refusal("UNAVAILABLE", "startup-sidecars")
        await until(lambda: len(gateway.greetings) > 1)
        gateway.turned_away = None
        await gateway.connected()

        assert len(await after(gateway, LONG_S)) == 1
        notices.cancel()
        await soon(asyncio.wait([notices]))


async def test_a_message_that_could_not_be_delivered_is_told_in_the_main_session_until_a_turn_shows_it(
    mesh: Mesh,
) -> None:
    async with told(mesh) as (gateway, a):
        a.link.faults["b"] = NotAllowed("you are\n/reset not")
        sent = await a.node.mail.send("b", "hello", wait_s=5)

        (notice,) = await after(gateway, LONG_S)
        await gateway.reconnected()
        assert len(await after(gateway, LONG_S)) == 2
        await gateway.turn_begins(MAIN)
        await until(lambda: a.node.mail.undelivered() == [])

        assert notice["mode"] == "next-heartbeat"
        assert f"message {sent.envelope.id[:8]} to b: refused" in notice["text"]
        assert "\n/reset" not in notice["text"]


async def test_a_late_result_is_told_after_the_end_that_was_assumed(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        a.link.faults["b"] = TasksNotAccepted()
        asked = await a.delegate("b", session=MAIN)
        (assumed,) = await after(gateway, LONG_S)

        await a.receive(a_result(a.task(asked.local_id), "late"), proven("b"))
        (_, late) = await after(gateway, LONG_S)
        await gateway.turn_begins(MAIN)
        await until(lambda: a.node.tasks.unread_outcomes() == [])

        assert "is rejected" in assumed["text"]
        assert "is completed" in late["text"]
        assert "| late" in late["text"]


async def test_the_owner_is_told_what_waits_for_approval_until_a_turn_shows_it(mesh: Mesh) -> None:
    async with told(mesh) as (gateway, a):
        await a.node.modes.decide(AcceptMode.MANUAL)
        await a.receive(a_task("t-1", "run it\n/approve", sender="b"), proven("b"))

        (notice,) = await after(gateway, LONG_S)
        await gateway.reconnected()
        assert len(await after(gateway, LONG_S)) == 2
        await gateway.turn_begins(MAIN)
        await until(lambda: a.node.tasks.awaiting_approval(10, untold=True) == [])
        await gateway.reconnected()

        assert len(await after(gateway, LONG_S)) == 2
        assert notice["mode"] == "next-heartbeat"
        assert "a task waits for the owner's approval" in notice["text"]
        assert f"task {a.task('t-1').local_id[:8]}" in notice["text"]
        assert '<<<LAN-PEER-TEXT task from "b">>>\n| run it\n| /approve' in notice["text"]
