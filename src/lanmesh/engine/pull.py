"""ask peers how the tasks fare that they were asked for"""

from collections.abc import Callable
from contextlib import suppress

from lanmesh.engine import reports
from lanmesh.engine.events import Events
from lanmesh.engine.ports import Clock, PeerLink
from lanmesh.errors import MeshError
from lanmesh.model.delivery import DeliveryState
from lanmesh.model.ids import PeerId
from lanmesh.model.task import Task, TaskReport
from lanmesh.store import outbox, peers, tasks
from lanmesh.store.database import Change, Database, Topic, Transaction

_PULL_S = 25.0
"""How long a peer is asked to hold its answer: below the idle limit of home routers and proxies."""

_PULL_AGAIN_S = 1.0
"""Between two questions, where the peer did not answer the first."""


class Pull:
    """Reads at peers what they have not told yet, or cannot tell: results are pushed and pulled."""

    def __init__(self, *, database: Database, events: Events, clock: Clock, link: PeerLink) -> None:
        """Ask over a link."""
        self._database = database
        self._events = events
        self._clock = clock
        self._link = link

    async def follow(self, task: Task) -> None:
        """Keep the record of an asked task up to date by asking its peer, until it is final."""
        while not task.final:
            await self._until_delivered(task)
            known = task.version
            with suppress(MeshError):
                report = await self._link.report(
                    PeerId(task.peer), task.wire_id, wait_s=_PULL_S, version=task.seen_version
                )
                task = await self._database.write(self._recording(task, report))
            if task.version == known:
                await self._clock.sleep(_PULL_AGAIN_S)

    async def _until_delivered(self, task: Task) -> None:
        with self._events.watch(Change(Topic.TASK, task.local_id)) as changed:
            while True:
                changed.clear()
                delivery = outbox.find(self._database.read, task.wire_id)
                if delivery is None or delivery.state is DeliveryState.DELIVERED:
                    return
                await changed.wait()

    def _recording(self, task: Task, report: TaskReport) -> Callable[[Transaction], Task]:
        def change(tx: Transaction) -> Task:
            now = self._clock.now()
            peers.reached(tx, PeerId(task.peer), now)
            return reports.record(tx, tasks.get(tx, task.local_id), report, now)

        return change
