"""claim a task, run it, record its outcome and its reply"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from lanmesh.engine.events import Events, within
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock, Executor
from lanmesh.errors import StorageFailed
from lanmesh.model.ids import short
from lanmesh.model.task import Failure, Outcome, Task, TaskEvent, failed
from lanmesh.store import tasks
from lanmesh.store.database import Change, Database, Topic, Transaction

log = logging.getLogger(__name__)


class Runner:
    """Does the tasks that this node has taken, a few at a time, the oldest first."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        executor: Executor,
        outcomes: Outcomes,
        boot: str,
        concurrency: int,
    ) -> None:
        """Hold claims in the name of one boot of this node."""
        self._database = database
        self._events = events
        self._clock = clock
        self._executor = executor
        self._outcomes = outcomes
        self._boot = boot
        self._concurrency = concurrency

    async def _recover(self) -> None:
        """Settle what earlier boots were doing: run it again if that is harmless, else say it failed.

        What they left running is ended first, so that no two runs of a task overlap.
        """
        orphans = tasks.claimed_by_others(self._database.read, self._boot)
        if not orphans:
            return
        await self._executor.abandon([task.local_id for task in orphans])
        for task in orphans:
            await self._database.insist(
                self._interrupted(task, "the node ended while the task was being done"), self._clock.sleep
            )

    async def run(self) -> None:
        """Settle what earlier boots began, then claim and run tasks, until cancelled.

        Runs are then ended, and settled as interrupted.
        """
        try:
            await self._recover()
            async with asyncio.TaskGroup() as runs:
                await self._fill(runs)
        finally:
            with suppress(StorageFailed):  # the next boot settles it
                await self._database.write(self._release_unstarted)

    async def _fill(self, runs: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(self._concurrency)
        with self._events.watch(Change(Topic.RUNNABLE)) as changed:
            while True:
                await slots.acquire()
                changed.clear()
                while (task := await self._database.insist(self._claim, self._clock.sleep)) is None:
                    await changed.wait()
                    changed.clear()
                run = runs.create_task(self._run(task))
                run.add_done_callback(lambda _: slots.release())

    def _claim(self, tx: Transaction) -> Task | None:
        task = tasks.next_runnable(tx)
        if task is None:
            return None
        now = self._clock.now()
        claimed = task.claimed(self._boot, self._executor.repeatable, now)
        tasks.save(tx, claimed, TaskEvent.CLAIM, now, f"attempt {claimed.attempt}")
        return claimed

    def _release_unstarted(self, tx: Transaction) -> None:
        # Every run has settled its own claim by now. What is left was claimed in the moment of
        # stopping, and nothing of it was begun.
        for task in tasks.claimed_by(tx, self._boot):
            tasks.save(tx, task.released(), TaskEvent.RUN_AGAIN, self._clock.now(), "it was not begun")

    async def _run(self, task: Task) -> None:
        log.info("task claimed", extra={"task": short(task.local_id), "attempt": task.attempt})
        try:
            outcome = await within(self._clock, task.timeout_s, self._executor.run(task))
        except TimeoutError:
            outcome = failed(Failure.TIMED_OUT, f"it took longer than its {task.timeout_s:g} s")
        except asyncio.CancelledError:
            with suppress(StorageFailed):  # the next boot settles it
                await self._database.write(
                    self._interrupted(task, "the node was stopped while the task was being done")
                )
            raise
        except Exception as fault:  # the root of a run: its asker must hear of it all the same
            log.exception("executor broke", extra={"task": short(task.local_id)})
            outcome = failed(Failure.INTERRUPTED, f"the executor broke: {type(fault).__name__}")
        if await self._database.insist(lambda tx: self._finish(tx, task, outcome), self._clock.sleep):
            log.info("task ended", extra={"task": short(task.local_id), "state": outcome.state})
        else:
            log.warning("outcome dropped", extra={"task": short(task.local_id), "attempt": task.attempt})

    def _finish(self, tx: Transaction, claimed: Task, outcome: Outcome) -> bool:
        """Record an outcome; return whether the claim still stood: a later one fences it."""
        task = tasks.get(tx, claimed.local_id)
        if task.claim != claimed.claim:
            return False
        self._outcomes.end(tx, task, outcome)
        return True

    def _interrupted(self, claimed: Task, why: str) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            task = tasks.get(tx, claimed.local_id)
            if task.claim != claimed.claim:
                return
            if task.repeatable:
                tasks.save(tx, task.released(), TaskEvent.RUN_AGAIN, self._clock.now(), why)
            else:
                self._outcomes.end(tx, task, failed(Failure.INTERRUPTED, f"{why}; it may be done in part"))

        return change
