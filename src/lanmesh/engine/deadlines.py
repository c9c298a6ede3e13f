"""end what has waited too long, each at its time"""

from collections.abc import Callable

from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock
from lanmesh.store.database import Change, Database, Topic, Transaction

_LOOK_S = 3600.0
"""Between two looks at the clock, which may have jumped, as after a suspend."""

STEP = 100
"""Tasks ended in one transaction."""


async def keep_deadlines(
    database: Database,
    events: Events,
    clock: Clock,
    *,
    topic: Topic,
    next_due: Callable[[Transaction], float | None],
    end_late: Callable[[Transaction], bool],
) -> None:
    """End what is late, until cancelled.

    Args:
        database: Where it is.
        events: By which news of it is told.
        clock: Whose time counts.
        topic: Of the news that something waits, or waits no more.
        next_due: Returns when the next of it is late; `None` if nothing waits.
        end_late: Ends some of what is late, and returns whether there may be more.
    """
    with events.watch(Change(topic)) as changed:
        while True:
            changed.clear()
            while await database.insist(end_late, clock.sleep):
                pass
            due = next_due(database.read)
            if due is None:
                await changed.wait()
            else:
                await heard(clock, changed, min(max(due - clock.now(), 0.0), _LOOK_S))
