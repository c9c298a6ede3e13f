"""this machine: its time and chance, what it is and how busy it is"""

import asyncio
import errno
import logging
import os
import platform
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TypeVar

import psutil

from lanmesh.model.profile import Hardware, MachineLoad

LOOK_EVERY_S = 1.0
"""Looks that follow one another more closely get the same answer: over a few milliseconds the
processors were either all busy or all idle."""

_SYSCTL_S = 5.0
"""Takes 10 ms; a machine that needs longer has other troubles."""

_DISCARD = 9
"""A port for what is thrown away (RFC 863)."""

_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}

_NVIDIA = "0x10de"

_GPU_VENDORS = {_NVIDIA: "NVIDIA GPU", "0x1002": "AMD GPU", "0x8086": "Intel GPU"}
"""By PCI vendor id; server boards and virtual machines have display adapters of other vendors."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class SystemClock:
    """The time of this machine. Implements the port `Clock`."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after some seconds."""
        await asyncio.sleep(max(0.0, seconds))


class SystemRandom:
    """The chance of this machine. Implements the port `Random`."""

    def bytes(self, count: int) -> bytes:
        """Return bytes that nobody can guess."""
        return secrets.token_bytes(count)

    def uniform(self) -> float:
        """Return a number from 0 up to 1."""
        return secrets.randbelow(1 << 53) / (1 << 53)


class LocalMachine:
    """The computer that the node runs on. What cannot be found out is left blank or 0."""

    def __init__(self) -> None:
        self._hardware: Hardware | None = None
        self._load = MachineLoad(cpu_percent=0.0, memory_percent=0.0)
        self._looked_at = float("-inf")
        _asked(lambda: psutil.cpu_percent(None), 0.0)  # says nothing yet: it begins the count

    def hardware(self) -> Hardware:
        """Return what the machine knows of itself; found out once."""
        if self._hardware is None:
            self._hardware = Hardware(
                cpu=_asked(_cpu, ""),
                cores=_asked(psutil.cpu_count, None) or os.cpu_count() or 1,
                memory_bytes=_asked(lambda: psutil.virtual_memory().total, 0),
                gpus=_gpus(),
                os=_asked(_operating_system, ""),
            )
        return self._hardware

    def online(self, hosts: Sequence[str]) -> bool:
        """Return whether a network leads to one of some hosts; where that cannot be found out, yes.

        Names are not looked up: only addresses say what leads to them.
        """
        addresses = [found for host in hosts if (found := _address(host)) is not None]
        if not addresses:
            return _asked(_networks, True)
        return any(_asked(partial(_leads_to, address), True) for address in addresses)

    def load(self) -> MachineLoad:
        """Return how busy it has been since the last look, at most one look a second."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._load = MachineLoad(
                cpu_percent=_asked(lambda: psutil.cpu_percent(None), 0.0),
                memory_percent=_asked(lambda: psutil.virtual_memory().percent, 0.0),
            )
        return self._load


def cpu_model(cpuinfo: str) -> str | None:
    """Return the processor that Linux's /proc/cpuinfo names: x86 and ARM spell the field differently."""
    for field in ("model name", "Hardware", "Model"):
        if found := re.search(rf"^{field}\s*:\s*(\S.*?)\s*$", cpuinfo, re.MULTILINE):
            return found[1]
    return None


def _asked(question: Callable[[], T], otherwise: T) -> T:
    """Return the answer of the machine, or what stands for none."""
    try:
        return question()
    except Exception as fault:  # noqa: BLE001  # kernels, containers and drivers fail in ways of their own
        log.debug("machine says nothing", extra={"question": question, "why": repr(fault)})
        return otherwise


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.is_link_local and address.scope_id is None:
        return None
    return address.ipv4_mapped or address


def _leads_to(address: IPv4Address | IPv6Address) -> bool:
    """Return whether the card from which this machine would send to an address is up. Nothing is sent."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(address), _DISCARD))
        except OSError as fault:
            if fault.errno in _NO_WAY:
                return False
            raise
        source = asking.getsockname()[0].partition("%")[0]
    up = {name for name, card in psutil.net_if_stats().items() if card.isup}
    cards = psutil.net_if_addrs().items()
    ours = {name for name, has in cards if any(each.address.partition("%")[0] == source for each in has)}
    return not ours or not ours.isdisjoint(up)


def _networks() -> bool:
    return any(card.isup and "loopback" not in card.flags for card in psutil.net_if_stats().values())


def _cpu() -> str:
    fallback = platform.processor() or platform.machine()
    match platform.system():
        case "Linux":
            return cpu_model(Path("/proc/cpuinfo").read_text("utf-8", "replace")) or fallback
        case "Darwin":
            return _asked(_apple_cpu, "") or fallback
        case _:
            return fallback


def _apple_cpu() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSCTL_S, check=True)  # noqa: S603  # fixed
    return done.stdout.strip()


def _gpus() -> tuple[str, ...]:
    nobody: list[str] = []
    named = _asked(lambda: list(_nvidia_gpus()), nobody)
    vendors = _asked(lambda: sorted(_gpu_vendors()), nobody)
    return (*named, *(word for word in vendors if not named or word != _GPU_VENDORS[_NVIDIA]))


def _nvidia_gpus() -> Iterator[str]:
    """Yield name and memory of each, where the extra `gpu` and a driver are installed."""
    try:
        import pynvml  # noqa: PLC0415  # optional
    except ImportError:
        return
    pynvml.nvmlInit()
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(device)
            # Chips that share the machine's memory have none to report.
            memory = _asked(partial(pynvml.nvmlDeviceGetMemoryInfo, device), None)
            yield f"{name} ({memory.total / 2**30:.0f} GiB)" if memory else str(name)
    finally:
        pynvml.nvmlShutdown()


def _gpu_vendors() -> set[str]:
    """Return a word for each vendor; names would take the PCI database."""
    if platform.system() == "Darwin":
        return {"Apple GPU"} if platform.machine() == "arm64" else set()
    cards = Path("/sys/class/drm").glob("card*/device/vendor")
    found = {_asked(partial(card.read_text, "ascii"), "").strip() for card in cards}
    return {word for vendor, word in _GPU_VENDORS.items() if vendor in found}


def _operating_system() -> str:
    """Return its name and version as people say them: "Debian GNU/Linux 12", "macOS 15.1"."""
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}".strip()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}".strip()
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()
