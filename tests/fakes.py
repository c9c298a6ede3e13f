"""The world as the tests make it: time, chance, machines, tokens, links and executors. Never the store."""

import asyncio
import heapq
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum, auto
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanmesh.broom import Broom
from lanmesh.engine.admission import Limits
from lanmesh.engine.assembly import Engine, World
from lanmesh.engine.callers import Caller, InboundToken, digest_of
from lanmesh.engine.cancel import Cancels
from lanmesh.engine.delivery import Deliveries
from lanmesh.engine.events import Events
from lanmesh.engine.files import Standing
from lanmesh.engine.node import Node
from lanmesh.engine.ports import BytesFrom, Clock, Executor, Interrupted, Progress, Random
from lanmesh.engine.presence import Presences
from lanmesh.engine.retention import Retention
from lanmesh.engine.roster import Roster
from lanmesh.engine.runner import Runner
from lanmesh.engine.sightings import Sightings
from lanmesh.errors import (
    AnswerLost,
    MeshError,
    NotAuthenticated,
    OffsetDiffers,
    PeerUnreachable,
    RangeImpossible,
    StorageFailed,
    TaskNotFound,
)
from lanmesh.model.delivery import Delivery, DeliveryState
from lanmesh.model.draft import Mark
from lanmesh.model.envelope import Cancel, Envelope, EnvelopeType, Message, TaskRequest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import LocalId, NodeId, PeerId, WireId
from lanmesh.model.peer import DEFAULT_PORT, Pairing, Peer, Place
from lanmesh.model.profile import Hardware, Identity, MachineLoad, Offers
from lanmesh.model.report import TaskReport
from lanmesh.model.task import AcceptMode, Failure, Outcome, Task, TaskMode, TaskState, failed
from lanmesh.protocol import certificates, codec, problems, profiles, reports
from lanmesh.shelf import Shelf
from lanmesh.store.database import Change, Database

T = TypeVar("T")

BOUND_S = 20.0
"""Of every wait in real time: a bound tells that something never comes, and a busy machine is slow."""

EPOCH = 1_800_000_000.0
"""When every test begins."""

_TURNS = 150
"""Turns of the loop that the longest chain of wake-ups between two nodes takes, three times over."""

SHARED_CALLER = Caller(peer=None)
"""Whoever holds the shared token."""


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  # any part of a node may make it so
            await asyncio.sleep(0)


async def settle() -> None:
    """Let the loop turn until nothing more happens by itself; for nodes in memory only."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def soon(waiting: Awaitable[T]) -> T:
    """Return what comes of something that must not take long."""
    return await asyncio.wait_for(waiting, BOUND_S)


class FakeClock:
    """Time that stands still unless a test moves it. Implements the port `Clock`."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        """By how much the wall clock was set since; negative if back."""
        self._passed_s = 0.0
        self._slept = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return EPOCH + self._passed_s + self.ahead_s

    def monotonic(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self._slept += 1
        sleeper = (self._passed_s + seconds, self._slept, asyncio.get_running_loop().create_future())
        heapq.heappush(self._sleepers, sleeper)
        try:
            await sleeper[2]
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    @property
    def pauses(self) -> list[float]:
        """How long each sleeper still has to sleep, the shortest first."""
        return sorted(due - self._passed_s for due, _, _ in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let time pass; sleepers wake one after the other, each at its time."""
        end = self._passed_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._wake()
            await settle()
        self._passed_s = end
        await settle()

    async def jump(self, seconds: float) -> None:
        """Let time pass at once, as on a machine that was suspended: all who are due wake together."""
        await settle()
        self._passed_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._passed_s:
            self._wake()
        await settle()

    def _wake(self) -> None:
        due, _, sleeper = heapq.heappop(self._sleepers)
        self._passed_s = max(self._passed_s, due)
        if not sleeper.done():
            sleeper.set_result(None)


class FakeRandom:
    """Chance that a seed repeats. Implements the port `Random`."""

    def __init__(self, seed: str, uniform: float | None = None) -> None:
        """Begin at a seed; `uniform` is what `uniform` returns, unless it is `None`."""
        self._random = random.Random(seed)  # noqa: S311  # nothing secret depends on it
        self._uniform = uniform

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self) -> float:
        return self._random.random() if self._uniform is None else self._uniform


class FakeMachine:
    """A computer that is always the same. Implements the port `Machine`."""

    def hardware(self) -> Hardware:
        return Hardware(cpu="Abacus", cores=4, memory_bytes=2**33, os="TestOS 1")

    def __init__(self) -> None:
        self.cut_off: set[str] = set()
        """The hosts to which no network of its leads."""

    def online(self, hosts: Sequence[str]) -> bool:
        return not self.cut_off.issuperset(hosts)

    def load(self) -> MachineLoad:
        return MachineLoad(cpu_percent=12.5, memory_percent=50.0)


class FakeSurroundings:
    """What a test says stands beside a node. Implements the port `Surroundings`."""

    def __init__(self) -> None:
        self.known = Offers()

    def offers(self) -> Offers:
        return self.known


class FakeTokens:
    """Tokens in two dictionaries that a test may change. Implements the port `Tokens`."""

    def __init__(self, inbound: Mapping[str, str | None], outbound: Mapping[PeerId, str]) -> None:
        self.inbound_tokens = dict(inbound)
        """Each token to the peer that alone has it; `None` for a shared one."""
        self.outbound_tokens: dict[str, str] = dict(outbound.items())

    def inbound(self) -> Sequence[InboundToken]:
        return [
            InboundToken(digest=digest_of(token), peer=None if peer is None else PeerId(peer))
            for token, peer in self.inbound_tokens.items()
        ]

    def outbound(self, peer: PeerId) -> str | None:
        return self.outbound_tokens.get(peer)


class FakeExecutor:
    """Does tasks as the test says, and keeps a record of it. Implements the port `Executor`."""

    def __init__(
        self, *outcomes: Outcome | Exception, repeatable: bool = False, outlives: bool = False
    ) -> None:
        """Return or raise each of the outcomes once, then complete all tasks.

        What does not outlive its node cannot be resumed, as with a command.
        """
        self.repeatable = repeatable
        self.outlives = outlives
        self.host_boot: str | None = None
        self.runs: list[Task] = []
        self.resumed: list[Task] = []
        self.canceled: list[LocalId] = []
        self.history: list[str] = []
        """`run …`, `resume …` and `abort …` with local ids, in order."""
        self.outcomes = list(outcomes)
        self.say: dict[LocalId, Progress] = {}
        """What takes the words of each run, by the local id of its task."""
        self._open = asyncio.Event()
        self._open.set()
        self._ready = asyncio.Event()
        self._ready.set()
        self.unstoppable: str | None = None
        """Why no run can be aborted; `None` if each can."""
        self._aborting = asyncio.Event()
        self._aborting.set()

    def hold(self) -> None:
        """Let runs begin, but not end."""
        self._open.clear()

    def release(self) -> None:
        """Let all runs end."""
        self._open.set()

    def leave(self) -> None:
        """Let nothing be begun from now on."""
        self._ready.clear()

    def come_back(self) -> None:
        """Let work be begun again."""
        self._ready.set()

    def hold_aborts(self) -> None:
        """Let runs be told to end, but not say whether they have."""
        self._aborting.clear()

    def release_aborts(self) -> None:
        """Let runs say whether they have ended."""
        self._aborting.set()

    async def ready(self) -> None:
        await self._ready.wait()

    async def run(self, task: Task, said: Progress) -> Outcome:
        self.runs.append(task)
        self.say[task.local_id] = said
        self.history.append(f"run {task.local_id}")
        return await self._end_of(task)

    async def resume(self, task: Task, said: Progress) -> Outcome:
        self.resumed.append(task)
        self.say[task.local_id] = said
        self.history.append(f"resume {task.local_id}")
        if not self.outlives:
            raise Interrupted("the node ended while the task was being done")
        return await self._end_of(task)

    async def abort(self, task: Task) -> str | None:
        self.history.append(f"abort {task.local_id}")
        await self._aborting.wait()
        return self.unstoppable

    async def _end_of(self, task: Task) -> Outcome:
        outcome = self.outcomes.pop(0) if self.outcomes else done(f"done: {task.description[:100]}")
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.canceled.append(task.local_id)
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Heard:
    """Takes what a run says and writes, and keeps it. Implements the port `Progress`."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._texts: list[str] = []

    @property
    def written(self) -> str:
        return "".join(self._texts)

    def __call__(self, words: str) -> None:
        self.words.append(words)

    def write(self, text: str) -> None:
        self._texts.append(text)


class _Unheard(Heard):
    """Keeps nothing of it."""

    def __call__(self, words: str) -> None:
        pass

    def write(self, text: str) -> None:
        pass


unheard = _Unheard()
"""Where nobody looks at it."""


def done(result: str) -> Outcome:
    """Return the outcome of a task that was done."""
    return Outcome(state=TaskState.COMPLETED, result=result)


def failing(detail: str) -> Outcome:
    """Return the outcome of a task that came to nothing."""
    return failed(Failure.COMMAND_FAILED, detail)


class Fault(StrEnum):
    """What can be wrong between two nodes."""

    DOWN = auto()
    """No connection: nothing arrives, and the sender knows it."""
    LOSE_REQUEST = auto()
    """The connection breaks before the request arrived."""
    LOSE_ANSWER = auto()
    """The connection breaks after the request arrived."""
    BLACK_HOLE = auto()
    """The request does not arrive, and the sender waits until `MemoryLink.gate` is set."""
    BREAK = auto()
    """The link has a bug."""
    HOLD_ANSWER = auto()
    """The request arrives, and the answer waits until `MemoryLink.gate` is set."""


class MemoryLink:
    """The way to other nodes of the same test, through the real codec. Implements the port `PeerLink`."""

    def __init__(
        self, tokens: FakeTokens, nodes: Mapping[str, "NodeUnderTest"], own: "NodeUnderTest | None" = None
    ) -> None:
        """Reach nodes by the tokens of one of them; those that are paired with it, as it has proven."""
        self.faults: dict[str, Fault | MeshError] = {}
        """What is wrong on the way to a peer. A `MeshError` is what the peer answers."""
        self.gate = asyncio.Event()
        self.sent: list[tuple[str, Envelope]] = []
        """Every attempt to send."""
        self.questions: list[str] = []
        """Whom every report and every profile was asked of."""
        self.under_way = 0
        self.most_under_way = 0
        self._tokens = tokens
        self._nodes = nodes
        self._own = own

    async def send(self, peer: PeerId, envelope: Envelope) -> TaskReport | None:
        self.sent.append((peer, envelope))
        body = codec.encode_envelope(envelope)
        answer = await self.ask(peer, lambda node, caller: node.take(caller, body))
        return None if envelope.type is EnvelopeType.MESSAGE else reports.decode(answer)

    async def report(
        self, peer: PeerId, task: WireId, *, wait_s: float, version: int, draft: Mark | None = None
    ) -> TaskReport:
        self.questions.append(peer)

        async def question(node: "NodeUnderTest", caller: Caller) -> bytes:
            report = await node.node.arrivals.report(
                caller, task, wait_s=wait_s, version=version, draft=draft
            )
            return reports.encode(report)

        return reports.decode(await self.ask(peer, question))

    async def profile(self, peer: PeerId) -> bytes:
        self.questions.append(peer)

        async def question(node: "NodeUnderTest", _caller: Caller) -> bytes:
            return profiles.encode(node.node.peers.own_profile())

        return profiles.check(await self.ask(peer, question))

    def sent_to(self, peer: str) -> list[Envelope]:
        """Return every attempt to send something to a peer."""
        return [envelope for recipient, envelope in self.sent if recipient == peer]

    async def ask(
        self, peer: PeerId, question: Callable[["NodeUnderTest", Caller], Awaitable[bytes]]
    ) -> bytes:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            return await self._carry(peer, question, self.faults.get(peer))
        finally:
            self.under_way -= 1

    async def _carry(
        self,
        peer: PeerId,
        question: Callable[["NodeUnderTest", Caller], Awaitable[bytes]],
        fault: Fault | MeshError | None,
    ) -> bytes:
        node = self._nodes.get(peer)
        if isinstance(fault, MeshError):
            raise fault
        if fault is Fault.BREAK:
            raise ValueError("a bug")
        if fault is Fault.BLACK_HOLE:
            await self.gate.wait()
        if fault in {Fault.LOSE_REQUEST, Fault.BLACK_HOLE}:
            raise AnswerLost(f"{peer} did not answer")
        if node is None or not node.running or fault is Fault.DOWN:
            raise PeerUnreachable(f"{peer} is down")
        try:
            caller = await node.node.identify(*self._credentials(peer))
            answer = await question(node, caller)
        except NotAuthenticated as refusal:
            raise PeerUnreachable(f"{peer} does not know our token") from refusal
        except MeshError as refusal:
            status = problems.spelling(refusal).status
            raise problems.decode(status, problems.encode(refusal), refusal.retry_after_s) from None
        except apsw.Error as crash:
            raise AnswerLost(f"{peer} crashed") from crash
        if fault is Fault.HOLD_ANSWER:
            await self.gate.wait()
        if fault is Fault.LOSE_ANSWER:
            raise AnswerLost(f"{peer} did not answer")
        return answer

    def _credentials(self, peer: PeerId) -> tuple[str | None, NodeId | None]:
        if self._own is None or self._own.roster.paired(peer) is None:
            return self._tokens.outbound(peer), None
        return self._own.roster.outbound(peer), self._own.node_id


class NoShelf(Shelf):
    """Holds nothing: for nodes that deal in no files, without a thread of its own."""

    async def made(self, holder: str) -> list[tuple[Path, str]]:
        return []

    async def clear(self, holder: str) -> None:
        pass


class MemoryFiles:
    """The way of files to other nodes of the same test. Implements the port `FileLink`."""

    def __init__(self, link: MemoryLink) -> None:
        self.cut_after: int | None = None
        """After so many bytes the connection breaks, each time."""
        self.moved: list[tuple[str, int, int]] = []
        """Of each request: which way, from which offset, and how many bytes."""
        self.faults: list[MeshError] = []
        """What the next files that are given are refused with, one after the other."""
        self.stalled: dict[str, asyncio.Event] = {}
        """Hashes of files of which a first piece comes, which sets the event, and no second one."""
        self._link = link

    async def give(self, peer: PeerId, ref: FileRef, offset: int, bytes_from: BytesFrom) -> None:
        if self.faults:
            raise self.faults.pop(0)

        async def put(node: "NodeUnderTest", caller: Caller) -> bytes:
            begin = offset
            try:
                standing = await self._put(node, caller, ref, begin, bytes_from)
            except OffsetDiffers:
                begin = node.node.files.standing(caller, ref.sha256).present
                standing = await self._put(node, caller, ref, begin, bytes_from)
            return str(standing.present).encode()

        if int(await self._link.ask(peer, put)) != ref.size:
            raise AnswerLost(f"{peer} does not have all of it")

    async def _put(
        self, node: "NodeUnderTest", caller: Caller, ref: FileRef, begin: int, bytes_from: BytesFrom
    ) -> Standing:
        chunks = self._cut("give", ref, begin, bytes_from(begin))
        return await node.node.files.take(caller, ref.sha256, begin, ref.size - begin, chunks)

    @asynccontextmanager
    async def fetch(
        self, peer: PeerId, ref: FileRef, offset: int
    ) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        opened: list[AsyncGenerator[bytes, None]] = []

        async def get(node: "NodeUnderTest", caller: Caller) -> bytes:
            if offset >= ref.size > 0:
                raise RangeImpossible(f"the file has {ref.size} bytes")
            opened.append(node.node.files.read(node.node.files.offered(caller, ref.sha256), offset, ref.size))
            return b""

        await self._link.ask(peer, get)
        yield self._cut("fetch", ref, offset, opened[0])

    async def _cut(
        self, way: str, ref: FileRef, begin: int, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        moved = 0
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if self.cut_after is not None and moved + len(piece) > self.cut_after:
                        kept, moved = piece[: self.cut_after - moved], self.cut_after
                        yield kept
                        raise AnswerLost("the connection broke")
                    moved += len(piece)
                    yield piece
                    if ref.sha256 in self.stalled:
                        self.stalled[ref.sha256].set()
                        await asyncio.Event().wait()
        finally:
            self.moved.append((way, begin, moved))


class MemoryStrangers:
    """The way to nodes of the same test that are no peers yet. Implements the port `Strangers`.

    A node is reached at the host `<name>.lan`, on any port. Somebody in between is a node whose
    certificate is shown in place of the one that was dialled.
    """

    def __init__(self, own: "NodeUnderTest", nodes: Mapping[str, "NodeUnderTest"]) -> None:
        self.faults: dict[str, Fault] = {}
        """What is wrong with a path, as `/lan/pair/finish`; `LOSE_ANSWER` once, the others for ever."""
        self.between: NodeUnderTest | None = None
        """Who terminates the connection instead, and hands on what is said."""
        self.said: list[tuple[str, bytes]] = []
        """Every body that went out, and its path."""
        self.before: Callable[[str], None] = lambda _: None
        """Is told the path of each request before it is sent."""
        self._own = own
        self._nodes = nodes

    async def meet(self, host: str, port: int) -> bytes:
        node = self._at(host)
        return (self.between or node).certificate

    async def find(self, node_id: NodeId, places: Sequence[Place]) -> tuple[Place, bytes]:
        for place in places:
            with suppress(PeerUnreachable):
                if self._at(place[0]).node_id == node_id:
                    return place, await self.meet(*place)
        raise PeerUnreachable("it is at none of these places")

    async def ask(self, host: str, port: int, certificate: bytes, path: str, body: bytes) -> bytes:
        self.said.append((path, body))
        self.before(path)
        node, fault = self._at(host), self.faults.get(path)
        if fault is Fault.LOSE_REQUEST:
            raise AnswerLost(f"{host} did not answer")
        if (self.between or node).certificate != certificate:
            raise PeerUnreachable(f"{host} shows another key")
        try:
            if path == "/lan/pair/start":
                answer = node.node.pairing.start(body, f"{self._own.name}.lan")
            else:
                answer = await node.node.pairing.finish(body, f"{self._own.name}.lan")
        except MeshError as refusal:
            if not node.running:
                raise AnswerLost(f"{host} crashed") from None
            raise problems.decode(403, problems.encode(refusal)) from None
        if fault is Fault.LOSE_ANSWER:
            del self.faults[path]
            raise AnswerLost(f"{host} did not answer")
        return answer

    async def standing(self, pairing: Pairing) -> str:
        self.before("/lan/whoami")
        node, fault = self._at(pairing.host), self.faults.get("/lan/whoami")
        if fault is Fault.LOSE_REQUEST:
            raise AnswerLost(f"{pairing.host} did not answer")
        try:
            await node.node.identify(pairing.token, self._own.node_id)
        except NotAuthenticated:
            return "not_paired"
        except StorageFailed:
            raise AnswerLost(f"{pairing.host} crashed") from None
        if fault is Fault.LOSE_ANSWER:
            self.faults.pop("/lan/whoami", None)
            raise AnswerLost(f"{pairing.host} did not answer")
        return "paired"

    def _at(self, host: str) -> "NodeUnderTest":
        node = self._nodes.get(host.removesuffix(".lan"))
        if node is None or not node.running:
            raise PeerUnreachable(f"{host} is down")
        return node


class InlineWriter:
    """Runs the writer's work in place, and counts the commits."""

    def __init__(self) -> None:
        self.commits = 0
        self.broken = False
        """Whether the disk takes nothing any more."""
        self.committing: Callable[[int], None] = lambda _: None
        """Is told the number of each commit before it is made."""
        self.committed: Callable[[int], None] = lambda _: None
        """Is told the number of each commit, before anyone else hears of it."""

    async def __call__(self, work: Callable[[], None]) -> None:
        if self.broken:
            raise apsw.IOError("the power is gone")
        self.committing(self.commits + 1)
        self.commits += 1
        work()
        self.committed(self.commits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a node is made of; a test of the tests puts a faulty one in."""

    database: type[Database] = Database
    cancels: type[Cancels] = Cancels
    retention: type[Retention] = Retention
    runner: type[Runner] = Runner
    deliveries: type[Deliveries] = Deliveries


class NodeUnderTest:
    """One node, composed as composition.py does it, with the test's world around a real database."""

    node: Node
    database: Database
    events: Events
    writer: InlineWriter
    runner: Runner
    boot: str
    clock: Clock
    chance: Random
    worker: Executor
    parts = Parts()

    def __init__(
        self,
        name: str,
        mesh: "Mesh",
        *,
        peers: Iterable[str] = (),
        proven: bool = True,
        executor: FakeExecutor | None = None,
        accept_mode: AcceptMode = AcceptMode.AUTO,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        uniform: float | None = None,
    ) -> None:
        """Describe it; `start` makes it run.

        Args:
            name: Its own.
            mesh: Where it finds the others.
            peers: Whom it knows.
            proven: Whether each peer has a token of its own here, or all have the shared one.
            executor: What does its tasks.
            accept_mode: The configured one.
            limits: The configured ones.
            uniform: What its chance always says; else that depends on the name.
        """
        self.name = PeerId(name)
        self.clock = mesh.clock
        self.peers = {PeerId(peer): Peer(id=PeerId(peer), host=f"{peer}.lan") for peer in peers}
        self.proven = proven
        self.worker = self.executor = executor or FakeExecutor()
        self.surroundings = FakeSurroundings()
        self.machine = FakeMachine()
        self.accept_mode = accept_mode
        self.limits = limits
        self.chance = FakeRandom(name, uniform)
        inbound = {f"{peer}@{name}": peer if proven else None for peer in self.peers}
        outbound = {peer: f"{name}@{peer}" for peer in self.peers}
        self.tokens = FakeTokens({f"shared@{name}": None, **inbound}, outbound)
        self.link = MemoryLink(self.tokens, mesh.nodes, self)
        self.file_link = MemoryFiles(self.link)
        self.shelf: Shelf = NoShelf(mesh.folder / f"{name}.blobs", mesh.folder / f"{name}.work")
        self.broom = Broom(mesh.folder / f"{name}.blobs", mesh.folder / f"{name}.work")
        key = Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
        self.certificate = certificates.make(key)
        self.node_id = certificates.read(self.certificate)
        self.strangers = MemoryStrangers(self, mesh.nodes)
        self.path = mesh.folder / f"{name}.db"
        self.running = False
        self._boots = 0

    async def start(self) -> None:
        """Open the file, settle what an earlier boot left, and work."""
        self._boots += 1
        self.boot = f"{self.name}-boot-{self._boots}"
        self.writer = InlineWriter()
        self.events = Events()
        self.database = Database(self.path, in_writer=self.writer, on_commit=self._committed)
        self._compose()
        self._stopping = asyncio.Event()
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready))
        begun = asyncio.create_task(ready.wait())
        await soon(asyncio.wait({self._life, begun}, return_when=asyncio.FIRST_COMPLETED))
        begun.cancel()
        if self._life.done():
            await self._life
        self.running = True

    async def stop(self) -> None:
        """Stop in good order; what broke meanwhile is raised here."""
        self.stop_soon()
        await soon(self._life)

    def stop_soon(self) -> None:
        """Begin to stop."""
        self.running = False
        self._stopping.set()

    async def crash(self) -> None:
        """Drop everything; the file is left as the last commit left it, its WAL not copied back."""
        self.running = False
        self.writer.broken = True
        files = [Path(f"{self.path}{suffix}") for suffix in ("", "-wal")]
        left = {file: file.read_bytes() for file in files if file.exists()}
        for part in self._working:
            part.cancel()
        await soon(asyncio.gather(*self._working, return_exceptions=True))
        self._life.cancel()
        await soon(asyncio.gather(self._life, return_exceptions=True))
        self.database.release()
        for file, content in left.items():
            file.write_bytes(content)

    async def restart(self) -> None:
        """Stop in good order, and start again on the same file."""
        await self.stop()
        await self.start()

    async def take(self, caller: Caller, body: bytes) -> bytes:
        """Take a request's body as the REST face does, and return the body of the answer."""
        envelope, digest = codec.decode_envelope(body)
        match envelope.type:
            case EnvelopeType.MESSAGE:
                return codec.encode(codec.Stored(id=await self.node.mail.receive(caller, envelope, digest)))
            case EnvelopeType.TASK:
                return reports.encode(await self.node.arrivals.receive(caller, envelope, digest))
            case EnvelopeType.CANCEL:
                return reports.encode(await self.node.arrivals.cancel(caller, envelope, digest))
            case EnvelopeType.ANSWER:
                return reports.encode(await self.node.arrivals.answer(caller, envelope, digest))
            case EnvelopeType.RESULT | EnvelopeType.QUESTION | EnvelopeType.CANCEL_RESULT:
                return reports.encode(await self.node.arrivals.receive_result(caller, envelope, digest))

    async def receive(self, envelope: Envelope, caller: Caller = SHARED_CALLER) -> TaskReport:
        """Take a task or a result from a caller, and return the answer."""
        return reports.decode(await soon(self.take(caller, codec.encode_envelope(envelope))))

    async def hear(self, envelope: Envelope, caller: Caller = SHARED_CALLER) -> None:
        """Take a message from a caller."""
        await soon(self.take(caller, codec.encode_envelope(envelope)))

    async def delegate(
        self, peer: str, text: str = "count", *, parent: str | None = None, session: str | None = None
    ) -> Task:
        """Ask a peer to do something."""
        return await soon(self.node.tasks.delegate(peer, text, parent=parent, session=session))

    def task(self, name: str) -> Task:
        """Return a task as it is now."""
        return self.node.tasks.find(name).task

    def delivery(self, name: str) -> Delivery:
        """Return how the latest envelope about a task fares."""
        delivery = self.node.tasks.find(name).delivery
        assert delivery is not None
        return delivery

    def has_delivery(self, name: str, state: DeliveryState) -> bool:
        """Return whether there is an envelope about a task, and whether it fares like that."""
        try:
            delivery = self.node.tasks.find(name).delivery
        except TaskNotFound:
            return False
        return delivery is not None and delivery.state is state

    def history(self, name: str) -> list[str]:
        """Return what happened to a task, in order."""
        return [event.event for event in self.node.tasks.find(name).events]

    def tasks_of_others(self) -> list[Task]:
        """Return the tasks that this node was asked to do, the newest first."""
        return [task for task in self.node.tasks.page(1000) if not task.asked]

    def _committed(self, changes: Iterable[Change]) -> None:
        self.roster.note(changes)
        self.events.publish(changes)

    async def _live(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self.database.serve())
            await self._engine.begin(self.accept_mode)
            self._working = [group.create_task(work.run()) for work in self._engine.works]
            ready.set()
            await self._stopping.wait()
            self.node.tasks.stop()
            for part in self._working:
                part.cancel()
            await asyncio.wait(self._working)
            self.database.close()
            await writing
        self.database.release()

    def _compose(self) -> None:
        self.roster = Roster(
            database=self.database,
            clock=self.clock,
            tokens=self.tokens,
            configured=self.peers,
            with_own_token=frozenset(self.peers if self.proven else ()),
            me=self.name,
            node_id=self.node_id,
        )
        self.sightings = Sightings(
            node_id=self.node_id, peer_of=self.roster.peer_of, events=self.events, clock=self.clock
        )
        self.presences = Presences(self.roster, self.machine, self.clock)
        world = World(
            database=self.database,
            events=self.events,
            clock=self.clock,
            chance=self.chance,
            roster=self.roster,
            presences=self.presences,
            sightings=self.sightings,
            link=self.link,
            file_link=self.file_link,
            strangers=self.strangers,
            shelf=self.shelf,
            broom=self.broom,
            machine=self.machine,
            surroundings=self.surroundings,
            executor=self.worker,
            identity=Identity(id=self.name, name=f"The node {self.name}"),
            certificate=self.certificate,
            version="0.0.0",
            boot=self.boot,
            port=DEFAULT_PORT,
            limits=self.limits,
        )
        kinds = self.parts
        self._engine = Engine(world, cancels=kinds.cancels, runner=kinds.runner, deliveries=kinds.deliveries)
        self.node, self.runner = self._engine.node, self._engine.runner
        self.clearance = self._engine.clearance


class Mesh:
    """Nodes on one clock that reach one another in memory, each by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.nodes: dict[str, NodeUnderTest] = {}

    def describe(
        self,
        name: str,
        *,
        peers: Iterable[str] = (),
        proven: bool = True,
        executor: FakeExecutor | None = None,
        accept_mode: AcceptMode = AcceptMode.AUTO,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        uniform: float | None = None,
    ) -> NodeUnderTest:
        """Return a node that does not run yet; see `NodeUnderTest`."""
        self.nodes[name] = NodeUnderTest(
            name,
            self,
            peers=peers,
            proven=proven,
            executor=executor,
            accept_mode=accept_mode,
            limits=limits,
            uniform=uniform,
        )
        return self.nodes[name]

    async def pair(
        self, *, executor: FakeExecutor | None = None, proven: bool = True
    ) -> tuple[NodeUnderTest, NodeUnderTest]:
        """Return two nodes that know each other; `b` has the executor."""
        a = self.describe("a", peers=["b"], proven=proven)
        b = self.describe("b", peers=["a"], proven=proven, executor=executor)
        await a.start()
        await b.start()
        return a, b

    async def close(self) -> None:
        """Stop all that runs."""
        for node in self.nodes.values():
            if node.running:
                await node.stop()


def a_task(
    id: str = "t-1",  # the word of the wire
    text: str = "count",
    *,
    sender: str = "asker",
    recipient: str | None = None,
    mode: TaskMode = TaskMode.CALLBACK,
    timeout_s: float = 600.0,
    reply_key: str | None = None,
    ttl_s: float | None = None,
    timestamp_ms: int = 0,
    root_id: str | None = None,
    path: Iterable[str] = (),
    hops: int = 0,
) -> Envelope:
    """Return a task as any program might send it."""
    return Envelope(
        id=WireId(id),
        sender=sender,
        recipient=recipient,
        timestamp_ms=timestamp_ms,
        payload=TaskRequest(description=text, mode=mode, timeout_s=timeout_s),
        reply_key=reply_key,
        ttl_s=ttl_s,
        root_id=None if root_id is None else WireId(root_id),
        path=tuple(PeerId(name) for name in path),
        hops=hops,
    )


def a_message(
    id: str = "m-1",  # the word of the wire
    text: str = "hello",
    *,
    sender: str = "asker",
    recipient: str | None = None,
    files: tuple[FileRef, ...] = (),
) -> Envelope:
    """Return a message as any program might send it."""
    said = Message(text=text, files=files)
    return Envelope(id=WireId(id), sender=sender, recipient=recipient, timestamp_ms=0, payload=said)


def a_cancel(
    task: str,
    *,
    id: str = "c-1",  # the word of the wire
    sender: str = "asker",
) -> Envelope:
    """Return a cancel of a task as whoever sent the task might send it."""
    return Envelope(
        id=WireId(id),
        sender=sender,
        recipient=None,
        timestamp_ms=0,
        payload=Cancel(task_id=WireId(task)),
        reply_to=WireId(task),
    )


def a_result(
    task: Task,
    result: str = "42",
    *,
    id: str = "r-1",  # the word of the wire
    sender: str = "b",
    reply_key: str | None = None,
    state: TaskState = TaskState.COMPLETED,
    files: tuple[FileRef, ...] = (),
) -> Envelope:
    """Return the result of an asked task as a doer might send it."""
    report = TaskReport(
        task_id=task.wire_id, local_id=LocalId(""), state=state, version=9, result=result, files=files
    )
    return Envelope(
        id=WireId(id),
        sender=sender,
        recipient=None,
        timestamp_ms=0,
        payload=report,
        reply_to=task.wire_id,
        reply_key=reply_key,
    )


def proven(peer: str) -> Caller:
    """Return a peer that calls with a token of its own."""
    return Caller(peer=PeerId(peer))
