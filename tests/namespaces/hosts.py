"""Hosts with networks between them, each a network namespace of this machine; and one node on each."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess

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
    """A machine with its own network, and one node that listens on all of it."""

    def __init__(self, name: str, mesh: Mesh) -> None:
        """Make it; it is on no network yet. The node knows nobody, and is not started."""
        self.name = name
        ip(f"netns add {name}")
        ip("link set lo up", name)
        self.node: NodeProcess = mesh.lone(
            {
                "profile": {"id": name, "name": f"The host {name}"},
                "node": {
                    "listen": "0.0.0.0",  # noqa: S104  # every network that a test gives it
                    "port": MESH_PORT,
                    "operatorPort": MESH_PORT + 1,
                    "discovery": True,
                    "command": ["wc", "-w"],
                },
            }
        )

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
        with self.inside() as node:
            node.start()

    def on(self, network: str) -> str:
        """Return the name of the host's interface to a network."""
        return f"{network}0"

    def join(self, network: str, address: str) -> None:
        """Connect it to a network."""
        outer = f"{self.name}-{network}"
        ip(f"link add {outer} type veth peer name {self.on(network)} netns {self.name}")
        ip(f"link set {outer} master {network} up")
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

    def remove(self) -> None:
        ip(f"netns delete {self.name}")


def network(name: str) -> None:
    """Lay a network: a bridge, with no router and no way out."""
    ip(f"link add {name} type bridge mcast_snooping 0")
    ip(f"link set {name} up")


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
