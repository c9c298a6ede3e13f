"""Connections that do not speak TLS: how many there may be, and for how long."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.responses import Response

from lanmesh.faces.http import Route, application
from lanmesh.net.door import Limits
from lanmesh.net.identity import NodeIdentity, anybody, make
from lanmesh.net.server import Listener, bind
from tests.fakes import soon
from tests.integration.loopback import at_once

Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET / HTTP/1.1\r\nHost: desk\r\nConnection: close\r\n\r\n"


class Port:
    """A port that speaks TLS alone, and who has come there."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._talks: list[Talk] = []

    async def connect(self, tls: ssl.SSLContext | None = None) -> Talk:
        talk = await soon(asyncio.open_connection("127.0.0.1", self.number, ssl=tls))
        self._talks.append(talk)
        return talk

    async def answers(self) -> bool:
        """Return whether somebody who speaks TLS is served."""
        reader, writer = await self.connect(anybody())
        writer.write(GET)
        return (await soon(reader.read())).startswith(b"HTTP/1.1 200 ")

    def close(self) -> None:
        for _, writer in self._talks:
            writer.transport.abort()


@asynccontextmanager
async def a_port(folder: Path, limits: Limits | None = None) -> AsyncIterator[Port]:
    async def answer(_request: object) -> Response:
        return Response(b"here")

    make(folder / "identity.pem")
    tls = NodeIdentity.kept_in(folder / "identity.pem").serving(())
    app = application([Route("GET", "/", answer)])
    listener = Listener(app, bind("127.0.0.1", 0), names=frozenset({"desk"}), limits=limits, tls=tls)
    port = Port(listener.address[1])
    async with at_once(listener):
        try:
            yield port
        finally:
            port.close()


async def ended(talk: Talk) -> bool:
    """Return once the other side has ended a connection on which it said nothing."""
    try:
        return await soon(talk[0].read()) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("limits", [Limits(handshakes_per_address=3), Limits(handshakes=3)])
async def test_who_does_not_come_to_speak_tls_makes_way_for_who_does(tmp_path: Path, limits: Limits) -> None:
    async with a_port(tmp_path, limits) as port:
        silent = [await port.connect() for _ in range(5)]

        assert [await ended(talk) for talk in silent[:2]] == [True, True]
        assert await port.answers()
        assert await ended(silent[2])
        assert not silent[4][0].at_eof()


async def test_a_handshake_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    async with a_port(tmp_path, Limits(handshake_s=0.3)) as port:
        nothing, half = await port.connect(), await port.connect()
        half[1].write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

        assert await ended(nothing)
        assert await ended(half)
        assert await port.answers()


async def test_who_does_not_speak_tls_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    async with a_port(tmp_path) as port:
        plain = await port.connect()
        plain[1].write(GET)

        heard = await soon(plain[0].read())
        assert b"HTTP" not in heard
        assert await port.answers()


async def test_as_many_as_may_come_at_once_are_served(tmp_path: Path) -> None:
    async with a_port(tmp_path) as port:
        served = await asyncio.gather(*(port.answers() for _ in range(Limits().per_address)))

        assert all(served)
