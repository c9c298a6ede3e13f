"""what the routes of a face take and give, and the OpenAPI document that says so"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from lanmesh.faces.http import Route, json
from lanmesh.protocol.openapi import Operation, Shape, document, encode

E = TypeVar("E", bound=Callable[..., Any])

_shapes: dict[Any, Shape] = {}


def shaped(shape: Shape) -> Callable[[E], E]:
    """Say what an endpoint takes and gives."""

    def note(endpoint: E) -> E:
        _shapes[endpoint] = shape
        return endpoint

    return note


def operations(routes: Sequence[Route]) -> list[Operation]:
    """Return routes with what is known of them; one that nobody has described gives any JSON."""
    return [
        Operation(
            method=route.method,
            path=route.path,
            summary=route.endpoint.__doc__ or "",
            shape=_shapes.get(getattr(route.endpoint, "__func__", route.endpoint), Shape()),
        )
        for route in routes
    ]


class Description:
    """The OpenAPI document of some routes and of itself."""

    def __init__(self, path: str, title: str, version: str, routes: Sequence[Route]) -> None:
        """Describe routes at a path."""
        self._path = path
        self._title = title
        self._version = version
        self._routes = routes

    def routes(self) -> list[Route]:
        """Return the one route."""
        return [Route("GET", self._path, self.tell)]

    def document(self) -> dict[str, Any]:
        """Return the document."""
        return document(self._title, self._version, operations([*self._routes, *self.routes()]))

    @shaped(Shape(anyone=True))
    async def tell(self, _request: Request) -> Response:
        """Tell what this port answers to, as an OpenAPI document."""
        return json(encode(self.document()))
