"""how a task ends here: its last state and its reply, in one transaction"""

from collections.abc import Mapping
from dataclasses import replace

from lanmesh.engine.ports import Clock, Random
from lanmesh.model import ids
from lanmesh.model.delivery import RESULT_TTL_S, Delivery
from lanmesh.model.envelope import Envelope
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import Peer
from lanmesh.model.task import ENDINGS, Outcome, Task, TaskMode
from lanmesh.protocol import codec
from lanmesh.protocol.json import cut
from lanmesh.store import outbox, tasks
from lanmesh.store.database import Transaction

_MAX_REASON_BYTES = 16_000
"""Of an error's detail; a program's last words are at most 4 kB."""


class Outcomes:
    """Ends tasks, and tells their askers."""

    def __init__(self, me: PeerId, peers: Mapping[PeerId, Peer], clock: Clock, chance: Random) -> None:
        """Sign replies as `me`; they go to configured peers only."""
        self._me = me
        self._peers = peers
        self._clock = clock
        self._chance = chance

    def end(self, tx: Transaction, task: Task, outcome: Outcome) -> Task:
        """Record how a task ended, and queue the result for its asker.

        A task that was sent to be forgotten, or whose asker is no configured peer, has no reply;
        its asker may still read it.

        Raises:
            IllegalTransition: It has ended before.
        """
        now = self._clock.now()
        ended = task.ended(_within_limits(outcome), now)
        detail = "" if outcome.error is None else outcome.error.detail
        tasks.save(tx, ended, ENDINGS[outcome.state], now, detail)
        peer = PeerId(task.peer)
        if ended.mode is not TaskMode.FIRE_AND_FORGET and peer in self._peers:
            outbox.queue(tx, self._reply(ended, peer, now))
        return ended

    def _reply(self, task: Task, peer: PeerId, now: float) -> Delivery:
        envelope = Envelope(
            id=ids.WireId(ids.local_id(self._chance.bytes(16))),
            sender=self._me,
            recipient=peer,
            timestamp_ms=codec.milliseconds(now) or 0,
            payload=task.report(),
            reply_to=task.wire_id,
            reply_key=task.reply_key,
            root_id=task.chain.root_id,
        )
        return Delivery(
            envelope=envelope,
            peer=peer,
            task=task.local_id,
            due_at=now,
            expires_at=now + RESULT_TTL_S,
            created_at=now,
        )


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
