"""find nodes by mDNS, and be found: hints of where to dial, never of whom to trust"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface

import psutil
from zeroconf import Error, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from lanmesh.engine.ports import Clock
from lanmesh.engine.sightings import MOST_PLACES, MOST_STRANGERS, Sightings
from lanmesh.model import ids
from lanmesh.model.ids import NodeId
from lanmesh.model.peer import Sighting
from lanmesh.protocol.quoting import one_line

log = logging.getLogger(__name__)

SERVICE = "_openclaw-lan._tcp.local."

_LOOK_S = 2.0
"""Between two looks at this machine's addresses, and before mDNS that failed is begun anew."""

_RESOLVE_S = 3.0
_RESOLVERS = 4
_MOST_NAME = 63
"""Bytes of a name that are announced: no more of them fit into a label of DNS, either."""

_MOST_PORT = 65535
_ANY = ("", "0.0.0.0", "::")  # noqa: S104  # compared, not bound


class Discovery:
    """Announces this node, and notes what others announce, on the given addresses of this machine."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        boot: str,
        name: str,
        port: int | None,
        interfaces: Callable[[], Collection[IPv4Interface]],
        sightings: Sightings,
        clock: Clock,
    ) -> None:
        """Announce a node.

        Args:
            node_id: Its key.
            boot: Its boot, so that others hear of its return.
            name: What it calls itself.
            port: Where it listens; `None`: nowhere, so it looks and is not to be seen.
            interfaces: This machine's addresses to use; looked up anew every few seconds.
            sightings: What is kept of others.
            clock: The time.
        """
        self._node_id = node_id
        self._boot = boot
        self._name = name
        self._port = port
        self._interfaces = interfaces
        self._sightings = sightings
        self._clock = clock
        self._shows_code = False
        self._serial = 0
        self._stale = asyncio.Event()
        sightings.looking = True

    def show_code(self, is_shown: bool) -> None:
        """Announce whether this node can be paired with now; the same again, if it can by another code."""
        if is_shown or self._shows_code:
            self._shows_code = is_shown
            self._stale.set()

    async def run(self) -> None:
        """Announce and listen until cancelled. Whatever mDNS does, this goes on."""
        while True:
            try:
                await self._on(frozenset(self._interfaces()))
            except* (OSError, Error, TimeoutError) as faults:
                self._failed(faults.exceptions[0])
            except* Exception as faults:  # a bug, ours or the library's, must not end the node
                log.exception("mdns broke")
                self._failed(faults.exceptions[0])
            await self._clock.sleep(_LOOK_S if self._sightings.trouble else 0.0)

    def _failed(self, fault: BaseException) -> None:
        why = one_line(str(fault) or type(fault).__name__)
        if why != self._sightings.trouble:
            log.warning("mdns does not work", extra={"why": why})
        self._sightings.trouble = why

    async def _on(self, here: frozenset[IPv4Interface]) -> None:
        """Announce and listen on some addresses, until this machine has others."""
        if not here:
            self._sightings.trouble = None
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
            working = [
                group.create_task(self._resolve(mdns.zeroconf, heard, here)) for _ in range(_RESOLVERS)
            ]
            if self._port is not None:
                working.append(group.create_task(self._announce(mdns, here)))
            try:
                self._sightings.trouble = None
                await self._until_moved(here)
            finally:
                for task in working:
                    task.cancel()
                await browser.async_cancel()

    async def _until_moved(self, here: frozenset[IPv4Interface]) -> None:
        while frozenset(self._interfaces()) == here:
            await self._clock.sleep(_LOOK_S)
        log.info("addresses changed", extra={"from": ",".join(sorted(str(one.ip) for one in here)) or "none"})

    async def _announce(self, mdns: AsyncZeroconf, here: frozenset[IPv4Interface]) -> None:
        self._stale.clear()
        # Part of the key is a name that no two nodes share, unless a folder was copied, or somebody lies.
        info = self._info(here, f"{self._node_id[:16]}.{SERVICE}")
        await (await mdns.async_register_service(info, allow_name_change=True))
        while True:
            await self._stale.wait()
            self._stale.clear()
            await (await mdns.async_update_service(self._info(here, info.name)))

    def _info(self, here: frozenset[IPv4Interface], name: str) -> AsyncServiceInfo:
        self._serial += 1  # what was said before, even in another boot, is no news to a cache
        facts = {
            "id": self._node_id,
            "n": self._name.encode()[:_MOST_NAME].decode(errors="ignore"),
            "pair": str(int(self._shows_code)),
            "s": f"{self._boot[:4]}{self._serial}",
        }
        return AsyncServiceInfo(
            SERVICE,
            name,
            port=self._port,
            parsed_addresses=sorted(str(one.ip) for one in here),
            properties=facts,
            server=f"{self._node_id[:16]}.local.",
        )

    async def _resolve(
        self, zeroconf: Zeroconf, heard: asyncio.Queue[str], here: Collection[IPv4Interface]
    ) -> None:
        while True:
            name = await heard.get()
            try:
                info = AsyncServiceInfo(SERVICE, name)
                answered = await info.async_request(zeroconf, _RESOLVE_S * 1000)
            except (Error, ValueError):  # a name or a record that no node of ours would send
                continue
            if answered and (sighting := _read(info, here, self._clock.now())):
                self._sightings.note(sighting)


def interfaces_of(host: str) -> frozenset[IPv4Interface]:
    """Return the addresses at which a node that is bound to one is reached now, each with its network.

    A node bound to one address is reached there alone. The loopback address counts only for a node
    that is bound to nothing else.
    """
    if host not in _ANY and (not _is_address(host) or IPv4Interface(host).is_loopback):
        return frozenset({IPv4Interface(f"{host}/8")} if _is_address(host) else ())
    states = psutil.net_if_stats()
    found = {
        IPv4Interface(f"{address.address}/{address.netmask}")
        for name, addresses in psutil.net_if_addrs().items()
        if name in states and states[name].isup and "multicast" in (states[name].flags or "multicast")
        for address in addresses
        if address.family is socket.AF_INET and address.netmask
    }
    return frozenset(one for one in found if not one.is_loopback and host in {*_ANY, str(one.ip)})


@asynccontextmanager
async def _mdns(here: Collection[IPv4Interface]) -> AsyncIterator[AsyncZeroconf]:
    # An explicit list: the library's own choice of interface needs a default route.
    mdns = AsyncZeroconf(interfaces=sorted(str(one.ip) for one in here), ip_version=IPVersion.V4Only)
    try:
        yield mdns
    finally:
        await mdns.async_close()


def _read(info: AsyncServiceInfo, here: Collection[IPv4Interface], now: float) -> Sighting | None:
    """Return what a record says, as far as it has the form that our nodes give it; else `None`."""
    facts = {key: (value or b"").decode(errors="replace") for key, value in info.properties.items()}
    node_id, port = facts.get(b"id", ""), info.port or 0
    # Nobody makes this node dial beyond the networks that it is on: mDNS does not reach farther, either.
    places = tuple(
        (address, port)
        for address in info.parsed_addresses(IPVersion.V4Only)
        if any(IPv4Address(address) in one.network for one in here)
    )
    if not ids.is_node_id(node_id) or not 0 < port <= _MOST_PORT or not places:
        return None
    return Sighting(
        node_id=NodeId(node_id),
        name=one_line(facts.get(b"n", ""), _MOST_NAME),
        places=places[:MOST_PLACES],
        shows_code=facts.get(b"pair") == "1",
        seen_at=now,
    )


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True
