"""The blocks of the documents that are made from the code; `scripts/documents` rewrites them."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from typer.main import get_command

from lanmesh import config
from lanmesh.cli.app import app
from lanmesh.engine.node import Node
from lanmesh.faces.blobs import Blobs
from lanmesh.faces.commands import Commands
from lanmesh.faces.description import Description
from lanmesh.faces.http import Route
from lanmesh.faces.operator import Operator
from lanmesh.faces.pairing import Pairing
from lanmesh.faces.rest import Rest
from lanmesh.faces.tools import Tools
from lanmesh.model import delivery, task
from lanmesh.protocol import pairing, problems
from lanmesh.protocol.views import StatusView

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "lanmesh"

EXITS_OF_THE_CLI = {
    0: "done; of `delegate --wait`: here is the result",
    1: "`delegate --wait`: the task failed, was rejected or canceled; `cancel --wait`: it was not canceled",
    130: "interrupted from the keyboard",
}
"""Exit statuses that no error of the table has."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- README -------------------------------------------------------------------------------------


def setting_rows() -> list[tuple[str, str, str]]:
    """Return key, default and description of each setting."""
    parts = (("", config.Keys), ("profile.", config.ProfileKeys), ("node.", config.NodeKeys))
    rows = []
    for at, kind in (*parts, ("peers.<id>.", config.PeerKeys)):
        described = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
        for field in msgspec.structs.fields(kind):
            about = described[field.encode_name]
            if "description" not in about:  # a table of its own
                continue
            rows.append((f"`{at}{field.encode_name}`", _default(field), about["description"]))
    return rows


def settings() -> str:
    """Return the table of settings."""
    return table(("key", "default", "what it does"), setting_rows())


def verbs() -> dict[str, Any]:
    """Return the verbs of the command line, as typer has them; those below another with its name in front."""
    found: dict[str, Any] = {}
    for name, command in cast(Any, get_command(app)).commands.items():
        found[name] = command
        found |= {f"{name} {below}": verb for below, verb in getattr(command, "commands", {}).items()}
    return found


def command_rows() -> list[tuple[str, str]]:
    """Return how each verb is called, and what it does."""
    rows = []
    for name, command in verbs().items():
        words = [f"lanmesh {name}"]
        for param in sorted(command.params, key=lambda param: param.param_type_name != "argument"):
            if param.param_type_name == "argument":
                words.append(param.name.upper() if param.required else f"[{param.name.upper()}]")
            elif param.is_flag:
                words.append(f"[{param.opts[0]}]")
            else:
                words.append(f"[{param.opts[0]} {param.metavar or _value(param.name)}]")
        rows.append((f"`{' '.join(words)}`", command.help.splitlines()[0]))
    return rows


def commands() -> str:
    """Return the table of the command line's verbs."""
    return table(("command", "what it does"), command_rows())


def exit_rows() -> list[tuple[str, str]]:
    """Return each exit status and what it says."""
    rows = dict(EXITS_OF_THE_CLI)
    for status in {row.exit for row in problems.TABLE.values()}:
        codes = [f"`{kind.code}`" for kind, row in problems.TABLE.items() if row.exit == status]
        rows[status] = ", ".join(codes)
    return [(str(status), rows[status]) for status in sorted(rows)]


def exits() -> str:
    """Return the table of exit statuses."""
    return table(("exit status", "what it says"), exit_rows())


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return f"`{json.dumps(value)}`" if value not in (None, "", [], {}) else "-"


def _value(name: str) -> str:
    return {"state_dir": "DIR", "limit": "N", "port": "N", "operator_port": "N", "state": "STATE"}[name]


# --- ARCHITECTURE -------------------------------------------------------------------------------


def modules() -> str:
    """Return the code map: every module with the first line of its docstring."""
    rows = []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text("utf-8")
        if path.name != "__init__.py" or source.strip():
            said = (ast.get_docstring(ast.parse(source)) or "(no docstring)").splitlines()[0]
            rows.append((f"`{path.relative_to(PACKAGE).as_posix()}`", said))
    return table(("module", "what it is for"), rows)


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return found


def layers() -> str:
    """Return the order of imports, the highest layer first."""
    (contract,) = (contract for contract in contracts() if contract["type"] == "layers")
    return "```\n" + "\n".join(contract["layers"]) + "\n```"


# --- PROTOCOL -----------------------------------------------------------------------------------


def mesh_routes() -> list[Route]:
    """Return the routes of the mesh port."""
    return Rest(cast(Node, None), Blobs(cast(Node, None)).routes()).routes()


def operator_routes() -> list[Route]:
    """Return the routes of the operator port."""
    node = cast(Node, None)
    operator = Operator(node, lambda: cast(StatusView, None), list, lambda _body: None)
    pairing_face = Pairing(node, ("", 0))
    routes = [*operator.routes(), *pairing_face.routes(), *Tools(node).routes(), *Commands(node).routes()]
    return [*routes, *Description("/op/openapi.json", "", "", routes).routes()]


def _routes(routes: Iterable[Route]) -> str:
    rows = [(f"`{method} {path}`", endpoint.__doc__ or "") for method, path, endpoint in routes]
    return table(("route", "what the node does"), rows)


def errors() -> str:
    """Return the table of errors."""
    rows = [
        (f"`{kind.code}`", str(row.status), str(row.exit), "yes" if kind.retryable else "no", _doc(kind))
        for kind, row in problems.TABLE.items()
    ]
    return table(("code", "HTTP", "exit", "retry", "what it means, and what to do"), rows)


def _doc(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def figure(transitions: Mapping[Any, Mapping[Any, Any]], first: str) -> str:
    """Return a table of transitions as a Mermaid figure."""
    moves = [
        f"    {state} --> {after}: {event}"
        for state, events in transitions.items()
        for event, after in events.items()
    ]
    ends = [f"    {state} --> [*]" for state, events in transitions.items() if not events]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *moves, *ends, "```"])


# --- PROFILE_SCHEMA -----------------------------------------------------------------------------


def profile_fields() -> str:
    """Return the fields of the profile, as its JSON Schema describes them."""
    schema = json.loads((ROOT / "profile.schema.json").read_text("utf-8"))
    return table(("field", "type", "required", "what it says"), _fields(schema, ""))


def _fields(schema: Mapping[str, Any], at: str) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, about in schema["properties"].items():
        kinds = about.get("type", "string")
        kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
        needed = "yes" if name in schema.get("required", []) else "no"
        rows.append((f"`{at}{name}`", kind, needed, about["description"]))
        if "properties" in about:
            rows += _fields(about, f"{at}{name}.")
    return rows


# ------------------------------------------------------------------------------------------------

BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"settings": settings, "commands": commands, "exits": exits},
    "ARCHITECTURE.md": {"modules": modules, "layers": layers},
    "PROTOCOL.md": {
        "mesh-routes": lambda: _routes(mesh_routes()),
        "operator-routes": lambda: _routes(operator_routes()),
        "errors": errors,
        "task-states": lambda: figure(task.TRANSITIONS, task.TaskState.SUBMITTED),
        "pairing-states": lambda: figure(pairing.TRANSITIONS, pairing.Stage.OPEN),
        "delivery-states": lambda: figure(delivery.TRANSITIONS, delivery.DeliveryState.QUEUED),
    },
    "PROFILE_SCHEMA.md": {"fields": profile_fields},
}
"""Which document holds which block, and what makes it."""


def rewritten(document: str, text: str) -> str:
    """Return a document's text with its blocks as the code has them now."""
    for name, make in BLOCKS[document].items():
        block = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- /generated -->)", re.DOTALL)
        if len(block.findall(text)) != 1:
            raise SystemExit(
                f"{document} must have one block <!-- generated: {name} --> … <!-- /generated -->"
            )
        made = make()
        text = block.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]
    return text


def main(arguments: Sequence[str]) -> int:
    """Rewrite the documents, or with `--check` say which are stale."""
    stale = []
    for document in BLOCKS:
        path = ROOT / document
        before = path.read_text("utf-8")
        after = rewritten(document, before)
        if after != before:
            stale.append(document)
            if "--check" not in arguments:
                path.write_text(after, "utf-8")
    if stale and "--check" in arguments:
        sys.stderr.write(f"stale: {', '.join(stale)}; run scripts/documents\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
