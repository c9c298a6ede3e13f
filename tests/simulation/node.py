"""One simulated node: the real engine on the real store, with a disk, a clock and a life of its own."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import apsw

from lanmesh.engine.admission import Limits
from lanmesh.engine.callers import Caller
from lanmesh.engine.events import Events
from lanmesh.engine.retention import Keep
from lanmesh.errors import MeshError, NodeUnreachable, NotAuthenticated, PeerUnreachable, StorageFailed
from lanmesh.model.ids import LocalId
from lanmesh.model.task import AcceptMode, Task
from lanmesh.protocol import codec
from tests.fakes import EPOCH, FakeRandom, InlineWriter, Mesh, NodeUnderTest, Parts
from tests.simulation.ledger import Effect, Ledger, Promise
from tests.simulation.loop import Life, VirtualLoop
from tests.simulation.network import Network, Question, Wire
from tests.simulation.power import VFS, Disk, Loss
from tests.simulation.work import Guest, Host, Program

T = TypeVar("T")

_WRITE_S = 0.004
"""The longest that a commit takes, on either side of the moment in which it counts."""

_SMALL_PAGES = 40
"""The WAL is copied back early, so that the power can go meanwhile."""

_TIDY = 10.0
"""Slower than in a real node, by this factor: that it looks often is not what is simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the owner of a node has chosen."""

    name: str
    accept_mode: AcceptMode = AcceptMode.AUTO
    host: bool = False
    """Whether tasks are done by something that outlives the node."""
    repeatable: bool = False
    concurrency: int = 2
    max_waiting: int = 1000
    proven: bool = True
    strangers: str = ""
    """The nodes that it has not configured: they call with the shared token, and ask for their results."""


class SimulatedClock:
    """A node's own clock over virtual time. Implements the port `Clock`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.ahead_s = 0.0
        """By how much the wall clock is wrong."""
        self._loop = loop

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.ahead_s

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class SimulatedWriter(InlineWriter):
    """Commits in place, with time before and after in which a node can end."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def __call__(self, work: Callable[[], None]) -> None:
        await asyncio.sleep(self._chance.random() * _WRITE_S)
        try:
            await super().__call__(work)
        finally:
            await asyncio.sleep(self._chance.random() * _WRITE_S)


class SimulatedNode(NodeUnderTest):
    """A node whose boots follow one another on what the last one left of its disk."""

    def __init__(
        self,
        settings: Settings,
        mesh: Mesh,
        others: Iterable[Settings],
        *,
        loop: VirtualLoop,
        seed: int,
        network: Network,
        ledger: Ledger,
        parts: Parts,
    ) -> None:
        super().__init__(
            settings.name,
            mesh,
            peers=[other.name for other in others if other.name not in settings.strangers],
            proven=settings.proven,
            accept_mode=settings.accept_mode,
            limits=Limits(concurrency=settings.concurrency, max_waiting=settings.max_waiting),
        )
        for other in others:
            if settings.name in other.strangers:
                self.tokens.outbound_tokens[other.name] = f"shared@{other.name}"
        self.parts = parts
        self.settings = settings
        self.wall = SimulatedClock(loop)
        self.clock = self.wall
        self._network = network
        self.link = Wire(self.name, self.tokens, mesh.nodes, network)
        self.ledger = ledger
        self.died: Callable[[], None] = lambda: None
        """Called when it has ended without having been told to."""
        self.host = Host(self) if settings.host else None
        self.worker = (
            Program(self, repeatable=settings.repeatable)
            if self.host is None
            else Guest(self.host, repeatable=settings.repeatable)
        )
        self.life = Life("")
        self.life.end()
        self.loss = Loss.NOTHING
        """What the next crash does to the disk."""
        self._seed = seed
        self._loop = loop
        self._booting = False
        self._dice = random.Random(f"{seed}/{self.name}")  # noqa: S311
        self._folder = mesh.folder / self.name
        self.disk: Disk = Disk(self._folder / "0")

    # --- its life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Boot; while the disk takes nothing, try again."""
        while True:
            self._boots += 1
            self.boot = f"{self.name}-boot-{self._boots}"
            self.life = Life(self.boot)
            self.life.ended.append(self._ended)
            self.chance = FakeRandom(f"{self._seed}/{self.boot}")
            ready = asyncio.Event()
            self._life = self.life.run(self._be(ready))
            begun = asyncio.create_task(ready.wait())
            await asyncio.wait({self._life, begun}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if self.life.dead:
                await self.life.bury()
                await asyncio.gather(self._life, return_exceptions=True)
                continue
            if not self._life.done():
                self.running = True
                self._life.add_done_callback(partial(self._over, self.life))
                self._check_disk()
                return
            fault = self._life.exception()
            self.life.dead = True
            if not _of_the_disk(fault):
                self.ledger.violation(f"{self.boot} does not start: {fault!r}")
                return
            await self.life.bury()
            await asyncio.sleep(2.0)

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop: by then it lets nobody in, and ends what it does by itself."""
        return self._stopping.is_set()

    async def stop(self) -> None:
        """Stop in good order."""
        mine = self.life
        self.stop_soon()
        _, late = await asyncio.wait({self._life}, timeout=120.0)
        if mine.dead:
            return  # it crashed meanwhile
        if late:
            self.ledger.violation(f"{mine.name} does not stop")
            return
        mine.dead = True
        self._next_disk(Loss.NOTHING)
        await mine.bury()

    async def restart(self) -> None:
        """Boot again on what the last life left, if that is over and nobody else does it."""
        if self.life.dead and not self._booting:
            self._booting = True
            await self.life.bury()
            with suppress(apsw.Error):  # its disk is gone
                self.database.release()
            await self.start()
            self._booting = False

    def disarm(self) -> None:
        """Let no crash that was planned come any more."""
        self.life.end_after(None)
        self.disk.light(None, self.life.end)

    async def _be(self, ready: asyncio.Event) -> None:
        self.writer = SimulatedWriter(self._dice)
        self.events = Events()
        self.database = self.parts.database(
            self.disk.folder / "state.db", in_writer=self.writer, on_commit=self._committed, vfs=VFS
        )
        try:
            self._compose()
            self._stopping = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                tidying = group.create_task(
                    self.database.keep_small(self.writer, lambda s: self.clock.sleep(s * _TIDY), _SMALL_PAGES)
                )
                await self._live(ready)
                tidying.cancel()
        except BaseException:
            if not self.life.dead:
                self.database.release()
            raise

    def _ended(self) -> None:
        self.running = False
        self.ledger.note(self._loop.time(), f"{self.boot} ends, {self.loss} is lost")
        self._next_disk(self.loss)
        self._network.outside(self.life.bury())
        self.died()

    def _next_disk(self, loss: Loss) -> None:
        full = self.disk.full
        self.disk = Disk(self._folder / str(self._boots), self.disk.end(loss, self._dice))
        self.disk.full = full

    def _over(self, mine: Life, task: asyncio.Task[None]) -> None:
        fault = None if task.cancelled() else task.exception()
        if mine.dead:
            return
        self.running = False
        stopped = self._stopping.is_set() and _of_the_disk(fault)  # SQLite itself would have kept that quiet
        if fault is not None and not stopped:
            self.ledger.violation(f"{self.boot} broke: {_leaves(fault)}")

    def _check_disk(self) -> None:
        read = self.database.read
        for (node, origin, wire_id), envelope in self.ledger.acknowledged.items():
            if node == self.name and not read.row(
                "SELECT 1 FROM inbox WHERE origin = ? AND wire_id = ?", origin, wire_id
            ):
                self.ledger.violation(f"lost: {node} has acknowledged {envelope.type} {wire_id} of {origin}")
        forgets = self.name in self.ledger.swept
        for promise in () if forgets else (*self.ledger.tasks, *self.ledger.messages):
            if promise.node == self.name and not read.row(
                "SELECT 1 FROM outbox WHERE wire_id = ?", promise.wire_id
            ):
                self.ledger.violation(f"lost: {promise.node} has promised to send {promise.wire_id}")

    # --- what others do to it -------------------------------------------------------------------------

    async def answer(self, question: Question, token: str | None) -> bytes | MeshError | None:
        """Answer as the server does; `None` if this life ends meanwhile."""
        mine = self.life
        serving = mine.run(self._serve(question, token))
        await asyncio.wait({serving})
        return None if mine.dead or serving.cancelled() else serving.result()

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in this life, asked for by something that is not part of it."""
        mine = self.life
        doing = mine.run(work)
        try:
            await asyncio.wait({doing})
        finally:
            doing.cancel()
        if mine.dead or doing.cancelled():
            raise NodeUnreachable(f"{mine.name} is no more")
        return doing.result()

    async def _serve(self, question: Question, token: str | None) -> bytes | MeshError:
        try:
            return await question(self, await self.node.identify(token))
        except NotAuthenticated:
            return PeerUnreachable(f"{self.name} does not know the token")
        except MeshError as fault:
            return fault
        except Exception as fault:  # noqa: BLE001  # an answer of 500
            if not self.life.dead:
                self.ledger.violation(f"{self.name} answers 500: {fault!r}")
            return MeshError()

    async def take(self, caller: Caller, body: bytes) -> bytes:
        mine = self.life
        answer = await super().take(caller, body)
        if not mine.dead:
            envelope, _ = codec.decode_envelope(body)
            self.ledger.acknowledged[self.name, caller.origin, envelope.id] = envelope
            self.ledger.note(self._loop.time(), f"{self.boot} acknowledges {envelope.type} {envelope.id}")
        return answer

    async def ask(
        self, peer: str, text: str, *, timeout_s: float = 600.0, parent: LocalId | None = None,
        session: str | None = None,
    ) -> Task:  # fmt: skip
        """Delegate a task, and keep what was promised."""
        mine = self.life
        task = await self.node.tasks.delegate(peer, text, timeout_s=timeout_s, parent=parent, session=session)
        promise = Promise(self.name, peer, task.wire_id)
        if not mine.dead and promise not in self.ledger.tasks:
            self.ledger.tasks.append(promise)
            self.ledger.note(self._loop.time(), f"{self.boot} asks {peer} for {task.wire_id}: {text}")
        return task

    async def say(self, peer: str, text: str) -> None:
        """Send a message, and keep what was promised."""
        mine = self.life
        delivery = await self.node.mail.send(peer, text)
        if not mine.dead:
            self.ledger.messages.append(Promise(self.name, peer, delivery.envelope.id))

    async def reply(self, task: Task) -> None:
        """Answer a task's question, and keep what was promised."""
        mine = self.life
        text = f"answer {len(self.ledger.answers.get((self.name, task.wire_id), ()))} of {self.name}"
        # Kept before it is known: a node that ends meanwhile may have stored it.
        self.ledger.answers.setdefault((self.name, task.wire_id), []).append(text)
        await self.node.tasks.answer(task.local_id, text)
        self.ledger.note(self._loop.time(), f"{mine.name} answers {task.wire_id}: {text}")

    async def sweep(self) -> None:
        """Forget all that may be forgotten; what is open or must be known again has to stay."""
        set_by_s = self.wall.ahead_s
        needed = self._needed()
        self.ledger.swept.add(str(self.name))
        await self.parts.retention(database=self.database, clock=self.clock, keep=Keep(count=0)).sweep()
        if set_by_s != self.wall.ahead_s:
            return  # what was needed before the clock was set may have been forgotten by right
        for query, wire_id in needed:
            if not self.database.read.row(f"{query} AND wire_id = ?", wire_id):
                self.ledger.violation(f"swept: {self.name} has forgotten {wire_id}: {query}")

    def _needed(self) -> list[tuple[str, str]]:
        read = self.database.read
        queries = {
            "SELECT wire_id FROM tasks WHERE finished_at IS NULL": "SELECT wire_id FROM tasks WHERE 1",
            "SELECT wire_id FROM outbox WHERE due_at IS NOT NULL": "SELECT wire_id FROM outbox WHERE 1",
            "SELECT wire_id FROM inbox": "SELECT wire_id FROM inbox WHERE 1",
        }
        return [(again, wire_id) for query, again in queries.items() for (wire_id,) in read.rows(query)]

    def act(self, task: Task) -> None:
        """Let a run change the world."""
        effect = Effect(str(self.name), task.local_id, task.wire_id, task.origin, task.attempt)
        self.ledger.effects.append(effect)
        self.ledger.note(self._loop.time(), f"{self.name} does {task.wire_id}, attempt {task.attempt}")


def _leaves(fault: BaseException) -> str:
    if isinstance(fault, BaseExceptionGroup):
        return "; ".join(_leaves(inner) for inner in fault.exceptions)
    return repr(fault)


def _of_the_disk(fault: BaseException | None) -> bool:
    if isinstance(fault, BaseExceptionGroup):
        return all(_of_the_disk(inner) for inner in fault.exceptions)
    return isinstance(fault, StorageFailed | apsw.Error)
