"""the bytes of files: kept by their hash, written beside and renamed, read in pieces, off the loop"""

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lanmesh.errors import FileDiffers, InvalidRequest, NoRoom, NotAllowed, StorageFailed
from lanmesh.model.file import LONGEST_PART, MAX_FILE_BYTES, MAX_FILES, FileRef, label
from lanmesh.model.ids import Origin, quoted

PIECE = 1024 * 1024
"""Bytes in memory of one file at a time, twice: while one piece is written, the next one comes."""

_SENT_PIECE = 256 * 1024
_SPARE = 64 * 1024 * 1024

_NUMBERED = 16
"""Bytes that are left for what may be added to a name."""

_BESIDE = ".beside"
"""The folder, next to those of tasks, for what is just being laid out: no name in these is taken for it."""


class Shelf:
    """Where the bytes lie. Implements the port `Shelf`.

    `blobs/ab/cdef…` is whole, `blobs/parts/<origin>.<sha256>` is on its way: one for each origin, so
    that none writes into another's. `work/<task>` holds what tasks get and make.
    """

    def __init__(self, blobs: Path, work: Path) -> None:
        """Keep bytes in one folder, and lay them out in another; they are made when they are needed."""
        self._blobs = blobs
        self._work = work
        self.spare = _SPARE
        """Bytes that are left free on the disk for all else, as for the database, which has to grow."""

    def present(self, origin: Origin, sha256: str) -> int:
        """Return how many bytes have come of a file that is not whole."""
        try:
            return self._part(origin, sha256).stat().st_size
        except OSError:
            return 0

    async def take(self, origin: Origin, ref: FileRef, offset: int, chunks: AsyncIterator[bytes]) -> bool:
        """Keep what comes of a file from an offset on, which is where it stands; see the port."""
        self._check_room(ref, offset)
        part = self._part(origin, ref.sha256)
        writer = _Writer(part, offset, self._leave_spare)
        writing: asyncio.Future[None] = asyncio.ensure_future(asyncio.to_thread(writer.open))
        try:
            async for piece in _gathered(chunks):
                await writing
                if writer.at + len(piece) > ref.size:
                    part.unlink()
                    raise FileDiffers(f"more bytes came than the {ref.size} that were announced")
                writing = asyncio.ensure_future(asyncio.to_thread(writer.write, piece))
            await writing
            if writer.at < ref.size:
                return False
            await asyncio.to_thread(writer.finish, self._whole(ref.sha256), ref.sha256)
            return True
        except OSError as fault:
            raise _failure(fault, ref) from fault
        finally:
            await asyncio.wait([writing])  # never close a file under a thread that writes it
            await asyncio.to_thread(writer.close)

    async def read(self, sha256: str, begin: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a whole file from one offset up to another, the next piece read ahead."""
        # Opened here, which takes no time: a thread that is cancelled would leave it open.
        descriptor = os.open(self._whole(sha256), os.O_RDONLY)
        left = end - begin
        coming = asyncio.ensure_future(_piece(descriptor, begin, left))
        try:
            while left > 0 and (piece := await coming):
                left -= len(piece)
                coming = asyncio.ensure_future(_piece(descriptor, end - left, left))
                yield piece
        finally:
            await asyncio.wait([coming])
            os.close(descriptor)

    def has(self, ref: FileRef) -> bool:
        """Return whether all bytes of a file are here, as far as its size tells."""
        try:
            return self._whole(ref.sha256).stat().st_size == ref.size
        except OSError:
            return False

    async def keep(self, path: Path, name: str) -> FileRef:
        """Keep a copy of a file of this machine; see the port."""
        return await asyncio.to_thread(self._copy_in, path, label(name))

    def inside(self, path: str, folder: Path) -> list[tuple[Path, str]]:
        """Return what is at a path, as `below` does, if all of it lies in a folder; see the port."""
        try:
            own = folder.resolve()
            real = (own / path).resolve()
            if not real.is_relative_to(own):
                raise NotAllowed(
                    f"{quoted(path, 300)} does not lie in {own}, and this session sends files of that "
                    "folder only: what is meant for the peer has to be put there first"
                )
            if any(map(_hidden, real.relative_to(own).parts)):
                raise NotAllowed(
                    f"{quoted(path, 300)} is hidden (its name begins with a dot): no tool sends it"
                )
            return self.below(real, hidden=False)
        except (OSError, RuntimeError, ValueError) as fault:  # a loop of links, or a name that can be none
            raise InvalidRequest(f"{quoted(path, 300)} is no file that can be read") from fault

    def below(self, path: Path, *, hidden: bool = True) -> list[tuple[Path, str]]:
        """Return a file, or the files in a folder and below, each with its name; links are passed over.

        Args:
            path: Where.
            hidden: In a folder, also those whose name, or whose folder's, begins with a dot.

        Raises:
            InvalidRequest: There is none. Of more than may travel, some are returned, and too many.
        """
        if not path.is_dir():
            if not path.is_file():
                raise InvalidRequest(f"{quoted(str(path), 300)} is no file that can be read")
            return [(path, path.name)]
        found = []
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if hidden or not _hidden(name))
            for file in sorted(name for name in files if hidden or not _hidden(name)):
                at = Path(folder, file)
                if at.is_file() and not at.is_symlink():
                    found.append((at, str(Path(path.name) / at.relative_to(path))))
            if len(found) > MAX_FILES:
                break
        return found

    async def lay_out(self, ref: FileRef, holder: str, kind: str, parts: tuple[str, ...]) -> str:
        """Copy a whole file to where a program finds it, and return where that is; see the port."""
        place = Path(holder, kind, *parts)
        beside = self._work / _BESIDE / f"{holder}.{ref.sha256}"
        try:
            await asyncio.to_thread(
                _copied, self._whole(ref.sha256), beside, self._work / place, self._leave_spare
            )
        except OSError as fault:
            raise _failure(fault, ref) from fault
        return str(place)

    def longest(self, holder: str, kind: str) -> tuple[int, int]:
        """Return what the file system takes, with room for a number; see the port."""
        folder = len(os.fsencode(self.folder(holder, kind).absolute()))
        try:
            self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
            name, path = (os.pathconf(self._work, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
        except OSError as fault:
            raise StorageFailed(f"{self._work} cannot be used: {fault.strerror or fault}") from fault
        return min(LONGEST_PART, name - _NUMBERED), path - folder - _NUMBERED

    def at(self, place: str) -> Path:
        """Return where something lies that was laid out."""
        return self._work / place

    def folder(self, holder: str, kind: str) -> Path:
        """Return the folder in which the files of a task lie, whether there is one or not."""
        return self._work / holder / kind

    async def made(self, holder: str) -> list[tuple[Path, str]]:
        """Return what a run has left in its folder, each with its name; an empty folder is removed."""
        return await asyncio.to_thread(self._made, holder)

    async def write(self, holder: str, name: str, text: str) -> Path:
        """Write a text into the folder of a task, and return where; see the port."""
        content = text.encode("utf-8", "replace")
        ref, place = FileRef(name=name, size=len(content), sha256=""), self._work / holder / name
        try:
            self._check_room(ref, 0)
            await asyncio.to_thread(_written, content, place)
        except OSError as fault:
            raise _failure(fault, ref) from fault
        return place

    def _made(self, holder: str) -> list[tuple[Path, str]]:
        folder = self.folder(holder, "made")
        found = []
        if folder.is_dir() and not folder.is_symlink():
            beginning = f"{folder.name}/"
            try:
                found = [(path, name.removeprefix(beginning)) for path, name in self.below(folder.resolve())]
            except OSError as fault:
                raise StorageFailed(f"{folder} cannot be read: {fault.strerror or fault}") from fault
        if not found:
            for empty in (folder, folder.parent):
                with suppress(OSError):
                    empty.rmdir()
        return found

    def _copy_in(self, path: Path, name: str) -> FileRef:
        try:
            with path.open("rb") as source:
                size = os.fstat(source.fileno()).st_size
                if size > MAX_FILE_BYTES:
                    raise InvalidRequest(f"{quoted(name)} has more bytes than a file may have")
                ref = FileRef(name=name, size=size, sha256="")
                self._check_room(ref, 0)
                part = self._part(Origin("self"), f"{os.getpid()}-{os.urandom(8).hex()}")
                return self._copied_in(source, part, ref)
        except OSError as fault:
            if isinstance(fault, FileNotFoundError | PermissionError | IsADirectoryError):
                raise InvalidRequest(f"{quoted(str(path), 300)} cannot be read: {fault.strerror}") from fault
            raise _failure(fault, FileRef(name=name, size=0, sha256="")) from fault

    def _copied_in(self, source: BinaryIO, part: Path, ref: FileRef) -> FileRef:
        writer = _Writer(part, 0, self._leave_spare)
        try:
            writer.open()
            while piece := source.read(PIECE):
                writer.write(piece)
            sha256 = writer.digest.hexdigest()
            writer.finish(self._whole(sha256), sha256)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            writer.close()
        return FileRef(name=ref.name, size=writer.at, sha256=sha256)

    def _check_room(self, ref: FileRef, offset: int) -> None:
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self._blobs).free - self.spare
        # It is copied once more: to where whoever needs it finds it.
        needed = ref.size - offset + ref.size
        if needed > free:
            raise NoRoom(
                f"{quoted(ref.name)} needs {needed} bytes of disk, {max(0, free)} are free; "
                "it goes on once there is room"
            )

    def _leave_spare(self, descriptor: int, more: int) -> None:
        """Check that so many bytes more leave enough free: others may have written since it was begun.

        Raises:
            OSError: They do not, as if the disk were full.
        """
        disk = os.fstatvfs(descriptor)
        if disk.f_bavail * disk.f_frsize - more < self.spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _part(self, origin: Origin, sha256: str) -> Path:
        return self._blobs / "parts" / f"{origin}.{sha256}"

    def _whole(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:]


class _Writer:
    """One file on its way, written by one thread at a time."""

    def __init__(self, part: Path, offset: int, check: Callable[[int, int], None]) -> None:
        """Go on at an offset, once it is open, and check before each piece whether it may be written."""
        self.digest = hashlib.sha256()
        self.at = offset
        self._part = part
        self._check = check
        self._descriptor: int | None = None

    def open(self) -> None:
        """Read what is there, for the hash of the whole."""
        self._part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.ftruncate(self._descriptor, self.at)
        while piece := os.read(self._descriptor, PIECE):
            self.digest.update(piece)

    def write(self, piece: bytes) -> None:
        self._check(self._open, len(piece))
        left = memoryview(piece)
        while left:
            left = left[os.write(self._open, left) :]
        self.digest.update(piece)
        self.at += len(piece)

    def finish(self, whole: Path, sha256: str) -> None:
        """Make it the whole file, if its bytes are those of its hash; else remove them.

        Raises:
            FileDiffers: They are not.
        """
        if self.digest.hexdigest() != sha256:
            self._part.unlink(missing_ok=True)
            raise FileDiffers("its bytes are not those of the sha256 that was announced")
        os.fsync(self._open)
        whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._part.replace(whole)
        _sync(whole.parent)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise StorageFailed("a file that is not open was written to")
        return self._descriptor


async def _piece(descriptor: int, offset: int, left: int) -> bytes:
    return await asyncio.to_thread(os.pread, descriptor, min(left, _SENT_PIECE), offset)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what comes in larger pieces, the last one as it is, also before what breaks it off."""
    some: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            some.append(chunk)
            size += len(chunk)
            if size >= PIECE:
                yield b"".join(some)
                some, size = [], 0
    except Exception:
        if size:
            yield b"".join(some)
        raise
    if size:
        yield b"".join(some)


def _copied(whole: Path, beside: Path, target: Path, check: Callable[[int, int], None]) -> None:
    if target.is_file() and target.stat().st_size == whole.stat().st_size:
        return  # an earlier boot has laid it there
    for folder in (beside.parent, target.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _copy(whole, beside, check)
        _sync(beside)  # once it is said to lie there, it does, whatever happens to the power
        beside.replace(target)
        _sync(target.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _copy(whole: Path, beside: Path, check: Callable[[int, int], None]) -> None:
    with whole.open("rb") as source, beside.open("wb") as copy:
        while piece := source.read(PIECE):
            check(copy.fileno(), len(piece))
            copy.write(piece)


def _written(content: bytes, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.write_bytes(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _failure(fault: OSError, ref: FileRef) -> StorageFailed:
    if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoRoom(f"the disk is full: {quoted(ref.name)} goes on once there is room")
    return StorageFailed(f"the node's disk does not take {quoted(ref.name)}: {fault.strerror or fault}")
