"""The README says the same in both languages, and its program is the example that the tests run."""

import pytest

from tests.docs.markdown import blocks, headings, links, read, tables

ENGLISH, CHINESE = read("README.md"), read("README.zh-CN.md")


def test_both_readmes_have_the_same_headings() -> None:
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]


def test_both_readmes_have_the_same_code() -> None:
    assert [(b.language, b.text) for b in blocks(ENGLISH)] == [(b.language, b.text) for b in blocks(CHINESE)]


def test_both_readmes_have_the_same_tables() -> None:
    english, chinese = tables(ENGLISH), tables(CHINESE)

    assert [[len(row) for row in table] for table in english] == [
        [len(row) for row in table] for table in chinese
    ]


@pytest.mark.parametrize("column", ["key", "command", "exit status"])
def test_both_readmes_name_the_same_keys_commands_and_codes(column: str) -> None:
    (english,) = (table for table in tables(ENGLISH) if table[0][0] == column)
    chinese = tables(CHINESE)[tables(ENGLISH).index(english)]

    assert [row[:-1] for row in english[1:]] == [row[:-1] for row in chinese[1:]]
    assert [row[-1] for row in english[1:] if row[-1].startswith("`") and "--" not in row[-1]] == [
        row[-1] for row in chinese[1:] if row[-1].startswith("`") and "--" not in row[-1]
    ]


def test_both_readmes_link_to_the_same_places() -> None:
    other = {"README.md": "README.zh-CN.md"}

    assert links(ENGLISH) == [other.get(link, link) for link in links(CHINESE)]


def test_the_program_in_the_readme_is_the_example() -> None:
    (program,) = (block.text for block in blocks(ENGLISH) if block.language == "python")

    assert program == read("examples/delegate.py")


def test_the_readme_opens_with_the_two_commands() -> None:
    first, second, *_ = blocks(ENGLISH)

    assert (first.text, second.text) == ("scripts/demo\n", "scripts/test\n")
