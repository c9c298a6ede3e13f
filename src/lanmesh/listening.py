"""the two ports of a node: bound before anything is begun, and served"""

import socket
import ssl
from collections.abc import Coroutine, Mapping
from typing import Any

from lanmesh.config import LOOPBACK, Config
from lanmesh.model.ids import NodeId
from lanmesh.net.head import names_of
from lanmesh.net.inward import App
from lanmesh.net.server import Listener, bind

Address = tuple[str, int]


class Listening:
    """The mesh port, for peers, and the operator port, for the owner."""

    def __init__(self, settings: Config) -> None:
        """Bind both.

        Raises:
            InvalidConfig: One is in use, or its address is not this machine's.
        """
        keys = settings.node

        def may_move(key: str) -> bool:
            # Two gateways on one machine: nobody chose these ports, and node.json tells which they are.
            return settings.gateway is not None and settings.is_default(key)

        self._names = names_of(socket.gethostname(), settings.identity.id, keys.listen, *keys.hosts)
        self._sockets = {
            "mesh": bind(LOOPBACK, 0)
            if keys.dial_only
            else bind(keys.listen, keys.port, or_any=may_move("node.port")),
            "operator": bind(LOOPBACK, keys.operator_port, or_any=may_move("node.operatorPort")),
        }
        self._listeners: list[Listener] = []

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Host and port of `mesh` and of `operator`, as bound."""
        return {name: bound.getsockname()[:2] for name, bound in self._sockets.items()}

    def serve(self, mesh: App, operator: App, tls: ssl.SSLContext) -> list[Coroutine[Any, Any, None]]:
        """Return what answers on each of the ports, until `stop`.

        Args:
            mesh: What answers peers.
            operator: What answers the owner.
            tls: What the mesh port speaks.
        """
        sockets, names = self._sockets, self._names
        self._listeners = [
            Listener(mesh, sockets["mesh"], names=names, tls=tls, links=True),
            Listener(operator, sockets["operator"], names=names),
        ]
        return [listener.serve() for listener in self._listeners]

    def stop(self) -> None:
        """Let in nobody more, and answer what is under way."""
        for listener in self._listeners:
            listener.stop()

    def drop(self, node: NodeId) -> None:
        """Close all connections of a node at once."""
        for listener in self._listeners:
            listener.drop(node)

    def trust(self, certificate: bytes) -> None:
        """Let peers show one more certificate, in DER."""
        for listener in self._listeners:
            listener.trust(certificate)
