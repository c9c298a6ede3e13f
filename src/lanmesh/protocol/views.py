"""what the operator port tells of tasks, mail and peers: the structs of its JSON"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from lanmesh.model.delivery import Delivery
from lanmesh.model.envelope import Mail
from lanmesh.model.file import FileState
from lanmesh.model.peer import DEFAULT_PORT, Contact, Pairing, Peer, Sighting
from lanmesh.model.presence import Presence
from lanmesh.model.task import AcceptMode, Task
from lanmesh.protocol.files import FileBodies, FileView, file_views
from lanmesh.protocol.wire import milliseconds


class View(msgspec.Struct, kw_only=True, rename="camel"):
    """A JSON object of the operator port. Times are milliseconds since the epoch."""


class ErrorView(View, kw_only=True):
    """Why a task has no result."""

    code: str
    detail: str


class DeliveryView(View, kw_only=True):
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


class EventView(View, kw_only=True):
    """One thing that happened to a task."""

    version: int
    at: int | None
    event: str
    state: str
    detail: str


class TaskView(View, kw_only=True):
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
    events: list[EventView] = []
    files: list[FileView] = []


class MessageView(View, kw_only=True):
    """A message that arrived."""

    number: int
    id: str
    sender: str
    proven: bool
    text: str
    received_at: int | None
    read_at: int | None
    files: list[FileView] = []


class PeerView(View, kw_only=True):
    """A configured or paired peer, and what was last seen of it."""

    id: str
    host: str
    port: int
    wire: str
    """What protects the way to it: `paired`, `tls` (its key is that of the first use), `cleartext`."""
    node_id: str | None
    """The key that it has proven; `null` for one that is not paired."""
    has_token: bool
    heard_at: int | None
    reached_at: int | None
    failed_at: int | None
    error: str | None
    queued: int
    """Envelopes that wait for it."""
    presence: Presence | None = None
    """Whether it is there; `null` of one that is not paired."""
    accept_mode: AcceptMode | None = None
    """What is done with its tasks; `null`: the same as with all."""


class PeerProfileView(View, kw_only=True):
    """A peer's profile as it came."""

    profile: msgspec.Raw
    seen_at: int | None
    error: str | None
    """Why it is not fresh; `null` if it is."""


class StatusView(View, kw_only=True):
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
    seen: list["SightingView"]
    """Nodes on the network that are no peers, by their own word."""
    warnings: list[str]


class SightingView(View, kw_only=True):
    """A node that was seen on the network. Anybody there may have written any of it."""

    node_id: str
    name: str
    addresses: list[str]
    """Each as `host:port`, the latest word first."""
    shows_code: bool
    """Whether it says that it can be paired with now."""
    seen_at: int | None


class SettingView(View, kw_only=True):
    """One setting: what counts, and where it came from."""

    key: str
    value: Any
    source: str


class InvitationView(View, kw_only=True):
    """A code that can be typed on another node, and what has come of it."""

    code: str
    closes_at: int | None
    open: bool
    """Whether it can still be used."""
    port: int
    listen: str
    guest: "PairingView | None" = None
    """Who has used it."""


class PairingView(View, kw_only=True):
    """A node that has proven its key."""

    peer: str
    """Its name here."""
    node_id: str
    host: str
    port: int
    state: str
    """`pending` until both sides are known to count on it, then `paired`."""


class PairRequest(View, kw_only=True):
    """A code that another node shows, and where that is."""

    code: str
    host: str | None = None
    """`null`: the one node on the network that shows a code."""
    port: Annotated[int, Meta(ge=1, le=65535)] = DEFAULT_PORT


class UpgradeRequest(View, kw_only=True):
    """Where the mesh port of a peer is, if not where it is configured."""

    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None


class SendRequest(View, kw_only=True):
    """Text for a peer."""

    peer: str
    text: str
    files: FileBodies = []


class DelegateRequest(View, kw_only=True):
    """Work for a peer."""

    peer: str
    text: str
    timeout: int | None = None
    """Milliseconds that the run may take."""
    parent: str | None = None
    """The local id of the task whose run asks."""
    files: FileBodies = []


class Words(View, kw_only=True):
    """A question of a run, or the answer to it."""

    text: str


class AcceptRequest(View, kw_only=True):
    """The accept mode from now on."""

    mode: AcceptMode
    peer: str | None = None
    """For the tasks of this peer; `null` for all that have no mode of their own."""


class ReadRequest(View, kw_only=True):
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


def peer_view(
    peer: Peer,
    contact: Contact,
    *,
    has_token: bool,
    queued: int,
    presence: Presence | None = None,
    accept_mode: AcceptMode | None = None,
) -> PeerView:
    """Return how a peer is shown."""
    return PeerView(
        id=peer.id,
        host=peer.host,
        port=peer.port,
        wire=peer.wire,
        node_id=peer.node_id,
        has_token=has_token,
        heard_at=milliseconds(contact.heard_at),
        reached_at=milliseconds(contact.reached_at),
        failed_at=milliseconds(contact.failed_at),
        error=contact.error,
        queued=queued,
        presence=presence,
        accept_mode=accept_mode,
    )


def sighting_view(sighting: Sighting) -> SightingView:
    """Return how a node that was seen is shown."""
    return SightingView(
        node_id=sighting.node_id,
        name=sighting.name,
        addresses=[f"{host}:{port}" for host, port in sighting.places],
        shows_code=sighting.shows_code,
        seen_at=milliseconds(sighting.seen_at),
    )


def pairing_view(pairing: Pairing) -> PairingView:
    """Return how a pairing is shown; its tokens never are."""
    return PairingView(
        peer=pairing.peer,
        node_id=pairing.node_id,
        host=pairing.host,
        port=pairing.port,
        state=pairing.state,
    )
