"""work of its own for every peer that needs it, so that none waits for another"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from lanmesh.engine.events import Events
from lanmesh.model.ids import PeerId
from lanmesh.store.database import Change, Topic


async def for_each_peer(
    events: Events,
    topic: Topic,
    peers: Callable[[], Iterable[PeerId]],
    *works: Callable[[PeerId], Coroutine[Any, Any, None]],
) -> None:
    """Begin work for every peer, once, as soon as it is among those that need it, until cancelled.

    Args:
        events: Tell that there may be more of them.
        topic: What they are about.
        peers: Returns those that need it now.
        works: Each runs for as long as this.
    """
    begun: set[PeerId] = set()
    async with asyncio.TaskGroup() as group:
        with events.watch(Change(topic)) as changed:
            while True:
                changed.clear()
                for peer in peers():
                    if peer not in begun:
                        begun.add(peer)
                        for work in works:
                            group.create_task(work(peer))
                await changed.wait()
