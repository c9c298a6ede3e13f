"""PROTOCOL.md: its examples are decoded, its routes and fields are those of the code."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lanmesh.model.envelope import PROTOCOL_VERSION, EnvelopeType
from lanmesh.protocol import codec, problems, profiles, reports, views
from tests.docs import generated
from tests.docs.markdown import Block, blocks, headings, read, tables

TEXT = read("PROTOCOL.md")
EXAMPLES = [block for block in blocks(TEXT) if block.language == "json"]


def again(kind: type[msgspec.Struct]) -> Callable[[bytes], bytes]:
    """Return what decodes an example strictly and says it again."""
    return lambda body: msgspec.json.encode(msgspec.json.decode(body, type=kind))


def envelope_again(body: bytes) -> bytes:
    envelope, _ = codec.decode_envelope(body)
    return codec.encode_envelope(envelope)


def problem_again(body: bytes) -> bytes:
    return problems.encode(problems.decode(500, body))


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "envelope": envelope_again,
    "report": lambda body: reports.encode(reports.decode(body)),
    "stored": again(codec.Stored),
    "health": again(codec.Health),
    "whoami": again(codec.Whoami),
    "profile": profiles.check,
    "problem": problem_again,
    "TaskView": again(views.TaskView),
    "DelegateRequest": again(views.DelegateRequest),
}


def without_defaults(said: Any) -> Any:
    """Return an envelope without what it need not say: fields of the payload that have their default."""
    if isinstance(said, dict) and isinstance(said.get("payload"), dict):
        unsaid = {"mode": "callback", "timeout": 600_000, "waitMs": 55_000}
        kept = {key: value for key, value in said["payload"].items() if unsaid.get(key) != value}
        return {**said, "payload": kept}
    return said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: block.heading)
def test_an_example_is_what_the_code_reads_and_writes(example: Block) -> None:
    decode = DECODERS[example.note.removeprefix("example: ")]

    said = json.loads(decode(example.text.encode()))

    assert without_defaults(said) == without_defaults(json.loads(example.text))


def test_every_route_of_the_mesh_port_is_described_and_no_other() -> None:
    described = {words for _, words in headings(TEXT) if words.startswith(("GET ", "POST ", "PUT "))}

    assert described == {f"{route.method} {route.path}" for route in generated.mesh_routes()}


def test_every_route_of_the_operator_port_tells_its_query_and_answer() -> None:
    (table,) = (table for table in tables(TEXT) if table[0] == ["route", "query or body", "answer"])

    assert [row[0].strip("`") for row in table[1:]] == [
        f"{route.method} {route.path}" for route in generated.operator_routes()
    ]


def fields_of(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(
    ("head", "struct"),
    [
        (["field", "type", "required", "meaning"], codec.EnvelopeBody),
        (["in `payload`", "type", "default", "meaning"], codec.PAYLOADS[EnvelopeType.TASK]),
        (["field", "type", "meaning"], reports.ReportBody),
    ],
)
def test_every_field_on_the_wire_is_described_and_no_other(
    head: list[str], struct: type[msgspec.Struct]
) -> None:
    (table,) = (table for table in tables(TEXT) if table[0] == head)
    described = [name.strip("` ") for row in table[1:] for name in row[0].split(",")]

    assert sorted(described) == sorted(fields_of(struct))


def test_the_document_is_about_the_version_that_the_code_speaks() -> None:
    (history,) = (table for table in tables(TEXT) if table[0] == ["version", "change"])

    assert headings(TEXT)[0] == (1, f"Protocol {PROTOCOL_VERSION}")
    assert history[-1][0] == PROTOCOL_VERSION
