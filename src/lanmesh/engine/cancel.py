"""end tasks before their time: what is done here, what was asked of a peer, and all that came of it"""

from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock
from lanmesh.model.delivery import DeliveryEvent, DeliveryState
from lanmesh.model.envelope import Cancel
from lanmesh.model.record import recalled, withdrawn
from lanmesh.model.task import Task, TaskEvent, TaskState, canceled
from lanmesh.store import outbox, tasks
from lanmesh.store.database import Transaction

_FROM_ABOVE = "the task that asked for it was canceled"


class Cancels:
    """Takes tasks back. Whatever was committed first counts: an end that was there before stays."""

    def __init__(self, envelopes: Envelopes, outcomes: Outcomes, clock: Clock) -> None:
        """End by outcomes, and tell peers by envelopes."""
        self._envelopes = envelopes
        self._outcomes = outcomes
        self._clock = clock

    def cancel(self, tx: Transaction, task: Task, who: str) -> Task:
        """Have a task end, and return it as it is then: ended, or `canceling` until that is known.

        All that its run has asked of peers is canceled with it. Once is enough: what has ended, or
        is being canceled, is returned as it is. An end that is only assumed is none: where the peer
        may have the task, it is told to end it.

        Args:
            tx: The transaction.
            task: The task.
            who: Who wants it, in words.
        """
        if task.canceling is not None or (task.final and not self._may_go_on(tx, task)):
            return task
        if task.asked:
            return self._recall(tx, task, who)
        for child in tasks.children(tx, task.local_id):
            self.cancel(tx, child, _FROM_ABOVE)
        if task.state is TaskState.WORKING:
            stopping = task.stopping(who)
            tasks.save(tx, stopping, TaskEvent.STOP, self._clock.now(), who)
            return stopping
        return self._outcomes.end(tx, task, canceled(who))

    @staticmethod
    def _may_go_on(tx: Transaction, task: Task) -> bool:
        """Return whether a task that has ended here may be done at its peer all the same."""
        request = outbox.find(tx, task.wire_id) if task.assumed and not task.parted else None
        return request is not None and request.state is DeliveryState.UNKNOWN

    def _recall(self, tx: Transaction, task: Task, who: str) -> Task:
        now = self._clock.now()
        request = outbox.find(tx, task.wire_id)
        if request is not None and request.state is DeliveryState.QUEUED:
            # Surely not taken by anyone yet, so there is nobody to tell.
            outbox.save(tx, request.after(DeliveryEvent.WITHDRAW), now)
            ended = withdrawn(tasks.get(tx, task.local_id), canceled(who), now)
            tasks.save(tx, ended, TaskEvent.CANCEL, now, who)
            return ended
        after = recalled(task, who)
        tasks.save(tx, after, "recall", now, who)
        outbox.queue(tx, self._envelopes.about(after, Cancel(task_id=task.wire_id)))
        return tasks.get(tx, task.local_id)
