"""Live links between two nodes over real sockets: who dials, which counts, and when one ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
import pytest

from lanmesh.engine.callers import Caller
from lanmesh.errors import PeerUnreachable
from lanmesh.faces.http import application
from lanmesh.faces.rest import Rest
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import Peer, Place
from lanmesh.model.task import AcceptMode, TaskState
from lanmesh.net.calls import Calls
from lanmesh.net.channel import BEAT_S, Channel
from lanmesh.net.dialling import Ways
from lanmesh.net.identity import NodeIdentity, make
from lanmesh.net.link import HttpLink
from lanmesh.net.live import Links
from lanmesh.net.server import Listener, bind
from lanmesh.net.websocket import AT_EASE
from lanmesh.protocol import codec
from lanmesh.store.database import Change, Topic
from tests.fakes import Mesh, NodeUnderTest, a_message
from tests.integration.loopback import at_once

T = TypeVar("T")

PATIENCE_S = 30.0
"""What real sockets take longer for fails the test."""


async def until(condition: Callable[[], bool]) -> None:
    """Let real sockets do their work until something is so; no time passes."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # any part of either node may make it so
            await asyncio.sleep(0.001)


async def soon(waiting: Awaitable[T]) -> T:
    return await asyncio.wait_for(waiting, PATIENCE_S)


class End:
    """A node of a mesh in memory, with a mesh port and a key of its own."""

    def __init__(self, node: NodeUnderTest, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        make(folder / "identity.pem")
        self.node = node
        self.identity = NodeIdentity.kept_in(folder / "identity.pem")
        self.socket = bind("127.0.0.1", 0)
        self.peers: dict[PeerId, Peer] = {}
        self.met: list[str] = []
        self.parted: list[str] = []
        self.heard: list[str] = []
        self.told: list[bytes] = []

    @property
    def name(self) -> PeerId:
        return self.node.name

    def knows(self, other: "End", *, port: int | None = None) -> None:
        self.peers[other.name] = Peer(
            id=other.name,
            host="127.0.0.1",
            port=other.socket.getsockname()[1] if port is None else port,
            tls=True,
            node_id=other.identity.node_id,
            certificate=other.identity.certificate,
        )

    def begin(self, calls: Calls, other: "End", *, links: bool) -> Listener:
        async def met(peer: PeerId, _boot: str | None) -> None:
            self.met.append(peer)

        async def told(_peer: PeerId, profile: bytes) -> None:
            self.told.append(profile)

        async def pin(_peer: PeerId, _certificate: bytes) -> bool:
            return True

        async def moved(_peer: PeerId, _place: Place) -> None:
            raise AssertionError("nobody moved")

        ways = Ways(lambda _node_id: [], moved)
        self.links = Links(
            self.peers,
            self.node.tokens,
            calls=calls,
            identity=self.identity,
            ways=ways,
            events=self.node.events,
            clock=self.node.clock,
            chance=self.node.chance,
            boot=self.node.boot,
            met=met,
            parted=self.parted.append,
            heard=self.heard.append,
            look=lambda peer: self.http.look(peer),  # noqa: PLW0108  # that uses the links
            profile=lambda peer: self.node.node.peers.own_profile(Caller(peer=peer)),
            told=told,
        )
        self.http = HttpLink(
            self.peers,
            self.node.tokens,
            calls=calls,
            identity=self.identity,
            pin=pin,
            ways=ways,
            live=self.links.to,
            heard=self.heard.append,
        )
        self.app = application(Rest(self.node.node).routes())
        tls = self.identity.serving([other.identity.certificate])
        return Listener(self.links.beside(self.app), self.socket, tls=tls, links=links)

    def channels(self, other: "End") -> list[Channel]:
        return [channel for channel in self.links._channels.get(other.name, ()) if channel.open]

    def linked(self, other: "End") -> bool:
        return self.links.to(other.name) is not None


@asynccontextmanager
async def two(mesh: Mesh, folder: Path, *, links: bool = True) -> AsyncIterator[tuple[End, End]]:
    """Give two ends that serve and do not know each other yet; the first has the smaller key.

    Without `links` they open none, as where a proxy lets nothing through but requests.
    """
    nodes = [mesh.describe("a", peers=["b"]), mesh.describe("b", peers=["a"])]
    for node in nodes:
        await node.start()
    ends = [End(node, folder / f"key-{node.name}") for node in nodes]
    ends.sort(key=lambda end: end.identity.node_id)
    async with AsyncExitStack() as stack:
        calls = await stack.enter_async_context(Calls())
        for end, other in (ends, reversed(ends)):
            await stack.enter_async_context(at_once(end.begin(calls, other, links=links)))
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(end.links.run(end.app)) for end in ends]
            await asyncio.sleep(0)
            try:
                yield ends[0], ends[1]
            finally:
                for each in running:
                    each.cancel()


async def in_time(mesh: Mesh, condition: Callable[[], bool]) -> None:
    """Let time pass, no faster than real sockets can follow, until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await mesh.clock.advance(0.5)
            await asyncio.sleep(0.05)


async def bring(one: End, other: End) -> None:
    """Send a message over the link of one to the other."""
    channel = one.links.to(other.name)
    assert channel is not None
    body = codec.encode_envelope(a_message(sender=one.name))
    await soon(channel.ask("POST", "/lan/message", body, PATIENCE_S))


def look(*ends: End) -> None:
    """Let the ends see whom they know now."""
    for end in ends:
        end.node.events.publish([Change(Topic.PAIRING)])


async def dialled(a: End, b: End) -> None:
    """Let a link come up that only the first can dial."""
    a.knows(b)
    b.knows(a, port=0)
    look(a, b)
    await until(lambda: a.linked(b) and b.linked(a))


async def test_a_link_that_one_side_dials_carries_envelopes_both_ways(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        await bring(a, b)
        await bring(b, a)
        profile = await soon(b.http.profile(a.name))

        for end in (a, b):
            assert [message.text for message in end.node.node.mail.inbox(10)] == ["hello"]
        assert f'"id":"{a.name}"'.encode() in profile
        assert (a.met, b.met) == ([b.name], [a.name])


async def test_nothing_goes_to_a_node_that_cannot_be_dialled_while_it_has_no_link(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with two(mesh, tmp_path) as (a, b):
        a.knows(b, port=0)
        look(a)
        with pytest.raises(PeerUnreachable, match="listens nowhere"):
            await soon(a.http.send(b.name, a_message(sender=a.name)))


async def test_two_that_dial_at_once_end_with_the_link_of_the_smaller_key(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (small, large):
        small.knows(large)
        large.knows(small)
        async with asyncio.TaskGroup() as group:
            dials = [
                group.create_task(one.links._dial(one.peers[other.name], other.identity.node_id))
                for one, other in ((small, large), (large, small))
            ]
            # Which of the two comes up first depends on the machine; both do.
            await until(lambda: len(small.met) == 2 and len(large.met) == 2)
            await in_time(mesh, lambda: len(small.links._all()) == 1 and len(large.links._all()) == 1)

            assert (small.parted, large.parted) == ([], [])
            assert small.channels(large)[0].dialled
            assert not large.channels(small)[0].dialled
            await bring(large, small)
            assert not dials[0].done()
            dials[0].cancel()


async def test_the_larger_key_lets_the_smaller_dial_first(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (small, large):
        small.knows(large)
        large.knows(small)
        look(large, small)
        await until(lambda: small.linked(large) and large.linked(small))
        await mesh.clock.advance(5)

        assert [channel.dialled for channel in small.channels(large)] == [True]
        assert [channel.dialled for channel in large.channels(small)] == [False]


async def test_a_link_that_was_lost_is_dialled_anew(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        b.links.drop(a.identity.node_id)
        await until(lambda: not a.linked(b) and not b.linked(a))
        await in_time(mesh, lambda: a.linked(b) and b.linked(a))

        assert (a.met, a.parted) == ([b.name] * 2, [b.name])


async def test_a_link_ends_once_its_peer_is_none_any_more(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        del b.peers[a.name]
        look(b)
        await in_time(mesh, lambda: not b.links._all() and not a.linked(b))


async def test_a_link_is_opened_anew_with_new_tokens(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        b.node.tokens.inbound_tokens["new"] = a.name
        a.node.tokens.outbound_tokens[b.name] = "new"
        look(a)
        await in_time(mesh, lambda: [channel.given for channel in a.channels(b)] == ["new"])


@pytest.mark.parametrize(
    ("token", "shown", "status"),
    [("wrong", True, 401), ("right", False, 403), ("shared", True, 403), ("", True, 401)],
)
async def test_a_link_is_for_who_has_the_token_and_the_key(
    mesh: Mesh, tmp_path: Path, token: str, shown: bool, status: int
) -> None:
    async with two(mesh, tmp_path) as (a, b):
        b.knows(a, port=0)
        tls = a.identity.dialling(b.identity.certificate, shown=shown)
        presented = {"right": f"{a.name}@{b.name}", "shared": f"shared@{b.name}"}.get(token, token)

        assert await refused(b.socket.getsockname()[1], tls, presented) == status
        assert not b.linked(a)


async def refused(port: int, tls: ssl.SSLContext, token: str, path: str = "/lan/link") -> int:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as fault:
            await soon(session.ws_connect(f"wss://127.0.0.1:{port}{path}", ssl=tls))
    return fault.value.status


async def test_there_is_a_websocket_at_one_address_only(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        b.knows(a, port=0)
        tls = a.identity.dialling(b.identity.certificate, shown=True)
        status = await refused(b.socket.getsockname()[1], tls, f"{a.name}@{b.name}", "/lan/health")

        assert status == 200


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x81\x05hello",
        b"\x82\x85\0\0\0\0hello",
        b"\x81\xfe\x7f\xff\0\0\0\0{",
        b"\x89\x80\0\0\0\0" * 2000,
        b"\x8a\x80\0\0\0\0" * 2000,
        b"\x01\x80\0\0\0\0" + b"\0\x80\0\0\0\0" * 2000,
    ],
    ids=["end", "not masked", "binary", "cut off", "pings", "pongs", "fragments"],
)
async def test_who_talks_no_websocket_over_a_link_loses_it(mesh: Mesh, tmp_path: Path, said: bytes) -> None:
    async with two(mesh, tmp_path) as (a, b):
        a.knows(b)
        b.knows(a, port=0)
        tls = a.identity.dialling(b.identity.certificate, shown=True)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", b.socket.getsockname()[1], ssl=tls, server_hostname=""
        )
        lines = [
            "GET /lan/link HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {a.name}@{b.name}",
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ]  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        answer = await soon(reader.readuntil(b"\r\n\r\n"))
        writer.write(b'\x81\x90\0\0\0\0{"kind":"hello"}')
        await until(lambda: b.linked(a))
        writer.write(said)
        if said.endswith(b"{") or not said:  # a frame that is cut off
            writer.close()
        await until(lambda: not b.linked(a))
        writer.close()

        assert answer.startswith(b"HTTP/1.1 101")


async def test_more_said_than_the_request_before_the_answer_is_cut_off(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        b.knows(a, port=0)
        tls = a.identity.dialling(b.identity.certificate, shown=True)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", b.socket.getsockname()[1], ssl=tls, server_hostname=""
        )
        head = (
            "GET /lan/link HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write(head.encode() + b"\x81\x80\0\0\0\0")
        with suppress(ConnectionError):
            assert await soon(reader.read()) == b""
        writer.close()


async def test_what_is_long_goes_over_the_link_both_ways(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        text = 'a "long" \\u00e4 \u00e4 word ' * 20_000
        for one, other in ((a, b), (b, a)):
            channel = one.links.to(other.name)
            assert channel is not None
            body = codec.encode_envelope(a_message(sender=one.name, text=text))
            await soon(channel.ask("POST", "/lan/message", body, PATIENCE_S))

        for end in (a, b):
            assert [message.text for message in end.node.node.mail.inbox(10)] == [text]


async def test_who_floods_a_link_loses_it_and_opens_no_other_at_once(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        channel = a.links.to(b.name)
        assert channel is not None
        with suppress(ConnectionError):
            for _ in range(2 * int(AT_EASE)):
                await soon(channel._socket.send('{"kind":"beat"}'))
        await until(lambda: not a.linked(b) and not b.linked(a))
        tls = a.identity.dialling(b.identity.certificate, shown=True)

        assert await refused(b.socket.getsockname()[1], tls, f"{a.name}@{b.name}") == 429


async def test_a_peer_that_opens_no_link_is_asked_again_and_again_whether_it_is_there(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with two(mesh, tmp_path, links=False) as (a, b):
        a.knows(b)
        look(a)
        await in_time(mesh, lambda: len(a.heard) >= 8)

        assert set(a.heard) == {b.name}
        assert not a.linked(b)


async def test_reports_travel_on_the_link(mesh: Mesh, tmp_path: Path) -> None:
    async with two(mesh, tmp_path) as (a, b):
        await dialled(a, b)
        asked = await a.node.delegate(b.name)
        await until(lambda: a.node.task(asked.local_id).final)  # by the way in memory
        report = await soon(a.http.report(b.name, asked.wire_id, wait_s=25, version=0))

        assert (report.state, report.result) == (TaskState.COMPLETED, "done: count")


async def test_each_side_tells_its_profile_when_the_link_opens_and_once_it_has_changed(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with two(mesh, tmp_path) as (a, b):
        a.knows(b)
        b.knows(a, port=0)
        look(a, b)
        await until(lambda: bool(a.told and b.told))
        await b.node.node.modes.decide(AcceptMode.OFF)
        await mesh.clock.advance(BEAT_S * 2)
        await until(lambda: len(a.told) == 2)

        modes = [msgspec.json.decode(said)["acceptMode"] for said in a.told]
        assert modes == ["auto", "off"]
        assert len(b.told) == 1
