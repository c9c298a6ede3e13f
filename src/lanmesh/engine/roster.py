"""whom this node knows: configured and paired peers by name, their credentials, their names on the wire"""

import difflib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lanmesh.engine.callers import InboundToken, digest_of
from lanmesh.engine.ports import Clock, Tokens
from lanmesh.errors import PeerNotFound
from lanmesh.model import ids
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Pairing, PairingState, Peer, Place
from lanmesh.protocol import certificates
from lanmesh.store import pairings
from lanmesh.store.database import Change, Database, Topic, Transaction


class Roster(Mapping[PeerId, Peer]):
    """The peers that this node may talk to, as they are now. Implements the port `Tokens`.

    A peer that has proven its key counts as that, whatever is configured under its name: none of
    its tokens from the environment opens this node any more.

    What the database knows of peers is held here as of the last commit, so that it can be asked
    from the writer's thread as well.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        tokens: Tokens,
        configured: Mapping[PeerId, Peer],
        with_own_token: frozenset[PeerId],
        me: PeerId,
        node_id: NodeId,
    ) -> None:
        """Know the configured peers, and those that the database knows.

        Args:
            database: Where pairings are kept.
            clock: Ends pairings that nobody completed.
            tokens: The tokens that were set by hand.
            configured: The peers in the settings.
            with_own_token: Those of them that have an inbound token of their own.
            me: The name of this node.
            node_id: Its key.
        """
        self.me = me
        self.node_id = node_id
        self._database = database
        self._clock = clock
        self._tokens = tokens
        self._configured = configured
        self._with_own_token = with_own_token
        self._look()

    def __getitem__(self, name: PeerId) -> Peer:
        return self._peers()[name]

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._peers())

    def __len__(self) -> int:
        return len(self._peers())

    def named(self, name: str) -> Peer:
        """Return a peer by its name.

        Raises:
            PeerNotFound: There is none of that name.
        """
        peer = self.get(PeerId(name))
        if peer is None:
            near = difflib.get_close_matches(name, self, n=1)
            known = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(self) or 'none yet'}"
            raise PeerNotFound(f"no peer {ids.quoted(name)} is configured; {known}")
        return peer

    def note(self, changes: Iterable[Change]) -> None:
        """Take account of a commit."""
        if any(change.topic in {Topic.PAIRING, Topic.DISTRUST} for change in changes):
            self._look()

    def pairings(self, *states: PairingState) -> list[Pairing]:
        """Return the pairings that are in one of some states, without those that came to nothing."""
        now = self._clock.now()
        return [pairing for pairing in self._known if pairing.state in states and not pairing.dead(now)]

    def paired(self, name: PeerId) -> Pairing | None:
        """Return the pairing with a peer; `None` if it is only configured, or unknown."""
        found = [pairing for pairing in self.pairings(PairingState.PAIRED) if pairing.peer == name]
        return found[0] if found else None

    def is_configured(self, name: PeerId) -> bool:
        """Return whether a peer stands in the settings, and so is one without any pairing."""
        return name in self._configured

    def name_for(self, tx: Transaction, node_id: NodeId, wish: str) -> PeerId:
        """Return the name under which a node is to be listed: the one that it has, or the one it wishes.

        No node gets a name that another has, be that only a configured one: what waits for that
        one would go to the newcomer.
        """
        known = pairings.pairings(tx)
        for pairing in known:
            if pairing.node_id == node_id:
                return pairing.peer
        taken = {*self._configured, *(pairing.peer for pairing in known), self.me}
        name = ids.slug(wish) if ids.is_node_id(wish) else wish
        return ids.peer_id(name) if name not in taken else PeerId(f"{name[:55]}-{ids.short(node_id)}")

    def with_own_token(self) -> frozenset[str]:
        """Return the names that a holder of the shared token may not use."""
        proven = self.pairings(PairingState.PAIRED, PairingState.BLOCKED)
        return self._with_own_token | {pairing.peer for pairing in proven}

    def local_name(self, name: str) -> str:
        """Return the name here of a node that the wire names by its key; another name as it is."""
        if not ids.is_node_id(name):
            return name
        if name == self.node_id:
            return self.me
        proven = self.pairings(PairingState.PAIRED, PairingState.PENDING)
        return next((pairing.peer for pairing in proven if pairing.node_id == name), name)

    def peer_of(self, node_id: NodeId) -> PeerId | None:
        """Return the peer that is known by a key; `None` if none is."""
        for peer in self.values():
            if peer.certificate is not None and certificates.node_of(peer.certificate) == node_id:
                return peer.id
        return None

    def inbound(self) -> Sequence[InboundToken]:
        """Return the tokens that callers of this node may present, the shared one first."""
        proven = self.pairings(PairingState.PAIRED, PairingState.PENDING)
        names = {pairing.peer for pairing in self.pairings(PairingState.PAIRED, PairingState.BLOCKED)}
        by_hand = [entry for entry in self._tokens.inbound() if entry.peer is None or entry.peer not in names]
        return by_hand + [
            InboundToken(
                digest=pairing.accepted,
                peer=pairing.peer,
                node_id=pairing.node_id,
                pending=pairing.session if pairing.state is PairingState.PENDING else None,
            )
            for pairing in proven
        ]

    def outbound(self, peer: PeerId) -> str | None:
        """Return the token that this node presents to a peer; `None` if it has none."""
        pairing = self.paired(peer)
        return self._tokens.outbound(peer) if pairing is None else pairing.token

    def exchanged(self, peer: PeerId) -> tuple[bytes, bytes] | None:
        """Return the digests of what this node presents to a peer, and of what that presents here.

        `None`, if not both have a token for the other.
        """
        pairing = self.paired(peer)
        if pairing is not None:
            return digest_of(pairing.token), pairing.accepted
        token = self._tokens.outbound(peer)
        accepted = [entry for entry in self._tokens.inbound() if entry.peer in {peer, None}]
        if token is None or not accepted:
            return None
        return digest_of(token), accepted[-1].digest  # the shared one is first: one of its own wins

    async def pin(self, peer: PeerId, certificate: bytes) -> bool:
        """Keep the certificate that a configured peer showed at first use; return whether it counts."""

        def change(tx: Transaction) -> bool:
            pairings.pin(tx, peer, certificate)
            return hmac.compare_digest(pairings.pins(tx)[peer], certificate)

        return await self._database.write(change)

    async def moved(self, peer: PeerId, place: Place) -> None:
        """Keep where a paired peer was reached, to dial that first from now on."""
        await self._database.write(lambda tx: pairings.moved(tx, peer, place))

    def _look(self) -> None:
        self._known = pairings.pairings(self._database.read)
        self._pins = pairings.pins(self._database.read)

    def _peers(self) -> dict[PeerId, Peer]:
        peers = dict(self._configured)
        for name, certificate in self._pins.items():
            if name in peers and peers[name].tls:
                peers[name] = replace(peers[name], certificate=certificate)
        for pairing in self.pairings(PairingState.BLOCKED):
            peers.pop(pairing.peer, None)
        for pairing in self.pairings(PairingState.PAIRED):
            configured = peers.get(pairing.peer)
            places = [] if configured is None else [(configured.host, configured.port)]
            (host, port), *also = dict.fromkeys(
                [pairing.last or (pairing.host, pairing.port), (pairing.host, pairing.port), *places]
            )
            peers[pairing.peer] = replace(
                configured or Peer(id=pairing.peer, host=host),
                host=host,
                port=port,
                also=tuple(also),
                tls=True,
                node_id=pairing.node_id,
                certificate=pairing.certificate,
            )
        return peers
