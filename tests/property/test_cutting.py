"""How much of a text is sent, whatever is in it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.protocol.json import cut
from tests.property.strategies import texts

odd = st.text(st.sampled_from('aé天👩\x00\x1f\x7f\n"\\\u2028/'))


def size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@given(texts | odd, st.integers(0, 60))
def test_what_is_kept_is_the_longest_beginning_that_fits(text: str, limit: int) -> None:
    kept, truncated = cut(text, limit)

    assert text.startswith(kept)
    assert size(kept) <= limit
    assert truncated is (kept != text)
    assert not truncated or size(text[: len(kept) + 1]) > limit


@given(odd.filter(bool), st.integers(1, 3000))
def test_a_long_text_is_cut_as_well(text: str, times: int) -> None:
    kept, truncated = cut(text * times, 1000)

    assert size(kept) <= 1000
    assert truncated is (size(text * times) > 1000)
