"""A run: the plan is carried out on virtual time, the world heals, and what came of it is judged."""

import asyncio
import gc
import logging
import random
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, assert_never

import apsw

from lanmesh.errors import MeshError, StorageFailed, TasksNotAccepted
from lanmesh.model.task import TaskState
from lanmesh.protocol import codec
from lanmesh.store import tasks
from lanmesh.store.database import Database
from tests.fakes import SHARED_CALLER, Mesh, Parts, a_task
from tests.simulation import invariants, script
from tests.simulation.ledger import Ledger
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.network import CALM, Network
from tests.simulation.node import SimulatedNode
from tests.simulation.script import Plan, Step

_LOOK_S = 15.0
"""Between two looks at whether all has come to rest."""

_REST_S = 4 * 3600.0
"""After so long without trouble, all must have come to rest."""

_DOUBT_S = 1800.0
"""After so long, copies that were late have come, and askers have asked about all that they gave up."""

_SPARE_S = 90.0
"""By which a watch may return later than asked: the disk may have been full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a run."""

    plan: Plan
    violations: tuple[str, ...]
    trace: str
    """A hash of all that happened, in order."""
    turns: int
    """Of the loop."""
    seconds: float
    """Of virtual time."""
    lines: tuple[str, ...] = ()


def run(plan: Plan, parts: Parts = Parts(), *, verbose: bool = False) -> Verdict:  # noqa: B008  # frozen
    """Carry out a plan; everything that happens follows from it."""
    ledger = Ledger(verbose=verbose)
    loop = VirtualLoop()
    collecting = gc.isenabled()
    gc.disable()  # what it would end, it would end at another moment each time
    folder = Path(tempfile.mkdtemp(prefix="lanmesh-simulation-", dir=_memory()))
    listener = _Listener(loop, ledger)
    logging.getLogger("lanmesh").addHandler(listener)
    propagates, logging.getLogger("lanmesh").propagate = logging.getLogger("lanmesh").propagate, False
    try:
        world = World(plan, parts, folder, loop, ledger)
        try:
            loop.run(world.run())
        finally:
            loop.run(world.close())
    except Stuck as stuck:
        ledger.violation(f"stuck: {stuck}")
    finally:
        logging.getLogger("lanmesh").removeHandler(listener)
        logging.getLogger("lanmesh").propagate = propagates
        shutil.rmtree(folder)
        if collecting:
            gc.enable()
    for fault in loop.unseen:
        ledger.violation(f"unseen: {fault}")
    ledger.note(loop.time(), f"{loop.turns} turns")
    return Verdict(
        plan=plan,
        violations=tuple(ledger.violations),
        trace=ledger.trace,
        turns=loop.turns,
        seconds=loop.time(),
        lines=tuple(ledger.lines or ()),
    )


class World:
    """Nodes, hosts and a network, and what the plan does to them."""

    def __init__(self, plan: Plan, parts: Parts, folder: Path, loop: VirtualLoop, ledger: Ledger) -> None:
        self.plan = plan
        self.ledger = ledger
        self.nodes: dict[str, SimulatedNode] = {}
        self.network = Network(self.nodes, random.Random(f"network {plan.seed}"), ledger)  # noqa: S311
        self._loop = loop
        self._busy: dict[asyncio.Task[Any], str] = {}
        mesh = Mesh(folder)
        for settings in plan.nodes:
            node = SimulatedNode(
                settings,
                mesh,
                [other for other in plan.nodes if other is not settings],
                loop=loop,
                seed=plan.seed,
                network=self.network,
                ledger=ledger,
                parts=parts,
            )
            node.disk.install("state.db", _empty_database())
            mesh.nodes[settings.name] = self.nodes[settings.name] = node

    async def run(self) -> None:
        """Carry out the plan, and judge."""
        for node in self.nodes.values():
            await node.start()
        for step in self.plan.steps:
            await asyncio.sleep(step.at - self._loop.time())
            self.ledger.note(self._loop.time(), str(step))
            self._perform(step)
        await self._heal()
        await self._rest()
        for violation in invariants.broken(self) if all(node.running for node in self.nodes.values()) else ():
            self.ledger.violation(violation)
        for node in self.nodes.values():
            if node.running:
                await node.stop()
                for violation in invariants.damaged(node):
                    self.ledger.violation(violation)

    async def close(self) -> None:
        """End all that goes on."""
        for node in self.nodes.values():
            node.died = lambda: None
            for life in (node.life, *(() if node.host is None else (node.host.life,))):
                life.end()
                await life.bury()
        await self.network.close()

    def _perform(self, step: Step) -> None:
        node = self.nodes[getattr(step, "node", self.plan.nodes[0].name)]
        match step:
            case script.Say():
                self._by_owner(node, node.say(step.peer, step.text))
            case script.Delegate():
                self._by_owner(node, self._delegate(node, step))
            case script.Decide():
                self._by_owner(node, self._decide(node, approve=step.approve))
            case script.Cancel():
                self._by_owner(node, self._cancel(node, step.which))
            case script.Answer():
                self._by_owner(node, self._answer(node))
            case script.Resend():
                self._by_owner(node, self._resend(node, step.which))
            case script.Sweep():
                self._by_owner(node, node.sweep())
            case script.Post():
                self._later(self._post(step), str(step))
            case script.Crash():
                self._crash(node, step)
            case script.Stop():
                if node.running:
                    self._later(self._stop(node, step.down_s), str(step))
            case _:
                self._trouble(node, step)

    def _trouble(
        self,
        node: SimulatedNode,
        step: script.Cut | script.Storm | script.Jump | script.Fill | script.EndHost,
    ) -> None:
        match step:
            case script.Cut():
                self.network.cut(step.source, step.target)
                self._loop.call_later(step.seconds, self.network.mend, step.source, step.target)
            case script.Storm():
                self.network.weather = step.weather
                self._loop.call_later(step.seconds, self._calm, step)
            case script.Jump():
                node.wall.ahead_s += step.by_s
            case script.Fill():
                node.disk.full = True
                self._loop.call_later(step.seconds, self._empty, node)
            case script.EndHost():
                self._later(self._end_host(node, step.down_s), str(step))
            case _:
                assert_never(step)

    # --- what owners do ------------------------------------------------------------------------------

    def _by_owner(self, node: SimulatedNode, work: Coroutine[Any, Any, None]) -> None:
        if not node.running:
            work.close()  # the command line says that there is no node
            return
        mine = node.life

        async def guarded() -> None:
            try:
                await work
            except MeshError as fault:
                self.ledger.note(self._loop.time(), f"{mine.name} tells its owner: {fault.code}")
            except Exception as fault:  # noqa: BLE001
                cut_off = node.leaving and isinstance(fault, apsw.ConnectionClosedError)
                if not mine.dead and not cut_off:
                    self.ledger.violation(f"{mine.name} has an error for its owner: {fault!r}")

        task = mine.run(guarded())
        self._busy[task] = f"something that the owner of {node.name} does"
        task.add_done_callback(self._busy.pop)

    async def _delegate(self, node: SimulatedNode, step: script.Delegate) -> None:
        task = await node.ask(step.peer, step.work, timeout_s=step.timeout_s, session=step.session)
        if step.wait_s:
            began = self._loop.time()
            seen = await node.node.tasks.watch(task.local_id, wait_s=step.wait_s)
            if self._loop.time() - began > step.wait_s + _SPARE_S:
                self.ledger.violation(f"{node.boot}: a watch of {step.wait_s} s returned too late")
            self.ledger.note(self._loop.time(), f"{node.boot} shows {seen.wire_id}: {seen.state}")

    async def _decide(self, node: SimulatedNode, *, approve: bool) -> None:
        waiting = [
            task for task in tasks.page(node.database.read, 1000) if task.waiting_for and not task.asked
        ]
        if waiting:
            decide = node.node.tasks.approve if approve else node.node.tasks.deny
            await decide(waiting[-1].local_id)

    async def _cancel(self, node: SimulatedNode, which: float) -> None:
        open_ones = [task for task in tasks.page(node.database.read, 1000) if not task.final or task.assumed]
        if open_ones:
            await node.node.tasks.cancel(open_ones[int(which * len(open_ones))].local_id)

    async def _answer(self, node: SimulatedNode) -> None:
        for task in tasks.page(node.database.read, 1000, TaskState.INPUT_REQUIRED):
            if task.question is not None and task.asked:
                await node.reply(task)
            elif task.question is not None and task.peer not in self.nodes:
                # As the program that asked for it does.
                await node.node.arrivals.answer_named(SHARED_CALLER, task.wire_id, "answer of a program")

    async def _resend(self, node: SimulatedNode, which: float) -> None:
        waiting = node.node.mail.outbox(1000)
        if waiting:
            await node.node.mail.resend(waiting[int(which * len(waiting))].envelope.id)

    async def _post(self, step: script.Post) -> None:
        """Do as PROTOCOL.md says a client should."""
        node = self.nodes[step.node]
        body = codec.encode_envelope(a_task(step.id, step.work, sender="curl", timeout_s=step.timeout_s))
        while True:
            try:
                await self.network.ask(
                    "curl", step.node, f"shared@{node.name}", lambda there, caller: there.take(caller, body)
                )
                return
            except TasksNotAccepted:
                return
            except MeshError:
                await asyncio.sleep(7.0)

    # --- what goes wrong -----------------------------------------------------------------------------

    def _crash(self, node: SimulatedNode, step: script.Crash) -> None:
        if not node.running:
            return
        node.loss = step.loss
        node.died = lambda: self._later(self._come_back(node, step.down_s), str(step))
        if step.turns is not None:
            node.life.end_after(step.turns)
        if step.operations is not None:
            node.disk.light(step.operations, node.life.end)

    async def _come_back(self, node: SimulatedNode, down_s: float) -> None:
        await asyncio.sleep(down_s)
        await node.restart()

    async def _stop(self, node: SimulatedNode, down_s: float) -> None:
        await node.stop()
        await self._come_back(node, down_s)

    def _calm(self, step: script.Storm) -> None:
        if self.network.weather is step.weather:
            self.network.weather = CALM

    def _empty(self, node: SimulatedNode) -> None:
        node.disk.full = False

    async def _end_host(self, node: SimulatedNode, down_s: float) -> None:
        assert node.host is not None
        if node.host.life.dead:
            return
        await node.host.end()
        await asyncio.sleep(down_s)
        node.host.start()

    def _later(self, work: Coroutine[Any, Any, None], what: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as fault:  # noqa: BLE001
                self.ledger.violation(f"{what}: {fault!r}")

        self.network.outside(guarded())

    # --- the end ---------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        await asyncio.sleep(60.0)  # what was to come back has come back
        self.network.heal()
        for node in self.nodes.values():
            node.disk.full = False
            node.disarm()
        if self.plan.outlasts(script.DAY_S):
            await asyncio.sleep(_DOUBT_S)

    async def _rest(self) -> None:
        until = self._loop.time() + _REST_S
        while self._loop.time() < until:
            for node in self.nodes.values():
                self._by_owner(node, self._decide(node, approve=True))
                self._by_owner(node, self._answer(node))
            await asyncio.sleep(_LOOK_S)
            if not self._busy and not any(invariants.restless(self)):
                return
        for what in (*self._busy.values(), *invariants.restless(self)):
            self.ledger.violation(f"for ever: {what}")


class _Listener(logging.Handler):
    """Notes what is logged of errors that nobody planned."""

    def __init__(self, loop: VirtualLoop, ledger: Ledger) -> None:
        super().__init__(logging.INFO)
        self._loop = loop
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        self._ledger.note(self._loop.time(), f"log: {record.getMessage()}")
        if record.exc_info and record.levelno >= logging.ERROR:
            fault = record.exc_info[1]
            if not isinstance(fault, StorageFailed):
                self._ledger.violation(f"logged: {record.getMessage()}: {fault!r}")


def _memory() -> str | None:
    """Return a folder in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a folder of our own in it


@cache
def _empty_database() -> bytes:
    """Return a database with tables and nothing in them."""

    async def here(work: Any) -> None:
        work()

    async def make(path: Path) -> None:
        Database(path, in_writer=here, on_commit=lambda _: None).release()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        VirtualLoop().run(make(path))
        return path.read_bytes()
