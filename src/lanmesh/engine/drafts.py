"""what runs are writing, here and at peers: the latest of it, in memory, for whoever watches"""

from lanmesh.engine.events import Events
from lanmesh.model.draft import Mark, Passage
from lanmesh.model.ids import LocalId
from lanmesh.store.database import Change, Topic

MOST_KEPT = 32_768
"""Characters of each draft: a reader that is further behind misses some."""

LONGEST_PASSAGE = 16_384
"""Characters that are told at once."""

MOST_HEARD = 64
"""Drafts of tasks that peers do."""


class Drafts:
    """Holds what was written last. It is lost in a crash and with the end of a run: the result says more.

    Nobody waits for a reader: one that is slow reads on where it is, or behind what it has missed.
    """

    def __init__(self, events: Events) -> None:
        """Begin with nothing; tell those who watch `Topic.DRAFT`."""
        self._events = events
        self._written: dict[LocalId, Passage] = {}
        self._shown: dict[LocalId, Passage] = {}
        self._heard: dict[LocalId, None] = {}

    def write(self, task: LocalId, run: str, text: str) -> None:
        """Take what a run here writes next; it is seen once `show` is called."""
        known = self._written.get(task)
        if known is None or known.run != run:
            known = Passage(run=run, offset=0, text="")
        added = Passage(run=run, offset=known.end.offset, text=text)
        self._written[task] = known.joined(added).latest(MOST_KEPT)

    def show(self) -> None:
        """Let readers see all that was written."""
        for task, written in self._written.items():
            if self._shown.get(task) is not written:
                self._show(task, written)

    def hear(self, task: LocalId, said: Passage) -> None:
        """Take what a peer says that its run has written."""
        known = self._shown.get(task)
        self._heard.pop(task, None)
        self._heard[task] = None
        if len(self._heard) > MOST_HEARD:
            self.drop(next(iter(self._heard)))
        self._show(task, (said if known is None else known.joined(said)).latest(MOST_KEPT))

    def drop(self, task: LocalId) -> None:
        """Forget the draft of a task."""
        for kept in (self._written, self._shown, self._heard):
            kept.pop(task, None)

    def mark(self, task: LocalId) -> Mark:
        """Return how far what is known of a task's draft goes."""
        shown = self._shown.get(task)
        return Mark() if shown is None else shown.end

    def latest(self, task: LocalId, most: int) -> str:
        """Return the end of a task's draft; empty if there is none."""
        shown = self._shown.get(task)
        return "" if shown is None else shown.latest(most).text

    def after(self, task: LocalId, seen: Mark) -> Passage | None:
        """Return what comes next for a reader of a task's draft; `None` if there is no more yet."""
        shown = self._shown.get(task)
        return None if shown is None else shown.after(seen, LONGEST_PASSAGE)

    def _show(self, task: LocalId, draft: Passage) -> None:
        self._shown[task] = draft
        self._events.publish([Change(Topic.DRAFT, task)])
