"""What must never be seen: every secret that was handed out, against all that nodes have shown and kept."""

import contextlib
import re
from pathlib import Path

KEPT_IN = frozenset({".env", ".env.new", "operator.token", "openclaw.json"})
"""Files that are there to hold secrets, for their owner alone."""

_WORD = re.compile(rb"[A-Za-z0-9_-]{40,}")
"""A run of characters that may hold a secret: all of ours are that long."""

_secrets: set[bytes] = set()
_shown: set[bytes] = set()


def hand_out(secret: str) -> str:
    """Note a secret, and return it."""
    if _WORD.fullmatch(secret.encode()):
        _secrets.add(secret.encode())
    return secret


def show(said: bytes) -> None:
    """Note what a node, or its command line, has told somebody."""
    _shown.update(_WORD.findall(said))


def leaked(folder: Path) -> list[str]:
    """Return where a secret can be read: in what was shown, or in a file below a folder."""
    if not _secrets:
        return []
    places = ["an answer"] if _holds(_shown) else []
    for path in folder.rglob("*"):
        # What a test has locked, or something still removes, nobody reads.
        with contextlib.suppress(OSError):
            if path.name not in KEPT_IN and path.is_file() and not path.is_symlink():
                words = set(_WORD.findall(path.read_bytes()))
                if _holds(words):
                    places.append(str(path.relative_to(folder)))
    return places


def _holds(words: set[bytes]) -> bool:
    longest = max(map(len, _secrets), default=0)
    return not words.isdisjoint(_secrets) or any(
        secret in word for word in words if len(word) > longest for secret in _secrets
    )
