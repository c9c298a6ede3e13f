"""Events: who is woken by what, and waits that end on time."""

import asyncio
import contextlib

import pytest

from lanmesh.engine.events import Events, heard, within
from lanmesh.store.database import Change, Topic

TASK_1, TASK_2 = Change(Topic.TASK, "1"), Change(Topic.TASK, "2")


class HandClock:
    """A clock that the test moves: sleepers wake when it has come to their moment."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        sleeper = (self.time + seconds, awake)
        self.sleepers.append(sleeper)
        try:
            await awake.wait()
        finally:
            self.sleepers.remove(sleeper)

    async def move(self, seconds: float) -> None:
        await turn()
        self.time += seconds
        for due_at, awake in self.sleepers:
            if due_at <= self.time:
                awake.set()
        await turn()


async def turn() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class Work:
    """Work that the test ends."""

    def __init__(self, tidying: asyncio.Event | None = None) -> None:
        self.done = asyncio.Event()
        self.state = "new"
        self._tidying = tidying

    async def run(self) -> str:
        self.state = "running"
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.state = "ending"
            if self._tidying is not None:
                await self._tidying.wait()
            self.state = "cancelled"
            raise
        self.state = "done"
        return "result"


def test_a_change_wakes_who_watches_it_and_nobody_else() -> None:
    events = Events()
    with events.watch(TASK_1) as first, events.watch(TASK_1) as second, events.watch(TASK_2) as other:
        events.publish([TASK_1, Change(Topic.OUTBOX, "1")])

        assert first.is_set()
        assert second.is_set()
        assert not other.is_set()


@pytest.mark.parametrize("change", [TASK_1, Change(Topic.STOPPING)])
def test_who_watches_several_things_is_woken_by_each(change: Change) -> None:
    events = Events()
    with events.watch(TASK_1, Change(Topic.STOPPING)) as event:
        events.publish([change])

        assert event.is_set()


def test_what_changed_before_the_watch_began_is_not_told() -> None:
    events = Events()
    events.publish([TASK_1])
    with events.watch(TASK_1) as event:
        assert not event.is_set()


def test_who_has_stopped_watching_is_forgotten_even_after_an_error() -> None:
    events = Events()
    with contextlib.suppress(ValueError), events.watch(TASK_1, TASK_2) as gone:
        raise ValueError
    with events.watch(TASK_1) as first:
        with events.watch(TASK_1):
            pass
        events.publish([TASK_1, TASK_2])

        assert first.is_set()
        assert not gone.is_set()


async def test_work_that_is_done_in_time_gives_its_result_and_leaves_no_timer() -> None:
    clock, work = HandClock(), Work()
    doing = asyncio.create_task(within(clock, 10.0, work.run()))
    await clock.move(9.9)
    work.done.set()

    assert await doing == "result"
    assert clock.sleepers == []


async def test_work_that_is_not_done_in_time_is_cancelled_and_has_ended() -> None:
    clock, work = HandClock(), Work()
    doing = asyncio.create_task(within(clock, 10.0, work.run()))
    await clock.move(9.9)
    before = work.state
    await clock.move(0.1)

    with pytest.raises(TimeoutError):
        await doing
    assert (before, work.state) == ("running", "cancelled")


async def test_work_that_tidies_up_is_waited_for_when_its_time_is_over() -> None:
    tidying = asyncio.Event()
    clock, work = HandClock(), Work(tidying)
    doing = asyncio.create_task(within(clock, 10.0, work.run()))
    await clock.move(10.0)
    while_tidying = (doing.done(), work.state)
    tidying.set()

    with pytest.raises(TimeoutError):
        await doing
    assert while_tidying == (False, "ending")
    assert work.state == "cancelled"


async def test_who_is_cancelled_while_waiting_takes_the_work_along() -> None:
    tidying = asyncio.Event()
    clock, work = HandClock(), Work(tidying)
    doing = asyncio.create_task(within(clock, 10.0, work.run()))
    await turn()
    doing.cancel()
    await turn()
    while_tidying = (doing.done(), work.state)
    tidying.set()

    with pytest.raises(asyncio.CancelledError):
        await doing
    assert while_tidying == (False, "ending")
    assert (work.state, clock.sleepers) == ("cancelled", [])


async def test_an_error_of_the_work_is_passed_on_as_it_is() -> None:
    async def broken() -> None:
        raise LookupError("x")

    clock = HandClock()
    with pytest.raises(LookupError, match="x"):
        await within(clock, 10.0, broken())
    assert clock.sleepers == []


async def test_work_that_ends_at_the_last_moment_counts() -> None:
    clock, work = HandClock(), Work()
    doing = asyncio.create_task(within(clock, 10.0, work.run()))
    await turn()
    work.done.set()
    clock.sleepers[0][1].set()

    assert await doing == "result"


@pytest.mark.parametrize("seconds", [0.0, -1.0])
@pytest.mark.parametrize("is_set", [False, True])
async def test_who_has_no_time_to_wait_only_looks(is_set: bool, seconds: float) -> None:
    clock, event = HandClock(), asyncio.Event()
    if is_set:
        event.set()

    assert await heard(clock, event, seconds) is is_set


async def test_an_event_within_the_time_is_heard() -> None:
    clock, event = HandClock(), asyncio.Event()
    hearing = asyncio.create_task(heard(clock, event, 10.0))
    await clock.move(9.9)
    event.set()

    assert await hearing is True


async def test_an_event_that_does_not_come_in_time_is_not_heard() -> None:
    clock, event = HandClock(), asyncio.Event()
    hearing = asyncio.create_task(heard(clock, event, 10.0))
    await clock.move(10.0)

    assert await hearing is False
