"""The link over real sockets: what each kind of answer, and of silence, tells of an envelope's fate."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lanmesh.errors import (
    AnswerLost,
    IdConflict,
    InvalidConfig,
    MeshError,
    NotAllowed,
    PeerUnreachable,
    TooBusy,
)
from lanmesh.faces.http import application
from lanmesh.faces.rest import Rest
from lanmesh.model.ids import NodeId, PeerId, WireId
from lanmesh.model.peer import Peer, Place
from lanmesh.model.report import TaskReport
from lanmesh.model.task import TaskState
from lanmesh.net.calls import MOST_AT_ONE, Calls
from lanmesh.net.dialling import Ways
from lanmesh.net.files import HttpFiles
from lanmesh.net.identity import NodeIdentity, make
from lanmesh.net.link import HttpLink
from lanmesh.net.server import Listener, bind
from tests.fakes import FakeTokens, Mesh, a_message, a_result, a_task, soon, until
from tests.integration.desk import CAT, ref
from tests.integration.loopback import answering, raw_server

B = PeerId("b")
TOKEN = "a@b"


@asynccontextmanager
async def a_link(
    port: int, host: str = "127.0.0.1", token: str | None = TOKEN, peer: Peer | None = None
) -> AsyncIterator[HttpLink]:
    known = peer or Peer(id=B, host=host, port=port)
    tokens = FakeTokens({}, {} if token is None else {B: token})
    with TemporaryDirectory() as folder:
        async with Calls() as calls:
            yield link_over(calls, Path(folder), {B: known}, tokens)


def link_over(calls: Calls, folder: Path, peers: Mapping[PeerId, Peer], tokens: FakeTokens) -> HttpLink:
    async def pin(_peer: PeerId, _certificate: bytes) -> bool:
        return True

    async def moved(_peer: PeerId, _place: Place) -> None:
        raise AssertionError("nobody moved")

    ways = Ways(lambda _node_id: [], moved)
    make(folder / "identity.pem")
    identity = NodeIdentity.kept_in(folder / "identity.pem")
    return HttpLink(peers, tokens, calls=calls, identity=identity, pin=pin, ways=ways)


async def sent_to(port: int) -> TaskReport | None:
    async with a_link(port) as link:
        return await soon(link.send(B, a_task()))


async def test_who_gets_no_connection_while_all_are_in_use_has_sent_nothing() -> None:
    held = asyncio.Event()
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await held.wait()
        writer.close()

    async with raw_server(answer) as port, a_link(port) as link, asyncio.TaskGroup() as group:
        waiting = [group.create_task(unheard(link)) for _ in range(MOST_AT_ONE)]
        await until(lambda: asked == MOST_AT_ONE)
        with pytest.raises(PeerUnreachable, match="no connection within"):
            await soon(link.send(B, a_task()))
        held.set()
        await soon(asyncio.gather(*waiting))
    assert asked == MOST_AT_ONE


async def unheard(link: HttpLink) -> None:
    with suppress(MeshError):
        await link.send(B, a_task())


async def fault_of(answer: bytes) -> MeshError:
    async with raw_server(answering(answer)) as port:
        with pytest.raises(MeshError) as refusal:
            await sent_to(port)
    return refusal.value


def http(status: str, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def test_a_node_takes_what_a_link_sends(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"])
    await b.start()
    listener = Listener(application(Rest(b.node).routes()), bind("127.0.0.1", 0))
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.serve())
        async with a_link(listener.address[1]) as link:
            stored = await soon(link.send(B, a_task(sender="a")))
            nothing = await soon(link.send(B, a_message(sender="a")))
            await until(lambda: b.task("t-1").final)
            report = await soon(link.report(B, WireId("t-1"), wait_s=25, version=0))
            asked = await b.delegate("a")
            answer = await soon(link.send(B, a_result(asked, sender="a")))
            profile = await soon(link.profile(B))
            with pytest.raises(IdConflict):
                await soon(link.send(B, a_task(sender="a", text="something else")))
            with pytest.raises(NotAllowed):
                await soon(link.send(B, a_task("t-2", sender="c")))
        listener.stop()

    assert stored is not None
    assert (stored.state, nothing) == (TaskState.SUBMITTED, None)
    assert (report.state, report.result) == (TaskState.COMPLETED, "done: count")
    assert answer is not None
    assert answer.state is TaskState.COMPLETED
    assert b'"id":"b"' in profile
    assert [message.text for message in b.node.mail.inbox(10)] == ["hello"]


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(PeerUnreachable, match=f"b at 127.0.0.1 port {port}: Connection refused$"):
        await sent_to(port)


async def test_a_host_without_an_address_is_unreachable() -> None:
    async with a_link(1, host="nowhere.invalid") as link:
        with pytest.raises(PeerUnreachable):
            await soon(link.send(B, a_task()))


async def test_nothing_is_sent_without_a_token_or_to_a_peer_that_is_not_configured() -> None:
    async with a_link(1, token=None) as link:
        with pytest.raises(PeerUnreachable, match="no token for b"):
            await soon(link.send(B, a_task()))
        with pytest.raises(PeerUnreachable, match="no peer any more"):
            await soon(link.send(PeerId("c"), a_task()))
    with TemporaryDirectory() as folder, pytest.raises(PeerUnreachable, match="stopping"):
        closed = link_over(
            Calls(), Path(folder), {B: Peer(id=B, host="127.0.0.1", port=1)}, FakeTokens({}, {B: TOKEN})
        )
        await soon(closed.profile(B))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
        http("202 Accepted", "a page of some router"),
        http("202 Accepted", '{"state": "submitted"}'),
        http("200 OK", '{"taskId": "t-1", "state": "asleep"}'),
        http("500 Internal Server Error"),
        http("502 Bad Gateway", "<html>"),
        http("504 Gateway Timeout"),
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
    ],
    ids=["closed", "not-http", "cut", "no-json", "no-id", "no-state", "500", "502", "504", "endless"],
)
async def test_an_answer_that_proves_nothing_leaves_it_unknown(answer: bytes) -> None:
    assert type(await fault_of(answer)) is AnswerLost


@pytest.mark.parametrize(
    "answer",
    [
        http("401 Unauthorized"),
        http("301 Moved Permanently", Location="http://127.0.0.1/"),
        http("302 Found", Location="http://127.0.0.1/"),
        http("404 Not Found", "<html>"),
        http("403 Forbidden", '{"error": "some other server"}'),
        http("418 I'm a teapot", "[]"),
    ],
    ids=["401", "301", "302", "404", "403", "418"],
)
async def test_only_a_node_of_the_mesh_that_knows_us_can_refuse_for_good(answer: bytes) -> None:
    assert type(await fault_of(answer)) is PeerUnreachable


@pytest.mark.parametrize(
    "status", ["408 Request Timeout", "425 Too Early", "429 Too Many", "503 Unavailable", "507 Full"]
)
async def test_not_now_is_told_from_never_with_the_time_to_wait(status: str) -> None:
    later, whenever = await fault_of(http(status, Retry_After="7")), await fault_of(http(status))
    odd = await fault_of(http(status, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"))

    assert {type(fault) for fault in (later, whenever, odd)} == {TooBusy}
    assert [fault.retry_after_s for fault in (later, whenever, odd)] == [7.0, None, None]


@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (http("409 Conflict", '{"code": "id-conflict", "detail": "used"}'), "id-conflict", "used"),
        (
            http("403 Forbidden", '{"code": "tasks-not-accepted", "detail": "off"}'),
            "tasks-not-accepted",
            "off",
        ),
    ],
)
async def test_a_refusal_is_the_error_that_the_peer_names(answer: bytes, code: str, detail: str) -> None:
    fault = await fault_of(answer)

    assert (fault.code, fault.detail, fault.retryable) == (code, detail, False)


async def test_a_profile_that_is_none_is_no_profile() -> None:
    for body in ("[]", '{"schemaVersion": "9.0", "id": "b"}'):
        async with raw_server(answering(http("200 OK", body))) as port, a_link(port) as link:
            with pytest.raises(AnswerLost, match="no profile"):
                await soon(link.profile(B))


ASKING: Mapping[str, Callable[[HttpLink], Awaitable[object]]] = {
    "a request": lambda link: link.send(B, a_task()),
    "a question that is held": lambda link: link.report(B, WireId("t-1"), wait_s=25, version=0),
    "a file that is given": lambda link: HttpFiles(link).give(B, ref(CAT), 0, without_end),
    "a file that is fetched": lambda link: fetched(HttpFiles(link)),
}


async def without_end(_begin: int) -> AsyncGenerator[bytes, None]:
    yield CAT[:200_000]
    await asyncio.Event().wait()


async def fetched(files: HttpFiles) -> None:
    async with files.fetch(B, ref(CAT), 0) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize("what", ASKING)
async def test_what_is_under_way_with_a_peer_ends_once_it_is_none_any_more(what: str) -> None:
    asked, parted = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await reader.readexactly(100_000)
        elif b"/lan/blob/" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1500000\r\n\r\n" + CAT[:100_000])
        asked.set()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        parted.set()

    async with raw_server(talk) as port:
        peer = Peer(id=B, host="127.0.0.1", port=port, node_id=NodeId("b" * 52))
        async with a_link(port, peer=peer) as link, asyncio.TaskGroup() as group:
            asking = group.create_task(_fault(ASKING[what](link)))
            await soon(asked.wait())
            link.drop(NodeId("c" * 52))
            link.drop(NodeId("b" * 52))
            fault = await soon(asking)
            await soon(parted.wait())

    assert (type(fault), "no peer any more" in fault.detail) == (AnswerLost, True)


async def _fault(asking: Awaitable[object]) -> MeshError:
    with pytest.raises(MeshError) as refusal:
        await asking
    return refusal.value


async def test_a_token_goes_to_its_peer_alone_and_in_the_header() -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(http("202 Accepted", '{"taskId": "t-1", "state": "submitted"}'))
        await writer.drain()

    async with raw_server(talk) as port:
        await sent_to(port)

    assert heads[0].startswith(b"POST /lan/task HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer a@b\r\n" in heads[0]


async def test_a_port_that_is_taken_or_not_ours_is_said_so() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidConfig, match=f"cannot listen on 127.0.0.1 port {port}: .*in use"):
            bind("127.0.0.1", port)
    with pytest.raises(InvalidConfig, match=r"cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


async def test_answers_on_a_kept_connection_are_not_held_back() -> None:
    undelayed: asyncio.Queue[int] = asyncio.Queue()

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        await undelayed.put(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = bind("127.0.0.1", 0)
    async with await asyncio.start_server(talk, sock=listening):
        _, writer = await soon(asyncio.open_connection(*listening.getsockname()))
        assert await soon(undelayed.get()) != 0
        writer.close()
