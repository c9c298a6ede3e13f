"""peers on disk: what came of talking to each, its last profile, and how much of it is stored"""

from lanmesh.model.ids import Origin, PeerId
from lanmesh.model.peer import Contact
from lanmesh.store.database import Topic, Transaction


def contact(tx: Transaction, peer: PeerId) -> Contact:
    """Return what came of talking to a peer; an empty record for one never talked to."""
    row = tx.row("SELECT heard_at, reached_at, failed_at, error FROM peers WHERE id = ?", peer)
    if row is None:
        return Contact()
    heard_at, reached_at, failed_at, error = row
    return Contact(heard_at=heard_at, reached_at=reached_at, failed_at=failed_at, error=error)


def heard(tx: Transaction, peer: str, now: float) -> None:
    """Note that a peer sent something: so it can be reached again."""
    _note_return(tx, PeerId(peer))
    tx.run(
        "INSERT INTO peers (id, heard_at) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET heard_at = excluded.heard_at",
        peer, now,
    )  # fmt: skip
    tx.announce(Topic.CONTACT, peer)


def reached(tx: Transaction, peer: PeerId, now: float) -> None:
    """Note that a peer answered."""
    _note_return(tx, peer)
    tx.run(
        "INSERT INTO peers (id, reached_at) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET reached_at = excluded.reached_at, error = NULL",
        peer, now,
    )  # fmt: skip


def _note_return(tx: Transaction, peer: PeerId) -> None:
    before = contact(tx, peer)
    if before.error is not None or (before.heard_at is None and before.reached_at is None):
        tx.announce(Topic.RETURN, peer)


def missed(tx: Transaction, peer: PeerId, now: float, error: str) -> None:
    """Note that a peer did not answer, and why."""
    tx.run(
        "INSERT INTO peers (id, failed_at, error) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET failed_at = excluded.failed_at, error = excluded.error",
        peer, now, error,
    )  # fmt: skip


def keep_profile(tx: Transaction, peer: PeerId, profile: bytes, now: float) -> None:
    """Keep the profile that a peer showed, as it came."""
    tx.run(
        "INSERT INTO peers (id, profile, profile_at) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET profile = excluded.profile, profile_at = excluded.profile_at",
        peer, profile, now,
    )  # fmt: skip


def profile(tx: Transaction, peer: PeerId) -> tuple[bytes, float] | None:
    """Return the profile that a peer last showed, and when; `None` if it never did."""
    row = tx.row("SELECT profile, profile_at FROM peers WHERE id = ? AND profile IS NOT NULL", peer)
    return None if row is None else (row[0], row[1])


def forget(tx: Transaction, peer: PeerId) -> None:
    """Forget what came of talking to a peer, and what it has shown."""
    tx.run("DELETE FROM peers WHERE id = ?", peer)


def stored_bytes(tx: Transaction, origin: Origin) -> int:
    """Return how much of an origin is stored: its tasks, its messages, and that they were seen."""
    return tx.number("SELECT bytes FROM usage WHERE origin = ?", origin)
