"""when to try again, as a pure rule"""

FIRST_S = 1.0
LONGEST_S = 60.0
LONGEST_SILENT_S = 10.0
"""The same for a peer that takes connections and does not answer: it is there, and the way to it bad."""

FARTHEST_S = 300.0
"""Nothing is put off for longer than that: what seems to be was put off by a clock that is set back since."""

SET_BACK_S = 1.0
"""A clock that is behind by less was not set back."""


def pause(failures: int, chance: float, longest_s: float = LONGEST_S) -> float:
    """Return seconds to wait after so many failures in a row.

    Exponential with full jitter: any time up to a bound that doubles, so that many senders do
    not come back at one moment (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        failures: Failures in a row, at least 1.
        chance: A random number from 0 up to 1.
        longest_s: The bound of the bound.
    """
    doublings = min(failures - 1, 16)
    return min(longest_s, FIRST_S * (1 << doublings)) * chance
