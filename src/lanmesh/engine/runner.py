"""claim a task, run it, record its outcome and its reply"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lanmesh.engine.drafts import Drafts
from lanmesh.engine.events import Events, Stopped, heard, within
from lanmesh.engine.files import Files
from lanmesh.engine.outcomes import Outcomes, lacking
from lanmesh.engine.ports import Clock, Executor, Interrupted, NotBegun, Progress
from lanmesh.engine.progress import Gatherer
from lanmesh.engine.retry import MOST_TRIES, rest
from lanmesh.errors import MeshError, StorageFailed
from lanmesh.model.ids import LocalId, short
from lanmesh.model.task import Failure, Outcome, Task, TaskEvent, TaskState, failed
from lanmesh.store import tasks
from lanmesh.store.database import Change, Database, Topic, Transaction

log = logging.getLogger(__name__)

_ABORT_S = 30.0
"""How long a run may take to end once it is told to; a program gets 3 s of it before it is killed."""

Settlement = Callable[[Transaction], Task | None]
"""Records how a run ended; returns the task as it is then, or `None` if the run's claim was overtaken."""


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
        files: Files,
        drafts: Drafts,
    ) -> None:
        """Hold claims in the name of one boot of this node."""
        self._files = files
        self._database = database
        self._events = events
        self._clock = clock
        self._executor = executor
        self._outcomes = outcomes
        self._boot = boot
        self._slots = asyncio.Semaphore(concurrency)
        self._begun: set[LocalId] = set()
        self._resting: dict[LocalId, float] = {}
        """Until when, on the clock that never goes back, what came to nothing is not begun again."""
        self._gatherer = Gatherer(database=database, clock=clock, drafts=drafts)

    async def run(self) -> None:
        """Go on with what earlier boots began, and claim and run tasks, until cancelled.

        Runs are then let go of: those that outlive this node are left to its next boot, the others
        are ended, and settled as interrupted.
        """
        try:
            async with asyncio.TaskGroup() as runs:
                runs.create_task(self._gatherer.run())
                await self._fill(runs)
        finally:
            with suppress(StorageFailed):  # the next boot settles it
                await self._database.write(self._release_unbegun)

    async def _fill(self, runs: asyncio.TaskGroup) -> None:
        for orphan in await self._database.insist(self._adopt, self._clock.sleep):
            await self._slots.acquire()
            self._start(runs, orphan, self._executor.resume(orphan, self._gatherer.of(orphan)))
        with self._events.watch(Change(Topic.RUNNABLE)) as changed:
            while True:
                await self._slots.acquire()
                await self._executor.ready()
                changed.clear()
                while (task := await self._claimed()) is None:
                    if self._resting:
                        await heard(self._clock, changed, self._rest_s())
                    else:
                        await changed.wait()
                    changed.clear()
                self._start(runs, task, self._attempt(task, self._gatherer.of(task)))

    def _start(self, runs: asyncio.TaskGroup, task: Task, work: Coroutine[Any, Any, Outcome]) -> None:
        def done(_run: asyncio.Task[None]) -> None:
            work.close()  # a run that was cancelled before its first step has not touched it
            self._slots.release()

        runs.create_task(self._run(task, work)).add_done_callback(done)

    def _adopt(self, tx: Transaction) -> list[Task]:
        """Take over the claims of earlier boots: from now on, what those report is refused."""
        adopted = []
        for task in tasks.claimed_by_others(tx, self._boot):
            taken = task.adopted(self._boot)
            tasks.save(tx, taken, TaskEvent.ADOPT, self._clock.now(), "this node began anew")
            adopted.append(taken)
        self._begun.update(task.local_id for task in adopted)
        return adopted

    async def _claimed(self) -> Task | None:
        """Claim the oldest task that may be begun now."""
        passed = self._clock.monotonic()
        self._resting = {name: until for name, until in self._resting.items() if until > passed}
        besides = self._begun | self._resting.keys()  # a run that has asked may not have ended yet

        def claim(tx: Transaction) -> Task | None:
            task = tasks.next_runnable(tx, besides)
            if task is None:
                return None
            now = self._clock.now()
            claimed = task.claimed(
                self._boot, now, repeatable=self._executor.repeatable, host_boot=self._executor.host_boot
            )
            tasks.save(tx, claimed, TaskEvent.CLAIM, now, f"attempt {claimed.attempt}")
            return claimed

        return await self._database.insist(claim, self._clock.sleep)

    def _rest_s(self) -> float:
        return max(0.0, min(self._resting.values()) - self._clock.monotonic())

    def _release_unbegun(self, tx: Transaction) -> None:
        # Claimed in the moment of stopping, and nothing of it was begun.
        for task in tasks.claimed_by(tx, self._boot):
            if task.local_id not in self._begun:
                self._outcomes.release(tx, task, "it was not begun")

    async def _run(self, task: Task, work: Coroutine[Any, Any, Outcome]) -> None:
        self._begun.add(task.local_id)
        log.info("task begun", extra={"task": short(task.local_id), "attempt": task.attempt})
        with self._events.watch(Change(Topic.STOP, task.local_id)) as stop:
            if tasks.get(self._database.read, task.local_id).canceling is not None:
                stop.set()
            try:
                settle = await self._end(task, work, stop)
            except asyncio.CancelledError:
                if not self._executor.outlives:
                    with suppress(StorageFailed):  # the next boot settles it
                        why = "the node was stopped while the task was being done"
                        await self._database.write(self._interrupted(task, why, by_owner=True))
                raise
        ended = await self._settled(task, settle)
        self._gatherer.end(task)
        if ended is not None:
            log.info("task ended", extra={"task": short(task.local_id), "state": ended.state})
            if ended.state is TaskState.SUBMITTED:
                self._resting[task.local_id] = self._clock.monotonic() + rest(ended.tries)
        else:  # fenced by a later claim, or the agent has replied already
            log.info("outcome dropped", extra={"task": short(task.local_id), "attempt": task.attempt})
        self._begun.discard(task.local_id)
        self._events.publish([Change(Topic.RUNNABLE)])

    async def _settled(self, task: Task, settle: Settlement) -> Task | None:
        """Record how a run ended; what cannot be told to its asker ends it as failed."""
        try:
            return await self._database.insist(settle, self._clock.sleep)
        except Exception as fault:  # one outcome must not end the node, now and at each start
            log.exception("outcome cannot be kept", extra={"task": short(task.local_id)})
            why = fault.detail if isinstance(fault, MeshError) else type(fault).__name__
            outcome = failed(Failure.INCOMPLETE, f"what came of it cannot be told: {why}")
            return await self._database.insist(self._finished(task, outcome), self._clock.sleep)

    async def _attempt(self, task: Task, said: Progress) -> Outcome:
        """Do a task from its start, without what an interrupted attempt has left, or on from its answer."""
        if task.attempt > 1 and not task.dialogue:
            try:
                await self._files.clear(task.local_id)
            except StorageFailed as fault:
                why = f"what an interrupted attempt has left cannot be removed: {fault.detail}"
                return failed(Failure.INCOMPLETE, why)
        return await self._executor.run(task, said)

    async def _end(self, task: Task, work: Coroutine[Any, Any, Outcome], stop: asyncio.Event) -> Settlement:
        """Do the work until it ends in one way or another; return how that is to be recorded."""
        while True:
            began = task.started_at or 0.0
            # A clock that was set back since then gives no run more time than it was given.
            left_s = min(began + task.timeout_s - self._clock.now(), task.timeout_s)
            try:
                outcome = await within(self._clock, left_s, work, stop)
                return self._finished(task, await self._with_files(task, outcome))
            except Stopped:
                stop.clear()
                why = await self._stopped(task)
                if why is None:
                    return self._given_back(task, "it was stopped")
                await self._database.insist(self._going_on(task, why), self._clock.sleep)
                work = self._executor.resume(task, self._gatherer.of(task))
            except TimeoutError:
                why = await self._stopped(task)
                more = "" if why is None else f"; it could not be stopped: {why}"
                outcome = failed(Failure.TIMED_OUT, f"it took longer than its {task.timeout_s:g} s{more}")
                return self._finished(task, outcome)
            except NotBegun as fault:
                return self._given_back(task, str(fault))
            except Interrupted as fault:
                return self._interrupted(task, str(fault))
            except Exception as fault:  # the root of a run: its asker must hear of it all the same
                log.exception("executor broke", extra={"task": short(task.local_id)})
                detail = f"the executor broke: {type(fault).__name__}"
                return self._finished(task, failed(Failure.INTERRUPTED, detail))

    async def _with_files(self, task: Task, outcome: Outcome) -> Outcome:
        """Return the outcome with the files that the run has made, unless another one has overtaken it."""
        overtaken = tasks.get(self._database.read, task.local_id).claim != task.claim
        if outcome.state is not TaskState.COMPLETED or overtaken:
            return outcome
        try:
            made, missing = await self._files.salvage(task.local_id, outcome.result)
        except asyncio.CancelledError:  # this node is stopped, and nobody would do or tell it again
            if not (task.repeatable or self._executor.outlives):
                missing = ["what it has made: its node was stopped before that was kept"]
                with suppress(StorageFailed):
                    await self._database.write(self._finished(task, lacking(outcome, missing)))
            raise
        except Exception as fault:  # what was done is told all the same
            log.exception("files cannot be kept", extra={"task": short(task.local_id)})
            made, missing = (), [f"what it has made: {type(fault).__name__}"]
        if missing:
            log.warning("files not kept", extra={"task": short(task.local_id), "files": len(missing)})
        return lacking(replace(outcome, files=(*outcome.files, *made)), missing)

    async def _stopped(self, task: Task) -> str | None:
        """End for real what may go on of a run that was let go of; return why it could not be ended."""
        try:
            return await within(self._clock, _ABORT_S, self._executor.abort(task))
        except TimeoutError:
            return f"what runs it did not confirm its end within {_ABORT_S:g} s"
        except Exception as fault:  # so too
            log.exception("executor broke", extra={"task": short(task.local_id)})
            return f"the executor broke: {type(fault).__name__}"

    def _finished(self, claimed: Task, outcome: Outcome) -> Settlement:
        return self._if_it_holds(claimed, lambda tx, task: self._outcomes.end(tx, task, outcome))

    def _given_back(self, claimed: Task, why: str) -> Settlement:
        return self._if_it_holds(claimed, lambda tx, task: self._outcomes.release(tx, task, why))

    def _going_on(self, claimed: Task, why: str) -> Settlement:
        return self._if_it_holds(claimed, lambda tx, task: self._outcomes.go_on(tx, task, why))

    def _interrupted(self, claimed: Task, why: str, *, by_owner: bool = False) -> Settlement:
        def change(tx: Transaction, task: Task) -> Task:
            again = task.repeatable and (by_owner or task.tries < MOST_TRIES)
            if again or task.canceling is not None:
                return self._outcomes.release(tx, task, why)
            often = f", the last of {task.tries} tries" if task.repeatable else ""
            detail = f"{why}{often}; it may be done in part"
            return self._outcomes.end(tx, task, failed(Failure.INTERRUPTED, detail))

        return self._if_it_holds(claimed, change)

    @staticmethod
    def _if_it_holds(claimed: Task, change: Callable[[Transaction, Task], Task]) -> Settlement:
        """Return a change to a task that is made only while its claim stands: a later one fences it."""

        def guarded(tx: Transaction) -> Task | None:
            task = tasks.get(tx, claimed.local_id)
            return change(tx, task) if task.claim == claimed.claim else None

        return guarded
