"""where connections come in: in a bounded number, while they do not speak TLS yet"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from lanmesh.net.door import Limits

log = logging.getLogger(__name__)

_NO_FILE_S = 0.2
"""Until it is tried again to let somebody in, where the system has no file left for that."""


class Entrance:
    """One listening socket. Who comes is counted from the first packet on, not from the first word."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        limits: Limits,
    ) -> None:
        """Give each connection a protocol of its own, once it speaks TLS; `None`: at once."""
        self._listening = listening
        self._listening.setblocking(False)
        self._protocol = protocol
        self._tls = tls
        self._limits = limits
        self._greeted: dict[asyncio.Task[None], str] = {}
        """Who does not speak TLS yet, the oldest first, and from where."""

    async def run(self) -> None:
        """Let connections in, for ever; who ends this closes the socket."""
        loop = asyncio.get_running_loop()
        with self._listening:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        connection, address = await loop.sock_accept(self._listening)
                    except ConnectionAbortedError:
                        continue
                    except OSError:
                        await asyncio.sleep(_NO_FILE_S)
                        continue
                    self._make_room(address[0])
                    greeting = group.create_task(self._greet(connection))
                    self._greeted[greeting] = address[0]
                    greeting.add_done_callback(self._greeted.pop)
                    await asyncio.sleep(0)  # where many come at once, all else goes on too

    def _make_room(self, address: str) -> None:
        """Let the oldest go that has not come to speak TLS, if there are as many as there may be."""
        near = [greeting for greeting, place in self._greeted.items() if place == address]
        if len(near) >= self._limits.handshakes_per_address:
            near[0].cancel()
        elif len(self._greeted) >= self._limits.handshakes:
            next(iter(self._greeted)).cancel()

    async def _greet(self, connection: socket.socket) -> None:
        """Give a connection to its protocol; from here on the loop owns it, and closes it.

        Closed here too, its number could be another connection's by the time the loop closes that.
        """
        loop = asyncio.get_running_loop()
        options = {} if self._tls is None else {"ssl_handshake_timeout": self._limits.handshake_s}
        try:
            with suppress(OSError):  # it does not speak TLS 1.3, shows a key that nobody knows, or has left
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls, **options)
        except Exception:  # one caller must not close the port to all
            log.exception("connection failed before its first word")
