"""the outbox on disk: what is to be delivered to peers, and what became of it"""

from dataclasses import replace
from typing import Any

from lanmesh.errors import DeliveryNotFound, InvalidRequest
from lanmesh.model import ids
from lanmesh.model.delivery import Delivery, DeliveryState
from lanmesh.model.ids import SELF, LocalId, PeerId, WireId
from lanmesh.protocol import codec
from lanmesh.store import tasks
from lanmesh.store.database import Topic, Transaction

_DELIVERY = (
    "SELECT envelope, peer, task, state, attempts, due_at, expires_at, error, created_at, settled_at "
    "FROM outbox "
)
_UNDELIVERED = "state NOT IN ('delivered', 'withdrawn') "
"""The words of the index `outbox_undelivered`."""

_FAILED = "WHERE " + _UNDELIVERED + "AND due_at IS NULL "
_COUNT = "SELECT count(*) FROM outbox "
_UNTOLD = (
    "AND told_at IS NULL AND NOT EXISTS (SELECT 1 FROM tasks WHERE origin = ? AND wire_id = outbox.wire_id) "
)
_LONGEST_NAME = 128
_SHORTEST_NAME = 4
"""Characters of an id that must at least be given."""


def queue(tx: Transaction, delivery: Delivery) -> None:
    """Put an envelope into the outbox.

    Raises:
        InvalidRequest: It is larger than any node takes, or none would take it for an envelope.
    """
    # With the most time left that it will ever tell of: what can be stored can be sent.
    longest = replace(delivery.envelope, ttl_s=delivery.expires_at - delivery.created_at)
    body = codec.encode_envelope(longest)
    codec.decode_envelope(body)  # as whoever sends it will
    tx.run(
        "INSERT INTO outbox (wire_id, peer, task, envelope, state, attempts, due_at, expires_at, error, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        delivery.envelope.id,
        delivery.peer,
        delivery.task,
        body,
        delivery.state,
        delivery.attempts,
        delivery.due_at,
        delivery.expires_at,
        delivery.error,
        delivery.created_at,
    )
    tx.announce(Topic.OUTBOX, delivery.peer)
    tx.announce(Topic.OUTBOX)
    _tell_task(tx, delivery, delivery.created_at)


def save(tx: Transaction, delivery: Delivery, at: float) -> None:
    """Keep a delivery as it is now, and tell the task that it is about."""
    before = find(tx, delivery.envelope.id)
    tx.run(
        "UPDATE outbox SET state = ?, attempts = ?, due_at = ?, expires_at = ?, error = ?, settled_at = ?, "
        "told_at = NULL WHERE wire_id = ?",
        delivery.state,
        delivery.attempts,
        delivery.due_at,
        delivery.expires_at,
        delivery.error,
        at if delivery.due_at is None else None,
        delivery.envelope.id,
    )
    tx.announce(Topic.OUTBOX, delivery.peer)
    if delivery.failed:
        tx.announce(Topic.UNDELIVERED)
    if before is not None and _is_news(before, delivery):
        _tell_task(tx, delivery, at)


def _tell_task(tx: Transaction, delivery: Delivery, at: float) -> None:
    if delivery.task is not None:
        detail = f"{delivery.envelope.type} to {delivery.peer}"
        if delivery.error:
            detail = f"{detail}: {delivery.error}"
        tasks.note(tx, delivery.task, f"delivery-{delivery.state}", at, detail)


def _is_news(before: Delivery, after: Delivery) -> bool:
    # A day of retries must not fill the task's history: of equal failures, the first is enough.
    if after.state is DeliveryState.SENT:
        return after.attempts == 1
    return after.due_at is None or after.error != before.error


def find(tx: Transaction, wire_id: WireId) -> Delivery | None:
    """Return the delivery of an envelope; `None` if it was never queued."""
    row = tx.row(_DELIVERY + "WHERE wire_id = ?", wire_id)
    return None if row is None else _delivery(row)


def latest_of_task(tx: Transaction, task: LocalId) -> Delivery | None:
    """Return the latest delivery that is about a task; `None` if there is none."""
    row = tx.row(_DELIVERY + "WHERE task = ? ORDER BY seq DESC LIMIT 1", task)
    return None if row is None else _delivery(row)


def named(tx: Transaction, name: str) -> Delivery:
    """Return the delivery that its owner means by an id of an envelope or a task, or the beginning of one.

    Raises:
        DeliveryNotFound: There is none.
        InvalidRequest: There are several.
    """
    known = find(tx, WireId(name))
    if known is not None:
        return known
    rows: list[tuple[Any, ...]] = []
    if _SHORTEST_NAME <= len(name) <= _LONGEST_NAME and name.isalnum():
        beginning = f"{name.lower()}*"
        rows = tx.rows(_DELIVERY + "WHERE wire_id GLOB ? LIMIT 2", beginning) or tx.rows(
            _DELIVERY + "WHERE task GLOB ? AND " + _UNDELIVERED + "LIMIT 2", beginning
        )
    if not rows:
        raise DeliveryNotFound(f"nothing {ids.quoted(name)} was sent; `lanmesh outbox` lists what waits")
    if len(rows) > 1:
        raise InvalidRequest(f"{ids.quoted(name)} means more than one delivery: give the whole id")
    return _delivery(rows[0])


def undelivered(tx: Transaction, limit: int) -> list[Delivery]:
    """Return what waits and what was given up, the newest first."""
    rows = tx.rows(_DELIVERY + f"WHERE {_UNDELIVERED} ORDER BY seq DESC LIMIT ?", limit)
    return [_delivery(row) for row in rows]


def count_failed(tx: Transaction) -> int:
    """Return how many envelopes were given up, and can be sent again."""
    return tx.number(_COUNT + _FAILED)


def untold(tx: Transaction) -> list[Delivery]:
    """Return what was given up and nobody was told of; that of a task asked is told as the task's end."""
    rows = tx.rows(_DELIVERY + _FAILED + _UNTOLD + "ORDER BY seq", SELF)
    return [_delivery(row) for row in rows]


def mark_told(tx: Transaction, delivery: Delivery, now: float) -> None:
    """Note that the owner was shown that this was given up, unless it was tried again since."""
    tx.run(
        "UPDATE outbox SET told_at = ? WHERE wire_id = ? AND settled_at IS ?",
        now, delivery.envelope.id, delivery.settled_at,
    )  # fmt: skip


def due(tx: Transaction, peer: PeerId, now: float, limit: int) -> list[Delivery]:
    """Return what is to be sent to a peer now, what was said first coming first."""
    rows = tx.rows(
        _DELIVERY + "WHERE peer = ? AND due_at <= ? AND state <> ? ORDER BY seq LIMIT ?",
        peer, now, DeliveryState.SENT, limit,
    )  # fmt: skip
    return [_delivery(row) for row in rows]


def next_due(tx: Transaction, peer: PeerId) -> float | None:
    """Return when something is to be sent to a peer; `None` if nothing waits."""
    row = tx.row(
        "SELECT min(due_at) FROM outbox WHERE peer = ? AND due_at IS NOT NULL AND state <> ?",
        peer, DeliveryState.SENT,
    )  # fmt: skip
    return None if row is None else row[0]


def waiting(tx: Transaction, peer: PeerId) -> list[Delivery]:
    """Return what waits for a peer, or is just being sent to it."""
    return [_delivery(row) for row in tx.rows(_DELIVERY + "WHERE peer = ? AND due_at IS NOT NULL", peer)]


def hasten(tx: Transaction, peer: PeerId, now: float) -> None:
    """Have all that waits for a peer tried now."""
    tx.run(
        "UPDATE outbox SET due_at = ? WHERE peer = ? AND due_at > ? AND state <> ?",
        now, peer, now, DeliveryState.SENT,
    )  # fmt: skip


def postpone(tx: Transaction, peer: PeerId, until: float) -> None:
    """Try nothing for a peer before some time: it asked for a pause."""
    tx.run(
        "UPDATE outbox SET due_at = ? WHERE peer = ? AND due_at < ? AND state <> ?",
        until, peer, until, DeliveryState.SENT,
    )  # fmt: skip


def peers_with_mail(tx: Transaction) -> list[PeerId]:
    """Return the peers for which something waits."""
    return [PeerId(peer) for (peer,) in tx.rows("SELECT DISTINCT peer FROM outbox WHERE due_at IS NOT NULL")]


def in_flight(tx: Transaction) -> list[Delivery]:
    """Return what was being sent; at start: when the earlier boot ended."""
    return [_delivery(row) for row in tx.rows(_DELIVERY + "WHERE state = ?", DeliveryState.SENT)]


def count_waiting(tx: Transaction, peer: PeerId | None = None) -> int:
    """Return how many envelopes wait for a peer, or for all."""
    if peer is None:
        return tx.number(_COUNT + "WHERE due_at IS NOT NULL")
    return tx.number(_COUNT + "WHERE due_at IS NOT NULL AND peer = ?", peer)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    body, peer, task, state, attempts, due_at, expires_at, error, created_at, settled_at = row
    envelope, _ = codec.decode_envelope(body)
    return Delivery(
        envelope=replace(envelope, ttl_s=None),
        peer=PeerId(peer),
        task=task,
        state=DeliveryState(state),
        attempts=attempts,
        due_at=due_at,
        expires_at=expires_at,
        error=error,
        created_at=created_at,
        settled_at=settled_at,
    )
