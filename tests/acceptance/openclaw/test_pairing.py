"""two owners pair their gateways, by a code that is shown in one chat and typed in another"""

import re

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, last_result, say, use
from tests.acceptance.openclaw.tasks import tasks_about


async def test_a_task_between_gateways_that_were_paired_in_chats_goes_by_proven_keys(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))
    model.script(f"do {word}", use("lan_task_reply", result=f"{word} is done"))

    async with alpha.user() as user, beta.user() as owner:
        answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")
        seen = await user.ask("/lan-status"), await owner.ask("/lan-status")
    [task] = await tasks_about(beta, word)

    assert f"{word} is done" in answer
    assert (task["peer"], task["proven"]) == ("alpha", True)
    for (here, there), status in zip(((alpha, beta), (beta, alpha)), seen, strict=True):
        port = there.node()["mesh"]["port"]
        assert re.search(rf"^- {there.name} at 127\.0\.0\.1:{port}, paired\b.*: fine$", status, re.MULTILINE)
        assert there.name.upper() not in (here.state / ".env").read_text()  # no token was set by hand


async def test_a_wrong_code_is_refused_in_the_chat_and_changes_nothing(
    alpha: GatewayProcess, beta: GatewayProcess
) -> None:
    before = await alpha.op("GET", "/op/peers"), await beta.op("GET", "/op/peers")

    async with alpha.user() as user, beta.user() as owner:
        shown = await owner.ask("/lan-pair")
        code = re.search(r"code (\S+),", shown)
        assert code, shown
        wrong = "22222222" if code[1] != "22222222" else "33333333"
        said = await user.ask(f"/lan-pair {wrong} 127.0.0.1:{beta.node()['mesh']['port']}")

    assert said.startswith("/lan-pair: ")
    assert len(said.splitlines()) == 1
    assert [peer["id"] for peer in await alpha.op("GET", "/op/peers")] == [peer["id"] for peer in before[0]]
    assert [peer["id"] for peer in await beta.op("GET", "/op/peers")] == [peer["id"] for peer in before[1]]
