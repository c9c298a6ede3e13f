"""paces: how much somebody may bring at once, and how much by and by"""


class Pace:
    """What is left to somebody; it grows again with time, up to what may come at once."""

    def __init__(self, most: float, per_s: float, now: float) -> None:
        """Begin rested, at a time in seconds of a clock that never goes back."""
        self._most = most
        self._per_s = per_s
        self._left = most
        self._since = now

    def early_s(self, now: float, cost: float = 1.0) -> float:
        """Take what something costs; if there is not as much left, take nothing, and return for how long."""
        self._left = min(self._most, self._left + (now - self._since) * self._per_s)
        self._since = now
        if self._left < cost:
            return (cost - self._left) / self._per_s
        self._left -= cost
        return 0.0
