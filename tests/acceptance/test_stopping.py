"""A node that is told to end does so soon, whoever holds on to it, and however."""

import hashlib
import socket
import time
from contextlib import ExitStack

from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import PATIENCE_S, NodeProcess, anybody, envelope

END_S = 5.0
MIB = 1024 * 1024


class Holders(ExitStack):
    """Connections to one node, of callers that say no more and read no more."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__()
        self._node = node

    def mesh(self, said: bytes, *, tls: bool = True) -> socket.socket:
        """Say something on the mesh port."""
        connection = self._connected(self._node.port)
        if tls:
            connection = self.enter_context(anybody().wrap_socket(connection))
        connection.sendall(said)
        return connection

    def operator(self, said: bytes) -> socket.socket:
        """Say something on the operator port."""
        connection = self._connected(self._node.operator_port)
        connection.sendall(said)
        return connection

    def _connected(self, port: int) -> socket.socket:
        return self.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))


def request(token: str, method: str, path: str, body: bytes = b"", size: int | None = None) -> bytes:
    """Return a request; with a size, one whose body has more to come."""
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body) if size is None else size}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_nobody_who_holds_on_to_a_node_keeps_it_from_ending(mesh: Mesh) -> None:
    of_desk = "token-of-the-desk-alone"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        desk = {"host": "127.0.0.1", "port": silent.getsockname()[1], "inboundTokenEnvVar": "TOKEN_OF_DESK"}
        tokens = {"TOKEN_OF_DESK": of_desk, "LAN_PEER_DESK_TOKEN": "token-for-the-desk"}
        node = mesh.lone({"peers": {"desk": desk}, "node": {"command": ["sleep", "1000"]}}, **tokens).start()
        content = b"x" * MIB
        coming = hashlib.sha256(content).hexdigest()
        supplied = {"files": [{"name": "x", "size": MIB, "sha256": coming}]}
        supply = node.lan(
            "POST", "/lan/task", envelope(payload=supplied, from_="desk", to=None), token=of_desk
        )
        assert supply.status == 202, supply.body
        task = envelope()
        node.give(task)
        node.in_state(task["id"], "working")
        (node.home / "large").write_bytes(content * 16)
        (kept,) = node.op("POST", "/op/files", {"paths": [str(node.home / "large")]}).json
        node.op("POST", "/op/messages", {"peer": "desk", "text": "see", "files": [kept]})
        asked, secret = node.delegate("desk", "hello"), node.operator_token
        with Holders(node) as by:
            by.mesh(b"", tls=False)
            by.mesh(b"GET /lan/health HTTP/1.1\r\nHo")
            by.mesh(request(of_desk, "POST", "/lan/message", b"{", size=100))
            by.mesh(request(node.token, "GET", f"/lan/task/{task['id']}?wait=55&version=1000"))
            by.operator(request(secret, "GET", f"/op/tasks/{asked}?wait=55&version=1000"))
            by.operator(request(secret, "GET", f"/op/tasks/{asked}/events"))
            by.mesh(request(of_desk, "PUT", f"/lan/blob/{coming}?offset=0", content[1:], size=MIB))
            for path in (f"/lan/blob/{kept['sha256']}", "/lan/health"):
                assert by.mesh(request(of_desk, "GET", path)).recv(12) == b"HTTP/1.1 200"
            assert (
                by.mesh(request(node.token, "GET", f"/lan/task/{task['id']}/events")).recv(8) == b"HTTP/1.1"
            )

            began = time.monotonic()
            status = node.terminate()

            assert (status, time.monotonic() - began < END_S) == (0, True)
    said = node.log.read_text()
    assert "level=error" not in said, said
    assert "Traceback" not in said, said
