"""A port that leads to a mesh port, and breaks most of the connections on the way."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator
from enum import StrEnum
from types import TracebackType

LIFE = (2, 8)
"""How many records of answers a connection that is spared carries before it ends like any idle one."""

_HEAD = 5
_DATA = 23
"""The type of a TLS record whose content is encrypted (RFC 8446 section 5.1)."""
_FINISHED = {53, 69}
"""The lengths of a client's last record of a handshake, by cipher; no other record before it has them."""
_FULL = 16 * 1024
"""A record that is as long as can be: more of the same request comes behind it."""


class Fate(StrEnum):
    """What becomes of a connection."""

    SPARED = "spared"
    REFUSED = "refused"
    NO_HANDSHAKE = "broken handshake"
    CUT_REQUEST = "cut request"
    LOST_ANSWER = "lost answer"
    TRUNCATED = "truncated answer"
    BLACK_HOLE = "black hole"


BROKEN = [fate for fate in Fate if fate is not Fate.SPARED]


class BreakingProxy:
    """Works below HTTP, in a thread of its own; each connection has its fate from a seed.

    What is said is encrypted, but TLS 1.3 shows where its handshake ends and each record begins, so
    that a fate meets a request or an answer, and not always the handshake before them.
    """

    def __init__(self, upstream: int, chance: random.Random, broken: float) -> None:
        """Lead to a port of this machine, and break that share of the connections."""
        self._upstream = upstream
        self._chance = chance
        self._broken = broken
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="breaking-proxy")
        self._open: set[asyncio.Task[None]] = set()
        self.fates: Counter[Fate] = Counter()
        self.port = 0

    def __enter__(self) -> "BreakingProxy":
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            fate = Fate.SPARED if self._chance.random() >= self._broken else self._chance.choice(BROKEN)
            self.fates[fate] += 1
            if fate is not Fate.REFUSED:
                with contextlib.suppress(OSError):
                    await self._lead(fate, reader, writer)
        except asyncio.CancelledError:
            pass  # the campaign is over
        finally:
            _reset(writer)
            self._open.discard(task)

    async def _lead(self, fate: Fate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        shaken = asyncio.Event()
        ways = [
            asyncio.ensure_future(self._requests(fate, reader, up_writer, shaken)),
            asyncio.ensure_future(self._answers(fate, up_reader, writer, shaken)),
        ]
        try:
            # The first way that ends takes the other with it, but for a black hole: that stays open.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            _reset(up_writer)

    async def _requests(
        self, fate: Fate, reader: asyncio.StreamReader, up: asyncio.StreamWriter, shaken: asyncio.Event
    ) -> None:
        async for record in _records(reader):
            if fate is Fate.CUT_REQUEST and shaken.is_set() and len(record) < _FULL:
                up.write(record[: len(record) // 2])
                await up.drain()
                return
            if record[0] == _DATA and len(record) - _HEAD in _FINISHED:
                shaken.set()
            up.write(record)
            await up.drain()

    async def _answers(
        self, fate: Fate, up: asyncio.StreamReader, writer: asyncio.StreamWriter, shaken: asyncio.Event
    ) -> None:
        left = self._chance.randint(*LIFE)
        passed = 0
        async for record in _records(up):
            if not shaken.is_set():
                if fate is Fate.NO_HANDSHAKE:
                    return
            elif fate is Fate.BLACK_HOLE:
                continue  # taken and never told, and the connection stays open
            elif fate is Fate.LOST_ANSWER:
                return
            elif fate is Fate.TRUNCATED and passed:  # by then the head of an answer
                writer.write(record[: len(record) // 2])
                await writer.drain()
                return
            else:
                passed += 1
            writer.write(record)
            await writer.drain()
            if passed == left:
                writer.close()
                await writer.wait_closed()
                return
        if fate is Fate.BLACK_HOLE:
            await asyncio.Event().wait()


async def _records(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Give each TLS record that comes, whole, until there are no more."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(_HEAD)
            yield head + await reader.readexactly(int.from_bytes(head[3:]))


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, so that the other end is told of it; one that has ended stays so."""
    if not writer.is_closing():
        end = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
