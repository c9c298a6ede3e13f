"""ask an app in this process, in the name of a node that asks over a live link"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lanmesh.model.ids import NodeId

log = logging.getLogger(__name__)

App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an app answered."""

    status: int
    body: bytes
    retry_after_s: float | None = None


async def ask(app: App, method: str, path: str, body: bytes, *, token: str, certified: NodeId) -> Reply:
    """Return what an app answers to the holder of a token whose connection has proven a key.

    The app sees a request like any other on the mesh port, and checks it as such.
    """
    at, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": at,
        "raw_path": at.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (b"host", b"link"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": None,
        "server": None,
        "state": {"certified": certified},
    }
    status, said = 500, bytearray()
    headers: dict[bytes, bytes] = {}
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:  # whoever breaks off the link cancels this
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.update(message.get("headers", ()))
        else:
            said.extend(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except Exception:  # it has answered with an internal error, and tells its server why
        log.exception("request over a link failed", extra={"route": at})
    wait = headers.get(b"retry-after", b"")
    return Reply(status=status, body=bytes(said), retry_after_s=float(wait) if wait.isdigit() else None)
