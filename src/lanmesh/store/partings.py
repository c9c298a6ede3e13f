"""partings on disk: files that are given up with their peer, or since it is silent, and offered anew"""

from lanmesh.model.ids import SELF, PeerId, WireId
from lanmesh.store.database import Topic, Transaction


def part(tx: Transaction, peer: PeerId, why: str, now: float) -> None:
    """Give up what is under way with a peer; whoever bears its name from now on has no part in its files.

    What has come of it already stays where it was laid out; what names the same again has to bring it.
    """
    tx.run(
        "UPDATE files SET parted = 1, settled_at = coalesce(settled_at, ?), "
        "error = iif(settled_at IS NULL, ?, error) WHERE peer = ? AND origin IN (?, ?) AND parted = 0",
        now, why, peer, SELF, peer,
    )  # fmt: skip
    tx.run("UPDATE blobs SET whole_at = NULL WHERE origin = ?", peer)
    tx.announce(Topic.FILES)


def offer_again(tx: Transaction, envelope: WireId, now: float) -> None:
    """Note that what an envelope of this node's names is offered to its recipient, as it is now."""
    tx.run(
        "UPDATE files SET parted = 0, settled_at = iif(error IS NULL, settled_at, NULL), error = NULL, "
        "named_at = ? WHERE origin = ? AND envelope = ?",
        now, SELF, envelope,
    )  # fmt: skip
    tx.announce(Topic.FILES)


def end_late(tx: Transaction, before: float, now: float, why: str, *, limit: int) -> int:
    """Give up what was named before and has not come since; return how many.

    Of this node's own, also the envelope must have come to an end before; what is all here is not
    given up.

    Args:
        tx: The transaction.
        before: The time.
        now: When.
        why: What is told of it, behind the peer's name and "did not bring it" or "did not take it".
        limit: How many at most.
    """
    return tx.run(
        "UPDATE files SET settled_at = ?1, error = peer || iif(origin = 'self', ' did not take it', "
        "' did not bring it') || ?2 WHERE seq IN (SELECT f.seq FROM files f WHERE f.settled_at IS NULL "
        "AND f.named_at < ?3 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE f.origin = 'self' "
        "AND o.wire_id = f.envelope AND (o.due_at IS NOT NULL OR o.settled_at >= ?3)) "
        "AND NOT EXISTS (SELECT 1 FROM blobs b WHERE f.origin <> 'self' AND b.origin = f.origin "
        "AND b.sha256 = f.sha256 AND b.whole_at IS NOT NULL) LIMIT ?4)",
        now, why, before, limit,
    )  # fmt: skip
