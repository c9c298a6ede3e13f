"""what each caller may: which kinds of envelopes, how often, how much at a time, how much in all"""

from collections.abc import Mapping

from lanmesh.engine.admission import RETRY_AFTER_S, Limits
from lanmesh.engine.callers import Caller
from lanmesh.engine.ports import Clock
from lanmesh.errors import NotAllowed, QuotaReached, TooBusy, TooFast
from lanmesh.model.envelope import Envelope, EnvelopeType
from lanmesh.model.ids import Origin, PeerId
from lanmesh.model.pace import Pace
from lanmesh.model.peer import FILE, Peer
from lanmesh.store import files, peers, tasks
from lanmesh.store.database import Transaction

_FREED_S = 600.0
"""What a caller is told to wait until something of it may have been removed here."""


_FOR_TELLING = 2
"""Times as much may be stored before what is told of tasks is put off: unread mail must not do that."""


class Allowance:
    """Counts requests in memory, and asks the store for the rest; each origin has the same."""

    def __init__(self, configured: Mapping[PeerId, Peer], limits: Limits, clock: Clock) -> None:
        """Begin with every origin rested."""
        self._configured = configured
        self._limits = limits
        self._clock = clock
        self._paces: dict[Origin, Pace] = {}

    def early_s(self, caller: Caller) -> float:
        """Count a request, and return in how many seconds there is room for it; 0: now."""
        most, now = float(self._limits.requests_per_minute), self._clock.monotonic()
        pace = self._paces.setdefault(caller.origin, Pace(most, most / 60, now))
        return pace.early_s(now)

    def check(self, tx: Transaction, caller: Caller, envelope: Envelope) -> None:
        """Check that a caller may bring a new envelope; a repeat is never asked about.

        Raises:
            TooFast: It brings too many in a minute.
            NotAllowed: The owner does not want this of that peer.
            QuotaReached: As much of it is stored as may be.
            TooBusy: As many tasks of it are open as may be.
        """
        check_pace(caller)
        begins = envelope.type in {EnvelopeType.MESSAGE, EnvelopeType.TASK}
        self._check_stored(tx, caller, self._limits.stored_bytes * (1 if begins else _FOR_TELLING))
        if not begins:
            return
        peer = self._configured.get(PeerId(envelope.sender))
        if peer is not None and envelope.type not in peer.may:
            raise NotAllowed(f"{peer.id} may not send a {envelope.type} to this node; its owner decides that")
        if peer is not None and envelope.files and FILE not in peer.may:
            raise NotAllowed(f"{peer.id} may not send files to this node; its owner decides that")
        if envelope.files:
            self.check_files(tx, caller.origin, sum(file.size for file in envelope.files))
        if envelope.type is EnvelopeType.TASK:
            open_now = tasks.count_open(tx, caller.origin)
            if open_now >= self._limits.open_tasks:
                raise TooBusy(
                    f"{open_now} tasks of yours are open here: no more are taken for now",
                    retry_after_s=RETRY_AFTER_S,
                )

    def _check_stored(self, tx: Transaction, caller: Caller, most: int) -> None:
        if peers.stored_bytes(tx, caller.origin) >= most:
            raise QuotaReached(
                "as much of yours is stored here as may be: wait until some of it is removed",
                retry_after_s=_FREED_S,
            )

    def room(self, tx: Transaction, origin: Origin) -> int:
        """Return how many more bytes of files an origin may have here; below 0: it has too many."""
        return self._limits.file_bytes - files.bytes_of(tx, origin)

    def check_files(self, tx: Transaction, origin: Origin, more: int = 0) -> None:
        """Check that an origin may have some more bytes of files here.

        Raises:
            QuotaReached: It may not.
        """
        room = self.room(tx, origin)
        if more > room:
            there, most = self._limits.file_bytes - room, self._limits.file_bytes
            raise QuotaReached(
                f"{there} bytes of your files are here or named, {more} more would come: "
                f"at most {most} are kept, each as often as it was named",
                retry_after_s=_FREED_S,
            )


def check_pace(caller: Caller) -> None:
    """Check that a caller keeps its pace.

    Raises:
        TooFast: It does not.
    """
    if caller.early_s:
        raise TooFast("you ask more often than this node answers", retry_after_s=caller.early_s)
