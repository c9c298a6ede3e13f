"""files on disk: who has named which, how far they have come, who may read and who may write them"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lanmesh.errors import InvalidRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import SELF, LocalId, Origin, PeerId, WireId
from lanmesh.store.database import Topic, Transaction

_COLUMNS = "f.seq, f.origin, f.sha256, f.size, f.name, f.media, f.envelope, f.peer, f.task, f.made, "
_FILE = (
    "SELECT " + _COLUMNS + "f.settled_at, f.error, f.place, b.whole_at IS NOT NULL "
    "FROM files f LEFT JOIN blobs b ON b.origin = f.origin AND b.sha256 = f.sha256 "
)
_WANTED = (
    "f.settled_at IS NULL AND NOT (f.made = 0 AND EXISTS "
    "(SELECT 1 FROM tasks t WHERE t.local_id = f.task AND t.finished_at IS NOT NULL)) "
)
"""Neither where it belongs nor given up, and not for a task that has ended without it."""

_IN_TURN = f"AND f.peer = ? AND {_WANTED} ORDER BY f.size, f.seq"
"""Under way with a peer, the smallest first: who waits for a little does not wait for much."""

_OURS = (
    "f.origin = 'self' "
    "AND EXISTS (SELECT 1 FROM outbox o WHERE o.wire_id = f.envelope AND o.state = 'delivered') "
)
_THEIRS = "f.origin = f.peer AND b.whole_at IS NULL "


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A file that an envelope names, and how it fares."""

    number: int
    origin: Origin
    """Whose bytes: `SELF`, or who announced them."""
    ref: FileRef
    envelope: str
    peer: PeerId
    """To whom it goes, or from whom it comes."""
    task: LocalId | None
    """The task that it belongs to; `None`: it belongs to a message."""
    made: bool
    settled_at: float | None
    error: str | None
    place: str | None
    whole: bool
    """Whether all of its bytes are on this machine."""


def keep(tx: Transaction, ref: FileRef, now: float) -> None:
    """Note that the bytes of a file of this node's own are kept."""
    tx.run(
        "INSERT INTO blobs (origin, sha256, size, whole_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4) "
        "ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at",
        SELF, ref.sha256, ref.size, now,
    )  # fmt: skip


def announce(
    tx: Transaction,
    refs: Iterable[FileRef],
    *,
    origin: Origin,
    peer: str,
    envelope: WireId | str,
    now: float,
    task: LocalId | None = None,
    made: bool = False,
    reader: Origin | None = None,
    room: int | None = None,
) -> None:
    """Note the files that an envelope names; from then on their bytes may come, or be read.

    Args:
        tx: The transaction.
        refs: What it names.
        origin: Whose bytes they are: `SELF`, or who has proven to send the envelope.
        peer: To whom they go, or from whom they come.
        envelope: Its wire id; empty if none is sent.
        now: When.
        task: The task here that they belong to; `None`: the envelope is a message.
        made: Whether the task's doer has made them.
        reader: Of this node's own: who may read them here.
        room: How many bytes of them may come; what is beyond is given up. `None`: all may.

    Raises:
        InvalidRequest: The bytes of that hash are here, and are not so many; or, of this node's own,
            they are not kept here. What the doer of a task has made is given up then, and the rest
            of its result counts.
    """
    for ref in refs:
        tx.announce(Topic.FILES)
        if origin != SELF:
            tx.run(
                "INSERT INTO blobs (origin, sha256, size, seen_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at, faults = 0, "
                "size = iif(whole_at IS NULL, max(size, excluded.size), size)",
                origin, ref.sha256, ref.size, now,
            )  # fmt: skip
        known = tx.row(
            "SELECT size FROM blobs WHERE origin = ? AND sha256 = ? AND (size = ? OR whole_at IS NULL)",
            origin, ref.sha256, ref.size,
        )  # fmt: skip
        error = None
        if known is None:  # before all of them are here, nobody can tell which size is the right one
            error = f"the file with sha256 {ref.sha256[:12]}… is not one of {ref.size} bytes"
            if origin == SELF or not made:
                raise InvalidRequest(error)
        elif room is not None and ref.size > room:
            error = (
                f"its {ref.size} bytes are more than may come from {peer}, which are {max(0, room)}: raise "
                "node.maxFiles, or remove what came from there earlier, and ask for it again"
            )
        elif room is not None:
            room -= ref.size
        tx.run(
            "INSERT INTO files (origin, sha256, size, name, media, envelope, peer, reader, task, made, "
            "settled_at, error, named_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            origin, ref.sha256, ref.size, ref.name, ref.media, envelope, peer, reader, task, int(made),
            None if error is None else now, error, now,
        )  # fmt: skip


def expected(tx: Transaction, origin: Origin, sha256: str, size: int | None = None) -> Named | None:
    """Return a file that an origin has announced, of a size, if it can be, one that is waited for first."""
    row = tx.row(
        _FILE + "WHERE f.sha256 = ? AND f.origin = ? AND f.parted = 0 "
        "ORDER BY f.size IS ? DESC, f.settled_at IS NOT NULL, f.error IS NOT NULL, f.seq DESC LIMIT 1",
        sha256, origin, size,
    )  # fmt: skip
    return None if row is None or origin == SELF else _named(row)


def offered(tx: Transaction, reader: Origin, sha256: str) -> Named | None:
    """Return a file that an envelope of this node's has offered to a reader; `None` if none has."""
    row = tx.row(
        _FILE + "WHERE f.sha256 = ? AND f.origin = 'self' AND f.reader = ? AND f.parted = 0 LIMIT 1",
        sha256, reader,
    )  # fmt: skip
    return None if row is None else _named(row)


def whole(tx: Transaction, origin: Origin, ref: FileRef, now: float) -> None:
    """Note that all bytes of a file have come, and fit its hash; what was said to have others never comes."""
    tx.run(
        "UPDATE blobs SET whole_at = ?, size = ? WHERE origin = ? AND sha256 = ? AND EXISTS (SELECT 1 "
        "FROM files f WHERE f.origin = blobs.origin AND f.sha256 = blobs.sha256 AND f.parted = 0)",
        now, ref.size, origin, ref.sha256,
    )  # fmt: skip
    tx.run(
        "UPDATE files SET settled_at = ?, error = ? "
        "WHERE origin = ? AND sha256 = ? AND size <> ? AND settled_at IS NULL",
        now, f"it has {ref.size} bytes", origin, ref.sha256, ref.size,
    )  # fmt: skip
    tx.announce(Topic.FILES)


def lost(tx: Transaction, origin: Origin, sha256: str) -> None:
    """Note that the bytes of a file are gone from this machine: they may come again."""
    tx.run("UPDATE blobs SET whole_at = NULL WHERE origin = ? AND sha256 = ?", origin, sha256)
    tx.announce(Topic.FILES)


def fault(tx: Transaction, origin: Origin, sha256: str) -> int:
    """Note that what has come of a file was not what had been announced; return how often that was."""
    tx.run("UPDATE blobs SET faults = faults + 1 WHERE origin = ? AND sha256 = ?", origin, sha256)
    return tx.number("SELECT faults FROM blobs WHERE origin = ? AND sha256 = ?", origin, sha256)


def give_up(tx: Transaction, origin: Origin, ref: FileRef, why: str, now: float) -> None:
    """Note that a file will not come, whatever it is called."""
    tx.run(
        "UPDATE files SET settled_at = ?, error = ? "
        "WHERE origin = ? AND sha256 = ? AND size = ? AND settled_at IS NULL",
        now, why, origin, ref.sha256, ref.size,
    )  # fmt: skip
    tx.announce(Topic.FILES)


def let_go(tx: Transaction, task: LocalId, now: float, *, begun: bool) -> None:
    """Note that a task has ended here: what it waited for, and what it was not begun with, is not needed."""
    if tx.run(
        "UPDATE files SET settled_at = coalesce(settled_at, ?), error = 'its task has ended without it' "
        "WHERE task = ? AND made = 0 AND origin <> 'self' AND error IS NULL AND (settled_at IS NULL OR ?)",
        now, task, int(not begun),
    ):  # fmt: skip
        tx.announce(Topic.FILES)


def unwanted(tx: Transaction, limit: int) -> list[tuple[Origin, str]]:
    """Return whose bytes with which hash are not whole, and are not waited for."""
    rows = tx.rows(
        "SELECT origin, sha256 FROM blobs WHERE whole_at IS NULL AND origin <> 'self' "
        "AND NOT EXISTS (SELECT 1 FROM files WHERE files.origin = blobs.origin "
        "AND files.sha256 = blobs.sha256 AND settled_at IS NULL) LIMIT ?",
        limit,
    )
    return [(Origin(origin), sha256) for origin, sha256 in rows]


def drop(tx: Transaction, unwanted: Iterable[tuple[Origin, str]]) -> None:
    """Forget bytes that are removed, but those that were named again meanwhile."""
    for origin, sha256 in unwanted:
        tx.run(
            "DELETE FROM blobs WHERE origin = ? AND sha256 = ? AND whole_at IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM files WHERE files.origin = blobs.origin "
            "AND files.sha256 = blobs.sha256 AND settled_at IS NULL)",
            origin, sha256,
        )  # fmt: skip


def left(tx: Transaction, limit: int) -> list[tuple[int, str]]:
    """Return the numbers and the places of files that lie here, and were given up."""
    return [
        (number, place)
        for number, place in tx.rows(
            "SELECT seq, place FROM files WHERE place IS NOT NULL AND error IS NOT NULL LIMIT ?", limit
        )
    ]


def laid_out(tx: Transaction, limit: int, *, after: int) -> list[tuple[int, str]]:
    """Return the numbers and the places of files that lie where they belong, from a number on."""
    return [
        (number, place)
        for number, place in tx.rows(
            "SELECT seq, place FROM files WHERE seq > ? AND place IS NOT NULL ORDER BY seq LIMIT ?",
            after, limit,
        )
    ]  # fmt: skip


def removed(tx: Transaction, gone: Iterable[tuple[int, str]]) -> None:
    """Note that files lie no more where they were laid."""
    for number, place in gone:
        tx.run(
            "UPDATE files SET place = NULL, error = coalesce(error, 'it was removed from this machine') "
            "WHERE seq = ? AND place = ?",
            number, place,
        )  # fmt: skip
    tx.announce(Topic.FILES)


def settle(
    tx: Transaction, number: int, now: float, *, error: str | None = None, place: str | None = None
) -> None:
    """Note that a file is where it belongs, or that it was given up.

    What was given up while it was laid out is given up, and lies there: `left` tells of it.
    """
    tx.run(
        "UPDATE files SET settled_at = coalesce(settled_at, ?), error = coalesce(error, ?), place = ? "
        "WHERE seq = ? AND (settled_at IS NULL OR ?)",
        now, error, place, number, int(place is not None),
    )  # fmt: skip
    tx.announce(Topic.FILES)


def fetched(tx: Transaction, reader: Origin, sha256: str, now: float) -> None:
    """Note that a reader has got all of a file of this node's own."""
    tx.run(
        "UPDATE files SET settled_at = ?, error = NULL WHERE sha256 = ? AND origin = 'self' AND reader = ? "
        "AND (settled_at IS NULL OR error IS NOT NULL) AND parted = 0",
        now, sha256, reader,
    )  # fmt: skip


def of_task(tx: Transaction, task: LocalId) -> list[Named]:
    """Return the files of a task, those that it came with first, each in the order of their envelope."""
    return [_named(row) for row in tx.rows(_FILE + "WHERE f.task = ? ORDER BY f.made, f.seq", task)]


def of_message(tx: Transaction, origin: Origin, envelope: WireId) -> list[Named]:
    """Return the files of a message, in their order."""
    rows = tx.rows(
        _FILE + "WHERE f.task IS NULL AND f.envelope = ? AND f.origin = ? ORDER BY f.seq", envelope, origin
    )
    return [_named(row) for row in rows]


def given(tx: Transaction, task: LocalId) -> tuple[FileRef, ...]:
    """Return what a task came with."""
    return tuple(named.ref for named in of_task(tx, task) if not named.made)


def made(tx: Transaction, task: LocalId) -> tuple[FileRef, ...]:
    """Return what the doer of a task has made."""
    return tuple(named.ref for named in of_task(tx, task) if named.made)


def coming(tx: Transaction, task: LocalId) -> bool:
    """Return whether more is to come of what the doer of a task has made."""
    row = tx.row(
        "SELECT 1 FROM files WHERE task = ? AND made = 1 AND origin <> 'self' AND settled_at IS NULL", task
    )
    return row is not None


def missing(tx: Transaction, task: LocalId) -> bool:
    """Return whether a task waits for some file that it came with."""
    row = tx.row(
        "SELECT 1 FROM files WHERE task = ? AND made = 0 AND origin <> 'self' AND settled_at IS NULL", task
    )
    return row is not None


def to_lay_out(tx: Transaction, limit: int, *, after: int = 0) -> list[Named]:
    """Return files of others, by their number, that are whole and do not lie where they belong yet."""
    rows = tx.rows(
        _FILE + "WHERE f.origin <> 'self' AND f.settled_at IS NULL AND b.whole_at IS NOT NULL "
        "AND f.seq > ? ORDER BY f.seq LIMIT ?",
        after, limit,
    )  # fmt: skip
    return [_named(row) for row in rows]


def to_send(tx: Transaction, peer: PeerId) -> list[Named]:
    """Return the files whose bytes are to go to a peer: the envelopes that name them have arrived."""
    return [_named(row) for row in tx.rows(_FILE + f"WHERE {_OURS} {_IN_TURN}", peer)]


def to_fetch(tx: Transaction, peer: PeerId) -> list[Named]:
    """Return the files that a proven peer has named, and whose bytes are not all here."""
    return [_named(row) for row in tx.rows(_FILE + f"WHERE {_THEIRS} {_IN_TURN}", peer)]


def wanted(tx: Transaction, number: int) -> bool:
    """Return whether a file is still to come to where it belongs."""
    return tx.row(_FILE + f"WHERE f.seq = ? AND {_WANTED}", number) is not None


def peers(tx: Transaction) -> list[PeerId]:
    """Return the peers with which files are under way; what a caller only calls itself is none."""
    rows = tx.rows(
        "SELECT DISTINCT peer FROM files WHERE settled_at IS NULL AND (origin = 'self' OR origin = peer)"
    )
    return [PeerId(peer) for (peer,) in rows]


def bytes_of(tx: Transaction, origin: Origin) -> int:
    """Return how many bytes of files an origin takes up here: those to come, and each copy that lies here."""
    return tx.number(
        "SELECT coalesce(sum(size), 0) FROM files "
        "WHERE origin = ? AND (settled_at IS NULL OR place IS NOT NULL) AND parted = 0",
        origin,
    )


def forget(tx: Transaction, before: float, *, limit: int) -> int:
    """Forget bytes that are needed no more and were last named before; return of how many files.

    Of this node's own, that are those which nothing names; of others', those also that lie where they belong.
    """
    unnamed = tx.rows(
        "SELECT origin, sha256 FROM blobs WHERE seen_at < ? AND NOT EXISTS (SELECT 1 FROM files "
        "WHERE files.origin = blobs.origin AND files.sha256 = blobs.sha256 "
        "AND (files.origin = 'self' OR files.settled_at IS NULL)) LIMIT ?",
        before, limit,
    )  # fmt: skip
    for origin, sha256 in unnamed:
        tx.run("DELETE FROM blobs WHERE origin = ? AND sha256 = ?", origin, sha256)
    return len(unnamed)


def known(tx: Transaction, sha256: str) -> bool:
    """Return whether anybody's file has this hash."""
    return tx.row("SELECT 1 FROM blobs WHERE sha256 = ?", sha256) is not None


def _named(row: tuple[Any, ...]) -> Named:
    number, origin, sha256, size, name, media, envelope, peer, task, made, *fate = row
    settled_at, error, place, all_of_it = fate
    return Named(
        number=number,
        origin=Origin(origin),
        ref=FileRef(name=name, size=size, sha256=sha256, media=media),
        envelope=envelope,
        peer=PeerId(peer),
        task=task,
        made=bool(made),
        settled_at=settled_at,
        error=error,
        place=place,
        whole=bool(all_of_it),
    )
