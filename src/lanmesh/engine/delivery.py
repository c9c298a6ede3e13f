"""carry the outbox to peers until each envelope is acknowledged"""

import logging
from collections.abc import Callable
from dataclasses import replace

from lanmesh.engine import reports
from lanmesh.engine.allowance import Allowance
from lanmesh.engine.each_peer import for_each_peer
from lanmesh.engine.events import Events
from lanmesh.engine.lane import Attempt, Lane
from lanmesh.engine.ports import Clock, PeerLink, Random
from lanmesh.engine.retry import LONGEST_S, LONGEST_SILENT_S, pause
from lanmesh.errors import AnswerLost, MeshError, PeerUnreachable, StorageFailed, TooBusy, TooFast
from lanmesh.model.delivery import Delivery, DeliveryEvent, DeliveryState, patience
from lanmesh.model.envelope import EnvelopeType
from lanmesh.model.ids import PeerId, short
from lanmesh.model.report import TaskReport
from lanmesh.model.task import Failure, failed, rejected
from lanmesh.store import outbox, peers, tasks
from lanmesh.store.database import Database, Topic, Transaction

log = logging.getLogger(__name__)


class Deliveries:
    """Sends what the outbox holds. Each peer has a lane of its own, so a dead one holds up no other."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        chance: Random,
        link: PeerLink,
        allowance: Allowance,
    ) -> None:
        """Send over a link."""
        self._database = database
        self._events = events
        self._clock = clock
        self._chance = chance
        self._link = link
        self._allowance = allowance

    async def recover(self) -> None:
        """Settle what an earlier boot was sending when it ended: it may have arrived, so it is sent again."""

        def change(tx: Transaction) -> None:
            for delivery in outbox.in_flight(tx):
                lost = delivery.after(
                    DeliveryEvent.LOSE, due_at=self._clock.now(), error="this node ended while it was sent"
                )
                outbox.save(tx, lost, self._clock.now())

        await self._database.write(change)

    async def run(self) -> None:
        """Open a lane for every peer that has mail, until cancelled."""
        await for_each_peer(
            self._events,
            Topic.OUTBOX,
            lambda: outbox.peers_with_mail(self._database.read),
            lambda peer: self._lane(peer).run(),
        )

    def _lane(self, peer: PeerId) -> Lane:
        return Lane(
            peer,
            self._try,
            database=self._database,
            events=self._events,
            clock=self._clock,
            chance=self._chance,
        )

    async def _try(self, delivery: Delivery) -> Attempt:
        try:
            return await self._attempt(delivery)
        except StorageFailed:
            return Attempt.UNREACHABLE  # nothing was sent: what cannot be noted is not done

    async def _attempt(self, delivery: Delivery) -> Attempt:
        """Try one delivery once, and record what came of it."""
        now = self._clock.now()
        if now >= delivery.expires_at:
            if await self._database.write(self._expired(delivery)):
                self._log(logging.WARNING, "envelope given up", delivery)
            return Attempt.NOT_MADE
        sent = await self._database.write(
            lambda tx: _advance(tx, delivery, DeliveryEvent.SEND, now, due_at=now, error=delivery.error)
        )
        if sent is None:
            return Attempt.NOT_MADE
        # A clock that was far ahead and is set right leaves more time than a receiver takes for true.
        left_s = min(sent.expires_at - now, patience(sent.envelope.type))
        try:
            report = await self._link.send(sent.peer, replace(sent.envelope, ttl_s=left_s))
        except (PeerUnreachable, TooBusy, AnswerLost) as fault:
            await self._record(self._missed(delivery, sent, fault))
            if isinstance(fault, TooBusy):
                return Attempt.ANSWERED
            return Attempt.LOST if isinstance(fault, AnswerLost) else Attempt.UNREACHABLE
        except MeshError as fault:
            await self._record(self._refused(sent, fault))
            self._log(logging.WARNING, "envelope refused", sent, why=fault.code)
        except Exception as fault:  # a bug of ours must not hold up what else waits
            log.exception("attempt broke", extra={"envelope": short(delivery.envelope.id)})
            broken = AnswerLost(f"the attempt broke here: {type(fault).__name__}")
            await self._record(self._missed(delivery, sent, broken))
            return Attempt.LOST
        else:
            await self._record(self._acknowledged(sent, report))
            self._log(logging.INFO, "envelope delivered", sent)
        return Attempt.ANSWERED

    async def _record(self, change: Callable[[Transaction], None]) -> None:
        await self._database.insist(change, self._clock.sleep)

    def _log(self, level: int, event: str, delivery: Delivery, **more: str) -> None:
        about = {"envelope": short(delivery.envelope.id), "type": delivery.envelope.type}
        log.log(level, event, extra={**about, "peer": delivery.peer, **more})

    def _missed(self, before: Delivery, sent: Delivery, fault: MeshError) -> Callable[[Transaction], None]:
        # One lost answer leaves its mark: from then on nobody knows, until the peer says so.
        lost = isinstance(fault, AnswerLost) or before.state is DeliveryState.UNKNOWN
        event = DeliveryEvent.LOSE if lost else DeliveryEvent.POSTPONE
        now = self._clock.now()
        longest_s = LONGEST_SILENT_S if isinstance(fault, AnswerLost) else LONGEST_S
        wait_s = max(pause(sent.attempts, self._chance.uniform(), longest_s), fault.retry_after_s or 0.0)

        def change(tx: Transaction) -> None:
            due_at = min(now + wait_s, sent.expires_at)
            if _advance(tx, sent, event, now, due_at=due_at, error=fault.detail) is None:
                return
            if isinstance(fault, TooFast):
                outbox.postpone(tx, sent.peer, now + (fault.retry_after_s or 0.0))
            if isinstance(fault, TooBusy):
                peers.reached(tx, sent.peer, now)
            else:
                peers.missed(tx, sent.peer, now, fault.detail)

        return change

    def _refused(self, sent: Delivery, fault: MeshError) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            now = self._clock.now()
            _advance(tx, sent, DeliveryEvent.REFUSE, now, error=fault.detail)
            peers.reached(tx, sent.peer, now)
            reports.come_to_nothing(
                tx, sent, rejected(Failure.REFUSED, f"{sent.peer} refused it: {fault.detail}"), now
            )

        return change

    def _acknowledged(self, sent: Delivery, report: TaskReport | None) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            now = self._clock.now()
            _advance(tx, sent, DeliveryEvent.ACKNOWLEDGE, now)
            peers.reached(tx, sent.peer, now)
            if report is not None and sent.task is not None and sent.envelope.type in reports.TO_THE_DOER:
                # Without an id of the doer's own it has only been told of the task, and not to begin it.
                has_it = sent.envelope.type is EnvelopeType.TASK or bool(report.local_id)
                task = tasks.get(tx, sent.task)
                reports.record(tx, task, report, now, self._allowance, has_it=has_it)

        return change

    def _expired(self, delivery: Delivery) -> Callable[[Transaction], bool]:
        def change(tx: Transaction) -> bool:
            now = self._clock.now()
            after = _advance(tx, delivery, DeliveryEvent.EXPIRE, now, error=delivery.error)
            if after is None:
                return False
            last = delivery.error or "it was never tried"
            outcome = failed(Failure.EXPIRED, f"{delivery.peer} could not be reached in time; last: {last}")
            if after.state is DeliveryState.UNKNOWN:
                why = f"{delivery.peer} may have it and may have done it, but did not say so in time"
                outcome = failed(Failure.UNKNOWN, f"{why}; last: {last}")
            reports.come_to_nothing(tx, delivery, outcome, now)
            return True

        return change


def _advance(
    tx: Transaction,
    delivery: Delivery,
    event: DeliveryEvent,
    at: float,
    *,
    due_at: float | None = None,
    error: str | None = None,
) -> Delivery | None:
    """Record what happened to a delivery, and return it as it is then.

    `None` if something else has happened to it meanwhile, as when a peer's own report settled it.
    """
    current = outbox.find(tx, delivery.envelope.id)
    if current is None or (current.state, current.attempts) != (delivery.state, delivery.attempts):
        return None
    after = current.after(event, due_at=due_at, error=error)
    outbox.save(tx, after, at)
    return after
