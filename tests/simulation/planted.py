"""Faulty parts, one for each promise that is easily broken: the simulation must find every one of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import apsw

from lanmesh.engine.cancel import Cancels
from lanmesh.engine.delivery import Deliveries
from lanmesh.engine.lane import Attempt
from lanmesh.engine.retention import Retention
from lanmesh.engine.runner import Runner, Settlement
from lanmesh.errors import MeshError, StorageFailed
from lanmesh.model.delivery import Delivery, DeliveryEvent
from lanmesh.model.record import withdrawn
from lanmesh.model.task import Outcome, Task, TaskEvent, TaskState, canceled
from lanmesh.store import outbox, tasks
from lanmesh.store.database import Change, Database, Transaction, _Request
from tests.fakes import Parts
from tests.simulation.network import Weather
from tests.simulation.node import Settings
from tests.simulation.power import Loss
from tests.simulation.script import Cancel, Crash, Delegate, Plan, Say, Step, Storm, Sweep
from tests.simulation.work import Kind, Work

T = TypeVar("T")


class AcknowledgesEarly(Database):
    """Lets its callers go on while their commit is still to come."""

    async def _commit(self, batch: Sequence[_Request]) -> None:
        changes: dict[Change, None] = {}
        try:
            await self._in_writer(lambda: self._change_all(batch, changes))
            await self._in_writer(self._keep)
        except apsw.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._on_commit(changes)
        for _, done in batch:
            if not done.done():
                done.set_exception(StorageFailed())
                done.exception()

    def _keep(self) -> None:
        self._connection.execute("COMMIT")

    def _change_all(self, batch: Sequence[_Request], changes: dict[Change, None]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for change, done in batch:
            transaction = Transaction(self._connection)
            try:
                with self._connection:
                    value = change(transaction)
            except MeshError as fault:
                done.set_exception(fault)
                done.exception()
            else:
                changes |= transaction.changes
                if not done.cancelled():
                    done.set_result(value)


class SyncsLess(Database):
    """Leaves it to the system when what was committed reaches the disk."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection.pragma("synchronous", "normal")


class _Amnesiac(Transaction):
    """Sees no envelope that came before this boot."""

    def __init__(self, real: Transaction, before: int) -> None:
        super().__init__(real._connection)
        self.changes = real.changes
        self._before = before

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        if " FROM inbox WHERE origin = ? AND wire_id = ?" in sql:
            sql = f"{sql} AND seq > {self._before}"
        return super().row(sql, *values)

    def run(self, sql: str, *values: Any) -> int:
        return super().run(sql.replace("INSERT INTO", "INSERT OR REPLACE INTO"), *values)


class RemembersInMemory(Database):
    """Knows only since its start which envelopes it has seen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        (self._before,) = self.read.row("SELECT ifnull(max(seq), 0) FROM inbox") or (0,)

    async def write(self, change: Callable[[Transaction], T]) -> T:
        return await super().write(lambda tx: change(_Amnesiac(tx, self._before)))


class Unfenced(Runner):
    """Takes the outcome of a run, whoever holds the claim by now."""

    def _finished(self, claimed: Task, outcome: Outcome) -> Settlement:
        def change(tx: Transaction) -> Task:
            task = replace(tasks.get(tx, claimed.local_id), state=TaskState.WORKING)
            return self._outcomes.end(tx, task, outcome)

        return change


class RunsAgain(Runner):
    """Begins an interrupted task anew, whether or not that is harmless."""

    def _interrupted(self, claimed: Task, why: str, *, by_owner: bool = False) -> Settlement:
        return self._if_it_holds(claimed, lambda tx, task: self._outcomes.release(tx, task, why))


class DeletesFirst(Deliveries):
    """Takes an envelope off the list before it is sent."""

    async def _attempt(self, delivery: Delivery) -> Attempt:
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            sent = delivery.after(DeliveryEvent.SEND, due_at=now)
            outbox.save(tx, sent.after(DeliveryEvent.ACKNOWLEDGE), now)

        await self._database.write(change)
        try:
            await self._link.send(delivery.peer, delivery.envelope)
        except MeshError:
            return Attempt.LOST
        return Attempt.ANSWERED


class EndsAtOnce(Cancels):
    """Says that a task is canceled before its doer has."""

    def _recall(self, tx: Transaction, task: Task, who: str) -> Task:
        super()._recall(tx, task, who)
        ended = withdrawn(tasks.get(tx, task.local_id), canceled(who), self._clock.now())
        tasks.save(tx, ended, TaskEvent.CANCEL, self._clock.now(), who)
        return ended


class ForgetsIds(Retention):
    """Forgets which envelopes it has seen, as soon as they are dealt with."""

    async def sweep(self) -> int:
        await self._database.write(
            lambda tx: tx.run(
                "DELETE FROM inbox WHERE text IS NULL AND task NOT IN "
                "(SELECT local_id FROM tasks WHERE finished_at IS NULL)"
            )
        )
        return await super().sweep()


def rough(seed: int) -> Plan:
    """Return a plan in which each of these parts soon fails: much is lost and doubled, and the power goes."""
    dice = random.Random(seed)  # noqa: S311  # nothing secret depends on it
    storm = Weather(lose_request=0.1, lose_answer=0.4, double=0.5, slow_s=0.5, stale_s=60.0)
    steps: list[Step] = [Storm(at=0.0, weather=storm, seconds=120.0)]
    for number in range(10):
        work = Work(dice.choice((Kind.DO, Kind.REPLY)), f"w{number}", dice.choice((0.1, 5.0)))
        steps += [
            Delegate(
                at=2.0 * number, node="a", peer="b", work=str(work), timeout_s=600.0, wait_s=0.0, session=None
            ),
            Say(at=2.0 * number + 1.0, node="a", peer="b", text=f"m{number}"),
        ]
    steps += [Cancel(at=3.0 * number, node="a", which=dice.random()) for number in range(6)]
    steps += [Sweep(at=5.0 * number + 1.0, node="b") for number in range(4)]
    for number in range(6):
        turns = dice.randrange(30)
        steps.append(Crash(at=4.0 * number + 2.0, node="b", loss=Loss.ALL, down_s=0.5, turns=turns))
    steps.sort(key=lambda step: step.at)
    return Plan(seed, (Settings(name="a"), Settings(name="b")), tuple(steps))


PLANTED = {
    "acknowledge before commit": Parts(database=AcknowledgesEarly),
    "synchronous=NORMAL": Parts(database=SyncsLess),
    "dedupe in memory": Parts(database=RemembersInMemory),
    "no fencing": Parts(runner=Unfenced),
    "run again what is not repeatable": Parts(runner=RunsAgain),
    "delete before done": Parts(deliveries=DeletesFirst),
    "cancel before it is known": Parts(cancels=EndsAtOnce),
    "forget ids too early": Parts(retention=ForgetsIds),
}
