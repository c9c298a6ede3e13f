"""presence: whether a peer was heard of lately, and what its silence may be taken for"""

from dataclasses import dataclass, replace
from enum import StrEnum

QUIET_AFTER_S = 12.0
"""Two beats of a peer's link have not come, and the third is late."""

GONE_AFTER_S = 25.0
"""Long enough for a peer to be started anew, or to change its network; known within half a minute."""


class Presence(StrEnum):
    """What was last seen of a peer. Nothing is given up or removed because of it."""

    HERE = "here"
    QUIET = "quiet"
    """Not heard of lately: too early to say more, or this node's own network is down."""
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """When a peer was last heard of, in seconds of a clock that never goes back."""

    heard_at: float | None = None
    """`None` until its first word."""
    since: float
    """Since when it has been listened for."""
    boot: str | None = None
    """The life of its node; `None` until that is known."""

    def after_word(self, now: float) -> "Observation":
        """Return the observation after a word of the peer's."""
        return replace(self, heard_at=now)

    def after_absence(self, away_s: float) -> "Observation":
        """Return the observation after this node heard nobody for some time, by no fault of the peer's."""
        heard_at = None if self.heard_at is None else self.heard_at + away_s
        return replace(self, heard_at=heard_at, since=self.since + away_s)

    def presence(self, now: float, *, online: bool) -> Presence:
        """Return what this tells.

        Args:
            now: The time.
            online: Whether this node's own network is up; while it is not, nobody is gone.
        """
        if self.heard_at is not None and now - self.heard_at < QUIET_AFTER_S:
            return Presence.HERE
        silent_s = now - (self.since if self.heard_at is None else self.heard_at)
        return Presence.GONE if online and silent_s >= GONE_AFTER_S else Presence.QUIET
