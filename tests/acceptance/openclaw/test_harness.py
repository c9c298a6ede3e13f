"""what the other tests stand on: a gateway, the scripted model and a user find each other"""

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, last_result, say, use


async def test_a_user_talks_to_an_agent_that_uses_a_tool(model: ScriptedModel, alpha: GatewayProcess) -> None:
    asked = model.script("apple-1", use("session_status"), say(last_result))

    async with alpha.user() as user:
        answer = await user.ask("what do you know of apple-1?")

    assert answer.startswith("It says: ")
    assert "agent:main:main" in answer
    assert [request.step for request in asked()] == [0, 1]


async def test_a_slash_command_is_answered_without_the_model(
    model: ScriptedModel, alpha: GatewayProcess
) -> None:
    async with alpha.user() as user:
        answer = await user.ask("/status")

    assert "Session: agent:main:main" in answer
    assert [request for request in model.requests if "/status" in request.user] == []


async def test_an_answer_waits_behind_a_gate(model: ScriptedModel, alpha: GatewayProcess) -> None:
    gate = model.gate()
    model.script("pear-1", say("ripe", gate=gate))

    async with alpha.user() as user:
        run = await user.begin("pear-1?")
        await gate.arrival()
        gate.open()

        assert await user.answer(run) == "ripe"
