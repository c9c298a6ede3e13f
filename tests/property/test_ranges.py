"""Which bytes a request asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanmesh.errors import RangeImpossible
from lanmesh.protocol.ranges import byte_range


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 1000))
def test_a_range_is_cut_to_the_file_or_refused(first: int, last: int, size: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert byte_range(header, size) is None
    elif first >= size:
        with pytest.raises(RangeImpossible):
            byte_range(header, size)
    else:
        assert byte_range(header, size) == (first, min(last + 1, size))


@given(st.text(max_size=40), st.integers(0, 1000))
def test_whatever_a_header_says_no_byte_beyond_the_file_is_asked_for(header: str, size: int) -> None:
    try:
        part = byte_range(header, size)
    except RangeImpossible:
        return
    assert part is None or 0 <= part[0] < part[1] <= size


@pytest.mark.parametrize(
    "nonsense",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=--1",
        "bytes=+1-2",
        "bytes=\u0661-\u0665", "bytes=\uff10-\uff19", "bytes=1-\u00b2", "bytes=0x1-2", "bytes=1 - 2",
        f"bytes=0-{'9' * 40}",
    ],
)  # fmt: skip
def test_what_is_no_range_asks_for_all(nonsense: str) -> None:
    assert byte_range(nonsense, 10) is None


def test_the_end_of_a_file_can_be_asked_for() -> None:
    assert byte_range("bytes=-3", 10) == (7, 10)
    assert byte_range("bytes=-30", 10) == (0, 10)
    assert byte_range("bytes=4-", 10) == (4, 10)
    with pytest.raises(RangeImpossible):
        byte_range("bytes=-0", 10)
