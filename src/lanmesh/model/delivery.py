"""deliveries: what became of an envelope on its way, and the table of what may happen next"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lanmesh.errors import IllegalTransition
from lanmesh.model.envelope import Envelope
from lanmesh.model.ids import LocalId, PeerId

TTL_S = 24 * 3600.0
"""How long a message or a task waits for a peer that does not answer."""

RESULT_TTL_S = 30 * TTL_S
"""How long a result waits: the work is done, so it is worth more patience."""


class DeliveryState(StrEnum):
    """What is known of an envelope on its way; never more than was proven."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    SEND = "send"
    ACKNOWLEDGE = "acknowledge"
    REFUSE = "refuse"
    POSTPONE = "postpone"
    LOSE = "lose"
    EXPIRE = "expire"


TRANSITIONS: Mapping[DeliveryState, Mapping[DeliveryEvent, DeliveryState]] = {
    DeliveryState.QUEUED: {
        DeliveryEvent.SEND: DeliveryState.SENT,
        DeliveryEvent.EXPIRE: DeliveryState.EXPIRED,
    },
    DeliveryState.SENT: {
        DeliveryEvent.ACKNOWLEDGE: DeliveryState.DELIVERED,
        DeliveryEvent.REFUSE: DeliveryState.REFUSED,
        DeliveryEvent.POSTPONE: DeliveryState.QUEUED,  # surely not taken: no connection, or 503
        DeliveryEvent.LOSE: DeliveryState.UNKNOWN,  # bytes went out and no answer came
    },
    DeliveryState.UNKNOWN: {
        DeliveryEvent.SEND: DeliveryState.SENT,
        DeliveryEvent.ACKNOWLEDGE: DeliveryState.DELIVERED,  # its result came
        DeliveryEvent.EXPIRE: DeliveryState.UNKNOWN,  # it may have arrived: still not known
    },
    DeliveryState.DELIVERED: {},
    DeliveryState.REFUSED: {},
    DeliveryState.EXPIRED: {},
}
"""The life of a delivery. The figure in PROTOCOL.md is drawn from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One envelope on its way to one peer."""

    envelope: Envelope
    peer: PeerId
    task: LocalId | None = None
    """The task that it is about; `None` for a message."""
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0
    due_at: float | None
    """When to try next; `None` once nothing more will be tried."""
    expires_at: float
    error: str | None = None
    """Why the last attempt came to nothing."""
    created_at: float

    def after(
        self, event: DeliveryEvent, *, due_at: float | None = None, error: str | None = None
    ) -> "Delivery":
        """Return the delivery as it is after the event.

        Raises:
            IllegalTransition: The event cannot happen in this state.
        """
        try:
            state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTransition(f"cannot {event} a delivery that is {self.state}") from None
        attempts = self.attempts + (event is DeliveryEvent.SEND)
        return replace(self, state=state, attempts=attempts, due_at=due_at, error=error)
