"""the bytes of files, /lan/blob/*: read by whom they were offered to, brought by who announced them"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lanmesh.engine.callers import Caller
from lanmesh.engine.node import Node
from lanmesh.errors import FileNotFound, InvalidRequest, OffsetDiffers, RangeImpossible
from lanmesh.faces.description import shaped
from lanmesh.faces.http import Route, bearer, certified, given, problem, whole_number
from lanmesh.model.file import FileRef
from lanmesh.protocol.files import FileStanding
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.ranges import byte_range

_MEDIA = "application/octet-stream"


class Blobs:
    """What peers may ask of the bytes of files."""

    def __init__(self, node: Node) -> None:
        """Speak for a node."""
        self._node = node

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        return [
            Route("GET", "/lan/blob/{sha256}", self.give),
            Route("PUT", "/lan/blob/{sha256}", self.take),
        ]

    @shaped(Shape(status=(200, 206), media=_MEDIA))
    async def give(self, request: Request) -> Response:
        """Give the bytes of a file that the caller was offered; by HEAD, also tell how one stands."""
        caller, sha256 = await self._caller(request), request.path_params["sha256"]
        try:
            ref = self._node.files.offered(caller, sha256)
        except FileNotFound:
            if request.method != "HEAD":
                raise
            return self._standing(caller, sha256)
        etag = f'"{ref.sha256}"'
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "no-store"}
        ranged = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
        try:
            part = byte_range(ranged, ref.size)
        except RangeImpossible as fault:
            refused = problem(fault)
            refused.headers["Content-Range"] = f"bytes */{ref.size}"
            return refused
        begin, end = part or (0, ref.size)
        if part is not None:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{ref.size}"
        headers["Content-Length"] = str(end - begin)
        if request.method == "HEAD":
            return Response(headers=headers, media_type=_MEDIA)
        # Whoever says of which file it has the rest (RFC 9110, If-Range) asks for all that it misses.
        completes = end == ref.size and (begin == 0 or "if-range" in request.headers)
        pieces = self._read(caller, ref, begin, end, completes=completes)
        return _Pieces(pieces, request, 200 if part is None else 206, headers)

    @shaped(Shape(gives=FileStanding, query=("offset",)))
    async def take(self, request: Request) -> Response:
        """Take bytes of a file that an envelope of the caller's has announced, from where it stands."""
        caller, sha256 = await self._caller(request), request.path_params["sha256"]
        offset = whole_number(request.query_params, "offset") or 0
        size = whole_number(request.headers, "content-length")
        if "content-range" in request.headers:
            raise InvalidRequest("say where the bytes belong by ?offset=, not by Content-Range")
        try:
            standing = await self._node.files.take(caller, sha256, offset, size, request.stream())
        except OffsetDiffers as fault:
            refused = problem(fault)
            refused.headers["Upload-Offset"] = str(self._node.files.standing(caller, sha256).present)
            return refused
        answer = given(FileStanding(size=standing.size, present=standing.present))
        answer.headers["Upload-Offset"] = str(standing.present)
        return answer

    async def _read(
        self, caller: Caller, ref: FileRef, begin: int, end: int, *, completes: bool
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._node.files.read(ref, begin, end)) as pieces:
            async for piece in pieces:
                yield piece
        if completes:
            await self._node.files.fetched(caller, ref)

    def _standing(self, caller: Caller, sha256: str) -> Response:
        standing = self._node.files.standing(caller, sha256)
        return Response(
            headers={
                "Upload-Offset": str(standing.present),
                "Upload-Length": str(standing.size),
                "Cache-Control": "no-store",
            },
            media_type=_MEDIA,
        )

    async def _caller(self, request: Request) -> Caller:
        return await self._node.identify(bearer(request), certified(request))


class _Pieces(Response):
    """An answer that is read from the disk as fast as its reader takes it."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], request: Request, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers, media_type=_MEDIA)
        self._pieces = pieces
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI has it
        async with aclosing(self._pieces) as pieces:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            async for piece in pieces:
                if await self._request.is_disconnected():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
