"""Invariants of ARCHITECTURE.md that a look at the source can hold."""

import ast
from functools import cache
from pathlib import Path

from tests.docs.generated import PACKAGE

KNOW_JSON = {
    "config.py", "client.py", "composition.py", "cli/status.py", "cli/terminal.py", "cli/installation.py",
    "faces/operator.py", "faces/tools.py", "faces/commands.py",
    "openclaw/gateway.py", "openclaw/settings_file.py",
}  # fmt: skip
"""Beside protocol/: settings, node.json, the operator port and its client, the gateway and its settings."""


@cache
def sources() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def test_only_the_protocol_and_the_operators_edge_know_json() -> None:
    knowing = {name for name, tree in sources() if imported(tree) & {"json", "msgspec"}}

    assert {name for name in knowing if Path(name).parts[0] != "protocol"} == KNOW_JSON


def test_every_background_task_belongs_to_a_group() -> None:
    loose = [
        (name, node.lineno)
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "create_task"
        and ast.unparse(node.func.value) not in {"group", "runs", "foundation"}
    ]

    assert loose == []
