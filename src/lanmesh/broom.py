"""remove the bytes of files, and the folders of tasks, that are needed no more"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lanmesh.errors import StorageFailed
from lanmesh.model.ids import Origin

_ORPHAN_S = 24 * 3600.0
"""What nobody knows is removed only when it is older: it may be about to be named."""


class Broom:
    """Sweeps the folders in which the `Shelf` keeps bytes and lays them out. Implements the port `Broom`."""

    def __init__(self, blobs: Path, work: Path) -> None:
        """Sweep these two."""
        self._blobs = blobs
        self._work = work

    async def drop(self, origin: Origin, sha256: str) -> None:
        """Remove what has come of a file that is not whole; see the port."""
        part = self._blobs / "parts" / f"{origin}.{sha256}"
        try:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        except OSError as fault:
            raise StorageFailed(f"{part} cannot be removed: {fault.strerror or fault}") from fault

    async def remove(self, places: Sequence[str]) -> None:
        """Remove what was laid out, and the folders that are empty then; see the port."""
        try:
            await asyncio.to_thread(self._remove, places)
        except OSError as fault:
            raise StorageFailed(f"what was laid out cannot be removed: {fault.strerror or fault}") from fault

    async def gone(self, places: Sequence[str]) -> Sequence[str]:
        """Return the places at which nothing lies any more; see the port."""
        return await asyncio.to_thread(self._gone, places)

    async def sweep(self, known: Callable[[str], bool], needed: Callable[[str], bool]) -> None:
        """Remove what is old and not known any more: bytes by their hash, folders by their holder."""
        before = time.time() - _ORPHAN_S
        for path, sha256 in await asyncio.to_thread(lambda: list(self._all())):
            if not known(sha256):
                await asyncio.to_thread(_removed, path, before)
        for folder in await asyncio.to_thread(lambda: list(_entries(self._work))):
            if not needed(folder.name):
                await asyncio.to_thread(_removed, folder, before)

    def _remove(self, places: Sequence[str]) -> None:
        for place in places:
            path = self._work / place
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._work or any(_entries(folder)):
                    break
                folder.rmdir()

    def _gone(self, places: Sequence[str]) -> Sequence[str]:
        return [p for p in places if not (self._work / p).exists()] if self._work.is_dir() else []

    def _all(self) -> Iterator[tuple[Path, str]]:
        for folder in _entries(self._blobs):
            for path in _entries(folder):
                in_parts = folder.name == "parts"
                yield path, path.name.rpartition(".")[2] if in_parts else folder.name + path.name


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _removed(path: Path, before: float) -> None:
    with suppress(OSError):
        if path.stat().st_mtime >= before:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
