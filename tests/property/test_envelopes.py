"""Envelopes over the wire: what goes in comes out, and what is bad is refused as such."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.errors import InvalidRequest
from lanmesh.model.envelope import Envelope
from lanmesh.model.report import TaskReport
from lanmesh.model.task import TaskState
from lanmesh.protocol import problems, profiles
from lanmesh.protocol import reports as on_the_wire
from lanmesh.protocol.codec import (
    decode_envelope,
    encode_envelope,
)
from lanmesh.protocol.json import MAX_BODY_BYTES
from tests.property.strategies import envelopes, json_values, labels, peer_ids, reports, wire_ids

PAYLOAD_FIELDS = [
    *("text", "description", "timeout", "mode", "waitMs"),
    *("taskId", "localId", "state", "version", "attempt", "result", "error", "startedAt", "waitingFor"),
]


def refused(body: bytes) -> bool:
    """Return whether a body is refused; anything but a refusal of the caller's fault is an error here."""
    try:
        decode_envelope(body)
    except InvalidRequest as fault:
        assert problems.spelling(fault).status == 400
        assert fault.detail
        return True
    return False


def shuffled(value: Any, chance: Any) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        chance.shuffle(items)
        return {key: shuffled(inner, chance) for key, inner in items}
    return [shuffled(inner, chance) for inner in value] if isinstance(value, list) else value


@given(envelopes())
def test_an_envelope_comes_out_as_it_went_in(envelope: Envelope) -> None:
    body = encode_envelope(envelope)

    assert decode_envelope(body)[0] == envelope
    assert len(body) <= MAX_BODY_BYTES


@given(reports(st.sampled_from(TaskState)))
def test_a_report_comes_out_as_it_went_in(report: TaskReport) -> None:
    assert on_the_wire.decode(on_the_wire.encode(report)) == report


@given(
    envelopes(),
    st.fixed_dictionaries(
        {},
        optional={
            "id": wire_ids,
            "sender": labels,
            "timestamp_ms": st.integers(0, 2**53),
            "ttl_s": st.none() | st.integers(1, 1000).map(float),
            "reply_key": st.none() | labels,
            "root_id": st.none() | wire_ids,
            "path": st.lists(peer_ids, max_size=3).map(tuple),
            "hops": st.integers(3, 1000),
        },
    ),
)
def test_a_repeat_of_an_envelope_is_known_as_one(envelope: Envelope, changes: dict[str, Any]) -> None:
    again = replace(envelope, **changes)

    assert decode_envelope(encode_envelope(again))[1] == decode_envelope(encode_envelope(envelope))[1]


@given(envelopes(), envelopes())
def test_two_envelopes_are_the_same_where_they_say_the_same_to_the_same(
    one: Envelope, other: Envelope
) -> None:
    alike = (one.recipient, one.payload) == (other.recipient, other.payload)

    assert (decode_envelope(encode_envelope(one))[1] == decode_envelope(encode_envelope(other))[1]) is alike


@given(json_values, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(extra: Any, chance: Any) -> None:
    fields = {
        "id": "t",
        "protocolVersion": "1.0",
        "type": "task",
        "from": "laptop",
        "payload": {"description": "x", "timeout": 5, "extra": extra, "more": [extra]},
    }
    one, other = (json.dumps(value).encode() for value in (fields, shuffled(fields, chance)))

    assert decode_envelope(one)[1] == decode_envelope(other)[1]


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    refused(body)


@given(envelopes(), st.data())
def test_no_damage_on_the_way_does_more_than_have_an_envelope_refused(
    envelope: Envelope, data: st.DataObject
) -> None:
    body = bytearray(encode_envelope(envelope))
    at = data.draw(st.integers(0, len(body) - 1))
    match data.draw(st.sampled_from(["cut", "flip", "insert"])):
        case "cut":
            del body[at:]
        case "flip":
            body[at] ^= data.draw(st.integers(1, 255))
        case _:
            body[at:at] = data.draw(st.binary(min_size=1, max_size=8))

    refused(bytes(body))


@given(json_values)
def test_no_json_does_more_than_be_refused(value: Any) -> None:
    assert refused(json.dumps(value).encode())


@given(
    st.fixed_dictionaries(
        {
            "id": st.just("t") | json_values,
            "protocolVersion": st.just("1.0") | json_values,
            "type": st.sampled_from(["message", "task", "result"]) | json_values,
            "from": st.just("laptop") | json_values,
            "payload": json_values
            | st.fixed_dictionaries(
                {},
                optional={
                    key: json_values | st.just("t") | st.just("completed") | st.integers()
                    for key in PAYLOAD_FIELDS
                },
            ),
        },
        optional={
            key: json_values | st.integers()
            for key in ("to", "timestamp", "replyTo", "replyKey", "ttl", "rootId", "path", "hops", "x")
        },
    )
)
def test_nothing_that_looks_like_an_envelope_does_more_than_be_refused(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    if refused(body):
        return
    envelope, digest = decode_envelope(body)

    assert (decode_envelope(encode_envelope(envelope))[0], len(digest)) == (envelope, 32)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_answer_of_a_peer_does_more_than_be_refused(answer: bytes) -> None:
    for read in (on_the_wire.decode, profiles.check):
        try:
            read(answer)
        except InvalidRequest as fault:
            assert fault.detail
