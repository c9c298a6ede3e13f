"""a WebSocket as live links use it, whoever opened it: texts in, texts out"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol, cast

import aiohttp
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from lanmesh.errors import MeshError
from lanmesh.model.pace import Pace
from lanmesh.protocol import problems

LINK_PATH = "/lan/link"

_NORMAL, _TEXT_ONLY, _NOT_WANTED = 1000, 1003, 1008
"""RFC 6455 section 7.4.1: the end; a kind of message that is not taken; one that breaks a rule."""

AT_EASE, PER_S = 600.0, 10.0
"""Frames that nobody has asked for, at once and by and by, and as many pings and fragments: the beats of
both sides need 1 in 5 s, and a proxy between may ping."""

_LONGEST_REASON = 123
"""Bytes: what is left in a control frame beside the code (RFC 6455 section 5.5)."""


class Socket(Protocol):
    """One side of a WebSocket."""

    async def send(self, text: str) -> None:
        """Return once the text is on its way.

        Raises:
            ConnectionError: It is closed.
        """

    async def receive(self) -> str | None:
        """Return the next text; `None` once there comes no more."""

    async def close(self, why: str = "") -> None:
        """Say goodbye; both sides receive nothing more.

        Args:
            why: What the other side did that ends it; empty, if it did nothing.
        """


class Dialled:
    """The side that dialled. Implements `Socket`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        """Use a socket that is open."""
        self._socket = socket

    async def send(self, text: str) -> None:
        """Send a text; see `Socket`."""
        await self._socket.send_str(text)

    async def receive(self) -> str | None:
        """Return the next text; see `Socket`."""
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None

    async def close(self, why: str = "") -> None:
        """Say goodbye; see `Socket`."""
        await self._socket.close(code=_NOT_WANTED if why else _NORMAL, message=_reason(why).encode())


class Accepted:
    """The side that was dialled, as ASGI has it. Implements `Socket`."""

    def __init__(
        self, receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """Use a socket that has been accepted."""
        self._receive = receive
        self._send = send
        self._over = False

    async def send(self, text: str) -> None:
        """Send a text; see `Socket`."""
        if self._over:
            raise ConnectionResetError("the link is closed")
        try:
            await self._send({"type": "websocket.send", "text": text})
        except (ClientDisconnected, RuntimeError) as fault:  # the latter where it is being closed
            raise ConnectionResetError("the link is closed") from fault

    async def receive(self) -> str | None:
        """Return the next text; see `Socket`."""
        if self._over:
            return None
        message = await self._receive()
        if message["type"] == "websocket.receive" and message.get("text") is not None:
            return str(message["text"])
        if message["type"] == "websocket.receive":
            await self._close(_TEXT_ONLY)
        self._over = True
        return None

    async def close(self, why: str = "") -> None:
        """Say goodbye; see `Socket`."""
        await self._close(_NOT_WANTED if why else _NORMAL, _reason(why))

    async def _close(self, code: int, reason: str = "") -> None:
        if not self._over:
            self._over = True
            with suppress(ClientDisconnected, RuntimeError):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token that comes with the request for a WebSocket; empty, if none does."""
    for name, value in headers:
        scheme, _, token = value.decode("latin-1").partition(" ")
        if name.lower() == b"authorization" and scheme.lower() == "bearer":
            return token.strip()
    return ""


async def refuse(fault: MeshError, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Answer the request for a WebSocket by saying why there is none."""
    body = problems.encode(fault)
    headers = [(name.encode(), value.encode()) for name, value in problems.headers(fault).items()]
    status = problems.spelling(fault).status
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _reason(why: str) -> str:
    return why.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")


class Upgraded(WebSocketsSansIOProtocol):
    """What a connection is spoken to by, once its request has become a WebSocket.

    Nothing is read before the app has accepted it: until then nobody knows who is there. Of what the
    app does not see, and no link needs, only so much is taken.
    """

    def __init__(self, *args: Any, gone: Callable[[], None], **more: Any) -> None:
        """Tell `gone` when the connection is lost; all else is uvicorn's."""
        super().__init__(*args, **more)
        self._gone = gone
        self._pace = Pace(AT_EASE, PER_S, self.loop.time())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait for the app."""
        super().connection_made(transport)
        cast(asyncio.Transport, transport).pause_reading()

    async def send(self, message: Any) -> None:
        """Say what the app says; once it has accepted, read."""
        await super().send(message)
        if message["type"] == "websocket.accept" and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_ping(self) -> None:
        """Answer a ping."""
        self._count()
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong."""
        self._count()
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further fragment of a message."""
        self._count()
        super().handle_cont(event)

    def _count(self) -> None:
        if self._pace.early_s(self.loop.time()):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that was kept for it."""
        super().connection_lost(exc)
        self._gone()
