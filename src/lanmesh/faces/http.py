"""what faces over HTTP share: bodies within limits, answers, problems"""

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute

from lanmesh.errors import (
    InvalidRequest,
    MeshError,
    MethodNotAllowed,
    NotAuthenticated,
    RouteNotFound,
    TooLarge,
    UnsupportedMedia,
)
from lanmesh.model import ids
from lanmesh.model.ids import NodeId
from lanmesh.protocol import codec, problems
from lanmesh.protocol.json import MAX_BODY_BYTES, convert, parse

log = logging.getLogger(__name__)

T = TypeVar("T")

_METHOD_NOT_ALLOWED = 405
_JSON = "application/json"
_ANYTHING = "application/octet-stream"
"""What many libraries say of a body that nobody has named."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """One row of a face's table of routes."""

    method: str
    path: str
    endpoint: Endpoint


def application(routes: Sequence[Route]) -> Starlette:
    """Return an app whose every error is a problem document (RFC 9457)."""
    app = Starlette(
        routes=[StarletteRoute(path, endpoint, methods=[method]) for method, path, endpoint in routes],
        exception_handlers={
            MeshError: _problem,
            HTTPException: _http_problem,
            ClientDisconnect: _gone,
            Exception: _internal,
        },
    )
    app.router.redirect_slashes = False  # a path that is nearly one of ours is none
    return app


def guarded(routes: Sequence[Route], token: str, header: str = "authorization") -> list[Route]:
    """Return routes that answer only to a request with a token in a header; others get a 401."""
    return [route._replace(endpoint=_guard(route.endpoint, token.encode(), header)) for route in routes]


def _guard(endpoint: Endpoint, token: bytes, header: str) -> Endpoint:
    async def guard(request: Request) -> Response:
        presented = request.headers.get(header, "")
        if header == "authorization":
            presented = bearer(request) or ""
        if not hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), token):
            raise NotAuthenticated("the operator port takes the token in the state folder's operator.token")
        return await endpoint(request)

    return guard


async def taken(request: Request, kind: type[T]) -> T:
    """Return the body of a request as the struct that its route takes.

    Raises:
        InvalidRequest: It is none; so too what `body_of` raises.
    """
    return convert(parse(await body_of(request)), kind)


def given(value: object, status: int = 200) -> Response:
    """Return an answer that gives a value of structs as JSON."""
    return json(codec.encode(value), status)


def json(body: bytes, status: int = 200) -> Response:
    """Return an answer that holds JSON."""
    return Response(body, status, media_type=_JSON)


async def body_of(request: Request) -> bytes:
    """Return the request's body, which is JSON by its head, or as nothing else is said.

    Raises:
        UnsupportedMedia: It is something else, such as what a form of a web page can send.
        TooLarge: It is larger than `MAX_BODY_BYTES`; the rest of it is not read.
    """
    media = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if media not in {_JSON, _ANYTHING}:
        raise UnsupportedMedia(f"the body is {ids.quoted(media)}: send it with Content-Type: {_JSON}")
    announced = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    size = int(announced) if announced.isascii() and announced.isdigit() else 0
    if size <= MAX_BODY_BYTES:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                break
            chunks.append(chunk)
    if size > MAX_BODY_BYTES:
        raise TooLarge(f"the body has more than {MAX_BODY_BYTES} bytes")
    return b"".join(chunks)


def bearer(request: Request) -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 section 2.1), if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def certified(request: Request) -> NodeId | None:
    """Return the node whose key the request's connection has proven, if any."""
    proven: NodeId | None = request.scope.get("state", {}).get("certified")
    return proven


def wait_of(query: Mapping[str, str]) -> float:
    """Return the seconds for which an answer may be held back.

    Raises:
        InvalidRequest: `wait` is no number from 0 on.
    """
    text = query.get("wait", "0")
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not wait_s >= 0:  # so that NaN is refused too
        raise InvalidRequest(f"wait must be seconds from 0 on; more than {codec.MAX_WAIT_S:g} count as that")
    return min(wait_s, codec.MAX_WAIT_S)


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """Return a whole number from 0 on out of a query or of headers; `None` if it is not there.

    Raises:
        InvalidRequest: It is something else.
    """
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):  # noqa: PLR2004  # fits into 64 bits
        raise InvalidRequest(f"{name} must be a whole number from 0 on")
    return int(text)


def problem(error: MeshError) -> Response:
    """Return the answer that tells of an error."""
    headers = problems.headers(error)
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = 'Bearer realm="lanmesh"'
    status = problems.spelling(error).status
    return Response(problems.encode(error), status, headers)


async def _problem(_request: Request, fault: Exception) -> Response:
    return problem(fault if isinstance(fault, MeshError) else MeshError())


async def _http_problem(request: Request, fault: Exception) -> Response:
    status = fault.status_code if isinstance(fault, HTTPException) else 500
    if status == _METHOD_NOT_ALLOWED:
        answer = problem(MethodNotAllowed(f"{request.method} is not possible here"))
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return answer
    return problem(
        RouteNotFound(f"there is nothing at {ids.quoted(request.url.path)}; PROTOCOL.md lists the routes")
    )


def _methods(request: Request) -> set[str]:
    """Return what is possible at the request's address; Starlette tells that of its first route only."""
    routes = [route for route in request.app.routes if isinstance(route, StarletteRoute)]
    there = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in there for method in route.methods or ()}


async def _gone(_request: Request, _fault: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _internal(request: Request, fault: Exception) -> Response:
    log.error("request failed", exc_info=fault, extra={"route": request.url.path})
    return problem(MeshError())
