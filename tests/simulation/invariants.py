"""What must be so after every run."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import apsw

from lanmesh.model.delivery import Delivery, DeliveryState
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import SELF, SHARED
from lanmesh.model.task import FINAL, Failure, Task, TaskEvent, TaskState
from lanmesh.store import outbox, tasks
from lanmesh.store.database import Transaction
from tests.simulation.script import DAY_S

if TYPE_CHECKING:
    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World

_ALL = 10_000
_TRUTHFUL = {
    DeliveryState.DELIVERED: (1,),
    DeliveryState.EXPIRED: (0,),
    DeliveryState.UNKNOWN: (0, 1),
}
"""How often a message may be there, by what its sender says of it once its time has run out."""

_ENDS = {TaskEvent.COMPLETE, TaskEvent.FAIL, TaskEvent.REJECT, TaskEvent.CANCEL}


def restless(world: "World") -> Iterator[str]:
    """Tell what has not come to its end yet."""
    for node in world.nodes.values():
        if not node.running:
            yield f"{node.name} is down"
            continue
        read = node.database.read
        for state, waiting_for, wire_id in read.rows(
            "SELECT state, waiting_for, wire_id FROM tasks WHERE finished_at IS NULL"
        ):
            yield f"{node.name} has task {wire_id} {state}, waiting for {waiting_for}"
        for (wire_id,) in read.rows(
            "SELECT wire_id FROM tasks WHERE canceling IS NOT NULL AND finished_at IS NOT NULL"
        ):
            yield f"{node.name} has task {wire_id} canceling"
        for state, wire_id, peer in read.rows(
            "SELECT state, wire_id, peer FROM outbox WHERE due_at IS NOT NULL"
        ):
            yield f"{node.name} has {wire_id} for {peer} {state}"


def broken(world: "World") -> Iterator[str]:
    """Tell which promises were not kept; all nodes run."""
    for node in world.nodes.values():
        yield from _unkept(world, node)
        yield from _contradicted(world, node)
        yield from _ended_twice(node)
        yield from _misanswered(world, node)
    yield from _done_twice(world)


def damaged(node: "SimulatedNode") -> Iterator[str]:
    """Tell what is wrong with the file of a node that has stopped."""
    connection = apsw.Connection(str(node.disk.folder / "state.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        word = connection.pragma("integrity_check")
        if word != "ok":
            yield f"{node.name} has a damaged file: {word}"
    finally:
        connection.close()


def _unkept(world: "World", node: "SimulatedNode") -> Iterator[str]:
    read = node.database.read
    for (name, origin, wire_id), envelope in world.ledger.acknowledged.items():
        if name != node.name:
            continue
        if read.row("SELECT 1 FROM inbox WHERE origin = ? AND wire_id = ?", origin, wire_id) is None:
            yield f"lost: {name} has acknowledged {envelope.type} {wire_id} of {origin}"
        elif (
            envelope.type is EnvelopeType.TASK
            and tasks.of_origin(read, origin, wire_id) is None
            and name not in world.ledger.swept
        ):
            yield f"lost: {name} has acknowledged {wire_id} of {origin}, and has no task"
    for promise in world.ledger.messages:
        if promise.node == node.name:
            yield from _undelivered(world, node, promise.peer, promise.wire_id)
    for promise in world.ledger.tasks if node.name not in world.ledger.swept else ():
        if promise.node == node.name and tasks.of_origin(read, SELF, promise.wire_id) is None:
            yield f"lost: {node.name} has promised its owner task {promise.wire_id}"


def _undelivered(world: "World", node: "SimulatedNode", peer: str, wire_id: str) -> Iterator[str]:
    (state,) = node.database.read.row("SELECT state FROM outbox WHERE wire_id = ?", wire_id) or ("gone",)
    if state == "gone" and node.name in world.ledger.swept:
        state = DeliveryState.DELIVERED  # nothing else is forgotten as long as a run takes
    there = _inbox(world.nodes[peer].database.read, node.name, wire_id)
    truthful = _TRUTHFUL if world.plan.outlasts(DAY_S) else {DeliveryState.DELIVERED: (1,)}
    if state == DeliveryState.EXPIRED and (node.name, peer) in world.ledger.strays:
        truthful = {**truthful, state: (0, 1)}  # a copy came after all; nobody asks about a message
    if there not in truthful.get(state, ()):
        yield f"message {wire_id} from {node.name} to {peer} is {state}, and there {there} times"


def _inbox(read: Transaction, sender: str, wire_id: str) -> int:
    rows = read.rows("SELECT 1 FROM inbox WHERE sender = ? AND wire_id = ?", sender, wire_id)
    return len(rows)


def _contradicted(world: "World", node: "SimulatedNode") -> Iterator[str]:
    """Tell where asker and doer do not say the same."""
    read = node.database.read
    for promise in world.ledger.tasks:
        if promise.node != node.name:
            continue
        asked = tasks.of_origin(read, SELF, promise.wire_id)
        delivery = outbox.find(read, promise.wire_id)
        if asked is None or delivery is None:
            continue  # told above
        done = _done(world.nodes[promise.peer], node.name, promise.wire_id)
        what = f"task {promise.wire_id} of {node.name} at {promise.peer}"
        if done is None:
            if promise.peer in world.ledger.swept and delivery.state is DeliveryState.DELIVERED:
                continue
            code = None if asked.error is None else asked.error.code
            truthful = {
                (Failure.REFUSED, DeliveryState.REFUSED),
                (Failure.CANCELED, DeliveryState.WITHDRAWN),
                (Failure.CANCELED, DeliveryState.REFUSED),  # the doer has heard of it by the cancel
            }
            if world.plan.outlasts(DAY_S):
                truthful |= {
                    (Failure.EXPIRED, DeliveryState.EXPIRED),
                    (Failure.UNKNOWN, DeliveryState.UNKNOWN),
                    (Failure.CANCELED, DeliveryState.UNKNOWN),  # there, it is refused should it come
                    (Failure.CANCELED, DeliveryState.EXPIRED),
                }
            if (code, delivery.state) not in truthful:
                yield f"{what} is {_end(asked)}, its delivery {delivery.state}; there it is not known"
        elif _end(asked) != _end(done):
            yield f"{what} is {_end(asked)}; there it is {_end(done)}"
        elif delivery.state is not DeliveryState.DELIVERED and not _stray(world, asked, delivery):
            yield f"{what} is {_end(asked)} on both sides, its delivery {delivery.state}"


def _stray(world: "World", asked: Task, delivery: Delivery) -> bool:
    """Return whether a request came to nothing, and a copy of it came once it was canceled there."""
    over = {DeliveryState.REFUSED}
    if world.plan.outlasts(DAY_S):
        over |= {DeliveryState.EXPIRED, DeliveryState.UNKNOWN}
    return asked.state is TaskState.CANCELED and delivery.state in over


def _done(doer: "SimulatedNode", asker: str, wire_id: str) -> Task | None:
    read = doer.database.read
    for origin in (asker, SHARED):
        row = read.row("SELECT local_id FROM tasks WHERE origin = ? AND wire_id = ?", origin, wire_id)
        if row is not None:
            return tasks.get(read, row[0])
    return None


def _end(task: Task) -> tuple[str, str | None, str | None]:
    return task.state, task.result, None if task.error is None else task.error.code


def _ended_twice(node: "SimulatedNode") -> Iterator[str]:
    rows = node.database.read.rows(
        "SELECT e.local_id, e.event, e.state FROM task_events e JOIN tasks t ON t.local_id = e.local_id "
        "WHERE t.origin <> ? ORDER BY e.seq",
        SELF,
    )
    ends = Counter(local_id for local_id, event, _ in rows if event in _ENDS)
    for local_id, times in ends.items():
        if times > 1:
            yield f"{node.name} has ended {local_id} {times} times"
    over: set[str] = set()
    for local_id, event, state in rows:
        if local_id in over and state not in FINAL:
            yield f"{node.name} has taken up {local_id} again after its end: {event}"
        if state in FINAL:
            over.add(local_id)


def _misanswered(world: "World", node: "SimulatedNode") -> Iterator[str]:
    """Tell which questions of tasks done here have an answer that nobody gave, or more than one."""
    read = node.database.read
    taken = Counter(
        local_id for (local_id,) in read.rows("SELECT local_id FROM task_events WHERE event = 'answer'")
    )
    for local_id, times in taken.items():
        task = tasks.get(read, local_id)
        answers = [said.answer for said in task.dialogue if said.answer is not None]
        given = world.ledger.answers.get((task.peer, task.wire_id), ["answer of a program"])
        if not task.asked and times != len(answers):
            yield f"{node.name} was given {times} answers for {task.wire_id}, and has {answers}"
        if not task.asked and not set(answers) <= set(given):
            yield f"{node.name} has {answers} for {task.wire_id}; {task.peer} gave {given}"


def _done_twice(world: "World") -> Iterator[str]:
    effects = Counter((effect.node, effect.origin, effect.wire_id) for effect in world.ledger.effects)
    for (name, origin, wire_id), times in effects.items():
        node = world.nodes[name]
        if times > 1 and not node.settings.repeatable:
            yield f"twice: {name} has done {wire_id} of {origin} {times} times"
        task = tasks.of_origin(node.database.read, origin, wire_id)
        if task is None and name in world.ledger.swept:
            continue
        if task is None:
            yield f"lost: {name} has done {wire_id} of {origin}, and does not know it"
        elif task.state is TaskState.REJECTED or not task.attempt:
            yield f"{name} has done {wire_id} of {origin}, and says that it was {task.error}"
    for node in world.nodes.values():
        for task in tasks.page(node.database.read, _ALL, TaskState.COMPLETED):
            if not task.asked and not effects[node.name, task.origin, task.wire_id]:
                yield f"{node.name} says that {task.wire_id} is completed, and has not done it"
