"""tasks, as a peer gives them and as their owners see them"""

from typing import Any

from tests.acceptance.node_process import envelope
from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Answer, ToolCall
from tests.acceptance.openclaw.user import User, content_text


async def send(gateway: GatewayProcess, description: str) -> str:
    """Give a task to a gateway, as a program with a token does; return its wire id."""
    answer = await gateway.lan("POST", "/lan/task", envelope(description), token=gateway.lan_token)
    assert answer.status == 202, answer
    return str(answer.json["taskId"])


async def outcome(gateway: GatewayProcess, wire_id: str, within_s: int = 40) -> dict[str, Any]:
    """Return the report of a task once it is final."""
    report: dict[str, Any] = {}
    for _ in range(max(1, within_s // 20)):
        answer = await gateway.lan("GET", f"/lan/task/{wire_id}?wait=20", token=gateway.lan_token)
        assert answer.status == 200, answer
        report = answer.json
        if report["state"] not in {"submitted", "working"}:
            return report
    raise AssertionError(f"after {within_s} s: {report}")


async def give(gateway: GatewayProcess, description: str) -> dict[str, Any]:
    """Give a task to a gateway and return it as its owner sees it, once it is final."""
    wire_id = await send(gateway, description)
    await outcome(gateway, wire_id)
    task: dict[str, Any] = await gateway.op("GET", f"/op/tasks/{wire_id}")
    return task


async def tasks_about(gateway: GatewayProcess, word: str) -> list[dict[str, Any]]:
    """Return the tasks of a node whose text contains a word."""
    return [task for task in await gateway.op("GET", "/op/tasks?limit=200") if word in str(task)]


def reply_of(*results: str) -> Answer:
    """Return the answer of a model that replies to its task several times at once."""
    return Answer(calls=tuple(ToolCall("lan_task_reply", {"result": result}) for result in results))


async def said(user: User, session: str, role: str) -> list[str]:
    """Return what one side said in a session."""
    return [content_text(message) for message in await user.history(session) if message["role"] == role]
