"""end the tasks that their owner does not decide about in time"""

from lanmesh.engine.deadlines import STEP, keep_deadlines
from lanmesh.engine.events import Events
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock
from lanmesh.model.ids import PeerId
from lanmesh.model.task import APPROVAL_S, Failure, rejected
from lanmesh.store import tasks
from lanmesh.store.database import Database, Topic, Transaction


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
        await keep_deadlines(
            self._database,
            self._events,
            self._clock,
            topic=Topic.APPROVAL,
            next_due=lambda tx: next((task.decide_by for task in tasks.awaiting_approval(tx, 1)), None),
            end_late=self._expire,
        )

    def _expire(self, tx: Transaction) -> bool:
        """End some of what has waited too long; return whether there may be more."""
        now = self._clock.now()
        late = [
            task for task in tasks.awaiting_approval(tx, STEP) if task.decide_by and task.decide_by <= now
        ]
        for task in late:
            hours = f"{APPROVAL_S / 3600:g} h"
            why = f"the owner of {self._me} did not decide within {hours}"
            self._outcomes.end(tx, task, rejected(Failure.EXPIRED, why))
        return len(late) == STEP
