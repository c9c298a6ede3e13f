"""Deliveries: the table of their life, and what each attempt leaves behind."""

from dataclasses import replace
from itertools import product

import pytest

from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import RESULT_TTL_S, TRANSITIONS, TTL_S, DeliveryEvent, DeliveryState
from tests.unit.samples import DELIVERY

S, E = DeliveryState, DeliveryEvent
LEGAL = [
    (S.QUEUED, E.SEND, S.SENT),
    (S.QUEUED, E.EXPIRE, S.EXPIRED),
    (S.SENT, E.ACKNOWLEDGE, S.DELIVERED),
    (S.SENT, E.REFUSE, S.REFUSED),
    (S.SENT, E.POSTPONE, S.QUEUED),
    (S.SENT, E.LOSE, S.UNKNOWN),
    (S.UNKNOWN, E.SEND, S.SENT),
    (S.UNKNOWN, E.ACKNOWLEDGE, S.DELIVERED),
    (S.UNKNOWN, E.EXPIRE, S.UNKNOWN),
]
ILLEGAL = sorted(set(product(S, E)) - {(state, event) for state, event, _ in LEGAL})


@pytest.mark.parametrize(("before", "event", "after"), LEGAL)
def test_a_legal_move_leads_to_its_state(
    before: DeliveryState, event: DeliveryEvent, after: DeliveryState
) -> None:
    assert replace(DELIVERY, state=before).after(event).state is after


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_any_other_move_is_refused_and_the_sentence_says_where_the_delivery_is(
    state: DeliveryState, event: DeliveryEvent
) -> None:
    with pytest.raises(IllegalTransition) as refusal:
        replace(DELIVERY, state=state).after(event)
    assert refusal.value.detail == f"cannot {event} a delivery that is {state}"


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(DeliveryState)


def test_only_sending_counts_as_an_attempt() -> None:
    twice = DELIVERY.after(E.SEND).after(E.POSTPONE).after(E.SEND).after(E.LOSE)

    assert (DELIVERY.attempts, twice.attempts) == (0, 2)


def test_each_move_says_when_to_try_next_and_what_went_wrong() -> None:
    postponed = DELIVERY.after(E.SEND).after(E.POSTPONE, due_at=1060.0, error="no route to host")

    assert (postponed.due_at, postponed.error) == (1060.0, "no route to host")


def test_what_is_delivered_is_not_tried_again_and_has_no_error() -> None:
    done = DELIVERY.after(E.SEND).after(E.LOSE, due_at=1060.0, error="no answer").after(E.ACKNOWLEDGE)

    assert (done.due_at, done.error) == (None, None)


def test_what_may_have_arrived_is_never_said_to_have_expired() -> None:
    lost = DELIVERY.after(E.SEND).after(E.LOSE)

    assert lost.after(E.EXPIRE).state is S.UNKNOWN


def test_a_move_changes_nothing_else() -> None:
    moved = DELIVERY.after(E.SEND, due_at=DELIVERY.due_at)

    assert replace(moved, state=S.QUEUED, attempts=0) == DELIVERY


def test_work_that_is_done_is_worth_more_patience_than_a_question() -> None:
    assert (TTL_S, RESULT_TTL_S) == (86_400.0, 30 * 86_400.0)
