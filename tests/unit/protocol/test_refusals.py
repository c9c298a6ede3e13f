"""Bad input: each is refused with a sentence that names what is wrong, and nothing else happens."""

import json
import re
from typing import Any

import pytest

from lanmesh.errors import InvalidRequest, UnknownType, UnsupportedVersion
from lanmesh.protocol.codec import decode_envelope
from lanmesh.protocol.json import MAX_DEPTH, parse
from tests.unit.samples import SEED, asking, body, telling

GOOD = body().decode()


def refusal(sent: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        decode_envelope(sent)
    return refused.value


def nested(depth: int) -> bytes:
    return body(extra=...)[:-1] + b',"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b" ",
        b"{",
        b"<html>",
        b"id=task-001",
        GOOD.encode() + b"x",
        GOOD.encode() * 2,
        GOOD.encode()[:-1] + b",}",
        GOOD.replace('"', "'").encode(),
        GOOD.replace("1234567890000", "NaN").encode(),
        GOOD.replace("1234567890000", "Infinity").encode(),
        GOOD.replace("1234567890000", "-Infinity").encode(),
        GOOD.replace("1234567890000", "1e999").encode(),
        GOOD.replace("1234567890000", "0x10").encode(),
        GOOD.replace("1234567890000", "01").encode(),
        GOOD.replace("1234567890000", "9" * 5000).encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.encode("utf-16-le"),
        GOOD.encode("utf-32"),
        GOOD.replace("my-agent", "b\xfcro").encode("latin-1"),
        GOOD.replace("my-agent", "\n").encode(),
        GOOD.encode().replace(b"my-agent", b"\xed\xa0\x80"),  # a surrogate, as UTF-8 forbids it
        GOOD.encode().replace(b"my-agent", b"\xc0\xaf"),  # longer than it need be
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(sent: bytes) -> None:
    assert refusal(sent).detail.startswith("the body is not JSON in UTF-8: ")


@pytest.mark.parametrize("place", ["my-agent", "task-001", "fire-and-forget", "description", "extra", "deep"])
def test_half_a_character_is_refused_wherever_it_stands(place: str) -> None:
    text = body(extra={"deep": ["extra"]}).decode()
    halves = [r"\ud800", r"\udbff", r"\udc00", r"\udfff", r"\ud800\u0041", r"\udc00\ud800"]
    for written in [around for half in halves for around in (half, f"x{half}", f"{half}x")]:
        sent = text.replace(f'"{place}"', f'"{written}"')

        assert sent != text
        assert refusal(sent.encode()).detail.startswith("the body is not JSON in UTF-8: ")


@pytest.mark.parametrize("value", ["[]", '"x"', "null", "true", "1", "[{}]"])
def test_what_is_no_object_is_refused(value: str) -> None:
    assert refusal(value.encode()).detail == "the body must be a JSON object"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 50_000])
def test_deep_nesting_is_refused_in_arrays_and_objects(depth: int) -> None:
    objects = b'{"a":' * depth + b"1" + b"}" * depth

    assert refusal(nested(depth)).detail == "the JSON is nested more than 32 deep"
    assert refusal(objects).detail == "the JSON is nested more than 32 deep"
    assert refusal(b"[" * depth).code == "invalid-request"


def test_nesting_up_to_the_limit_is_no_matter() -> None:
    assert decode_envelope(nested(MAX_DEPTH))[0].id == "task-001"
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize("field", ["id", "protocolVersion", "type", "from", "payload"])
def test_a_missing_field_is_named(field: str) -> None:
    sent = json.dumps({key: value for key, value in SEED.items() if key != field}).encode()

    assert refusal(sent).detail == f"the body: Object missing required field '{field}'"


WRONG: dict[str, list[Any]] = {
    "id": [1, None, True, [], {}],
    "protocolVersion": [1, 1.0, None, True, []],
    "type": [1, None, True, []],
    "from": [1, None, True, [], {}, "", "x" * 129],
    "to": [1, True, [], {}, "", "x" * 129],
    "timestamp": ["1234567890000", True, [], {}],
    "payload": [[], [{}], "x", 1, None, True],
    "replyTo": [1, True, []],
    "replyKey": [1, True, [], "", "x" * 129],
    "ttl": [0, -1, 10**18, 10**30, "7d", "1000", 1.5, 1000.0, True, []],
    "rootId": [1, True, []],
    "path": ["laptop", None, 1, {}, [1], [None], ["a"] * 65],
    "hops": [-1, 1.0, "1", True, None, 1_000_001, 10**30],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_a_value_of_another_type_or_out_of_bounds_is_refused_by_the_field_s_name(
    field: str, value: object
) -> None:
    detail = refusal(json.dumps({**SEED, field: value}).encode()).detail

    assert re.match(rf"{field}(\[\.\.\.\]|\[\d+\])?: Expected ", detail), detail


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a b", "é", "x" * 129, "a\n"])
def test_a_text_that_is_no_id_is_refused_by_the_field_s_name(value: str) -> None:
    for field in ("id", "replyTo", "rootId"):
        detail = refusal(body(**{field: value})).detail

        assert detail.startswith(f"{field}: ")
        assert "is not an id: use 1 to 128 of the characters" in detail


@pytest.mark.parametrize("name", ["", ".", "-a", "a/b", "a,b", "é", "x" * 65, "self", "shared", "any"])
def test_a_path_over_what_can_be_no_node_is_refused(name: str) -> None:
    assert refusal(body(path=["laptop", name])).detail.startswith("path: ")


@pytest.mark.parametrize("kind", ["", "TASK", "Task", "task ", "progress", "\n", "x" * 10_000])
def test_an_unknown_type_is_refused_with_those_that_are_known(kind: str) -> None:
    fault = refusal(body(type=kind))

    assert type(fault) is UnknownType
    assert fault.detail.startswith('type is "')
    assert fault.detail.endswith(
        '": this node knows message, task, result, question, answer, cancel, cancel-result'
    )
    assert len(fault.detail) < 150


@pytest.mark.parametrize("version", ["", "0.9", "2", "2.0", "10.0", "v1", " 1.0", "1 .0", "x" * 10_000])
def test_another_major_version_is_refused_with_ours(version: str) -> None:
    fault = refusal(body(protocolVersion=version))

    assert type(fault) is UnsupportedVersion
    assert fault.detail.startswith('protocolVersion is "')
    assert fault.detail.endswith('": this node speaks 1.0')
    assert len(fault.detail) < 150


@pytest.mark.parametrize("timeout", [0, -1, 86_400_001, 10**30, "60000", "1h", 60000.0, 1.5, True, None, []])
def test_a_timeout_that_is_no_whole_number_of_milliseconds_up_to_a_day_is_refused(timeout: object) -> None:
    assert refusal(asking(timeout=timeout)).detail.startswith("payload.timeout: ")


@pytest.mark.parametrize("wait", [-1, 1.5, "1000", True, None])
def test_a_wait_that_is_no_whole_number_of_milliseconds_is_refused(wait: object) -> None:
    assert refusal(asking(mode="wait", waitMs=wait)).detail.startswith("payload.waitMs: ")


@pytest.mark.parametrize("mode", ["", "Wait", "sync", 1, None, True])
def test_an_unknown_mode_is_refused(mode: object) -> None:
    assert refusal(asking(mode=mode)).detail.startswith("payload.mode: ")


def test_a_refusal_quotes_no_more_of_a_value_than_a_line() -> None:
    assert len(refusal(asking(mode="x" * 900_000)).detail) < 300


@pytest.mark.parametrize(("kind", "field"), [("task", "description"), ("message", "text")])
@pytest.mark.parametrize("value", ["", " ", "\n\t\r", "\u3000\u00a0", 1, None, True, [], ["x"], {}])
def test_a_text_that_is_blank_or_none_is_refused_by_the_field_s_name(
    kind: str, field: str, value: object
) -> None:
    assert field in refusal(body(type=kind, payload={field: value})).detail
    assert field in refusal(body(type=kind, payload={})).detail


BAD_RESULTS: list[tuple[str, Any]] = [
    ("taskId", ...),
    ("taskId", 1),
    ("taskId", ""),
    ("taskId", "a/b"),
    ("localId", 1),
    ("localId", None),
    ("state", ...),
    ("state", "done"),
    ("state", "Completed"),
    ("state", 1),
    ("state", "submitted"),
    ("state", "working"),
    ("waitingFor", "sun"),
    ("version", -1),
    ("version", 1.0),
    ("version", "1"),
    ("version", 2**53 + 1),
    ("version", 2**64),
    ("attempt", -1),
    ("attempt", 10**7),
    ("result", 1),
    ("result", {"text": "x"}),
    ("truncated", 1),
    ("truncated", "no"),
    ("error", "x"),
    ("error", []),
    ("startedAt", -1),
    ("startedAt", 1.5),
    ("finishedAt", 2**53 + 1),
]


@pytest.mark.parametrize(("field", "value"), BAD_RESULTS)
def test_a_result_with_a_bad_field_is_refused_by_the_field_s_name(field: str, value: object) -> None:
    assert field in refusal(telling(**{field: value})).detail


@pytest.mark.parametrize(
    "error", [{}, {"code": ""}, {"code": 1}, {"code": "x" * 129}, {"code": "x", "detail": 1}]
)
def test_a_result_whose_error_is_none_is_refused(error: object) -> None:
    assert refusal(telling(state="failed", error=error)).detail.startswith("payload.error")
