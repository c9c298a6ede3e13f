"""Deliveries: the table of their life, and what each attempt leaves behind."""

from dataclasses import replace
from itertools import product

import pytest

from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import KEPT_S, RESULT_TTL_S, TRANSITIONS, TTL_S, DeliveryEvent, DeliveryState
from tests.unit.samples import DELIVERY

S, E = DeliveryState, DeliveryEvent
LEGAL = [
    (S.QUEUED, E.SEND, S.SENT),
    (S.QUEUED, E.EXPIRE, S.EXPIRED),
    (S.QUEUED, E.WITHDRAW, S.WITHDRAWN),
    (S.SENT, E.ACKNOWLEDGE, S.DELIVERED),
    (S.SENT, E.REFUSE, S.REFUSED),
    (S.SENT, E.POSTPONE, S.QUEUED),
    (S.SENT, E.LOSE, S.UNKNOWN),
    (S.UNKNOWN, E.SEND, S.SENT),
    (S.UNKNOWN, E.ACKNOWLEDGE, S.DELIVERED),
    (S.UNKNOWN, E.EXPIRE, S.UNKNOWN),
    (S.UNKNOWN, E.DISOWN, S.EXPIRED),
    (S.QUEUED, E.WITHDRAW, S.WITHDRAWN),
    (S.QUEUED, E.RESEND, S.QUEUED),
    (S.UNKNOWN, E.RESEND, S.UNKNOWN),
    (S.REFUSED, E.RESEND, S.QUEUED),
    (S.EXPIRED, E.RESEND, S.QUEUED),
    (S.REFUSED, E.ACKNOWLEDGE, S.DELIVERED),
    (S.EXPIRED, E.ACKNOWLEDGE, S.DELIVERED),
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


@pytest.mark.parametrize("state", [S.REFUSED, S.EXPIRED])
def test_what_was_given_up_begins_anew_with_all_its_time(state: DeliveryState) -> None:
    given_up = replace(DELIVERY, state=state, due_at=None, attempts=3, error="no route to host")

    again = given_up.resent(5000.0)

    assert (again.state, again.due_at, again.expires_at) == (S.QUEUED, 5000.0, 5000.0 + TTL_S)
    assert again.envelope is given_up.envelope


def test_what_may_have_arrived_is_still_not_known_when_it_is_sent_again() -> None:
    assert replace(DELIVERY, state=S.UNKNOWN, due_at=None).resent(5000.0).state is S.UNKNOWN


def test_what_its_receiver_may_have_forgotten_is_not_sent_again() -> None:
    given_up = replace(DELIVERY, state=S.EXPIRED, due_at=None)
    end = DELIVERY.created_at + TTL_S + KEPT_S

    assert given_up.resent(end - 1).due_at == end - 1
    with pytest.raises(IllegalTransition, match="too old"):
        given_up.resent(end)


@pytest.mark.parametrize("state", [S.REFUSED, S.EXPIRED, S.UNKNOWN])
def test_a_delivery_has_failed_once_it_is_not_tried_any_more(state: DeliveryState) -> None:
    assert replace(DELIVERY, state=state, due_at=None).failed
    assert not replace(DELIVERY, state=state, due_at=1060.0).failed


@pytest.mark.parametrize("state", [S.DELIVERED, S.WITHDRAWN])
def test_what_arrived_or_was_taken_back_has_not_failed(state: DeliveryState) -> None:
    assert not replace(DELIVERY, state=state, due_at=None).failed
