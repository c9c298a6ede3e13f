"""what the plugin adds to a gateway: tools, a skill, and /lan on its port"""

import asyncio
import json

import pytest

from tests.acceptance.node_process import envelope
from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, begun, say
from tests.acceptance.openclaw.tasks import give, outcome
from tests.acceptance.test_seed import HEALTH, PROFILE, TASK

TOOLS = ["lan_delegate", "lan_inbox", "lan_peers", "lan_send", "lan_task"]
REPLY = "lan_task_reply"


@pytest.fixture(params=["alpha", "beta"])
def either(request: pytest.FixtureRequest, alpha: GatewayProcess, beta: GatewayProcess) -> GatewayProcess:
    """Alpha has the tool profile that OpenClaw's onboarding sets, beta has none."""
    return {"alpha": alpha, "beta": beta}[request.param]


async def test_no_tool_is_hidden_by_the_default_tool_profile(
    model: ScriptedModel, either: GatewayProcess, word: str
) -> None:
    talking = model.script(f"talk {word}", say("yes"))
    doing = model.script(f"do {word}", say("done"))

    async with either.user() as user:
        await user.ask(f"talk {word}", session=f"agent:main:{word}")
    await give(either, f"do {word}")

    for request in (talking()[0], doing()[0]):
        assert [name for name in TOOLS if name not in request.tools and name not in request.system] == []
    assert {"lan_delegate", "lan_send"} <= set(talking()[0].tools)
    assert REPLY in doing()[0].tools
    assert REPLY not in [*talking()[0].tools, talking()[0].system]


async def test_the_skill_is_listed(model: ScriptedModel, either: GatewayProcess, word: str) -> None:
    talking = model.script(f"talk {word}", say("yes"))

    async with either.user() as user:
        await user.ask(f"talk {word}", session=f"agent:main:{word}")
        skills = (await user.call("skills.status"))["skills"]

    [skill] = [skill for skill in skills if skill["name"] == "lan-mesh"]
    assert skill["eligible"]
    assert "<name>lan-mesh</name>" in talking()[0].system


async def test_the_calls_of_the_first_readme_work_on_the_port_of_the_gateway(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    name = f"task-{word}"  # else a second run would be a repeat of the first
    task = TASK.replace("task-001", name)
    doing = model.script("帮我查一下今天的天气", say("晴"))

    health = json.loads(await shell(beta, HEALTH))
    profile = json.loads(await shell(beta, PROFILE))
    taken = json.loads(await shell(beta, task))
    again = json.loads(await shell(beta, task))
    done = await outcome(beta, name)

    assert health["status"] == "ok"
    assert set(health) == {"status", "version", "protocolVersion", "nodeId", "uptime"}
    assert profile["name"] == "beta of the pair"
    assert profile["capabilities"] == ["coding"]
    assert (taken["taskId"], taken["state"]) == (name, "submitted")
    assert again == taken
    assert (done["state"], done["result"]) == ("completed", "晴")
    assert begun(doing()) == 1


@pytest.mark.parametrize(
    "path",
    ["/lan", "/lan/", "/lan/%2e%2e/op/status", "/lan/..%2fop%2fstatus", "/lan/x/../../op/status", "/lan//op"],
)
async def test_nothing_but_lan_is_behind_the_port_of_the_gateway(beta: GatewayProcess, path: str) -> None:
    operator_token = (beta.state / "lanmesh" / "operator.token").read_text().strip()

    for token in (None, beta.lan_token, operator_token):
        answer = await beta.lan("GET", path, token=token)

        assert answer.status in {401, 404}, answer


async def test_who_a_caller_is_comes_from_its_token_alone(beta: GatewayProcess) -> None:
    node = beta.node()

    for token in (None, beta.token, "opens-alpha", beta.lan_token[:-1]):
        answer = await beta.lan("GET", "/lan/profile", token=token)
        assert answer.status == 401, (token, answer)
        assert answer.json["code"] == "not-authenticated"
        assert str(node["operator"]["port"]) not in answer.text


async def test_a_large_body_is_refused_and_the_gateway_serves_on(beta: GatewayProcess) -> None:
    answer = await beta.lan("POST", "/lan/task", envelope("x" * 20_000_000), token=beta.lan_token)

    assert answer.status == 413
    assert (await beta.lan("GET", "/lan/health")).status == 200


async def shell(gateway: GatewayProcess, script: str) -> str:
    """Run a script as the owner does, but for the port."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script.replace("18789", str(gateway.port)),
        env={"HOME": str(gateway.home), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
