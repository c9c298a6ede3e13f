"""the history of a task: each thing that happened to it"""

from dataclasses import dataclass

PROGRESS = "progress"
"""The event of words that a run has said; it leaves the state as it is."""

REPORT = "report"
"""The event, at the asker, of what the doer tells of the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a task."""

    version: int
    """The task's version from then on."""
    at: float
    event: str
    state: str
    """The task's state from then on."""
    detail: str
    """For people; of words that were said, these."""

    @property
    def kind(self) -> str:
        """What a stream calls it: words that were said, or another step of the task's life."""
        return PROGRESS if self.event == PROGRESS else "state"
