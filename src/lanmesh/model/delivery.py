"""deliveries: what became of an envelope on its way, and the table of what may happen next"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lanmesh.errors import IllegalTransition
from lanmesh.model.envelope import Envelope, EnvelopeType
from lanmesh.model.ids import LocalId, PeerId

TTL_S = 24 * 3600.0
"""How long a message or a task waits for a peer that does not answer."""

RESULT_TTL_S = 30 * TTL_S
"""How long a result waits: the work is done, so it is worth more patience."""

REMEMBERED_S = 60 * 24 * 3600.0
"""How long a receiver knows an id again."""

KEPT_S = 30 * 24 * 3600.0
"""How long what was not delivered in time can still be sent again."""


class DeliveryState(StrEnum):
    """What is known of an envelope on its way; never more than was proven."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    WITHDRAWN = "withdrawn"


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    SEND = "send"
    ACKNOWLEDGE = "acknowledge"
    REFUSE = "refuse"
    POSTPONE = "postpone"
    LOSE = "lose"
    EXPIRE = "expire"
    DISOWN = "disown"
    RESEND = "resend"
    WITHDRAW = "withdraw"


TRANSITIONS: Mapping[DeliveryState, Mapping[DeliveryEvent, DeliveryState]] = {
    DeliveryState.QUEUED: {
        DeliveryEvent.SEND: DeliveryState.SENT,
        DeliveryEvent.EXPIRE: DeliveryState.EXPIRED,
        DeliveryEvent.RESEND: DeliveryState.QUEUED,
        DeliveryEvent.WITHDRAW: DeliveryState.WITHDRAWN,  # taken back before anything was sent
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
        DeliveryEvent.DISOWN: DeliveryState.EXPIRED,  # its time is up, and the peer says it has not got it
        DeliveryEvent.RESEND: DeliveryState.UNKNOWN,
    },
    DeliveryState.REFUSED: {
        DeliveryEvent.ACKNOWLEDGE: DeliveryState.DELIVERED,  # an earlier attempt had arrived: its result came
        DeliveryEvent.RESEND: DeliveryState.QUEUED,
    },
    DeliveryState.EXPIRED: {
        DeliveryEvent.ACKNOWLEDGE: DeliveryState.DELIVERED,
        DeliveryEvent.RESEND: DeliveryState.QUEUED,
    },
    DeliveryState.DELIVERED: {},
    DeliveryState.WITHDRAWN: {},
}
"""The life of a delivery. The figure in PROTOCOL.md is drawn from it."""

FAILURES = frozenset({DeliveryState.REFUSED, DeliveryState.EXPIRED, DeliveryState.UNKNOWN})
"""What a delivery that is not tried any more may have come to without being acknowledged."""


def patience(kind: EnvelopeType) -> float:
    """Return for how many seconds an envelope of a kind is tried."""
    of_a_doer = kind in {EnvelopeType.RESULT, EnvelopeType.QUESTION, EnvelopeType.CANCEL_RESULT}
    return RESULT_TTL_S if of_a_doer else TTL_S


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
    settled_at: float | None = None
    """Since when nothing more is tried."""

    @property
    def failed(self) -> bool:
        """Whether it was given up, and nobody knows that it arrived."""
        return self.due_at is None and self.state in FAILURES

    @property
    def resend_until(self) -> float:
        """Until when it may be sent again: receivers remember an id for 60 days from the first attempt."""
        return self.created_at + patience(self.envelope.type) + KEPT_S

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

    def resent(self, now: float) -> "Delivery":
        """Return the delivery as it begins anew, under the same id and with all the time of a new one.

        Raises:
            IllegalTransition: It is delivered, withdrawn or under way; or it is so old that its
                receiver may take it for a new one.
        """
        again = self.after(DeliveryEvent.RESEND, due_at=now, error=self.error)
        if now >= self.resend_until:
            raise IllegalTransition("it is too old: its receiver may have forgotten its id, and do it twice")
        return replace(again, expires_at=now + patience(self.envelope.type))
