"""one WebSocket to the gateway beside this node: calls, runs and events"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from lanmesh.engine.ports import Clock, Random
from lanmesh.engine.retry import pause
from lanmesh.errors import GatewayRefused, GatewayUnavailable, MeshError
from lanmesh.openclaw.device import Device

log = logging.getLogger(__name__)

Json = dict[str, Any]

Answer = Json | MeshError
"""What the gateway says to a request: a payload, or why not."""

CALL_S = 30.0
"""A gateway on a busy Pi answers an ordinary call well within this."""

_CONNECT_S = 15.0
_HEARTBEAT_S = 20.0
_LONGEST_PAUSE_S = 5.0
"""The gateway is on this machine: asking often costs nothing."""
_MAX_FRAME_BYTES = 32 * 1024 * 1024
"""The gateway's own limit is 25 MiB."""

_ROLE = "operator"
_SCOPES = ["operator.read", "operator.write"]
_PROTOCOLS = (3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """Where the gateway is, and what opens it."""

    url: str
    token: str
    boot: str
    """Made anew with each process of the gateway."""


class Gateway:
    """The gateway, as long as it is there: connects for ever, and tells who waits for it."""

    def __init__(
        self, address: GatewayAddress, *, device: Device, clock: Clock, chance: Random, version: str
    ) -> None:
        """Speak to one gateway process after another, all of one address."""
        self._address = address
        self._device = device
        self._clock = clock
        self._chance = chance
        self._version = version
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connected = asyncio.Event()
        self._methods: frozenset[str] = frozenset()
        self._number = 0
        self._waiting: dict[str, asyncio.Queue[Answer]] = {}
        self._listeners: set[Callable[[str, Json], None]] = set()
        self.connections = 0
        """How often it was connected; grows with each new connection."""
        self.last_fault = "not connected yet"

    @property
    def boot(self) -> str:
        """Which process of the gateway this is."""
        return self._address.boot

    @property
    def is_connected(self) -> bool:
        """Whether a call may be made now."""
        return self._connected.is_set()

    def has(self, method: str) -> bool:
        """Whether the connected gateway knows a method."""
        return method in self._methods

    async def connected(self) -> None:
        """Return once a call may be made."""
        await self._connected.wait()

    async def run(self) -> None:
        """Keep a connection, until cancelled."""
        failures = 0
        async with aiohttp.ClientSession(trust_env=False) as session:
            while True:
                try:
                    await self._talk(session)
                    failures = 1
                except (aiohttp.ClientError, OSError, TimeoutError, MeshError, ValueError) as fault:
                    failures += 1
                    self.last_fault = str(fault) or type(fault).__name__
                    log.info("gateway not connected", extra={"why": self.last_fault})
                await self._clock.sleep(min(_LONGEST_PAUSE_S, pause(failures, self._chance.uniform())))

    async def call(self, method: str, params: Json, *, answer_s: float = CALL_S) -> Json:
        """Return what the gateway answers.

        Raises:
            GatewayUnavailable: It is not connected, or went away before it answered.
            GatewayRefused: It says no.
        """
        async with self._asked(method, params) as answers:
            return await _next(answers, method, answer_s)

    async def run_agent(self, params: Json) -> Json:
        """Run a turn of an agent, and return how it ended.

        Cancellation lets go of the turn; it goes on.

        Raises:
            GatewayUnavailable: The connection went away; whether the turn began may be unknown.
            GatewayRefused: There is no such turn, or it ended in an error of the gateway.
        """
        async with self._asked("agent", params) as answers:
            payload = await _next(answers, "agent", CALL_S)
            while payload.get("status") == "accepted":  # the end comes under the same id
                payload = _told(await answers.get())
            return payload

    @contextmanager
    def listen(self, listener: Callable[[str, Json], None]) -> Iterator[None]:
        """Have every event told to a function, by name and payload."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    @asynccontextmanager
    async def _asked(self, method: str, params: Json) -> AsyncIterator["asyncio.Queue[Answer]"]:
        socket = self._socket
        if socket is None or not self.is_connected:
            raise GatewayUnavailable(f"the gateway is not connected: {self.last_fault}")
        self._number += 1
        identifier = f"{self._number}"
        answers = self._waiting[identifier] = asyncio.Queue()
        try:
            await _write(socket, identifier, method, params)
            yield answers
        finally:
            del self._waiting[identifier]

    async def _talk(self, session: aiohttp.ClientSession) -> None:
        timeout = aiohttp.ClientWSTimeout(ws_close=2.0)
        async with session.ws_connect(
            self._address.url, max_msg_size=_MAX_FRAME_BYTES, heartbeat=_HEARTBEAT_S, timeout=timeout
        ) as socket:
            async with asyncio.timeout(_CONNECT_S):
                hello = await self._greet(socket)
            self._methods = frozenset(hello.get("features", {}).get("methods", ()))
            version = hello.get("server", {}).get("version", "?")
            log.info("gateway connected", extra={"gateway": version, "protocol": hello.get("protocol")})
            self._socket = socket
            self.connections += 1
            self._connected.set()
            try:
                async for frame in _frames(socket):
                    self._take(frame)
            finally:
                self._socket = None
                self._connected.clear()
                self.last_fault = "it closed the connection"
                for answers in self._waiting.values():
                    answers.put_nowait(GatewayUnavailable("the gateway went away before it answered"))

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse) -> Json:
        client = {
            "id": "gateway-client",  # the gateway takes names from a closed list
            "version": self._version,
            "platform": sys.platform,
            "mode": "backend",
        }
        token = self._address.token
        lowest, highest = _PROTOCOLS
        async for frame in _frames(socket):
            if frame.get("event") == "connect.challenge":
                device = self._device.credential(client, _ROLE, _SCOPES, token, frame.get("payload", {}))
                hello = {
                    "minProtocol": lowest,
                    "maxProtocol": highest,
                    "client": client,
                    "role": _ROLE,
                    "scopes": _SCOPES,
                    "caps": ["tool-events"],
                    "auth": {"token": token},
                    "device": device,
                }
                await _write(socket, "0", "connect", hello)
            elif frame.get("type") == "res" and frame.get("id") == "0":
                return _told(_answer(frame))
        raise GatewayUnavailable("the gateway closed the connection before it greeted")

    def _take(self, frame: Json) -> None:
        if frame.get("type") == "event":
            payload = frame.get("payload")
            for listener in tuple(self._listeners):
                listener(str(frame.get("event")), payload if isinstance(payload, dict) else {})
        elif answers := self._waiting.get(str(frame.get("id"))):
            answers.put_nowait(_answer(frame))


async def _frames(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Json]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            frame = _decoded(message.data)
            if isinstance(frame, dict):
                yield frame


def _decoded(text: str) -> Any:
    """Return the JSON in a frame; half a character, which JavaScript leaves where it cuts, becomes `?`."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace")
        return msgspec.json.decode(whole)


async def _write(socket: aiohttp.ClientWebSocketResponse, identifier: str, method: str, params: Json) -> None:
    request = {"type": "req", "id": identifier, "method": method, "params": params}
    try:
        await socket.send_str(msgspec.json.encode(request).decode())
    except (aiohttp.ClientError, ConnectionError) as fault:
        raise GatewayUnavailable(f"the gateway went away: {fault}") from fault


async def _next(answers: "asyncio.Queue[Answer]", method: str, answer_s: float) -> Json:
    try:
        async with asyncio.timeout(answer_s):
            return _told(await answers.get())
    except TimeoutError as fault:
        raise GatewayUnavailable(f"the gateway did not answer {method} within {answer_s:g} s") from fault


def _answer(frame: Json) -> Answer:
    if frame.get("ok"):
        payload = frame.get("payload")
        return payload if isinstance(payload, dict) else {"value": payload}
    error = frame.get("error") or {}
    detail = f"the gateway says {error.get('code', 'no')}: {error.get('message', 'without a reason')}"
    return GatewayUnavailable(detail) if error.get("code") == "UNAVAILABLE" else GatewayRefused(detail)


def _told(answer: Answer) -> Json:
    if isinstance(answer, MeshError):
        raise answer
    return answer
