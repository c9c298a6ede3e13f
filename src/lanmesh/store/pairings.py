"""pairings on disk: who has proven which key, and the keys that were seen at first use"""

from dataclasses import replace

from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Pairing, PairingState, Place
from lanmesh.store.database import Topic, Transaction

_PAIRING = (
    "SELECT session, peer, node_id, certificate, host, port, token, accepted, dialled, state, made_at, "
    "last_host, last_port FROM pairings "
)


def pairings(tx: Transaction) -> list[Pairing]:
    """Return all pairings, those of one peer together, in the order of their ceremonies."""
    return [
        Pairing(
            session=session, peer=peer, node_id=node_id, certificate=certificate, host=host, port=port,
            token=token, accepted=accepted, dialled=bool(dialled), state=PairingState(state), made_at=made_at,
            last=None if last_host is None else (last_host, last_port),
        )
        for session, peer, node_id, certificate, host, port, token, accepted, dialled, state, made_at,
        last_host, last_port in tx.rows(_PAIRING + "ORDER BY peer, made_at, session")
    ]  # fmt: skip


def keep(tx: Transaction, pairing: Pairing) -> None:
    """Keep a pairing; the same again changes nothing."""
    tx.run(
        "INSERT INTO pairings (session, peer, node_id, certificate, host, port, token, accepted, dialled, "
        "state, made_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        pairing.session, pairing.peer, pairing.node_id, pairing.certificate, pairing.host, pairing.port,
        pairing.token, pairing.accepted, pairing.dialled, pairing.state, pairing.made_at,
    )  # fmt: skip
    tx.announce(Topic.PAIRING)


def complete(tx: Transaction, session: str) -> Pairing | None:
    """Let a pending pairing count, in place of any other of that node.

    `None` if it does already, is gone, or another node has got the name meanwhile.
    """
    known = pairings(tx)
    found = [each for each in known if (each.session, each.state) == (session, PairingState.PENDING)]
    if not found:
        return None
    settled = [each for each in known if each.state is not PairingState.PENDING]
    if any(each.peer == found[0].peer and each.node_id != found[0].node_id for each in settled):
        drop(tx, session)
        return None
    tx.run("DELETE FROM pairings WHERE node_id = ? AND session <> ?", found[0].node_id, session)
    tx.run("UPDATE pairings SET state = ? WHERE session = ?", PairingState.PAIRED, session)
    tx.run("DELETE FROM pins WHERE peer = ?", found[0].peer)
    tx.announce(Topic.PAIRING)
    tx.announce(Topic.CONTACT, found[0].peer)
    return replace(found[0], state=PairingState.PAIRED)


def moved(tx: Transaction, peer: PeerId, place: Place) -> None:
    """Note where a paired peer was reached last."""
    tx.run(
        "UPDATE pairings SET last_host = ?, last_port = ? WHERE peer = ? AND state = ?",
        *place, peer, PairingState.PAIRED,
    )  # fmt: skip
    tx.announce(Topic.PAIRING)


def drop(tx: Transaction, session: str) -> None:
    """Forget one pairing."""
    tx.run("DELETE FROM pairings WHERE session = ?", session)
    tx.announce(Topic.PAIRING)


def forget(tx: Transaction, peer: PeerId) -> bool:
    """Forget all pairings and pins of a peer; return whether there were any."""
    gone = tx.rows("DELETE FROM pairings WHERE peer = ? RETURNING node_id", peer)
    pins = tx.run("DELETE FROM pins WHERE peer = ?", peer)
    for (node_id,) in gone:
        tx.announce(Topic.DISTRUST, node_id)
    tx.announce(Topic.PAIRING)
    return bool(gone) or pins > 0


def block(tx: Transaction, pairing: Pairing) -> None:
    """Let a node be no peer any more, whatever it can prove."""
    tx.run("DELETE FROM pairings WHERE node_id = ? AND session <> ?", pairing.node_id, pairing.session)
    tx.run("UPDATE pairings SET state = ? WHERE session = ?", PairingState.BLOCKED, pairing.session)
    tx.announce(Topic.DISTRUST, pairing.node_id)
    tx.announce(Topic.PAIRING)


def blocked(tx: Transaction, node_id: NodeId) -> bool:
    """Return whether a node is blocked."""
    row = tx.row("SELECT 1 FROM pairings WHERE node_id = ? AND state = ?", node_id, PairingState.BLOCKED)
    return row is not None


def pins(tx: Transaction) -> dict[PeerId, bytes]:
    """Return the certificates that configured peers showed at first use."""
    return dict(tx.rows("SELECT peer, certificate FROM pins"))


def pin(tx: Transaction, peer: PeerId, certificate: bytes) -> None:
    """Keep the certificate that a peer showed at first use; a second one changes nothing."""
    tx.run("INSERT INTO pins (peer, certificate) VALUES (?, ?) ON CONFLICT DO NOTHING", peer, certificate)
    tx.announce(Topic.PAIRING)
