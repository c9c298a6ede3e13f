"""peers: the nodes that this one knows, and what was last seen of them"""

from dataclasses import dataclass

from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import PeerId
from lanmesh.model.task import AcceptMode

DEFAULT_PORT = 18760
"""The mesh port of a node; a gateway's own port is 18789."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node that the owner has configured."""

    id: PeerId
    host: str
    port: int = DEFAULT_PORT
    accept_mode: AcceptMode | None = None
    """What is done with its tasks; `None`: what is done with those of others."""
    may: frozenset[EnvelopeType] = frozenset({EnvelopeType.MESSAGE, EnvelopeType.TASK})
    """What it may begin. It may always tell of what this node asked of it."""


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
