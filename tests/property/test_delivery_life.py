"""The life of a delivery, whatever happens to it in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import TRANSITIONS, Delivery, DeliveryEvent, DeliveryState
from lanmesh.model.envelope import Envelope, Message
from lanmesh.model.ids import PeerId, WireId

HERE, THERE = PeerId("laptop"), PeerId("server-219")
DELIVERY = Delivery(
    envelope=Envelope(
        id=WireId("m"), sender=HERE, recipient=THERE, timestamp_ms=0, payload=Message(text="x")
    ),
    peer=THERE,
    due_at=0.0,
    expires_at=9.0,
    created_at=0.0,
)


@given(st.lists(st.sampled_from(DeliveryEvent), max_size=40))
def test_no_order_of_events_leaves_the_table(events: list[DeliveryEvent]) -> None:
    delivery, sent = DELIVERY, 0
    for event in events:
        try:
            after = delivery.after(event, due_at=1.0, error="x")
        except IllegalTransition:
            assert event not in TRANSITIONS[delivery.state]
            continue
        sent += event is DeliveryEvent.SEND

        assert after.state is TRANSITIONS[delivery.state][event]
        assert TRANSITIONS[delivery.state], "an end stays"
        assert after.attempts == sent
        assert after.envelope is DELIVERY.envelope
        delivery = after


@given(st.lists(st.sampled_from(DeliveryEvent), max_size=40))
def test_nothing_is_said_to_be_delivered_that_was_not_sent(events: list[DeliveryEvent]) -> None:
    delivery, proven = DELIVERY, False
    for event in events:
        if event in TRANSITIONS[delivery.state]:
            # The word of a peer that has it counts for more than what was assumed here.
            proven = proven or (
                delivery.state is DeliveryState.EXPIRED and event is DeliveryEvent.ACKNOWLEDGE
            )
            delivery = delivery.after(event)

    if delivery.state in {DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.UNKNOWN}:
        assert delivery.attempts > 0 or proven
    if delivery.state is DeliveryState.WITHDRAWN:
        assert not TRANSITIONS[delivery.state]
