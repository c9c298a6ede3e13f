"""the room of peers: who they are, what they offer, what this node tells of itself"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lanmesh.engine import admission
from lanmesh.engine.callers import Caller
from lanmesh.engine.modes import AcceptModes
from lanmesh.engine.ports import Clock, Machine, PeerLink, Surroundings
from lanmesh.engine.presence import Presences
from lanmesh.engine.roster import Roster
from lanmesh.errors import MeshError
from lanmesh.model.envelope import Envelope
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import Contact, Peer
from lanmesh.model.presence import Presence
from lanmesh.model.profile import Identity, Profile
from lanmesh.protocol import profiles
from lanmesh.store import outbox, peers, tasks
from lanmesh.store.database import Database, Topic, Transaction

_STORE_EVERY_S = 600.0
"""A profile that is told over a link is stored again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """A configured or paired peer, and how things stand with it."""

    peer: Peer
    contact: Contact
    has_token: bool
    queued: int
    """Envelopes that wait for it."""
    presence: Presence | None
    """Whether it is there; `None` of one to which there can be no link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerProfile:
    """A peer's profile as it came, and when."""

    body: bytes
    seen_at: float
    error: str | None = None
    """Why it is not fresh; `None` if it is."""


class Peers:
    """The nodes that are configured or paired, and this node as they see it."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        link: PeerLink,
        machine: Machine,
        surroundings: Surroundings,
        presences: Presences,
        roster: Roster,
        modes: AcceptModes,
        identity: Identity,
        version: str,
    ) -> None:
        """Present this node under an identity to the peers in the roster."""
        self._database = database
        self._clock = clock
        self._link = link
        self._machine = machine
        self._surroundings = surroundings
        self._presences = presences
        self._roster = roster
        self._modes = modes
        self._identity = identity
        self._version = version
        self._told: dict[PeerId, PeerProfile] = {}
        """What peers have told of themselves over their links."""
        self._linked: set[PeerId] = set()
        """To whom a link is open, over which they tell what changes."""

    @property
    def me(self) -> PeerId:
        """The name of this node."""
        return self._identity.id

    def named(self, name: str) -> Peer:
        """Return a peer by its name.

        Raises:
            PeerNotFound: There is none of that name.
        """
        return self._roster.named(name)

    def all(self) -> list[PeerState]:
        """Return all peers: those that are configured in their order, then those that are paired only."""
        read = self._database.read
        return [
            PeerState(
                peer=peer,
                contact=peers.contact(read, peer.id),
                has_token=self._roster.outbound(peer.id) is not None,
                queued=outbox.count_waiting(read, peer.id),
                presence=self._presences.of(peer.id),
            )
            for peer in self._roster.values()
        ]

    def anyone_may_call(self) -> bool:
        """Return whether there is a token that a caller could present."""
        return bool(self._roster.inbound())

    async def profile(self, name: str) -> PeerProfile:
        """Return a peer's profile: fresh if it is here or answers, else the one it last showed.

        Over a link a peer tells by itself what changes; any other is asked.

        Raises:
            PeerNotFound: There is no such peer.
            PeerUnreachable: It does not answer, and never showed one; so too `AnswerLost`.
        """
        peer = self.named(name).id
        told = self._told.get(peer)
        if told is not None and peer in self._linked and self._presences.of(peer) is Presence.HERE:
            return told
        try:
            body = await self._link.profile(peer)
        except MeshError as fault:
            if not fault.retryable:
                raise
            detail = fault.detail
            await self._database.write(lambda tx: peers.missed(tx, peer, self._clock.now(), detail))
            last = self._last_shown(peer)
            if last is None:
                raise
            return replace(last, error=detail)
        now = self._clock.now()
        await self._database.write(self._keeping(peer, body, now))
        return PeerProfile(body=body, seen_at=now)

    async def told(self, peer: PeerId, body: bytes) -> None:
        """Take what a peer tells of itself over its link; of what comes often, little is stored.

        Raises:
            InvalidRequest: It is no profile.
            StorageFailed: It is kept in memory alone.
        """
        now = self._clock.now()
        self._told[peer] = PeerProfile(body=profiles.check(body), seen_at=now)
        stored = peers.profile(self._database.read, peer)
        if stored is None or abs(now - stored[1]) >= _STORE_EVERY_S:
            await self._database.write(self._keeping(peer, body, now))

    def _last_shown(self, peer: PeerId) -> PeerProfile | None:
        told, stored = self._told.get(peer), peers.profile(self._database.read, peer)
        if stored is None or (told is not None and told.seen_at >= stored[1]):
            return told
        return PeerProfile(body=stored[0], seen_at=stored[1])

    def own_profile(self, caller: Caller | None = None) -> Profile:
        """Return what this node tells a caller of itself now; `None`: any."""
        read = self._database.read
        mode = self._modes.general(read)
        if caller is not None and caller.peer is not None:
            mode = self._modes.for_caller(read, caller, caller.peer)
        return Profile(
            identity=self._identity,
            offers=self._surroundings.offers(),
            hardware=self._machine.hardware(),
            load=self._machine.load(),
            tasks=tasks.counts(read),
            accept_mode=mode,
            node_version=self._version,
        )

    def check_sender(self, caller: Caller, envelope: Envelope) -> None:
        """Check what an envelope says of its sender and recipient; see `admission.check_sender`."""
        admission.check_sender(caller, envelope, self.me, self._roster.with_own_token())

    def note_contact(self, tx: Transaction, sender: str) -> None:
        """Note that something came under a peer's name; what waits for that peer is tried at once."""
        if sender in self._roster:
            peers.heard(tx, sender, self._clock.now())

    def called(self, peer: PeerId) -> None:
        """Note that a peer has asked something under its own credentials."""
        self._presences.called(peer)

    async def met(self, peer: PeerId, boot: str | None) -> None:
        """Note that a link to a peer has come up; what waits for that peer is tried at once.

        Args:
            peer: Who is there.
            boot: The life of its node. In a new one, it is sent anew what it did not acknowledge.

        Raises:
            StorageFailed: That could not be noted.
        """
        restarted = self._presences.greeted(peer, boot)
        self._told.pop(peer, None)  # by the first beat over this link it is told anew
        self._linked.add(peer)

        def change(tx: Transaction) -> None:
            now = self._clock.now()
            peers.heard(tx, peer, now)
            peers.reached(tx, peer, now)
            if restarted:
                outbox.hasten(tx, peer, now)
                tx.announce(Topic.OUTBOX, peer)
                tx.announce(Topic.RETURN, peer)

        await self._database.write(change)

    def forget(self, peer: PeerId) -> None:
        """Forget what a peer has told, and when it was heard: whoever bears its name next is another."""
        self._told.pop(peer, None)
        self._linked.discard(peer)
        self._presences.forget(peer)

    def parted(self, peer: PeerId) -> None:
        """Note that no link to a peer is open any more: it tells nothing now, so it is asked."""
        self._linked.discard(peer)

    def _keeping(self, peer: PeerId, body: bytes, now: float) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            peers.reached(tx, peer, now)
            peers.keep_profile(tx, peer, body, now)

        return change
