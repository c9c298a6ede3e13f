"""Values that the tests of the core begin with, and change where it matters."""

import json
from typing import Any

from lanmesh.model.chain import Chain
from lanmesh.model.delivery import Delivery
from lanmesh.model.envelope import Envelope, Message
from lanmesh.model.ids import LocalId, Origin, PeerId, WireId
from lanmesh.model.task import Task

LAPTOP, SERVER, PI = PeerId("laptop"), PeerId("server-219"), PeerId("pi")

TASK = Task(
    local_id=LocalId("k3f2aaaabbbbccccddddeeeeff"),
    wire_id=WireId("task-001"),
    origin=Origin("shared"),
    peer="my-agent",
    description="count the stars",
    chain=Chain(root_id=WireId("task-001")),
    created_at=1000.0,
)

MESSAGE = Envelope(
    id=WireId("message-1"),
    sender=LAPTOP,
    recipient=SERVER,
    timestamp_ms=1_234_567_890_000,
    payload=Message(text="hello"),
)

DELIVERY = Delivery(envelope=MESSAGE, peer=SERVER, due_at=1000.0, expires_at=2000.0, created_at=1000.0)

SEED = {
    "id": "task-001",
    "protocolVersion": "1.0",
    "type": "task",
    "from": "my-agent",
    "to": "target-agent",
    "timestamp": 1234567890000,
    "payload": {"description": "帮我查一下今天的天气", "mode": "fire-and-forget", "timeout": 60000},
}
"""The task in the project's first README."""


def body(**changes: Any) -> bytes:
    """Return the seed's task with other fields; `...` takes one away, `from_` stands for `from`."""
    fields = {**SEED, **{key.rstrip("_"): value for key, value in changes.items()}}
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


def asking(**changes: Any) -> bytes:
    """Return the seed's task with other fields in its payload."""
    return body(payload={"description": "x", **changes})


def telling(**changes: Any) -> bytes:
    """Return a result with other fields in its payload."""
    payload = {"taskId": "task-001", "state": "completed", **changes}
    return body(type="result", payload={key: value for key, value in payload.items() if value is not ...})
