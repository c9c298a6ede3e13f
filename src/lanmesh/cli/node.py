"""speak to the node of this state folder, for one verb"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lanmesh.client import Client
from lanmesh.errors import NotAllowed
from lanmesh.locations import StateFolder, state_folder

T = TypeVar("T")


def folder() -> StateFolder:
    """Return the state folder that the environment chooses."""
    return StateFolder(path=state_folder(os.environ))


def ask(question: Callable[[Client], Awaitable[T]]) -> T:
    """Put a question to the running node.

    Raises:
        NodeUnreachable: None runs.
        MeshError: What the node answers with.
    """

    async def asking() -> T:
        async with Client(folder()) as node:
            return await question(node)

    return asyncio.run(asking())


def owner_only(what: str) -> None:
    """Refuse a decision of the owner's to the program of a task, or to an agent's shell.

    It keeps an honest agent from deciding in its owner's place. SECURITY.md says what it does not
    stop.

    Raises:
        NotAllowed: This runs on behalf of an agent.
    """
    for variable in ("LANMESH_TASK_ID", "OPENCLAW_SHELL"):
        if os.environ.get(variable):
            raise NotAllowed(f"{what} is the owner's decision: an agent may not take it ({variable} is set)")
