"""who waits for which change, and for how long"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lanmesh.engine.ports import Clock
from lanmesh.store.database import Change

T = TypeVar("T")


class Events:
    """Tells those who watch that something they look at has changed.

    It says that, not what: a watcher looks at the store again. So a change between two looks is
    never missed, and many changes are one wake-up.
    """

    def __init__(self) -> None:
        """Begin with nobody watching."""
        self._watchers: dict[Change, dict[asyncio.Event, None]] = {}  # woken in the order in which they came

    def publish(self, changes: Iterable[Change]) -> None:
        """Wake everyone who watches one of these; called in the loop, after the commit."""
        for change in changes:
            for event in self._watchers.get(change, ()):
                event.set()

    @contextmanager
    def watch(self, *changes: Change) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever one of these has happened; the watcher clears it.

        Begin to watch, then look, then wait: then nothing falls between.
        """
        event = asyncio.Event()
        for change in changes:
            self._watchers.setdefault(change, {})[event] = None
        try:
            yield event
        finally:
            for change in changes:
                watchers = self._watchers[change]
                watchers.pop(event, None)
                if not watchers:
                    del self._watchers[change]


class Stopped(Exception):
    """Somebody wanted a piece of work ended before its time."""


async def within(
    clock: Clock, seconds: float, work: Coroutine[Any, Any, T], stop: asyncio.Event | None = None
) -> T:
    """Return what the work returns, if it does so in time.

    The work is cancelled, and has ended, before this returns in any other way.

    Raises:
        TimeoutError: It did not.
        Stopped: `stop` was set before it did.
    """
    doing = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    stopping = None if stop is None else asyncio.ensure_future(stop.wait())
    all_of_it = [doing, timer] if stopping is None else [doing, timer, stopping]
    try:
        await asyncio.wait(all_of_it, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        if stopping is not None and stopping.done():
            raise Stopped
        raise TimeoutError
    finally:
        for part in all_of_it:
            part.cancel()
        await asyncio.gather(*all_of_it, return_exceptions=True)


async def heard(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event was set within some seconds."""
    if seconds <= 0:
        return event.is_set()
    try:
        await within(clock, seconds, event.wait())
    except TimeoutError:
        return False
    return True
