"""streams of events over HTTP: what happens to a task, and what its run writes, as it happens"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lanmesh.engine.watching import News
from lanmesh.model.history import Event
from lanmesh.model.task import Task
from lanmesh.protocol import codec, sse
from lanmesh.protocol.drafts import spelled

SLOWEST_READER_S = 30.0
"""How long a reader of a stream may take nothing before the connection is given up."""


class EventStream(Response):
    """An answer that goes on as server-sent events, as fast as its reader takes them."""

    def __init__(
        self, frames: AsyncGenerator[bytes, None], *, slowest_reader_s: float = SLOWEST_READER_S
    ) -> None:
        """Send frames until there are no more, or the reader is gone or takes none for too long."""
        super().__init__(media_type=sse.MEDIA_TYPE, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._frames = frames
        self._slowest_reader_s = slowest_reader_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["method"] == "HEAD":
            await self._frames.aclose()
            await send(self._start())
            await send({"type": "http.response.body"})
            return
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_left(receive))
            telling = group.create_task(self._tell(send))
            leaving.add_done_callback(lambda _: telling.cancel())
            telling.add_done_callback(lambda _: leaving.cancel())

    async def _tell(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            with suppress(TimeoutError):
                await self._taken(send, self._start())
                async for frame in frames:
                    await self._taken(send, {"type": "http.response.body", "body": frame, "more_body": True})
                await self._taken(send, {"type": "http.response.body", "body": b""})

    def _start(self) -> Message:
        return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}

    async def _taken(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._slowest_reader_s):
            await send(message)


async def _left(receive: Receive) -> None:
    """Return once the reader is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def place_of(request: Request) -> sse.Place:
    """Return where a reader of events wants to go on: at the beginning, unless it says something else.

    Raises:
        InvalidRequest: It says what is no place.
    """
    return sse.place(request.headers.get("Last-Event-ID", "0"))


def told(
    place: sse.Place, some: News, event: Callable[[Event], bytes], end: Callable[[Task, Event], bytes]
) -> tuple[sse.Place, bytes]:
    """Return where a reader is after some news, and these as they stand in its stream.

    Args:
        place: Where it was.
        some: The news.
        event: Tells a thing that happened to a task.
        end: Tells a task that has ended, in place of the event that has ended it.
    """
    frames = []
    for each in some.events if some.end is None else some.events[:-1]:
        place = sse.Place(each.version, place.seen)
        frames.append(sse.Frame(each.kind, event(each), str(place)))
    if some.draft is not None:
        place = sse.Place(place.version, some.draft.end)
        frames.append(sse.Frame("draft", codec.encode(spelled(some.draft)), str(place)))
    if some.end is not None:
        place = sse.Place(some.end.version, place.seen)
        frames.append(sse.Frame("end", end(some.end, some.events[-1]), str(place)))
    return place, b"".join(map(sse.encode, frames)) or sse.KEEP_ALIVE
