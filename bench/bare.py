"""a bare TLS socket that hashes and syncs too: the limit that the mesh is measured by"""

import contextlib
import hashlib
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from lanmesh.net.identity import NodeIdentity

PIECE = 1024 * 1024
LONG_S = 600.0

_SEND = """
import hashlib, os, socket, ssl, sys
port, path, kept = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with socket.create_connection(("127.0.0.1", int(port))) as plain:
    digest = hashlib.sha256()
    with open(path, "rb") as file, open(kept, "wb") as copy:
        while piece := file.read(1 << 20):
            copy.write(piece)
            digest.update(piece)
        copy.flush()
        os.fsync(copy.fileno())
    with open(kept, "rb") as file, context.wrap_socket(plain) as tls:
        while piece := file.read(1 << 20):
            tls.sendall(piece)
"""


@dataclass(frozen=True)
class Taken:
    """What it took to bring one file from here to there, in seconds."""

    way: float
    """From the first byte that is sent until all are synced, and their hash fits."""
    wait: float
    """What somebody waits for: that, and a copy on both sides, from where it is to where it is used."""
    processors: float
    """Of processors, on the way."""


def file_over_it(path: Path, folder: Path) -> Taken:
    """Bring a file from a process to here."""
    context = _serving(folder)
    kept, got, used = folder / "kept", folder / "got", folder / "used"
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as writer:
        port = str(listening.getsockname()[1])
        sender = subprocess.Popen([sys.executable, "-c", _SEND, port, str(path), str(kept)])
        plain, _ = listening.accept()
        asked = time.monotonic()
        plain.recv(1, socket.MSG_PEEK)  # it has its copy
        before, begun = _own() + _others() + _of(sender.pid), time.monotonic()
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
        synced, own = time.monotonic(), _own()
        with got.open("rb") as there, used.open("wb") as here:
            shutil.copyfileobj(there, here, PIECE)
            here.flush()
            os.fsync(here.fileno())
        laid_out = time.monotonic()
        assert sender.wait(LONG_S) == 0
    for each in (kept, got, used):
        each.unlink()
    return Taken(way=synced - begun, wait=laid_out - asked, processors=own + _others() - before)


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


def _own() -> float:
    return _used_by(resource.RUSAGE_SELF)


def _others() -> float:
    """Of processes of this one's that have ended."""
    return _used_by(resource.RUSAGE_CHILDREN)


def _used_by(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _of(process: int) -> float:
    used = psutil.Process(process).cpu_times()
    return used.user + used.system
