"""when to try again, as a pure rule"""

FIRST_S = 1.0
LONGEST_S = 60.0
LONGEST_SILENT_S = 10.0
"""The same for a peer that takes connections and does not answer: it is there, and the way to it bad."""

FARTHEST_S = 300.0
"""Nothing is put off for longer than that: what seems to be was put off by a clock that is set back since."""

SET_BACK_S = 1.0
"""A clock that is behind by less was not set back."""

MOST_TRIES = 10
"""How often a repeatable task is begun; if all of that was interrupted, so would the next try be."""


def rest(tries: int) -> float:
    """Return seconds for which a task waits after so many tries came to nothing; after the first, none."""
    return 0.0 if tries <= 1 else min(LONGEST_S, FIRST_S * (1 << min(tries - 2, 16)))


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
