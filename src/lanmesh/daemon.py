"""keep a node running: its state folder, its signals, the settings it is given"""

import asyncio
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from lanmesh import config, logs
from lanmesh.composition import Composition
from lanmesh.config import Config, Source
from lanmesh.errors import MeshError, StateFolderBusy, StorageFailed
from lanmesh.home import Home
from lanmesh.locations import StateFolder

log = logging.getLogger(__name__)

T = TypeVar("T", bound=BaseException)

_LOCK_WAIT_S = 10.0
"""A node that is leaving ends its runs within 5 s; its successor waits for that."""

_STDIN = 0
_MAX_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    folder: StateFolder
    flags: Source
    config_stdin: bool = False
    """Take one line of JSON from stdin as settings."""
    until_stdin_closes: bool = False
    """Stop when stdin does, and log to a file: whoever started this node may be gone by then."""


def load_config(
    folder: StateFolder, environ: Mapping[str, str], flags: Source, given: Source | None = None
) -> Config:
    """Return the settings of a state folder, as a node would have them.

    Args:
        folder: The state folder; its `config.toml` need not exist.
        environ: The environment.
        flags: What the command line says.
        given: What came on stdin or from the plugin, if anything did.

    Raises:
        InvalidConfig: They cannot be used.
    """
    sources = [config.read_toml(folder.config), given, config.from_environment(environ), flags]
    return config.combine([source for source in sources if source is not None], socket.gethostname())


async def run(options: Options) -> None:
    """Be a node until SIGTERM, SIGINT, or the end of stdin where that was asked for.

    Raises:
        InvalidConfig: The settings cannot be used, or a port is taken.
        StateFolderBusy: Another node holds the state folder.
        StorageFailed: The state folder cannot be read or written.
        MeshError: A part of the node broke; the log says which.
    """
    try:
        await _run(options)
    except MeshError as fault:
        if options.until_stdin_closes:  # else the terminal tells
            log.error(fault.detail)  # noqa: TRY400  # a sentence for the owner
        raise


async def _run(options: Options) -> None:
    try:
        options.folder.create()
        if options.until_stdin_closes:
            logs.to_file(options.folder.log)
        await _Daemon(options).run()
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise StorageFailed(
            f"{options.folder.path} cannot be used as a state folder: {why}; see that there is room "
            "and that this user may write there, or choose another folder by --state-dir"
        ) from fault
    except ExceptionGroup as faults:
        if (disk := _first(faults, StorageFailed)) is not None:
            raise disk from faults
        log.critical("the node broke", exc_info=faults)
        raise MeshError("the node broke; its log says why") from faults


def _first(faults: BaseExceptionGroup[BaseException], kind: type[T]) -> T | None:
    """Return the first fault of a kind, if all of them are of it."""
    of_kind, others = faults.split(kind)
    if of_kind is None or others is not None:
        return None
    fault: BaseException = of_kind
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault if isinstance(fault, kind) else None


class _Daemon:
    """A node that begins anew, in the same process and state folder, when it is given other settings."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._given: Source | None = None
        self._leaving = False
        self._end = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave)
        if self._options.config_stdin:
            line = await _first_line(self._end)
            if line is None:
                return
            self._given = config.read_json(line, "stdin")
        if self._options.until_stdin_closes:
            threading.Thread(target=_watch_stdin, args=(loop, self._leave), daemon=True).start()
        async with _locked(self._options.folder, self._end) as held:
            if not held:
                return
            home = Home(self._options.folder)
            while not self._leaving:
                self._end = asyncio.Event()
                node = Composition(self._options.folder, self._settings(self._given), self._take, home)
                await node.serve(self._end)

    def _settings(self, given: Source | None) -> Config:
        return load_config(self._options.folder, os.environ, self._options.flags, given)

    def _take(self, body: bytes) -> None:
        given = config.read_json(body, "plugin")
        self._settings(given)  # raises while the one who sent it is still there to hear of it
        if self._given is None or given.values != self._given.values:
            self._given = given
            self._end.set()

    def _leave(self) -> None:
        self._leaving = True
        self._end.set()


@asynccontextmanager
async def _locked(folder: StateFolder, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Hold the state folder, and give whether it is; the lock goes with the process, however that ends.

    It is not, if `stop` is set before the node that holds it now has left.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    with folder.lock.open("a") as file:
        held = False
        while not held and not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StateFolderBusy(
                        f"another node holds {folder.path}: stop it, or choose another folder by --state-dir"
                    ) from None
                await asyncio.sleep(0.05)
        yield held


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


def _watch_stdin(loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> None:
    while os.read(_STDIN, 65536):
        pass
    loop.call_soon_threadsafe(leave)
