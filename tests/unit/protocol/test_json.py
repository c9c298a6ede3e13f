"""JSON within limits: how much of a text is sent."""

import json

import pytest

from lanmesh.errors import InvalidRequest
from lanmesh.protocol.json import MAX_RESULT_BYTES, cut, parse


def size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("", 0, ""),
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("abc", 0, ""),
        ("a\nb", 4, "a\nb"),
        ("a\nb", 3, "a\n"),
        ("a\nb", 2, "a"),
        ("天气", 6, "天气"),
        ("天气", 5, "天"),
        ("天气", 2, ""),
        ("\x00\x00", 11, "\x00"),
        ("👩‍🚀", 11, "👩‍🚀"),
        ("👩‍🚀", 10, "👩‍"),
    ],
)
def test_a_text_is_cut_where_the_next_character_would_be_too_much(text: str, limit: int, kept: str) -> None:
    assert cut(text, limit) == (kept, kept != text)


@pytest.mark.parametrize("character", ["a", "\x00", "天"])
def test_what_is_kept_of_a_result_uses_the_room_that_there_is(character: str) -> None:
    kept, truncated = cut(character * MAX_RESULT_BYTES)

    assert MAX_RESULT_BYTES - 6 < size(kept) <= MAX_RESULT_BYTES
    assert truncated is (kept != character * MAX_RESULT_BYTES)


def test_a_result_that_fits_is_kept_whole() -> None:
    assert cut("a" * MAX_RESULT_BYTES) == ("a" * MAX_RESULT_BYTES, False)
    assert cut("a" * MAX_RESULT_BYTES + "b") == ("a" * MAX_RESULT_BYTES, True)


@pytest.mark.parametrize(
    "twice", ['{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '[{"b":{"a":1,"a":":{}"}}]', '{"":0,"":0}']
)
def test_a_name_that_stands_twice_is_refused(twice: str) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        parse(twice.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"a":1},"b":[{"a":":"}]}',
        '"a:b"',
        "5",
        "null",
        "[]",
        '{"\\"a\\"":"{[\\\\"}',
        '[":",{":":"\\":"}]',
    ],
)
def test_a_name_may_stand_in_several_objects(text: str) -> None:
    assert parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "number", ["9" * 309, "-1" + "0" * 309, "1" + "0" * 400 + ".5", "[[" + "9" * 1_000_000]
)
def test_a_number_that_no_calculation_bears_is_refused(number: str) -> None:
    with pytest.raises(InvalidRequest, match="308 digits"):
        parse(f'{{"a":{number}}}'.encode())


@pytest.mark.parametrize(
    "number", ["9" * 308, "0." + "3" * 400, f'"{"9" * 400}"', "[" + "11111111111111111111," * 50_000 + "1]"]
)
@pytest.mark.timeout(20)
def test_digits_that_do_no_harm_are_read(number: str) -> None:
    parse(f'{{"a":{number}}}'.encode())


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, '{"a":' * 200_000, '"' + '\\"' * 500_000, '["' + "\\" * 999_999, '"' * 999_999]
)
@pytest.mark.timeout(20)
def test_a_megabyte_of_nonsense_is_refused_soon(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(text.encode())
