"""The smallest part of a plan that still fails."""

from collections.abc import Callable, Sequence

_MOST_RUNS = 200


def shrink(count: int, fails: Callable[[Sequence[int]], bool], most_runs: int = _MOST_RUNS) -> list[int]:
    """Return few of the numbers up to `count` with which it still fails, in order.

    It drops halves, then quarters, and so on, as long as that goes (Zeller's delta debugging).

    Args:
        count: How many steps there are; with all of them it fails.
        fails: Whether it fails with these.
        most_runs: How often `fails` may be asked.
    """
    kept = list(range(count))
    size, runs = max(1, count // 2), 0
    while kept:
        dropped = False
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if len(fewer) == len(kept) or runs == most_runs:
                continue
            runs += 1
            if fails(fewer):
                kept, dropped = fewer, True
                break
        if not dropped:
            if size == 1 or runs == most_runs:
                break
            size = max(1, size // 2)
    return kept
