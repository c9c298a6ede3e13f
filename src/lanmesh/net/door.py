"""the door of a port: how many connections it lets in, and which make way for others"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from lanmesh.errors import MeshError
from lanmesh.model.ids import NodeId

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 60.0
"""Of refusals for one reason, one a minute is told in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What callers may take up before anybody knows who they are."""

    head_bytes: int = 16 * 1024
    headers: int = 100
    head_s: float = 10.0
    """From the first byte of a head, or from the connection, to the head's end."""
    body_s: float = 10.0
    """In each such span of time, a body must get on by …"""
    body_bytes: int = 10 * 1024
    """… so many bytes, or end."""
    answer_s: float = 30.0
    """How long a caller may leave an answer unread."""
    per_address: int = 64
    """Connections of one address."""
    connections: int = 512
    """Connections in all."""
    handshake_s: float = 10.0
    """How long a caller may take to speak TLS."""
    handshakes_per_address: int = 64
    """Connections of one address that do not speak TLS yet."""
    handshakes: int = 256
    """Such connections in all."""


class Guest(Protocol):
    """A connection that has come in."""

    @property
    def certified(self) -> NodeId | None:
        """The node whose key it has proven, if it has."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way on it."""

    @property
    def transport(self) -> asyncio.Transport:
        """What it goes over."""


class Door:
    """The connections of one port, and what holds for each of them."""

    def __init__(self, names: frozenset[str], limits: Limits) -> None:
        """Let in what is addressed to one of some names."""
        self.names = names
        self.limits = limits
        self._inside: dict[Guest, str] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def enter(self, guest: Guest, address: str) -> bool:
        """Return whether there is room for one more; the oldest that does nothing makes way for it."""
        near = [other for other, place in self._inside.items() if place == address]
        crowd: list[Guest] = []
        if len(near) >= self.limits.per_address:
            crowd = near
        elif len(self._inside) >= self.limits.connections:
            crowd = list(self._inside)
        if crowd:
            idle = next((other for other in crowd if other.idle), None)
            if idle is None:
                return False
            self.leave(idle)
            idle.transport.abort()
        self._inside[guest] = address
        return True

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
        self._inside.pop(guest, None)

    def close_to(self, node: NodeId) -> None:
        """Close all connections of a node."""
        for guest in [guest for guest in self._inside if guest.certified == node]:
            guest.transport.abort()

    def tell(self, error: MeshError, address: str, now: float) -> None:
        """Log a refusal, but no more of them than a log can bear."""
        due, more = self._told.get(error.code, (0.0, 0))
        if now < due:
            self._told[error.code] = (due, more + 1)
            return
        self._told[error.code] = (now + _TOLD_EVERY_S, 0)
        log.warning("request refused unread", extra={"code": error.code, "address": address, "more": more})
