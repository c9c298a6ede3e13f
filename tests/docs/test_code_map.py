"""The shape of the repository: the code map, sizes, names, versions and what no file may say."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import lanmesh

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "lanmesh"
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_THE_MAP = 300
NO_NAMES = {"manager", "helper", "helpers", "util", "utils", "common", "base", "misc"}
NO_NAMES |= {"handler", "processor", "context", "info", "data", "v2"}
REGISTRIES = tuple(
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("crates", "io"),
    ]
)


def modules() -> dict[str, Path]:
    return {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "(no docstring)"
    return docstring.splitlines()[0]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_module_stands_in_the_code_map_with_its_own_first_line() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+\.py)` \| (.+) \|$", text, re.MULTILINE)
    code = [
        (name, first_line(path))
        for name, path in modules().items()
        if path.name != "__init__.py" or path.read_text("utf-8").strip()
    ]

    assert sorted(rows) == sorted(code)


def test_the_architecture_is_read_in_one_sitting() -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines()

    assert len(lines) <= MOST_LINES_OF_THE_MAP


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}

    assert {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_MODULE} == {}


def test_every_module_has_a_name_that_says_what_is_in_it() -> None:
    words = {name: set(re.split(r"[/_]", name.removesuffix(".py"))) for name in modules()}

    assert {name: bad for name, split in words.items() if (bad := split & NO_NAMES)} == {}


def test_changelog_package_and_project_name_the_same_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)

    assert newest is not None, "CHANGELOG.md has no heading of a version"
    assert newest[1] == lanmesh.__version__ == pyproject()["project"]["version"]


def test_no_file_names_a_package_registry() -> None:
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]

    found = {
        (path.relative_to(ROOT).as_posix(), address)
        for path in files
        if path.is_file()
        for address in REGISTRIES
        if address.encode() in path.read_bytes()
    }
    assert files
    assert found == set()


def test_every_dependency_carries_its_reason() -> None:
    project = pyproject()
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    reasoned = {found[1] for line in lines if (found := re.fullmatch(r'\s*"([^"]+)",\s*# \S.*', line))}

    assert [name for names in lists for name in names if name not in reasoned] == []
