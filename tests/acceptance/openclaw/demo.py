"""scripts/demo --openclaw: an agent asks the agent of another gateway, before your eyes"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.acceptance.openclaw.gateway import GatewayProcess
from tests.acceptance.openclaw.model import Request, ScriptedModel, say, use
from tests.acceptance.openclaw.pair import started_pair
from tests.acceptance.openclaw.user import User
from tests.acceptance.openclaw.waiting import tail

QUESTION = "What does the note on the other machine say about the launch?"
TASK = "Read the file launch-notes.md in your workspace and tell me when the launch is."
NOTE = "The launch is on Friday at nine.\n"

Tell = Callable[[str, str], None]
"""Says a sentence in English or in Chinese."""


def tell(english: str, chinese: str) -> None:
    """Print in the language of the user."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    print(chinese if locale.startswith("zh") else english, flush=True)


async def show(model: ScriptedModel, alpha: GatewayProcess, beta: GatewayProcess, told: Tell) -> None:
    """Have a user ask alpha for what only beta knows, and tell all that happens."""
    note = beta.state / "workspace" / "launch-notes.md"
    note.parent.mkdir(exist_ok=True)
    note.write_text(NOTE)
    model.script(QUESTION, use("lan_delegate", peer="beta", task=TASK), say(_answer))
    model.script(TASK, use("read", path="launch-notes.md"), use("lan_task_reply", result=_content))

    told(
        f'2. The user of alpha types: "{QUESTION}"\n   The file lies on beta. What happens:',
        f"2. alpha 的用户输入：“{QUESTION}”\n   该文件只在 beta 上。过程如下：",
    )
    async with alpha.user() as user, beta.user() as owner:
        began = time.monotonic()
        answer = await user.ask(QUESTION)
        took_s = time.monotonic() - began
        [task] = await beta.op("GET", "/op/tasks?limit=1")
        for who, where, session in (
            ("alpha", user, "agent:main:main"),
            ("beta", owner, f"agent:main:lan-task:{task['id']}"),
        ):
            told(f"   {who}'s agent, in {session}:", f"   {who} 的 agent，会话 {session}：")
            for call in await _calls(where, session):
                told(f"     {call}", f"     {call}")
        told(f"   alpha's agent answers: {answer}", f"   alpha 的 agent 回答：{answer}")
        told(f"   All of it took {took_s:.1f} s.\n", f"   全程 {took_s:.1f} 秒。\n")

        told("3. Slash commands, typed by the users:", "3. 用户输入的斜杠命令：")
        for who, where, command in (
            ("beta", owner, "/lan-tasks"),
            ("alpha", user, "/lan-send beta thank you"),
            ("beta", owner, "/lan-inbox"),
            ("alpha", user, "/lan-status"),
        ):
            said = (await where.ask(command)).replace("\n", "\n     ")
            told(f"   {who}: {command}\n     {said}", f"   {who}: {command}\n     {said}")


async def main(launcher: Path) -> int:
    """Start all, show it, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="lanmesh-demo.") as folder:
        homes = {name: Path(folder) / name for name in ("alpha", "beta")}
        for home in homes.values():
            home.mkdir()
        try:
            await _run(launcher, homes)
        except (AssertionError, TimeoutError, OSError) as fault:
            tell(f"The demo failed: {fault}", f"演示失败：{fault}")
            for home in homes.values():
                print(tail(home / "gateway.log"), file=sys.stderr)
                print(tail(home / ".openclaw" / "lanmesh" / "node.log"), file=sys.stderr)
            return 1
    tell("4. Both gateways are stopped, and nothing is left of them.", "4. 两个网关都已停止，不留任何痕迹。")
    return 0


async def _run(launcher: Path, homes: dict[str, Path]) -> None:
    tell(
        "1. Two OpenClaw gateways start on this machine, each with its agent, its node and its own home.\n"
        "   What a language model would decide is fixed in this demo; all the rest is real. (15 s)",
        "1. 在本机启动两个 OpenClaw 网关，各有自己的 agent、节点和主目录。\n"
        "   演示中语言模型的决定是预先写好的，其余全部真实运行。（约 15 秒）",
    )
    async with (
        ScriptedModel() as model,
        started_pair(
            launcher=launcher, model_url=model.url, home_of=homes.__getitem__, plugin={}, more={}
        ) as (alpha, beta),
    ):
        tell(
            f"   alpha listens on 127.0.0.1:{alpha.port}, beta on 127.0.0.1:{beta.port}.\n"
            "   Their users have paired them: one typed /lan-pair in a chat, the other its code.\n",
            f"   alpha 监听 127.0.0.1:{alpha.port}，beta 监听 127.0.0.1:{beta.port}。双方用户已完成配对：\n"
            "   一方在聊天中输入 /lan-pair，另一方输入所显示的配对码。\n",
        )
        await show(model, alpha, beta, tell)


def _answer(request: Request) -> str:
    return "beta says: " + _quoted(request.results[-1])


def _content(request: Request) -> str:
    return request.results[-1].strip()


def _quoted(result: str) -> str:
    return " ".join(line.removeprefix("| ") for line in result.splitlines() if line.startswith("| "))


async def _calls(user: User, session: str) -> list[str]:
    """Return which tools an agent used in a session, and with what."""
    calls = []
    for message in await user.history(session):
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "toolCall":
                words = ", ".join(f"{key}: {value}" for key, value in part["arguments"].items())
                calls.append(f"{part['name']}({words})")
    return calls


async def _ended_by_signals(work: Coroutine[Any, Any, int]) -> int:
    """Do the work; a signal ends it in good order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 130


if __name__ == "__main__":
    sys.exit(asyncio.run(_ended_by_signals(main(Path(sys.argv[1])))))
