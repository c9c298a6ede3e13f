"""send envelopes to peers over HTTP, and ask them questions"""

from collections.abc import Mapping
from types import TracebackType

import aiohttp

from lanmesh.engine.ports import Tokens
from lanmesh.errors import (
    AnswerLost,
    InvalidConfig,
    InvalidRequest,
    MeshError,
    Misdirected,
    NotAuthenticated,
    PeerUnreachable,
    TooBusy,
)
from lanmesh.model.envelope import Answer, Cancel, Envelope, EnvelopeType
from lanmesh.model.ids import PeerId, WireId
from lanmesh.model.peer import Peer
from lanmesh.model.task import TaskReport
from lanmesh.protocol import codec, problems, profiles

CONNECT_S = 5.0
"""A machine on the LAN that has not accepted a connection by then is off."""

ANSWER_S = 30.0
"""A node stores before it answers; a slow disk on a busy Pi still does so well within this."""

_MAX_ANSWER_BYTES = 2 * 1024 * 1024
_NOT_NOW = {408, 425, 429, 503, 507}
"""Answers that say: it was not taken, try again (RFC 9110, RFC 6585 section 4, RFC 4918 section 11.5)."""
_FAULTS = range(500, 600)
_GOOD = range(200, 300)
_ROUTES = {
    EnvelopeType.MESSAGE: "/lan/message",
    EnvelopeType.TASK: "/lan/task",
    EnvelopeType.RESULT: "/lan/result",
    EnvelopeType.QUESTION: "/lan/result",
    EnvelopeType.ANSWER: "/lan/task/{task}/answer",
    EnvelopeType.CANCEL: "/lan/task/{task}/cancel",
    EnvelopeType.CANCEL_RESULT: "/lan/result",
}


class HttpLink:
    """The way to configured peers, one request at a time. Implements the port `PeerLink`."""

    def __init__(self, peers: Mapping[PeerId, Peer], tokens: Tokens) -> None:
        """Reach peers where they are configured, with the tokens that they gave us."""
        self._peers = peers
        self._tokens = tokens
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "HttpLink":
        """Open the pool of connections."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=16, keepalive_timeout=60),
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

    async def send(self, peer: PeerId, envelope: Envelope) -> TaskReport | None:
        """Return once the peer has stored the envelope; see the port."""
        route = _ROUTES[envelope.type]
        if isinstance(envelope.payload, Answer | Cancel):
            route = route.format(task=envelope.payload.task_id)
        body = await self._ask("POST", peer, route, codec.encode_envelope(envelope))
        return None if envelope.type is EnvelopeType.MESSAGE else _report(body)

    async def report(self, peer: PeerId, task: WireId, *, wait_s: float, version: int) -> TaskReport:
        """Return what the peer says of a task; see the port."""
        path = f"/lan/task/{task}?wait={wait_s:g}&version={version}"
        return _report(await self._ask("GET", peer, path, answer_s=wait_s + ANSWER_S))

    async def profile(self, peer: PeerId) -> bytes:
        """Return the peer's profile; see the port."""
        body = await self._ask("GET", peer, "/lan/profile")
        try:
            return profiles.check(body)
        except InvalidRequest as fault:
            raise AnswerLost(f"{peer} answers, but with no profile: {fault.detail}") from fault

    async def _ask(
        self, method: str, name: PeerId, path: str, body: bytes | None = None, answer_s: float = ANSWER_S
    ) -> bytes:
        peer = self._peers.get(name)
        if peer is None:
            raise PeerUnreachable(
                f"{name} is no longer configured as a peer; add it again, or what waits for it expires"
            )
        try:
            token = self._tokens.outbound(name)
        except InvalidConfig as fault:  # ours to mend; what waits for the peer outlives it
            raise PeerUnreachable(fault.detail) from fault
        if token is None:
            raise PeerUnreachable(f"no token for {name}: set its LAN_PEER_…_TOKEN in the .env file")
        if self._session is None:
            raise PeerUnreachable("this node is stopping")
        host = f"[{peer.host}]" if ":" in peer.host else peer.host
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=answer_s, sock_connect=CONNECT_S)
        where = f"{name} at {peer.host} port {peer.port}"
        try:
            async with self._session.request(
                method,
                f"http://{host}:{peer.port}{path}",
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                said = await _bounded(answer)
                status, retry_after_s = answer.status, _seconds(answer.headers.get("Retry-After"))
        except aiohttp.ClientConnectorError as fault:
            raise PeerUnreachable(f"{where}: {_reason(fault)}") from fault
        except aiohttp.ConnectionTimeoutError as fault:
            raise PeerUnreachable(f"{where}: no connection within {CONNECT_S:g} s") from fault
        except (aiohttp.InvalidURL, UnicodeError) as fault:
            raise PeerUnreachable(f"{where}: that is no address") from fault
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as fault:
            raise AnswerLost(f"{where}: connected, but no answer: {_reason(fault)}") from fault
        if status in _GOOD:
            return said
        raise refusal(where, status, said, retry_after_s)


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
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
        return PeerUnreachable(f"{where} does not know our token", retry_after_s=retry_after_s)
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


def _report(body: bytes) -> TaskReport:
    try:
        return codec.decode_report(body)
    except InvalidRequest as fault:
        raise AnswerLost(f"the peer answers, but not about a task: {fault.detail}") from fault


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _reason(fault: BaseException) -> str:
    if isinstance(fault, aiohttp.ClientConnectorError):
        return fault.os_error.strerror or str(fault.os_error)
    return str(fault) or type(fault).__name__
