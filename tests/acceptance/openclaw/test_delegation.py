"""an agent gives a task to the agent of another gateway"""

import re

import pytest

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, begun, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, give, reply_of, said, tasks_about
from tests.acceptance.openclaw.user import content_text
from tests.acceptance.openclaw.waiting import eventually

REPLIED = r"^Replied to "

SECONDS_OF_A_SHORT_TIMEOUT = 12
"""Longer than a gateway needs to ask its model, on a slow machine too."""


async def test_an_agent_asks_the_agent_of_another_gateway_and_answers_with_its_result(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    asking = model.script(
        f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result)
    )
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} is done"))

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}")

    assert f"{word} is done" in answer
    [task] = await tasks_about(beta, word)
    assert task["state"] == "completed"
    assert begun(asking()) == begun(doing()) == 1
    async with beta.user() as owner:
        assert word not in str(await owner.history("main"))
        assert word in str(await owner.history(f"agent:main:lan-task:{task['id']}"))


async def test_a_turn_that_does_not_reply_returns_its_final_text(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    doing = model.script(f"do {word}", use("session_status"), say(f"{word} in plain words"))

    task = await give(beta, f"do {word}")

    assert (task["state"], task["result"]) == ("completed", f"{word} in plain words")
    assert len(doing()) == 2


async def test_of_several_replies_the_first_counts_and_an_equal_one_is_fine(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(
        f"do {word}",
        reply_of("first", "first", "second"),
        say("all said", gate=gate),
    )
    gate.open()

    task = await give(beta, f"do {word}")
    async with beta.user() as owner:
        results = await said(owner, f"agent:main:lan-task:{task['id']}", "toolResult")

    assert task["result"] == "first"
    assert [bool(re.match(REPLIED, result)) for result in results] == [True, True, False]
    assert results[2].startswith("error: ")
    assert begun(doing()) == 1


async def test_a_reply_after_the_end_is_refused(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    model.script(f"do {word}", say("this was all"))
    task = await give(beta, f"do {word}")
    late = model.script(f"late {word}", use("lan_task_reply", result="no, this"), say(last_result))

    async with beta.user() as owner:
        answer = await owner.ask(f"late {word}", session=f"agent:main:lan-task:{task['id']}")

    assert len(late()) == 2
    assert "error: " in answer
    assert (await beta.lan("GET", f"/lan/task/{task['id']}", token=beta.lan_token)).json["result"] == (
        "this was all"
    )


async def test_a_task_that_outlasts_the_wait_of_the_tool_is_told_to_the_asking_session_later(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    model.script(f"do {word}", use("lan_task_reply", result=f"{word} took its time", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="alpha", task=f"do {word}"), say(last_result))
    session = f"agent:main:{word}"

    async with beta.user() as user:
        if not user.newer:
            pytest.skip("this version of OpenClaw wakes no session but the main one")
        answer = await user.ask(f"ask {word}", session=session)
        assert "lan_task" in answer
        await gate.arrival()
        gate.open()

        def told() -> bool:
            return any(
                f"{word} took its time" in request.told
                for request in model.requests
                if request.session == session
            )

        await eventually(told, "the asking session was told nothing")


async def test_a_late_result_reaches_the_main_session_with_its_next_turn(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    model.script(f"do {word}", use("lan_task_reply", result=f"{word} took its time", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="alpha", task=f"do {word}"), say(last_result))
    next_turns = model.script(f"next {word}", say("I see"))

    async with beta.user() as user:
        await user.ask(f"ask {word}")
        gate.open()

        async def is_told() -> bool:
            await user.ask(f"next {word}")
            return f"{word} took its time" in next_turns()[-1].told

        await eventually(is_told, "no turn of the main session was told of the result")
        before = len(next_turns())
        await user.ask(f"next {word}")

    assert f"{word} took its time" not in next_turns()[before].told, "told twice"


async def test_a_turn_that_delegates_the_same_again_attaches_to_the_open_task(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} once", gate=gate))
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="alpha", task=f"do {word}"),
        use("lan_delegate", peer="alpha", task=f"do {word}"),
        say(lambda request: "\n".join(request.results)),
    )

    async with beta.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await gate.arrival()
        answer = await user.answer(run)
        gate.open()
        [task] = await tasks_about(beta, word)
        asked = await ended(beta, task["id"])

    assert len(re.findall(rf"\b{task['id'][:4]}", answer)) >= 2, answer
    assert asked["state"] == "completed"
    assert begun(doing()) == 1


async def test_an_aborted_turn_leaves_its_delegation_running(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result=f"{word} all the same", gate=gate))
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))
    session = f"agent:main:{word}"

    async with alpha.user() as user:
        run = await user.begin(f"ask {word}", session=session)
        await gate.arrival()
        await user.call("chat.abort", sessionKey=session, runId=run)
        gate.open()
        [task] = await tasks_about(alpha, word)
        asked = await ended(alpha, task["id"])

    assert (asked["state"], asked["result"]) == ("completed", f"{word} all the same")
    assert begun(doing()) == 1


async def test_a_task_that_takes_too_long_is_ended(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    gate = model.gate()
    doing = model.script(f"do {word}", use("lan_task_reply", result="too late", gate=gate))
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="beta", task=f"do {word}", timeoutSeconds=SECONDS_OF_A_SHORT_TIMEOUT),
        say(last_result),
    )

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")

    assert "failed" in answer
    await eventually(
        lambda: [request for request in model.aborted if f"do {word}" in request.user],
        "the gateway did not give up its question to the model",
    )
    assert begun(doing()) == 1


async def test_an_agent_sees_its_peers_and_what_they_offer(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"ask {word}", use("lan_peers"), say(last_result))

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")
        lists_what_it_has = user.newer  # and not every model that it has heard of

    assert "beta" in answer
    assert ("scripted" if lists_what_it_has else "models: ") in answer, "the other's model is not named"


async def test_the_messages_of_a_task_session_are_the_task_and_nothing_else(
    model: ScriptedModel, beta: GatewayProcess, word: str
) -> None:
    model.script(f"do {word}", say("done"))
    task = await give(beta, f"do {word}")

    async with beta.user() as owner:
        history = await owner.history(f"agent:main:lan-task:{task['id']}")

    assert [message["role"] for message in history] == ["user", "assistant"]
    assert f"| do {word}" in content_text(history[0])
