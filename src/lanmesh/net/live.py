"""the live links to peers: whoever can dial, dials, and one to each is enough"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock, Random, Tokens
from lanmesh.engine.retry import pause
from lanmesh.errors import (
    CertMismatch,
    ClientCertRequired,
    MeshError,
    NotAllowed,
    NotAuthenticated,
    PeerUnreachable,
    TooBusy,
    TooFast,
)
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.pace import Pace
from lanmesh.model.peer import Peer
from lanmesh.model.profile import Profile
from lanmesh.net import inward
from lanmesh.net.calls import Calls, not_connected
from lanmesh.net.channel import BEAT_S, Channel
from lanmesh.net.dialling import Ways
from lanmesh.net.identity import NodeIdentity
from lanmesh.net.inward import App, Reply
from lanmesh.net.websocket import AT_EASE, LINK_PATH, PER_S, Accepted, Dialled, Socket, bearer, refuse
from lanmesh.protocol import codec, problems, profiles
from lanmesh.protocol.frames import HELLO, MAX_FRAME_BYTES, Frame
from lanmesh.protocol.json import convert, parse
from lanmesh.store.database import Change, Topic

log = logging.getLogger(__name__)

_BREATH_S = 1.0
"""The least time between two dials; the node with the larger key gives the other as much of a start."""

_BRIEF_S = 10.0
"""A link that ends sooner counts as one that failed."""

_LINK_COST = 10.0
"""Of a link that a peer dials, beside the frames that nobody has asked for; see `Channel`."""

_WHY_NOT = {"client_cert_required": ClientCertRequired, "cert_mismatch": CertMismatch}


class Links:
    """The open links of this node.

    Of two to one peer, that which was dialled by the node with the smaller key counts.
    """

    def __init__(
        self,
        peers: Mapping[PeerId, Peer],
        tokens: Tokens,
        *,
        calls: Calls,
        identity: NodeIdentity,
        ways: Ways,
        events: Events,
        clock: Clock,
        chance: Random,
        boot: str,
        met: Callable[[PeerId, str | None], Awaitable[None]],
        parted: Callable[[PeerId], None],
        heard: Callable[[PeerId], None],
        look: Callable[[PeerId], Awaitable[None]],
        profile: Callable[[PeerId], Profile],
        told: Callable[[PeerId, bytes], Awaitable[None]],
    ) -> None:
        """Link this node to those of its peers that have proven a key.

        Args:
            peers: Who and where they are now.
            tokens: What to present to each.
            calls: The pool to dial over.
            identity: Who this node is.
            ways: Where those are that are known by their keys.
            events: Tell when a dial may be worth it again.
            clock: For pauses and beats.
            chance: So that not all dial at once.
            boot: Names this life of the node.
            met: Told of each peer to which a link has come up, and of its boot.
            parted: Told of each peer to which no link is left.
            heard: Told of each word of a peer over its link.
            look: Asks a peer beside any link whether it is there, which then counts as its word.
            profile: Returns what this node tells a peer of itself now.
            told: Told what a peer tells of itself over its link.
        """
        self._peers = peers
        self._tokens = tokens
        self._calls = calls
        self._identity = identity
        self._ways = ways
        self._events = events
        self._clock = clock
        self._chance = chance
        self._boot = boot
        self._met = met
        self._parted = parted
        self._heard = heard
        self._look = look
        self._profile = profile
        self._told = told
        self._app: App | None = None
        self._group: asyncio.TaskGroup | None = None
        self._channels: dict[PeerId, list[Channel]] = {}
        self._lanes: dict[PeerId, asyncio.Event] = {}
        self._paces: dict[NodeId, Pace] = {}

    def to(self, peer: PeerId) -> Channel | None:
        """Return the link to use to a peer; `None` if none is open."""
        live = [channel for channel in self._channels.get(peer, ()) if channel.open]
        return min(live, key=lambda channel: not self._counts(channel), default=None)

    async def run(self, app: App) -> None:
        """Keep a link to every peer that can be dialled, until cancelled.

        Args:
            app: Answers what peers ask, as on the mesh port.
        """
        self._app = app
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                with self._events.watch(Change(Topic.PAIRING)) as changed:
                    while True:
                        changed.clear()
                        for name, peer in self._peers.items():
                            if peer.node_id is not None and name not in self._lanes:
                                self._lanes[name] = asyncio.Event()
                                group.create_task(self._lane(name))
                        for channel in self._all():
                            if channel.open and not self._holds(channel):
                                group.create_task(channel.leave())
                        await changed.wait()
        finally:
            self._group = None
            for channel in self._all():
                channel.end()

    def drop(self, node: NodeId) -> None:
        """End all links to a node now."""
        for channel in self._all():
            if channel.node_id == node:
                channel.end()

    def beside(self, app: App) -> App:
        """Return an app that also takes the links that peers dial."""

        async def both(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await self._accept(scope, receive, send)
            else:
                await app(scope, receive, send)

        return both

    # --- links that this node dials ---------------------------------------------------------------

    async def _lane(self, name: PeerId) -> None:
        """Dial one peer whenever there is no link to it, for as long as it is one that has proven a key."""
        failures, gave_way = 0, False
        with self._events.watch(Change(Topic.CONTACT, name), Change(Topic.PAIRING)) as news:
            self._lanes[name] = news
            while (peer := self._peers.get(name)) is not None and peer.node_id is not None:
                news.clear()
                if self.to(name) is not None or not peer.port:
                    failures, gave_way = 0, False
                    await news.wait()
                    continue
                if not gave_way and self._identity.node_id > peer.node_id:
                    gave_way = True
                    await self._clock.sleep(_BREATH_S * (1 + self._chance.uniform()))
                    continue
                began, off = self._clock.monotonic(), False
                try:
                    await self._dial(peer, peer.node_id)
                except MeshError as fault:
                    off = isinstance(fault, PeerUnreachable) and not_connected(fault)
                    log.debug("no link", extra={"peer": name, "why": fault.detail})
                except Exception:  # a bug of ours must not end the node
                    log.exception("link broke", extra={"peer": name})
                brief = self._clock.monotonic() - began < _BRIEF_S
                failures = failures + 1 if brief else 0
                await self._clock.sleep(_BREATH_S * (1 + self._chance.uniform()))
                if failures:
                    news.clear()
                    await self._rest(name, news, pause(failures, self._chance.uniform()), off=off)
        self._lanes.pop(name, None)

    async def _rest(self, name: PeerId, news: asyncio.Event, seconds: float, *, off: bool) -> None:
        """Wait before the next dial; meanwhile a peer that answers without a link is seen to be there.

        Args:
            name: The peer.
            news: Ends the wait.
            seconds: How long it is.
            off: Whether nobody answers there at all.
        """
        until = self._clock.monotonic() + seconds
        while (left_s := until - self._clock.monotonic()) > 0:
            if not off:
                try:
                    await self._look(name)
                except MeshError:
                    off = True
            if await heard(self._clock, news, left_s if off else min(left_s, BEAT_S)):
                return

    async def _dial(self, peer: Peer, node_id: NodeId) -> None:
        """Open a link, and use it until it ends.

        Raises:
            MeshError: It did not come up.
        """
        given = self._tokens.outbound(peer.id)
        if given is None or peer.certificate is None:
            raise PeerUnreachable(f"no token for {peer.id}: pair with it")
        tls = self._identity.dialling(peer.certificate, shown=True)
        socket = await self._ways.ask(
            peer,
            tls,
            lambda place: self._calls.open(
                place, LINK_PATH, who=peer.id, tls=tls, token=given, most_bytes=MAX_FRAME_BYTES
            ),
        )
        channel = self._channel(
            Dialled(socket), peer=peer.id, node_id=node_id, dialled=True, given=given, token=None
        )
        await self._use(channel, Frame(kind=HELLO, boot=self._boot))

    # --- links that peers dial --------------------------------------------------------------------

    async def _accept(self, scope: Any, receive: Any, send: Any) -> None:
        certified: NodeId | None = scope.get("state", {}).get("certified")
        try:
            if scope["path"] != LINK_PATH or certified is None or self._group is None:
                raise NotAllowed("a live link is for peers that are paired, on the mesh port")
            token = bearer(scope["headers"])
            name = await self._caller(token, certified)
            given = self._tokens.outbound(name)
            if given is None:
                raise TooBusy(f"this node has no token for {name} yet", retry_after_s=_BREATH_S)
            if early_s := self._pace(certified).early_s(self._clock.monotonic(), _LINK_COST):
                raise TooFast("too many live links were dialled", retry_after_s=early_s)
        except MeshError as fault:
            await refuse(fault, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        channel = self._channel(
            Accepted(receive, send), peer=name, node_id=certified, dialled=False, given=given, token=token
        )
        with suppress(MeshError, OSError):  # the latter where this node is stopping
            await self._use(channel, Frame(kind=HELLO, boot=self._boot, token=given))

    async def _caller(self, token: str, certified: NodeId) -> PeerId:
        """Return which peer presents a token with a key.

        Raises:
            NotAuthenticated: None does.
            NotAllowed: It is no peer that has proven that key to this node.
        """
        reply = await self._answered("GET", "/lan/whoami", b"", token, certified)
        who = convert(parse(reply.body), codec.Whoami)
        if who.status != "paired":
            raise _WHY_NOT.get(who.status, NotAuthenticated)()
        peer = self._peers.get(PeerId(who.origin or ""))
        if peer is None or peer.node_id != certified:
            raise NotAllowed("a live link is for peers that are paired")
        return peer.id

    # ----------------------------------------------------------------------------------------------

    def _channel(
        self, socket: Socket, *, peer: PeerId, node_id: NodeId, dialled: bool, given: str, token: str | None
    ) -> Channel:
        async def answer(method: str, path: str, body: bytes, presented: str) -> Reply:
            return await self._answered(method, path, body, presented, node_id)

        async def told(profile: bytes) -> None:
            try:
                await self._told(peer, profile)
            except MeshError as fault:
                log.debug("profile not taken", extra={"peer": peer, "why": fault.detail})

        return Channel(
            socket, peer=peer, node_id=node_id, dialled=dialled, given=given, token=token,
            pace=self._pace(node_id), answer=answer, heard=lambda: self._heard(peer),
            news=self._news_for(peer), told=told, spawn=self._spawn, clock=self._clock, chance=self._chance,
        )  # fmt: skip

    def _pace(self, node: NodeId) -> Pace:
        """Return how much a node may bring unasked: over all of its links, one after the other."""
        return self._paces.setdefault(node, Pace(AT_EASE, PER_S, self._clock.monotonic()))

    def _news_for(self, peer: PeerId) -> Callable[[], bytes]:
        """Return what gives the profile of this node whenever a peer should have it anew."""
        last: Profile | None = None

        def news() -> bytes:
            nonlocal last
            try:
                now = self._profile(peer)
            except MeshError as fault:  # it cannot be read now; the peer keeps the last
                log.debug("no profile", extra={"peer": peer, "why": fault.detail})
                return b""
            if last is not None and not now.says_more_than(last):
                return b""
            last = now
            return profiles.encode(now)

        return news

    async def _answered(self, method: str, path: str, body: bytes, token: str, certified: NodeId) -> Reply:
        if self._app is None:
            busy = TooBusy("this node is not up yet", retry_after_s=_BREATH_S)
            return Reply(status=problems.spelling(busy).status, body=problems.encode(busy))
        return await inward.ask(self._app, method, path, body, token=token, certified=certified)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        group = self._group
        if group is None:
            work.close()
            raise ConnectionResetError("this node is stopping")
        return group.create_task(work)

    async def _use(self, channel: Channel, hello: Frame) -> None:
        """Greet, and let a channel be used until it ends.

        Raises:
            PeerUnreachable: The other side does not greet.
        """
        await channel.greet(hello)
        if not self._holds(channel):  # what proved it was taken back meanwhile
            await channel.abort()
            return
        ours = self._channels.setdefault(channel.peer, [])
        for other in ours:
            if other.dialled == channel.dialled:
                other.end()  # whoever dials anew has lost the earlier one
        ours.append(channel)
        self._part_with_the_second(ours)
        log.info("link up", extra={"peer": channel.peer, "dialled": channel.dialled})
        self._changed(channel.peer)
        try:
            with suppress(MeshError):  # only what waits learns of it later
                await self._met(channel.peer, channel.boot)
            with self._events.watch(Change(Topic.SIGHTING, channel.peer)) as seen:
                await channel.run(seen)
        finally:
            channel.end()
            ours.remove(channel)
            log.info("link down", extra={"peer": channel.peer, "dialled": channel.dialled})
            if self.to(channel.peer) is None:
                self._parted(channel.peer)
            self._changed(channel.peer)

    def _part_with_the_second(self, ours: Iterable[Channel]) -> None:
        """Of two links to one peer, end the one that does not count, if this node dialled it."""
        live = [channel for channel in ours if channel.open]
        if any(self._counts(channel) for channel in live):
            for channel in live:
                if channel.dialled and not self._counts(channel):
                    channel.open = False
                    parting = self._spawn(channel.leave())
                    log.debug("second link ends", extra={"peer": channel.peer, "work": parting.get_name()})

    def _counts(self, channel: Channel) -> bool:
        """Return whether a link is the one that stays where there are two."""
        return channel.dialled == (self._identity.node_id < channel.node_id)

    def _holds(self, channel: Channel) -> bool:
        """Return whether what was proven and presented on a link still counts."""
        peer = self._peers.get(channel.peer)
        if peer is None or peer.node_id != channel.node_id:
            return False
        return self._tokens.outbound(channel.peer) == channel.given

    def _all(self) -> list[Channel]:
        return [channel for channels in self._channels.values() for channel in channels]

    def _changed(self, name: PeerId) -> None:
        lane = self._lanes.get(name)
        if lane is not None:
            lane.set()
