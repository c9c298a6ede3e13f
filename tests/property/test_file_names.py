"""Whatever a peer calls its files, they lie in the folder they are given, apart from one another."""

import unicodedata
from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from lanmesh.model.file import places

NAMES = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(
            ["..", ".", "", "a", "A", "a.txt", "con", "C:\\x", "\u202eexe", "x" * 300, "a (2).txt"]
        ),
        min_size=1,
        max_size=12,
    ).map("/".join),
)


@given(st.lists(NAMES, max_size=12))
@example(["../../.ssh/authorized_keys", "/etc/passwd", "C:\\x", "CON", "a\x00.txt", "n" * 300])
@example(["a", "a/b", "A", "a/B", "a (2)"])
@example(["\u0065\u0301", "\u00e9"])
def test_no_name_leads_out_of_its_folder_and_no_two_are_one(names: list[str]) -> None:
    found = places(names)

    assert len(found) == len(names)
    for parts in found:
        assert 1 <= len(parts) <= 8
        for part in parts:
            assert part not in {"", ".", ".."}
            assert "/" not in part
            assert "\\" not in part
            assert part.isprintable()
            assert len(part.encode()) <= 255
        assert not PurePosixPath(*parts).is_absolute()
        assert not parts[0].startswith(".")
    folded = [tuple(unicodedata.normalize("NFC", part.casefold()) for part in parts) for parts in found]
    assert len(set(folded)) == len(folded)
    assert not any(a != b and b[: len(a)] == a for a in folded for b in folded), (
        "a file would have to be a folder"
    )


@given(st.lists(NAMES, max_size=6))
def test_the_same_names_lie_in_the_same_places(names: list[str]) -> None:
    assert places(names) == places(names)


def test_what_is_harmless_keeps_its_name() -> None:
    assert places(["photos/cat 1.jpg", "报告.pdf", "project/.gitignore"]) == [
        ("photos", "cat 1.jpg"),
        ("报告.pdf",),
        ("project", ".gitignore"),
    ]


def test_what_would_be_hidden_in_its_folder_is_not() -> None:
    assert places([".bash_profile", "../.ssh/rc", "_.ssh", ".envrc"]) == [
        ("_.bash_profile",),
        ("_.ssh", "rc"),
        ("_ (2).ssh",),
        ("_.envrc",),
    ]


def test_a_name_has_no_more_bytes_than_there_is_room_for() -> None:
    name = "/".join(["d" * 300] * 5 + [f"{'n' * 300}.txt"])

    (parts,) = places([name], longest=100, room=350)

    assert [len(part) for part in parts] == [100, 100, 100]
    assert parts[-1].endswith(".txt")


def test_what_is_cut_keeps_its_ending_and_what_collides_gets_a_number() -> None:
    long, first, second = places(["x" * 300 + ".tar", "a.txt", "A.txt"])

    assert long[0].endswith(".tar")
    assert (first, second) == (("a.txt",), ("A (2).txt",))
