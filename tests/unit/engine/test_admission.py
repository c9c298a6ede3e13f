"""Admission: who may say what, how long chains may be, and when a task is taken."""

from dataclasses import replace

import pytest

from lanmesh.engine.admission import Limits, chain_of, check_sender, needs_approval, onward
from lanmesh.engine.callers import Caller
from lanmesh.errors import ChainRefused, InvalidRequest, NotAllowed, TasksNotAccepted, TooBusy
from lanmesh.model.chain import Chain
from lanmesh.model.ids import PeerId, WireId
from lanmesh.model.task import AcceptMode
from tests.unit.samples import LAPTOP, MESSAGE, PI, SERVER

ANYONE = Caller(peer=None)
THE_LAPTOP = Caller(peer=LAPTOP)
LIMITS = Limits(max_waiting=3)


def test_a_peer_with_a_token_of_its_own_speaks_in_its_own_name() -> None:
    check_sender(THE_LAPTOP, MESSAGE, SERVER, {LAPTOP})
    check_sender(THE_LAPTOP, replace(MESSAGE, recipient=None), SERVER, {LAPTOP})


@pytest.mark.parametrize("name", ["pi", "Laptop", "stranger", "server-219"])
def test_a_peer_with_a_token_of_its_own_speaks_in_no_other_name(name: str) -> None:
    with pytest.raises(NotAllowed, match=f'from is "{name}", but the token is laptop\'s'):
        check_sender(THE_LAPTOP, replace(MESSAGE, sender=name), SERVER, {LAPTOP})


def test_what_a_peer_sends_to_another_node_is_refused_here() -> None:
    with pytest.raises(InvalidRequest, match='to is "pi", but this node is server-219'):
        check_sender(THE_LAPTOP, replace(MESSAGE, recipient="pi"), SERVER, {LAPTOP})


@pytest.mark.parametrize("recipient", [None, "target-agent", "server-219"])
@pytest.mark.parametrize("sender", ["my-agent", "laptop", "server-219", "a\nb"])
def test_a_holder_of_the_shared_token_may_use_any_label_and_any_address(
    sender: str, recipient: str | None
) -> None:
    check_sender(ANYONE, replace(MESSAGE, sender=sender, recipient=recipient), SERVER, {PI})


@pytest.mark.parametrize("sender", ["self", "shared", "any"])
def test_nobody_speaks_in_a_name_that_no_node_may_bear(sender: str) -> None:
    with pytest.raises(NotAllowed, match=f'from is "{sender}": no node may bear that name'):
        check_sender(ANYONE, replace(MESSAGE, sender=sender), SERVER, {PI})


def test_a_holder_of_the_shared_token_cannot_pass_for_a_peer_with_a_token_of_its_own() -> None:
    with pytest.raises(NotAllowed, match='from is "laptop": that peer has a token of its own'):
        check_sender(ANYONE, MESSAGE, SERVER, {LAPTOP, PI})


def test_a_task_that_nothing_led_to_begins_a_chain() -> None:
    assert chain_of(MESSAGE, SERVER) == Chain(root_id=WireId("message-1"))


def test_a_task_belongs_to_the_chain_that_it_names() -> None:
    envelope = replace(MESSAGE, root_id=WireId("t0"), path=(PI, LAPTOP), hops=5)

    assert chain_of(envelope, SERVER) == Chain(root_id=WireId("t0"), path=(PI, LAPTOP), hops=5)


def test_a_chain_of_more_than_5_delegations_is_refused() -> None:
    with pytest.raises(ChainRefused, match="6 delegations in one chain: at most 5 are taken"):
        chain_of(replace(MESSAGE, hops=6), SERVER)


def test_a_chain_that_comes_back_is_refused() -> None:
    with pytest.raises(ChainRefused, match="passed through server-219 before: server-219 > laptop"):
        chain_of(replace(MESSAGE, path=(SERVER, LAPTOP), hops=2), SERVER)


def test_a_task_of_our_own_starts_a_chain_with_our_name() -> None:
    assert onward(None, LAPTOP, SERVER, WireId("t1")) == Chain(root_id=WireId("t1"), path=(LAPTOP,), hops=1)


def test_a_task_delegated_onward_stays_in_its_chain() -> None:
    parent = Chain(root_id=WireId("t0"), path=(PI,), hops=1)

    assert onward(parent, LAPTOP, SERVER, WireId("t1")) == Chain(
        root_id=WireId("t0"), path=(PI, LAPTOP), hops=2
    )


def test_the_fifth_delegation_is_the_last() -> None:
    parent = Chain(root_id=WireId("t0"), hops=4)

    assert onward(parent, LAPTOP, SERVER, WireId("t1")).hops == 5
    with pytest.raises(ChainRefused, match="came by 5 delegations; at most 5 are allowed"):
        onward(replace(parent, hops=5), LAPTOP, SERVER, WireId("t1"))


def test_nothing_is_delegated_back_to_where_it_came_from() -> None:
    parent = Chain(root_id=WireId("t0"), path=(SERVER, PI), hops=2)

    with pytest.raises(ChainRefused, match="this task came from server-219: server-219 > pi"):
        onward(parent, LAPTOP, SERVER, WireId("t1"))


def test_nothing_is_delegated_to_oneself() -> None:
    with pytest.raises(ChainRefused, match="laptop is this node itself"):
        onward(None, LAPTOP, LAPTOP, WireId("t1"))


def test_what_is_delegated_onward_is_taken_by_the_next_node() -> None:
    chain = onward(Chain(root_id=WireId("t0"), path=(PI,), hops=4), LAPTOP, SERVER, WireId("t1"))
    envelope = replace(MESSAGE, root_id=chain.root_id, path=chain.path, hops=chain.hops)

    assert chain_of(envelope, SERVER) == chain
    with pytest.raises(ChainRefused):
        chain_of(envelope, PeerId("laptop"))


@pytest.mark.parametrize(("mode", "asks"), [(AcceptMode.AUTO, False), (AcceptMode.MANUAL, True)])
@pytest.mark.parametrize("waiting", [0, 2])
def test_the_owner_is_asked_where_the_accept_mode_says_so(mode: AcceptMode, asks: bool, waiting: int) -> None:
    assert needs_approval(mode, waiting, LIMITS) is asks


@pytest.mark.parametrize("waiting", [0, 3])
def test_no_task_is_taken_where_the_accept_mode_is_off(waiting: int) -> None:
    with pytest.raises(TasksNotAccepted):
        needs_approval(AcceptMode.OFF, waiting, LIMITS)


@pytest.mark.parametrize("mode", [AcceptMode.AUTO, AcceptMode.MANUAL])
@pytest.mark.parametrize("waiting", [3, 4])
def test_one_task_more_than_may_wait_is_put_off(mode: AcceptMode, waiting: int) -> None:
    with pytest.raises(TooBusy, match=f"{waiting} tasks wait here") as refusal:
        needs_approval(mode, waiting, LIMITS)
    assert refusal.value.retry_after_s == 5.0
