"""what ends in mid-turn: the node, the gateway, the plugin"""

import functools
import itertools
import json
import os
import signal
from typing import Any

import aiohttp
import psutil
import pytest

from tests.acceptance.openclaw.gateway import PLUGIN_ID, GatewayProcess, free_ports, is_free
from tests.acceptance.openclaw.model import ScriptedModel, begun, last_result, say, use
from tests.acceptance.openclaw.tasks import asked_back, outcome, said, send, tasks_about
from tests.acceptance.openclaw.user import User, content_text
from tests.acceptance.openclaw.waiting import eventually

_edits = itertools.count(1)


async def test_a_turn_outlives_the_node_that_began_it(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))

    async with alpha.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await gate.arrival()
        await new_node(beta, kill_node(beta))
        gate.open()
        answer = await user.answer(run)

    assert f"{word} once" in answer
    assert begun(doing()) == 1
    [task] = await tasks_about(beta, word)
    assert (task["state"], task["attempt"]) == ("completed", 1)


async def test_a_turn_that_ends_without_its_node_is_found_by_the_next(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", say(f"{word} in plain words", gate=gate))

    wire_id = await send(beta, f"do {word}")
    await gate.arrival()
    before = kill_node(beta)
    gate.open()
    await new_node(beta, before)
    task = await outcome(beta, wire_id)

    assert (task["state"], task["result"]) == ("completed", f"{word} in plain words")
    assert begun(doing()) == 1


async def test_a_question_outlives_the_node_that_asked_it(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    asking = model.script(f"do {word}", use("lan_task_reply", question=f"which {word}?"))
    going_on = model.script(f"the left {word}", use("lan_task_reply", result=f"{word} is done"))

    wire_id = await send(beta, f"do {word}")
    question = await asked_back(beta, wire_id)
    await new_node(beta, kill_node(beta))
    answer = {"text": f"the left {word}"}
    await beta.lan("POST", f"/lan/task/{wire_id}/answer", answer, token=beta.lan_token)
    task = await outcome(beta, wire_id)

    assert question == f"which {word}?"
    assert (task["state"], task["result"], task["attempt"]) == ("completed", f"{word} is done", 2)
    assert begun(asking()) == begun(going_on()) == 1


async def test_a_tool_goes_on_waiting_while_its_node_is_away(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))

    async with alpha.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await gate.arrival()
        await new_node(alpha, kill_node(alpha))
        gate.open()
        answer = await user.answer(run)

    assert f"{word} once" in answer
    assert begun(doing()) == 1


async def test_a_turn_that_its_gateway_died_in_is_settled_truthfully_and_run_once(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", say("never said", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))
    node = beta.node()

    async with alpha.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await gate.arrival()
        await beta.kill()
        await all_gone(beta, node)
        model.script(f"do {word}", use("lan_task_reply", result=f"{word} after all"))
        await beta.start()
        answer = await user.answer(run)

    [task] = await tasks_about(beta, word)
    async with beta.user() as owner:
        ours = await messages_of_ours(owner, task["id"])
    assert len(ours) <= 1, "the task was begun twice"  # 2026.3 writes a message down at the turn's end
    assert begun(doing()) == 1
    assert task["attempt"] == 1
    if task["state"] == "completed":  # OpenClaw went on with the session by itself
        assert f"{word} after all" in answer
    else:
        assert (task["state"], task["error"]["code"]) == ("failed", "interrupted")
        assert "failed" in answer


async def test_a_repeatable_task_that_came_to_nothing_in_a_crash_of_its_gateway_is_done_again(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    first, again = model.gate(), model.gate()
    model.script(f"do {word}", say("never said", gate=first))

    await begun_anew(beta, repeatable=True)
    try:
        node = beta.node()
        wire_id = await send(beta, f"do {word}")
        await first.arrival()
        await beta.kill()
        await all_gone(beta, node)
        model.script(f"do {word}", use("lan_task_reply", result=f"{word} at last", gate=again))
        await beta.start()
        await again.arrival()
        [task] = await tasks_about(beta, word)
        async with beta.user() as owner:
            if task["attempt"] == 1:  # OpenClaw goes on with the session by itself: that comes to nothing too
                await owner.call("sessions.abort", key=f"agent:main:lan-task:{task['id']}")
            again.open()
            done = await outcome(beta, wire_id)
    finally:
        await begun_anew(beta, repeatable=False)

    assert (done["state"], done["result"]) == ("completed", f"{word} at last")
    assert done["attempt"] == 2


async def test_a_resumed_turn_that_asks_again_attaches_to_the_open_task(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))
    ask = use("lan_delegate", peer="beta", task=f"do {word}")
    asking = model.script(f"ask {word}", ask, ask, say(last_result))
    session, node = f"agent:main:{word}", alpha.node()

    async with alpha.user() as user:
        if not user.newer:
            pytest.skip("this version of OpenClaw does not go on with a turn after a crash")
        await user.begin(f"ask {word}", session=session)
        await gate.arrival()
        await alpha.kill()
    await all_gone(alpha, node)
    await alpha.start()
    await eventually(lambda: len(asking()) >= 2, "OpenClaw did not resume the turn", log=alpha.log)
    gate.open()
    async with alpha.user() as user:

        async def answered() -> bool:
            return any(f"{word} once" in text for text in await said(user, session, "assistant"))

        await eventually(answered, "the resumed turn did not get the result", log=alpha.log)

    assert begun(doing()) == 1
    assert [task["state"] for task in await tasks_about(alpha, word)] == ["completed"]


async def test_a_changed_config_is_taken_while_the_gateway_runs(beta: GatewayProcess, word: str) -> None:
    role = await edited(beta, word)

    async def is_taken() -> bool:
        try:
            answer = await beta.lan("GET", "/lan/profile", token=beta.lan_token)
        except aiohttp.ClientError:  # an older gateway restarts for it
            return False
        return answer.status == 200 and answer.json.get("role") == role

    await eventually(is_taken, "the new role is not in the profile", log=beta.log)
    await beta.node_ready()


@pytest.mark.usefixtures("reloads")
async def test_a_plugin_reloaded_while_its_gateway_does_a_task_loses_nothing(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))

    wire_id = await send(beta, f"do {word}")
    await gate.arrival()
    await reloaded(beta, role=word)
    gate.open()
    await beta.node_ready()
    task = await outcome(beta, wire_id)

    assert (task["state"], task["result"]) == ("completed", f"{word} once")
    assert begun(doing()) == 1
    async with beta.user() as owner:
        assert (await owner.ask("/lan-status")).startswith("beta")


@pytest.mark.usefixtures("reloads")
async def test_a_plugin_reloaded_while_its_tool_waits_loses_nothing(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))

    async with alpha.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await gate.arrival()
        await reloaded(alpha, role=word)
        gate.open()
        answer = await user.answer(run)
        await alpha.node_ready()
        status = await user.ask("/lan-status")

    assert f"{word} once" in answer
    assert begun(doing()) == 1
    assert status.startswith("alpha")


async def test_a_gateway_whose_node_cannot_start_serves_and_says_so(
    model: ScriptedModel, alpha: GatewayProcess, tmp_path_factory: Any, word: str
) -> None:
    lonely = GatewayProcess(
        name="lonely",
        home=tmp_path_factory.mktemp("lonely"),
        launcher=alpha.launcher,
        model_url=alpha.model_url,
        port=free_ports(1)[0],
        plugin={"python": "/nowhere/python"},
    )
    model.script(f"ask {word}", use("lan_peers"), say(last_result))
    try:
        await lonely.start()
        async with lonely.user() as user:
            told = [await user.ask(command) for command in ("/lan-status", "/lan-inbox", "/lan-send b c")]
            answer = await user.ask(f"ask {word}")
        forwarded = await lonely.lan("GET", "/lan/health")
    finally:
        await lonely.stop()

    assert len(set(told)) == 1
    assert "/nowhere/python" in told[0]
    assert len(told[0].splitlines()) == 1
    assert f"error: {told[0]}" in answer.replace('\\"', '"')
    assert (forwarded.status, forwarded.json["code"]) == (502, "node-unreachable")


def kill_node(gateway: GatewayProcess) -> str:
    """End the node as a crash does; return its boot."""
    node = gateway.node()
    os.kill(node["pid"], signal.SIGKILL)
    return str(node["boot"])


async def new_node(gateway: GatewayProcess, before: str) -> None:
    """Return once another node answers than that of an earlier boot."""

    def is_another() -> bool:
        try:
            return bool(gateway.node()["boot"] != before)
        except (FileNotFoundError, json.JSONDecodeError):
            return False

    await eventually(is_another, "no new node was started", log=gateway.log)
    await gateway.node_ready()


async def begun_anew(gateway: GatewayProcess, *, repeatable: bool) -> None:
    """Change whether its tasks are repeatable; return once a node with that setting answers."""
    before = gateway.node()["boot"]
    change(gateway, "node", repeatable=repeatable)
    await edited(gateway, f"repeatable: {repeatable}")
    await new_node(gateway, before)


async def edited(gateway: GatewayProcess, role: str) -> str:
    """Edit the config file until the gateway takes it; return the role in it.

    A gateway refuses while the end of an earlier turn is still in the making.
    """
    # A text that was never there: what is written again changes nothing, and no gateway takes it.
    while not await reloaded(gateway, role=(new := f"{role} {next(_edits)}")):
        pass
    return new


async def all_gone(gateway: GatewayProcess, node: dict[str, Any]) -> None:
    """Return once nothing of a killed gateway is left: no process, no port held."""
    await eventually(lambda: not psutil.pid_exists(node["pid"]), "the node outlived its gateway")
    for port in (gateway.port, node["mesh"]["port"], node["operator"]["port"]):
        await eventually(functools.partial(is_free, port), f"port {port} is still held")
    left = [process for process in psutil.process_iter() if _belongs_to(process, gateway)]
    await eventually(lambda: not any(process.is_running() for process in left), f"processes are left: {left}")


def _belongs_to(process: psutil.Process, gateway: GatewayProcess) -> bool:
    try:
        return process.environ().get("OPENCLAW_STATE_DIR") == str(gateway.state)
    except psutil.Error:
        return False


async def messages_of_ours(owner: User, task: str) -> list[str]:
    """Return the messages by which the node began the task, in the task's session."""
    history = await owner.history(f"agent:main:lan-task:{task}")
    texts = [content_text(message) for message in history if message["role"] == "user"]
    return [text for text in texts if f"[LAN task {task}]" in text]


def change(gateway: GatewayProcess, part: str, **keys: Any) -> None:
    """Edit the plugin's config in the config file, as an owner does."""
    config = json.loads(gateway.config_file.read_text())
    config["plugins"]["entries"][PLUGIN_ID]["config"].setdefault(part, {}).update(keys)
    gateway.config_file.write_text(json.dumps(config, indent=2))


async def reloaded(gateway: GatewayProcess, *, role: str) -> bool:
    """Edit the config file; return whether the gateway takes it, once it has decided."""
    size = gateway.log.stat().st_size
    change(gateway, "profile", role=role)

    def ends() -> set[bytes]:
        with gateway.log.open("rb") as log:
            log.seek(size)
            said = log.read()
        return {
            end for end in (b"reload applied", b"requires gateway restart", b"not applied") if end in said
        }

    return b"not applied" not in await eventually(
        ends, "the gateway did not reload the plugin", log=gateway.log
    )
