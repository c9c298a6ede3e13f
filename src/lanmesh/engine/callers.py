"""who is calling, from proven credentials only"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from lanmesh.errors import CertMismatch, ClientCertRequired, NotAuthenticated
from lanmesh.model.ids import SHARED, NodeId, Origin, PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request, as far as that is proven."""

    peer: PeerId | None
    """The peer whose own credential this is; `None` for a holder of the shared token."""
    early_s: float = 0.0
    """Seconds until it may ask for something new; 0 if it keeps its pace."""

    @property
    def origin(self) -> Origin:
        """Within which its ids are unique."""
        return SHARED if self.peer is None else Origin(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundToken:
    """A token that opens this node, and to whom it belongs. The token itself is not kept."""

    digest: bytes
    """SHA-256 of the token."""
    peer: PeerId | None
    """The one peer that has it; `None` for the shared token."""
    node_id: NodeId | None = None
    """The key that must be proven beside it; `None` for a token that was set by hand."""
    pending: str | None = None
    """The ceremony that its first use completes; `None` if that is done."""

    @property
    def caller(self) -> Caller:
        """Who it proves its holder to be."""
        return Caller(peer=self.peer)


def digest_of(token: str) -> bytes:
    """Return what is kept of a token where it is checked."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def identify(token: str | None, certified: NodeId | None, known: Sequence[InboundToken]) -> InboundToken:
    """Return the known token that a caller presents. Every one is compared, each in constant time.

    Args:
        token: What was presented.
        certified: The node whose key the connection has proven, if any.
        known: The tokens that open this node.

    Raises:
        NotAuthenticated: There is no token, or nobody has it.
        ClientCertRequired: It is a paired peer's, and no certificate came with it.
        CertMismatch: It is a paired peer's, and another's certificate came with it.
    """
    if not token:
        raise NotAuthenticated
    presented = digest_of(token)
    matches = [entry for entry in known if hmac.compare_digest(entry.digest, presented)]
    if not matches:
        raise NotAuthenticated("the token opens nothing on this node; ask its owner for the right one")
    found = matches[0]
    if found.node_id is not None and certified is None:
        raise ClientCertRequired
    if found.node_id is not None and certified != found.node_id:
        raise CertMismatch
    return found
