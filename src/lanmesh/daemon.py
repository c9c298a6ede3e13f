"""compose the node from its parts and keep it running"""

import asyncio
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lanmesh import __version__, config, logs
from lanmesh.config import Config, Source
from lanmesh.engine.delivery import Deliveries
from lanmesh.engine.events import Events
from lanmesh.engine.mail import Mailroom
from lanmesh.engine.node import Node
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.peers import Peers
from lanmesh.engine.runner import Runner
from lanmesh.engine.tasks import Tasks
from lanmesh.errors import InvalidConfig, MeshError, StateFolderBusy, StorageFailed
from lanmesh.executors.command import CommandExecutor
from lanmesh.faces.operator import operator, peer_views
from lanmesh.faces.rest import rest
from lanmesh.locations import StateFolder, dotenv, write_private
from lanmesh.machine import LocalMachine
from lanmesh.net.link import HttpLink
from lanmesh.net.server import Listener, bind
from lanmesh.protocol.views import SettingView, StatusView
from lanmesh.store.database import Database
from lanmesh.tokens import EnvironmentTokens

log = logging.getLogger(__name__)

_LOCK_WAIT_S = 10.0
"""A node that is leaving ends its runs within 5 s; its successor waits for that."""

_STDIN = 0
_MAX_CONFIG_BYTES = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    folder: StateFolder
    flags: Source
    config_stdin: bool = False
    """Take one line of JSON from stdin as settings."""
    until_stdin_closes: bool = False
    """Stop when stdin does, and log to a file: whoever started this node may be gone by then."""


class SystemClock:
    """The time of this machine. Implements the port `Clock`."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after some seconds."""
        await asyncio.sleep(max(0.0, seconds))


class SystemRandom:
    """The chance of this machine. Implements the port `Random`."""

    def bytes(self, count: int) -> bytes:
        """Return bytes that nobody can guess."""
        return secrets.token_bytes(count)

    def uniform(self) -> float:
        """Return a number from 0 up to 1."""
        return secrets.randbelow(1 << 53) / (1 << 53)


def load_config(folder: StateFolder, environ: Mapping[str, str], *more: Source) -> Config:
    """Return the settings of a state folder, as a node would have them.

    Raises:
        InvalidConfig: They cannot be used.
    """
    stdin, flags = [s for s in more if s.name == "stdin"], [s for s in more if s.name != "stdin"]
    sources = [config.read_toml(folder.config), *stdin, config.from_environment(environ), *flags]
    return config.combine(sources, socket.gethostname())


async def run(options: Options) -> None:
    """Be a node until SIGTERM, SIGINT, or the end of stdin where that was asked for.

    Raises:
        InvalidConfig: The settings cannot be used, or a port is taken.
        StateFolderBusy: Another node holds the state folder.
        StorageFailed: The state folder cannot be read or written.
        MeshError: A part of the node broke; the log says which.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await _run(options, stop)
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise StorageFailed(f"{options.folder.path} cannot be used as a state folder: {why}") from fault
    except ExceptionGroup as faults:
        log.critical("the node broke", exc_info=faults)
        raise MeshError("the node broke; its log says why") from faults


async def _run(options: Options, stop: asyncio.Event) -> None:
    folder, sources = options.folder, [options.flags]
    folder.create()
    if options.config_stdin:
        line = await _first_line(stop)
        if line is None:
            return
        sources.append(config.read_json(line, "stdin"))
    if options.until_stdin_closes:
        logs.to_file(folder.log)
        threading.Thread(target=_watch_stdin, args=(asyncio.get_running_loop(), stop), daemon=True).start()
    async with _locked(folder, stop) as held:
        if held:
            await _Daemon(folder, load_config(folder, os.environ, *sources)).serve(stop)


class _Daemon:
    """The parts of one node, and the order in which they start and stop."""

    def __init__(self, folder: StateFolder, settings: Config) -> None:
        self._folder = folder
        self._config = settings
        self._boot = secrets.token_hex(8)
        self._events = Events()
        self._clock = SystemClock()
        self._chance = SystemRandom()
        self._tokens = EnvironmentTokens(dotenv(os.environ), os.environ, settings.peer_tokens)
        self._link = HttpLink(settings.peers, self._tokens)
        self._token = ""
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: dict[str, Listener] = {}

    async def serve(self, stop: asyncio.Event) -> None:
        self._token = _operator_token(self._folder.operator_token)
        self._sockets = self._bound()  # before any task is begun, which a port in use would interrupt
        async with AsyncExitStack() as parts:
            writer = parts.enter_context(ThreadPoolExecutor(1, "writer"))
            spare = parts.enter_context(ThreadPoolExecutor(1, "checkpoints"))
            database = Database(
                self._folder.database,
                in_writer=lambda work: _in_pool(writer, work),
                on_commit=self._events.publish,
            )
            parts.callback(database.release)
            await parts.enter_async_context(self._link)
            # The writer outlives all that writes: even what ends by a fault can settle its claims.
            async with asyncio.TaskGroup() as foundation:
                foundation.create_task(database.serve())
                tidying = foundation.create_task(
                    database.keep_small(lambda work: _in_pool(spare, work), self._clock.sleep)
                )
                try:
                    async with asyncio.TaskGroup() as group:
                        await self._live(database, stop, group)
                finally:
                    tidying.cancel()
                    database.close()

    async def _live(self, database: Database, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        node, runner, deliveries = self._compose(database)
        await node.peers.configure(self._config.accept_mode)
        await deliveries.recover()
        working = [group.create_task(runner.run()), group.create_task(deliveries.run())]
        serving = self._listen(node, group)
        self._announce()
        try:
            await stop.wait()
        finally:
            log.info("stopping")
            self._folder.node.unlink(missing_ok=True)
            node.tasks.stop()
            for listener in self._listeners.values():
                listener.stop()
            for work in working:
                work.cancel()
            await asyncio.gather(*serving, *working, return_exceptions=True)

    def _compose(self, database: Database) -> tuple[Node, Runner, Deliveries]:
        settings, clock, chance = self._config, self._clock, self._chance
        me = settings.identity.id
        outcomes = Outcomes(me, settings.peers, clock, chance)
        peers = Peers(
            database=database,
            clock=clock,
            link=self._link,
            machine=LocalMachine(),
            tokens=self._tokens,
            identity=settings.identity,
            configured=settings.peers,
            with_own_token=frozenset(
                peer for peer, tokens in settings.peer_tokens.items() if tokens.inbound_token_env_var
            ),
            version=__version__,
        )
        tasks = Tasks(
            database=database,
            events=self._events,
            clock=clock,
            chance=chance,
            link=self._link,
            peers=peers,
            outcomes=outcomes,
            limits=settings.limits,
        )
        mailroom = Mailroom(database=database, events=self._events, clock=clock, chance=chance, peers=peers)
        runner = Runner(
            database=database,
            events=self._events,
            clock=clock,
            executor=CommandExecutor(
                settings.node.command,
                repeatable=settings.node.repeatable,
                state_folder=self._folder.path,
                environ=os.environ,
            ),
            outcomes=outcomes,
            boot=self._boot,
            concurrency=settings.limits.concurrency,
        )
        deliveries = Deliveries(
            database=database, events=self._events, clock=clock, chance=chance, link=self._link
        )
        node = Node(
            tasks=tasks,
            mail=mailroom,
            peers=peers,
            tokens=self._tokens,
            clock=clock,
            database=database,
            version=__version__,
        )
        return node, runner, deliveries

    def _bound(self) -> dict[str, socket.socket]:
        settings = self._config.node
        addresses = {
            "mesh": (settings.listen, settings.port),
            "operator": (config.LOOPBACK, settings.operator_port),
        }
        return {name: bind(host, port) for name, (host, port) in addresses.items()}

    def _listen(self, node: Node, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        apps = {
            "mesh": rest(node),
            "operator": operator(node, self._token, lambda: self._status(node), self._settings),
        }
        self._listeners = {name: Listener(apps[name], self._sockets[name]) for name in apps}
        return [group.create_task(listener.serve()) for listener in self._listeners.values()]

    def _announce(self) -> None:
        addresses = {
            name: dict(zip(("host", "port"), listener.address, strict=True))
            for name, listener in self._listeners.items()
        }
        about = {"pid": os.getpid(), "boot": self._boot, "version": __version__, **addresses}
        write_private(self._folder.node, json.dumps(about) + "\n")
        for name, address in addresses.items():
            log.info("listening", extra={"port": address["port"], "host": address["host"], "face": name})
        for sentence in self._warnings():
            log.warning(sentence)

    def _status(self, node: Node) -> StatusView:
        numbers = node.numbers()
        host, port = self._listeners["mesh"].address
        return StatusView(
            id=node.peers.me,
            name=self._config.identity.name,
            version=__version__,
            uptime=round(node.uptime_s, 1),
            accept_mode=node.peers.accept_mode(),
            executor=f"{self._config.node.executor}: {' '.join(self._config.node.command)}",
            listen=host,
            port=port,
            operator_port=self._listeners["operator"].address[1],
            state_folder=str(self._folder.path),
            running=numbers.running,
            waiting=numbers.waiting,
            approvals=numbers.approvals,
            unread=numbers.unread,
            queued=numbers.queued,
            peers=peer_views(node),
            warnings=self._warnings(),
        )

    def _settings(self) -> list[SettingView]:
        return setting_views(self._config)

    def _warnings(self) -> list[str]:
        warnings = [*self._config.warnings, *self._tokens.check()]
        if not self._tokens.inbound():
            warnings.append("no peer can call this node: set OPENCLAW_LAN_TOKEN in the .env file")
        if self._config.node.listen not in {config.LOOPBACK, "::1", "localhost"}:
            warnings.append("peers reach this node in clear text: use it on a network that you trust")
        return warnings


def setting_views(settings: Config) -> list[SettingView]:
    """Return how the settings are shown."""
    return [SettingView(key=item.key, value=item.value, source=item.source) for item in settings.settings]


@asynccontextmanager
async def _locked(folder: StateFolder, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Hold the state folder, and say so; the lock goes with the process, however that ends.

    Not held if `stop` is set before the node that holds it now has left.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    with folder.lock.open("a") as file:
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StateFolderBusy(
                        f"another node holds {folder.path}: stop it, or choose another folder by --state-dir"
                    ) from None
            await asyncio.sleep(0.05)
        yield not stop.is_set()


def _operator_token(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise InvalidConfig(f"{path} is empty: delete it, and the next start writes a new token")
    return token


async def _in_pool(pool: Pool, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


async def _first_line(stop: asyncio.Event) -> bytes | None:
    """Return the first line of stdin; `None` if `stop` is set before it has come."""
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        # Byte by byte, so that nothing after the line is swallowed.
        taken = bytearray()
        while len(taken) < _MAX_CONFIG_BYTES and (byte := os.read(_STDIN, 1)) not in {b"", b"\n"}:
            taken += byte
        loop.call_soon_threadsafe(line.put_nowait, bytes(taken))

    # A thread that nobody waits for: stdin may stay silent for ever.
    threading.Thread(target=read, daemon=True).start()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(line.get())
        stopping = group.create_task(stop.wait())
        await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        stopping.cancel()
    return None if reading.cancelled() else reading.result()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(_STDIN, 65536):
        pass
    loop.call_soon_threadsafe(stop.set)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return the fastest event loop that this machine has."""
    try:
        import uvloop  # noqa: PLC0415  # there is none for Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
