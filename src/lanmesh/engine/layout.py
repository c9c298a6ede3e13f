"""lay out the files that are whole where they are needed, and let go the tasks that waited for them"""

import logging
from collections.abc import Callable

from lanmesh.engine.events import Events, heard
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock, Shelf
from lanmesh.errors import StorageFailed
from lanmesh.model import ids
from lanmesh.model.file import FILES_S, places
from lanmesh.model.ids import WireId
from lanmesh.model.supply import supplied
from lanmesh.model.task import Failure, TaskEvent, rejected
from lanmesh.store import files, inbox, tasks
from lanmesh.store.database import Change, Database, Topic, Transaction
from lanmesh.store.files import Named

log = logging.getLogger(__name__)

_LOOK_S = 600.0
_DISK_S = 5.0
_STEP = 50


class Layout:
    """Puts each file of others where whoever needs it finds it, under a name that is safe there."""

    def __init__(
        self, *, database: Database, events: Events, clock: Clock, shelf: Shelf, outcomes: Outcomes
    ) -> None:
        """Copy from a shelf."""
        self._database = database
        self._events = events
        self._clock = clock
        self._shelf = shelf
        self._outcomes = outcomes

    async def run(self) -> None:
        """Lay out what is whole, let go the tasks that have all of it, end those that wait in vain."""
        with self._events.watch(Change(Topic.FILES)) as changed:
            while True:
                changed.clear()
                try:
                    await self._lay_out()
                    if waiting := bool(tasks.short_of_files(self._database.read)):
                        await self._database.insist(self._supply, self._clock.sleep)
                except StorageFailed as fault:
                    log.warning("files not laid out", extra={"why": fault.detail})
                    await self._clock.sleep(_DISK_S)
                    continue
                if waiting:
                    await heard(self._clock, changed, _LOOK_S)
                else:
                    await changed.wait()

    async def _lay_out(self) -> None:
        read = self._database.read
        while whole := files.to_lay_out(read, _STEP):
            for named in whole:
                holder, together = self._holder(named)
                at = [other.number for other in together].index(named.number)
                parts = places(other.ref.name for other in together)[at]
                kind = "made" if named.made else "given"
                place = await self._shelf.lay_out(named.ref, holder, kind, parts)
                await self._database.write(self._settled(named.number, place))

    def _holder(self, named: Named) -> tuple[str, list[Named]]:
        """Return whose folder a file belongs into, and all that lie there with it."""
        read = self._database.read
        if named.task is None:
            together = files.of_message(read, named.origin, WireId(named.envelope))
            return f"mail-{inbox.number(read, named.origin, WireId(named.envelope))}", together
        together = [f for f in files.of_task(read, named.task) if f.made == named.made]
        return named.task, together

    def _settled(self, number: int, place: str) -> Callable[[Transaction], None]:
        now = self._clock.now()
        return lambda tx: files.settle(tx, number, now, place=place)

    def _supply(self, tx: Transaction) -> None:
        now = self._clock.now()
        for task in tasks.short_of_files(tx):
            found = [f for f in files.of_task(tx, task.local_id) if not f.made]
            failed = next((f for f in found if f.error is not None), None)
            late = now >= task.created_at + FILES_S
            if failed is not None:
                why = f"the file {ids.quoted(failed.ref.name)} did not come as announced: {failed.error}"
                self._outcomes.end(tx, task, rejected(Failure.INCOMPLETE, why))
            elif all(f.settled_at is not None for f in found):
                tasks.save(tx, supplied(task), TaskEvent.SUPPLY, now, "all of its files are here")
            elif late:
                names = ", ".join(ids.quoted(f.ref.name) for f in found if f.settled_at is None)[:500]
                why = f"its files did not come within {FILES_S / 3600:g} h: {names}"
                self._outcomes.end(tx, task, rejected(Failure.INCOMPLETE, why))
