"""the inbox on disk: what was seen, so that nothing counts twice, and the messages among it"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lanmesh.model.envelope import Cancel, Envelope, EnvelopeType, Mail, Message
from lanmesh.model.ids import LocalId, Origin, WireId
from lanmesh.store.database import Topic, Transaction

_MAIL = "SELECT seq, wire_id, origin, sender, text, received_at, read_at FROM inbox "


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An envelope that was acted on before."""

    digest: bytes
    task: LocalId | None


def receive(
    tx: Transaction,
    envelope: Envelope,
    *,
    origin: Origin,
    digest: bytes,
    now: float,
    task: LocalId | None = None,
) -> None:
    """Note an envelope as seen, with the text of a message and the task that a cancel is about."""
    text = envelope.payload.text if isinstance(envelope.payload, Message) else None
    about = envelope.payload.task_id if isinstance(envelope.payload, Cancel) else None
    tx.run(
        "INSERT INTO inbox (origin, wire_id, digest, type, sender, text, task, about, received_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        origin, envelope.id, digest, envelope.type, envelope.sender, text, task, about, now,
    )  # fmt: skip
    if text is not None:
        tx.announce(Topic.MAIL)


def seen(tx: Transaction, origin: Origin, wire_id: WireId, sender: str | None = None) -> Seen | None:
    """Return what is known of an envelope; `None` if it is new.

    Args:
        tx: The transaction.
        origin: Who sent it.
        wire_id: Its id.
        sender: Count it only if it came under this name.
    """
    row = tx.row("SELECT digest, task, sender FROM inbox WHERE origin = ? AND wire_id = ?", origin, wire_id)
    if row is None or (sender is not None and row[2] != sender):
        return None
    return Seen(digest=row[0], task=row[1])


def number(tx: Transaction, origin: Origin, wire_id: WireId) -> int:
    """Return the place in the inbox of an envelope that has come; 0 if none has."""
    return tx.number("SELECT seq FROM inbox WHERE origin = ? AND wire_id = ?", origin, wire_id)


def has(tx: Transaction, number: str) -> bool:
    """Return whether the text of a message is kept, by its place in the inbox."""
    return tx.row("SELECT 1 FROM inbox WHERE seq = ? AND text IS NOT NULL", number) is not None


def canceled(tx: Transaction, origin: Origin, task: WireId, sender: str | None = None) -> bool:
    """Return whether a cancel of a task has come, maybe before the task.

    Args:
        tx: The transaction.
        origin: Who sent it.
        task: The id of the task's envelope.
        sender: Count it only if it came under this name.
    """
    senders = tx.rows("SELECT sender FROM inbox WHERE origin = ? AND about = ?", origin, task)
    return any(sender in {None, name} for (name,) in senders)


def messages(tx: Transaction, limit: int, *, unread: bool = False) -> list[Mail]:
    """Return the latest messages, the oldest of them first."""
    rows = tx.rows(
        _MAIL + "WHERE type = ? AND text IS NOT NULL AND (read_at IS NULL OR NOT ?) "
        "ORDER BY seq DESC LIMIT ?",
        EnvelopeType.MESSAGE, unread, limit,
    )  # fmt: skip
    return [_mail(row) for row in reversed(rows)]


def count_unread(tx: Transaction) -> int:
    """Return how many messages were not read yet."""
    return tx.number("SELECT count(*) FROM inbox WHERE type = ? AND read_at IS NULL", EnvelopeType.MESSAGE)


def mark_read(tx: Transaction, numbers: Iterable[int], now: float) -> None:
    """Note that messages were read; those read before keep their time."""
    for number in numbers:
        tx.run(
            "UPDATE inbox SET read_at = ? WHERE seq = ? AND type = ? AND read_at IS NULL",
            now, number, EnvelopeType.MESSAGE,
        )  # fmt: skip


def untold(tx: Transaction) -> list[Mail]:
    """Return the messages that were neither read nor pointed out to anyone, the oldest first."""
    rows = tx.rows(
        _MAIL + "WHERE type = ? AND read_at IS NULL AND told_at IS NULL ORDER BY seq",
        EnvelopeType.MESSAGE,
    )
    return [_mail(row) for row in rows]


def mark_told(tx: Transaction, number: int, now: float) -> None:
    """Note that a message was pointed out."""
    tx.run("UPDATE inbox SET told_at = ? WHERE seq = ?", now, number)


def _mail(row: tuple[Any, ...]) -> Mail:
    number, wire_id, origin, sender, text, received_at, read_at = row
    return Mail(
        number=number,
        id=wire_id,
        origin=origin,
        sender=sender,
        text=text,
        received_at=received_at,
        read_at=read_at,
    )
