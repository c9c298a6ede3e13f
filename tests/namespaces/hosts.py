"""Hosts with networks between them, each a network namespace of this machine; and one node on each."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess
from tests.namespaces.cable import Cable

MESH_PORT = 18760
_CLONE_NEWNET = 0x40000000
_PREFIX = 24

_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Return why no hosts can be made here; `None` if they can."""
    if (told := os.environ.get("LANMESH_NAMESPACES")) != "yes":
        return told or "needs namespaces of its own: scripts/test-namespaces"
    if shutil.which("ip") is None:
        return "needs ip, of the package iproute2"
    return None


def ip(words: str, inside: str | None = None) -> None:
    """Run one command of ip, on this machine or on a host."""
    where = [] if inside is None else ["-n", inside]
    done = subprocess.run(["ip", *where, *words.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {words}: {done.stderr}"


class Host:
    """A machine with its own network, and one node on it that is told nothing of networks, ports or peers."""

    def __init__(self, name: str, mesh: Mesh, keys: Mapping[str, object]) -> None:
        """Make it; it is on no network yet. The node knows nobody, and is not started."""
        self.name = name
        self._cables: dict[str, Cable] = {}
        ip(f"netns add {name}")
        ip("link set lo up", name)
        self.node: NodeProcess = mesh.lone()
        # All else by default: it listens on every network. Nodes of other tests keep to loopback.
        self.node.settings = {
            "profile": {"id": name, "name": f"The host {name}"},
            "node": {"command": ["wc", "-w"], **keys},
        }
        self.node.write_settings(self.node.settings)
        self.node.network = self.inside

    @contextmanager
    def inside(self) -> Iterator[NodeProcess]:
        """Let this thread, and what it starts, be on the host meanwhile."""
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{self.name}").open() as there:
            _enter(there.fileno())
            try:
                yield self.node
            finally:
                _enter(home.fileno())

    def start(self) -> None:
        self.node.start()

    def on(self, network: str) -> str:
        """Return the name of the host's interface to a network."""
        return f"{network}0"

    def join(self, network: str, address: str) -> None:
        """Connect it to a network."""
        outer = f"{self.name}-{network}"
        ip(f"link add {outer} type veth peer name {self.on(network)} netns {self.name}")
        ip(f"link set {outer} master {network} up")
        ip(f"link set {self.on(network)} gso_max_segs 1", self.name)  # each frame is one packet
        ip(f"address add {address}/{_PREFIX} dev {self.on(network)}", self.name)
        ip(f"link set {self.on(network)} up", self.name)

    def unplug(self, network: str) -> None:
        ip(f"link set {self.on(network)} down", self.name)

    def plug_in(self, network: str) -> None:
        ip(f"link set {self.on(network)} up", self.name)

    def move(self, network: str, before: str, after: str) -> None:
        """Give it another address, as a router does with a new lease."""
        ip(f"address del {before}/{_PREFIX} dev {self.on(network)}", self.name)
        ip(f"address add {after}/{_PREFIX} dev {self.on(network)}", self.name)

    def cable(self, network: str) -> Cable:
        """Put a cable that the test has in its hand between the host and a network that it is on."""
        outer, near, far = (f"{self.name}-{network}{end}" for end in ("", "-i", "-o"))
        ip(f"link set {outer} nomaster")
        ip(f"link add {near} type veth peer name {far}")
        ip(f"link set {far} master {network} up")
        ip(f"link set {near} up")
        self._cables[near] = cable = Cable(outer, near)
        cable.start()
        return cable

    def remove(self) -> None:
        for near, cable in self._cables.items():
            cable.end()
            ip(f"link delete {near}")
        ip(f"netns delete {self.name}")


class Networks:
    """Networks and the hosts on them, for as long as a `with` lasts. Each is a bridge with no way out."""

    def __init__(self, folder: Path) -> None:
        """Have the homes of the nodes in a folder."""
        self._mesh = Mesh(folder)
        self._hosts: list[Host] = []
        self._networks: list[str] = []

    def __enter__(self) -> "Networks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._mesh.end()
        finally:
            for host in self._hosts:
                host.remove()
            for each in self._networks:
                ip(f"link delete {each}")

    def host(self, name: str, joined: Mapping[str, str], **keys: object) -> Host:
        """Set up a host with its address in each network, and of its node more keys under `node`."""
        for network in joined:
            if network not in self._networks:
                ip(f"link add {network} type bridge mcast_snooping 0")
                ip(f"link set {network} up")
                self._networks.append(network)
        host = Host(name, self._mesh, keys)
        self._hosts.append(host)
        for network, address in joined.items():
            host.join(network, address)
        return host


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
