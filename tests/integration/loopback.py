"""Real sockets on loopback for the tests of faces and links."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec
from starlette.applications import Starlette

from lanmesh.net.server import Listener, bind
from lanmesh.protocol import sse
from tests.fakes import BOUND_S, soon, until


class Answer(NamedTuple):
    """What came back of a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The code of the problem that it tells of."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["type"] == f"urn:lanmesh:problem:{self.json['code']}"
        return str(self.json["code"])


class Program:
    """Asks one app over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, token: str | None) -> None:
        self.token = token
        """What it presents, unless a request says otherwise."""
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, and return the answer; a body other than bytes, a file or a stream goes out as JSON."""
        chosen = self.token if token == "" else token
        sent = {} if chosen is None else {"Authorization": f"Bearer {chosen}"}
        raw = body is None or hasattr(body, "read") or hasattr(body, "__aiter__")
        data: Any = body if raw or isinstance(body, bytes) else msgspec.json.encode(body)
        async with self._session.request(
            method, path, data=data, headers={**sent, **(headers or {})}, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(
        self, path: str, after: str | None = None, *, token: str | None = ""
    ) -> AsyncIterator["Stream"]:
        """Open a stream of events, from one on if its id is given."""
        chosen = self.token if token == "" else token
        headers = {} if chosen is None else {"Authorization": f"Bearer {chosen}"}
        if after is not None:
            headers["Last-Event-ID"] = after
        async with self._session.get(
            path, headers=headers, timeout=aiohttp.ClientTimeout(sock_read=BOUND_S)
        ) as answer:
            yield Stream(answer)


class Stream:
    """Reads a stream of events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.comments = 0
        self._reader = sse.Reader()
        self._frames: list[sse.Frame] = []

    async def next(self) -> sse.Frame | None:
        """Return the next event; `None` if the stream has ended."""
        while not self._frames:
            chunk = await soon(self.answer.content.readany())
            if not chunk:
                return None
            self.comments += chunk.count(sse.KEEP_ALIVE)
            self._frames = self._reader.feed(chunk)
        return self._frames.pop(0)

    async def rest(self) -> list[sse.Frame]:
        """Return all that comes until the stream has ended."""
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames


@asynccontextmanager
async def served(app: Starlette, token: str | None = None) -> AsyncIterator[Program]:
    """Serve an app on a free port, and give a program that asks it."""
    listener = Listener(app, bind("127.0.0.1", 0))
    host, port = listener.address
    async with (
        at_once(listener),
        aiohttp.ClientSession(
            base_url=f"http://{host}:{port}", timeout=aiohttp.ClientTimeout(total=BOUND_S)
        ) as session,
    ):
        yield Program(session, token)


@asynccontextmanager
async def at_once(listener: Listener) -> AsyncIterator[None]:
    """Serve as `Listener.serve` does, but without the two tenths of a second that uvicorn takes to end."""
    server = listener._server
    await server.on_tick(0)
    async with asyncio.TaskGroup() as group:
        letting_in = group.create_task(listener._entrance.run())
        try:
            yield
        finally:
            letting_in.cancel()
            for connection in list(server.server_state.connections):
                connection.shutdown()
            await until(lambda: not server.server_state.connections and not server.server_state.tasks)


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(conversation: Conversation) -> AsyncIterator[int]:
    """Serve something that need not be HTTP, and give its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await soon(server.wait_closed())


def answering(answer: bytes) -> Conversation:
    """Return a conversation that reads a request's head and says this."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk
