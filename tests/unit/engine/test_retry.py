"""Pauses: they grow, they are bounded, and chance spreads them."""

import pytest

from lanmesh.engine.retry import pause

ALMOST_1 = 1 - 2**-53


@pytest.mark.parametrize(
    ("failures", "longest_s"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 32.0), (7, 60.0), (8, 60.0), (10**9, 60.0)],
)
def test_the_longest_pause_doubles_with_every_failure_up_to_a_minute(failures: int, longest_s: float) -> None:
    assert pause(failures, ALMOST_1) == pytest.approx(longest_s)
    assert pause(failures, ALMOST_1) <= longest_s
    assert pause(failures, 0.5) == longest_s / 2


@pytest.mark.parametrize("failures", [1, 7, 10**9])
def test_chance_may_take_the_whole_pause_away(failures: int) -> None:
    assert pause(failures, 0.0) == 0.0
