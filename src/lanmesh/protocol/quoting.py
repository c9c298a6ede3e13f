"""what a peer wrote, as an agent may read it: quoted, with its origin named"""

import re

from lanmesh.model.ids import quoted

_FENCE = "LAN-PEER-TEXT"

_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of what follows."""


def fenced(text: str, *, peer: str, proven: bool, what: str) -> str:
    """Return a peer's text as data between two fences that the text itself cannot close.

    An agent reads it as a block that begins with its origin. It is never a line of its own that
    could pass for a command, and never the first thing of a message.
    """
    name = quoted(peer) + ("" if proven else " (its name is not proven)")
    inside = text.replace(_FENCE, "LAN_PEER_TEXT")
    seen = (_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", line) for line in inside.splitlines() or [""])
    lines = "\n".join(f"| {line}" for line in seen)
    return f"<<<{_FENCE} {what} from {name}>>>\n{lines}\n<<<END {_FENCE}>>>"


def one_line(text: str, limit: int = 300) -> str:
    """Return foreign text as part of a sentence of ours: one line, cut, nothing that cannot be seen."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
