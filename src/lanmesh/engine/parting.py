"""part from a peer for good: what waits for it, what is open with it and what is known of it ends"""

from lanmesh.engine import reports
from lanmesh.engine.cancel import Cancels
from lanmesh.engine.modes import AcceptModes
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock
from lanmesh.engine.roster import Roster
from lanmesh.model.delivery import DeliveryEvent, DeliveryState
from lanmesh.model.ids import PeerId
from lanmesh.model.task import Failure, failed
from lanmesh.store import outbox, pairings, partings, peers, tasks
from lanmesh.store.database import Transaction


class Partings:
    """Sees to it that whoever bears a peer's name next gets nothing that was for the one before.

    All is kept by the peer's name, and a name is a label: once it is free, another node may have it.
    """

    def __init__(
        self, roster: Roster, cancels: Cancels, modes: AcceptModes, peers: Peers, clock: Clock
    ) -> None:
        """End by cancels what a peer has asked here."""
        self._roster = roster
        self._cancels = cancels
        self._modes = modes
        self._peers = peers
        self._clock = clock

    def unpair(self, tx: Transaction, peer: PeerId) -> bool:
        """Forget what a peer has proven, and part from it; return whether it had proven anything.

        One that is configured as well goes on as that, and nothing of it ends.
        """
        known = pairings.forget(tx, peer)
        if known and not self._roster.is_configured(peer):
            self.part(tx, peer)
        return known

    def make_way(self, tx: Transaction, peer: PeerId) -> None:
        """Part from whoever had a name before, as by the settings, if a node is to get that anew."""
        if all(known.peer != peer for known in pairings.pairings(tx)):
            self.part(tx, peer)

    def part(self, tx: Transaction, peer: PeerId) -> None:
        """End all that is between this node and a peer, and forget what the peer has shown.

        What waits for it is given up, as when its time is over, and can be sent again to whoever
        bears the name then. Of a task that it has taken, nobody can tell the end any more: it is
        assumed to have failed, until its doer says otherwise by the task's own secret. A task that
        the peer has asked here is stopped, since nobody can get its result. Its messages, and the
        files that have come from it, stay with the owner of this node.
        """
        now, why = self._clock.now(), f"{peer} was unpaired"
        tasks.part(tx, peer)
        partings.part(tx, peer, why, now)
        for delivery in outbox.waiting(tx, peer):
            # What is just being sent may arrive: then nobody knows.
            under_way = delivery.state is DeliveryState.SENT
            after = delivery.after(DeliveryEvent.LOSE if under_way else DeliveryEvent.EXPIRE, error=why)
            outbox.save(tx, after, now)
            unknown = after.state is DeliveryState.UNKNOWN
            end = (
                failed(Failure.UNKNOWN, f"{why}; it may have it, and may have done it")
                if unknown
                else failed(Failure.EXPIRED, f"{why} before it was asked")
            )
            reports.come_to_nothing(tx, after, end, now)
        for task in tasks.open_between(tx, peer):
            if not task.asked:
                self._cancels.cancel(tx, task, f"{peer}, who had asked for it, was unpaired")
            else:
                lost = failed(Failure.UNKNOWN, f"{why}; its last word of it was {task.state}")
                reports.presume(tx, task, lost, now)
        peers.forget(tx, peer)
        self._modes.forget(tx, peer)

    def forget(self, peer: PeerId) -> None:
        """Forget what is known of a peer beside what is stored; called once it is parted."""
        self._peers.forget(peer)
