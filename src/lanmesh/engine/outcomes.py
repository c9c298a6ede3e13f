"""how a task ends here: its last state and its reply, in one transaction"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.ports import Clock
from lanmesh.model.envelope import CancelResult, Payload
from lanmesh.model.ids import SELF, PeerId, WireId
from lanmesh.model.peer import Peer
from lanmesh.model.report import report_of
from lanmesh.model.task import ENDINGS, Outcome, Task, TaskEvent, TaskMode, canceled
from lanmesh.protocol.json import MAX_RESULT_BYTES, cut
from lanmesh.store import files, outbox, tasks
from lanmesh.store.database import Transaction

_MAX_REASON_BYTES = 16_000
"""Of an error's detail; a program's last words are at most 4 kB."""

_MOST_MISSING = 10
"""Files that are named one by one."""


class Outcomes:
    """Ends tasks, and tells their askers."""

    def __init__(self, envelopes: Envelopes, peers: Mapping[PeerId, Peer], clock: Clock) -> None:
        """Send replies to peers only: those that are configured or paired."""
        self._envelopes = envelopes
        self._peers = peers
        self._clock = clock

    def end(self, tx: Transaction, task: Task, outcome: Outcome) -> Task:
        """Record how a task ended, and queue the result for its asker.

        A task that was sent to be forgotten, or whose asker is no peer of this node's, has no reply;
        its asker may still read it. One who has canceled it wants to hear of it after all.

        Raises:
            IllegalTransition: It has ended before.
        """
        now = self._clock.now()
        ended = task.ended(_within_limits(outcome), now)
        detail = "" if outcome.error is None else outcome.error.detail
        tasks.save(tx, ended, ENDINGS[outcome.state], now, detail)
        files.let_go(tx, task.local_id, now, begun=task.attempt > 0)
        told = None
        if ended.mode is not TaskMode.FIRE_AND_FORGET:
            told = self.tell(tx, ended, replace(report_of(ended), files=outcome.files))
        elif task.canceling is not None:
            self.tell(tx, ended, CancelResult(report=report_of(ended)))
        files.announce(
            tx, () if task.parted else outcome.files, origin=SELF, peer=task.peer, envelope=told or "",
            now=now, task=task.local_id, made=True, reader=task.origin,
        )  # fmt: skip
        return ended

    def release(self, tx: Transaction, task: Task, why: str) -> Task:
        """Give a claimed task back to be run again, or end it here if somebody wants that."""
        if task.canceling is not None:
            return self.end(tx, task, canceled(task.canceling))
        released = task.released()
        tasks.save(tx, released, TaskEvent.RUN_AGAIN, self._clock.now(), why)
        return released

    def go_on(self, tx: Transaction, task: Task, why: str) -> Task:
        """Record that a run could not be stopped, and tell whoever wanted it."""
        going = task.going_on(cut(why, _MAX_REASON_BYTES)[0])
        tasks.save(tx, going, TaskEvent.GO_ON, self._clock.now(), why)
        self.tell(tx, going, CancelResult(report=report_of(going)))
        return going

    def tell(self, tx: Transaction, task: Task, payload: Payload) -> WireId | None:
        """Tell a task's asker, if it is a peer, and still the same; return the id of the envelope."""
        if task.parted or task.peer not in self._peers:
            return None
        delivery = self._envelopes.about(task, payload)
        outbox.queue(tx, delivery)
        return delivery.envelope.id


def lacking(outcome: Outcome, missing: Sequence[str]) -> Outcome:
    """Return the outcome with the files that do not come with it told at the end of its result.

    Args:
        outcome: How a task was completed.
        missing: What is missing and why, each in a few words.
    """
    if not missing:
        return outcome
    told = "; ".join(missing[:_MOST_MISSING])
    others = len(missing) - _MOST_MISSING
    if others > 0:
        told += f"; and {others} more"
    told, _ = cut(told, _MAX_REASON_BYTES)
    note = f"[Not all of the files that this task has made could be sent. Missing: {told}]"
    if not outcome.result:
        return replace(outcome, result=note)
    text, shortened = cut(outcome.result, MAX_RESULT_BYTES - 2 * _MAX_REASON_BYTES)
    return replace(outcome, result=f"{text}\n\n{note}", truncated=outcome.truncated or shortened)


def _within_limits(outcome: Outcome) -> Outcome:
    """Return the outcome with no more text than its envelope can carry."""
    error = outcome.error
    result, shortened = (None, False) if outcome.result is None else cut(outcome.result)
    return replace(
        outcome,
        result=result,
        truncated=outcome.truncated or shortened,
        error=None if error is None else replace(error, detail=cut(error.detail, _MAX_REASON_BYTES)[0]),
    )
