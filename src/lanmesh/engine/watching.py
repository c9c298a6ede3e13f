"""wait for what becomes of a task, until this node stops"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from lanmesh.engine.drafts import Drafts
from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock
from lanmesh.errors import InvalidRequest, TaskNotFound, TooBusy
from lanmesh.model.draft import Mark, Passage
from lanmesh.model.history import Event
from lanmesh.model.ids import LocalId, Origin, short
from lanmesh.model.task import Task
from lanmesh.store import files, history, tasks
from lanmesh.store.database import Change, Database, Topic

QUIET_S = 15.0
"""After so much silence a stream tells that it still goes on: proxies close what seems dead."""

MOST_STREAMS = 100
"""That one caller may have open at a time."""

_BATCH = 100
"""Events that are in memory at a time, for a reader that is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What has happened to a task since the last news; nothing, if time has passed."""

    events: list[Event]
    draft: Passage | None = None
    """What its run has written since; the events come first."""
    end: Task | None = None
    """The task, if the last of these events has ended it; nothing follows then."""


class Watching:
    """Holds those who wait for a task, and lets them go when there is something to see."""

    def __init__(self, *, database: Database, events: Events, clock: Clock, drafts: Drafts) -> None:
        """Begin; `stop` ends all waits."""
        self._database = database
        self._events = events
        self._clock = clock
        self.drafts = drafts
        self._stopping = False
        self._streams: Counter[Origin] = Counter()

    def stop(self) -> None:
        """End all waits: each returns its task as it is."""
        self._stopping = True
        self._events.publish([Change(Topic.STOPPING)])

    async def until(self, task: Task, wait_s: float, version: int | None, draft: Mark | None = None) -> Task:
        """Return a task once nothing more is expected of it, or there is something new, or after some time.

        New is what is newer than a version, and what a run has written beyond a mark, if they are given.
        """
        deadline = self._clock.monotonic() + wait_s
        with self._watch(task) as changed:
            while True:
                changed.clear()
                task = tasks.get(self._database.read, task.local_id)
                newer = version is not None and task.version > version
                more = draft is not None and self.drafts.after(task.local_id, draft) is not None
                left_s = deadline - self._clock.monotonic()
                over = task.final and task.canceling is None  # else its end is assumed, and may yet be told
                if over or newer or more or self._stopping or left_s <= 0:
                    return task
                await heard(self._clock, changed, left_s)

    async def brought(self, task: LocalId, wait_s: float) -> None:
        """Return once nothing more is to come of the files that a task has come to, or after some time."""
        deadline = self._clock.monotonic() + wait_s
        with self._events.watch(Change(Topic.FILES), Change(Topic.STOPPING)) as changed:
            while True:
                changed.clear()
                left_s = deadline - self._clock.monotonic()
                if self._stopping or left_s <= 0 or not files.coming(self._database.read, task):
                    return
                await heard(self._clock, changed, left_s)

    def follow(self, task: Task, after: int, seen: Mark, caller: Origin) -> AsyncGenerator[News, None] | None:
        """Return what has happened to a task after one of its versions, and what happens to it from now on.

        Of a run's words, those are told that are kept, and of what it writes, what is kept beyond a mark:
        a reader that is slow misses some of that, and no state. `None` if nothing can follow that version.

        Raises:
            InvalidRequest: The task has not come to that version.
            TooBusy: The caller follows as many tasks as it may.
        """
        if after > task.version:
            raise InvalidRequest(
                f"the latest event of task {short(task.local_id)} is {task.version}: there is no {after} yet"
            )
        if task.final and after == task.version:
            return None
        if self._streams[caller] >= MOST_STREAMS:
            raise TooBusy(f"at most {MOST_STREAMS} streams of events may be open: close one", retry_after_s=5)
        return self._told(task, after, seen, caller)

    async def _told(self, task: Task, after: int, seen: Mark, caller: Origin) -> AsyncGenerator[News, None]:
        self._streams[caller] += 1
        try:
            with (
                self._watch(task) as changed,
                suppress(TaskNotFound),  # it was so old that it is gone
            ):
                while not self._stopping:
                    changed.clear()
                    found = history.events(self._database.read, task.local_id, after=after, most=_BATCH)
                    after = found[-1].version if found else after
                    task = tasks.get(self._database.read, task.local_id)
                    if task.final and after >= task.version:
                        yield News(events=found, end=task)
                        return
                    draft = self.drafts.after(task.local_id, seen)
                    seen = seen if draft is None else draft.end
                    if found or draft or not await heard(self._clock, changed, QUIET_S):
                        yield News(events=found, draft=draft)
        finally:
            self._streams[caller] -= 1

    def _watch(self, task: Task) -> AbstractContextManager[asyncio.Event]:
        topics = Change(Topic.TASK, task.local_id), Change(Topic.DRAFT, task.local_id), Change(Topic.STOPPING)
        return self._events.watch(*topics)
