"""the bytes of files over HTTP: given to peers from where they stand, and fetched from them"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import aiohttp

from lanmesh.engine.ports import BytesFrom
from lanmesh.errors import AnswerLost, OffsetDiffers
from lanmesh.model.file import FileRef
from lanmesh.model.ids import PeerId
from lanmesh.net.calls import ANSWER_S, Request
from lanmesh.net.link import HttpLink

_STALLED_S = 60.0
"""So long nothing may move; the peer's disk may have the last of it to sync. This node's own has longer."""

UPLOAD_OFFSET = "Upload-Offset"
"""Header that tells how many bytes of a file have come."""


class HttpFiles:
    """The way of files, one request for the rest of each. Implements the port `FileLink`."""

    def __init__(self, link: HttpLink) -> None:
        """Go the way of envelopes."""
        self._link = link

    async def give(self, peer: PeerId, ref: FileRef, offset: int, bytes_from: BytesFrom) -> None:
        """Return once the peer has all of a file; see the port."""
        try:
            await self._put(peer, ref, offset, bytes_from)
        except OffsetDiffers:
            async with self._link.opened(peer, Request("HEAD", _path(ref)), ANSWER_S) as answer:
                told = answer.headers.get(UPLOAD_OFFSET, "")
            if not (told.isascii() and told.isdigit()):
                raise AnswerLost(f"{peer} does not say how much of a file it has") from None
            await self._put(peer, ref, min(int(told), ref.size), bytes_from)

    async def _put(self, peer: PeerId, ref: FileRef, offset: int, bytes_from: BytesFrom) -> None:
        async with _moving() as limit, _left(_told(bytes_from(offset), limit.moved)) as body:
            request = Request(
                "PUT",
                f"{_path(ref)}?offset={offset}",
                body=body if offset < ref.size else b"",
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(ref.size - offset),
                },
                expects=offset < ref.size,
            )
            async with self._link.opened(peer, request, None) as answer:
                told = answer.headers.get(UPLOAD_OFFSET)
        if told != str(ref.size):
            raise AnswerLost(f"{peer} has {told or 'an unknown number'} of {ref.size} bytes of a file")

    @asynccontextmanager
    async def fetch(
        self, peer: PeerId, ref: FileRef, offset: int
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Give the bytes of a file from an offset on; see the port."""
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{ref.sha256}"'} if offset else {}
        async with (
            _moving() as limit,
            self._link.opened(peer, Request("GET", _path(ref), headers=headers), None) as answer,
        ):
            begins = f"bytes {offset}-" if offset else ""
            if not answer.headers.get("Content-Range", "").startswith(begins):
                raise AnswerLost(f"{peer} answers with another part of a file than was asked for")
            async with aclosing(_told(_chunks(answer), limit.moved, limit.lift)) as chunks:
                yield chunks


class _Limit:
    """How long nothing may move."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    def moved(self) -> None:
        """Begin to count anew."""
        if not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + _STALLED_S)

    def lift(self) -> None:
        """Count no more: what is left to do is for this node's own disk."""
        if not self._timeout.expired():
            self._timeout.reschedule(None)


@asynccontextmanager
async def _moving() -> AsyncGenerator[_Limit, None]:
    """Break off when nothing moves for too long; what it gives is told what does."""
    try:
        async with asyncio.timeout(_STALLED_S) as timeout:
            yield _Limit(timeout)
    except TimeoutError as fault:
        raise AnswerLost(f"nothing moved for {_STALLED_S:g} s") from fault


@asynccontextmanager
async def _left(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
    """Close what a request was to read; a writer that is still in it was canceled, and ends it itself."""
    try:
        yield body
    finally:
        with suppress(RuntimeError):
            await body.aclose()


async def _told(
    pieces: AsyncGenerator[bytes, None], moved: Callable[[], None], over: Callable[[], None] | None = None
) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            moved()
            yield piece
    (over or moved)()


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async for chunk in answer.content.iter_any():
        yield chunk


def _path(ref: FileRef) -> str:
    return f"/lan/blob/{ref.sha256}"
