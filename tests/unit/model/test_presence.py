"""What a peer's silence may be taken for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanmesh.model.presence import GONE_AFTER_S, QUIET_AFTER_S, Observation, Presence

HERE, QUIET, GONE = Presence.HERE, Presence.QUIET, Presence.GONE


@pytest.mark.parametrize(
    ("silent_s", "online", "presence"),
    [
        (0.0, True, HERE),
        (QUIET_AFTER_S - 0.1, True, HERE),
        (QUIET_AFTER_S, True, QUIET),
        (GONE_AFTER_S - 0.1, True, QUIET),
        (GONE_AFTER_S, True, GONE),
        (1e6, True, GONE),
        (1.0, False, HERE),
        (GONE_AFTER_S, False, QUIET),
        (1e6, False, QUIET),
    ],
)
def test_a_peer_is_here_then_quiet_then_gone(silent_s: float, online: bool, presence: Presence) -> None:
    seen = Observation(since=0.0).after_word(100.0)

    assert seen.presence(100.0 + silent_s, online=online) is presence


def test_one_that_was_never_heard_of_is_quiet_until_it_had_time_to_come() -> None:
    seen = Observation(since=100.0)

    assert seen.presence(100.0, online=True) is QUIET
    assert seen.presence(100.0 + GONE_AFTER_S, online=True) is GONE


def test_a_time_in_which_this_node_heard_nobody_does_not_count() -> None:
    seen = Observation(since=0.0).after_word(100.0).after_absence(1000.0)

    assert seen.presence(1100.0, online=True) is HERE
    assert seen.presence(1100.0 + QUIET_AFTER_S, online=True) is QUIET
    assert seen.presence(1100.0 + GONE_AFTER_S, online=True) is GONE
    assert Observation(since=0.0).after_absence(1000.0).presence(1001.0, online=True) is QUIET


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("word"), st.floats(0, 100)),
        st.tuples(st.just("wait"), st.floats(0, 100)),
        st.tuples(st.just("away"), st.floats(0, 1000)),
    )
)


@given(STEPS, st.booleans())
def test_only_silence_while_this_node_is_well_makes_a_peer_gone(
    steps: list[tuple[str, float]], online: bool
) -> None:
    now = silent_s = 0.0
    heard = False
    seen = Observation(since=0.0)
    for step, seconds in steps:
        now += seconds
        if step == "away":
            seen = seen.after_absence(seconds)
        else:
            silent_s += seconds
        if step == "word":
            seen, silent_s, heard = seen.after_word(now), 0.0, True
        told = seen.presence(now, online=online)

        if told is GONE:
            assert online
            assert silent_s > GONE_AFTER_S - 0.001
        if heard and silent_s < QUIET_AFTER_S - 0.001:
            assert told is HERE
        if silent_s > GONE_AFTER_S + 0.001 and online:
            assert told is GONE
        if step == "word":
            assert told is HERE
