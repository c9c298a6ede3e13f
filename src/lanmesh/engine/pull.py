"""ask peers how the tasks fare that they were asked for: while one waits, at contact, and now and then"""

import logging
from collections.abc import Callable
from contextlib import suppress

from lanmesh.engine import reports
from lanmesh.engine.allowance import Allowance
from lanmesh.engine.drafts import Drafts
from lanmesh.engine.each_peer import for_each_peer
from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock, PeerLink, Random
from lanmesh.errors import AnswerLost, MeshError, PeerUnreachable, TaskNotFound
from lanmesh.model.delivery import Delivery, DeliveryEvent, DeliveryState
from lanmesh.model.draft import START, Mark
from lanmesh.model.ids import LocalId, PeerId
from lanmesh.model.report import TaskReport
from lanmesh.model.task import Failure, Task, failed
from lanmesh.store import outbox, peers, tasks
from lanmesh.store.database import Change, Database, Topic, Transaction

log = logging.getLogger(__name__)

_PULL_S = 25.0
"""How long a peer is asked to hold its answer: below the idle limit of home routers and proxies."""

_PULL_AGAIN_S = 1.0
"""Between two questions, where the peer did not answer the first."""

_BREATH_S = 1.0
"""At least between two rounds at one peer, up to twice that by chance: a return is no storm."""

_FIRST_LOOK_S = 30.0
_LONGEST_LOOK_S = 300.0
"""Until the next round at a peer that tells nothing new; doubled from round to round."""

_ROUND = 100
"""Tasks asked about in one round, one after the other; the next round goes on behind them."""

SILENCE_S = 31 * 24 * 3600.0
"""After so long without a word of its doer, a task is taken for failed: longer than results wait there."""

_STRAY_S = 60.0
"""How long after its time an envelope may still wander about in a network."""

_DOUBT_S = 900.0
"""For so long a request that surely did not arrive is asked about all the same."""


class Doubts:
    """Which requests to one peer are asked about although each attempt has surely failed.

    A copy that a network kept may come late, and a peer may have kept what it said that it could not
    keep. So each is asked about until the peer has said, a while after it was given up or the peer
    came back, that it does not know it.
    """

    def __init__(self, clock: Clock) -> None:
        """Doubt everything, from when it is first looked at on."""
        self._clock = clock
        self._since: dict[LocalId, float] = {}
        self._over: set[LocalId] = set()

    def of(self, task: Task) -> bool:
        """Return whether to ask about a task whose request was given up."""
        self._since.setdefault(task.local_id, self._clock.monotonic())
        return task.local_id not in self._over

    def answered(self, task: Task) -> None:
        """Note that the peer has told what it knows of a task."""
        since = self._since.get(task.local_id)
        if since is not None and self._clock.monotonic() >= since + _DOUBT_S:
            self._over.add(task.local_id)

    def renew(self) -> None:
        """Doubt everything again: the peer was away."""
        self._since.clear()
        self._over.clear()


class Pull:
    """Reads at peers what they have not told yet, or cannot tell: results are pushed and pulled."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        chance: Random,
        link: PeerLink,
        drafts: Drafts,
        allowance: Allowance,
    ) -> None:
        """Ask over a link."""
        self._drafts = drafts
        self._database = database
        self._events = events
        self._clock = clock
        self._chance = chance
        self._link = link
        self._allowance = allowance

    async def run(self) -> None:
        """Keep up with every peer that was asked for something, until cancelled."""
        await for_each_peer(
            self._events, Topic.OUTBOX, lambda: tasks.peers_asked(self._database.read), self._lane
        )

    async def follow(self, task: Task, *, drafts: bool) -> None:
        """Keep the record of an asked task up to date by asking its peer, until it is final.

        Args:
            task: An asked task.
            drafts: Whether what its run writes is wanted as well.
        """
        seen = self._drafts.mark(task.local_id)  # kept here: of many drafts at once, some are forgotten
        while not task.final:
            delivery = await self._until_delivered(task)
            known = task.version, seen
            with suppress(MeshError):
                task, seen = await self._ask(task, delivery, _PULL_S, seen if drafts else None)
            if (task.version, seen) == known:
                await self._clock.sleep(_PULL_AGAIN_S)

    async def _lane(self, peer: PeerId) -> None:
        """Ask a peer of all that is open there: at the start, when it is back, and now and then."""
        rounds = begin = 0
        doubts = Doubts(self._clock)
        with (
            self._events.watch(Change(Topic.OUTBOX, peer), Change(Topic.RETURN, peer)) as moved,
            self._events.watch(Change(Topic.RETURN, peer)) as back,
        ):
            while True:
                moved.clear()
                if back.is_set():
                    doubts.renew()
                asked, begin = self._next(peer, begin, doubts)
                if not asked:
                    await moved.wait()
                    continue
                await self._clock.sleep(_BREATH_S * (1 + self._chance.uniform()))
                back.clear()
                rounds = 0 if await self._round(peer, asked, doubts) else rounds + 1
                longest = min(_LONGEST_LOOK_S, _FIRST_LOOK_S * (1 << min(rounds, 8)))
                if await heard(self._clock, back, longest * (1 + self._chance.uniform()) / 2):
                    rounds = 0

    def _next(self, peer: PeerId, begin: int, doubts: Doubts) -> tuple[list[tuple[Task, Delivery]], int]:
        """Return what to ask a peer of from a place on, and where the next round begins."""
        from_start = begin == 0
        while True:
            page = tasks.unsettled(self._database.read, peer, _ROUND, begin)
            begin = begin + _ROUND if len(page) == _ROUND else 0
            asked = [(task, delivery) for task in page if (delivery := self._arrived(task, doubts))]
            if asked or (from_start and begin == 0):
                return asked, begin
            from_start = from_start or begin == 0

    async def _round(self, peer: PeerId, asked: list[tuple[Task, Delivery]], doubts: Doubts) -> bool:
        """Ask of each task once, until the peer fails to answer; return whether anything was new."""
        news = False
        try:
            for task, delivery in asked:
                known, _ = await self._ask(task, delivery, 0.0)
                news = known.version != task.version or news
                doubts.answered(task)
        except (PeerUnreachable, AnswerLost) as fault:
            detail = fault.detail
            with suppress(MeshError):
                await self._database.write(lambda tx: peers.missed(tx, peer, self._clock.now(), detail))
        except MeshError as fault:
            log.info("peer does not tell", extra={"peer": peer, "why": fault.code})
        except Exception:  # a bug of ours must not end the node
            log.exception("question broke", extra={"peer": peer})
        else:
            return news
        with suppress(MeshError):
            news = await self._give_up(peer, asked) or news
        return news

    async def _give_up(self, peer: PeerId, asked: list[tuple[Task, Delivery]]) -> bool:
        """Take for failed what a peer took and then was silent about; return whether there was any."""
        now = self._clock.now()
        contact = peers.contact(self._database.read, peer)
        word = max(contact.heard_at or 0.0, contact.reached_at or 0.0)
        late = [
            task
            for task, delivery in asked
            if not task.final
            and delivery.state is DeliveryState.DELIVERED
            and max(word, task.created_at) + SILENCE_S <= now
        ]

        def change(tx: Transaction) -> None:
            for task in late:
                why = f"{peer} took it, and was not heard of for {SILENCE_S / 86400:g} days"
                reports.presume(tx, task, failed(Failure.SILENT, why), now)

        if late:
            await self._database.write(change)
        return bool(late)

    def _arrived(self, task: Task, doubts: Doubts) -> Delivery | None:
        """Return the delivery of a task's request, if that has arrived, may have, or is in doubt."""
        delivery = outbox.find(self._database.read, task.wire_id)
        if delivery is not None and delivery.state is DeliveryState.EXPIRED:
            return delivery if doubts.of(task) else None
        if delivery is None or delivery.state not in {DeliveryState.DELIVERED, DeliveryState.UNKNOWN}:
            return None
        # What was acknowledged and then not found is settled, as far as that can be.
        settled = task.error is not None and task.error.code != Failure.SILENT
        return None if task.assumed and settled and delivery.state is DeliveryState.DELIVERED else delivery

    async def _until_delivered(self, task: Task) -> Delivery | None:
        with self._events.watch(Change(Topic.TASK, task.local_id)) as changed:
            while True:
                changed.clear()
                delivery = outbox.find(self._database.read, task.wire_id)
                if delivery is None or delivery.state is DeliveryState.DELIVERED:
                    return delivery
                await changed.wait()

    async def _ask(
        self, task: Task, delivery: Delivery | None, wait_s: float, draft: Mark | None = None
    ) -> tuple[Task, Mark]:
        """Ask a peer of a task, and return that as it is known then, and how far its draft.

        Args:
            task: An asked task.
            delivery: How its request fared before the question.
            wait_s: How long the peer is to hold its answer until there is something new.
            draft: How far what its run writes is known, if that is wanted.
        """
        if tasks.is_parted(self._database.read, task.local_id):
            return task, draft or START
        try:
            report = await self._link.report(
                PeerId(task.peer), task.wire_id, wait_s=wait_s, version=task.seen_version, draft=draft
            )
        except TaskNotFound:
            return await self._database.write(self._missing(task, delivery)), draft or START
        told = report.draft
        seen = draft or START if told is None else told.end
        if told is not None:
            self._drafts.hear(task.local_id, told)
            if report.version == task.seen_version:
                return task, seen  # there is nothing that would have to be kept
        return await self._database.write(self._recording(task, report)), seen

    def _recording(self, task: Task, report: TaskReport) -> Callable[[Transaction], Task]:
        def change(tx: Transaction) -> Task:
            now = self._clock.now()
            peers.reached(tx, PeerId(task.peer), now)
            return reports.record(tx, tasks.get(tx, task.local_id), report, now, self._allowance)

        return change

    def _missing(self, task: Task, before: Delivery | None) -> Callable[[Transaction], Task]:
        def change(tx: Transaction) -> Task:
            now = self._clock.now()
            peers.reached(tx, PeerId(task.peer), now)
            delivery = outbox.find(tx, task.wire_id)
            if before is None or delivery is None or delivery.state is not before.state:
                return tasks.get(tx, task.local_id)
            if delivery.state is DeliveryState.DELIVERED:
                # It was acknowledged before the question, so it is not still on its way.
                why = f"{task.peer} took it, and does not know it any more; its last word was {task.state}"
                reports.presume(tx, task, failed(Failure.UNKNOWN, why), now)
            elif (
                delivery.state is DeliveryState.UNKNOWN
                and delivery.due_at is None
                and now >= delivery.expires_at + _STRAY_S
            ):
                why = f"{task.peer} did not get it in time"
                outbox.save(tx, delivery.after(DeliveryEvent.DISOWN, error=why), now)
                reports.presume(tx, task, failed(Failure.EXPIRED, why), now)
            return tasks.get(tx, task.local_id)

        return change
