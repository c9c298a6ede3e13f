"""The terminal: what foreign text may not do there, and times in words."""

import time

import pytest

from lanmesh.cli.terminal import (
    ago,
    first_line,
    plain,
    show_error,
    show_facts,
    show_json,
    show_table,
    show_text,
)
from lanmesh.errors import TaskNotFound

MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text", "plain text"),
        ("天气 é 👩", "天气 é 👩"),
        ("a\tb", "a\tb"),
        ("a\nb", r"a\nb"),
        ("over\rwritten", r"over\rwritten"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("back\b\x7f", r"back\x08\x7f"),
        ("user\u202egpj.exe", r"user\u202egpj.exe"),
        ("hid\u200bden", r"hid\u200bden"),
        ("\udcff", r"\udcff"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_a_text_cannot_move_the_cursor_ring_or_hide(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-DAY, "0 s ago"),
        (1.5 * MINUTE, "1 min ago"),
        (59.5 * MINUTE, "59 min ago"),
        (1.5 * HOUR, "1 h ago"),
        (23.5 * HOUR, "23 h ago"),
        (1.5 * DAY, "1 d ago"),
        (400.5 * DAY, "400 d ago"),
    ],
)
def test_how_long_ago_something_was_is_told_in_the_largest_unit_that_fits(seconds: float, shown: str) -> None:
    assert ago(round((time.time() - seconds) * 1000)) == shown


def test_less_than_a_minute_ago_is_told_in_seconds() -> None:
    assert ago(round((time.time() - 20) * 1000)) in {f"{seconds} s ago" for seconds in range(19, 40)}


def test_what_never_was_is_told_so() -> None:
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("  short \n\n", "short"),
        ("one\ntwo", "one…"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_the_beginning_of_a_text_says_that_there_is_more(text: str, shown: str) -> None:
    assert first_line(text) == shown


def test_facts_stand_in_two_columns_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts([("id", "k3f2"), ("asked by", "evil\nstate  done")])

    assert capsys.readouterr().out == "id        k3f2\nasked by  evil\\nstate  done\n"


def test_a_table_holds_foreign_text_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["peer"], [["[red]x[/red]"], ["a\nb"]])

    assert capsys.readouterr().out.split() == ["peer", "[red]x[/red]", r"a\nb"]


def test_json_for_programs_is_whole_and_indented(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"text": "天\n"})

    assert capsys.readouterr().out == '{\n  "text": "天\\n"\n}\n'


def test_a_result_that_goes_into_a_pipe_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_text("a\x1b[0m\nb")

    assert capsys.readouterr().out == "a\x1b[0m\nb\n"


def test_an_error_goes_to_standard_error_for_people_or_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_error(TaskNotFound("no task \x1b"), as_json=False)
    show_error(TaskNotFound("no task"), as_json=True)
    shown = capsys.readouterr()

    assert shown.out == ""
    assert shown.err.startswith('lanmesh: no task \\x1b\n{"type":"urn:lanmesh:problem:task-not-found"')
