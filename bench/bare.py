"""a bare TLS socket that hashes and syncs too: the limit that the mesh is measured by"""

import contextlib
import hashlib
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lanmesh.net.identity import NodeIdentity

PIECE = 1024 * 1024
LONG_S = 600.0

_SEND = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with open(sys.argv[2], "rb") as file, socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain) as tls:
        while piece := file.read(1 << 20):
            tls.sendall(piece)
"""


def file_over_it(path: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds that a file takes from a process to here, and those of processors."""
    context = _serving(folder)
    got = folder / "got"
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as writer:
        before = _processors()
        sender = subprocess.Popen([sys.executable, "-c", _SEND, str(listening.getsockname()[1]), str(path)])
        plain, _ = listening.accept()
        begun = time.monotonic()
        with context.wrap_socket(plain, server_side=True) as tls, got.open("wb") as file:
            digest = hashlib.sha256()

            def keep(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            # As the mesh does: the next piece comes while one is hashed and written.
            keeping: Future[None] = writer.submit(keep, b"")
            while piece := _whole_piece(tls):
                keeping.result()
                keeping = writer.submit(keep, piece)
            keeping.result()
            file.flush()
            os.fsync(file.fileno())
            digest.digest()
        taken = time.monotonic() - begun
        assert sender.wait(LONG_S) == 0
        used = _processors() - before
    got.unlink()
    return taken, used


class Echo:
    """Takes lines over one connection, and answers each once it is synced."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a folder."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._context = _serving(folder)
        self._kept = folder / "received"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def asked(self, folder: Path) -> Iterator["Asker"]:
        """Give the other end of the connection, which keeps what it asks in a folder."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(self._listening.getsockname()) as plain,
            (folder / "sent").open("ab", buffering=0) as log,
        ):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain) as tls:
                yield Asker(tls, log.fileno())
        self._thread.join(LONG_S)
        self._listening.close()

    def _serve(self) -> None:
        plain, _ = self._listening.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with (
            self._context.wrap_socket(plain, server_side=True) as tls,
            self._kept.open("ab", buffering=0) as log,
            contextlib.suppress(OSError),
        ):
            while line := tls.recv(65536):
                _keep(log.fileno(), line)
                tls.sendall(b"kept")


class Asker:
    """One end of a connection."""

    def __init__(self, tls: ssl.SSLSocket, log: int) -> None:
        """Speak over it."""
        self._tls = tls
        self._log = log

    def round_trip(self, line: bytes) -> float:
        """Return the seconds of: written before said, kept over there, noted that it is."""
        begun = time.perf_counter()
        _keep(self._log, line)
        self._tls.sendall(line)
        assert self._tls.recv(4) == b"kept"
        _keep(self._log, b"delivered\n")
        return time.perf_counter() - begun


def _keep(descriptor: int, line: bytes) -> None:
    os.write(descriptor, hashlib.sha256(line).digest() + line)
    os.fsync(descriptor)


def _serving(folder: Path) -> ssl.SSLContext:
    folder.mkdir(mode=0o700, exist_ok=True)
    return NodeIdentity.kept_in(folder / "identity.pem").serving([])


def _whole_piece(tls: ssl.SSLSocket) -> bytes:
    piece, size = bytearray(PIECE), 0
    room = memoryview(piece)
    while size < PIECE and (some := tls.recv_into(room[size:])):
        size += some
    return bytes(room[:size])


def _processors() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
