"""files between the agents of two gateways: one goes with a task, one comes back with its result"""

import re
from pathlib import Path
from typing import Any

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Request, ScriptedModel, last_result, say, use
from tests.acceptance.openclaw.tasks import tasks_about


def on_the_desk(gateway: GatewayProcess, name: str, content: str) -> Path:
    """Put a file into the workspace of a gateway's agents."""
    path = gateway.state / "workspace" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def given(request: Request) -> str:
    """Return where the one file lies that came with the task."""
    (place,) = re.findall(r"^\| (/.+/given/.+)$", request.user, re.MULTILINE)
    return str(place)


def saved_at(answer: str) -> Path:
    """Return where the one file lies that came with a result."""
    (place,) = re.findall(r"^\| (/.+)$", answer, re.MULTILINE)
    return Path(place)


def made(name: str) -> Any:
    """Return what tells the place in a task's folder where a file of that name goes back from."""

    def place(request: Request) -> str:
        told = re.search(r"leave them in (/\S+)$", request.user, re.MULTILINE)
        assert told, request.user
        return f"{told[1]}/{name}"

    return place


async def test_an_agent_sends_a_file_with_a_task_and_gets_one_with_the_result(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    on_the_desk(alpha, f"{word}.txt", f"the secret of {word}\n")
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="beta", task=f"do {word}", files=[f"{word}.txt"]),
        say(last_result),
    )
    doing = model.script(
        f"do {word}",
        use("read", path=given),
        use("write", path=made(f"answer-{word}.txt"), content=lambda request: f"read: {request.results[-1]}"),
        use("lan_task_reply", result=f"{word} is done"),
    )

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}")

    assert f"{word} is done" in answer
    assert f"the secret of {word}" in doing()[1].results[-1]
    saved = saved_at(answer)
    (work,) = (beta.state / "lanmesh" / "work").glob(f"*/made/answer-{word}.txt")
    assert saved.is_relative_to(alpha.state / "lanmesh" / "work")
    assert saved.read_bytes() == work.read_bytes()
    assert saved.read_text().startswith(f"read: the secret of {word}")


async def test_no_agent_sends_a_file_from_beside_its_workspace_or_its_task_s_folder(
    model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    outside = alpha.home / f"{word}.txt"
    outside.write_text("of no concern to beta")
    on_the_desk(beta, f"{word}.txt", "of no concern to alpha")
    model.script(
        f"ask {word}",
        use("lan_delegate", peer="beta", task=f"do {word}", files=[str(outside)]),
        use("lan_delegate", peer="beta", task=f"do {word}"),
        say(lambda request: "\n".join(request.results)),
    )
    doing = model.script(
        f"do {word}",
        use("lan_task_reply", result="here", files=[str(beta.state / "workspace" / f"{word}.txt")]),
        use("lan_task_reply", result=f"{word} has no file"),
    )

    async with alpha.user() as user:
        answer = await user.ask(f"ask {word}")

    assert f"{word}.txt" in answer
    assert "does not lie in" in answer
    assert f"{word} has no file" in answer
    assert "does not lie in" in doing()[1].results[-1]
    (task,) = await tasks_about(beta, word)
    assert (await beta.op("GET", f"/op/tasks/{task['id']}"))["files"] == []
