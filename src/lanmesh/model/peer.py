"""peers: the nodes that this one knows, and what was last seen of them"""

from dataclasses import dataclass
from enum import StrEnum

from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.task import AcceptMode

DEFAULT_PORT = 18760
"""The mesh port of a node; a gateway's own port is 18789."""


Place = tuple[str, int]
"""Where a node may be dialled: a host or an address, and a port."""


class Wire(StrEnum):
    """What protects the way to a peer."""

    CLEARTEXT = "cleartext"
    """Nothing: whoever is between reads along."""
    TLS = "tls"
    """Its key, as it was at first use."""
    PAIRED = "paired"
    """Its key and this node's, as they were proven to each other."""


FILE = "file"
"""The permission to send files with what one may send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node that this one may talk to: configured, or paired."""

    id: PeerId
    host: str
    port: int = DEFAULT_PORT
    accept_mode: AcceptMode | None = None
    """What is done with its tasks; `None`: what is done with those of others."""
    may: frozenset[str] = frozenset({EnvelopeType.MESSAGE, EnvelopeType.TASK, FILE})
    """What it may begin, and whether with files. It may always tell of what this node asked of it."""
    tls: bool = False
    node_id: NodeId | None = None
    """The key that it has proven by pairing; `None` for one that is only configured."""
    certificate: bytes | None = None
    """The one certificate that it may show, in DER; `None` while its first use is to come."""
    also: tuple[Place, ...] = ()
    """Where else it was set up, or paired. Only whoever proves its key is it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it may be, whatever the port."""
        return (self.host, *(host for host, _ in self.also))

    @property
    def wire(self) -> Wire:
        """What protects the way to it."""
        if self.node_id is not None:
            return Wire.PAIRED
        return Wire.TLS if self.tls else Wire.CLEARTEXT


class PairingState(StrEnum):
    """How far two nodes have come with knowing each other."""

    PENDING = "pending"
    """The ceremony has ended here; whether it has there, its first fully checked call tells."""
    PAIRED = "paired"
    BLOCKED = "blocked"
    """Never again, until its owner unpairs it."""


PENDING_S = 600.0
"""How long a node that showed a code waits for the other's first call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What two nodes have agreed on, as one of them keeps it."""

    session: str
    """Names the ceremony, the same on both sides."""
    peer: PeerId
    """The name of the other here."""
    node_id: NodeId
    certificate: bytes
    host: str
    port: int
    token: str
    """What this node presents to the other."""
    accepted: bytes
    """SHA-256 of what the other presents to this node."""
    last: Place | None = None
    """Where it was reached last, if not where it was paired."""
    dialled: bool
    """Whether this side dialled; the other showed the code."""
    state: PairingState = PairingState.PENDING
    made_at: float

    def dead(self, now: float) -> bool:
        """Return whether the other side's first call can no longer complete it.

        Only the side that was dialled may give up by the clock: the other cannot know whether its
        first call has arrived, until it is told.
        """
        return self.state is PairingState.PENDING and not self.dialled and now > self.made_at + PENDING_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A code that can be typed elsewhere, and what has come of it."""

    code: str
    closes_at: float
    open: bool
    in_vain: tuple[str, ...]
    """From where the tries came that came to nothing."""
    guest: Pairing | None
    """Who has used it; `None` while nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A node that was seen on the network. Whoever is on that may have written any of it."""

    node_id: NodeId
    name: str
    """What it calls itself; for people only."""
    places: tuple[Place, ...]
    """Where it may be dialled, the latest word first."""
    shows_code: bool
    """Whether it says that it can be paired with now."""
    seen_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What came of talking to a peer. Times are seconds since the epoch; `None`: never."""

    heard_at: float | None = None
    """When it last sent something under a credential of its own, or under its name."""
    reached_at: float | None = None
    """When it last answered."""
    failed_at: float | None = None
    """When it last failed to answer."""
    error: str | None = None
    """Why it failed, while it has not answered since."""
