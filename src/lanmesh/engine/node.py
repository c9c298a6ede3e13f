"""the one door, as four rooms: node.tasks, node.arrivals, node.mail, node.peers"""

from dataclasses import dataclass, replace

from lanmesh.engine.arrivals import Arrivals
from lanmesh.engine.callers import Caller, identify
from lanmesh.engine.mail import Mailroom
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock, Tokens
from lanmesh.engine.tasks import Tasks
from lanmesh.errors import NotAuthenticated
from lanmesh.store import inbox, outbox, tasks
from lanmesh.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How much there is of what the owner may want to look at."""

    running: int
    waiting: int
    approvals: int
    unread: int
    queued: int
    undelivered: int


class Node:
    """This node, for whoever speaks to it: all faces call it, and nothing else."""

    def __init__(
        self,
        *,
        tasks: Tasks,
        arrivals: Arrivals,
        mail: Mailroom,
        peers: Peers,
        tokens: Tokens,
        clock: Clock,
        database: Database,
        version: str,
    ) -> None:
        """Open the rooms."""
        self.tasks = tasks
        self.arrivals = arrivals
        self.mail = mail
        self.peers = peers
        self.version = version
        self._tokens = tokens
        self._clock = clock
        self._database = database
        self._started_at = clock.monotonic()

    @property
    def uptime_s(self) -> float:
        """Seconds since it started."""
        return self._clock.monotonic() - self._started_at

    def identify(self, token: str | None) -> Caller:
        """Return who presents a token, and count that as a request.

        Raises:
            NotAuthenticated: There is no token, or nobody has it.
        """
        caller = identify(token, self._tokens.inbound())
        return replace(caller, early_s=self.peers.allowance.early_s(caller))

    def still_knows(self, caller: Caller, token: str | None) -> bool:
        """Return whether a token still shows that it is this caller; that counts as no request."""
        try:
            return identify(token, self._tokens.inbound()).origin == caller.origin
        except NotAuthenticated:
            return False

    def numbers(self) -> Numbers:
        """Return how much waits here."""
        read = self._database.read
        counts = tasks.counts(read)
        return Numbers(
            running=counts.running,
            waiting=counts.waiting,
            approvals=tasks.approvals(read),
            unread=inbox.count_unread(read),
            queued=outbox.count_waiting(read),
            undelivered=outbox.count_failed(read),
        )
