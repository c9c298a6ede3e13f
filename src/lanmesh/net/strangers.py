"""speak to nodes that are no peers yet: see their key, pair, ask how a pairing stands"""

import asyncio
import ssl

from lanmesh.engine.pairing import NOT_PAIRED
from lanmesh.errors import AnswerLost, InvalidRequest, PeerUnreachable
from lanmesh.model.peer import Pairing
from lanmesh.net.calls import CONNECT_S, Calls, hung_up
from lanmesh.net.identity import NodeIdentity, anybody
from lanmesh.protocol.codec import Whoami
from lanmesh.protocol.json import convert, parse

_WHO = "the node"
_HANDSHAKE_S = 5.0


class TlsStrangers:
    """The way to nodes by the key that they show. Implements the port `Strangers`."""

    def __init__(self, calls: Calls, identity: NodeIdentity) -> None:
        """Call over a pool, as one node."""
        self._calls = calls
        self._identity = identity

    async def meet(self, host: str, port: int) -> bytes:
        """Return the certificate that whoever listens there shows; see the port."""
        return await meet(host, port)

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


async def meet(host: str, port: int) -> bytes:
    """Return the certificate that whoever listens at an address shows, in DER, its key proven.

    Raises:
        PeerUnreachable: Nobody does, or not by TLS 1.3.
    """
    where = f"{host} port {port}"
    try:
        async with asyncio.timeout(CONNECT_S + _HANDSHAKE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=anybody(), server_hostname="")
    except TimeoutError as fault:
        raise PeerUnreachable(f"{where}: no answer within {CONNECT_S + _HANDSHAKE_S:g} s") from fault
    except ssl.SSLError as fault:
        raise PeerUnreachable(f"{where} does not speak TLS 1.3: is that the port of a node?") from fault
    except (UnicodeError, ValueError) as fault:
        raise PeerUnreachable(f"{where}: that is no address") from fault
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise PeerUnreachable(f"{where}: {why}") from fault
    tls = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) or b""
    writer.transport.abort()  # there is nothing to say, and no answer to wait for
    return bytes(certificate)
