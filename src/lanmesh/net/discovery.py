"""find nodes by mDNS, and be found: hints of where to dial, never of whom to trust"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
from zeroconf import Error, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from lanmesh.engine.ports import Clock
from lanmesh.model import ids
from lanmesh.model.ids import NodeId
from lanmesh.protocol.quoting import one_line

log = logging.getLogger(__name__)

SERVICE = "_openclaw-lan._tcp.local."

MOST_STRANGERS = 64
"""Nodes that are kept though nobody here knows them; a flood of invented ones costs no more."""

MOST_PLACES = 8
"""Addresses that are kept of one node, the latest first."""

_LOOK_S = 5.0
"""Between two looks at this machine's addresses, and before mDNS that failed is begun anew."""

_RESOLVE_S = 3.0
_RESOLVERS = 4
_MOST_NAME = 64
_MOST_PORT = 65535

Place = tuple[str, int]
"""An address and a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A node that mDNS tells of. Whoever is on the network may have written any of it."""

    node_id: NodeId
    name: str
    """What it calls itself; for people only."""
    places: tuple[Place, ...]
    """Where it may be dialled, the latest word first."""
    pairing: bool
    """Whether it says that a pairing is open there."""


class Discovery:
    """Announces this node and keeps what others announce, on the given addresses of this machine.

    A node that was seen is not forgotten because mDNS says goodbye for it or says nothing: anyone
    can send a goodbye, and absence says nothing about liveness.
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        name: str,
        port: int,
        addresses: Callable[[], Collection[str]],
        known: Callable[[NodeId], bool],
        clock: Clock,
    ) -> None:
        """Announce a node.

        Args:
            node_id: Its key.
            name: What it calls itself.
            port: Where it listens.
            addresses: This machine's addresses to use; looked up anew every few seconds.
            known: Whether a node is a peer: those are always kept.
            clock: The time.
        """
        self._node_id = node_id
        self._name = name
        self._port = port
        self._addresses = addresses
        self._known = known
        self._clock = clock
        self._pairing = False
        self._serial = 0
        self._stale = asyncio.Event()
        self._seen: dict[NodeId, Sighting] = {}
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why mDNS does not work now; `None` if it does."""
        return self._trouble

    def places(self, node_id: NodeId) -> tuple[Place, ...]:
        """Return where a node may be dialled; nothing, if it was never seen."""
        seen = self._seen.get(node_id)
        return () if seen is None else seen.places

    def seen(self) -> list[Sighting]:
        """Return all nodes that were seen, the latest last."""
        return list(self._seen.values())

    def open_for_pairing(self, is_open: bool) -> None:
        """Announce whether a pairing is open here."""
        if is_open != self._pairing:
            self._pairing = is_open
            self._serial += 1  # what was said a moment ago is no news to a cache, unless it differs
            self._stale.set()

    async def run(self) -> None:
        """Announce and listen until cancelled. Whatever mDNS does, this goes on."""
        while True:
            here = frozenset(self._addresses())
            try:
                await self._on(here)
            except* (OSError, Error, TimeoutError) as faults:
                why = one_line(str(faults.exceptions[0]) or type(faults.exceptions[0]).__name__)
                if why != self._trouble:
                    log.warning("mdns does not work", extra={"why": why})
                self._trouble = why
                await self._clock.sleep(_LOOK_S)

    async def _on(self, here: frozenset[str]) -> None:
        """Announce and listen on some addresses, until this machine has others."""
        if not here:
            await self._until_moved(here)
            return
        async with _mdns(here) as mdns, asyncio.TaskGroup() as group:
            heard: asyncio.Queue[str] = asyncio.Queue(MOST_STRANGERS)

            def note(
                zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
            ) -> None:
                del zeroconf, service_type
                if state_change is not ServiceStateChange.Removed and not heard.full():
                    heard.put_nowait(name)  # a flood is dropped; what is true is announced again

            browser = AsyncServiceBrowser(mdns.zeroconf, SERVICE, handlers=[note])
            working = [group.create_task(self._resolve(mdns.zeroconf, heard)) for _ in range(_RESOLVERS)]
            working.append(group.create_task(self._announce(mdns, here)))
            try:
                self._trouble = None
                await self._until_moved(here)
            finally:
                for task in working:
                    task.cancel()
                await browser.async_cancel()

    async def _until_moved(self, here: frozenset[str]) -> None:
        while frozenset(self._addresses()) == here:
            await self._clock.sleep(_LOOK_S)
        log.info("addresses changed", extra={"from": ",".join(sorted(here)) or "none"})

    async def _announce(self, mdns: AsyncZeroconf, here: frozenset[str]) -> None:
        self._stale.clear()
        # Part of the key is a name that no two nodes share, but for a folder that was copied.
        await (await mdns.async_register_service(self._info(here), allow_name_change=True))
        while True:
            await self._stale.wait()
            self._stale.clear()
            await (await mdns.async_update_service(self._info(here)))

    def _info(self, here: frozenset[str]) -> AsyncServiceInfo:
        facts = {
            "id": self._node_id,
            "n": self._name[:_MOST_NAME],
            "pair": str(int(self._pairing)),
            "s": str(self._serial),
        }
        return AsyncServiceInfo(
            SERVICE,
            f"{self._node_id[:16]}.{SERVICE}",
            port=self._port,
            parsed_addresses=sorted(here),
            properties=facts,
            server=f"{self._node_id[:16]}.local.",
        )

    async def _resolve(self, zeroconf: Zeroconf, heard: asyncio.Queue[str]) -> None:
        while True:
            name = await heard.get()
            try:
                info = AsyncServiceInfo(SERVICE, name)
                answered = await info.async_request(zeroconf, _RESOLVE_S * 1000)
            except (Error, ValueError):  # a name or a record that no node of ours would send
                continue
            if answered and (sighting := _read(info, only_here=_all_loopback(self._addresses()))):
                self.note(sighting)

    def note(self, new: Sighting) -> None:
        """Keep what was announced of a node."""
        if new.node_id == self._node_id:
            return
        before = self._seen.pop(new.node_id, None)
        earlier = () if before is None else before.places
        places = (*new.places, *(place for place in earlier if place not in new.places))[:MOST_PLACES]
        self._seen[new.node_id] = Sighting(
            node_id=new.node_id, name=new.name, places=places, pairing=new.pairing
        )
        strangers = [node_id for node_id in self._seen if not self._known(node_id)]
        for node_id in strangers[: max(0, len(strangers) - MOST_STRANGERS)]:
            del self._seen[node_id]


def interface_addresses(host: str) -> frozenset[str]:
    """Return the IPv4 addresses on which a node that is bound to a host can be reached now.

    A node bound to one address is reached there alone. The loopback address counts only for a node
    that is bound to nothing else.
    """
    if host not in {"", "0.0.0.0", "::"}:  # noqa: S104 — compared, not bound
        return frozenset({host} if _is_address(host) else ())
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = {
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        if name in up
        for address in addresses
        if address.family is socket.AF_INET
    }
    return frozenset(address for address in found if not ipaddress.ip_address(address).is_loopback)


@asynccontextmanager
async def _mdns(here: Collection[str]) -> AsyncIterator[AsyncZeroconf]:
    # An explicit list: the library's own choice of interface needs a default route.
    mdns = AsyncZeroconf(interfaces=sorted(here), ip_version=IPVersion.V4Only)
    try:
        yield mdns
    finally:
        await mdns.async_close()


def _read(info: AsyncServiceInfo, *, only_here: bool) -> Sighting | None:
    """Return what a record says, as far as it has the form that our nodes give it; else `None`."""
    facts = {key: (value or b"").decode(errors="replace") for key, value in info.properties.items()}
    node_id, port = facts.get(b"id", ""), info.port or 0
    places = tuple(
        (address, port)
        for address in info.parsed_addresses(IPVersion.V4Only)[:MOST_PLACES]
        if _may_be_dialled(address, only_here)
    )
    if not ids.is_node_id(node_id) or not 0 < port <= _MOST_PORT or not places:
        return None
    return Sighting(
        node_id=NodeId(node_id),
        name=one_line(facts.get(b"n", ""), _MOST_NAME),
        places=places,
        pairing=facts.get(b"pair") == "1",
    )


def _may_be_dialled(text: str, only_here: bool) -> bool:
    address = ipaddress.ip_address(text)
    if address.is_loopback:
        return only_here
    return not (address.is_multicast or address.is_unspecified or address.is_reserved)


def _all_loopback(addresses: Collection[str]) -> bool:
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _is_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4  # noqa: PLR2004 — mDNS is spoken over IPv4
    except ValueError:
        return False
