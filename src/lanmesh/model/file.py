"""files: what is said of one before its bytes come, and where a name that somebody else chose may lie"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

FILES_S = 24 * 3600.0
"""How long a task waits for its files."""

GONE_S = 31 * 24 * 3600.0
"""How long the bytes of a file are tried to be had, or brought, after which its peer is taken for gone."""

MAX_FILES = 256
"""In one envelope; more are better packed."""

MAX_FILE_BYTES = 2**50

LONGEST_NAME = 1024
"""Characters."""

WHOLE_RESULT = "result.txt"
"""The name of the file that holds all of a result of which a report can carry the beginning only."""

LONGEST_PART = 200
"""Bytes of one part of a name; file systems take 255, and a number may be added."""

_DEEPEST = 8
_NUMBER = 10
"""Bytes that a number may add to a part of a name."""

_UNWELCOME = re.compile(r'[<>:"|?*\\]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Names that are devices elsewhere (Windows)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file as an envelope names it; its bytes travel apart from that."""

    name: str
    """A label of the sender's, of a file in a folder with `/` between the parts. Never a path here."""
    size: int
    sha256: str
    """Of its bytes, in 64 lower-case hexadecimal digits."""
    media: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """A file that came with something or goes out with it, and how far its bytes have come."""

    ref: FileRef
    ours: bool
    """Whether this node has sent it on its way."""
    made: bool
    """Whether the doer of the task has made it; else it came with the request or message."""
    present: int
    """Bytes that have come to where they belong, as far as is known."""
    settled: bool
    """Whether nothing more is to come of it."""
    error: str | None = None
    """Why it will not come; of one that is not settled, why it does not lie there yet."""
    place: str | None = None
    """Where it lies on this machine, if it came from elsewhere and is whole."""


def label(name: str) -> str:
    """Return how a file of this machine is named to others: in UTF-8, of a very long name the end."""
    return name.encode(errors="surrogateescape").decode(errors="replace")[-LONGEST_NAME:]


def places(
    names: Iterable[str], *, longest: int = LONGEST_PART, room: int = _DEEPEST * (LONGEST_PART + _NUMBER)
) -> list[tuple[str, ...]]:
    """Return where files with these names may lie in a folder, each as the parts of a relative path.

    No part leads out of the folder, hides what it is or is a device; no two are the same where
    case does not count, and none is a folder of another. None is hidden there, nor in a folder that is:
    a first part that begins with a dot gets a `_` before it.

    Args:
        names: As somebody else chose them.
        longest: Bytes that one part may have, before a number is added.
        room: Bytes that all parts together may have: of a longer one the last ones count.
    """
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    found = []
    for name in names:
        parts: tuple[str, ...] = ()
        *above, last = _parts(name, longest, room)
        for part in above:
            parts = (*parts, _free(parts, part, files))
            folders.add(_folded(parts))
        parts = (*parts, _free(parts, last, files | folders))
        files.add(_folded(parts))
        found.append(parts)
    return found


def _parts(name: str, longest: int, room: int) -> list[str]:
    parts = [_clean(part, longest) for part in name.split("/") if part not in {"", ".", ".."}]
    parts = [part for part in parts if part][-_DEEPEST:] or ["file"]
    while len(parts) > 1 and sum(len(part.encode()) + _NUMBER for part in parts) > room:
        del parts[0]
    # What begins with a dot is read and run by shells and tools of whoever puts it into a folder of theirs.
    return [f"_{parts[0]}", *parts[1:]] if parts[0].startswith(".") else parts


def _clean(part: str, longest: int) -> str:
    """Return a part of a name without what cannot be seen, and without what a file system takes amiss."""
    seen = "".join(c if c.isprintable() else "_" for c in unicodedata.normalize("NFC", part))
    seen = _UNWELCOME.sub("_", seen).strip(" ").rstrip(". ")
    if _RESERVED.fullmatch(seen):
        seen = f"_{seen}"
    if len(seen.encode()) <= longest:
        return seen
    stem, dot, ending = seen.rpartition(".")
    kept = dot + ending if stem and len(ending.encode()) <= longest // 4 else ""
    return _cut(seen.removesuffix(kept), longest - len(kept.encode())) + kept


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore").rstrip(". ") or "file"


def _free(above: tuple[str, ...], part: str, taken: set[tuple[str, ...]]) -> str:
    stem, dot, ending = part.rpartition(".") if "." in part.lstrip(".") else (part, "", "")
    number, chosen = 1, part
    while _folded((*above, chosen)) in taken:
        number += 1
        chosen = f"{stem} ({number}){dot}{ending}"
    return chosen


def _folded(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part.casefold()) for part in parts)
