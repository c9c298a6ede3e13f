"""An event loop on virtual time: one order of events for one seed, and lives that end between any two."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOST_TURNS_AT_ONCE = 50_000
"""Turns at one moment of virtual time: more is a loop that never ends."""

_MOST_TURNS = 1_000_000
"""Turns of one run: more is a node that is busy with nothing."""


class Stuck(Exception):
    """Nothing is left to happen, or things happen for ever at one moment."""


class Life:
    """All tasks that one process would hold; they end together, in the middle of whatever they do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.ended: list[Callable[[], None]] = []
        """Called, in order, in the moment of the end."""
        self._turns_left: int | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task of this life; so are all tasks that it begins."""
        context = copy_context()
        context.run(_LIFE.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def end_after(self, turns: int | None) -> None:
        """End it once it has taken so many more turns of the loop; `None` takes that back."""
        self._turns_left = turns

    def turn(self) -> None:
        """Count one turn."""
        if self._turns_left is not None:
            self._turns_left -= 1
            if self._turns_left < 0:
                self._turns_left = None
                self.end()

    def end(self) -> None:
        """End it: from now on nothing that it does has any effect."""
        if self.dead:
            return
        self.dead = True
        for call in self.ended:
            call()

    async def bury(self) -> None:
        """Let its tasks fall apart; called from outside."""
        assert self.dead
        left: list[asyncio.Task[Any]] = []
        for _ in range(100):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        raise Stuck(f"{self.name} cannot be buried: {left}")


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


def life() -> Life | None:
    """Return the life that calls; `None` outside all."""
    return _LIFE.get()


class _Future(asyncio.Future[Any]):
    """A future whose place in a set depends on nothing but the order of events."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    """A task whose place in a set depends on nothing but the order of events."""

    def __init__(
        self,
        number: int,
        work: Generator[Any, Any, Any] | Coroutine[Any, Any, Any],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._number = number
        super().__init__(work, loop=loop, name=f"task-{number}", context=context)

    def __hash__(self) -> int:
        return self._number


class _Turn(asyncio.Handle):
    """One call that the loop is to make, and whose life it belongs to."""

    __slots__ = ("life",)

    def __init__(
        self, call: Callable[..., object], args: tuple[Any, ...], loop: "VirtualLoop", context: Context | None
    ) -> None:
        context = copy_context() if context is None else context
        super().__init__(call, args, loop, context)
        self.life: Life | None = context.get(_LIFE)


class _Alarm(asyncio.TimerHandle):
    """One call that the loop is to make at a time."""

    def __init__(
        self,
        when: float,
        call: Callable[..., object],
        args: tuple[Any, ...],
        loop: "VirtualLoop",
        context: Context | None,
    ) -> None:
        context = copy_context() if context is None else context
        super().__init__(when, call, args, loop, context)
        self.life: Life | None = context.get(_LIFE)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready, in order; when nothing is, time passes at once to the next alarm.

    No threads, no sockets, no real time. What nobody caught is kept in `unseen`.
    """

    def __init__(self) -> None:
        self._running = False
        super().__init__()
        self.turns = 0
        """Calls made so far; equal runs make equally many."""
        self.unseen: list[str] = []
        """Exceptions that nobody caught."""
        self._now = 0.0
        self._numbers = 0
        self._calls: deque[_Turn | _Alarm] = deque()
        self._alarms: list[tuple[float, int, _Alarm]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until the work is done, and return what it returns.

        Raises:
            Stuck: It can never be done.
        """
        assert not self._running
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        asyncio._set_running_loop(self)
        self._running = True
        try:
            task = self.create_task(work)
            self._run_until(task)
            return task.result()
        finally:
            self._running = False
            asyncio._set_running_loop(before)

    def hold_up(self, seconds: float) -> None:
        """Let time pass in which nothing is done, as on a machine that swaps."""
        self._now += seconds

    def _run_until(self, task: asyncio.Task[Any]) -> None:
        at_once = 0
        while not task.done():
            if not self._calls:
                at_once = 0
                self._pass_time()
            handle = self._calls.popleft()
            if handle.cancelled():
                continue
            at_once += 1
            if at_once > _MOST_TURNS_AT_ONCE:
                raise Stuck(f"after {self._now} s no time passes any more; now {handle}")
            self.turns += 1
            if self.turns == _MOST_TURNS:
                raise Stuck(f"{_MOST_TURNS} turns in {self._now} s, and no end")
            if handle.life is not None:
                handle.life.turn()
            handle._run()

    def _pass_time(self) -> None:
        while self._alarms and self._alarms[0][2].cancelled():
            heapq.heappop(self._alarms)
        if not self._alarms:
            raise Stuck(f"after {self._now} s nothing is left to happen")
        self._now = max(self._now, self._alarms[0][0])
        while self._alarms and self._alarms[0][0] <= self._now:
            self._calls.append(heapq.heappop(self._alarms)[2])

    # --- what asyncio asks of a loop ---------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        turn = _Turn(callback, args, self, context)
        self._calls.append(turn)
        return turn

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        alarm = _Alarm(when, callback, args, self, context)
        heapq.heappush(self._alarms, (when, self._next(), alarm))
        return alarm

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over when its time has come."""

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(self._next(), self)

    def create_task(
        self,
        coro: Generator[Any, Any, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        context = copy_context() if context is None else context
        task = _Task(self._next(), coro, self, context)
        owner = context.get(_LIFE)
        if owner is not None:
            owner.tasks[task] = None
            task.add_done_callback(owner.tasks.pop)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        self.unseen.append(f"{context.get('message')}: {fault!r}")

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return not self._running

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
