"""Nodes that know each other, and that none outlives its test."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from tests.acceptance.node_process import NodeProcess, Said, free_port, new_token


class Mesh:
    """Nodes that know each other, by pre-shared tokens, for as long as a `with` lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[NodeProcess] = []

    def lone(self, settings: Mapping[str, Any] | None = None, **variables: str) -> NodeProcess:
        """Lay out a node that knows no peer; it is not started."""
        home = self._folder / f"node-{len(self._nodes)}"
        node = NodeProcess(home, settings or {}, {"OPENCLAW_LAN_TOKEN": new_token(), **variables})
        self._nodes.append(node)
        return node

    def of(
        self, *, reached_by: Mapping[str, int] | None = None, **nodes: Mapping[str, Any]
    ) -> tuple[NodeProcess, ...]:
        """Lay out nodes by name, each with its keys under `node`, and all as peers of each other.

        Where `reached_by` names a port, peers dial that instead of the node's own.
        """
        ports = {name: free_port() for name in nodes}
        dialled = {**ports, **(reached_by or {})}
        tokens = {name: new_token() for name in nodes}
        return tuple(
            self.lone(
                {
                    "profile": {"id": name},
                    "node": {"port": ports[name], **keys},
                    "peers": {
                        other: {"host": "127.0.0.1", "port": dialled[other], "tls": True}
                        for other in nodes
                        if other != name
                    },
                },
                OPENCLAW_LAN_TOKEN=tokens[name],
                **{
                    f"LAN_PEER_{other.upper()}_TOKEN": token
                    for other, token in tokens.items()
                    if other != name
                },
            )
            for name, keys in nodes.items()
        )

    def started(self, **nodes: Mapping[str, Any]) -> tuple[NodeProcess, ...]:
        """Lay out nodes and start them."""
        return start_all(*self.of(**nodes))

    def strangers(self, **keys: Mapping[str, Any]) -> tuple[NodeProcess, NodeProcess]:
        """Start two nodes that know nobody, `a` and `b`; each does a task by counting its words.

        By their names, further keys under `node`.
        """
        a, b = (
            self.lone(
                {
                    "profile": {"id": name},
                    "node": {"port": free_port(), "command": ["wc", "-w"], **keys.get(name, {})},
                }
            )
            for name in ("a", "b")
        )
        start_all(a, b)
        return a, b

    def __enter__(self) -> "Mesh":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End all nodes, and see that none has shown a token to anybody."""
        leaks = {node.home.name: node.leaks() for node in self._nodes}
        for node in self._nodes:
            with contextlib.suppress(apsw.Error):  # a test has damaged it
                node.tokens()
        living = [node for node in self._nodes if node.process is not None]
        for node in living:
            if node.process is not None:
                node.process.terminate()
        for node in living:
            node.ended()
        left = [process for node in self._nodes for process in node.programs()]
        for process in left:
            process.kill()
        assert not left, "programs of tasks outlived their nodes"
        assert not any(leaks.values()), f"a token can be read in {leaks}"


def start_all(*nodes: NodeProcess) -> tuple[NodeProcess, ...]:
    for node in nodes:
        node.launch()
    for node in nodes:
        node.ready()
    return nodes


def shown_code(node: NodeProcess) -> str:
    """Return a code that a node shows to whoever is to be paired with it."""
    return str(node.lanmesh("pair", "--json").json["code"])


def pair(a: NodeProcess, b: NodeProcess, port: int | None = None) -> Said:
    """Type in a node the code that another one shows, which is dialled at its own port or at another."""
    return a.lanmesh("pair", shown_code(b), "--at", f"127.0.0.1:{b.port if port is None else port}")
