"""What is kept of nodes that say that they are there."""

from lanmesh.engine.events import Events
from lanmesh.engine.sightings import MOST_PLACES, MOST_STRANGERS, Sightings
from lanmesh.model import ids
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Place, Sighting
from lanmesh.protocol.pairing import WINDOW_S
from lanmesh.store.database import Change, Topic
from tests.fakes import FakeClock


def node(number: int) -> NodeId:
    return ids.node_id(number.to_bytes(32, "big"))


ME, PEER, STRANGER = node(0), node(1), node(2)


def some_sightings(clock: FakeClock, events: Events) -> Sightings:
    return Sightings(
        node_id=ME,
        peer_of=lambda node_id: PeerId("b") if node_id == PEER else None,
        events=events,
        clock=clock,
    )


def seen(node_id: NodeId, *places: Place, shows_code: bool = False, at: float = 0.0) -> Sighting:
    return Sighting(
        node_id=node_id,
        name="",
        places=places or (("192.0.2.1", 4001),),
        shows_code=shows_code,
        seen_at=at,
    )


def test_of_a_crowd_of_strangers_a_bounded_number_is_kept_and_every_peer() -> None:
    sightings = some_sightings(FakeClock(), Events())
    crowd = [node(number) for number in range(1000, 1000 + 2 * MOST_STRANGERS)]

    for node_id in (PEER, *crowd):
        sightings.note(seen(node_id))

    assert [each.node_id for each in sightings.strangers()] == crowd[-MOST_STRANGERS:]
    assert sightings.places(PEER)


def test_of_many_places_of_one_node_the_latest_are_kept() -> None:
    sightings = some_sightings(FakeClock(), Events())

    for port in range(1, 3 * MOST_PLACES):
        sightings.note(seen(PEER, ("192.0.2.1", port)))

    assert len(sightings.places(PEER)) == MOST_PLACES
    assert sightings.places(PEER)[0] == ("192.0.2.1", 3 * MOST_PLACES - 1)


def test_a_node_does_not_see_itself() -> None:
    sightings = some_sightings(FakeClock(), Events())

    sightings.note(seen(ME))

    assert (sightings.places(ME), sightings.strangers()) == ((), [])


def test_what_waits_for_a_peer_is_tried_when_it_is_seen() -> None:
    events = Events()
    sightings = some_sightings(FakeClock(), events)

    with events.watch(Change(Topic.CONTACT, "b")) as contact, events.watch(Change(Topic.RETURN, "b")) as back:
        sightings.note(seen(STRANGER))
        assert (contact.is_set(), back.is_set()) == (False, False)
        sightings.note(seen(PEER))

        assert (contact.is_set(), back.is_set()) == (True, True)


def test_a_code_is_shown_no_longer_than_a_code_counts() -> None:
    clock = FakeClock()
    sightings = some_sightings(clock, Events())
    sightings.note(seen(STRANGER, shows_code=True, at=clock.now()))
    sightings.note(seen(node(3), shows_code=True, at=clock.now() - WINDOW_S))

    assert [each.node_id for each in sightings.showing_a_code()] == [STRANGER]
