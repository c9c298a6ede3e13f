"""pipes to a program and from it: what it is told, and what it writes, as it comes"""

import asyncio
import codecs
import os
import re
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager
from typing import BinaryIO

from lanmesh.engine.ports import Progress

MOST_OUTPUT_BYTES = 8 * 1024 * 1024
"""Kept in memory; far more than a report can carry. What is longer, a program leaves in a file."""

_MOST_ERROR_BYTES = 4096
"""Kept of the end of stderr: programs say last why they fail."""

_MOST_SAID_BYTES = 4096
"""Looked at for lines, of what comes at once and of a line that does not end: the latest."""

_LINE_END = re.compile(rb"[\r\n]+")
"""A bar of progress that is drawn anew ends its lines with a carriage return."""


class Flow(asyncio.Protocol):
    """Our end of a pipe."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.ended = asyncio.Event()
        self._kept = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # as asyncio calls it
        """Note that nothing more will come."""
        self.ended.set()

    def text(self) -> str:
        """Return what was kept; bytes that are no UTF-8 become U+FFFD."""
        return self._kept.decode("utf-8", "replace")


class Beginning(Flow):
    """What a program writes first; the rest is told, and dropped."""

    def __init__(self, said: Progress) -> None:
        """Tell `said` what comes, as it comes."""
        super().__init__()
        self._said = said
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def data_received(self, data: bytes) -> None:
        """Keep what there is room for."""
        self._kept += data[: MOST_OUTPUT_BYTES - len(self._kept)]
        self._said.write(self._characters.decode(data))


class End(Flow):
    """What a program writes last."""

    def __init__(self, said: Progress) -> None:
        """Tell `said` the lines that come; those that come at once together, and of many the latest."""
        super().__init__()
        self._said = said
        self._line = b""
        """Begun, and not ended yet."""

    def data_received(self, data: bytes) -> None:
        """Keep the latest."""
        self._kept += data
        del self._kept[:-_MOST_ERROR_BYTES]
        *lines, self._line = _LINE_END.split((self._line + data)[-_MOST_SAID_BYTES:])
        texts = (line.decode("utf-8", "replace").strip() for line in lines)
        if text := "\n".join(text for text in texts if text):
            self._said(text)


# The pipes are made here, so that they can be given up where a child that is still alive holds them,
# which `Process` does not. A cancellation must not come between, and leave a file that nobody closes.


@asynccontextmanager
async def fed(text: str) -> AsyncIterator[BinaryIO]:
    """Yield the end of a pipe at which a program can read the text; it need not."""
    theirs, ours = os.pipe()
    with os.fdopen(theirs, "rb", 0) as stdin:
        loop = asyncio.get_running_loop()
        connecting = asyncio.ensure_future(loop.connect_write_pipe(Flow, os.fdopen(ours, "wb", 0)))
        try:
            transport, _ = await asyncio.shield(connecting)
            transport.write(text.encode("utf-8", "replace"))
            transport.close()  # once all is written
            yield stdin
        finally:
            transport, _ = await connecting
            if transport.get_write_buffer_size() or not transport.is_closing():
                transport.abort()


@asynccontextmanager
async def read(flow: Flow) -> AsyncIterator[BinaryIO]:
    """Yield the end of a pipe to which a program can write; what it writes goes into the flow."""
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb", 0) as output:
        loop = asyncio.get_running_loop()
        connecting = asyncio.ensure_future(loop.connect_read_pipe(lambda: flow, os.fdopen(ours, "rb", 0)))
        try:
            await asyncio.shield(connecting)
            yield output
        finally:
            transport, _ = await connecting
            transport.close()


async def all_ended(flows: Collection[Flow], patience_s: float) -> bool:
    """Return whether all pipes come to their end while there is patience."""
    return await waited(asyncio.gather(*(flow.ended.wait() for flow in flows)), patience_s)


async def waited(what: Awaitable[object], patience_s: float) -> bool:
    """Return whether it happens while there is patience."""
    try:
        async with asyncio.timeout(patience_s):
            await what
    except TimeoutError:
        return False
    return True
