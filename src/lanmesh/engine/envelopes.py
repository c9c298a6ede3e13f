"""make the envelopes in which this node speaks to its peers, ready for the outbox"""

from collections.abc import Sequence
from dataclasses import replace

from lanmesh.engine.ports import Clock, Random
from lanmesh.model import ids
from lanmesh.model.delivery import Delivery, patience
from lanmesh.model.envelope import Envelope, Message, Payload, TaskRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import LocalId, PeerId, WireId
from lanmesh.model.task import Task


class Envelopes:
    """Says things to peers, in the name of this node."""

    def __init__(self, me: PeerId, clock: Clock, chance: Random) -> None:
        """Sign as `me`."""
        self._me = me
        self._clock = clock
        self._chance = chance

    def new_id(self) -> WireId:
        """Return an id that no envelope has had."""
        return WireId(ids.local_id(self._chance.bytes(16)))

    def message(self, peer: PeerId, text: str, files: Sequence[FileRef] = ()) -> Delivery:
        """Return a message to a peer."""
        now = self._clock.now()
        said = Message(text=text, files=tuple(files))
        return _posted(self._envelope(self.new_id(), peer, said, now), peer, now)

    def request(self, task: Task, files: Sequence[FileRef] = ()) -> Delivery:
        """Return the envelope that asks a peer to do a task, under the task's own wire id."""
        wanted = TaskRequest(
            description=task.description, mode=task.mode, timeout_s=task.timeout_s, files=tuple(files)
        )
        peer = PeerId(task.peer)
        envelope = replace(
            self._envelope(task.wire_id, peer, wanted, task.created_at),
            reply_key=task.reply_key,
            root_id=task.chain.root_id,
            path=task.chain.path,
            hops=task.chain.hops,
        )
        return _posted(envelope, peer, task.created_at, task.local_id)

    def about(self, task: Task, payload: Payload) -> Delivery:
        """Return what is to be said about a task to the peer that it came from or was given to."""
        peer, now = PeerId(task.peer), self._clock.now()
        envelope = replace(
            self._envelope(self.new_id(), peer, payload, now),
            reply_to=task.wire_id,
            reply_key=task.reply_key,
            root_id=task.chain.root_id,
        )
        return _posted(envelope, peer, now, task.local_id)

    def _envelope(self, wire_id: WireId, peer: PeerId, payload: Payload, now: float) -> Envelope:
        return Envelope(
            id=wire_id, sender=self._me, recipient=peer, timestamp_ms=round(now * 1000), payload=payload
        )


def _posted(envelope: Envelope, peer: PeerId, now: float, task: LocalId | None = None) -> Delivery:
    """Return an envelope as it begins its way."""
    return Delivery(
        envelope=envelope,
        peer=peer,
        task=task,
        due_at=now,
        expires_at=now + patience(envelope.type),
        created_at=now,
    )
