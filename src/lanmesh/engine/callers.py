"""who is calling, from proven credentials only"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from lanmesh.errors import NotAuthenticated
from lanmesh.model.ids import SHARED, Origin, PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundToken:
    """A token that opens this node, and to whom it belongs. The token itself is not kept."""

    digest: bytes
    """SHA-256 of the token."""
    peer: PeerId | None
    """The one peer that has it; `None` for the shared token."""


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


def digest_of(token: str) -> bytes:
    """Return what is kept of a token where it is checked."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def identify(token: str | None, known: Sequence[InboundToken]) -> Caller:
    """Return who presents a token. Every known token is compared, each in constant time.

    Raises:
        NotAuthenticated: There is no token, or nobody has it.
    """
    if not token:
        raise NotAuthenticated
    presented = digest_of(token)
    matches = [entry for entry in known if hmac.compare_digest(entry.digest, presented)]
    if not matches:
        raise NotAuthenticated("the token opens nothing on this node; ask its owner for the right one")
    return Caller(peer=matches[0].peer)
