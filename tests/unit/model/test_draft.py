"""Drafts: what a reader gets next, however far behind it is and whatever it missed."""

from dataclasses import replace

import pytest

from lanmesh.errors import InvalidRequest
from lanmesh.model.draft import START, Mark, Passage, mark

DRAFT = Passage(run="1.boot", offset=10, text="abcdefgh")


@pytest.mark.parametrize(
    ("seen", "most", "offset", "text"),
    [
        (START, 99, 10, "abcdefgh"),
        (START, 3, 10, "abc"),
        (Mark(run="1.boot", offset=10), 3, 10, "abc"),
        (Mark(run="1.boot", offset=13), 3, 13, "def"),
        (Mark(run="1.boot", offset=16), 3, 16, "gh"),
        (Mark(run="1.boot", offset=2), 99, 10, "abcdefgh"),
        (Mark(run="2.boot", offset=16), 99, 10, "abcdefgh"),
    ],
)
def test_a_reader_gets_what_it_has_not_seen(seen: Mark, most: int, offset: int, text: str) -> None:
    assert DRAFT.after(seen, most) == Passage(run="1.boot", offset=offset, text=text)


@pytest.mark.parametrize("offset", [18, 99])
def test_a_reader_that_has_seen_all_gets_nothing(offset: int) -> None:
    assert DRAFT.after(Mark(run="1.boot", offset=offset), 99) is None


def test_passages_that_overlap_are_joined_without_a_doublet() -> None:
    later = Passage(run="1.boot", offset=15, text="fghi")

    assert DRAFT.joined(later).text == "abcdefghi"
    assert DRAFT.joined(DRAFT) == DRAFT
    assert DRAFT.joined(replace(DRAFT, text="abc")) == DRAFT


@pytest.mark.parametrize(
    "later",
    [Passage(run="2.boot", offset=18, text="x"), Passage(run="1.boot", offset=19, text="x")],
    ids=["of another run", "behind a gap"],
)
def test_what_does_not_continue_a_draft_takes_its_place(later: Passage) -> None:
    assert DRAFT.joined(later) == later


def test_the_end_of_a_draft_keeps_its_place() -> None:
    assert DRAFT.latest(3) == Passage(run="1.boot", offset=15, text="fgh")
    assert DRAFT.latest(3).end == DRAFT.end
    assert DRAFT.latest(99) == DRAFT


@pytest.mark.parametrize("seen", [START, Mark(run="12.9f86d081884c7d65", offset=32_768)])
def test_a_mark_is_read_as_it_was_spelled(seen: Mark) -> None:
    assert mark(str(seen)) == seen


@pytest.mark.parametrize("bad", ["", "7", "run.", "run.-1", "ru n.1", "run.1.x", f"{'r' * 65}.1", "run.٣"])
def test_what_is_no_mark_is_refused(bad: str) -> None:
    with pytest.raises(InvalidRequest):
        mark(bad)
