"""send envelopes to peers, over a live link or by HTTP, and ask them questions"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import aiohttp

from lanmesh.engine.pairing import NOT_PAIRED
from lanmesh.engine.ports import Tokens
from lanmesh.errors import AnswerLost, InvalidConfig, InvalidRequest, MeshError, PeerUnreachable
from lanmesh.model.draft import Mark
from lanmesh.model.envelope import Answer, Cancel, Envelope, EnvelopeType
from lanmesh.model.ids import NodeId, PeerId, WireId
from lanmesh.model.peer import Peer
from lanmesh.model.report import TaskReport
from lanmesh.net.calls import ANSWER_S, Calls, Request, bounded, hung_up, not_known
from lanmesh.net.channel import Channel
from lanmesh.net.dialling import Ways, meet
from lanmesh.net.identity import NodeIdentity
from lanmesh.protocol import codec, profiles, reports
from lanmesh.protocol.json import convert, parse

Pin = Callable[[PeerId, bytes], Awaitable[bool]]
"""Keeps the certificate that a peer showed at first use; returns whether that one counts."""

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
    """The way to peers: a live link where there is one, else one request at a time.

    Implements the port `PeerLink`.
    """

    def __init__(
        self,
        peers: Mapping[PeerId, Peer],
        tokens: Tokens,
        *,
        calls: Calls,
        identity: NodeIdentity,
        pin: Pin,
        ways: Ways,
        live: Callable[[PeerId], Channel | None] = lambda _: None,
        heard: Callable[[PeerId], None] = lambda _: None,
    ) -> None:
        """Reach peers where they are, with the tokens that they gave us.

        Args:
            peers: Who and where they are now.
            tokens: What to present to each.
            calls: The pool to call over.
            identity: Who this node is.
            pin: Keeps what a peer shows at first use.
            ways: Where those are that are known by their keys.
            live: Returns the live link to a peer, which is then used instead.
            heard: Told of each answer of a peer by HTTP.
        """
        self._peers = peers
        self._tokens = tokens
        self._calls = calls
        self._identity = identity
        self._pin = pin
        self._ways = ways
        self._live = live
        self._heard = heard
        self._contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}
        self._under_way: defaultdict[NodeId, set[asyncio.Timeout]] = defaultdict(set)
        """What is asked of each node by HTTP, by what can end it."""

    async def send(self, peer: PeerId, envelope: Envelope) -> TaskReport | None:
        """Return once the peer has stored the envelope; see the port."""
        route = _ROUTES[envelope.type]
        if isinstance(envelope.payload, Answer | Cancel):
            route = route.format(task=envelope.payload.task_id)
        body = await self._ask("POST", peer, route, codec.encode_envelope(self._addressed(peer, envelope)))
        return None if envelope.type is EnvelopeType.MESSAGE else _report(body)

    async def report(
        self, peer: PeerId, task: WireId, *, wait_s: float, version: int, draft: Mark | None = None
    ) -> TaskReport:
        """Return what the peer says of a task; see the port."""
        path = f"/lan/task/{task}?wait={wait_s:g}&version={version}"
        path += "" if draft is None else f"&draft={draft}"
        return _report(await self._ask("GET", peer, path, answer_s=wait_s + ANSWER_S))

    async def profile(self, peer: PeerId) -> bytes:
        """Return the peer's profile; see the port."""
        body = await self._ask("GET", peer, "/lan/profile")
        try:
            return profiles.check(body)
        except InvalidRequest as fault:
            raise AnswerLost(f"{peer} answers, but with no profile: {fault.detail}") from fault

    async def look(self, peer: PeerId) -> None:
        """Return once the peer has answered by HTTP, beside any live link.

        Raises:
            MeshError: It does not.
        """
        async with self.opened(peer, Request("GET", "/lan/whoami"), ANSWER_S) as answer:
            await bounded(answer)

    def drop(self, node: NodeId) -> None:
        """Break off all that is asked of a node now, whatever is still to be sent or read."""
        now = asyncio.get_running_loop().time()
        for limit in self._under_way.pop(node, ()):
            limit.reschedule(now)

    def _addressed(self, name: PeerId, envelope: Envelope) -> Envelope:
        """Return an envelope as a paired peer reads it: all that have proven a key are named by that."""
        peer = self._peers.get(name)
        if peer is None or peer.node_id is None:
            return envelope
        names = {known.id: PeerId(known.node_id) for known in self._peers.values() if known.node_id}
        names[PeerId(envelope.sender)] = PeerId(self._identity.node_id)
        return replace(
            envelope,
            sender=self._identity.node_id,
            recipient=peer.node_id,
            path=tuple(names.get(node, node) for node in envelope.path),
        )

    async def _ask(
        self, method: str, name: PeerId, path: str, body: bytes | None = None, answer_s: float = ANSWER_S
    ) -> bytes:
        live = self._live(name)
        if live is not None:
            return await live.ask(method, path, body, answer_s)
        request = Request(method, path, body=body, headers={"Content-Type": "application/json"})
        async with self.opened(name, request, answer_s) as answer:
            return await bounded(answer)

    @asynccontextmanager
    async def opened(
        self, name: PeerId, request: Request, answer_s: float | None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Give the beginning of what a peer answers by HTTP; see `Calls.opened`."""
        peer = self._peers.get(name)
        if peer is None:
            raise PeerUnreachable(f"{name} is no peer any more; add it again, or what waits for it expires")
        async with self._until_dropped(peer), self._answer_of(peer, request, answer_s) as answer:
            self._heard(name)
            yield answer

    @asynccontextmanager
    async def _until_dropped(self, peer: Peer) -> AsyncGenerator[None, None]:
        """Let what is done meanwhile go on for as long as the peer's key is trusted."""
        if peer.node_id is None:
            yield
            return
        limit = asyncio.timeout(None)
        under_way = self._under_way[peer.node_id]
        try:
            async with limit:
                under_way.add(limit)
                yield
        except TimeoutError as fault:
            if not limit.expired():
                raise
            raise AnswerLost(f"{peer.id} is no peer any more: what was under way is broken off") from fault
        finally:
            under_way.discard(limit)

    @asynccontextmanager
    async def _answer_of(
        self, peer: Peer, request: Request, answer_s: float | None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        name = peer.id
        try:
            token = self._tokens.outbound(name)
        except InvalidConfig as fault:  # ours to mend; what waits for the peer outlives it
            raise PeerUnreachable(fault.detail) from fault
        if token is None:
            raise PeerUnreachable(f"no token for {name}: set its LAN_PEER_…_TOKEN in the .env file, or pair")
        if not peer.port:
            raise PeerUnreachable(f"{name} listens nowhere: what waits for it goes once it has dialled")
        tls = await self._tls(peer)
        try:
            async with AsyncExitStack() as stack:
                yield await self._ways.ask(
                    peer,
                    tls,
                    lambda place: stack.enter_async_context(
                        self._calls.opened(request, place, who=name, tls=tls, token=token, answer_s=answer_s)
                    ),
                )
        except PeerUnreachable as fault:
            if peer.node_id is not None and not_known(fault):
                raise _parted(name, NOT_PAIRED) from fault
            raise
        except AnswerLost as silence:
            if peer.node_id is not None and hung_up(silence):
                raise await self._explained(peer, token, silence) from silence
            raise

    async def _tls(self, peer: Peer) -> ssl.SSLContext | None:
        if not peer.tls:
            return None
        certificate = peer.certificate
        if certificate is None:  # its first use: what it shows now is what it must show for ever
            certificate = await meet(peer.host, peer.port)
            if not await self._pin(peer.id, certificate):
                raise PeerUnreachable(f"{peer.id} showed two keys at its first use: somebody is in between")
        key = certificate, peer.node_id is not None
        if key not in self._contexts:
            self._contexts[key] = self._identity.dialling(certificate, shown=key[1])
        return self._contexts[key]

    async def _explained(self, peer: Peer, token: str, silence: AnswerLost) -> MeshError:
        """Return why a paired peer has hung up.

        One that does not know our certificate does so; TLS 1.3 tells no reason, so it is asked
        without one.
        """
        tls = self._identity.dialling(peer.certificate or b"", shown=False)
        try:
            body = await self._ways.ask(
                peer,
                tls,
                lambda place: self._calls.ask("GET", place, "/lan/whoami", who=peer.id, tls=tls, token=token),
            )
            told = convert(parse(body), codec.Whoami).status
        except MeshError:
            return silence
        return _parted(peer.id, told) if told == NOT_PAIRED else silence


def _parted(name: PeerId, told: str) -> PeerUnreachable:
    return PeerUnreachable(f"{name} is not paired with this node any more ({told}): pair again")


def _report(body: bytes) -> TaskReport:
    try:
        return reports.decode(body)
    except InvalidRequest as fault:
        raise AnswerLost(f"the peer answers, but not about a task: {fault.detail}") from fault
