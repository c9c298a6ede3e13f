"""listen on a port and serve an app there, until told to stop"""

import asyncio
import errno
import resource
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from lanmesh.errors import InvalidConfig
from lanmesh.model.ids import NodeId
from lanmesh.net.door import Door, Limits
from lanmesh.net.entrance import Entrance
from lanmesh.net.head import names_of
from lanmesh.net.shell import Shell
from lanmesh.net.websocket import Upgraded
from lanmesh.protocol.frames import MAX_FRAME_BYTES

KEEP_ALIVE_S = 75
"""Longer than any client of ours keeps an idle connection, so that none is closed under a request."""

DRAIN_S = 2.0
"""How long answers that are under way may take when the node stops."""

_LEAVE_S = 0.5
"""How long what worked for somebody who was hung up on may take to notice."""

_LOOK_S = 0.05


def bind(host: str, port: int, *, or_any: bool = False) -> socket.socket:
    """Return a socket that listens; port 0 picks a free one.

    Args:
        host: An address of this machine.
        port: The port.
        or_any: Take any free port if this one is taken.

    Raises:
        InvalidConfig: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, so that asyncio sets TCP_NODELAY on what it accepts: else each answer takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except (OSError, ValueError, TypeError) as fault:  # the latter of names that are none
        listening.close()
        if or_any and port and isinstance(fault, OSError) and fault.errno == errno.EADDRINUSE:
            return bind(host, 0)
        why = getattr(fault, "strerror", None) or str(fault)
        raise InvalidConfig(
            f"cannot listen on {host} port {port}: {why}; choose another, or port 0 for any free one"
        ) from fault
    return listening


class Listener:
    """One ASGI app on one socket."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        listening: socket.socket,
        *,
        names: frozenset[str] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        links: bool = False,
    ) -> None:
        """Take over a socket made by `bind`.

        Args:
            app: What answers.
            listening: The socket.
            names: Under which names it is addressed, beside addresses; `None`: that of the host.
            limits: What callers may take up; `None`: as much as the files that this process may open allow.
            tls: Speak nothing else; `None`: plain HTTP.
            links: Whether the app takes the WebSockets of live links.
        """
        self._socket = listening
        self._tls = tls
        limits = limits or _limits()
        self._door = Door(names_of(socket.gethostname()) if names is None else names, limits)
        config = uvicorn.Config(
            app,
            http=Shell,
            ws=Upgraded if links else "none",
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,  # each side says by itself that it lives
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        self._server = _Server(config)

        def shell() -> Shell:
            return Shell(config, self._server.server_state, {}, door=self._door)

        self._entrance = Entrance(listening, shell, tls=tls, limits=limits)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as bound."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    async def serve(self) -> None:
        """Answer requests until `stop`; those under way are answered first."""
        async with asyncio.TaskGroup() as group:
            self._server.letting_in = group.create_task(self._entrance.run())
            await self._server.serve()

    def stop(self) -> None:
        """Let `serve` return soon."""
        self._server.should_exit = True

    def trust(self, certificate: bytes) -> None:
        """Let clients show one more certificate, in DER."""
        if self._tls is not None:
            self._tls.load_verify_locations(cadata=certificate)

    def drop(self, node: NodeId) -> None:
        """Close all connections of a node at once, answers under way too."""
        self._door.close_to(node)


def _limits() -> Limits:
    """Return limits that leave this process files for all else; macOS allows 256 in all."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Limits()
    if files < 0:
        return most
    return replace(
        most, connections=min(most.connections, files // 3), handshakes=min(most.handshakes, files // 6)
    )


class _Server(uvicorn.Server):
    letting_in: asyncio.Task[None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's
        """Leave it to the entrance to listen."""
        self.servers = []
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's
        """Let nobody in any more, answer what was asked if that does not take long, and hang up."""
        self.letting_in.cancel()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()
        deadline = time.monotonic() + DRAIN_S
        while connections and time.monotonic() < deadline:  # noqa: ASYNC110  # uvicorn keeps a set, and tells nobody
            await asyncio.sleep(_LOOK_S)
        for connection in list(connections):
            connection.transport.abort()  # whoever works for it hears that nobody is there any more
        if tasks:
            await asyncio.wait(list(tasks), timeout=_LEAVE_S)
        for task in list(tasks):
            task.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone: the daemon has them."""
        yield
