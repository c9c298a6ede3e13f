"""drafts: what a run has written so far, which may become its result"""

import re
from dataclasses import dataclass, replace

from lanmesh.errors import InvalidRequest
from lanmesh.model.ids import quoted

_MARK = re.compile(r"([A-Za-z0-9._~-]{0,64})\.([0-9]{1,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a reader has come in a draft."""

    run: str = ""
    """Names the run that writes it; empty: the reader has nothing of any."""
    offset: int = 0
    """Characters before this place."""

    def __str__(self) -> str:
        """Return it as it stands in addresses; see `mark`."""
        return f"{self.run}.{self.offset}"


START = Mark()
"""Where a reader is that has nothing yet."""


def mark(text: str) -> Mark:
    """Return the mark that a text spells.

    Raises:
        InvalidRequest: It spells none.
    """
    spelled = _MARK.fullmatch(text)
    if spelled is None:
        raise InvalidRequest(f"{quoted(text)} is no mark: take it from what was told last, or .0 to begin")
    return Mark(run=spelled[1], offset=int(spelled[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A part of what one run has written."""

    run: str
    offset: int
    """Characters before it."""
    text: str

    @property
    def end(self) -> Mark:
        """Where it ends."""
        return Mark(run=self.run, offset=self.offset + len(self.text))

    def joined(self, later: "Passage") -> "Passage":
        """Return it with what comes after it; what does not continue it takes its place."""
        known = self.end.offset - later.offset
        if later.run != self.run or known < 0:
            return later
        return replace(self, text=self.text + later.text[known:])

    def latest(self, most: int) -> "Passage":
        """Return the end of it, of so many characters at most."""
        passed = max(0, len(self.text) - most)
        return replace(self, offset=self.offset + passed, text=self.text[passed:])

    def after(self, seen: Mark, most: int) -> "Passage | None":
        """Return what a reader has not seen of it, so many characters at most; `None` if it has seen all.

        A reader of another run, or of what came so long before this that something was missed,
        gets it from its beginning.
        """
        passed = seen.offset - self.offset if seen.run == self.run else 0
        text = self.text[max(0, passed) :][:most]
        return replace(self, offset=self.offset + max(0, passed), text=text) if text else None
