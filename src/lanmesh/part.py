"""a file on its way: one thread at a time writes it, and it is whole once its bytes fit its hash"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lanmesh.errors import FileDiffers, StorageFailed

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")

PIECE = 1024 * 1024
"""Bytes in memory of one file at a time, twice: while one piece is written, the next one comes."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The hash of so many bytes of a part."""

    size: int
    digest: "_Hash"


class Part:
    """The bytes of one file that have come. Its steps are taken in threads, one after the other."""

    def __init__(
        self, path: Path, offset: int, check: Callable[[int, int], None], known: Hashed | None = None
    ) -> None:
        """Go on at an offset, once it is open, and check before each piece whether it may be written.

        What stands need not be read for its hash where that is known.
        """
        self.hashed: Hashed | None = None
        """Of all that is written; `None` while that is not known."""
        self.digest = hashlib.sha256()
        self.at = offset
        self._path = path
        self._check = check
        self._known = known
        self._descriptor: int | None = None

    def open(self) -> None:
        """Read what is there, for the hash of the whole, unless that is known."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if self._known is not None and self._known.size == self.at == os.fstat(self._descriptor).st_size:
            self.digest = self._known.digest
            os.lseek(self._descriptor, self.at, os.SEEK_SET)
        else:
            os.ftruncate(self._descriptor, self.at)
            while piece := os.read(self._descriptor, PIECE):
                self.digest.update(piece)
        self.hashed = Hashed(self.at, self.digest)

    def write(self, piece: bytes) -> None:
        """Write the next bytes."""
        self._check(self._open, len(piece))
        left = memoryview(piece)
        while left:
            left = left[os.write(self._open, left) :]
        self.digest.update(piece)
        self.at += len(piece)
        self.hashed = Hashed(self.at, self.digest)

    def finish(self, whole: Path, sha256: str) -> None:
        """Let it stand as the whole file too, if its bytes are those of its hash; else remove them.

        The part stays until it is known elsewhere that the file is whole: who is killed in between
        finds all of it again.

        Raises:
            FileDiffers: They are not.
        """
        if self.digest.hexdigest() != sha256:
            self._path.unlink(missing_ok=True)
            raise FileDiffers("its bytes are not those of the sha256 that was announced")
        os.fsync(self._open)
        if not whole.parent.is_dir():
            whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(whole.parent.parent)
        beside = self._path.with_name(f"{self._path.name}.whole")
        beside.unlink(missing_ok=True)
        try:
            os.link(self._path, beside)
        except OSError:  # a file system without links: there, what is killed now comes once more
            beside = self._path
        beside.replace(whole)
        if beside != self._path:
            beside.unlink(missing_ok=True)  # it stays where both are one file already
        sync(whole.parent)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise StorageFailed("a file that is not open was written to")
        return self._descriptor


class Steps:
    """What is done to a file in threads, a step at a time.

    A thread cannot be cancelled. Whoever is, goes only once its step is over: else a descriptor would
    be closed under the thread, or a second one begin beside it.
    """

    def __init__(self) -> None:
        """Nothing is done yet."""
        self._step: asyncio.Future[object] | None = None

    async def begin(self, step: Callable[..., object], *args: object) -> None:
        """Begin a step once the one before is over, and do not wait for it.

        Raises:
            Exception: What the one before raised.
        """
        await self.over()
        self._step = in_thread(step, *args)

    async def over(self) -> None:
        """Wait for the latest step.

        Raises:
            Exception: What it raised.
        """
        step, self._step = self._step, None
        if step is not None:
            await result_of(step)

    async def end(self, step: Callable[[], object]) -> None:
        """Do the last step, whatever came of the one before."""
        try:
            if self._step is not None:
                await ended(self._step)
        finally:
            await result_of(in_thread(step))


def in_thread(step: Callable[..., T], *args: object) -> "asyncio.Future[T]":
    """Begin a step in a thread."""
    return asyncio.get_running_loop().run_in_executor(None, step, *args)


async def result_of(step: "asyncio.Future[T]") -> T:
    """Return what a step returns; a cancellation comes once it is over."""
    try:
        return await asyncio.shield(step)
    finally:
        await ended(step)


async def ended(step: "asyncio.Future[T]") -> None:
    """Return once a step is over, whatever came of it; a cancellation meanwhile comes after that."""
    canceled: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError as fault:
            canceled = fault
    step.exception()  # seen, even if nobody asks
    if canceled is not None:
        raise canceled


async def gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
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


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, outlast the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
