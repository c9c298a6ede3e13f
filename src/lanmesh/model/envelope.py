"""envelopes: one message, task or result on its way between two nodes"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lanmesh.errors import InvalidRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import PeerId, WireId
from lanmesh.model.report import TaskReport
from lanmesh.model.task import DEFAULT_TIMEOUT_S, TaskMode

P = TypeVar("P")

PROTOCOL_VERSION = "1.0"

MAX_HOPS = 5
"""Delegations in one chain."""


class EnvelopeType(StrEnum):
    """What an envelope carries."""

    MESSAGE = "message"
    TASK = "task"
    RESULT = "result"
    QUESTION = "question"
    ANSWER = "answer"
    CANCEL = "cancel"
    CANCEL_RESULT = "cancel-result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Text for the people and agents of another node; it asks for nothing."""

    text: str
    files: tuple[FileRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Work that another node is asked to do."""

    description: str
    mode: TaskMode = TaskMode.CALLBACK
    timeout_s: float = DEFAULT_TIMEOUT_S
    """The run's deadline, counted from its claim."""
    wait_s: float = 0.0
    """In mode `wait`: how long the answer to the request may be held back."""
    files: tuple[FileRef, ...] = ()
    """What it comes with; it begins once they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The wish that a task ends before its time."""

    task_id: WireId
    """The id of the task's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResult:
    """What became of the wish: how the task stands now, at its end or not."""

    report: TaskReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the doer of a task asks its asker: a report that holds the question."""

    report: TaskReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the asker of a task says to a question of its doer."""

    task_id: WireId
    """The id of the task's envelope."""
    text: str
    attempt: int
    """Which attempt has asked."""


_TYPES: Mapping[type, EnvelopeType] = {
    Message: EnvelopeType.MESSAGE,
    TaskRequest: EnvelopeType.TASK,
    TaskReport: EnvelopeType.RESULT,
    Question: EnvelopeType.QUESTION,
    Answer: EnvelopeType.ANSWER,
    Cancel: EnvelopeType.CANCEL,
    CancelResult: EnvelopeType.CANCEL_RESULT,
}

Payload = Message | TaskRequest | TaskReport | Question | Answer | Cancel | CancelResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One thing said by one node to another, under an id that every retry keeps."""

    id: WireId
    sender: str
    """The sender's name, as it gives it."""
    recipient: str | None
    """The name that the sender knows this node by; `None` when it gave none."""
    timestamp_ms: int
    """Milliseconds since the epoch by the sender's clock; for people only."""
    payload: Payload
    reply_to: WireId | None = None
    """In all that is said of a task: the id of the task's envelope."""
    reply_key: str | None = None
    """In a task: the secret that all its doer says of it must carry. In that: this secret."""
    ttl_s: float | None = None
    """Time left in which this is worth delivering; `None` for the recipient's default."""
    root_id: WireId | None = None
    path: tuple[PeerId, ...] = ()
    hops: int = 0

    @property
    def files(self) -> tuple[FileRef, ...]:
        """The files that it names."""
        return self.payload.files if isinstance(self.payload, Message | TaskRequest | TaskReport) else ()

    @property
    def type(self) -> EnvelopeType:
        """What it carries."""
        return _TYPES[type(self.payload)]


def carried(envelope: Envelope, kind: type[P]) -> P:
    """Return the payload of an envelope, which is of a kind.

    Raises:
        InvalidRequest: It is of another kind.
    """
    if not isinstance(envelope.payload, kind):
        raise InvalidRequest(f"a {envelope.type} envelope does not belong here")
    return envelope.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message that arrived."""

    number: int
    """Its place in the inbox; ids are the senders' own, and two may choose the same."""
    id: WireId
    origin: str
    """Who sent it, as proven."""
    sender: str
    """The name that the sender gave."""
    text: str
    received_at: float
    read_at: float | None = None

    @property
    def proven(self) -> bool:
        """Whether the sender's name is proven by a credential of its own."""
        return self.origin == self.sender
