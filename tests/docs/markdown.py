"""What the tests read out of a Markdown document."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TITLES = (
    "README",
    "README.zh-CN",
    "ARCHITECTURE",
    "PROTOCOL",
    "PROFILE_SCHEMA",
    "SECURITY",
    "CHANGELOG",
    "CONTRIBUTING",
)
DOCUMENTS = (
    *(f"{title}.md" for title in TITLES),
    *(f"docs/adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md"))),
)


class Block(NamedTuple):
    """A fenced block of code, and the HTML comment on the line before it, if there is one."""

    language: str
    text: str
    note: str
    heading: str


def read(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    found, heading, note, inside = [], "", "", None
    lines: list[str] = []
    for line in text.splitlines():
        if inside is not None:
            if line == "```":
                found.append(Block(inside, "\n".join(lines) + "\n", note, heading))
                inside, lines, note = None, [], ""
            else:
                lines.append(line)
        elif line.startswith("```"):
            inside = line.removeprefix("```")
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        elif comment := re.fullmatch(r"<!-- (.*) -->", line):
            note = comment[1]
        elif line.strip():
            note = ""
    assert inside is None, "a block of code is not closed"
    return found


def prose(text: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text: str) -> list[tuple[int, str]]:
    """Return level and words of each heading."""
    return [(len(found[1]), found[2]) for found in re.finditer(r"^(#+) (.+)$", prose(text), re.MULTILINE)]


def anchors(text: str) -> list[str]:
    """Return what links may point to inside a document, in order, as GitHub makes it of the headings."""
    return [re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in headings(text)]


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a document: rows of cells, the head first, without the line of dashes."""
    found: list[list[list[str]]] = []
    before = ""
    for line in prose(text).splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not before.startswith("| "):
                found.append([])
            if set("".join(cells)) != {"-"}:
                found[-1].append(cells)
        before = line
    return found
