from collections.abc import Sequence

from tests.simulation.shrink import shrink


def test_only_what_it_takes_to_fail_is_left() -> None:
    def fails(kept: Sequence[int]) -> bool:
        return {3, 11, 12} <= set(kept)

    assert shrink(20, fails) == [3, 11, 12]


def test_what_fails_with_nothing_is_shrunk_to_nothing() -> None:
    assert shrink(8, lambda _kept: True) == []


def test_it_gives_up_in_time() -> None:
    asked: list[int] = []

    def fails(kept: Sequence[int]) -> bool:
        asked.append(len(kept))
        return 999 in kept

    assert 999 in shrink(1000, fails, most_runs=5)
    assert len(asked) == 5
