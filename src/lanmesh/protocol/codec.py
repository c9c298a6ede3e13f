"""the wire's JSON: envelopes and short answers, in both directions"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest, UnknownType, UnsupportedVersion
from lanmesh.model import ids
from lanmesh.model.envelope import (
    PROTOCOL_VERSION,
    Answer,
    Cancel,
    CancelResult,
    Envelope,
    EnvelopeType,
    Message,
    Payload,
    Question,
    TaskRequest,
)
from lanmesh.model.report import TaskReport
from lanmesh.model.task import (
    DEFAULT_TIMEOUT_S,
    FINAL,
    MAX_TIMEOUT_S,
    TaskMode,
    TaskState,
)
from lanmesh.protocol.files import FileBodies, files_named, naming
from lanmesh.protocol.json import MAX_BODY_BYTES, convert, parse
from lanmesh.protocol.reports import ReportBody, body_of, report_in
from lanmesh.protocol.wire import Label, Sparse, Text, Wire, named

MAX_WAIT_S = 55.0
"""Below the minute after which proxies and clients give up on an answer."""

_MAX_TTL_MS = 60 * 24 * 3600 * 1000
_DEFAULT_WAIT_MS = round(MAX_WAIT_S * 1000)
_DEFAULT_TIMEOUT_MS = round(DEFAULT_TIMEOUT_S * 1000)
_MAX_TIMEOUT_MS = round(MAX_TIMEOUT_S * 1000)

_WIRE_ID = Meta(extra_json_schema={"pattern": "^[A-Za-z0-9._~-]{1,128}$"})
"""For the descriptions only; `ids` checks it, in words."""


class EnvelopeBody(Sparse, kw_only=True):
    """An envelope as it stands in the body of a request."""

    id: Annotated[str, _WIRE_ID]
    protocol_version: Annotated[str, Meta(extra_json_schema={"pattern": r"^1\."})]
    type: str
    from_: Label = msgspec.field(name="from")
    to: Label | None = None
    timestamp: int | float | None = None
    payload: dict[str, Any]
    reply_to: str | None = None
    reply_key: Label | None = None
    ttl: Annotated[int, Meta(ge=1, le=_MAX_TTL_MS)] | None = None
    root_id: str | None = None
    path: Annotated[list[str], Meta(max_length=64)] = msgspec.field(default_factory=list)
    hops: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class _Message(Sparse, kw_only=True):
    text: Text
    files: FileBodies = msgspec.field(default_factory=list)


class _TaskRequest(Sparse, kw_only=True):
    description: Text
    mode: TaskMode = TaskMode.CALLBACK
    timeout: Annotated[int, Meta(ge=1, le=_MAX_TIMEOUT_MS)] = _DEFAULT_TIMEOUT_MS
    wait_ms: Annotated[int, Meta(ge=0)] = _DEFAULT_WAIT_MS
    files: FileBodies = msgspec.field(default_factory=list)


class _Answer(Sparse, kw_only=True):
    task_id: str
    text: Text
    attempt: Annotated[int, Meta(ge=1, le=1_000_000)]


class SaidToTask(Wire, kw_only=True):
    """An answer without an envelope: what is said to the task of the address."""

    text: Text


class _Cancel(Sparse, kw_only=True):
    task_id: str


PAYLOADS: Mapping[str, type[Wire]] = {
    EnvelopeType.MESSAGE: _Message,
    EnvelopeType.TASK: _TaskRequest,
    EnvelopeType.RESULT: ReportBody,
    EnvelopeType.QUESTION: ReportBody,
    EnvelopeType.ANSWER: _Answer,
    EnvelopeType.CANCEL: _Cancel,
    EnvelopeType.CANCEL_RESULT: ReportBody,
}
"""What each type of envelope carries."""


class Health(Wire, kw_only=True):
    """What a node tells anyone; nothing of it is private."""

    status: Literal["ok"] = "ok"
    version: str
    protocol_version: str = PROTOCOL_VERSION
    node_id: str
    uptime: float
    """Seconds since the node started."""


class Stored(Wire, kw_only=True):
    """The answer to a message: it is kept, and will not be lost."""

    id: str
    stored: Literal[True] = True


class Whoami(Sparse, kw_only=True):
    """What a node makes of the caller's credentials."""

    status: Literal["paired", "not_paired", "client_cert_required", "cert_mismatch"]
    origin: str | None = None
    """Under whose name the caller's ids are kept; `shared` for the shared token."""


def encode(value: object) -> bytes:
    """Return the JSON of one of the structs of this package, or of a list or an object of them."""
    return msgspec.json.encode(value)


def decode_envelope(body: bytes, local: Callable[[str], str] = str) -> tuple[Envelope, bytes]:
    """Return the envelope in a request's body, and its digest.

    `local` returns the name by which a node that the wire names is known here.

    Two envelopes under one id are the same if and only if their digests are equal: SHA-256 over
    the sorted-key JSON of `type`, `to` and `payload`. What a retry may change (`ttl`,
    `timestamp`, `path`, `hops`) does not count.

    Raises:
        InvalidRequest: It is not JSON, not an envelope, or a field is out of its bounds.
        UnknownType: Its type is none of `EnvelopeType`.
        UnsupportedVersion: Its major version is not ours.
    """
    raw = parse(body)
    if not isinstance(raw, dict):
        raise InvalidRequest("the body must be a JSON object")
    wire = convert(raw, EnvelopeBody)
    if wire.protocol_version.partition(".")[0] != PROTOCOL_VERSION.partition(".")[0]:
        raise UnsupportedVersion(
            f"protocolVersion is {ids.quoted(wire.protocol_version)}: this node speaks {PROTOCOL_VERSION}"
        )
    recipient = None if wire.to is None else local(wire.to)
    envelope = Envelope(
        id=named("id", ids.wire_id, wire.id),
        sender=local(wire.from_),
        recipient=recipient,
        timestamp_ms=_milliseconds(wire.timestamp),
        payload=_payload(wire.type, wire.payload),
        reply_to=None if wire.reply_to is None else named("replyTo", ids.wire_id, wire.reply_to),
        reply_key=wire.reply_key,
        ttl_s=None if wire.ttl is None else wire.ttl / 1000,
        root_id=None if wire.root_id is None else named("rootId", ids.wire_id, wire.root_id),
        path=tuple(named("path", ids.peer_id, local(name)) for name in wire.path),
        hops=max(wire.hops, len(wire.path)),
    )
    return envelope, _digest(wire.type, recipient, wire.payload)


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the body of a request that carries the envelope.

    Raises:
        InvalidRequest: It would be larger than any node takes.
    """
    wire = EnvelopeBody(
        id=envelope.id,
        protocol_version=PROTOCOL_VERSION,
        type=envelope.type.value,
        from_=envelope.sender,
        to=envelope.recipient,
        timestamp=envelope.timestamp_ms,
        payload=msgspec.to_builtins(_spelled(envelope.payload)),
        reply_to=envelope.reply_to,
        reply_key=envelope.reply_key,
        ttl=None if envelope.ttl_s is None else max(1, round(envelope.ttl_s * 1000)),
        root_id=envelope.root_id,
        path=list(envelope.path),
        hops=envelope.hops,
    )
    body = msgspec.json.encode(wire)
    if len(body) > MAX_BODY_BYTES:
        raise InvalidRequest(
            f"the text makes {len(body)} bytes of JSON: at most {MAX_BODY_BYTES} can be sent"
        )
    return body


def _payload(kind: str, raw: dict[str, Any]) -> Payload:
    said: Payload
    match kind:
        case EnvelopeType.MESSAGE:
            message = convert(raw, _Message, "payload")
            said = Message(
                text=_not_blank(message.text, "payload.text"),
                files=files_named(message.files, "payload.files"),
            )
        case EnvelopeType.TASK:
            task = convert(raw, _TaskRequest, "payload")
            said = TaskRequest(
                description=_not_blank(task.description, "payload.description"),
                mode=task.mode,
                timeout_s=task.timeout / 1000,
                wait_s=min(task.wait_ms / 1000, MAX_WAIT_S) if task.mode is TaskMode.WAIT else 0.0,
                files=files_named(task.files, "payload.files"),
            )
        case EnvelopeType.RESULT:
            said = report_in(convert(raw, ReportBody, "payload"))
            if said.state not in FINAL:
                raise InvalidRequest(f"payload.state is {said.state}: a result tells of an end")
        case EnvelopeType.QUESTION:
            said = Question(report=report_in(convert(raw, ReportBody, "payload")))
            if said.report.state is not TaskState.INPUT_REQUIRED or said.report.question is None:
                raise InvalidRequest("payload is no question: its state is input-required, with a question")
        case EnvelopeType.ANSWER:
            answer = convert(raw, _Answer, "payload")
            said = Answer(
                task_id=named("payload.taskId", ids.wire_id, answer.task_id),
                text=_not_blank(answer.text, "payload.text"),
                attempt=answer.attempt,
            )
        case EnvelopeType.CANCEL:
            wish = convert(raw, _Cancel, "payload")
            said = Cancel(task_id=named("payload.taskId", ids.wire_id, wish.task_id))
        case EnvelopeType.CANCEL_RESULT:
            said = CancelResult(report=report_in(convert(raw, ReportBody, "payload")))
        case _:
            known = ", ".join(EnvelopeType)
            raise UnknownType(f"type is {ids.quoted(kind)}: this node knows {known}")
    return said


def _spelled(payload: Payload) -> Sparse:
    match payload:
        case Message():
            return _Message(text=payload.text, files=naming(payload.files))
        case TaskRequest():
            return _TaskRequest(
                description=payload.description,
                mode=payload.mode,
                timeout=round(payload.timeout_s * 1000),
                wait_ms=round(payload.wait_s * 1000) if payload.mode is TaskMode.WAIT else _DEFAULT_WAIT_MS,
                files=naming(payload.files),
            )
        case TaskReport():
            return body_of(payload)
        case Answer():
            return _Answer(task_id=payload.task_id, text=payload.text, attempt=payload.attempt)
        case Cancel():
            return _Cancel(task_id=payload.task_id)
        case Question() | CancelResult():
            return body_of(payload.report)


def _not_blank(text: str, field: str) -> str:
    if not text.strip():
        raise InvalidRequest(f"{field} is blank")
    return text


def _milliseconds(value: float | None) -> int:
    return int(value) if value is not None and 0 <= value <= 2**53 else 0


def _digest(kind: str, recipient: str | None, payload: dict[str, Any]) -> bytes:
    same = {"type": kind, "to": recipient, "payload": payload}
    return hashlib.sha256(msgspec.json.encode(same, order="sorted")).digest()
