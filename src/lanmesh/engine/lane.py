"""the envelopes for one peer: how many are under way at a time, and when they rest"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any

from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock, Random
from lanmesh.engine.retry import FARTHEST_S, LONGEST_S, LONGEST_SILENT_S, SET_BACK_S, pause
from lanmesh.model.delivery import Delivery
from lanmesh.model.ids import PeerId, WireId
from lanmesh.store import outbox
from lanmesh.store.database import Change, Database, Topic

IN_FLIGHT = 8
"""Envelopes under way to one peer at a time."""


class Attempt(Enum):
    """What came of trying to deliver an envelope."""

    ANSWERED = auto()
    LOST = auto()
    """The peer took the connection, and did not answer."""
    UNREACHABLE = auto()
    NOT_MADE = auto()


class Lane:
    """Sends one peer what the outbox holds for it.

    An envelope that gets no answer holds up no other: the next ones go meanwhile. The longer
    the peer answers nothing, the fewer go, and to one that is off a single one.
    """

    def __init__(
        self,
        peer: PeerId,
        attempt: Callable[[Delivery], Coroutine[Any, Any, Attempt]],
        *,
        database: Database,
        events: Events,
        clock: Clock,
        chance: Random,
    ) -> None:
        """Begin with nothing under way; `attempt` tries one delivery once, and records what came of it."""
        self._peer = peer
        self._attempt = attempt
        self._database = database
        self._events = events
        self._clock = clock
        self._chance = chance
        self._under_way: dict[WireId, asyncio.Task[Attempt]] = {}
        self._missed = 0  # tries that failed since the peer last answered
        self._failures = 0  # times in a row that all tries failed
        self._last = Attempt.LOST

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        with (
            self._events.watch(Change(Topic.OUTBOX, self._peer)) as changed,
            self._events.watch(Change(Topic.CONTACT, self._peer)) as contact,
        ):
            async with asyncio.TaskGroup() as group:
                while True:
                    changed.clear()
                    self._look_at_what_ended()
                    if self._missed and not self._under_way:
                        await self._rest(contact)
                    if self._failures and contact.is_set():
                        self._failures = 0
                        contact.clear()
                        await self._hasten()
                    now = self._clock.now()
                    if batch := self._next(now):
                        contact.clear()
                        for delivery in batch:
                            self._begin(delivery, group, changed)
                    else:
                        await self._until_due(now, changed, contact)

    def _begin(self, delivery: Delivery, group: asyncio.TaskGroup, changed: asyncio.Event) -> None:
        attempt = group.create_task(self._attempt(delivery))
        attempt.add_done_callback(lambda _: changed.set())
        self._under_way[delivery.envelope.id] = attempt

    def _look_at_what_ended(self) -> None:
        for name, attempt in list(self._under_way.items()):
            if attempt.done():
                came = self._under_way.pop(name).result()
                if came is Attempt.ANSWERED:
                    self._failures = self._missed = 0
                elif came is not Attempt.NOT_MADE:
                    self._missed, self._last = self._missed + 1, came

    async def _rest(self, contact: asyncio.Event) -> None:
        """Wait before the next try, as every one under way has failed.

        Only word from the peer, or of it, cuts that short: new mail for it changes nothing. And not at
        once, or two that hear each other's requests and no answers would never rest.
        """
        self._failures, self._missed, chance = self._failures + 1, 0, self._chance.uniform()
        least_s = pause(1, chance)
        await self._clock.sleep(least_s)
        longest_s = LONGEST_S if self._last is Attempt.UNREACHABLE else LONGEST_SILENT_S
        await heard(self._clock, contact, pause(self._failures, chance, longest_s) - least_s)

    def _room(self) -> int:
        off = self._failures and self._last is Attempt.UNREACHABLE
        most = 1 if off else IN_FLIGHT - self._missed
        return max(0, most - len(self._under_way))

    def _next(self, now: float) -> list[Delivery]:
        """Return what is due and may go now."""
        due = outbox.due(self._database.read, self._peer, now, IN_FLIGHT + len(self._under_way))
        return [each for each in due if each.envelope.id not in self._under_way][: self._room()]

    async def _until_due(self, now: float, changed: asyncio.Event, contact: asyncio.Event) -> None:
        due_at = outbox.next_due(self._database.read, self._peer)
        if due_at is None or (self._under_way and (due_at <= now or not self._room())):
            await changed.wait()
            return
        # As the time passes that no clock can set back.
        wait_s = min(due_at - self._clock.now(), FARTHEST_S)
        sooner = contact if self._failures else changed
        if not await heard(self._clock, sooner, wait_s) and self._clock.now() < due_at - SET_BACK_S:
            # The clock was set back, or had been wrong when that was put off.
            await self._hasten()

    async def _hasten(self) -> None:
        await self._database.insist(
            lambda tx: outbox.hasten(tx, self._peer, self._clock.now()), self._clock.sleep
        )
