"""who waits for which change, and for how long"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
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
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        return await unless(work, timer, *([] if stop is None else [stop.wait()]))
    except Stopped:
        if stop is not None and stop.is_set():
            raise
        raise TimeoutError from None


async def unless(work: Coroutine[Any, Any, T], *ends: Awaitable[object]) -> T:
    """Return what the work returns, unless one of the ends has come before it does.

    The work is cancelled, and has ended, before this returns in any other way.

    Raises:
        Stopped: One has.
    """
    doing = asyncio.ensure_future(work)
    all_of_it = [doing, *map(asyncio.ensure_future, ends)]
    try:
        await asyncio.wait(all_of_it, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Stopped
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
