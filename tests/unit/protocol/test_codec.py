"""The wire's JSON: what good envelopes and reports mean, and how ours are spelled."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lanmesh.errors import InvalidRequest
from lanmesh.model.envelope import Envelope, Message, TaskRequest
from lanmesh.model.ids import LocalId, PeerId, WireId
from lanmesh.model.report import TaskReport, report_of
from lanmesh.model.task import TaskError, TaskMode, TaskState, WaitingFor
from lanmesh.protocol import codec, reports
from lanmesh.protocol.codec import decode_envelope, encode_envelope
from lanmesh.protocol.json import MAX_BODY_BYTES, MAX_RESULT_BYTES, cut
from lanmesh.protocol.wire import milliseconds
from tests.unit.samples import MESSAGE, SEED, TASK, asking, body, telling

SEED_AS_TYPED = """{
"id": "task-001",
"protocolVersion": "1.0",
"type": "task",
"from": "my-agent",
"to": "target-agent",
"timestamp": 1234567890000,
"payload": {
"description": "帮我查一下今天的天气",
"mode": "fire-and-forget",
"timeout": 60000
}
}"""


def request_in(envelope: bytes) -> TaskRequest:
    payload = decode_envelope(envelope)[0].payload
    assert isinstance(payload, TaskRequest)
    return payload


def report_in(envelope: bytes) -> TaskReport:
    payload = decode_envelope(envelope)[0].payload
    assert isinstance(payload, TaskReport)
    return payload


def spelled(envelope: Envelope) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode_envelope(envelope))
    return fields


def test_the_task_of_the_first_readme_means_what_it_says() -> None:
    envelope, _ = decode_envelope(SEED_AS_TYPED.encode())

    assert envelope == Envelope(
        id=WireId("task-001"),
        sender="my-agent",
        recipient="target-agent",
        timestamp_ms=1_234_567_890_000,
        payload=TaskRequest(
            description="帮我查一下今天的天气", mode=TaskMode.FIRE_AND_FORGET, timeout_s=60.0, wait_s=0.0
        ),
    )
    assert json.loads(SEED_AS_TYPED) == SEED


def test_a_task_that_says_little_is_called_back_and_may_run_for_ten_minutes() -> None:
    fields = {key: SEED[key] for key in ("id", "protocolVersion", "type", "from")}
    least = json.dumps(fields | {"payload": {"description": "x"}}).encode()
    envelope, _ = decode_envelope(least)

    assert envelope.payload == TaskRequest(description="x", mode=TaskMode.CALLBACK, timeout_s=600.0)
    assert (envelope.recipient, envelope.timestamp_ms, envelope.ttl_s) == (None, 0, None)
    assert (envelope.reply_key, envelope.root_id, envelope.path, envelope.hops) == (None, None, (), 0)


def test_a_message_carries_its_text_as_it_is() -> None:
    envelope, _ = decode_envelope(body(type="message", payload={"text": "  你好\n\x00\x7f "}))

    assert envelope.payload == Message(text="  你好\n\x00\x7f ")


def test_a_result_tells_how_a_task_ended() -> None:
    error = {"code": "timed-out", "detail": "it took longer"}
    report = report_in(
        telling(
            localId="k3f2", state="failed", version=4, attempt=2, error=error, startedAt=1000, finishedAt=2500
        )
    )

    assert report == TaskReport(
        task_id=WireId("task-001"),
        local_id=LocalId("k3f2"),
        state=TaskState.FAILED,
        version=4,
        attempt=2,
        error=TaskError(code="timed-out", detail="it took longer"),
        started_at=1.0,
        finished_at=2.5,
    )


def test_a_result_from_elsewhere_need_not_say_more_than_which_task_and_how_it_ended() -> None:
    assert report_in(telling()) == TaskReport(
        task_id=WireId("task-001"), local_id=LocalId(""), state=TaskState.COMPLETED, version=0
    )


def test_every_optional_field_of_an_envelope_is_read() -> None:
    envelope, _ = decode_envelope(
        body(replyTo="t1", replyKey="k", ttl=1500, rootId="t0", path=["laptop", "pi"], hops=3)
    )

    assert (envelope.reply_to, envelope.reply_key, envelope.ttl_s) == ("t1", "k", 1.5)
    assert (envelope.root_id, envelope.path, envelope.hops) == ("t0", ("laptop", "pi"), 3)


@pytest.mark.parametrize(("hops", "counted"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_nobody_makes_a_chain_shorter_than_its_path(hops: int, counted: int) -> None:
    assert decode_envelope(body(path=["laptop", "pi"], hops=hops))[0].hops == counted


@pytest.mark.parametrize(
    "extra",
    [
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"budget": {"usd": 1.5}},
        {"Id": 1, "from_": 1, "protocol_version": 9, "": None},
        {"payload": {**{"description": "x"}, "labels": [{"sha256": "0"}], "wait_ms": "x"}},
    ],
)
def test_fields_that_nobody_knows_are_ignored(extra: dict[str, Any]) -> None:
    fields = {**SEED, "payload": {"description": "x"}}

    assert (
        decode_envelope(json.dumps(fields | extra).encode())[0]
        == decode_envelope(json.dumps(fields).encode())[0]
    )


@pytest.mark.parametrize("version", ["1.0", "1", "1.9", "1.0-draft"])
def test_another_minor_version_is_understood(version: str) -> None:
    assert decode_envelope(body(protocolVersion=version))[0].id == "task-001"


@pytest.mark.parametrize(
    ("timestamp", "kept"),
    [(..., 0), (None, 0), (-1, 0), (0, 0), (1.9, 1), (2**53, 2**53), (2**53 + 1, 0), (10**30, 0), (1e300, 0)],
)
def test_a_timestamp_is_for_people_so_a_strange_one_is_no_reason_to_refuse(
    timestamp: object, kept: int
) -> None:
    assert decode_envelope(body(timestamp=timestamp))[0].timestamp_ms == kept


@pytest.mark.parametrize(
    ("mode", "wait_ms", "wait_s"),
    [
        ("wait", ..., 55.0),
        ("wait", 0, 0.0),
        ("wait", 1500, 1.5),
        ("wait", 55_001, 55.0),
        ("wait", 10**30, 55.0),
        ("callback", 1500, 0.0),
        ("fire-and-forget", 1500, 0.0),
    ],
)
def test_an_answer_is_held_back_in_mode_wait_only_and_no_longer_than_55_s(
    mode: str, wait_ms: object, wait_s: float
) -> None:
    wait = {} if wait_ms is ... else {"waitMs": wait_ms}

    assert request_in(asking(mode=mode, **wait)).wait_s == wait_s


@pytest.mark.parametrize(("timeout", "seconds"), [(1, 0.001), (86_400_000, 86_400.0)])
def test_a_run_may_take_from_a_millisecond_to_a_day(timeout: int, seconds: float) -> None:
    assert request_in(asking(timeout=timeout)).timeout_s == seconds


@pytest.mark.parametrize(("ttl", "seconds"), [(1, 0.001), (60 * 86_400_000, 60 * 86_400.0)])
def test_an_envelope_may_be_worth_delivering_for_a_millisecond_to_60_days(ttl: int, seconds: float) -> None:
    assert decode_envelope(body(ttl=ttl))[0].ttl_s == seconds


@pytest.mark.parametrize(
    "payload",
    [
        Message(text="你好 \u0000\u001f\u007f\u2028 👩‍🚀"),
        TaskRequest(description="x"),
        TaskRequest(description="x", mode=TaskMode.FIRE_AND_FORGET, timeout_s=60.0),
        TaskRequest(description="x", mode=TaskMode.WAIT, wait_s=1.5),
        TaskRequest(description="x", mode=TaskMode.WAIT, wait_s=0.0),
        replace(report_of(TASK), state=TaskState.COMPLETED, result="", truncated=True, finished_at=1020.5),
        replace(report_of(TASK), state=TaskState.FAILED, error=TaskError(code="odd", detail="")),
    ],
)
def test_what_is_encoded_is_decoded_to_the_same(payload: Message | TaskRequest | TaskReport) -> None:
    envelope = replace(
        MESSAGE,
        payload=payload,
        reply_to=WireId("t1"),
        reply_key="k",
        ttl_s=1.5,
        root_id=WireId("t0"),
        path=(PeerId("laptop"), PeerId("pi")),
        hops=2,
    )

    assert decode_envelope(encode_envelope(envelope))[0] == envelope


def test_an_envelope_does_not_say_what_would_be_understood_anyway() -> None:
    assert spelled(MESSAGE) == {
        "id": "message-1",
        "protocolVersion": "1.0",
        "type": "message",
        "from": "laptop",
        "to": "server-219",
        "timestamp": 1_234_567_890_000,
        "payload": {"text": "hello"},
    }


def test_a_task_says_how_long_it_may_run_and_nothing_of_waits_that_it_does_not_want() -> None:
    task = replace(MESSAGE, payload=TaskRequest(description="x"))
    waiting = replace(MESSAGE, payload=TaskRequest(description="x", mode=TaskMode.WAIT, wait_s=1.5))

    assert spelled(task)["payload"] == {"description": "x", "timeout": 600_000}
    assert spelled(waiting)["payload"] == {
        "description": "x",
        "mode": "wait",
        "timeout": 600_000,
        "waitMs": 1500,
    }


def test_the_time_left_is_never_told_as_none() -> None:
    assert spelled(replace(MESSAGE, ttl_s=0.0001))["ttl"] == 1
    assert spelled(replace(MESSAGE, ttl_s=2.5))["ttl"] == 2500


@pytest.mark.parametrize("character", ["a", "\n", "\x00", "天", "👩"])
def test_a_result_that_was_cut_always_fits_into_an_envelope(character: str) -> None:
    result, truncated = cut(character * MAX_RESULT_BYTES)
    report = replace(report_of(TASK), state=TaskState.COMPLETED, result=result, truncated=truncated)
    sent = encode_envelope(replace(MESSAGE, payload=report))

    assert len(sent) <= MAX_BODY_BYTES
    assert report_in(sent).result == result


def test_a_text_too_large_for_any_node_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequest, match=r"makes 1048\d+ bytes of JSON: at most 1048576 can be sent"):
        encode_envelope(replace(MESSAGE, payload=Message(text="x" * MAX_BODY_BYTES)))


def test_a_report_is_decoded_to_what_was_encoded() -> None:
    report = replace(report_of(TASK), waiting_for=WaitingFor.APPROVAL, started_at=1010.25)

    assert reports.decode(reports.encode(report)) == report


def test_a_report_may_tell_of_a_task_that_goes_on() -> None:
    assert reports.decode(b'{"taskId":"t","state":"working"}').state is TaskState.WORKING


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"taskId":"t"}',
        b'{"taskId":"t","state":"done"}',
        b"[" * 50_000,
    ],
)
def test_an_answer_about_no_task_is_no_report(answer: bytes) -> None:
    with pytest.raises(InvalidRequest):
        reports.decode(answer)


def test_a_peer_s_own_name_for_a_task_is_kept_within_bounds() -> None:
    assert report_in(telling(localId="x" * 1000)).local_id == "x" * 128


def test_the_answers_to_anyone_are_spelled_as_the_protocol_has_them() -> None:
    health = codec.Health(version="0.1.0", node_id="laptop", uptime=1.5)

    assert json.loads(codec.encode(health)) == {
        "status": "ok",
        "version": "0.1.0",
        "protocolVersion": "1.0",
        "nodeId": "laptop",
        "uptime": 1.5,
    }
    assert json.loads(codec.encode(codec.Stored(id="m"))) == {"id": "m", "stored": True}
    assert json.loads(codec.encode(codec.Whoami(status="not_paired"))) == {"status": "not_paired"}


@pytest.mark.parametrize(("seconds", "told"), [(None, None), (0.0, 0), (1.0004, 1000), (1.5, 1500)])
def test_times_are_told_in_whole_milliseconds(seconds: float | None, told: int | None) -> None:
    assert milliseconds(seconds) == told
