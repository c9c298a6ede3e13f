"""one HTTP request to another node, and what each kind of answer, and of silence, tells"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

import aiohttp

from lanmesh.errors import AnswerLost, MeshError, Misdirected, NotAuthenticated, PeerUnreachable, TooBusy
from lanmesh.protocol import problems

CONNECT_S = 5.0
"""A machine on the LAN that has not accepted a connection by then is off."""

ANSWER_S = 10.0
"""A node stores before it answers. What a slower one has stored, it answers at once when it is sent again."""

SLOWEST_BYTES_PER_S = 16 * 1024
"""A network that carries less is none: for what is long, there is time as it takes there."""

MOST_AT_ONE = 48
"""Connections to one peer, fewer than it has for one address; whoever gets none in time has sent nothing."""

_GOODBYE_S = 1.0
_MAX_ANSWER_BYTES = 2 * 1024 * 1024
_NOT_NOW = {408, 425, 429, 503, 507}
"""Answers that say: it was not taken, try again (RFC 9110, RFC 6585 section 4, RFC 4918 section 11.5)."""
_FAULTS = range(500, 600)
_GOOD = range(200, 300)
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
)
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)


def sending_s(body: bytes | None) -> float:
    """Return how much longer an answer may take because of what is asked with it."""
    return len(body or b"") / SLOWEST_BYTES_PER_S


def hung_up(fault: AnswerLost) -> bool:
    """Return whether a connection ended without a word, as where our certificate is not known."""
    return isinstance(fault.__cause__, _CLOSED)


def not_known(fault: PeerUnreachable) -> bool:
    """Return whether the other side answered that it does not know our credentials."""
    return isinstance(fault.__cause__, NotAuthenticated)


def not_connected(fault: PeerUnreachable) -> bool:
    """Return whether nobody was there, or somebody with another key."""
    return isinstance(fault.__cause__, _NOT_CONNECTED)


def why_not(fault: OSError) -> str:
    """Return in words why a connection did not come up."""
    if isinstance(fault, socket.gaierror) or not fault.errno:
        return fault.strerror or str(fault)
    return os.strerror(fault.errno)  # asyncio's own sentence holds the address once more, as Python spells it


def another_key(where: str) -> PeerUnreachable:
    """Return what it means that whoever listens somewhere shows another key than the one that is known."""
    return PeerUnreachable(
        f"{where} shows another key than the one that is known: if it was set up anew, run "
        "`lanmesh unpair` for it, and pair again; else somebody is in between"
    )


class Request(NamedTuple):
    """What is asked of another node."""

    method: str
    path: str
    """With its query."""
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})
    expects: bool = False
    """Whether the body is held back until the other side says that it will be read."""


class Calls:
    """A pool of connections to other nodes."""

    def __init__(self) -> None:
        """Begin without any; open it by `async with`."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Calls":
        """Open the pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=MOST_AT_ONE, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        address: tuple[str, int],
        path: str,
        *,
        who: str,
        tls: ssl.SSLContext | None,
        token: str | None = None,
        body: bytes | None = None,
        answer_s: float = ANSWER_S,
    ) -> bytes:
        """Return what whoever listens at an address answers; see `opened`.

        Args:
            method: Of HTTP.
            address: Host and port.
            path: With its query.
            who: Whom to name in errors.
            tls: Whom to trust there, and what to show; `None`: speak plain HTTP.
            token: What to present.
            body: What to send.
            answer_s: How long to wait for the whole answer.
        """
        request = Request(method, path, body=body, headers={"Content-Type": "application/json"})
        async with self.opened(request, address, who=who, tls=tls, token=token, answer_s=answer_s) as answer:
            return await bounded(answer)

    @asynccontextmanager
    async def opened(
        self,
        request: Request,
        address: tuple[str, int],
        *,
        who: str,
        tls: ssl.SSLContext | None,
        token: str | None,
        answer_s: float | None,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Give the beginning of what whoever listens at an address answers; the rest is read from it.

        Raises:
            PeerUnreachable: What was asked has surely not been taken.
            AnswerLost: It may have been taken or not.
            MeshError: It was refused.
        """
        if self._session is None:
            raise PeerUnreachable("this node is stopping")
        headers = dict(request.headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        where = _where(who, address)
        try:
            async with self._session.request(
                request.method,
                _url("http" if tls is None else "https", address, request.path),
                data=request.body,
                headers=headers,
                timeout=_patience(answer_s, request.body),
                allow_redirects=False,
                expect100=request.expects,
                ssl=True if tls is None else tls,
            ) as answer:
                if answer.status not in _GOOD:
                    said = await bounded(answer)
                    raise refusal(where, answer.status, said, _seconds(answer.headers.get("Retry-After")))
                yield answer
        except aiohttp.ClientConnectorCertificateError as fault:
            raise another_key(where) from fault
        except aiohttp.ClientConnectorError as fault:
            raise PeerUnreachable(f"{where}: {_reason(fault)}") from fault
        except aiohttp.ConnectionTimeoutError as fault:
            raise PeerUnreachable(f"{where}: no connection within {CONNECT_S:g} s") from fault
        except (aiohttp.InvalidURL, UnicodeError) as fault:
            raise PeerUnreachable(f"{where}: that is no address") from fault
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as fault:
            raise AnswerLost(f"{where}: connected, but no answer: {_reason(fault)}") from fault

    async def open(
        self,
        address: tuple[str, int],
        path: str,
        *,
        who: str,
        tls: ssl.SSLContext,
        token: str,
        most_bytes: int,
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """Return a WebSocket to whoever listens at an address.

        Args:
            address: Host and port.
            path: Where it is served.
            who: Whom to name in errors.
            tls: Whom to trust there, and what to show.
            token: What to present.
            most_bytes: A longer message ends it.

        Raises:
            PeerUnreachable: There is none, or not for us.
        """
        if self._session is None:
            raise PeerUnreachable("this node is stopping")
        where = _where(who, address)
        try:
            async with asyncio.timeout(CONNECT_S + ANSWER_S):
                return await self._session.ws_connect(
                    _url("wss", address, path),
                    headers={"Authorization": f"Bearer {token}"},
                    ssl=tls,
                    max_msg_size=most_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_GOODBYE_S),
                )
        except aiohttp.WSServerHandshakeError as fault:
            raise PeerUnreachable(f"{where} opens no live link: HTTP status {fault.status}") from fault
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeError) as fault:
            raise PeerUnreachable(f"{where} opens no live link: {_reason(fault)}") from fault


def _patience(answer_s: float | None, body: Any) -> aiohttp.ClientTimeout:
    """Return how long to wait: silence ends it, not that much comes or goes slowly."""
    if answer_s is None:  # whoever asks looks after it
        return aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S)
    long_s = sending_s(body) if body else _MAX_ANSWER_BYTES / SLOWEST_BYTES_PER_S
    return aiohttp.ClientTimeout(
        total=answer_s + long_s, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=answer_s
    )


def _where(who: str, address: tuple[str, int]) -> str:
    host, port = address
    return f"{who} at {host} port {port}"


def _url(scheme: str, address: tuple[str, int], path: str) -> str:
    host, port = address
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


async def bounded(answer: aiohttp.ClientResponse) -> bytes:
    """Return what is answered, if it is no more than a node reads."""
    said = bytearray()
    async for chunk in answer.content.iter_any():
        said += chunk
        if len(said) > _MAX_ANSWER_BYTES:
            answer.close()
            raise aiohttp.ClientPayloadError(f"the answer has more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(said)


def refusal(where: str, status: int, said: bytes, retry_after_s: float | None) -> MeshError:
    """Return what an answer with another status than 2xx means to whoever sends.

    Args:
        where: Who answers, for people.
        status: The HTTP status.
        said: The body; of a node of the mesh, a problem document.
        retry_after_s: Of the header `Retry-After`.
    """
    problem = problems.read(said)
    detail = problem.detail if problem is not None else f"HTTP status {status}, without an explanation"
    if isinstance(problem, NotAuthenticated):
        # Tokens get rotated and mended; what waits for the peer should outlive that.
        why = "" if type(problem) is NotAuthenticated else f": {problem.code}"
        unknown = PeerUnreachable(f"{where} does not know our token{why}", retry_after_s=retry_after_s)
        unknown.__cause__ = problem
        return unknown
    if isinstance(problem, Misdirected):
        return PeerUnreachable(f"{where}: {detail}", retry_after_s=retry_after_s)
    if status in _NOT_NOW:
        kind = type(problem) if isinstance(problem, TooBusy) else TooBusy
        return kind(f"{where}: {detail}", retry_after_s=retry_after_s)
    if status in _FAULTS:
        return AnswerLost(f"{where}: {detail}", retry_after_s=retry_after_s)
    if problem is None:
        # Some other server has the port just now: only a node of the mesh can refuse for good.
        return PeerUnreachable(f"{where} is no node of the mesh: it answers with status {status}")
    return problem


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _reason(fault: BaseException) -> str:
    if isinstance(fault, aiohttp.ClientConnectorError):
        return why_not(fault.os_error)
    return str(fault) or type(fault).__name__
