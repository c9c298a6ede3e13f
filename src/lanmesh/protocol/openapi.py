"""the OpenAPI documents of both ports, made from the tables of routes and the structs on the wire"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lanmesh.model.task import TaskState
from lanmesh.protocol.codec import MAX_WAIT_S, PAYLOADS, EnvelopeBody
from lanmesh.protocol.problems import MEDIA_TYPE, Problem

_COMPONENTS = "#/components/schemas/"

_QUERY: Mapping[str, Mapping[str, Any]] = {
    "approvals": {"enum": ["0", "1"]},
    "draft": {"type": "string", "pattern": r"^[A-Za-z0-9._~-]{0,64}\.[0-9]{1,15}$"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
    "offset": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
    "state": {"enum": [state.value for state in TaskState]},
    "unread": {"enum": ["0", "1"]},
    "version": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
    "wait": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What goes into a route and what comes out of it."""

    takes: Any = None
    """The type of the body; `None`: there is none."""
    envelope: str | None = None
    """The type of the envelope that is the body."""
    gives: Any = None
    """The type of the answer; `None`: anything."""
    status: tuple[int, ...] = (200,)
    """Of a good answer; 204 has no body."""
    query: tuple[str, ...] = ()
    media: str = "application/json"
    """Of the answer."""
    anyone: bool = False
    """Whether it answers without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of a table of routes, described."""

    method: str
    path: str
    summary: str
    shape: Shape


def document(title: str, version: str, operations: Iterable[Operation]) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document.

    Args:
        title: What is described.
        version: The version of the program.
        operations: The routes.
    """
    rows = list(operations)
    kinds = {kind for row in rows for kind in (row.shape.takes, row.shape.gives) if kind is not None}
    carried = {kind: PAYLOADS[kind] for row in rows if (kind := row.shape.envelope) is not None}
    kinds |= {Problem, *carried.values(), *({EnvelopeBody} if carried else ())}
    schemas, components = msgspec.json.schema_components(
        sorted(kinds, key=str), ref_template=_COMPONENTS + "{name}"
    )
    schema_of = dict(zip(sorted(kinds, key=str), schemas, strict=True))
    for kind, payload in carried.items():
        components[_envelope_name(kind)] = _envelope(
            components, schema_of[EnvelopeBody], kind, schema_of[payload]
        )
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schema_of)
    found = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
    return _public(found)


def encode(found: Mapping[str, Any]) -> bytes:
    """Return a document as it is answered with."""
    return msgspec.json.encode(found)


def _operation(row: Operation, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    shape = row.shape
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": _QUERY[name]} for name in shape.query]
    gives = schema_of.get(shape.gives, {})
    answers = {
        str(status): {"description": row.summary, **({} if status == 204 else _content(gives, shape.media))}  # noqa: PLR2004
        for status in shape.status
    }
    answers["default"] = {
        "description": "what went wrong (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": schema_of[Problem]}},
    }
    told: dict[str, Any] = {"summary": row.summary, "responses": answers}
    if parameters:
        told["parameters"] = parameters
    if shape.anyone:
        told["security"] = []
    takes = None
    if shape.envelope is not None:
        takes = {"$ref": _COMPONENTS + _envelope_name(shape.envelope)}
    elif shape.takes is not None:
        takes = schema_of[shape.takes]
    if takes is not None:
        told["requestBody"] = {"required": True, **_content(takes)}
    return told


def _content(schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"content": {media: {"schema": schema}}}


def _envelope_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("-")) + "Envelope"


def _envelope(
    components: Mapping[str, Any], ref: Mapping[str, str], kind: str, payload: Any
) -> dict[str, Any]:
    """Return the schema of an envelope of one type: the common fields, and its own payload."""
    shared = components[ref["$ref"].removeprefix(_COMPONENTS)]
    own = {"type": {"const": kind}, "payload": payload}
    return {**shared, "title": _envelope_name(kind), "properties": {**shared["properties"], **own}}


def _public(found: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the names of structs as they are outside of this package."""
    text = msgspec.json.encode(found).decode()
    text = re.sub(rf'"{_COMPONENTS}_+', f'"{_COMPONENTS}', text)
    told: dict[str, Any] = msgspec.json.decode(text)
    schemas = told["components"]["schemas"]
    told["components"]["schemas"] = {
        name.lstrip("_"): {**schema, **({"title": schema["title"].lstrip("_")} if "title" in schema else {})}
        for name, schema in schemas.items()
    }
    return told
