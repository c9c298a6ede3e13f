"""Somebody between two nodes: who hands bytes on, or ends TLS with a key of their own and reads along."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

from lanmesh.net.identity import NodeIdentity, anybody, make

BOUND_S = 30.0


class Between:
    """A program on the way to one port of this machine."""

    def __init__(self, folder: Path, port: int, target: int) -> None:
        """Stand at a port, before another one, with a key that is kept in a folder."""
        file = folder / "between.identity.pem"
        make(file)
        self.identity = NodeIdentity.kept_in(file)
        self.seen = bytearray()
        """All that was said in either direction while TLS ended here."""
        self.change: Callable[[bytes], bytes] = bytes
        """What becomes of what the caller says; an `OSError` cuts the connection off."""
        self.change_answer: Callable[[bytes], bytes] = bytes
        """What becomes of what it is answered."""
        self._callers: tuple[NodeIdentity, ...] = ()
        self._port = port
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def hand_on(self) -> None:
        """Take no part in what is said."""
        self._do(self._listen(ends_tls=False))

    def end_tls(self) -> None:
        """Pass for the target from now on; what was connected is cut off."""
        self._do(self._listen(ends_tls=True))

    def end_tls_as(self, target: Path, caller: Path) -> None:
        """The same with the keys of both, which were stolen from their state folders: nobody can tell."""
        self.identity = NodeIdentity.kept_in(target / "identity.pem")
        self._callers = (NodeIdentity.kept_in(caller / "identity.pem"),)
        self.end_tls()

    def _do(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(BOUND_S)

    async def _listen(self, *, ends_tls: bool) -> None:
        await self._close()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, onward = await asyncio.open_connection(
                    "127.0.0.1", self._target, ssl=self._onward(writer) if ends_tls else None
                )
            except OSError:
                writer.close()
                return
            self._writers |= {writer, onward}
            change, change_answer = (self.change, self.change_answer) if ends_tls else (bytes, bytes)
            with contextlib.suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, onward, change, keep=ends_tls))
                    group.create_task(self._pump(there, writer, change_answer, keep=ends_tls))

        trusted = [caller.certificate for caller in self._callers]
        context = self.identity.serving(trusted) if ends_tls else None
        self._server = await asyncio.start_server(talk, "127.0.0.1", self._port, ssl=context)

    def _onward(self, writer: asyncio.StreamWriter) -> ssl.SSLContext:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        for caller in self._callers:
            if caller.certificate == shown:
                return caller.dialling(self.identity.certificate, shown=True)
        return anybody()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[bytes], bytes],
        *,
        keep: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while said := await reader.read(65536):
                if keep:
                    self.seen += said
                writer.write(change(said))
                await writer.drain()
        writer.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def __enter__(self) -> "Between":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()
