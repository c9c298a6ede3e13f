"""end the tasks that their owner does not decide about in time"""

from lanmesh.engine.events import Events, heard
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock
from lanmesh.model.ids import PeerId
from lanmesh.model.task import APPROVAL_S, Failure, rejected
from lanmesh.store import tasks
from lanmesh.store.database import Change, Database, Topic, Transaction

_LOOK_S = 3600.0
"""Between two looks at the clock, which may have jumped, as after a suspend."""

_STEP = 100
"""Tasks ended in one transaction."""


class Approvals:
    """Watches over the queue of tasks that wait for their owner's word; each waits so long and no longer."""

    def __init__(
        self, *, database: Database, events: Events, clock: Clock, outcomes: Outcomes, me: PeerId
    ) -> None:
        """Speak for the owner of `me` who does not."""
        self._database = database
        self._events = events
        self._clock = clock
        self._outcomes = outcomes
        self._me = me

    async def run(self) -> None:
        """End what nobody decided, each at its time, until cancelled."""
        with self._events.watch(Change(Topic.APPROVAL)) as changed:
            while True:
                changed.clear()
                while await self._database.insist(self._expire, self._clock.sleep):
                    pass
                waiting = tasks.awaiting_approval(self._database.read, 1)
                if not waiting:
                    await changed.wait()
                else:
                    left_s = (waiting[0].decide_by or 0.0) - self._clock.now()
                    await heard(self._clock, changed, min(max(left_s, 0.0), _LOOK_S))

    def _expire(self, tx: Transaction) -> bool:
        """End some of what has waited too long; return whether there may be more."""
        now = self._clock.now()
        late = [
            task for task in tasks.awaiting_approval(tx, _STEP) if task.decide_by and task.decide_by <= now
        ]
        for task in late:
            hours = f"{APPROVAL_S / 3600:g} h"
            why = f"the owner of {self._me} did not decide within {hours}"
            self._outcomes.end(tx, task, rejected(Failure.EXPIRED, why))
        return len(late) == _STEP
