"""stands between a node and its gateway, hands on all that they say, and notes when a turn began and ended"""

import asyncio
import json
import time
from types import TracebackType

import aiohttp
from aiohttp import web


class Relay:
    """A WebSocket server that is to a node what its gateway is; one turn at a time."""

    def __init__(self, gateway: str) -> None:
        """Hand on to a gateway."""
        self.url = ""
        """What a node takes for its gateway, once it runs."""
        self.begun = self.ended = 0.0
        """When the latest turn was asked for here, and when its end came by (`time.perf_counter`)."""
        self._gateway = gateway
        self._turn: tuple[object, str] | None = None
        """By which connection, and under which id."""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Relay":
        app = web.Application()
        app.router.add_get("/", self._relay)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _relay(self, request: web.Request) -> web.WebSocketResponse:
        node = web.WebSocketResponse(max_msg_size=0)
        await node.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._gateway, max_msg_size=0) as gateway,
        ):
            ways = {
                asyncio.ensure_future(self._up(node, gateway)),
                asyncio.ensure_future(self._down(gateway, node)),
            }
            _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
        return node

    async def _up(self, node: web.WebSocketResponse, gateway: aiohttp.ClientWebSocketResponse) -> None:
        async for message in node:
            if '"method":"agent"' in message.data:
                self.begun, self._turn = time.perf_counter(), (gateway, json.loads(message.data)["id"])
            await gateway.send_str(message.data)

    async def _down(self, gateway: aiohttp.ClientWebSocketResponse, node: web.WebSocketResponse) -> None:
        async for message in gateway:
            came = time.perf_counter()
            await node.send_str(message.data)
            if '"type":"res"' in message.data[:200]:
                frame = json.loads(message.data)  # behind the sending, so that the node does not wait for it
                if (gateway, frame["id"]) == self._turn and frame["payload"]["status"] != "accepted":
                    self.ended = came
