"""the owner of a gateway, in front of it"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from lanmesh.openclaw.device import Device
from tests.acceptance.openclaw.waiting import BOUND_S, tail


class User:
    """The owner, connected to the gateway as a chat program is."""

    def __init__(self, *, name: str, url: str, token: str, home: Path, log: Path) -> None:
        """Have a connection to a gateway.

        Args:
            name: The gateway's, for people.
            url: Where it is.
            token: What opens it.
            home: Where the key of the owner's device lies.
            log: What to show when the gateway hangs up.
        """
        self.events: list[dict[str, Any]] = []
        """All that the gateway has told since the connection stands."""
        self.methods: frozenset[str] = frozenset()
        """What this version of the gateway can be asked for."""
        self.newer = False
        """Whether it keeps an account of its sessions: it resumes and wakes them, and knows their models."""
        self._name = name
        self._url = url
        self._token = token
        self._home = home
        self._log = log
        self._http = aiohttp.ClientSession()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._told = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "User":
        self._socket = await self._http.ws_connect(
            self._url, max_msg_size=0, timeout=aiohttp.ClientWSTimeout(ws_close=5)
        )
        challenge = await self._socket.receive_json(timeout=BOUND_S)
        assert challenge["event"] == "connect.challenge"
        self._reading = asyncio.create_task(self._read(self._socket))
        client = {"id": "cli", "version": "0.0.1", "platform": "linux", "mode": "cli"}
        scopes = ["operator.admin", "operator.read", "operator.write", "operator.approvals"]
        device = Device.kept_in(self._home / "device-of-the-owner.pem")  # 2026.3 gives others no scopes
        greeting = await self.call(
            "connect",
            minProtocol=3,
            maxProtocol=4,
            client=client,
            role="operator",
            scopes=scopes,
            caps=["tool-events"],
            auth={"token": self._token},
            device=device.credential(client, "operator", scopes, self._token, challenge["payload"]),
        )
        self.methods = frozenset(greeting["features"]["methods"])
        self.newer = "sessions.describe" in self.methods
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._http.close()

    async def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Return what the gateway answers.

        Raises:
            GatewayRefusedError: It answers with an error.
        """
        assert self._socket is not None
        number = str(next(self._numbers))
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"type": "req", "id": number, "method": method, "params": params})
        async with asyncio.timeout(BOUND_S):
            frame = await answer
        if not frame["ok"]:
            raise GatewayRefusedError(f"{method}: {frame['error']}")
        payload: dict[str, Any] = frame.get("payload", {})
        return payload

    async def ask(self, text: str, *, session: str = "main", within_s: float = BOUND_S) -> str:
        """Say something and return the final answer, of the agent or of a slash command."""
        return await self.answer(await self.begin(text, session=session), within_s=within_s)

    async def begin(self, text: str, *, session: str = "main") -> str:
        """Say something and return the id of the run that it starts."""
        key = f"{self._name}-{time.time_ns()}"
        started = await self.call("chat.send", sessionKey=session, message=text, idempotencyKey=key)
        run: str = started["runId"]
        return run

    async def answer(self, run: str, *, within_s: float = BOUND_S) -> str:
        """Return the final answer of a run."""
        event = await self.event(
            lambda event: (
                event["event"] == "chat"
                and event["payload"].get("runId") == run
                and event["payload"]["state"] in {"final", "error", "aborted"}
            ),
            within_s=within_s,
        )
        payload = event["payload"]
        assert payload["state"] == "final", payload
        return content_text(payload.get("message"))

    async def history(self, session: str = "main", limit: int = 200) -> list[dict[str, Any]]:
        """Return the messages of a session, as the gateway shows them."""
        answer = await self.call("chat.history", sessionKey=session, limit=limit)
        messages: list[dict[str, Any]] = answer["messages"]
        return messages

    async def event(self, wanted: Callable[[dict[str, Any]], bool], *, within_s: float) -> dict[str, Any]:
        """Return the first event that fits, whether it has come already or comes in time."""
        async with asyncio.timeout(within_s), self._told:
            seen = 0
            while True:
                for event in itertools.islice(self.events, seen, None):
                    if wanted(event):
                        return event
                seen = len(self.events)
                if self._reading is None or self._reading.done():
                    raise AssertionError(f"gateway {self._name} hung up\n{tail(self._log)}")
                await self._told.wait()

    async def _read(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in connection:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._take(json.loads(message.data))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionResetError(f"gateway {self._name} hung up"))
            async with self._told:
                self._told.notify_all()

    async def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "event":
            async with self._told:
                self.events.append(frame)
                self._told.notify_all()
        elif (answer := self._answers.pop(frame["id"], None)) is not None and not answer.done():
            answer.set_result(frame)


class GatewayRefusedError(Exception):
    """The gateway answered with an error."""


def content_text(message: dict[str, Any] | None) -> str:
    """Return the text of a message of the gateway."""
    content = (message or {}).get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")
