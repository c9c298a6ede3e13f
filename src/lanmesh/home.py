"""notice that a state folder is a copy of another, whose work both would do"""

from pathlib import Path

from lanmesh.locations import StateFolder, write_private


class Home:
    """Where a state folder belongs: known by the inode of the folder, which a copy does not have."""

    def __init__(self, folder: StateFolder) -> None:
        """Look at a folder whose lock is held, and note where it is now.

        As long as the folder that it was copied from is still there, that stays noted instead.
        """
        self._original: StateFolder | None = None
        noted = _noted(folder)
        inode = folder.path.stat().st_ino
        if noted is not None and noted[0] != inode:
            self._original = StateFolder(path=Path(noted[1]))
            if _inode(self._original) == noted[0]:
                return
        if noted != (inode, str(folder.path)):
            write_private(folder.place, f"{inode} {folder.path}\n")

    def warnings(self) -> list[str]:
        """Return what the owner should know: nothing, if this is no copy."""
        if self._original is None:
            return []
        where = self._original.path
        told = "where a node runs now" if self._original.is_held() else "maybe of another machine"
        return [
            f"this state folder is a copy of {where}, {told}: if both are used, both do what was waiting, "
            "and peers take them for one node; delete one of the two folders"
        ]


def _noted(folder: StateFolder) -> tuple[int, str] | None:
    try:
        inode, _, path = folder.place.read_text(encoding="utf-8").rstrip("\n").partition(" ")
        return int(inode), path
    except (OSError, ValueError):
        return None


def _inode(folder: StateFolder) -> int | None:
    try:
        return folder.path.stat().st_ino
    except OSError:
        return None
