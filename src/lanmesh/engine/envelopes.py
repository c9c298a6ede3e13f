"""make the envelopes in which this node speaks of tasks"""

from lanmesh.engine.ports import Clock, Random
from lanmesh.model import ids
from lanmesh.model.delivery import Delivery, patience
from lanmesh.model.envelope import Envelope, Payload
from lanmesh.model.ids import PeerId, WireId
from lanmesh.model.task import Task
from lanmesh.protocol.wire import milliseconds


class Envelopes:
    """Says things about tasks to the peers that they came from or were given to."""

    def __init__(self, me: PeerId, clock: Clock, chance: Random) -> None:
        """Sign as `me`."""
        self._me = me
        self._clock = clock
        self._chance = chance

    def about(self, task: Task, payload: Payload) -> Delivery:
        """Return what is to be said about a task, ready for the outbox."""
        now = self._clock.now()
        envelope = Envelope(
            id=WireId(ids.local_id(self._chance.bytes(16))),
            sender=self._me,
            recipient=PeerId(task.peer),
            timestamp_ms=milliseconds(now) or 0,
            payload=payload,
            reply_to=task.wire_id,
            reply_key=task.reply_key,
            root_id=task.chain.root_id,
        )
        return Delivery(
            envelope=envelope,
            peer=PeerId(task.peer),
            task=task.local_id,
            due_at=now,
            expires_at=now + patience(envelope.type),
            created_at=now,
        )
