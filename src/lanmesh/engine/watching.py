"""wait for what becomes of a task, until this node stops"""

from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock
from lanmesh.model.task import Task
from lanmesh.store import tasks
from lanmesh.store.database import Change, Database, Topic


class Watching:
    """Holds those who wait for a task, and lets them go when there is something to see."""

    def __init__(self, *, database: Database, events: Events, clock: Clock) -> None:
        """Begin; `stop` ends all waits."""
        self._database = database
        self._events = events
        self._clock = clock
        self._stopping = False

    def stop(self) -> None:
        """End all waits: each returns its task as it is."""
        self._stopping = True
        self._events.publish([Change(Topic.STOPPING)])

    async def until(self, task: Task, wait_s: float, version: int | None) -> Task:
        """Return a task once it is final or newer than a version, or after some time as it is."""
        deadline = self._clock.monotonic() + wait_s
        with self._events.watch(Change(Topic.TASK, task.local_id), Change(Topic.STOPPING)) as changed:
            while True:
                changed.clear()
                task = tasks.get(self._database.read, task.local_id)
                newer = version is not None and task.version > version
                left_s = deadline - self._clock.monotonic()
                if task.final or newer or self._stopping or left_s <= 0:
                    return task
                await heard(self._clock, changed, left_s)
