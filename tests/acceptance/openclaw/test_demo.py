"""what scripts/demo --openclaw shows"""

from tests.acceptance.openclaw.demo import NOTE, show
from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel


async def test_the_demo_shows_an_agent_ask_another(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess
) -> None:
    shown: list[str] = []

    await show(model, alpha, beta, lambda english, _chinese: shown.append(english))

    text = "\n".join(shown)
    assert f"alpha's agent answers: beta says: {NOTE.strip()}" in text
    for told in ("lan_delegate(peer: beta", "read(path: launch-notes.md)", "lan_task_reply(result: "):
        assert told in text
    assert "thank you" in text
