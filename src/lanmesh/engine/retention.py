"""forget what nobody needs any more: by age and by count, in small steps"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lanmesh.engine.clearance import Clearance
from lanmesh.engine.ports import Clock
from lanmesh.errors import StorageFailed
from lanmesh.model.delivery import KEPT_S, REMEMBERED_S, RESULT_TTL_S, TTL_S
from lanmesh.store import retention
from lanmesh.store.database import Database, Transaction

log = logging.getLogger(__name__)

_FIRST_S = 300.0
_EVERY_S = 3600.0
"""Between two sweeps; the first comes soon after a start, but not in its way."""

_STEP = 200
_BREATH_S = 0.05
"""So many rows are forgotten in one transaction; then others may write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much is kept of what is over: no more than age or count says."""

    age_s: float = 30 * 24 * 3600.0
    count: int = 10_000
    """Of finished tasks, of messages that were sent, and of those that were read, each."""
    ids: int = 10_000
    """Of what has come, this much at least is known again: a clock that is set right after a start without
    a network, as on a machine that has none of its own, makes all seem old that has just come."""


class Retention:
    """Keeps the file from growing for ever."""

    def __init__(
        self, *, database: Database, clock: Clock, keep: Keep, clearance: Clearance | None = None
    ) -> None:
        """Keep so much."""
        self._clearance = clearance
        self._database = database
        self._clock = clock
        self._keep = keep

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        await self._clock.sleep(_FIRST_S)
        while True:
            try:
                await self.sweep()
            except StorageFailed as fault:
                log.warning("nothing forgotten", extra={"why": fault.code})
            await self._clock.sleep(_EVERY_S)

    async def sweep(self) -> int:
        """Forget what may be forgotten now; return how many rows that was.

        Raises:
            StorageFailed: The disk did not take it; what was forgotten before is forgotten.
        """
        total = 0
        for forget in self._steps():
            while True:
                count = await self._database.write(forget)
                total += count
                if count < _STEP:
                    break
                await self._clock.sleep(_BREATH_S)
        if self._clearance is not None:
            await self._clearance.sweep()
        if total:
            log.info("forgotten", extra={"rows": total})
        return total

    def _steps(self) -> Iterator[Callable[[Transaction], int]]:
        now = self._clock.now()
        # What could not be delivered can be sent again for so long after it was given up.
        failed = now - TTL_S - KEPT_S
        # A file may be on its way for as long as a result may.
        waiting = now - RESULT_TTL_S
        # A sender may repeat itself for a day: what has just ended stays, however much there is.
        task = self._before(retention.NTH_TASK, now, youngest=now - TTL_S)
        yield lambda tx: retention.forget_tasks(
            tx,
            task,
            assumed_before=now - REMEMBERED_S,
            failed_before=failed,
            files_before=waiting,
            limit=_STEP,
        )
        sent = self._before(retention.NTH_DELIVERY, now, youngest=now)
        yield lambda tx: retention.forget_deliveries(
            tx, sent, failed_before=failed, files_before=waiting, limit=_STEP
        )
        read = self._before(retention.NTH_MESSAGE, now, youngest=now)
        yield lambda tx: retention.forget_texts(tx, read, files_before=waiting, limit=_STEP)
        yield lambda tx: retention.forget_ids(tx, now - REMEMBERED_S, latest=self._keep.ids, limit=_STEP)

    def _before(self, query: str, now: float, *, youngest: float) -> float:
        """Return before when things must have ended to be forgotten: too old, or too many since."""
        too_many = retention.nth(self._database.read, query, self._keep.count)
        by_count = now - self._keep.age_s if too_many is None else min(too_many, youngest)
        return max(now - self._keep.age_s, by_count)
