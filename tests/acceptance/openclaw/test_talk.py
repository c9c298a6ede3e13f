"""messages, and what a user can say to the mesh in a chat"""

import re

import pytest

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, begun, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, outcome, send, tasks_about
from tests.acceptance.openclaw.waiting import eventually


async def test_a_message_is_in_the_inbox_and_pointed_to_in_the_next_chat_turn(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    turns = model.script(f"hello {word}", say("hello"))

    async with alpha.user() as user:
        sent = await user.ask(f"/lan-send beta greetings from {word}")

    async with beta.user() as owner:

        async def is_pointed_to() -> bool:
            await owner.ask(f"hello {word}")
            return f"greetings from {word}" in turns()[-1].told

        await eventually(is_pointed_to, "no turn was told of the message")
        shown = await owner.ask("/lan-inbox")

    assert re.search(r"beta.*delivered", sent)
    assert [r for r in model.unscripted if word in r.told] == [], "a message started a turn"
    assert "lan_inbox" in turns()[-1].told
    assert f"greetings from {word}" in shown
    assert "alpha" in shown


async def test_an_agent_sends_a_message_and_another_reads_it(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"tell {word}", use("lan_send", peer="beta", text=f"news of {word}"), say(last_result))
    model.script(f"read {word}", use("lan_inbox", unread=True), say(last_result))

    async with alpha.user() as user:
        sent = await user.ask(f"tell {word}", session=f"agent:main:{word}")
    async with beta.user() as owner:
        first = await owner.ask(f"read {word}", session=f"agent:main:{word}")
        second = await owner.ask(f"read {word}", session=f"agent:main:{word}")

    assert "delivered" in sent
    assert f"news of {word}" in first
    assert f"news of {word}" not in second


async def test_status_tells_of_this_node_and_its_peers(alpha: GatewayProcess, beta: GatewayProcess) -> None:
    async with alpha.user() as user:
        status = await user.ask("/lan-status")

    assert status.startswith("alpha")
    port = beta.node()["mesh"]["port"]
    assert re.search(rf"^- beta at 127\.0\.0\.1:{port}, paired\b.*: fine$", status, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/lan-send", "/lan-send <peerId> <text>"),
        ("/lan-send nobody hello", "nobody"),
        ("/lan-accept", "/lan-accept <auto|manual|off>"),
        ("/lan-accept sometimes", "/lan-accept <auto|manual|off>"),
        ("/lan-approve", "/lan-approve <id>"),
        ("/lan-approve nothing", "nothing"),
        ("/lan-deny", "/lan-deny <id>"),
        ("/lan-deny nothing", "nothing"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_says_why(
    alpha: GatewayProcess, command: str, expected: str
) -> None:
    async with alpha.user() as user:
        said = await user.ask(command)

    assert expected in said
    assert len(said.splitlines()) == 1


async def test_in_manual_mode_a_task_waits_for_the_word_of_its_owner(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    doing = model.script(f"do {word}", use("lan_task_reply", result="as you allowed"))

    async with beta.user() as owner:
        mode = await owner.ask("/lan-accept manual")
        try:
            allowed = await send(beta, f"do {word} and more")
            refused = await send(beta, f"do {word} and less")
            waiting = await owner.ask("/lan-tasks")
            held = (await beta.lan("GET", f"/lan/task/{allowed}", token=beta.lan_token)).json
            ids = {task["wireId"]: task["id"][:8] for task in await tasks_about(beta, word)}
            approved = await owner.ask(f"/lan-approve {ids[allowed]}")
            denied = await owner.ask(f"/lan-deny {ids[refused]}")
        finally:
            await owner.ask("/lan-accept auto")
        done = await outcome(beta, allowed)
        not_done = await outcome(beta, refused)
        again = await owner.ask(f"/lan-approve {ids[refused]}")

    assert "manual" in mode
    assert ids[allowed] in waiting
    assert ids[refused] in waiting
    assert (held["state"], held["waitingFor"]) == ("submitted", "approval")
    assert "approved" in approved
    assert "denied" in denied
    assert (done["state"], done["result"]) == ("completed", "as you allowed")
    assert (not_done["state"], not_done["error"]["code"]) == ("rejected", "denied")
    assert "rejected" in again
    assert begun(doing()) == 1


async def test_an_agent_is_told_that_its_task_waits_for_approval(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"do {word}", use("lan_task_reply", result=f"{word} allowed"))
    model.script(f"ask {word}", use("lan_delegate", peer="alpha", task=f"do {word}"), say(last_result))

    async with alpha.user() as owner, beta.user() as user:
        await owner.ask("/lan-accept manual")
        try:
            answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")
            [task] = await tasks_about(alpha, word)
            await owner.ask(f"/lan-approve {task['id']}")
        finally:
            await owner.ask("/lan-accept auto")
        [asked] = await tasks_about(beta, word)
        final = await ended(beta, asked["id"])

    assert "approval" in answer
    assert final["result"] == f"{word} allowed"


async def test_while_tasks_are_off_they_are_refused(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))

    async with alpha.user() as user, beta.user() as owner:
        await owner.ask("/lan-accept off")
        try:
            answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")
        finally:
            await owner.ask("/lan-accept auto")

    assert "rejected" in answer
    assert await tasks_about(beta, word) == []
