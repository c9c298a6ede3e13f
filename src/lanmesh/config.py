"""settings: defaults, files, environment, flags"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from lanmesh.engine.admission import Limits
from lanmesh.engine.retention import Keep
from lanmesh.errors import InvalidConfig, InvalidRequest
from lanmesh.model import ids
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import DEFAULT_PORT, Peer
from lanmesh.model.profile import Identity
from lanmesh.model.task import AcceptMode
from lanmesh.tokens import PeerTokens

DEFAULT_OPERATOR_PORT = DEFAULT_PORT + 1
LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # peers are other machines, and who is no peer is told nothing of worth
_MEGABYTE = 1024 * 1024

Word = Annotated[str, Meta(min_length=1, max_length=200)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]

T = TypeVar("T")


_OF_THE_PLUGIN = frozenset({"python", "toolWaitSeconds"})
"""Keys of the plugin's config that the plugin itself reads."""

_GATEWAY = "gateway"
"""Where the plugin tells of the gateway; in a file of the owner's it would be a mistake."""


class _Keys(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=False):
    """A table of settings; the descriptions are those of the README."""


class ProfileKeys(_Keys, kw_only=True):
    """What peers are told of this node."""

    id: Annotated[
        str, Meta(description="Name under which peers list this node; empty: from the host's name")
    ] = ""
    name: Annotated[str, Meta(max_length=200, description="Name for people; empty: the host's name")] = ""
    role: Annotated[str, Meta(max_length=200, description="What this node is for, in a few words")] = ""
    capabilities: Annotated[list[Word], Meta(description="What its agent can do")] = msgspec.field(
        default_factory=list
    )
    models: Annotated[list[Word], Meta(description="Models that it can use")] = msgspec.field(
        default_factory=list
    )
    tools: Annotated[list[Word], Meta(description="Tools that it has")] = msgspec.field(default_factory=list)
    hardware: Annotated[
        dict[Word, Word | int | float],
        Meta(description="Hardware in your words, beside what the node finds out"),
    ] = msgspec.field(default_factory=dict)


class PeerKeys(_Keys, kw_only=True):
    """A node that this one knows."""

    host: Annotated[Word, Meta(description="Its address or host name")]
    port: Annotated[Port, Meta(description="Its port: 18760 for a node, 18789 for an OpenClaw gateway")] = (
        DEFAULT_PORT
    )
    tls: Annotated[bool | None, Meta(description="TLS, by the key seen first; unset: on port 18760")] = None
    accept_mode: Annotated[
        AcceptMode | None, Meta(description="Its tasks: run them, ask you first, or refuse them; else as all")
    ] = None
    may: Annotated[
        list[Literal["message", "task", "file"]],
        Meta(description="What it may send; results are always taken"),
    ] = msgspec.field(default_factory=lambda: ["message", "task", "file"])
    token_env_var: Annotated[
        Variable | None, Meta(description="Variable with the token to present; else `LAN_PEER_<ID>_TOKEN`")
    ] = None
    inbound_token_env_var: Annotated[
        Variable | None, Meta(description="Variable with a token that this peer alone may present here")
    ] = None


class NodeKeys(_Keys, kw_only=True):
    """How this node works."""

    listen: Annotated[Word, Meta(description="Address for peers; `127.0.0.1`: this machine")] = EVERYWHERE
    port: Annotated[Port, Meta(description="Port for peers; 0 for any free one")] = DEFAULT_PORT
    dial_only: Annotated[bool, Meta(description="No peer can dial this node; it dials them instead")] = False
    operator_port: Annotated[Port, Meta(description="Port for the CLI, on loopback; 0 for any free one")] = (
        DEFAULT_OPERATOR_PORT
    )
    hosts: Annotated[
        list[Word], Meta(description="Names beside its own under which callers may address it")
    ] = msgspec.field(default_factory=list)
    discovery: Annotated[bool, Meta(description="Whether nodes find each other on the network (mDNS)")] = True
    executor: Annotated[
        Literal["", "command", "openclaw"],
        Meta(
            description="How tasks are done: `openclaw` by an agent, `command` by a program; empty: as can be"
        ),
    ] = ""
    agent: Annotated[Word, Meta(description="Which agent of the gateway does tasks")] = "main"
    command: Annotated[
        list[str], Meta(min_length=1, description="Program and arguments; the task's text comes on its stdin")
    ] = msgspec.field(default_factory=lambda: ["cat"])
    repeatable: Annotated[
        bool, Meta(description="Whether an interrupted run may be done again from its start")
    ] = False
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Tasks run at once")] = Limits().concurrency
    max_waiting: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Tasks that may wait; more are refused for the time being")
    ] = Limits().max_waiting
    keep_days: Annotated[
        int, Meta(ge=1, le=3650, description="Days that finished tasks and mail that was read are kept")
    ] = 30
    keep_count: Annotated[
        int, Meta(ge=1, le=10_000_000, description="How many of each are kept; the older ones go")
    ] = Keep().count
    max_open: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Tasks of one peer that may run or wait at a time")
    ] = Limits().open_tasks
    max_requests: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Requests of one peer in a minute; more are put off")
    ] = Limits().requests_per_minute
    max_stored: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Megabytes of one peer's tasks and messages that are kept")
    ] = Limits().stored_bytes // _MEGABYTE
    max_files: Annotated[int, Meta(ge=0, le=10**9, description="Megabytes of one peer's files")] = 20_000


class GatewayKeys(_Keys, kw_only=True):
    """The gateway beside this node, as its plugin hands it over; never a setting of the owner's."""

    url: Word
    token: str | None = None
    boot: Word


class Keys(_Keys, kw_only=True):
    """All settings."""

    accept_mode: Annotated[
        AcceptMode, Meta(description="Tasks that arrive: run them, ask you first, or refuse them")
    ] = AcceptMode.AUTO
    profile: ProfileKeys = msgspec.field(default_factory=ProfileKeys)
    node: NodeKeys = msgspec.field(default_factory=NodeKeys)
    peers: dict[str, PeerKeys] = msgspec.field(default_factory=dict)
    gateway: GatewayKeys | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Settings from one place."""

    name: str
    """As people know it: `config.toml`, `flag`, …"""
    values: Mapping[str, Any]
    strict: bool = False
    """Whether a key that nobody knows is an error, rather than a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: what counts, and where it came from."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings that count."""

    accept_mode: AcceptMode
    identity: Identity
    peers: Mapping[PeerId, Peer]
    peer_tokens: Mapping[PeerId, PeerTokens]
    node: NodeKeys
    gateway: GatewayKeys | None
    limits: Limits
    settings: Sequence[Setting]
    warnings: Sequence[str]

    def is_default(self, key: str) -> bool:
        """Return whether nobody has set this key."""
        return any(setting.key == key and setting.source == "default" for setting in self.settings)


def read_toml(path: Path) -> Source:
    """Return the settings of a file; none if it does not exist.

    Raises:
        InvalidConfig: It cannot be read, or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        values = {}
    except (OSError, ValueError) as fault:
        raise InvalidConfig(f"{path}: {fault}") from fault
    return Source(name=path.name, values=values, strict=True)


def read_json(line: bytes, name: str) -> Source:
    """Return the settings in a JSON object.

    Raises:
        InvalidConfig: It is none.
    """
    try:
        values = msgspec.json.decode(line, type=dict[str, Any])
    except (ValueError, RecursionError) as fault:
        raise InvalidConfig(f"{name}: not a JSON object: {fault}") from fault
    return Source(name=name, values=values)


def from_environment(environ: Mapping[str, str]) -> Source:
    """Return the settings in the variables `LANMESH_LISTEN`, `LANMESH_PORT`, `LANMESH_OPERATOR_PORT`.

    Raises:
        InvalidConfig: A port is no number.
    """
    node: dict[str, Any] = {}
    for variable, key in (
        ("LANMESH_LISTEN", "listen"),
        ("LANMESH_PORT", "port"),
        ("LANMESH_OPERATOR_PORT", "operatorPort"),
    ):
        if text := environ.get(variable):
            if key != "listen" and not re.fullmatch(r"[0-9]{1,5}", text):
                raise InvalidConfig(f"{variable} must be a port number")
            node[key] = text if key == "listen" else int(text)
    return Source(name="environment", values={"node": node} if node else {})


def combine(sources: Sequence[Source], hostname: str) -> Config:
    """Return the settings that count: of each key the last source that has it.

    Raises:
        InvalidConfig: A value does not fit its key, a strict source has a key that nobody knows,
            or the settings contradict each other. The sentence names the key and its source.
    """
    warnings: list[str] = []
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source in sources:
        for sentence in _unknown(source):
            if source.strict:
                raise InvalidConfig(sentence)
            warnings.append(sentence)
        _merge(merged, source.values, source.name, origin)
    try:
        keys = msgspec.convert(merged, Keys)
    except msgspec.ValidationError as fault:
        raise InvalidConfig(_sentence(str(fault), merged, origin)) from None
    if not keys.node.executor:
        keys.node.executor = "command" if keys.gateway is None else "openclaw"
    if keys.node.executor == "openclaw" and keys.gateway is None:
        raise InvalidConfig("node.executor is openclaw, but no gateway started this node: its plugin does")
    identity = _identity(keys.profile, hostname)
    peers = {_name(f"peers.{name}", name): entry for name, entry in keys.peers.items()}
    if identity.id in peers:
        raise InvalidConfig(f"peers.{identity.id} is this node itself; its name is profile.id")
    return Config(
        accept_mode=keys.accept_mode,
        identity=identity,
        peers={name: _peer(name, entry) for name, entry in peers.items()},
        peer_tokens={
            name: PeerTokens(
                token_env_var=entry.token_env_var, inbound_token_env_var=entry.inbound_token_env_var
            )
            for name, entry in peers.items()
        },
        node=keys.node,
        gateway=keys.gateway,
        limits=Limits(
            concurrency=keys.node.concurrency,
            max_waiting=keys.node.max_waiting,
            open_tasks=keys.node.max_open,
            requests_per_minute=keys.node.max_requests,
            stored_bytes=keys.node.max_stored * _MEGABYTE,
            file_bytes=keys.node.max_files * _MEGABYTE,
        ),
        settings=list(_settings(keys, identity, origin)),
        warnings=warnings,
    )


def _peer(name: PeerId, entry: PeerKeys) -> Peer:
    # Port 18760 is one of a node, which speaks nothing else; a gateway's port speaks plain HTTP.
    tls = entry.port == DEFAULT_PORT if entry.tls is None else entry.tls
    may = frozenset(entry.may)
    return Peer(id=name, host=entry.host, port=entry.port, tls=tls, accept_mode=entry.accept_mode, may=may)


def _merge(
    into: dict[str, Any], values: Mapping[str, Any], name: str, origin: dict[str, str], at: str = ""
) -> None:
    for key, value in values.items():
        path = f"{at}{key}"
        if isinstance(value, Mapping) and path != "profile.hardware":
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, name, origin, f"{path}.")
            continue
        into[key] = value
        origin[path] = name


def _unknown(source: Source) -> Iterator[str]:
    """Yield a sentence for each key that nobody knows, with the nearest that somebody does."""
    for at, table, kind in _tables(source.values):
        known = [field.encode_name for field in msgspec.structs.fields(kind)]
        if not at:
            known.remove(_GATEWAY)
        passed_over = _OF_THE_PLUGIN if source.strict else {*_OF_THE_PLUGIN, _GATEWAY}
        for key in table:
            if key not in known and at + key not in passed_over:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f'did you mean "{at}{near[0]}"?' if near else f"known here: {', '.join(known)}"
                yield f"{source.name}: unknown key {ids.quoted(at + key)}; {hint}"


def _tables(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], type[_Keys]]]:
    yield "", values, Keys
    for name, kind in (("profile", ProfileKeys), ("node", NodeKeys)):
        if isinstance(values.get(name), Mapping):
            yield f"{name}.", values[name], kind
    if isinstance(values.get("peers"), Mapping):
        for name, table in values["peers"].items():
            if isinstance(table, Mapping):
                yield f"peers.{name}.", table, PeerKeys


def _sentence(fault: str, merged: Mapping[str, Any], origin: Mapping[str, str]) -> str:
    """Return msgspec's words with the key, as the user wrote it, and its source in front."""
    what, _, where = fault.partition(" - at `$")
    path = where.rstrip("`").removeprefix(".")
    if path.startswith("peers[...]"):
        path = f"peers.{_first_bad(merged['peers'])}{path.removeprefix('peers[...]')}"
    path = path.replace("[...]", "")
    table = re.sub(r"\[\d+\]$", "", path)
    key = next((known for known in origin if known == table or known.startswith(f"{table}.")), path)
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        return f"{path}.{missing[1]} is missing"
    source = f"{origin[key]}: " if key in origin else ""
    return f"{source}{path or 'settings'}: {what[0].lower()}{what[1:]}".replace("`", "")


def _first_bad(peers: Mapping[str, Any]) -> str:
    """Return the name of the peer at fault, which msgspec does not say."""
    for name, entry in peers.items():
        try:
            msgspec.convert(entry, PeerKeys)
        except msgspec.ValidationError:
            return name
    return ""


def _identity(keys: ProfileKeys, hostname: str) -> Identity:
    return Identity(
        id=_name("profile.id", keys.id) if keys.id else ids.slug(hostname),
        name=keys.name or hostname,
        role=keys.role or None,
        capabilities=tuple(keys.capabilities),
        models=tuple(keys.models),
        tools=tuple(keys.tools),
        hardware=keys.hardware,
    )


def _name(key: str, text: str) -> PeerId:
    try:
        return ids.peer_id(text)
    except InvalidRequest as fault:
        raise InvalidConfig(f"{key}: {fault.detail}") from None


def _settings(keys: Keys, identity: Identity, origin: Mapping[str, str]) -> Iterator[Setting]:
    derived = {"profile.id": identity.id, "profile.name": identity.name}
    for at, table in (("", keys), ("profile.", keys.profile), ("node.", keys.node)):
        for field in msgspec.structs.fields(table):
            key, value = at + field.encode_name, getattr(table, field.name)
            if not isinstance(value, msgspec.Struct) and key not in {"peers", _GATEWAY}:
                source = origin.get(key, "default" if value else "host name" if key in derived else "default")
                yield Setting(key=key, value=value or derived.get(key, value), source=source)
    for name, entry in keys.peers.items():
        for field in msgspec.structs.fields(entry):
            key = f"peers.{name}.{field.encode_name}"
            yield Setting(key=key, value=getattr(entry, field.name), source=origin.get(key, "default"))
