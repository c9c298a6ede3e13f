"""Log lines: what they hold, and that nobody forges one."""

import logging
import re

import pytest

from lanmesh.logs import KeyValue

LINE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z( [a-z]+=([^\s"=]+|"([^"\\]|\\.)*"))+')


def formatted(event: str, **fields: object) -> str:
    record = logging.LogRecord("mesh", logging.INFO, __file__, 1, event, None, None)
    record.created = 1_795_334_400.125
    vars(record).update(fields)
    return KeyValue().format(record)


def test_a_line_says_when_how_bad_what_and_about_what() -> None:
    assert (
        formatted("task claimed", task="k3f2aaaa", attempt=2)
        == '2026-11-22T08:00:00.125Z level=info event="task claimed" task=k3f2aaaa attempt=2'
    )


def test_a_line_holds_nothing_that_python_adds_by_itself() -> None:
    assert formatted("up") == "2026-11-22T08:00:00.125Z level=info event=up"


def test_a_message_with_arguments_is_put_together() -> None:
    record = logging.LogRecord("mesh", logging.WARNING, __file__, 1, "%d of %d", (1, 2), None)

    assert KeyValue().format(record).endswith('Z level=warning event="1 of 2"')


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("server-219:18760", "server-219:18760"),
        ("天气", "天气"),
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines", r'"two\nlines"'),
        ("\r\x1b[2J\x00", r'"\r\x1b[2J\x00"'),
        ('\\"\n', r'"\\\"\n"'),
        ("a\u2028b\u202ec", r'"a\u2028b\u202ec"'),
        ("\udcff", r'"\udcff"'),
        (None, "None"),
        (1.5, "1.5"),
    ],
)
def test_a_value_that_could_be_misread_stands_in_quotes_with_escapes(value: object, shown: str) -> None:
    assert formatted("x", peer=value).endswith(f" event=x peer={shown}")


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_value_and_no_event_begins_a_line_of_its_own(break_: str) -> None:
    forged = f'x"{break_}2026-11-22T08:00:00.000Z level=info event=paired peer=evil'
    line = formatted(forged, sender=forged)

    assert len(line.splitlines()) == 1
    assert LINE.fullmatch(line)
    assert " peer=evil" not in re.sub(r'"([^"\\]|\\.)*"', "", line)


def test_a_traceback_follows_its_line_and_what_it_quotes_does_not_look_like_one() -> None:
    forged = "2026-11-22T08:00:00.000Z level=info event=paired peer=evil"
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(f"x\n{forged}\n")
    caught.value.add_note(forged)
    trace = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("mesh", logging.ERROR, __file__, 1, "broke", None, trace)
    first, *others = KeyValue().format(record).splitlines()

    assert LINE.fullmatch(first)
    assert "ValueError: invalid literal" in "\n".join(others)
    assert [line for line in others if not line.startswith(" ")] == []
