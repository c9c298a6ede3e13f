"""give back the disk that files have taken: what nobody waits for, needs or has kept any more"""

import logging
from functools import partial

from lanmesh.engine.events import Events
from lanmesh.engine.ports import Broom, Clock
from lanmesh.errors import MeshError, StorageFailed
from lanmesh.model.file import GONE_S
from lanmesh.model.ids import LocalId
from lanmesh.store import files, inbox, partings, tasks
from lanmesh.store.database import Change, Database, Topic

log = logging.getLogger(__name__)

_STEP = 50
_REST_S = 60.0
"""After a fault, until it is tried again."""

_UNNAMED_S = 24 * 3600.0
"""How long bytes are kept that lie where they are needed, or that nothing names any more: what names
them again so soon need not bring them again."""


class Clearance:
    """Removes at once what was given up, and what came for tasks that never began; the rest by sweeps."""

    def __init__(self, *, database: Database, events: Events, clock: Clock, broom: Broom) -> None:
        """Clear with a broom."""
        self._database = database
        self._events = events
        self._clock = clock
        self._broom = broom

    async def run(self) -> None:
        """Remove what was given up, until cancelled."""
        with self._events.watch(Change(Topic.FILES)) as changed:
            while True:
                changed.clear()
                try:
                    await self._clear()
                except StorageFailed as fault:
                    log.warning("files not removed", extra={"why": fault.detail})
                    await self._clock.sleep(_REST_S)
                    continue
                except Exception:  # a bug of ours must not end the node
                    log.exception("clearance broke")
                    await self._clock.sleep(_REST_S)
                    continue
                await changed.wait()

    async def _clear(self) -> None:
        read, clock = self._database.read, self._clock
        while parts := files.unwanted(read, _STEP):
            for origin, sha256 in parts:
                await self._broom.drop(origin, sha256)
            await self._database.insist(partial(files.drop, unwanted=parts), clock.sleep)
        while left := files.left(read, _STEP):
            await self._broom.remove([place for _, place in left])
            await self._database.insist(partial(files.removed, gone=left), clock.sleep)

    async def sweep(self) -> None:
        """Give up the files whose peers are gone, and forget what is needed no more.

        That is bytes, folders of forgotten tasks, and files that the owner has removed.

        Raises:
            StorageFailed: The disk did not take it.
        """
        now = self._clock.now()
        late = partial(
            partings.end_late,
            before=now - GONE_S,
            now=now,
            why=f" within {GONE_S / 86400:g} days",
            limit=_STEP,
        )
        while given_up := await self._database.write(late):
            log.warning("files given up", extra={"files": given_up})
        before = now - _UNNAMED_S
        while await self._database.write(lambda tx: files.forget(tx, before, limit=_STEP)) == _STEP:
            pass
        await self._broom.sweep(lambda sha256: files.known(self._database.read, sha256), self._is_needed)
        after = 0
        while some := files.laid_out(self._database.read, _STEP, after=after):
            gone = set(await self._broom.gone([place for _, place in some]))
            if gone:
                lost = [(number, place) for number, place in some if place in gone]
                await self._database.write(partial(files.removed, gone=lost))
            after = some[-1][0]

    def _is_needed(self, holder: str) -> bool:
        read = self._database.read
        if holder.startswith("mail-"):
            return inbox.has(read, holder.removeprefix("mail-"))
        try:
            tasks.get(read, LocalId(holder))
        except MeshError:
            return False
        return True
