"""the one door, as seven rooms: tasks, arrivals, modes, mail, files, peers, pairing"""

from dataclasses import dataclass, replace

from lanmesh.engine.allowance import Allowance
from lanmesh.engine.arrivals import Arrivals
from lanmesh.engine.callers import Caller, identify
from lanmesh.engine.files import Files
from lanmesh.engine.mail import Mailroom
from lanmesh.engine.modes import AcceptModes
from lanmesh.engine.pairing import Pairings
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock
from lanmesh.engine.roster import Roster
from lanmesh.engine.tasks import Tasks
from lanmesh.errors import NotAuthenticated
from lanmesh.model.ids import NodeId
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
        modes: AcceptModes,
        mail: Mailroom,
        files: Files,
        peers: Peers,
        pairing: Pairings,
        allowance: Allowance,
        roster: Roster,
        clock: Clock,
        database: Database,
        version: str,
    ) -> None:
        """Open the rooms."""
        self.tasks = tasks
        self.arrivals = arrivals
        self.modes = modes
        self.mail = mail
        self.files = files
        self.peers = peers
        self.pairing = pairing
        self.version = version
        self._allowance = allowance
        self._roster = roster
        self._clock = clock
        self._database = database
        self._started_at = clock.monotonic()

    @property
    def uptime_s(self) -> float:
        """Seconds since it started."""
        return self._clock.monotonic() - self._started_at

    @property
    def node_id(self) -> NodeId:
        """The key of this node, by which paired peers know it."""
        return self._roster.node_id

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored now; `None` while it can."""
        return self._database.trouble

    async def identify(self, token: str | None, certified: NodeId | None = None) -> Caller:
        """Return who presents a token, and count that as a request, and as a word of that peer.

        The first call of a peer that has just paired completes the pairing.

        Args:
            token: What was presented.
            certified: The node whose key the connection has proven, if any.

        Raises:
            NotAuthenticated: There is no token, or nobody has it, or it is not that node's.
        """
        found = identify(token, certified, self._roster.inbound())
        if found.pending is not None:
            await self.pairing.complete(found.pending)
            found = identify(
                token, certified, self._roster.inbound()
            )  # it may have been taken back meanwhile
        caller = found.caller
        if caller.peer is not None:
            self.peers.called(caller.peer)
        return replace(caller, early_s=self._allowance.early_s(caller))

    def still_knows(self, caller: Caller, token: str | None, certified: NodeId | None = None) -> bool:
        """Return whether what was presented still shows that it is this caller; that counts as no request."""
        try:
            return identify(token, certified, self._roster.inbound()).caller.origin == caller.origin
        except NotAuthenticated:
            return False

    def local_name(self, name: str) -> str:
        """Return the name here of a node that the wire names by its key; another name as it is."""
        return self._roster.local_name(name)

    def numbers(self) -> Numbers:
        """Return how much waits here."""
        read = self._database.read
        counts = tasks.counts(read)
        return Numbers(
            running=counts.running,
            waiting=counts.waiting,
            approvals=tasks.count_approvals(read),
            unread=inbox.count_unread(read),
            queued=outbox.count_waiting(read),
            undelivered=outbox.count_failed(read),
        )
