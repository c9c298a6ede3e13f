"""what is said while a task is being done reaches the side that asked"""

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Answer, ScriptedModel, ToolCall, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, task_named, tasks_about
from tests.acceptance.openclaw.waiting import eventually


async def test_what_the_doing_agent_says_reaches_the_asking_agent_while_it_works(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    working, look = model.gate(), model.gate()
    model.script(
        f"do {word}",
        Answer(
            text=f"{word} is half done\nand now",
            calls=(ToolCall("lan_task_reply", {"result": "all of it"}),),
            pause=working,
        ),
    )
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="alpha", task=f"do {word}"),
        use("lan_task", task=task_named, action="status", gate=look),
        say(last_result),
    )

    async with beta.user() as user:
        run = await user.begin(f"ask {word}", session=f"agent:main:{word}")
        await working.arrival()
        [task] = await tasks_about(beta, word)

        async def is_told() -> bool:
            known = await beta.op("GET", f"/op/tasks/{task['id']}")
            return f"{word} is half done" in (known["progress"] or "")

        await eventually(is_told, "the asking node was not told", log=beta.node_log)
        look.open()
        answer = await user.answer(run)
        working.open()
        final = await ended(beta, task["id"])

    assert f"| {word} is half done" in answer
    assert (final["state"], final["result"]) == ("completed", "all of it")
