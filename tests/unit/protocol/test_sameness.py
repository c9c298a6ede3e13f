"""Sameness: which envelopes under one id are repeats of each other."""

import json
from typing import Any

import pytest

from lanmesh.protocol.codec import decode_envelope
from tests.unit.samples import SEED, asking, body, telling


def digest(sent: bytes) -> bytes:
    return decode_envelope(sent)[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ttl", 1),
        ("timestamp", 1),
        ("timestamp", ...),
        ("path", ["laptop"]),
        ("hops", 4),
        ("replyKey", "k"),
        ("replyTo", "t0"),
        ("rootId", "t0"),
        ("from", "other"),
        ("id", "task-002"),
        ("protocolVersion", "1.1"),
        ("traceparent", "00-1"),
        ("budget", {"usd": 1}),
    ],
)
def test_what_a_retry_may_change_does_not_count(field: str, value: Any) -> None:
    assert digest(body(**{field: value})) == digest(body())


@pytest.mark.parametrize(
    "changed",
    [
        body(to="other"),
        body(to=...),
        body(payload={"description": "something else"}),
        body(payload={**{"description": "x"}, "unknown": 1}),
        asking(),
        asking(timeout=600_000),
        asking(timeout=600_001),
        asking(mode="wait"),
        asking(labels=[1, 2]),
        asking(labels=[2, 1]),
        asking(labels=[[1], 2]),
        body(type="message", payload={"text": "x"}),
        body(type="message", payload={"text": "x", "description": "x"}),
        asking(text="x"),
        telling(),
        telling(result="x"),
        telling(result="x\n"),
    ],
)
def test_whom_it_is_for_and_what_it_says_count(changed: bytes) -> None:
    assert digest(changed) != digest(body())


def test_a_task_and_a_message_with_one_payload_are_not_the_same() -> None:
    payload = {"text": "x", "description": "x"}

    assert digest(body(type="task", payload=payload)) != digest(body(type="message", payload=payload))


def test_the_order_of_keys_and_the_spaces_between_do_not_count() -> None:
    payload = {"description": "x", "timeout": 1, "extra": {"b": [{"d": 1, "c": 2}], "a": None}}
    turned = {"extra": {"a": None, "b": [{"c": 2, "d": 1}]}, "timeout": 1, "description": "x"}
    spaced = json.dumps({**dict(reversed(SEED.items())), "payload": turned}, indent=3).encode()

    assert digest(spaced) == digest(body(payload=payload))


def test_how_a_character_is_spelled_does_not_count() -> None:
    escaped = json.dumps(SEED, ensure_ascii=True).encode()
    plain = json.dumps(SEED, ensure_ascii=False).encode()

    assert escaped != plain
    assert digest(escaped) == digest(plain)


def test_texts_that_only_look_alike_are_not_the_same() -> None:
    assert digest(asking(description="e\u0301")) != digest(asking(description="\u00e9"))


def test_a_digest_is_sha_256_and_stays_what_it_is_from_version_to_version() -> None:
    assert digest(body()).hex() == "6bd49556b719a067bd8801b21f0d29b157c6171b4d47eb5b9bfc06a7ad140d1a"
