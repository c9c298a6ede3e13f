"""a task asks back: its asker answers, and it goes on in the same session"""

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, begun, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, said, task_named, tasks_about
from tests.acceptance.openclaw.waiting import eventually


async def test_an_agent_asks_back_and_goes_on_with_the_answer_of_the_asking_agent(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    doing = model.script(f"do {word}", use("lan_task_reply", question=f"which {word}?"))
    going_on = model.script(f"the left {word}", use("lan_task_reply", result=f"{word} is done"))
    asking = model.script(
        f"ask {word}",
        use("lan_delegate", peer="beta", task=f"do {word}"),
        use("lan_task", task=task_named, action="answer", answer=f"the left {word}"),
        say(last_result),
    )

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}", session=f"agent:main:{word}")
    [done] = await tasks_about(beta, word)
    async with beta.user() as owner:
        told = await said(owner, f"agent:main:lan-task:{done['id']}", "user")

    assert "asks back" in asking()[1].results[-1]
    assert f"| which {word}?" in asking()[1].results[-1]
    assert f"| {word} is done" in answer
    assert (done["state"], done["attempt"]) == ("completed", 2)
    assert begun(doing()) == begun(going_on()) == 1
    assert doing()[0].session == going_on()[0].session
    assert [f"| do {word}" in text for text in told] == [True, False]
    assert [f"| the left {word}" in text for text in told] == [False, True]
    assert "answer to your question" in told[1]


async def test_a_question_of_a_task_that_nobody_waits_for_is_told_to_the_main_session(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    working = model.gate()
    model.script(f"do {word}", use("lan_task_reply", question=f"which {word}?", gate=working))
    model.script(f"the left {word}", use("lan_task_reply", result=f"{word} is done"))
    model.script(f"ask {word}", use("lan_delegate", peer="alpha", task=f"do {word}"), say(last_result))
    next_turns = model.script(f"next {word}", say("I see"))

    async with beta.user() as user:
        answer = await user.ask(f"ask {word}")  # beta's agent does not wait for long
        working.open()
        [task] = await tasks_about(beta, word)

        async def is_told() -> bool:
            await user.ask(f"next {word}")
            return f"| which {word}?" in next_turns()[-1].told

        await eventually(is_told, "no turn of the main session was told of the question", log=beta.node_log)
        model.script(
            f"say left {word}",
            use("lan_task", task=task["id"], action="answer", answer=f"the left {word}"),
            say(last_result),
        )
        await user.ask(f"say left {word}")
        final = await ended(beta, task["id"])

    assert "goes on without you" in answer
    assert "asks back (answer by lan_task" in next_turns()[-1].told
    assert (final["state"], final["result"]) == ("completed", f"{word} is done")
