"""how fast a file goes from one node to another, beside a bare TLS socket that hashes and syncs too"""

import argparse
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lanmesh.net.identity import NodeIdentity
from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess, until
from tests.acceptance.test_live_link import pair

_PIECE = 1024 * 1024
_LONG_S = 600.0

_SEND = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with open(sys.argv[2], "rb") as file, socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain) as tls:
        while piece := file.read(1 << 20):
            tls.sendall(piece)
"""


def main() -> int:
    """Measure in turns, and tell the ratio of the medians."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--megabytes", type=int, default=1024)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--least", type=float, default=0.0, help="fail below this ratio")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="lanmesh-bench-") as folder:
        mesh = Mesh(Path(folder) / "nodes")
        a, b = (mesh.lone({"profile": {"id": name}}) for name in ("a", "b"))
        a.start()
        b.start()
        pair(a, b)
        meshed, bare = [], []
        try:
            for number in range(options.rounds):
                path = _file(Path(folder) / f"file-{number}", options.megabytes)
                bare.append(_over_a_socket(path, Path(folder) / "bare"))
                meshed.append(_over_the_mesh(a, b, path))
                path.unlink()
        finally:
            for node in (a, b):
                node.terminate()
        for name, seconds in (("bare TLS socket", bare), ("mesh", meshed)):
            each = ", ".join(f"{options.megabytes / second:.0f}" for second in seconds)
            print(f"{name:16} {each} MB/s")
    ratio = statistics.median(bare) / statistics.median(meshed)
    print(
        f"the mesh has {ratio:.0%} of the throughput of the bare socket (medians of {options.rounds} rounds)"
    )
    return 0 if ratio >= options.least else 1


def _file(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(_PIECE))
        os.fsync(file.fileno())
    return path


def _over_a_socket(path: Path, folder: Path) -> float:
    folder.mkdir(mode=0o700, exist_ok=True)
    context = NodeIdentity.kept_in(folder / "identity.pem").serving([])
    digest = hashlib.sha256()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sender = subprocess.Popen([sys.executable, "-c", _SEND, str(listening.getsockname()[1]), str(path)])
        plain, _ = listening.accept()
        begun = time.monotonic()
        with context.wrap_socket(plain, server_side=True) as tls, (folder / "got").open("wb") as file:
            while piece := tls.recv(_PIECE):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        taken = time.monotonic() - begun
        sender.wait(_LONG_S)
    (folder / "got").unlink()
    return taken


def _over_the_mesh(a: NodeProcess, b: NodeProcess, path: Path) -> float:
    (kept,) = a.op("POST", "/op/files", {"paths": [str(path)]}).json
    whole = b.state / "blobs" / kept["sha256"][:2] / kept["sha256"][2:]
    begun = time.monotonic()
    a.op("POST", "/op/messages", {"peer": "b", "text": "see", "files": [kept]})
    until(whole.exists, b.log.read_text, _LONG_S)
    taken = time.monotonic() - begun
    until(lambda: not list(b.state.glob("work/**/.*.part")), b.log.read_text, _LONG_S)
    return taken


if __name__ == "__main__":
    sys.exit(main())
