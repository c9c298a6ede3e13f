"""What the documents point at exists: files, headings, tests, import contracts, decisions."""

import re

import pytest

from tests.docs import generated
from tests.docs.markdown import DOCUMENTS, ROOT, anchors, links, read, tables

TESTS = {
    f"{path.relative_to(ROOT).as_posix()}::{name}"
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}
NAMES = {name.rpartition("::")[2] for name in TESTS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    broken = []
    for link in links(read(document)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = here / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", read(document)))

    assert named - NAMES == set()


def test_every_attack_has_a_test() -> None:
    attacks = [row for table in tables(read("SECURITY.md")) if table[0][-1] == "test" for row in table[1:]]

    assert attacks
    assert [row[0] for row in attacks if not re.search(r"`test_\w+`", row[-1])] == []


def test_every_invariant_names_what_holds_it() -> None:
    text = read("ARCHITECTURE.md")
    (invariants,) = (table for table in tables(text) if table[0] == ["", "invariant", "held by"])
    contracts = {contract["name"] for contract in generated.contracts()}

    assert [row[0] for row in invariants[1:]] == [str(number) for number in range(1, 9)]
    for row in invariants[1:]:
        held = re.findall(r"`([^`]+)`", row[-1])
        assert held, row
        assert set(held) - contracts - NAMES == set()


def test_every_path_that_a_document_names_exists() -> None:
    roots = "src|tests|scripts|docs|examples|requirements"
    paths = {
        (document, path)
        for document in DOCUMENTS
        for path in re.findall(rf"`((?:{roots})/[\w./-]+)`", read(document))
    }

    assert {(document, path) for document, path in paths if not (ROOT / path).exists()} == set()


def test_decisions_are_numbered_and_say_what_came_of_them() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))

    assert [path.name[:4] for path in decisions] == [f"{n:04d}" for n in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text("utf-8")
        assert re.match(rf"# {int(path.name[:4])}\. ", text)
        assert [part for part in ("## Context", "## Decision", "## Consequences") if part not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_document_names_a_place_on_one_machine(document: str) -> None:
    assert re.findall(r"(?:/root|/home/|/Users/|/tmp|/work)\b[\w./-]*", read(document)) == []
