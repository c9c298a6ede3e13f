"""What simulated tasks ask for, and who does it: programs that die with their node, hosts that outlive it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

from lanmesh.engine.ports import Interrupted, NotBegun, Progress
from lanmesh.errors import IllegalTransition, MeshError
from lanmesh.model.ids import LocalId
from lanmesh.model.task import Outcome, Task
from tests.fakes import done, failing
from tests.simulation.loop import Life, life

if TYPE_CHECKING:
    from tests.simulation.node import SimulatedNode

_WATCH_S = 3600.0
_AGAIN_S = 2.0
_TRIES = 10


class Kind(StrEnum):
    """What a run comes to."""

    DO = auto()
    """It is done."""
    FAIL = auto()
    """It is tried in vain."""
    REPLY = auto()
    """It is done, and says so before its run ends with other words."""
    UNBEGUN = auto()
    """It cannot be begun at the first try."""
    LOSE = auto()
    """It is done, and how the first try ended cannot be known."""
    ASK = auto()
    """It is done once a question is answered."""
    INSIST = auto()
    """It is done, and nothing beside a node can be made to stop it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a task's description means: `kind tag seconds`, and ` > peer > description` if it delegates."""

    kind: Kind
    tag: str
    seconds: float
    onward: tuple[str, str] | None = None

    def __str__(self) -> str:
        onward = "" if self.onward is None else f" > {self.onward[0]} > {self.onward[1]}"
        return f"{self.kind} {self.tag} {self.seconds}{onward}"

    @classmethod
    def parse(cls, text: str) -> "Work":
        """Read a description."""
        first, _, rest = text.partition(" > ")
        kind, tag, seconds = first.split(" ")
        peer, _, onward = rest.partition(" > ")
        return cls(Kind(kind), tag, float(seconds), (peer, onward) if peer else None)


Door = Callable[[], "SimulatedNode | None"]
"""The node that a run can speak to now; `None` while it is down."""


async def perform(task: Task, act: Callable[[Task], None], door: Door) -> Outcome:
    """Do what a task asks for."""
    work = Work.parse(task.description)
    if work.kind is Kind.UNBEGUN and task.attempt == 1:
        raise NotBegun("it could not be begun")
    if work.kind is Kind.ASK and not task.dialogue:
        asked = await _ask(task, door)
        return done("what becomes of it is up to the answer") if asked else failing("nobody could be asked")
    await asyncio.sleep(work.seconds / 2)
    act(task)
    said = result_of(task)
    if work.onward is not None:
        said = await _onward(task, work.onward, door)
    if work.kind is Kind.REPLY:
        await _reply(task, said, door)
        said = f"{said}, in other words"
    await asyncio.sleep(work.seconds / 2)
    if work.kind is Kind.FAIL:
        return failing(said)
    if work.kind is Kind.LOSE and task.attempt == 1:
        raise Interrupted("how it ended cannot be known")
    return done(said)


def result_of(task: Task) -> str:
    """Return the result of an attempt that delegates nothing."""
    told = f", told {task.dialogue[-1].answer}" if task.dialogue else ""
    return f"{Work.parse(task.description).tag} done at attempt {task.attempt}{told}"


async def _onward(task: Task, onward: tuple[str, str], door: Door) -> str:
    peer, text = onward
    fault: MeshError | None = None
    for _ in range(_TRIES):
        node = door()
        if node is not None:
            try:
                asked = await node.within(_asked(node, task, peer, text))
                return f"{Work.parse(task.description).tag} by {peer}: {asked.state} {asked.result}"
            except MeshError as told:
                fault = told
        await asyncio.sleep(_AGAIN_S)
    return f"{Work.parse(task.description).tag} by {peer}: {fault.code if fault else 'nobody there'}"


async def _asked(node: "SimulatedNode", task: Task, peer: str, text: str) -> Task:
    asked = await node.ask(peer, text, parent=task.local_id, session=f"task-{task.local_id}")
    return await node.node.tasks.watch(asked.local_id, wait_s=_WATCH_S)


async def _reply(task: Task, said: str, door: Door) -> None:
    await _told(door, lambda node: node.node.tasks.reply(task.local_id, said))


async def _ask(task: Task, door: Door) -> bool:
    return await _told(
        door, lambda node: node.node.tasks.ask(task.local_id, f"how, at attempt {task.attempt}?")
    )


async def _told(door: Door, tell: Callable[["SimulatedNode"], Coroutine[Any, Any, Task]]) -> bool:
    """Return whether the node has taken it."""
    for _ in range(_TRIES):
        node = door()
        if node is not None:
            try:
                await node.within(tell(node))
                return True
            except IllegalTransition:
                return False
            except MeshError:
                pass
        await asyncio.sleep(_AGAIN_S)
    return False


class Program:
    """Does tasks within the life of its node. Implements the port `Executor`."""

    outlives = False
    host_boot: str | None = None

    def __init__(self, node: "SimulatedNode", *, repeatable: bool) -> None:
        self.repeatable = repeatable
        self._node = node

    async def ready(self) -> None:
        """Return at once."""

    async def run(self, task: Task, said: Progress) -> Outcome:
        said("begun")
        return await perform(task, self._act, lambda: self._node)

    async def resume(self, task: Task, said: Progress) -> Outcome:
        raise Interrupted("the node ended while the task was being done")

    async def abort(self, task: Task) -> None:
        """Nothing is left of a program that was cancelled."""

    def _act(self, task: Task) -> None:
        mine = life()
        if mine is not None and not mine.dead:
            self._node.act(task)


class Host:
    """What runs beside a node, as a gateway does: its turns go on without the node, and end with the host."""

    def __init__(self, node: "SimulatedNode") -> None:
        self._node = node
        self._boots = 0
        self._up = asyncio.Event()
        self._begun: set[tuple[LocalId, int]] = set()
        self._turns: dict[tuple[LocalId, int], asyncio.Task[Outcome]] = {}
        self.life = Life("")
        self.start()

    @property
    def boot(self) -> str:
        return f"{self._node.name}-host-{self._boots}"

    def start(self) -> None:
        """Begin anew, knowing nothing."""
        self._boots += 1
        self.life = Life(self.boot)
        self._begun = set()
        self._turns = {}
        self._up.set()

    async def end(self) -> None:
        """End, with all turns."""
        self._up.clear()
        self.life.end()
        await self.life.bury()

    async def up(self) -> None:
        """Return once it runs."""
        await self._up.wait()

    def begin(self, task: Task) -> asyncio.Task[Outcome]:
        """Begin the turn of an attempt, once."""
        if not self._up.is_set():
            raise NotBegun("the host is down")
        key = (task.local_id, task.attempt)
        if key not in self._begun:
            self._begun.add(key)
            self._turns[key] = self.life.run(perform(task, self._act, self._door))
            self._turns[key].add_done_callback(_seen)
        return self._turns[key]

    def turn(self, task: Task) -> asyncio.Task[Outcome] | None:
        """Return the turn of an attempt; `None` if there was none."""
        return self._turns.get((task.local_id, task.attempt))

    def _door(self) -> "SimulatedNode | None":
        return self._node if self._node.running else None

    def _act(self, task: Task) -> None:
        mine = life()
        if mine is not None and not mine.dead:
            self._node.act(task)


class Guest:
    """Has tasks done by a host. Implements the port `Executor`."""

    outlives = True

    def __init__(self, host: Host, *, repeatable: bool) -> None:
        self.repeatable = repeatable
        self._host = host

    @property
    def host_boot(self) -> str | None:
        return self._host.boot

    async def ready(self) -> None:
        await self._host.up()

    async def run(self, task: Task, said: Progress) -> Outcome:
        said("begun")
        said("going on")
        return await _end_of(self._host.begin(task))

    async def resume(self, task: Task, said: Progress) -> Outcome:
        await self._host.up()
        turn = self._host.turn(task)
        if turn is not None:
            return await _end_of(turn)
        if task.host_boot == self._host.boot:
            raise NotBegun("the host knows nothing of it")
        raise Interrupted("the host was restarted while the task was being done")

    async def abort(self, task: Task) -> str | None:
        turn = self._host.turn(task)
        if turn is not None and not turn.done() and Work.parse(task.description).kind is Kind.INSIST:
            return "it insists"
        if turn is not None:
            turn.cancel()
            await asyncio.wait({turn})
        return None


def _seen(turn: asyncio.Task[Outcome]) -> None:
    """See how a turn ended, even if its node never asks: it may be down, or have let go."""
    if not turn.cancelled():
        turn.exception()


async def _end_of(turn: asyncio.Task[Outcome]) -> Outcome:
    await asyncio.wait({turn})
    if turn.cancelled():
        raise Interrupted("the host has ended the turn")
    return turn.result()
