"""a program whose standard error is a terminal, and what that has been told"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

from tests.acceptance.node_process import LANMESH, NodeProcess, until

PATIENCE_S = 30.0


class Terminal:
    """A pseudo-terminal of 24 lines of 80 characters."""

    def __init__(self) -> None:
        """Open it."""
        self._ours, self.theirs = os.openpty()
        ioctl(self.theirs, TIOCSWINSZ, pack("HHHH", 24, 80, 0, 0))
        self._told = bytearray()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    @property
    def told(self) -> bytes:
        """All that it was told."""
        return bytes(self._told)

    def shows(self, text: str, within_s: float = PATIENCE_S) -> None:
        """Return once it has been told this."""
        until(lambda: text.encode() in self._told, lambda: self.told, within_s)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.theirs)
        self._reading.join(PATIENCE_S)
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # Linux says so of a terminal that nobody holds any more
            while some := os.read(self._ours, 65536):
                self._told += some


@contextmanager
def lanmesh_on_a_terminal(
    node: NodeProcess, arguments: Sequence[str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Terminal]]:
    """Run the command line of a node with its standard error on a terminal; it has ended by the end."""
    with on_a_terminal([LANMESH, *arguments], node.environ(TERM="xterm"), node.home) as both:
        yield both


@contextmanager
def on_a_terminal(
    command: Sequence[str], environ: Mapping[str, str], folder: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", Terminal]]:
    """Run a program with its standard error on a terminal; it has ended by the end."""
    terminal = Terminal()
    running = subprocess.Popen(
        command, env=environ, cwd=folder,
        stdout=subprocess.PIPE, stderr=terminal.theirs,
    )  # fmt: skip
    try:
        yield running, terminal
    finally:
        running.kill()
        running.communicate()
        terminal.close()
