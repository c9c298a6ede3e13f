"""Peers that may be at several addresses, over real sockets: whoever proves the key is it, nobody else."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from lanmesh.errors import AnswerLost, PeerUnreachable
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.peer import Peer, Place
from lanmesh.net.dialling import Ways, meet
from lanmesh.net.identity import NodeIdentity, make
from tests.fakes import soon

HOST = "127.0.0.1"


class Dialling:
    """A node that dials the peer b, and what it learns of it."""

    def __init__(self, folder: Path) -> None:
        self.me, self.b, self.mallory = (identity(folder, name) for name in ("me", "b", "mallory"))
        self.tls = self.me.dialling(self.b.certificate, shown=False)
        self.seen: list[Place] = []
        """Where b is said to be."""
        self.kept: list[tuple[PeerId, Place]] = []
        self.asked: list[Place] = []
        self.silent = False
        """Whether what is asked is not answered."""
        self.ways = Ways(self.seen_of, self.keep)

    def seen_of(self, node_id: NodeId) -> list[Place]:
        return self.seen if node_id == self.b.node_id else []

    async def keep(self, peer: PeerId, place: Place) -> None:
        self.kept.append((peer, place))

    def peer(self, *places: Place, paired: bool = True) -> Peer:
        host, port = places[0]
        return Peer(
            id=PeerId("b"), host=host, port=port, also=places[1:], tls=True,
            node_id=self.b.node_id if paired else None, certificate=self.b.certificate,
        )  # fmt: skip

    async def ask(self, peer: Peer, tls: ssl.SSLContext | None = None) -> Place:
        """Return where the peer was asked."""

        async def answer(place: Place) -> bytes:
            self.asked.append(place)
            try:
                await meet(*place, self.tls)
            except PeerUnreachable as fault:  # as the link would say it
                raise fault from aiohttp.ConnectionTimeoutError()
            if self.silent:
                raise AnswerLost("no answer")
            return b""

        await soon(self.ways.ask(peer, tls or self.tls, answer))
        return self.asked[-1]


def identity(folder: Path, name: str) -> NodeIdentity:
    path = folder / f"{name}.pem"
    make(path)
    return NodeIdentity.kept_in(path)


@pytest.fixture
def dialling(tmp_path: Path) -> Dialling:
    tmp_path.chmod(0o700)
    return Dialling(tmp_path)


@asynccontextmanager
async def listening(who: NodeIdentity) -> AsyncIterator[Place]:
    """Listen as a node does, as far as TLS goes."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0, ssl=who.serving(()))
    try:
        yield HOST, server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def nowhere() -> Place:
    with socket.create_server((HOST, 0)) as free:
        return HOST, free.getsockname()[1]


@pytest.fixture
def black_hole() -> Iterator[Place]:
    """Give a place that takes connections, and says nothing on them."""
    with socket.create_server((HOST, 0)) as silent:
        yield HOST, silent.getsockname()[1]


async def test_the_first_place_that_proves_the_key_is_asked(
    dialling: Dialling, nowhere: Place, black_hole: Place
) -> None:
    async with listening(dialling.b) as home, listening(dialling.mallory) as lie:
        dialling.seen = [black_hole, lie, home]

        where = await dialling.ask(dialling.peer(nowhere))

    assert where == home
    assert set(dialling.asked) == {home}
    assert dialling.kept == [("b", home)]


async def test_a_peer_that_is_no_more_where_it_was_is_found_by_the_same_question(
    dialling: Dialling, nowhere: Place
) -> None:
    async with listening(dialling.b) as second:
        async with listening(dialling.b) as first:
            dialling.seen = [nowhere]
            assert await dialling.ask(dialling.peer(first)) == first
        dialling.seen = [nowhere, second]

        assert await dialling.ask(dialling.peer(first)) == second


async def test_where_no_answer_came_back_it_is_looked_for_anew(dialling: Dialling, nowhere: Place) -> None:
    async with listening(dialling.b) as first, listening(dialling.b) as second:
        dialling.seen = [nowhere]
        await dialling.ask(dialling.peer(first))
        dialling.silent = True
        with pytest.raises(AnswerLost):
            await dialling.ask(dialling.peer(first))
        dialling.silent = False

        assert await dialling.ask(dialling.peer(nowhere, second)) == second


async def test_a_peer_that_is_nowhere_is_named_with_the_place_where_it_was(
    dialling: Dialling, nowhere: Place
) -> None:
    async with listening(dialling.mallory) as lie:
        dialling.seen = [lie]

        with pytest.raises(
            PeerUnreachable,
            match=rf"b at 127\.0\.0\.1 port {nowhere[1]}: Connection refused; .*1 other address",
        ):
            await dialling.ask(dialling.peer(nowhere))

    assert dialling.asked == []


async def test_a_configured_peer_with_a_pinned_key_is_found_too_and_stays_configured(
    dialling: Dialling, nowhere: Place
) -> None:
    async with listening(dialling.b) as home:
        dialling.seen = [home]

        assert await dialling.ask(dialling.peer(nowhere, paired=False)) == home

    assert dialling.kept == []


async def test_a_peer_that_has_proven_no_key_is_dialled_where_it_is_configured_alone(
    dialling: Dialling, nowhere: Place
) -> None:
    async with listening(dialling.b) as home:
        dialling.seen = [home]
        unknown = Peer(id=PeerId("b"), host=nowhere[0], port=nowhere[1])

        with pytest.raises(PeerUnreachable):
            await dialling.ask(unknown)

    assert dialling.asked == [nowhere]
