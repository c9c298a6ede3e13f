"""what is said while a task is being done reaches the side that asked"""

import asyncio

from tests.acceptance.node_process import LANMESH
from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Answer, ScriptedModel, ToolCall, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, task_named, tasks_about
from tests.acceptance.openclaw.waiting import BOUND_S, eventually
from tests.acceptance.terminal import on_a_terminal


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


async def test_what_the_remote_model_writes_is_seen_in_the_terminal_word_by_word_before_the_end(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    second, third = model.gate(), model.gate()
    model.script(f"do {word}", Answer(text=f"{word} grows slowly", words=(second, third)))
    command = [LANMESH, "delegate", "alpha", f"do {word}", "--wait", str(round(BOUND_S))]

    with on_a_terminal(command, beta.environ(TERM="xterm"), beta.home) as (running, terminal):
        await second.arrival()
        await asyncio.to_thread(terminal.shows, word, BOUND_S)
        second.open()
        await third.arrival()
        await asyncio.to_thread(terminal.shows, f"{word} grows", BOUND_S)
        before = [task["state"] for task in await tasks_about(beta, word)]
        third.open()
        out, _ = await asyncio.to_thread(running.communicate, timeout=BOUND_S)

    assert before == ["working"]
    assert (running.returncode, out.decode()) == (0, f"{word} grows slowly\n")
