"""a task is canceled, and the turn that does it really ends"""

from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Request, ScriptedModel, begun, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, outcome, send, task_named, tasks_about
from tests.acceptance.openclaw.waiting import eventually


@pytest_asyncio.fixture(loop_scope="session")
async def ends_turns(alpha: GatewayProcess) -> None:
    """Only for a gateway that can end a turn which another program began."""
    async with alpha.user() as user:
        if "sessions.abort" not in user.methods:
            pytest.skip("this version of OpenClaw cannot end a turn")


@pytest_asyncio.fixture(loop_scope="session")
async def cannot_end_turns(alpha: GatewayProcess) -> None:
    """Only for a gateway that cannot."""
    async with alpha.user() as user:
        if "sessions.abort" in user.methods:
            pytest.skip("this version of OpenClaw can end a turn")


@pytest.mark.usefixtures("ends_turns")
async def test_an_agent_cancels_its_task_and_the_turn_of_the_other_gateway_ends(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    doing, answer = await delegated_and_canceled(model, beta, word)
    [asked], [done] = await tasks_about(beta, word), await tasks_about(alpha, word)

    assert "canceled" in answer
    assert (await ended(beta, asked["id"]))["state"] == "canceled"
    assert (await ended(alpha, done["id"]))["state"] == "canceled"
    await check_the_turn_ended(model, alpha, done["id"], word)
    assert begun(doing) == 1


@pytest.mark.usefixtures("ends_turns")
async def test_who_sent_a_task_cancels_it_on_the_port_of_the_gateway(
    model: ScriptedModel, alpha: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    model.script(f"do {word}", use("lan_task_reply", result="too late", gate=gate))

    wire_id = await send(alpha, f"do {word}")
    await gate.arrival()
    told = await alpha.lan("POST", f"/lan/task/{wire_id}/cancel", {}, token=alpha.lan_token)
    task = await outcome(alpha, wire_id)

    assert told.status in {200, 202}, told
    assert task["state"] == "canceled"
    [done] = await tasks_about(alpha, word)
    await check_the_turn_ended(model, alpha, done["id"], word)


@pytest.mark.usefixtures("cannot_end_turns")
async def test_a_turn_that_cannot_be_ended_is_said_to_go_on(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    _, answer = await delegated_and_canceled(model, beta, word)
    model.open_all_gates()
    [asked] = await tasks_about(beta, word)
    final = await ended(beta, asked["id"])

    assert "could not be stopped" in answer
    assert (final["state"], final["result"]) == ("completed", "too late")


async def delegated_and_canceled(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> tuple[list[Request], str]:
    """Have beta's agent give alpha a task and cancel it in mid-turn.

    Returns:
        What the doing agent asked the model, and what the asking agent was told.
    """
    working, cancel = model.gate(), model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result="too late", gate=working))
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="alpha", task=f"do {word}"),
        use("lan_task", task=task_named, action="cancel", gate=cancel),
        say(last_result),
    )
    async with beta.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await working.arrival()
        cancel.open()
        return doing(), await user.answer(run)


async def check_the_turn_ended(model: ScriptedModel, doer: GatewayProcess, task: str, word: str) -> None:
    """Check that neither the model nor the gateway works on a task any more."""
    await eventually(
        lambda: [request for request in model.aborted if f"do {word}" in request.user],
        "the gateway did not give up its question to the model",
    )
    async with doer.user() as owner:

        async def is_over() -> bool:
            session: dict[str, Any] = await owner.call("sessions.describe", key=f"agent:main:lan-task:{task}")
            return bool(session["session"]["status"] != "running")

        await eventually(is_over, "the gateway's session still runs")
