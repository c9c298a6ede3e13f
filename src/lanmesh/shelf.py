"""the bytes of files: kept by their hash, written beside and renamed, read in pieces, off the loop"""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lanmesh.errors import FileDiffers, InvalidRequest, NoRoom, NotAllowed, StorageFailed
from lanmesh.model.file import LONGEST_PART, MAX_FILE_BYTES, MAX_FILES, FileRef, label
from lanmesh.model.ids import Origin, quoted
from lanmesh.part import PIECE, Hashed, Part, Steps, ended, gathered, in_thread, result_of, sync

_SENT_PIECE = 256 * 1024
_MOST_HASHED = 64
"""Files that were cut off whose hash so far is remembered."""

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
        self._hashed: dict[Path, Hashed] = {}
        """Of files that were cut off: to read gigabytes anew takes so long that their sender gives up."""
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
        path = self._part(origin, ref.sha256)
        part, steps = Part(path, offset, self._leave_spare, self._hashed.pop(path, None)), Steps()
        try:
            await steps.begin(part.open)
            async for piece in gathered(chunks):
                await steps.over()
                if part.at + len(piece) > ref.size:
                    path.unlink()
                    raise FileDiffers(f"more bytes came than the {ref.size} that were announced")
                await steps.begin(part.write, piece)
            await steps.over()
            if part.at < ref.size:
                return False
            await steps.begin(part.finish, self._whole(ref.sha256), ref.sha256)
            await steps.over()
            return True
        except OSError as fault:
            raise _failure(fault, ref) from fault
        finally:
            await steps.end(part.close)
            if part.at < ref.size and part.hashed is not None:
                self._remember(path, part.hashed)

    async def taken(self, origin: Origin, sha256: str) -> None:
        """Remove what a file came in, once it is known to be whole; see the port."""
        with suppress(OSError):
            await asyncio.to_thread(self._part(origin, sha256).unlink, missing_ok=True)

    async def read(self, sha256: str, begin: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a whole file from one offset up to another, the next piece read ahead."""
        # Opened here, which takes no time: a thread that is cancelled would leave it open.
        descriptor = os.open(self._whole(sha256), os.O_RDONLY)
        left = end - begin
        coming = in_thread(_piece, descriptor, begin, left)
        try:
            while left > 0 and (piece := await result_of(coming)):
                left -= len(piece)
                coming = in_thread(_piece, descriptor, end - left, left)
                yield piece
        finally:
            try:
                await ended(coming)
            finally:
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
            return [(path.resolve(), path.name)]
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

    async def clear(self, holder: str) -> None:
        """Remove what a run has left in its folder, and the folder; see the port."""
        folder = self.folder(holder, "made")
        try:
            await result_of(in_thread(_cleared, folder))  # nobody writes there before it is over
        except OSError as fault:
            raise StorageFailed(f"{folder} cannot be removed: {fault.strerror or fault}") from fault

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

    def _remember(self, path: Path, hashed: Hashed) -> None:
        self._hashed[path] = hashed
        if len(self._hashed) > _MOST_HASHED:
            del self._hashed[next(iter(self._hashed))]

    def _copy_in(self, path: Path, name: str) -> FileRef:
        try:
            with _opened(path) as source:
                size = os.fstat(source.fileno()).st_size
                if size > MAX_FILE_BYTES:
                    raise InvalidRequest(f"{quoted(name)} has more bytes than a file may have")
                ref = FileRef(name=name, size=size, sha256="")
                self._check_room(ref, 0)
                part = self._part(Origin("self"), f"{os.getpid()}-{os.urandom(8).hex()}")
                return self._copied_in(source, part, ref)
        except OSError as fault:
            gone = isinstance(fault, FileNotFoundError | PermissionError | IsADirectoryError)
            if gone or fault.errno == errno.ELOOP:
                raise InvalidRequest(f"{quoted(str(path), 300)} cannot be read: {fault.strerror}") from fault
            raise _failure(fault, FileRef(name=name, size=0, sha256="")) from fault

    def _copied_in(self, source: BinaryIO, path: Path, ref: FileRef) -> FileRef:
        part = Part(path, 0, self._leave_spare)
        try:
            part.open()
            # No more than there was room for: it may grow meanwhile.
            while piece := source.read(min(PIECE, ref.size - part.at)):
                part.write(piece)
            sha256 = part.digest.hexdigest()
            part.finish(self._whole(sha256), sha256)
        finally:
            part.close()
            path.unlink(missing_ok=True)
        return FileRef(name=ref.name, size=part.at, sha256=sha256)

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


def _piece(descriptor: int, offset: int, left: int) -> bytes:
    return os.pread(descriptor, min(left, _SENT_PIECE), offset)


def _opened(path: Path) -> BinaryIO:
    """Open a file to be read, but no link and no pipe: what was a file when it was found may be one now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidRequest(f"{quoted(str(path), 300)} is no file that can be read")
    return os.fdopen(descriptor, "rb")


def _copied(whole: Path, beside: Path, target: Path, check: Callable[[int, int], None]) -> None:
    if target.is_file() and target.stat().st_size == whole.stat().st_size:
        return  # an earlier boot has laid it there
    for folder in (beside.parent, target.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _copy(whole, beside, check)
        sync(beside)  # once it is said to lie there, it does, whatever happens to the power
        beside.replace(target)
        sync(target.parent)
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


def _cleared(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    folder.chmod(0o700)
    for at, inner, _ in os.walk(folder):
        for path in (Path(at, name) for name in inner):
            if not path.is_symlink():
                path.chmod(0o700)  # what its maker has shut is removed as well
    shutil.rmtree(folder)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _failure(fault: OSError, ref: FileRef) -> StorageFailed:
    if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoRoom(f"the disk is full: {quoted(ref.name)} goes on once there is room")
    return StorageFailed(f"the node's disk does not take {quoted(ref.name)}: {fault.strerror or fault}")
