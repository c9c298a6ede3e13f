"""Views: what the owner sees of tasks, mail and peers."""

from dataclasses import replace

import msgspec

from lanmesh.model.chain import Chain
from lanmesh.model.envelope import Mail
from lanmesh.model.ids import SELF, LocalId, Origin, WireId
from lanmesh.model.peer import Contact, Peer
from lanmesh.model.task import Failure, failed
from lanmesh.protocol.peer_views import peer_view
from lanmesh.protocol.views import EventView, delivery_view, message_view, task_view
from tests.unit.samples import DELIVERY, LAPTOP, SERVER, TASK


def test_a_task_is_shown_with_its_times_in_milliseconds() -> None:
    task = replace(TASK, parent=LocalId("p"), chain=Chain(root_id=WireId("t0"), path=(LAPTOP,), hops=1))
    view = task_view(task.claimed("boot", 1010.5, repeatable=False))

    assert (view.id, view.wire_id, view.parent) == (TASK.local_id, "task-001", "p")
    assert (view.root_id, view.path, view.hops) == ("t0", ["laptop"], 1)
    assert (view.state, view.attempt, view.timeout) == ("working", 1, 600_000)
    assert (view.created_at, view.started_at, view.finished_at) == (1_000_000, 1_010_500, None)
    assert (view.error, view.delivery, view.events) == (None, None, [])


def test_a_failed_task_is_shown_with_its_reason_its_events_and_its_delivery() -> None:
    task = TASK.claimed("boot", 1010.0, repeatable=False).ended(failed(Failure.TIMED_OUT, "too slow"), 1020.0)
    event = EventView(version=3, at=1_020_000, event="failed", state="failed", detail="too slow")
    view = task_view(task, DELIVERY, [event])

    assert view.error is not None
    assert (view.error.code, view.error.detail) == ("timed-out", "too slow")
    assert view.delivery == delivery_view(DELIVERY)
    assert view.events == [event]


def test_whose_name_is_proven_is_shown() -> None:
    mine = task_view(replace(TASK, origin=SELF, peer="server-219"))
    proven = task_view(replace(TASK, origin=Origin("laptop"), peer="laptop"))
    claimed = task_view(TASK)

    assert (mine.direction, mine.proven) == ("asked", True)
    assert (proven.direction, proven.proven) == ("doing", True)
    assert (claimed.direction, claimed.proven) == ("doing", False)


def test_a_task_s_json_holds_no_secret() -> None:
    view = task_view(replace(TASK, reply_key="hush"))

    assert b"hush" not in msgspec.json.encode(view)


def test_a_delivery_is_shown_as_far_as_it_is_known() -> None:
    view = delivery_view(replace(DELIVERY, due_at=None, error="no route to host"))

    assert (view.id, view.peer, view.state, view.attempts) == ("message-1", "server-219", "queued", 0)
    assert (view.due_at, view.expires_at, view.error) == (None, 2_000_000, "no route to host")


def test_a_message_is_shown_with_who_is_proven_to_have_sent_it() -> None:
    mail = Mail(number=7, id=WireId("m"), origin="shared", sender="laptop", text="hi", received_at=1.5)
    view = message_view(mail)

    assert (view.number, view.id, view.sender, view.proven, view.text) == (7, "m", "laptop", False, "hi")
    assert (view.received_at, view.read_at) == (1500, None)


def test_a_peer_is_shown_with_what_was_last_seen_of_it() -> None:
    contact = Contact(heard_at=1.0, failed_at=2.0, error="no answer")
    view = peer_view(Peer(id=SERVER, host="10.0.0.9", port=18789), contact, has_token=True, queued=3)

    assert (view.id, view.host, view.port, view.has_token, view.queued) == (
        SERVER,
        "10.0.0.9",
        18789,
        True,
        3,
    )
    assert (view.heard_at, view.reached_at, view.failed_at, view.error) == (1000, None, 2000, "no answer")
