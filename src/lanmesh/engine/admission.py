"""whether to take what arrives: repeats, who may say it, chains, modes, limits"""

import hmac
from collections.abc import Container
from dataclasses import dataclass

from lanmesh.engine.callers import Caller
from lanmesh.errors import ChainRefused, IdConflict, InvalidRequest, NotAllowed, TasksNotAccepted, TooBusy
from lanmesh.model import ids
from lanmesh.model.chain import Chain
from lanmesh.model.envelope import MAX_HOPS, Envelope
from lanmesh.model.ids import RESERVED, SHARED, Origin, PeerId, WireId
from lanmesh.model.task import AcceptMode
from lanmesh.store import inbox
from lanmesh.store.database import Transaction

RETRY_AFTER_S = 5.0
"""What a caller is told to wait when the queue is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a node takes on."""

    concurrency: int = 2
    """Tasks run at the same time."""
    max_waiting: int = 1000
    """Tasks that wait to be run or approved; one more is refused until there is room."""
    open_tasks: int = 500
    """Tasks of one origin that run or wait."""
    requests_per_minute: int = 6000
    """Of one origin; a pause lets it make as many at once."""
    stored_bytes: int = 256 * 1024 * 1024
    """What one origin may have stored here."""
    file_bytes: int = 20_000 * 1024 * 1024
    """What one origin may have here of files."""


def check_sender(caller: Caller, envelope: Envelope, me: PeerId, with_own_token: Container[str]) -> None:
    """Check what an envelope says of its sender and its recipient against what is proven.

    A credential of its own proves a peer's name, and the envelope must be for this node. The
    shared token proves a holder only: `from` is a label, which may not be the name of a peer
    that has a credential of its own, and `to` is not checked.

    Raises:
        NotAllowed: It speaks in another's name.
        InvalidRequest: It is for another node.
    """
    if caller.peer is None:
        if envelope.sender in RESERVED:
            raise NotAllowed(f"from is {ids.quoted(envelope.sender)}: no node may bear that name")
        if envelope.sender in with_own_token:
            raise NotAllowed(
                f"from is {ids.quoted(envelope.sender)}: that peer has a token of its own, "
                "which must come with what it says"
            )
        return
    if envelope.sender != caller.peer:
        raise NotAllowed(f"from is {ids.quoted(envelope.sender)}, but the token is {caller.peer}'s")
    if envelope.recipient is not None and envelope.recipient != me:
        raise InvalidRequest(f"to is {ids.quoted(envelope.recipient)}, but this node is {me}")


def chain_of(envelope: Envelope, me: PeerId) -> Chain:
    """Return the chain that a task belongs to.

    Raises:
        ChainRefused: It is too long, or has passed through this node before.
    """
    if envelope.hops > MAX_HOPS:
        raise ChainRefused(f"{envelope.hops} delegations in one chain: at most {MAX_HOPS} are taken")
    if me in envelope.path:
        raise ChainRefused(f"the chain has passed through {me} before: {' > '.join(envelope.path)}")
    return Chain(root_id=envelope.root_id or envelope.id, path=envelope.path, hops=envelope.hops)


def onward(parent: Chain | None, me: PeerId, peer: PeerId, wire_id: WireId) -> Chain:
    """Return the chain of a task that this node delegates.

    Raises:
        ChainRefused: It would be too long, or come back to a node that it has passed.
    """
    if peer == me:
        raise ChainRefused(f"{me} is this node itself")
    before = parent or Chain(root_id=wire_id)
    if before.hops + 1 > MAX_HOPS:
        raise ChainRefused(f"this task came by {before.hops} delegations; at most {MAX_HOPS} are allowed")
    if peer in before.path:
        raise ChainRefused(f"this task came from {peer}: {' > '.join(before.path)}; it cannot go back there")
    return Chain(root_id=before.root_id, path=(*before.path, me), hops=before.hops + 1)


def needs_approval(mode: AcceptMode, waiting: int, limits: Limits) -> bool:
    """Return whether the owner must be asked before a task may run.

    Args:
        mode: What the owner wants done with tasks.
        waiting: Tasks that wait already.
        limits: How many may.

    Raises:
        TasksNotAccepted: The owner wants none.
        TooBusy: Too many wait.
    """
    if mode is AcceptMode.OFF:
        raise TasksNotAccepted
    if waiting >= limits.max_waiting:
        raise TooBusy(f"{waiting} tasks wait here: no more are taken for now", retry_after_s=RETRY_AFTER_S)
    return mode is AcceptMode.MANUAL


def already_canceled(tx: Transaction, caller: Caller, envelope: Envelope) -> bool:
    """Return whether its sender has canceled a task that comes only now."""
    return inbox.canceled(tx, caller.origin, envelope.id) or inbox.canceled(
        tx, _other_origin(caller, envelope), envelope.id, sender=envelope.sender
    )


def already_seen(tx: Transaction, caller: Caller, envelope: Envelope, digest: bytes) -> inbox.Seen | None:
    """Return what is known of an envelope that came before; `None` if it is new.

    A peer that has got a credential of its own since may repeat what it sent under the shared
    token, and one that has lost it, what it sent with it: that counts as seen, so that nothing
    runs twice.

    Raises:
        IdConflict: Its id was used before for something else.
    """
    known = inbox.seen(tx, caller.origin, envelope.id)
    if known is None:
        known = inbox.seen(tx, _other_origin(caller, envelope), envelope.id, sender=envelope.sender)
    if known is not None and not hmac.compare_digest(known.digest, digest):
        raise IdConflict(f"id {ids.quoted(envelope.id)} was used before for something else: use a new id")
    return known


def _other_origin(caller: Caller, envelope: Envelope) -> Origin:
    """Return the origin of what the same sender has sent with the other kind of credential."""
    return Origin(envelope.sender) if caller.peer is None else SHARED
