"""one SQLite file, one writer: what waits is committed together, then everyone is told"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import apsw

from lanmesh.errors import DatabaseDamaged, StorageFailed
from lanmesh.store import faults
from lanmesh.store.connection import connect, opened

log = logging.getLogger(__name__)

T = TypeVar("T")

InThread = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a function where the writer works: in its thread, or in place in a simulation."""

Pause = Callable[[float], Awaitable[None]]
"""Returns after some seconds."""

_DISK_S = 2.0
"""Between two tries to write to a disk that is full or has gone away."""

_CHECKPOINT_PAGES = 1000
"""The WAL is copied back from 4 MB on, beside the writer (SQLite's own default is the same)."""


class Topic(StrEnum):
    """What a change is about."""

    TASK = "task"
    RUNNABLE = "runnable"
    STOP = "stop"
    QUESTION = "question"
    ENDED = "ended"
    APPROVAL = "approval"
    MAIL = "mail"
    FILES = "files"
    OUTBOX = "outbox"
    UNDELIVERED = "undelivered"
    CONTACT = "contact"
    RETURN = "return"
    PAIRING = "pairing"
    DISTRUST = "distrust"
    SIGHTING = "sighting"
    DRAFT = "draft"
    STOPPING = "stopping"


class Change(NamedTuple):
    """Something that is different from now on: a task, a peer's outbox, …"""

    topic: Topic
    key: str = ""


class Transaction:
    """What one change sees of the database: its statements, and whom to tell after the commit."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Work on a connection; the caller begins and ends the transaction."""
        self._connection = connection
        self.changes: dict[Change, None] = {}  # a set whose order is that of the changes

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """Run one statement and return its first row; `None` if there is none."""
        return self._connection.execute(sql, values).fetchone()

    def number(self, sql: str, *values: Any) -> int:
        """Run one statement and return the number in its first row; 0 if there is none."""
        row = self.row(sql, *values)
        return 0 if row is None else int(row[0])

    def run(self, sql: str, *values: Any) -> int:
        """Run one statement and return how many rows it changed."""
        self._connection.execute(sql, values)
        return self._connection.changes()

    def announce(self, topic: Topic, key: str = "") -> None:
        """Have everyone who watches this told, once it is committed."""
        self.changes[Change(topic, key)] = None


class _Reads(Transaction):
    """What is committed; a fault of the disk is told as one of ours."""

    def __init__(self, connection: apsw.Connection, failed: Callable[[apsw.Error], StorageFailed]) -> None:
        super().__init__(connection)
        self._failed = failed

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return super().rows(sql, *values)
        except faults.OF_THE_DISK as fault:
            raise self._failed(fault) from fault

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        try:
            return super().row(sql, *values)
        except faults.OF_THE_DISK as fault:
            raise self._failed(fault) from fault


class _Request(NamedTuple):
    change: Callable[[Transaction], Any]
    done: asyncio.Future[Any]


class Database:
    """The node's durable state.

    Writes are functions of a `Transaction`. The writer takes all that wait, runs each in a
    savepoint of one transaction with `synchronous=FULL`, commits, tells `on_commit` once what is
    different, and only then lets the callers go on: whatever a caller does after `write` returns
    is backed by the disk. Decisions that must not race (seen before? how many wait?) belong into
    the function, where nothing else writes.

    Reads take place at once, on a connection of their own, and see what is committed.
    """

    def __init__(
        self,
        path: Path,
        *,
        in_writer: InThread,
        on_commit: Callable[[Iterable[Change]], None],
        vfs: str | None = None,
    ) -> None:
        """Open the file, and make or migrate its tables.

        Args:
            path: Where it is, or is to be.
            in_writer: Where the writer works.
            on_commit: Is told what each commit has changed.
            vfs: By which of SQLite's ways to a disk; a simulation has one of its own.

        Raises:
            InvalidConfig: The file was made by a newer version of this program.
            DatabaseDamaged: It is damaged, or no database. It is left as it is.
            StorageFailed: It cannot be read or written.
        """
        self._in_writer = in_writer
        self._on_commit = on_commit
        self._waiting: list[_Request] = []
        self._wake = asyncio.Event()
        self._closing = self._closed = False
        self._wal_pages = 0
        self._refusal: str | None = None
        self._damage: str | None = None
        try:
            path.touch(mode=0o600)
            path.chmod(0o600)  # before SQLite opens it: the WAL beside it gets the same mode
            self._connection = opened(path, vfs)
            self._reader = connect(path, vfs)
            self._checkpointer = connect(path, vfs)
        except faults.DAMAGED as fault:
            raise DatabaseDamaged(
                f"{path} is damaged ({faults.reason(fault)}) and was left as it is: restore it, or move it "
                "away together with its -wal and -shm; the next start then begins without its tasks and "
                "messages"
            ) from fault
        except (apsw.Error, OSError) as fault:
            raise StorageFailed(
                f"{path} cannot be used as the node's database: {faults.reason(fault)}"
            ) from fault
        self._connection.set_wal_hook(self._note_wal)
        self._reader.pragma("query_only", True)

    @property
    def read(self) -> Transaction:
        """The committed state; good for statements that only read.

        Its methods raise `StorageFailed` where the disk cannot be read, `DatabaseDamaged` where what is
        there is no database any more.
        """
        return _Reads(self._reader, self._unreadable)

    @property
    def trouble(self) -> str | None:
        """Why the disk takes nothing now, or what of it cannot be read; `None` while all is well."""
        return self._damage or self._refusal

    def _unreadable(self, fault: apsw.Error) -> StorageFailed:
        told = faults.not_read(fault)
        if isinstance(told, DatabaseDamaged) and self._damage is None:
            self._damage = told.detail  # until the next start: what of it is read may be whole
            log.error("database damaged", extra={"why": faults.reason(fault)})
        return told

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """Run a change, and return its value once that is on the disk.

        Raises:
            StorageFailed: The disk did not take it; neither this nor any other change of the same
                commit was made.
            Exception: What the change raised; it has changed nothing.
        """
        if self._closed:
            raise StorageFailed("the node has stopped")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(change, done))
        self._wake.set()
        # A caller that goes away does not take its change back: it may be half-way to the disk.
        return await asyncio.shield(done)

    async def insist(self, change: Callable[[Transaction], T], pause: Pause) -> T:
        """Like `write`, for what must not be lost: tried again until the disk takes it."""
        while True:
            try:
                return await self.write(change)
            except StorageFailed:
                await pause(_DISK_S)

    async def serve(self) -> None:
        """Be the writer, until `close`."""
        try:
            while not (self._closing and not self._waiting):
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    batch, self._waiting = self._waiting, []
                    await self._commit(batch)
        finally:
            self._closed = True

    async def keep_small(self, in_thread: InThread, pause: Pause, pages: int = _CHECKPOINT_PAGES) -> None:
        """Copy the WAL back into the file when it has grown, off the writer's path, for ever."""
        while True:
            await pause(1.0)
            if self._wal_pages >= pages:
                await in_thread(self._checkpoint)

    def close(self) -> None:
        """Let `serve` return once all that waits is written."""
        self._closing = True
        self._wake.set()

    def release(self) -> None:
        """Close the file; `serve` has returned."""
        for connection in (self._reader, self._checkpointer, self._connection):
            connection.close()

    async def _commit(self, batch: Sequence[_Request]) -> None:
        results: list[tuple[bool, Any]] = []
        changes: dict[Change, None] = {}
        try:
            await self._in_writer(lambda: self._write_all(batch, results, changes))
        except Exception as fault:  # noqa: BLE001  # nothing of the batch is kept, and each caller hears why
            failure = faults.not_written(fault)
            if failure.detail != self._refusal:  # tried again every few seconds, told once
                log.error("commit failed", extra={"why": faults.reason(fault)})  # noqa: TRY400  # a cause, no bug
            self._refusal = failure.detail
            results = [(False, failure)] * len(batch)
            changes.clear()
        else:
            if self._refusal is not None:
                log.info("the disk takes what is written again")
            self._refusal = None
        self._on_commit(changes)
        for (_, done), (good, value) in zip(batch, results, strict=True):
            if done.cancelled():
                continue
            if good:
                done.set_result(value)
            else:
                done.set_exception(value)
                done.exception()  # seen, even if the caller is gone

    def _write_all(
        self, batch: Sequence[_Request], results: list[tuple[bool, Any]], changes: dict[Change, None]
    ) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for change, _ in batch:
                transaction = Transaction(self._connection)
                try:
                    with self._connection:  # a savepoint
                        value = change(transaction)
                except Exception as fault:  # whatever it is belongs to its caller alone
                    if not self._connection.in_transaction:
                        raise  # SQLite took all back by itself, as it does when the disk is full
                    results.append((False, faults.told(fault)))
                else:
                    results.append((True, value))
                    changes |= transaction.changes
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _note_wal(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        # Passive: it waits for nobody, and what a reader keeps from being copied now is copied later.
        try:
            self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error:
            log.warning("checkpoint failed", exc_info=True)
        self._wal_pages = 0
