"""the room of files: kept to be sent, taken from peers, offered to them"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lanmesh.engine.allowance import Allowance, check_pace
from lanmesh.engine.callers import Caller
from lanmesh.engine.ports import Clock, Shelf
from lanmesh.errors import (
    FileDiffers,
    FileNotFound,
    InvalidRequest,
    MeshError,
    NoRoom,
    OffsetDiffers,
    StorageFailed,
    TaskNotFound,
    TooBusy,
)
from lanmesh.model import ids
from lanmesh.model.file import MAX_FILES, WHOLE_RESULT, FileRef, FileState
from lanmesh.model.ids import SELF, LocalId, Origin, PeerId, WireId
from lanmesh.protocol.json import cut
from lanmesh.store import files, tasks
from lanmesh.store.database import Database, Transaction
from lanmesh.store.files import Named

log = logging.getLogger(__name__)

_MOST_FAULTS = 2
"""Times that what came may differ from its hash: once may be this node's own power loss."""

_BUSY_S = 2.0
_DISK_S = 5.0
_PATIENCE_S = 60.0
"""How long finished work waits for a disk that does not take the files that belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a file that a caller has announced has come."""

    size: int
    present: int
    whole: bool
    """Whether all of it is here, and was found to fit its hash."""


class Files:
    """Keeps the bytes of files, for those alone whose envelopes name them.

    Whoever names a file brings it, as it could send the envelope; where that cannot be, since the
    envelope was read or came over a link, the other side fetches it.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        shelf: Shelf,
        allowance: Allowance,
    ) -> None:
        """Keep them on a shelf."""
        self._database = database
        self._clock = clock
        self._shelf = shelf
        self._allowance = allowance
        self._coming: set[tuple[Origin, str]] = set()
        self.sent: dict[tuple[PeerId, str], int] = {}
        """How many bytes of what is under way to a peer it has, as far as is known."""
        self.troubles: dict[int, str] = {}
        """Why files, by their number, do not lie where they belong although they are here."""

    # --- what this node sends --------------------------------------------------------------------

    async def keep(self, paths: Sequence[str], *, within: Path | None = None) -> tuple[FileRef, ...]:
        """Keep copies of files of this machine, and of all in folders, to be sent.

        Args:
            paths: Absolute ones; or such as begin in the folder that they must lie in.
            within: That folder; then nothing that is hidden in it is sent. `None`: they may lie anywhere.

        Raises:
            InvalidRequest: One cannot be read, or there are too many.
            NotAllowed: One leads out of the folder, or is hidden there.
            NoRoom: The disk is full.
        """
        return await self._kept(await asyncio.to_thread(self._found, paths, within))

    async def made(
        self, task: LocalId, result: str | None = None, named: Sequence[str] = ()
    ) -> tuple[FileRef, ...]:
        """Keep copies of what the run of a task has left to be sent.

        Args:
            task: The task.
            result: Its result; if a report can carry its beginning only, all of it is a file as well.
            named: Paths of more files in the task's folder that are to go.

        Raises:
            MeshError: That cannot be; see `keep`.
        """
        left = await self._left(task, result)
        more = await asyncio.to_thread(self._found, named, self.folder(task)) if named else []
        once: dict[Path, str] = {}
        for path, name in (*left, *more):
            once.setdefault(path, name)
        return await self._kept(list(once.items()))

    async def salvage(self, task: LocalId, result: str | None) -> tuple[tuple[FileRef, ...], list[str]]:
        """Keep copies of what a run that is over has left to be sent, as far as can be.

        A disk that does not take it is given a minute.

        Returns:
            What is kept; and of each file that is not, what and why, in words for its asker.
        """
        kept: list[FileRef] = []
        try:
            left = await self._left(task, result)
        except MeshError as fault:
            return (), [f"what it has made: {_reason(fault)}"]
        missing = [
            f"{ids.quoted(name)}: at most {MAX_FILES} go with a result" for _, name in left[MAX_FILES:]
        ]
        patient_until = self._clock.monotonic() + _PATIENCE_S
        for path, name in left[:MAX_FILES]:
            while True:
                try:
                    kept.append(await self._shelf.keep(path, name))
                except StorageFailed as fault:
                    if self._clock.monotonic() < patient_until:
                        await self._clock.sleep(_DISK_S)
                        continue
                    missing.append(f"{ids.quoted(name)}: {_reason(fault)}")
                except MeshError as fault:
                    missing.append(f"{ids.quoted(name)}: {_reason(fault)}")
                break
        if kept:
            await self._database.insist(self._noted(kept), self._clock.sleep)
        return tuple(kept), missing

    async def clear(self, task: LocalId) -> None:
        """Remove what an interrupted run has left to be sent: nobody knows what of it is whole.

        Raises:
            StorageFailed: The disk does not let it.
        """
        await self._shelf.clear(task)

    async def _left(self, task: LocalId, result: str | None) -> list[tuple[Path, str]]:
        left = await self._shelf.made(task)
        if cut(result or "")[1]:
            with suppress(StorageFailed):  # the beginning has to do then, and it is told that it is one
                path = await self._shelf.write(task, WHOLE_RESULT, result or "")
                left.insert(0, (path, WHOLE_RESULT))
        return left

    def folder(self, task: LocalId) -> Path:
        """Return the folder in which a task that is done here finds its files, and leaves others.

        Raises:
            TaskNotFound: No such task is done here.
        """
        if tasks.get(self._database.read, task).asked:
            raise TaskNotFound(f"task {ids.short(task)} is not done here")
        return self._shelf.folder(task, "made").parent

    async def _kept(self, found: Sequence[tuple[Path, str]]) -> tuple[FileRef, ...]:
        if len(found) > MAX_FILES:
            raise InvalidRequest(f"{len(found)} files: at most {MAX_FILES} travel with one thing; pack them")
        refs = tuple([await self._shelf.keep(path, name) for path, name in found])
        if refs:
            await self._database.write(self._noted(refs))
        return refs

    def _noted(self, refs: Sequence[FileRef]) -> Callable[[Transaction], None]:
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            for ref in refs:
                files.keep(tx, ref, now)

        return change

    def _found(self, paths: Sequence[str], within: Path | None) -> list[tuple[Path, str]]:
        found: list[tuple[Path, str]] = []
        for path in paths:
            if within is not None:
                found += self._shelf.inside(path, within)
            elif Path(path).is_absolute():
                found += self._shelf.below(Path(path))
            else:
                raise InvalidRequest(f"{ids.quoted(path, 300)} is no absolute path")
        return found

    # --- what others ask of this node ------------------------------------------------------------

    def standing(self, caller: Caller, sha256: str) -> Standing:
        """Return how far a file has come that the caller has announced.

        Raises:
            FileNotFound: It has announced none of that hash.
        """
        check_pace(caller)
        return self._standing_of(self._expected(caller.origin, sha256))

    async def take(
        self, caller: Caller, sha256: str, offset: int, size: int | None, chunks: AsyncIterator[bytes]
    ) -> Standing:
        """Take bytes of a file that the caller has announced, and return how far it has come.

        Args:
            caller: Who sends them.
            sha256: The hash of the whole file.
            offset: Where they belong.
            size: How many there will be; `None` if that is not said.
            chunks: They.

        Raises:
            FileNotFound: The caller has announced none of that hash.
            OffsetDiffers: The file does not stand there.
            FileDiffers: They are not what was announced.
            QuotaReached: The caller has as much here as it may.
            NoRoom: The disk is full.
            TooBusy: Somebody else sends the same now.
        """
        check_pace(caller)
        named = self._expected(caller.origin, sha256, None if size is None else offset + size)
        standing = self._standing_of(named)
        if standing.whole:
            return standing
        self._check_not_coming(named)  # first: where it stands is only known once nothing comes
        if offset != standing.present:
            raise OffsetDiffers(f"{standing.present} bytes of this file are here: go on from there")
        if size is not None and offset + size > standing.size:
            raise FileDiffers(f"{offset + size} bytes would come, {standing.size} were announced")
        await self.receive(named, chunks)
        return self._standing_of(self._expected(caller.origin, sha256, named.ref.size))

    async def receive(self, named: Named, chunks: AsyncIterator[bytes]) -> None:
        """Keep what comes of a file from where it stands; see `take`.

        Raises:
            FileDiffers: It was not what was announced; after the second time it is given up.
            QuotaReached: More than may be here of that origin's has been named.
        """
        origin, ref = named.origin, named.ref
        self._allowance.check_files(self._database.read, origin)
        self._check_not_coming(named)
        key = origin, ref.sha256
        self._coming.add(key)
        try:
            whole = await self._shelf.take(origin, ref, self._shelf.present(origin, ref.sha256), chunks)
        except FileDiffers as fault:
            await self._database.write(self._faulty(origin, ref, fault.detail))
            raise
        finally:
            self._coming.discard(key)
        if whole:
            now = self._clock.now()
            await self._database.write(lambda tx: files.whole(tx, origin, ref, now))
            await self._shelf.taken(origin, ref.sha256)

    def offered(self, caller: Caller, sha256: str) -> FileRef:
        """Return a file that an envelope of this node's has offered to the caller.

        Raises:
            FileNotFound: None has, or its bytes are gone.
        """
        check_pace(caller)
        named = files.offered(self._database.read, caller.origin, sha256)
        if named is None or not self._shelf.has(named.ref):
            raise FileNotFound
        return named.ref

    def read(self, ref: FileRef, begin: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes of a whole file."""
        return self._shelf.read(ref.sha256, begin, end)

    async def fetched(self, caller: Caller, ref: FileRef) -> None:
        """Note that a caller has read a file to its end."""
        now = self._clock.now()
        await self._database.write(lambda tx: files.fetched(tx, caller.origin, ref.sha256, now))

    def comes(self, named: Named) -> bool:
        """Return whether bytes of a file are coming now."""
        return (named.origin, named.ref.sha256) in self._coming

    # --- what is shown ---------------------------------------------------------------------------

    def of_task(self, task: LocalId) -> list[FileState]:
        """Return the files of a task, and how far they have come."""
        return [self._state(named) for named in files.of_task(self._database.read, task)]

    def of_message(self, origin: Origin, envelope: WireId) -> list[FileState]:
        """Return the files of a message, and how far they have come."""
        return [self._state(named) for named in files.of_message(self._database.read, origin, envelope)]

    def complete(self, task: LocalId) -> bool:
        """Return whether nothing more is to come of what the doer of a task has made."""
        return not files.coming(self._database.read, task)

    def _state(self, named: Named) -> FileState:
        ours = named.origin == SELF
        if named.settled_at is not None:
            present = 0 if named.error is not None else named.ref.size
        elif ours:
            present = self.sent.get((named.peer, named.ref.sha256), 0)
        else:
            present = named.ref.size if named.whole else self._shelf.present(named.origin, named.ref.sha256)
        return FileState(
            ref=named.ref,
            ours=ours,
            made=named.made,
            present=present,
            settled=named.settled_at is not None,
            error=named.error or self.troubles.get(named.number),
            place=None if named.place is None else str(self._shelf.at(named.place)),
        )

    # --- what all of that needs -------------------------------------------------------------------

    def _check_not_coming(self, named: Named) -> None:
        if self.comes(named):
            raise TooBusy("this file is just being sent", retry_after_s=_BUSY_S)

    def _standing_of(self, named: Named) -> Standing:
        lies = named.settled_at is not None
        whole = lies or (named.whole and self._shelf.has(named.ref))  # somebody may have removed it since
        present = named.ref.size if whole else self._shelf.present(named.origin, named.ref.sha256)
        return Standing(size=named.ref.size, present=present, whole=whole)

    def _expected(self, origin: Origin, sha256: str, size: int | None = None) -> Named:
        named = files.expected(self._database.read, origin, sha256, size)
        if named is None:
            raise FileNotFound
        if named.error is not None:
            raise FileDiffers(f"it was given up: {named.error}")
        return named

    def _faulty(self, origin: Origin, ref: FileRef, why: str) -> Callable[[Transaction], None]:
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            if files.fault(tx, origin, ref.sha256) >= _MOST_FAULTS:
                files.give_up(tx, origin, ref, why, now)

        return change


def _reason(fault: MeshError) -> str:
    """Return why a file cannot be kept, in words that tell a peer nothing of this machine's folders."""
    if isinstance(fault, NoRoom):
        return "no room on the disk"
    if isinstance(fault.__cause__, OSError):
        return fault.__cause__.strerror or "it cannot be read"
    return fault.detail
