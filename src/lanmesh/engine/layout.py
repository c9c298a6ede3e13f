"""lay out the files that are whole where they are needed, and let go the tasks that waited for them"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lanmesh.engine.events import Events, heard
from lanmesh.engine.files import Files
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock, Shelf
from lanmesh.errors import StorageFailed
from lanmesh.model import ids
from lanmesh.model.file import FILES_S, places
from lanmesh.model.ids import WireId
from lanmesh.model.supply import supplied
from lanmesh.model.task import Failure, Task, TaskEvent, WaitingFor, rejected
from lanmesh.store import files, inbox, tasks
from lanmesh.store.database import Change, Database, Topic, Transaction
from lanmesh.store.files import Named

log = logging.getLogger(__name__)

_FIRST_S = 5.0
_LOOK_S = 600.0
"""What could not be laid out is tried again after pauses that grow from the one to the other."""

_STEP = 50


@dataclass(frozen=True, slots=True)
class _Setback:
    tries: int
    until: float
    """On the clock that never goes back: when it is tried again."""


class Layout:
    """Puts each file of others where whoever needs it finds it, under a name that is safe there.

    One that cannot be laid out holds up no other: it is tried again now and then, and says why.
    """

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        shelf: Shelf,
        room: Files,
        outcomes: Outcomes,
    ) -> None:
        """Copy from a shelf, and tell the room what cannot be laid out."""
        self._database = database
        self._events = events
        self._clock = clock
        self._shelf = shelf
        self._room = room
        self._outcomes = outcomes
        self._setbacks: dict[int, _Setback] = {}
        """Of files, by their number."""

    async def run(self) -> None:
        """Lay out what is whole, let go the tasks that have all of it, end those that wait in vain."""
        with self._events.watch(Change(Topic.FILES)) as changed:
            while True:
                changed.clear()
                try:
                    await self._lay_out()
                    waiting = await self._let_go()
                except StorageFailed as fault:  # what is there cannot be read
                    log.warning("files not looked at", extra={"why": fault.detail})
                    await self._clock.sleep(_FIRST_S)
                    continue
                if waiting or self._setbacks:
                    await heard(self._clock, changed, self._rest_s())
                else:
                    await changed.wait()

    def _rest_s(self) -> float:
        soonest = min((setback.until for setback in self._setbacks.values()), default=float("inf"))
        return min(_LOOK_S, max(0.0, soonest - self._clock.monotonic()))

    async def _lay_out(self) -> None:
        left = set()
        for named in self._whole():
            setback = self._setbacks.get(named.number)
            if setback is not None and setback.until > self._clock.monotonic():
                left.add(named.number)
                continue
            try:
                await self._laid_out(named)
            except StorageFailed as fault:
                self._put_off(named, fault.detail)
            except Exception as fault:  # a bug of ours must neither end the node nor hold up others
                log.exception("layout broke", extra={"file": named.number})
                self._put_off(named, f"a fault of this node's own: {type(fault).__name__}")
            else:
                continue
            left.add(named.number)
        for number in self._setbacks.keys() - left:
            del self._setbacks[number], self._room.troubles[number]

    def _put_off(self, named: Named, why: str) -> None:
        before = self._setbacks.get(named.number)
        tries = 1 if before is None else before.tries + 1
        rest_s = min(_LOOK_S, _FIRST_S * (1 << min(tries - 1, 16)))
        self._setbacks[named.number] = _Setback(tries, self._clock.monotonic() + rest_s)
        if self._room.troubles.get(named.number) != why:
            log.warning("file not laid out", extra={"file": named.number, "peer": named.peer, "why": why})
        self._room.troubles[named.number] = why

    def _whole(self) -> Iterator[Named]:
        after = 0
        while some := files.to_lay_out(self._database.read, _STEP, after=after):
            yield from some
            after = some[-1].number

    async def _laid_out(self, named: Named) -> None:
        found = self._place(named)
        if found is None:
            return  # it was forgotten meanwhile
        if not self._shelf.has(named.ref):
            log.warning("file lost", extra={"sha256": named.ref.sha256[:12], "peer": named.peer})
            await self._database.insist(
                lambda tx: files.lost(tx, named.origin, named.ref.sha256), self._clock.sleep
            )
            return
        place = await self._shelf.lay_out(named.ref, *found)
        now = self._clock.now()
        await self._database.insist(
            lambda tx: files.settle(tx, named.number, now, place=place), self._clock.sleep
        )

    def _place(self, named: Named) -> tuple[str, str, tuple[str, ...]] | None:
        """Return whose folder a file belongs into, of which kind, and where in it."""
        read = self._database.read
        if named.task is None:
            together = files.of_message(read, named.origin, WireId(named.envelope))
            holder = f"mail-{inbox.number(read, named.origin, WireId(named.envelope))}"
        else:
            together = [f for f in files.of_task(read, named.task) if f.made == named.made]
            holder = named.task
        kind = "made" if named.made else "given"
        longest, room = self._shelf.longest(holder, kind)
        found = places((other.ref.name for other in together), longest=longest, room=room)
        for other, parts in zip(together, found, strict=True):
            if other.number == named.number:
                return holder, kind, parts
        return None

    async def _let_go(self) -> bool:
        """Let go the tasks that have their files, or that wait in vain; return whether others wait."""
        others = False
        for task in tasks.short_of_files(self._database.read):
            try:
                over = await self._supplied(task)
            except StorageFailed:
                raise
            except Exception:
                log.exception("layout broke", extra={"task": ids.short(task.local_id)})
                over = False
            others = others or not over
        return others

    async def _supplied(self, task: Task) -> bool:
        """Let a task go if it waits for nothing more; return whether it does not."""
        given = [f for f in files.of_task(self._database.read, task.local_id) if not f.made]
        vain, now = self._in_vain(task, given), self._clock.now()
        if vain is None and any(f.settled_at is None for f in given):
            return False

        def change(tx: Transaction) -> None:
            latest = tasks.get(tx, task.local_id)
            if latest.final or latest.waiting_for is not WaitingFor.FILES:
                return
            if vain is not None:
                self._outcomes.end(tx, latest, rejected(Failure.INCOMPLETE, vain))
            else:
                tasks.save(tx, supplied(latest), TaskEvent.SUPPLY, now, "all of its files are here")

        await self._database.insist(change, self._clock.sleep)
        return True

    def _in_vain(self, task: Task, given: Sequence[Named]) -> str | None:
        """Return why a task has waited in vain for what it came with; `None` if it has not."""
        for named in given:
            if named.error is not None:
                return f"the file {ids.quoted(named.ref.name)} did not come as announced: {named.error}"
        missing = [named for named in given if named.settled_at is None]
        if not missing or self._clock.now() < task.created_at + FILES_S:
            return None
        names = ", ".join(self._told(named) for named in missing)[:500]
        return f"its files did not come within {FILES_S / 3600:g} h: {names}"

    def _told(self, named: Named) -> str:
        why = self._room.troubles.get(named.number)
        name = ids.quoted(named.ref.name)
        return name if why is None else f"{name} (it is here, and cannot be laid out: {why})"
