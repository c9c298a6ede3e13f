"""profiles as peers read them; PROFILE_SCHEMA.md describes each field"""

from typing import Any

import msgspec

from lanmesh.errors import UnsupportedVersion
from lanmesh.model import ids, profile
from lanmesh.model.task import AcceptMode
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.wire import Wire


class _Load(Wire, kw_only=True):
    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    running: int = 0
    waiting: int = 0


class _History(Wire, kw_only=True):
    done: int = 0
    failed: int = 0
    mean_seconds: float | None = None


class ProfileBody(Wire, kw_only=True):
    """A profile as peers read it."""

    schema_version: str
    id: str
    name: str = ""
    role: str | None = None
    capabilities: list[str] = msgspec.field(default_factory=list)
    models: list[str] = msgspec.field(default_factory=list)
    tools: list[str] = msgspec.field(default_factory=list)
    agents: list[str] = msgspec.field(default_factory=list)
    hardware: dict[str, Any] = msgspec.field(default_factory=dict)
    load: _Load = msgspec.field(default_factory=_Load)
    history: _History = msgspec.field(default_factory=_History)
    accept_mode: AcceptMode = AcceptMode.AUTO
    node_version: str = ""


def encode(value: profile.Profile) -> bytes:
    """Return the JSON of a profile; the owner's words on the hardware win over what was found out."""
    identity, machine = value.identity, value.hardware
    hardware = {
        "cpu": machine.cpu,
        "cores": machine.cores,
        "memoryBytes": machine.memory_bytes,
        "gpus": list(machine.gpus),
        "os": machine.os,
        **identity.hardware,
    }
    return msgspec.json.encode(
        ProfileBody(
            schema_version=profile.SCHEMA_VERSION,
            id=identity.id,
            name=identity.name,
            role=identity.role,
            capabilities=list(identity.capabilities or value.offers.skills),
            models=list(identity.models or value.offers.models),
            tools=list(identity.tools or value.offers.tools),
            agents=list(value.offers.agents),
            hardware=hardware,
            load=_Load(
                cpu_percent=value.load.cpu_percent,
                memory_percent=value.load.memory_percent,
                running=value.tasks.running,
                waiting=value.tasks.waiting,
            ),
            history=_History(
                done=value.tasks.done, failed=value.tasks.failed, mean_seconds=value.tasks.mean_s
            ),
            accept_mode=value.accept_mode,
            node_version=value.node_version,
        )
    )


def check(body: bytes) -> bytes:
    """Return a peer's profile as it came, once it is known to be one.

    Raises:
        InvalidRequest: It is none, or of another major version.
    """
    wire = convert(parse(body), ProfileBody)
    if wire.schema_version.partition(".")[0] != profile.SCHEMA_VERSION.partition(".")[0]:
        raise UnsupportedVersion(f"the profile's schemaVersion is {ids.quoted(wire.schema_version)}")
    return body
