"""A cable in a test's hand: counts what passes, and loses of it what the weather takes."""

import contextlib
import os
import random
import select
import socket
import threading
from enum import StrEnum

PATIENCE_S = 30.0

_ALL = 0x0003
_SOL_PACKET = 263
_VNET_HDR = 15
"""Each frame with its virtio header (10 bytes), so that checksums that are still to come do come."""
_IGNORE_OUTGOING = 23
_HEADER = 10
_LARGEST = _HEADER + 64 * 1024 + 64
_AT_ONCE = 64
_BUFFER = 16 * 1024 * 1024

_IPV4 = b"\x08\x00"
_TCP, _UDP = 6, 17
_SYN, _ACK = 0x02, 0x10


class Way(StrEnum):
    """A direction, as the host sees it."""

    OUT = "out"
    IN = "in"


class Cable(threading.Thread):
    """Carries frames between the host's end and the network's, in a thread of its own."""

    def __init__(self, near: str, far: str) -> None:
        """Join two interfaces, the first of which leads to the host."""
        super().__init__(name=f"cable-{near}", daemon=True)
        self.cut: set[Way] = set()
        """Ways on which nothing passes."""
        self.cut_at: tuple[Way, int] | None = None
        """After so many bytes on a way nothing passes at all; `None`: that does not matter."""
        self.loss = 0.0
        """The share of frames that do not arrive."""
        self.walled = False
        """Whether a firewall lets no connection in, and no datagram: what the host asks for comes."""
        self.passed = dict.fromkeys(Way, 0)
        """Bytes that were carried, each frame with all that is around it."""
        self.lost = 0
        self.turned_away = 0
        """Frames at the wall."""
        self._chance = random.Random()  # noqa: S311  # no secret
        self._near, self._far = _end(near), _end(far)
        self._told_end, self._tell_end = os.pipe()

    def pull_out(self) -> None:
        """Let nothing pass from now on."""
        self.cut = set(Way)

    def mend(self) -> None:
        """Let all pass again."""
        self.cut, self.cut_at, self.loss = set(), None, 0.0

    def run(self) -> None:
        """Carry, until `end`."""
        frame = memoryview(bytearray(_LARGEST))
        ways = {self._near.fileno(): Way.OUT, self._far.fileno(): Way.IN}
        waiting = select.poll()
        for readable in (*ways, self._told_end):
            waiting.register(readable, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in waiting.poll()]
            if self._told_end in ready:
                return
            for descriptor in ready:
                self._carry(ways[descriptor], frame)

    def end(self) -> None:
        """Stop, and let go of both interfaces."""
        os.write(self._tell_end, b"x")
        self.join(PATIENCE_S)
        for descriptor in (self._told_end, self._tell_end):
            os.close(descriptor)
        self._near.close()
        self._far.close()

    def _carry(self, way: Way, frame: memoryview) -> None:
        here, there = (self._near, self._far) if way is Way.OUT else (self._far, self._near)
        # An interface that is down takes nothing, and says so.
        with contextlib.suppress(OSError):
            for _ in range(_AT_ONCE):
                size = here.recv_into(frame)
                if self._passes(way, frame[_HEADER:size]):
                    there.send(frame[:size])
                    self.passed[way] += size - _HEADER

    def _passes(self, way: Way, frame: memoryview) -> bool:
        if self.cut_at is not None and self.passed[self.cut_at[0]] >= self.cut_at[1]:
            self.pull_out()
        if way in self.cut or (self.loss and self._chance.random() < self.loss):
            self.lost += 1
            return False
        if self.walled and way is Way.IN and _opens(frame):
            self.turned_away += 1
            return False
        return True


def _opens(frame: memoryview) -> bool:
    """Return whether a frame is a datagram, or the first of a connection."""
    if frame[12:14] != _IPV4:
        return False
    kind, transport = frame[23], 14 + 4 * (frame[14] & 0x0F)
    return kind == _UDP or (kind == _TCP and frame[transport + 13] & (_SYN | _ACK) == _SYN)


def _end(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    end.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    end.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    end.bind((interface, 0))
    end.setblocking(False)
    return end
