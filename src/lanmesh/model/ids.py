"""names of nodes, peers, tasks and envelopes, and what they may look like"""

import base64
import re
from typing import NewType

from lanmesh.errors import InvalidRequest

WireId = NewType("WireId", str)
"""Made once by the sender, kept through every retry, looked up only together with its origin."""

LocalId = NewType("LocalId", str)
"""Made by the node that holds the task: 26 characters of lower-case base32."""

PeerId = NewType("PeerId", str)
"""The name under which a node lists a peer; the peer's own `profile.id`."""

NodeId = NewType("NodeId", str)
"""A node's Ed25519 public key in lower-case base32, 52 characters. A name is a label; this can be proven."""

Origin = NewType("Origin", str)
"""The proven sender of an envelope; ids are unique within one."""

SHARED = Origin("shared")
"""The one origin of all callers that hold the shared inbound token."""

SELF = Origin("self")
"""The origin of what this node asks of others."""

RESERVED = frozenset({SHARED, SELF, "any"})
"""Names that no node and no peer may bear."""

_WIRE_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_NODE_ID = re.compile(r"[a-z2-7]{52}")
_PEER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME_OR_ADDRESS = re.compile(r"[^\W_][\w.-]{0,252}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[\w.-]+)?")


def wire_id(text: str) -> WireId:
    """Return the text as a wire id.

    Raises:
        InvalidRequest: It is empty, longer than 128, holds another character than letters,
            digits and `.` `_` `~` `-`, or is `.` or `..`, which no URL path can carry
            (RFC 3986 section 5.2.4).
    """
    if not _WIRE_ID.fullmatch(text) or text in {".", ".."}:
        raise InvalidRequest(
            f"{quoted(text)} is not an id: use 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -"
        )
    return WireId(text)


def peer_id(text: str) -> PeerId:
    """Return the text as the name of a node.

    Raises:
        InvalidRequest: It is not 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a
            letter or a digit, or it is a reserved word.
    """
    if not _PEER_ID.fullmatch(text):
        raise InvalidRequest(
            f"{quoted(text)} is not a node's name: use 1 to 64 of the characters A-Z a-z 0-9 . _ -, "
            "beginning with a letter or a digit"
        )
    if text in RESERVED:
        raise InvalidRequest(f'"{text}" has a meaning of its own here: choose another name')
    return PeerId(text)


def node_id(public_key: bytes) -> NodeId:
    """Return the id of the node that has an Ed25519 key."""
    return NodeId(base64.b32encode(public_key).decode().rstrip("=").lower())


def is_node_id(text: str) -> bool:
    """Return whether a text looks like the id of a node, which no name may."""
    return _NODE_ID.fullmatch(text) is not None


def local_id(entropy: bytes) -> LocalId:
    """Return an id made of 16 random bytes."""
    return LocalId(base64.b32encode(entropy).decode().rstrip("=").lower())


def slug(name: str) -> PeerId:
    """Return a name that a node may bear, as near as can be to a host's name."""
    kept = re.sub(r"[^a-z0-9]+", "-", name.split(".", 1)[0].lower()).strip("-")[:64].rstrip("-")
    return PeerId("node" if not kept or kept in RESERVED else kept)


def short(identifier: str) -> str:
    """Return what people see of an id; the whole of it when it is not one of ours."""
    return identifier[:8] if re.fullmatch(r"[a-z2-7]{26}|[a-z2-7]{52}", identifier) else identifier


def quoted(text: str, limit: int = 40) -> str:
    """Return foreign text as it may stand in an error: escaped, in quotes and cut."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return f'"{cut.encode("unicode_escape").decode()}"' if not cut.isprintable() else f'"{cut}"'


def address(text: str, default_port: int) -> tuple[str, int]:
    """Return the host and the port in `HOST[:PORT]`; an IPv6 address with a port stands in brackets.

    Raises:
        InvalidRequest: It is no such thing.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    known = (_IPV6 if ":" in host else _NAME_OR_ADDRESS).fullmatch(host)
    if not known or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:  # noqa: PLR2004
        raise InvalidRequest(f"{quoted(text)} is no HOST[:PORT]")
    return host, int(port)
