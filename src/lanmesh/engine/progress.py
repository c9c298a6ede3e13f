"""what runs say while they go on: gathered, kept, told to whoever waits"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from lanmesh.engine.ports import Clock, Progress
from lanmesh.errors import StorageFailed, TaskNotFound
from lanmesh.model.claim import Claim
from lanmesh.model.history import PROGRESS
from lanmesh.model.ids import LocalId
from lanmesh.model.task import Task
from lanmesh.store import tasks
from lanmesh.store.database import Database, Transaction

GATHER_S = 0.25
"""What a run says within this time is one event."""

MOST_BYTES = 4000
"""Of one event; of more, the latest counts."""


class Gatherer:
    """Takes the words of all runs, and keeps them a few times a second, in one transaction.

    What was not kept yet is lost in a crash, and with the end of its run: that says more.
    """

    def __init__(self, *, database: Database, clock: Clock) -> None:
        """Keep words where the tasks are."""
        self._database = database
        self._clock = clock
        self._words: dict[tuple[LocalId, Claim | None], str] = {}
        self._something = asyncio.Event()

    def of(self, task: Task) -> Progress:
        """Return what takes the words of the run that holds a task's claim."""
        key = (task.local_id, task.claim)

        def said(text: str) -> None:
            before = self._words.get(key)
            text = text[-MOST_BYTES:]
            self._words[key] = text if before is None else f"{before}\n{text}"[-MOST_BYTES:]
            self._something.set()

        return said

    async def run(self) -> None:
        """Keep what is said, until cancelled."""
        while True:
            await self._something.wait()
            await self._clock.sleep(GATHER_S)
            self._something.clear()
            words, self._words = self._words, {}
            with suppress(StorageFailed):
                await self._database.write(self._keeping(words))

    def _keeping(self, words: dict[tuple[LocalId, Claim | None], str]) -> Callable[[Transaction], None]:
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            for (local_id, claim), text in words.items():
                with suppress(TaskNotFound):
                    task = tasks.get(tx, local_id)
                    if task.claim == claim:  # else the run has ended, or was overtaken
                        latest = _bounded(text)
                        tasks.save(tx, task.told(latest), PROGRESS, now, latest)

        return change


def _bounded(text: str) -> str:
    return text.encode("utf-8", "replace")[-MOST_BYTES:].decode("utf-8", "ignore")
