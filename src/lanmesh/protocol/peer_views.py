"""what the operator port tells of peers, of pairing and of nodes that were seen: the structs of its JSON"""

from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.model.peer import DEFAULT_PORT, Contact, Invitation, Pairing, Peer, Sighting
from lanmesh.model.presence import Presence
from lanmesh.model.task import AcceptMode
from lanmesh.protocol.wire import Wire, milliseconds


class PeerView(Wire, kw_only=True):
    """A configured or paired peer, and what was last seen of it."""

    id: str
    host: str
    port: int
    wire: str
    """What protects the way to it: `paired`, `tls` (its key is that of the first use), `cleartext`."""
    node_id: str | None
    """The key that it has proven; `null` for one that is not paired."""
    has_token: bool
    heard_at: int | None
    reached_at: int | None
    failed_at: int | None
    error: str | None
    queued: int
    """Envelopes that wait for it."""
    presence: Presence | None = None
    """Whether it is there; `null` of one that is not paired."""
    accept_mode: AcceptMode | None = None
    """What is done with its tasks; `null`: the same as with all."""


class PeerProfileView(Wire, kw_only=True):
    """A peer's profile as it came."""

    profile: msgspec.Raw
    seen_at: int | None
    error: str | None
    """Why it is not fresh; `null` if it is."""


class SightingView(Wire, kw_only=True):
    """A node that was seen on the network. Anybody there may have written any of it."""

    node_id: str
    name: str
    addresses: list[str]
    """Each as `host:port`, the latest word first."""
    shows_code: bool
    """Whether it says that it can be paired with now."""
    seen_at: int | None


class PairingView(Wire, kw_only=True):
    """A node that has proven its key."""

    peer: str
    """Its name here."""
    node_id: str
    host: str
    port: int
    state: str
    """`pending` until both sides are known to count on it, then `paired`."""


class InvitationView(Wire, kw_only=True):
    """A code that can be typed on another node, and what has come of it."""

    code: str
    closes_at: int | None
    open: bool
    """Whether it can still be used."""
    port: int
    listen: str
    in_vain: list[str]
    """From where it was tried in vain: by a wrong code, or without a proof of any."""
    guest: PairingView | None = None
    """Who has used it."""


class PairRequest(Wire, kw_only=True):
    """A code that another node shows, and where that is."""

    code: str
    host: str | None = None
    """`null`: the one node on the network that shows a code."""
    port: Annotated[int, Meta(ge=1, le=65535)] = DEFAULT_PORT


class UpgradeRequest(Wire, kw_only=True):
    """Where the mesh port of a peer is, if not where it is configured."""

    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None


def peer_view(
    peer: Peer,
    contact: Contact,
    *,
    has_token: bool,
    queued: int,
    presence: Presence | None = None,
    accept_mode: AcceptMode | None = None,
) -> PeerView:
    """Return how a peer is shown."""
    return PeerView(
        id=peer.id,
        host=peer.host,
        port=peer.port,
        wire=peer.wire,
        node_id=peer.node_id,
        has_token=has_token,
        heard_at=milliseconds(contact.heard_at),
        reached_at=milliseconds(contact.reached_at),
        failed_at=milliseconds(contact.failed_at),
        error=contact.error,
        queued=queued,
        presence=presence,
        accept_mode=accept_mode,
    )


def sighting_view(sighting: Sighting) -> SightingView:
    """Return how a node that was seen is shown."""
    return SightingView(
        node_id=sighting.node_id,
        name=sighting.name,
        addresses=[f"{host}:{port}" for host, port in sighting.places],
        shows_code=sighting.shows_code,
        seen_at=milliseconds(sighting.seen_at),
    )


def pairing_view(pairing: Pairing) -> PairingView:
    """Return how a pairing is shown; its tokens never are."""
    return PairingView(
        peer=pairing.peer,
        node_id=pairing.node_id,
        host=pairing.host,
        port=pairing.port,
        state=pairing.state,
    )


def invitation_view(invitation: Invitation, listen: str, port: int) -> InvitationView:
    """Return how a code is shown, of a node that listens there."""
    return InvitationView(
        code=invitation.code,
        closes_at=milliseconds(invitation.closes_at),
        open=invitation.open,
        listen=listen,
        port=port,
        in_vain=list(invitation.in_vain),
        guest=None if invitation.guest is None else pairing_view(invitation.guest),
    )
