"""An agent that calls the tools of a node over HTTP, as the plugin does for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lanmesh.faces.http import application, guarded
from lanmesh.faces.tools import Tools
from tests.fakes import NodeUnderTest, soon
from tests.integration.loopback import Answer, Program, served

CHAT = "agent:main:main"


class Agent:
    """Calls tools, as one session of the gateway's agent."""

    def __init__(self, program: Program, session: str | None = CHAT) -> None:
        self.session = session
        self.workspace: str | None = None
        self.program = program

    async def ask(self, tool: str, **args: Any) -> Answer:
        body = {"args": args, "session": self.session, "workspace": self.workspace}
        return await self.program.ask("POST", f"/op/tools/{tool}", body)

    async def call(self, tool: str, **args: Any) -> Any:
        """Return what the tool says."""
        answer = await self.ask(tool, **args)
        assert answer.status == 200, answer.json
        assert sorted(answer.json) == ["open", "task", "terminate", "text", "version"]
        return answer.json

    async def text(self, tool: str, **args: Any) -> str:
        return str((await self.call(tool, **args))["text"])

    async def outcome(self, peer: str = "b", task: str = "count", **args: Any) -> Any:
        """Delegate, and wait until the task is finished, as the plugin does."""
        said = await soon(self.begin("lan_delegate", peer=peer, task=task, **args))
        while said["open"]:
            said = await soon(self.begin("lan_task", task=said["task"], action="wait"))
        return said

    def begin(self, tool: str, **args: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.call(tool, **args))


@asynccontextmanager
async def an_agent(node: NodeUnderTest, session: str | None = CHAT) -> AsyncIterator[Agent]:
    app = application(guarded(Tools(node.node).routes(), "secret"))
    async with served(app, "secret") as program:
        yield Agent(program, session)
