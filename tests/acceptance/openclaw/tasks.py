"""tasks, as a peer gives them and as their owners see them"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.acceptance.node_process import envelope
from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Answer, Request, ToolCall
from tests.acceptance.openclaw.user import User, content_text
from tests.acceptance.openclaw.waiting import BOUND_S, eventually

Json = dict[str, Any]


async def send(gateway: GatewayProcess, description: str) -> str:
    """Give a task to a gateway, as a program with a token does; return its wire id."""
    answer = await gateway.lan("POST", "/lan/task", envelope(description), token=gateway.lan_token)
    assert answer.status == 202, answer
    return str(answer.json["taskId"])


async def outcome(gateway: GatewayProcess, wire_id: str) -> Json:
    """Return the report of a task once it is final."""

    async def report() -> Json:
        answer = await gateway.lan("GET", f"/lan/task/{wire_id}?wait=20", token=gateway.lan_token)
        assert answer.status == 200, answer
        told: Json = answer.json
        return told

    return await _final(report)


async def asked_back(gateway: GatewayProcess, wire_id: str) -> str:
    """Return the question of a task once it has one."""

    async def question() -> Any:
        answer = await gateway.lan("GET", f"/lan/task/{wire_id}", token=gateway.lan_token)
        return answer.json.get("question")

    return str(await eventually(question, "the task does not ask back", log=gateway.node_log))


async def ended(gateway: GatewayProcess, name: str) -> Json:
    """Return a task as the owner of a gateway sees it, once it is final."""
    return await _final(lambda: gateway.op("GET", f"/op/tasks/{name}?wait=20"))


async def _final(look: Callable[[], Awaitable[Json]]) -> Json:
    """Look again until a task is final."""
    task: Json = {}
    try:
        async with asyncio.timeout(BOUND_S):
            while (task := await look())["state"] in {"submitted", "working", "input-required"}:
                pass
    except TimeoutError:
        raise AssertionError(f"after {BOUND_S:g} s: {task}") from None
    return task


async def give(gateway: GatewayProcess, description: str) -> Json:
    """Give a task to a gateway and return it as its owner sees it, once it is final."""
    wire_id = await send(gateway, description)
    await outcome(gateway, wire_id)
    return await ended(gateway, wire_id)


async def tasks_about(gateway: GatewayProcess, word: str) -> list[Json]:
    """Return the tasks of a node whose text contains a word."""
    return [task for task in await gateway.op("GET", "/op/tasks?limit=200") if word in str(task)]


def task_named(request: Request) -> str:
    """Return the id that the last tool told of."""
    named = re.search(r"Task (\w+)", request.results[-1])
    assert named, request.results
    return named[1]


def reply_of(*results: str) -> Answer:
    """Return the answer of a model that replies to its task several times at once."""
    return Answer(calls=tuple(ToolCall("lan_task_reply", {"result": result}) for result in results))


async def said(user: User, session: str, role: str) -> list[str]:
    """Return what one side said in a session."""
    return [content_text(message) for message in await user.history(session) if message["role"] == role]
