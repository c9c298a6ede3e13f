"""speak to nodes that are no peers yet: see their key, pair, ask how a pairing stands"""

from collections.abc import Sequence

from lanmesh.engine.pairing import NOT_PAIRED
from lanmesh.errors import AnswerLost, InvalidRequest, PeerUnreachable
from lanmesh.model.ids import NodeId
from lanmesh.model.peer import Pairing, Place
from lanmesh.net.calls import Calls, hung_up
from lanmesh.net.dialling import first, meet
from lanmesh.net.identity import NodeIdentity
from lanmesh.protocol import certificates
from lanmesh.protocol.codec import Whoami
from lanmesh.protocol.json import convert, parse

_WHO = "the node"


class TlsStrangers:
    """The way to nodes by the key that they show. Implements the port `Strangers`."""

    def __init__(self, calls: Calls, identity: NodeIdentity) -> None:
        """Call over a pool, as one node."""
        self._calls = calls
        self._identity = identity

    async def meet(self, host: str, port: int) -> bytes:
        """Return the certificate that whoever listens there shows; see the port."""
        return await meet(host, port)

    async def find(self, node_id: NodeId, places: Sequence[Place]) -> tuple[Place, bytes]:
        """Return the first of some places where a node proves its key, and its certificate; see the port."""

        async def prove(place: Place) -> bytes:
            certificate = await meet(*place)
            if certificates.node_of(certificate) != node_id:
                raise PeerUnreachable(f"{place[0]} port {place[1]} shows another key than was announced")
            return certificate

        return await first(places, prove)

    async def ask(self, host: str, port: int, certificate: bytes, path: str, body: bytes) -> bytes:
        """Post a body to whoever showed a certificate there; see the port."""
        tls = self._identity.dialling(certificate, shown=False)
        return await self._calls.ask("POST", (host, port), path, who=_WHO, tls=tls, body=body)

    async def standing(self, pairing: Pairing) -> str:
        """Return what the other side of a pairing says of it; see the port.

        Whoever does not know this node's certificate hangs up on it; so then it is asked without.
        """
        try:
            return await self._whoami(pairing, shown=True)
        except AnswerLost as silence:
            if hung_up(silence) and await self._whoami(pairing, shown=False) == NOT_PAIRED:
                return NOT_PAIRED
            raise

    async def _whoami(self, pairing: Pairing, *, shown: bool) -> str:
        tls = self._identity.dialling(pairing.certificate, shown=shown)
        address = (pairing.host, pairing.port)
        body = await self._calls.ask(
            "GET", address, "/lan/whoami", who=pairing.peer, tls=tls, token=pairing.token
        )
        try:
            return convert(parse(body), Whoami).status
        except InvalidRequest as fault:
            raise PeerUnreachable(
                f"{pairing.peer} does not answer as a node would: {fault.detail}"
            ) from fault
