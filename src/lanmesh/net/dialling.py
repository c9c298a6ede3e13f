"""dial: see which key is proven at an address, and at which of several addresses the right one is"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lanmesh.errors import AnswerLost, PeerUnreachable
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Peer, Place
from lanmesh.net.calls import CONNECT_S, another_key, not_connected, why_not
from lanmesh.net.identity import anybody
from lanmesh.protocol import certificates

_HANDSHAKE_S = 5.0

T = TypeVar("T")


async def meet(host: str, port: int, tls: ssl.SSLContext | None = None) -> bytes:
    """Return the certificate that whoever listens at an address shows, in DER, its key proven.

    Args:
        host: The address, or a name.
        port: The port.
        tls: Whom to trust there; `None`: anybody.

    Raises:
        PeerUnreachable: Nobody does, or not by TLS 1.3, or somebody who is not trusted.
    """
    where = f"{host} port {port}"
    try:
        async with asyncio.timeout(CONNECT_S + _HANDSHAKE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=tls or anybody(), server_hostname="")
    except TimeoutError as fault:
        raise PeerUnreachable(f"{where}: no answer within {CONNECT_S + _HANDSHAKE_S:g} s") from fault
    except ssl.SSLCertVerificationError as fault:
        raise another_key(where) from fault
    except ssl.SSLError as fault:
        raise PeerUnreachable(f"{where} does not speak TLS 1.3: is that the port of a node?") from fault
    except (UnicodeError, ValueError) as fault:
        raise PeerUnreachable(f"{where}: that is no address") from fault
    except OSError as fault:
        raise PeerUnreachable(f"{where}: {why_not(fault)}") from fault
    seen = writer.get_extra_info("ssl_object")
    certificate = seen.getpeercert(binary_form=True) or b""
    writer.transport.abort()  # there is nothing to say, and no answer to wait for
    return bytes(certificate)


async def first(places: Sequence[Place], prove: Callable[[Place], Awaitable[T]]) -> tuple[Place, T]:
    """Return the place that proves something before all others do, and what it proves; all are tried at once.

    Raises:
        PeerUnreachable: None does; this is what is wrong with the first of them.
    """
    dials = {asyncio.ensure_future(prove(place)): place for place in places}
    left = set(dials)
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for dial in done:
                if dial.exception() is None:
                    return dials[dial], dial.result()
        return places[0], next(iter(dials)).result()
    finally:
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)


class Ways:
    """Where peers that are known by their keys answer: found anew when one is no more where it was."""

    def __init__(
        self,
        seen: Callable[[NodeId], Sequence[Place]],
        moved: Callable[[PeerId, Place], Awaitable[None]],
    ) -> None:
        """Know no way yet.

        Args:
            seen: Where a node is said to be, by anybody.
            moved: Keeps where a paired peer has answered, if that is elsewhere than last.
        """
        self._seen = seen
        self._moved = moved
        self._proven: dict[bytes, Place] = {}

    async def ask(self, peer: Peer, tls: ssl.SSLContext | None, ask: Callable[[Place], Awaitable[T]]) -> T:
        """Return what comes of asking a peer, wherever it is.

        A peer that has proven no key is dialled where it was set up, and nowhere else.

        Args:
            peer: The peer.
            tls: What proves its key.
            ask: Asks it at a place.

        Raises:
            PeerUnreachable: It is at none of the places where it may be.
            MeshError: As `ask`.
        """
        home, key = (peer.host, peer.port), peer.certificate
        node_id = None if key is None else certificates.node_of(key)
        if tls is None or key is None or node_id is None:
            return await ask(home)
        places = list(dict.fromkeys([home, *peer.also, *self._seen(node_id)]))
        place = self._proven.get(key, home if len(places) == 1 else None)
        if place is not None:
            try:
                return await self._at(place, key, ask)
            except PeerUnreachable as fault:
                if len(places) == 1 or not not_connected(fault):
                    raise
        try:
            place, _ = await first(places, lambda place: meet(*place, tls))
        except PeerUnreachable as fault:
            elsewhere = f"; nor is it at {len(places) - 1} other address(es)" if len(places) > 1 else ""
            raise PeerUnreachable(f"{peer.id} at {fault.detail}{elsewhere}") from fault
        self._proven[key] = place
        if place != home and peer.node_id is not None:
            await self._moved(peer.id, place)
        return await self._at(place, key, ask)

    async def _at(self, place: Place, key: bytes, ask: Callable[[Place], Awaitable[T]]) -> T:
        try:
            return await ask(place)
        except (PeerUnreachable, AnswerLost):
            self._proven.pop(key, None)  # the next time, look where it is
            raise
