"""Disks that keep what was synced when the power goes: an SQLite VFS over files in a folder."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from weakref import WeakValueDictionary

import apsw

_SECTOR = 512
_NAME = "simulated-disk"


class Loss(StrEnum):
    """What becomes of what was written and not synced."""

    NOTHING = auto()
    """Only the process ended: the system still has it all."""
    ALL = auto()
    """Nothing of it reached the disk."""
    SOME = auto()
    """Any part of it reached the disk, some of it torn."""


@dataclass
class _File:
    """One file: what a sync has made safe, and what was done since."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes at an offset; `None` cuts the file at it."""

    def sync(self) -> None:
        for offset, data in self.since:
            _apply(self.safe, offset, data)
        self.since.clear()

    def left(self, loss: Loss, chance: random.Random) -> "_File":
        """Return the file as it is found after the end."""
        if loss is Loss.NOTHING:
            return _File(bytearray(self.safe), list(self.since))
        safe = bytearray(self.safe)
        if loss is Loss.SOME:
            for offset, data in self.since:
                if chance.random() < 0.5:
                    continue
                if data is not None and chance.random() < 0.3:
                    data = data[: _SECTOR * chance.randrange(len(data) // _SECTOR + 1)]  # noqa: PLW2901
                _apply(safe, offset, data)
        return _File(safe)

    def content(self) -> bytes:
        content = bytearray(self.safe)
        for offset, data in self.since:
            _apply(content, offset, data)
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """The disk under one life of a node: a folder whose files SQLite reaches through `VFS`."""

    def __init__(self, folder: Path, files: dict[str, _File] | None = None) -> None:
        """Begin with files as an earlier life left them."""
        self.folder = folder
        self.full = False
        """Whether nothing more can be written."""
        self.operations = 0
        """Writes and syncs so far."""
        self._files = files or {}
        self._gone = False
        self._fuse: tuple[int, Callable[[], None]] | None = None
        folder.mkdir(parents=True)
        for name, file in self._files.items():
            (folder / name).write_bytes(file.content())
        _DISKS[str(folder)] = self

    def light(self, operations: int | None, burn: Callable[[], None]) -> None:
        """Call something before the write or sync that comes after so many others; `None` takes that back."""
        self._fuse = None if operations is None else (self.operations + operations, burn)

    def end(self, loss: Loss, chance: random.Random) -> dict[str, _File]:
        """Return what is left of the files in this moment; what is written later is lost for sure."""
        self._gone = True
        _DISKS.pop(str(self.folder), None)
        return {name: file.left(loss, chance) for name, file in sorted(self._files.items())}

    def install(self, name: str, content: bytes) -> None:
        """Put a file there, synced; before anyone opens it."""
        (self.folder / name).write_bytes(content)
        self._files[name] = _File(bytearray(content))

    # --- what the VFS asks ---------------------------------------------------------------------------

    def file(self, name: str) -> _File:
        return self._files.setdefault(name, _File())

    def removed(self, name: str) -> None:
        if not self._gone:
            self._files.pop(name, None)

    def touch(self) -> None:
        """Count an operation; the disk may be full, or gone in this moment."""
        self.operations += 1
        if self._fuse is not None and self.operations > self._fuse[0]:
            burn, self._fuse = self._fuse[1], None
            burn()
            raise apsw.IOError("the power is gone")


_DISKS: WeakValueDictionary[str, Disk] = WeakValueDictionary()
"""By folder; whoever runs a life holds its disk."""


class _OpenFile(apsw.VFSFile):
    """An open file of a disk."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else str(name))
        self._disk = _DISKS.get(str(path.parent))
        self._file = None if self._disk is None else self._disk.file(path.name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # the name is SQLite's
        if self._disk is not None and self._file is not None:
            if self._disk.full:
                raise apsw.FullError("database or disk is full")
            self._disk.touch()
            self._file.since.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._disk is not None and self._file is not None:
            self._disk.touch()
            self._file.since.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk is not None and self._file is not None:
            self._disk.touch()
            self._file.sync()


class _Vfs(apsw.VFS):
    """Hands out files that a `Disk` keeps account of."""

    def __init__(self) -> None:
        super().__init__(_NAME, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _OpenFile(name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        path = Path(filename)
        disk = _DISKS.get(str(path.parent))
        if disk is not None:
            disk.removed(path.name)
        super().xDelete(filename, syncdir)


_vfs = _Vfs()  # lives as long as the process: SQLite holds on to it

VFS = _NAME
"""The name by which SQLite knows it."""
