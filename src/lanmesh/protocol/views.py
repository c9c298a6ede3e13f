"""what the operator port tells of tasks, mail and the node: the structs of its JSON, times in milliseconds"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from lanmesh.model.delivery import Delivery
from lanmesh.model.envelope import Mail
from lanmesh.model.file import FileState
from lanmesh.model.history import Event
from lanmesh.model.task import AcceptMode, Task
from lanmesh.protocol.files import FileBodies, FileView, file_views
from lanmesh.protocol.peer_views import PeerView, SightingView
from lanmesh.protocol.wire import Wire, milliseconds


class ErrorView(Wire, kw_only=True):
    """Why a task has no result."""

    code: str
    detail: str


class DeliveryView(Wire, kw_only=True):
    """How far an envelope has come on its way to a peer."""

    id: str
    type: str
    peer: str
    task: str | None
    """The local id of the task that it is about."""
    state: str
    attempts: int
    due_at: int | None
    """When it is tried next; `null` once it is not."""
    expires_at: int | None
    error: str | None
    created_at: int | None
    settled_at: int | None
    """Since when nothing more is tried; `null` while it waits."""
    resend_until: int | None
    """Until when it may be sent again."""


class EventView(Wire, kw_only=True):
    """One thing that happened to a task."""

    version: int
    at: int | None
    event: str
    state: str
    detail: str


class TaskView(Wire, kw_only=True):
    """A task as its owner may see it."""

    id: str
    """The local id; commands take it, its first characters, or the wire id."""
    wire_id: str
    direction: str
    """`asked` of a peer, or `doing` for one."""
    peer: str
    proven: bool
    """Whether the peer's name is proven by a credential of its own."""
    state: str
    waiting_for: str | None
    decide_by: int | None
    """Until when the owner can decide about it; `null` if there is nothing to decide here."""
    description: str
    mode: str
    timeout: int
    """Milliseconds that a run may take."""
    attempt: int
    version: int
    progress: str | None
    """The latest words of the run that goes on."""
    root_id: str
    parent: str | None
    path: list[str]
    hops: int
    result: str | None
    truncated: bool
    error: ErrorView | None
    assumed: bool
    """Of a task asked: whether its end is only assumed, and a word of its doer may still change it."""
    canceling: str | None
    """Who wants it ended, until it is known whether it has."""
    not_stopped: str | None
    """Why it goes on although somebody wanted it ended."""
    question: str | None
    """What it waits to be answered."""
    created_at: int | None
    started_at: int | None
    finished_at: int | None
    delivery: DeliveryView | None = None
    """Of a task asked: how its request fares. Of one done: how its result fares."""
    events: list[EventView] = msgspec.field(default_factory=list)
    files: list[FileView] = msgspec.field(default_factory=list)


class MessageView(Wire, kw_only=True):
    """A message that arrived."""

    number: int
    id: str
    sender: str
    proven: bool
    text: str
    received_at: int | None
    read_at: int | None
    files: list[FileView] = msgspec.field(default_factory=list)


class StatusView(Wire, kw_only=True):
    """The node at a glance."""

    id: str
    node_id: str
    name: str
    version: str
    uptime: float
    accept_mode: AcceptMode
    executor: str
    listen: str
    port: int
    operator_port: int
    state_folder: str
    running: int
    waiting: int
    approvals: int
    unread: int
    queued: int
    undelivered: int
    peers: list[PeerView]
    seen: list[SightingView]
    """Nodes on the network that are no peers, by their own word."""
    warnings: list[str]


class SettingView(Wire, kw_only=True):
    """One setting: what counts, and where it came from."""

    key: str
    value: Any
    source: str


class SendRequest(Wire, kw_only=True):
    """Text for a peer."""

    peer: str
    text: str
    files: FileBodies = msgspec.field(default_factory=list)


class DelegateRequest(Wire, kw_only=True):
    """Work for a peer."""

    peer: str
    text: str
    timeout: int | None = None
    """Milliseconds that the run may take."""
    parent: str | None = None
    """The local id of the task whose run asks."""
    files: FileBodies = msgspec.field(default_factory=list)


class Words(Wire, kw_only=True):
    """A question of a run, or the answer to it."""

    text: str


class AcceptRequest(Wire, kw_only=True):
    """The accept mode from now on."""

    mode: AcceptMode
    peer: str | None = None
    """For the tasks of this peer; `null` for all that have no mode of their own."""


class ReadRequest(Wire, kw_only=True):
    """The messages that have been read."""

    numbers: list[Annotated[int, Meta(ge=0, le=2**53)]]


def delivery_view(delivery: Delivery) -> DeliveryView:
    """Return how a delivery is shown."""
    return DeliveryView(
        id=delivery.envelope.id,
        type=delivery.envelope.type,
        peer=delivery.peer,
        task=delivery.task,
        state=delivery.state,
        attempts=delivery.attempts,
        due_at=milliseconds(delivery.due_at),
        expires_at=milliseconds(delivery.expires_at),
        error=delivery.error,
        created_at=milliseconds(delivery.created_at),
        settled_at=milliseconds(delivery.settled_at),
        resend_until=milliseconds(delivery.resend_until),
    )


def event_view(event: Event) -> EventView:
    """Return how something that happened to a task is shown."""
    return EventView(
        version=event.version,
        at=milliseconds(event.at),
        event=event.event,
        state=event.state,
        detail=event.detail,
    )


def task_view(
    task: Task,
    delivery: Delivery | None = None,
    events: list[EventView] | None = None,
    files: Iterable[FileState] = (),
) -> TaskView:
    """Return how a task is shown."""
    return TaskView(
        id=task.local_id,
        wire_id=task.wire_id,
        direction="asked" if task.asked else "doing",
        peer=task.peer,
        proven=task.asked or task.origin == task.peer,
        state=task.state,
        waiting_for=task.waiting_for,
        decide_by=milliseconds(task.decide_by),
        description=task.description,
        mode=task.mode,
        timeout=round(task.timeout_s * 1000),
        attempt=task.attempt,
        version=task.version,
        progress=task.progress,
        root_id=task.chain.root_id,
        parent=task.parent,
        path=list(task.chain.path),
        hops=task.chain.hops,
        result=task.result,
        truncated=task.truncated,
        error=None if task.error is None else ErrorView(code=task.error.code, detail=task.error.detail),
        assumed=task.assumed,
        canceling=task.canceling,
        not_stopped=task.not_stopped,
        question=task.question,
        created_at=milliseconds(task.created_at),
        started_at=milliseconds(task.started_at),
        finished_at=milliseconds(task.finished_at),
        delivery=None if delivery is None else delivery_view(delivery),
        events=events or [],
        files=file_views(files),
    )


def message_view(mail: Mail, files: Iterable[FileState] = ()) -> MessageView:
    """Return how a message is shown."""
    return MessageView(
        number=mail.number,
        id=mail.id,
        sender=mail.sender,
        proven=mail.proven,
        text=mail.text,
        received_at=milliseconds(mail.received_at),
        read_at=milliseconds(mail.read_at),
        files=file_views(files),
    )
