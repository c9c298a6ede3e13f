"""the room of pairing: codes shown and typed, and what becomes of a pairing later"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeVar

from lanmesh.engine.callers import digest_of
from lanmesh.engine.events import Events, heard
from lanmesh.engine.parting import Partings
from lanmesh.engine.ports import Clock, Random, Strangers
from lanmesh.engine.roster import Roster
from lanmesh.engine.sightings import Sightings
from lanmesh.engine.windows import Windows
from lanmesh.errors import (
    AnswerLost,
    InvalidRequest,
    MeshError,
    PairingClosed,
    PairingFailed,
    PeerNotFound,
    PeerUnreachable,
)
from lanmesh.model import ids
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import DEFAULT_PORT, Invitation, Pairing, PairingState, Place
from lanmesh.protocol import certificates, codec, codes
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.pairing import (
    Agreement,
    Confirmation,
    Confirmed,
    Dialler,
    Hello,
    Stage,
    Welcome,
)
from lanmesh.store import pairings
from lanmesh.store.database import Change, Database, Topic, Transaction

T = TypeVar("T")

_LOST_ANSWERS = 3
"""How often the last answer is asked for again while the code lasts."""

_AGAIN_S = 15.0
"""Between two questions to a node that has not said yet whether the pairing counts there."""

_FIND_S = 10.0
"""How long a node that shows a code is looked for: its word of that goes out once, and then now and then."""

NOT_PAIRED = "not_paired"
PAIRED = "paired"

log = logging.getLogger(__name__)


class Pairings:
    """Brings nodes together by a short code, and parts them again."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        chance: Random,
        roster: Roster,
        strangers: Strangers,
        sightings: Sightings,
        partings: Partings,
        certificate: bytes,
        port: int,
    ) -> None:
        """Pair the node that has a certificate, and that peers can reach on a port; 0: on none."""
        self.sightings = sightings
        self._database = database
        self._events = events
        self._clock = clock
        self._chance = chance
        self._roster = roster
        self._strangers = strangers
        self._partings = partings
        self._certificate = certificate
        self._port = port
        self._windows = Windows(roster, clock, chance)

    # --- for the owner of this node -------------------------------------------------------------

    def invite(self) -> Invitation:
        """Show a new code; an earlier one counts no more.

        Raises:
            PairingClosed: Nobody can dial this node.
        """
        if not self._port:
            raise PairingClosed(
                "nobody can dial this node (node.dialOnly): run `lanmesh pair` on the other, "
                "and type its code here"
            )
        self._windows.show_code()
        self._events.publish([Change(Topic.PAIRING)])
        return self.invitation()

    async def expected(self, wait_s: float) -> Invitation:
        """Return what has come of the code that was shown last; held until somebody has used or tried it.

        Raises:
            PairingClosed: None was shown.
        """
        deadline = self._clock.monotonic() + wait_s
        before = self.invitation()
        stop = Change(Topic.STOPPING)
        with self._events.watch(stop) as stopping, self._events.watch(Change(Topic.PAIRING), stop) as changed:
            while True:
                changed.clear()
                now = self.invitation()
                left_s = deadline - self._clock.monotonic()
                came = now.guest is not None and now.guest.state is not PairingState.PENDING
                over = left_s <= 0 or stopping.is_set()
                if came or not now.open or over or now.in_vain != before.in_vain:
                    return now
                await heard(self._clock, changed, min(left_s, self._windows.quiet_s()))

    def invitation(self) -> Invitation:
        """Return what has come of the code that was shown last.

        Raises:
            PairingClosed: None was shown.
        """
        code, window = self._windows.shown()
        window.look(self._clock.now())
        agreed = window.agreement
        states = (PairingState.PENDING, PairingState.PAIRED)
        guests = [
            each for each in self._roster.pairings(*states) if agreed and each.session == agreed.session
        ]
        return Invitation(
            code=code,
            closes_at=window.closes_at,
            open=window.stage is not Stage.CLOSED,
            in_vain=tuple(window.vain),
            guest=guests[0] if guests else None,
        )

    def used_up(self) -> str | None:
        """Return what the owner should know of tries that have used up the code shown last; else `None`."""
        return self._windows.used_up()

    async def dial(self, code: str, host: str, port: int) -> Pairing:
        """Pair with the node at an address that shows a code.

        Raises:
            InvalidRequest: That is no code.
            PairingClosed: It shows none.
            PairingFailed: It shows another, or somebody is in between; nothing was stored.
            PeerUnreachable: Nobody listens there; so too `AnswerLost`.
        """
        secret = codes.secret_of_code(code)
        return await self._pair(secret, "code", (host, port), await self._strangers.meet(host, port))

    async def find(self, code: str) -> Pairing:
        """Pair with the one node that was seen on the network and shows a code.

        Raises:
            InvalidRequest: That is no code, or more than one node shows one.
            PairingClosed: No node does, as far as can be seen.
            MeshError: As `dial`.
        """
        secret = codes.secret_of_code(code)
        shown = await self.sightings.only_code(_FIND_S)
        place, certificate = await self._strangers.find(shown.node_id, shown.places)
        return await self._pair(secret, "code", place, certificate)

    async def renew(self, name: str, host: str | None = None, port: int | None = None) -> Pairing:
        """Pair with a peer that this node shares tokens with, or give both new ones, without a code.

        Args:
            name: The peer.
            host: Where its mesh port is; `None`: where it is configured.
            port: That port; `None`: where it is paired, else the default.

        Raises:
            PeerNotFound: There is no such peer.
            InvalidRequest: Not both sides have a token for the other here.
            PairingFailed: It shows another key than the one that it is known by.
            MeshError: As `dial`.
        """
        peer = self._roster.get(PeerId(name))
        if peer is None:
            raise PeerNotFound(f"no peer {ids.quoted(name)} is known")
        exchanged = self._roster.exchanged(peer.id)
        if exchanged is None:
            raise InvalidRequest(
                f"this node and {peer.id} need a token for each other: set both, or use a code"
            )
        place = host or peer.host, port or (peer.port if peer.tls else DEFAULT_PORT)
        theirs = await self._strangers.meet(*place)
        if peer.certificate not in {None, theirs}:
            raise PairingFailed(
                f"{peer.id} shows another key: if it was set up anew, unpair it, and use a code"
            )
        return await self._pair(codes.secret_of_tokens(*exchanged), "tokens", place, theirs, peer.id)

    async def unpair(self, name: str) -> None:
        """Forget what a peer has proven, and end all that is between it and this node.

        Raises:
            PeerNotFound: It has proven nothing.
        """
        peer = PeerId(name)
        self._windows.close_for(peer)
        if not await self._database.write(lambda tx: self._partings.unpair(tx, peer)):
            raise PeerNotFound(f"no peer {ids.quoted(name)} is paired")
        self._partings.forget(peer)
        log.info("unpaired", extra={"peer": name})

    async def block(self, name: str) -> None:
        """Let a paired node be no peer any more, and never again, until it is unpaired.

        Raises:
            PeerNotFound: It is not paired.
        """
        found = self._roster.paired(PeerId(name))
        if found is None:
            raise PeerNotFound(f"no peer {ids.quoted(name)} is paired")
        self._windows.close_for(PeerId(name))
        await self._database.write(lambda tx: pairings.block(tx, found))
        log.info("blocked", extra={"peer": name})

    # --- for callers from the network ------------------------------------------------------------

    def start(self, body: bytes, host: str) -> bytes:
        """Take part in one try of a node that wants to pair, at that host, and return the answer.

        Raises:
            InvalidRequest: The body is none of a ceremony.
            PairingClosed: This node shows no code, or shares no tokens with that one.
            PairingFailed: What came cannot be part of a ceremony.
        """
        hello = convert(parse(body), Hello)
        ids.peer_id(hello.name)
        node_id = certificates.node_of(hello.certificate)
        if node_id is not None and pairings.blocked(self._database.read, node_id):
            raise PairingClosed
        window = self._windows.for_whoever_says(hello)
        before = len(window.begun)
        try:
            return codec.encode(window.start(hello, self._clock.now(), host))
        finally:
            if len(window.begun) > before:
                log.info("somebody tries to pair", extra={"address": host})
                self._events.publish([Change(Topic.PAIRING)])

    async def finish(self, body: bytes, host: str) -> bytes:
        """Store the pairing with a node that proves that it knew the secret; return the proof of this one.

        Raises:
            InvalidRequest: The body is none of a ceremony.
            PairingClosed: No such ceremony is under way.
            PairingFailed: The proof is wrong.
        """
        said = convert(parse(body), Confirmation)
        for name, window in self._windows.all():
            if window.knows(said.session):
                try:
                    agreement = window.prove(said, self._clock.now())
                except PairingFailed:
                    log.warning("a wrong code was tried", extra={"address": host})
                    raise
                finally:
                    self._events.publish([Change(Topic.PAIRING)])
                await self._database.write(self._keeping(agreement, host, agreement.port or 0, name))
                return codec.encode(Confirmed(tag=agreement.tag))
        raise PairingClosed

    async def complete(self, session: str) -> None:
        """Let a pairing count: its other side has called by its credentials."""
        done = await self._database.write(lambda tx: pairings.complete(tx, session))
        if done is not None:
            log.info("paired", extra={"peer": done.peer, "node": ids.short(done.node_id)})

    # ---------------------------------------------------------------------------------------------

    async def announce(self, tell: Callable[[bool], None]) -> None:
        """Tell, for ever, whether a code that is shown here can be used now; of a new one, again."""
        with self._events.watch(Change(Topic.PAIRING)) as changed:
            while True:
                changed.clear()
                left_s = self._windows.left_s()
                tell(left_s > 0)
                if left_s > 0:
                    await heard(self._clock, changed, left_s)
                else:
                    await changed.wait()

    async def run(self) -> None:
        """Ask until it is known whether pairings that this side dialled count on the other, for ever."""
        with self._events.watch(Change(Topic.PAIRING)) as changed:
            while True:
                changed.clear()
                await self._database.insist(self._sweep, self._clock.sleep)
                open_ones = [each for each in self._roster.pairings(PairingState.PENDING) if each.dialled]
                for each in open_ones:
                    with suppress(MeshError):
                        await self._settle(each)
                if open_ones:
                    await heard(self._clock, changed, _AGAIN_S)
                else:
                    await changed.wait()

    async def _pair(
        self,
        secret: bytes,
        by: Literal["code", "tokens"],
        place: Place,
        theirs: bytes,
        name: PeerId | None = None,
    ) -> Pairing:
        host, port = place
        dialler = Dialler(
            secret,
            name=self._roster.me,
            port=self._port,
            certificate=self._certificate,
            theirs=theirs,
            session=ids.local_id(self._chance.bytes(16)),
            entropy=self._chance.bytes,
            by=by,
        )
        hello = codec.encode(dialler.hello)
        welcome = _answer(await self._strangers.ask(host, port, theirs, "/lan/pair/start", hello), Welcome)
        ids.peer_id(welcome.name)
        proof = codec.encode(dialler.answer(welcome))
        confirmed = _answer(await self._last_answer(host, port, theirs, proof), Confirmed)
        agreement = dialler.finish(confirmed)
        kept = await self._database.write(self._keeping(agreement, host, port, name))
        with suppress(PeerUnreachable, AnswerLost):  # then `run` asks on
            await self._settle(kept)
        found = [each for each in self._roster.pairings(*PairingState) if each.session == kept.session]
        return found[0] if found else kept

    async def _last_answer(self, host: str, port: int, theirs: bytes, proof: bytes) -> bytes:
        for _ in range(_LOST_ANSWERS):
            with suppress(AnswerLost):
                return await self._strangers.ask(host, port, theirs, "/lan/pair/finish", proof)
        return await self._strangers.ask(host, port, theirs, "/lan/pair/finish", proof)

    async def _settle(self, pending: Pairing) -> None:
        """Make the first fully checked call; what it says of the pairing is so."""
        standing = await self._strangers.standing(pending)
        if standing == PAIRED:
            await self.complete(pending.session)
        elif standing == NOT_PAIRED:
            await self._database.write(lambda tx: pairings.drop(tx, pending.session))
            raise PairingFailed("the other side took too long, or was restarted: begin anew")

    def _keeping(
        self, agreement: Agreement, host: str, port: int, name: PeerId | None
    ) -> Callable[[Transaction], Pairing]:
        """Return the change that stores what was agreed on; the same again changes nothing."""

        def change(tx: Transaction) -> Pairing:
            if pairings.blocked(tx, agreement.node_id):
                raise PairingClosed("that node is blocked here: unpair it first")
            peer = name or self._roster.name_for(tx, agreement.node_id, agreement.name)
            if name is None:
                self._partings.make_way(tx, peer)
            kept = Pairing(
                session=agreement.session,
                peer=peer,
                node_id=agreement.node_id,
                certificate=agreement.certificate,
                host=host,
                port=port,
                token=agreement.token,
                accepted=digest_of(agreement.accepted),
                dialled=agreement.dialled,
                made_at=self._clock.now(),
            )
            pairings.keep(tx, kept)
            return kept

        return change

    def _sweep(self, tx: Transaction) -> None:
        now = self._clock.now()
        for each in pairings.pairings(tx):
            if each.dead(now):
                pairings.drop(tx, each.session)


def _answer(body: bytes, kind: type[T]) -> T:
    try:
        return convert(parse(body), kind)
    except InvalidRequest as fault:
        raise PairingFailed(f"the other side does not answer as a node would: {fault.detail}") from None
