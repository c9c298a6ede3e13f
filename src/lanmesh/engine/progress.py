"""what runs say while they go on: gathered, kept, told to whoever waits"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from lanmesh.engine.drafts import Drafts
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

_LINE_END = re.compile(r"[\r\n]+")
"""A bar of progress that is drawn anew ends its lines with a carriage return."""

_Run = tuple[LocalId, Claim | None]


class Gatherer:
    """Takes the words of all runs, and keeps them a few times a second, in one transaction.

    What was not kept yet is lost in a crash, and with the end of its run: that says more. What a
    run writes is shown as often; of that, the lines that are complete are kept like words.
    """

    def __init__(self, *, database: Database, clock: Clock, drafts: Drafts) -> None:
        """Keep words where the tasks are, and what is written in drafts."""
        self._database = database
        self._clock = clock
        self._drafts = drafts
        self._voices: dict[_Run, _Voice] = {}
        self._words: dict[_Run, str] = {}
        self._something = asyncio.Event()

    def of(self, task: Task) -> Progress:
        """Return what takes the words of the run that holds a task's claim."""
        return self._voices.setdefault((task.local_id, task.claim), _Voice(self, task))

    def end(self, task: Task) -> None:
        """Forget what the run that held a task's claim has written; nothing of it is heard any more."""
        self._voices.pop((task.local_id, task.claim), None)
        self._drafts.drop(task.local_id)

    def say(self, run: _Run, words: str) -> None:
        """Take the words of a run."""
        before = self._words.get(run)
        words = words[-MOST_BYTES:]
        self._words[run] = words if before is None else f"{before}\n{words}"[-MOST_BYTES:]
        self._something.set()

    def write(self, run: _Run, text: str) -> None:
        """Take what a run writes; nothing, once it has ended."""
        if run in self._voices:
            local_id, claim = run
            name = "" if claim is None else f"{claim.attempt}.{claim.boot}"
            self._drafts.write(local_id, name, text)
            self._something.set()

    async def run(self) -> None:
        """Keep what is said, until cancelled."""
        while True:
            await self._something.wait()
            await self._clock.sleep(GATHER_S)
            self._something.clear()
            self._drafts.show()
            words, self._words = self._words, {}
            if words:
                with suppress(StorageFailed):
                    await self._database.write(self._keeping(words))

    def _keeping(self, words: dict[_Run, str]) -> Callable[[Transaction], None]:
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            for (local_id, claim), text in words.items():
                with suppress(TaskNotFound):
                    task = tasks.get(tx, local_id)
                    if task.claim == claim:  # else the run has ended, or was overtaken
                        latest = _bounded(text)
                        tasks.save(tx, task.told(latest), PROGRESS, now, latest)

        return change


class _Voice:
    """What takes the words of one run. Implements the port `Progress`."""

    def __init__(self, gatherer: Gatherer, task: Task) -> None:
        self._gatherer = gatherer
        self._run = task.local_id, task.claim
        self._line = ""
        """Begun, and not ended yet."""

    def __call__(self, words: str) -> None:
        self._gatherer.say(self._run, words)

    def write(self, text: str) -> None:
        text = text.encode("utf-8", "replace").decode()  # half a character of JavaScript is none here
        self._gatherer.write(self._run, text)
        *lines, line = _LINE_END.split((self._line + text)[-MOST_BYTES:])
        self._line = line
        if words := "\n".join(stripped for line in lines if (stripped := line.strip())):
            self._gatherer.say(self._run, words)


def _bounded(text: str) -> str:
    return text.encode("utf-8", "replace")[-MOST_BYTES:].decode("utf-8", "ignore")
