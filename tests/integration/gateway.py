"""An OpenClaw gateway on loopback, as far as a node sees one: what it answers is what a test says."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lanmesh.openclaw.device import Device
from lanmesh.openclaw.gateway import Gateway, GatewayAddress
from tests.fakes import BOUND_S, FakeClock, FakeRandom, soon, until

Json = dict[str, Any]

TOKEN = "gateway-secret"
BOOT = "gateway-boot-1"
NEWER = frozenset({"sessions.describe", "sessions.abort", "chat.abort", "agent.wait", "agents.list"})
OLDER = NEWER - {"sessions.describe", "sessions.abort"}
"""What OpenClaw 2026.3.13 lacks of what is used here."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error in the gateway's words."""

    code: str
    message: str = "no"


class Hold:
    """No answer, until the test gives one."""


HOLD = Hold()

Said = Json | Refusal | Hold | list[Json]
"""An answer; a list is several frames under one id, all sent at once."""


class FakeGateway:
    """Answers each call with what was laid ready for its method; the last of it counts from then on."""

    def __init__(self, methods: Iterable[str] = NEWER) -> None:
        self.methods = list(methods)
        self.calls: list[tuple[str, Json]] = []
        """Every request but `connect`, in order."""
        self.greetings: list[Json] = []
        """What every `connect` said."""
        self.held: list[tuple[str, str]] = []
        """Method and id of each request that got no answer."""
        self.turned_away: Refusal | None = None
        """What a `connect` gets instead of a greeting."""
        self.silent = False
        """Whether connections are closed before a greeting."""
        self.url = ""
        self._ready: dict[str, list[Said]] = {}
        self._sockets: list[web.WebSocketResponse] = []

    def lay(self, method: str, *answers: Said) -> None:
        """Lay ready what the calls of a method get, one after the other."""
        self._ready[method] = list(answers)

    def asked(self, method: str) -> list[Json]:
        """Return the parameters of every call of a method."""
        return [params for name, params in self.calls if name == method]

    async def answer(self, method: str, said: Json | Refusal) -> None:
        """Answer the oldest call of a method that still waits."""
        (identifier, *_) = [known for name, known in self.held if name == method]
        self.held.remove((method, identifier))
        await self._say(self._sockets[-1], _answer(identifier, said))

    async def tell(self, event: str, payload: object) -> None:
        """Send an event."""
        await self._say(self._sockets[-1], {"type": "event", "event": event, "payload": payload})

    async def turn_begins(self, session: str) -> None:
        """Tell that a turn of a session begins."""
        data = {"phase": "start"}
        await self.tell("agent", {"stream": "lifecycle", "runId": "r", "sessionKey": session, "data": data})

    async def write(self, text: str) -> None:
        """Send a frame as it is."""
        await self._sockets[-1].send_str(text)

    async def drop(self) -> None:
        """Close the connection as a gateway that is restarted does."""
        await self._sockets[-1].close(code=1012)

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        """Be one connection."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.silent:
            await socket.close()
            return socket
        nonce = f"nonce-{len(self.greetings)}"
        challenge = {"nonce": nonce, "ts": 1_800_000_000_123}
        await self._say(socket, {"type": "event", "event": "connect.challenge", "payload": challenge})
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            await self._take(socket, nonce, msgspec.json.decode(message.data))
        return socket

    async def _take(self, socket: web.WebSocketResponse, nonce: str, frame: Json) -> None:
        assert frame["type"] == "req"
        method, identifier, params = frame["method"], frame["id"], frame["params"]
        if method == "connect":
            self.greetings.append(params)
            await self._say(socket, _answer(identifier, self._greeting(params, nonce)))
            if self.turned_away is None:
                self._sockets.append(socket)
            return
        self.calls.append((method, params))
        ready = self._ready.get(method) or [{}]
        said = ready.pop(0) if len(ready) > 1 else ready[0]
        if isinstance(said, Hold):
            self.held.append((method, identifier))
            return
        for part in said if isinstance(said, list) else [said]:
            await self._say(socket, _answer(identifier, part))
        if isinstance(said, list) and said[-1].get("status") == "accepted":
            self.held.append((method, identifier))

    def _greeting(self, params: Json, nonce: str) -> Json | Refusal:
        if self.turned_away is not None:
            return self.turned_away
        fault = fault_of(params, nonce)
        return (
            Refusal("INVALID_REQUEST", fault)
            if fault
            else {
                "type": "hello-ok",
                "protocol": 4,
                "server": {"version": "2026.9.6"},
                "features": {"methods": self.methods},
            }
        )

    @staticmethod
    async def _say(socket: web.WebSocketResponse, frame: Json) -> None:
        await socket.send_str(msgspec.json.encode(frame).decode())


def _answer(identifier: str, said: Json | Refusal) -> Json:
    frame: Json = {"type": "res", "id": identifier, "ok": not isinstance(said, Refusal)}
    if isinstance(said, Refusal):
        return {**frame, "error": {"code": said.code, "message": said.message}}
    return {**frame, "payload": said}


def fault_of(params: Json, nonce: str) -> str | None:
    """Return why a gateway would turn this `connect` away; checked as the gateway does."""
    client, device = params["client"], params["device"]
    public = base64.urlsafe_b64decode(device["publicKey"] + "=" * (-len(device["publicKey"]) % 4))
    signature = base64.urlsafe_b64decode(device["signature"] + "=" * (-len(device["signature"]) % 4))
    if device["id"] != hashlib.sha256(public).hexdigest():
        return "the device's id is not that of its key"
    if device["nonce"] != nonce or device["signedAt"] != 1_800_000_000_123:
        return "another challenge"
    if params["auth"]["token"] != TOKEN:
        return "AUTH_TOKEN_MISMATCH"
    signed = "|".join(
        [
            "v3", device["id"], client["id"], client["mode"], params["role"], ",".join(params["scopes"]),
            str(device["signedAt"]), params["auth"]["token"], nonce, client["platform"], "",
        ]
    )  # fmt: skip
    Ed25519PublicKey.from_public_bytes(public).verify(signature, signed.encode())
    return None


class Beside(FakeGateway):
    """A fake gateway together with the node's own end of the connection."""

    client: Gateway
    clock: FakeClock

    async def connected(self) -> None:
        """Return once the node is connected."""
        await soon(self.client.connected())

    async def reconnected(self) -> None:
        """Drop the connection, and return once the node has another."""
        before = self.client.connections
        await self.drop()
        await until(lambda: self.client.connections > before and self.client.is_connected)

    async def quiet(self) -> None:
        """Return once all that was said on both sides has been taken."""
        for _ in range(2):
            await soon(self.client.call("status", {}))
            self.calls.remove(("status", {}))
            await self.clock.advance(0)

    async def pass_time(self, condition: Callable[[], bool], step_s: float = 1.0) -> None:
        """Let time pass until something is so."""
        async with asyncio.timeout(BOUND_S):
            while not condition():
                await self.clock.advance(step_s)


@asynccontextmanager
async def beside(
    folder: Path,
    *,
    clock: FakeClock | None = None,
    methods: Iterable[str] = NEWER,
    token: str = TOKEN,
    connect: bool = True,
) -> AsyncIterator[Beside]:
    """Serve a gateway, and have a node's client connected to it."""
    gateway = Beside(methods)
    app = web.Application()
    app.router.add_get("/", gateway.talk)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    gateway.url = f"ws://{host}:{port}/"
    gateway.clock = clock or FakeClock()
    gateway.client = Gateway(
        GatewayAddress(url=gateway.url, token=token, boot=BOOT),
        device=Device.kept_in(folder / "device.key"),
        clock=gateway.clock,
        chance=FakeRandom("gateway", 0.0),
        version="0.0.0",
    )
    running = asyncio.create_task(gateway.client.run())
    try:
        if connect:
            await gateway.connected()
        yield gateway
        assert not running.done(), running
    finally:
        running.cancel()
        await soon(asyncio.wait([running]))
        await soon(runner.cleanup())
