"""Ask a peer to do something and print the result: python examples/delegate.py PEER TEXT"""

import asyncio
import os
import sys

from lanmesh.client import Client
from lanmesh.locations import StateFolder, state_folder
from lanmesh.model.task import FINAL


async def main(peer: str, text: str) -> int:
    """Return the exit status of the program."""
    async with Client(StateFolder(path=state_folder(os.environ))) as node:
        task = await node.delegate(peer, text)
        while task.state not in FINAL:
            task = await node.watch(task.id, wait_s=50, version=task.version)
    if task.error is not None:
        sys.stderr.write(f"{task.state}: {task.error.detail}\n")
        return 1
    sys.stdout.write(f"{task.result}\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
