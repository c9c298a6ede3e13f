"""a WebSocket as live links use it, whoever opened it: texts in, texts out"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import aiohttp
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINK_PATH = "/lan/link"

_TEXT_ONLY = 1003
"""RFC 6455 section 7.4.1: a kind of message that is not taken."""


class Socket(Protocol):
    """One side of a WebSocket."""

    async def send(self, text: str) -> None:
        """Return once the text is on its way.

        Raises:
            ConnectionError: It is closed.
        """

    async def receive(self) -> str | None:
        """Return the next text; `None` once there comes no more."""

    async def close(self) -> None:
        """Say goodbye; both sides receive nothing more."""


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

    async def close(self) -> None:
        """Say goodbye; see `Socket`."""
        await self._socket.close()


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

    async def close(self) -> None:
        """Say goodbye; see `Socket`."""
        await self._close(1000)

    async def _close(self, code: int) -> None:
        if not self._over:
            self._over = True
            with suppress(ClientDisconnected, RuntimeError):
                await self._send({"type": "websocket.close", "code": code})


class Upgraded(WebSocketsSansIOProtocol):
    """What a connection is spoken to by, once its request has become a WebSocket.

    Nothing is read before the app has accepted it: until then nobody knows who is there.
    """

    def __init__(self, *args: Any, gone: Callable[[], None], **more: Any) -> None:
        """Tell `gone` when the connection is lost; all else is uvicorn's."""
        super().__init__(*args, **more)
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait for the app."""
        super().connection_made(transport)
        cast(asyncio.Transport, transport).pause_reading()

    async def send(self, message: Any) -> None:
        """Say what the app says; once it has accepted, read."""
        await super().send(message)
        if message["type"] == "websocket.accept" and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that was kept for it."""
        super().connection_lost(exc)
        self._gone()
