"""The shell around HTTP, over real sockets: what callers may take up, and what those get who want more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from lanmesh.faces.http import Route, application, body_of
from lanmesh.net.door import Limits
from lanmesh.net.head import names_of
from lanmesh.net.server import Listener, bind
from tests.fakes import soon, until
from tests.integration.loopback import at_once


@dataclass(frozen=True)
class Said:
    """An answer as it came over the socket."""

    status: int
    head: str
    body: bytes

    @property
    def code(self) -> str:
        assert "content-type: application/problem+json" in self.head
        assert msgspec.json.decode(self.body)["status"] == self.status
        return str(msgspec.json.decode(self.body)["code"])


class Talk:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, *said: bytes) -> "Talk":
        for part in said:
            self._writer.write(part)
        await soon(self._writer.drain())
        return self

    async def hear(self) -> Said:
        head = (await soon(self._reader.readuntil(b"\r\n\r\n"))).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await soon(self._reader.readexactly(int(fields.get("content-length", 0))))
        return Said(int(head.split(" ")[1]), head, body)

    async def ended(self) -> bytes:
        """Return what else came before the other side ended the connection."""
        try:
            return await soon(self._reader.read())
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._writer.close()


class Port:
    """A port with an app that answers with what it was sent, or holds its answer back."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.seen: list[str] = []
        self.number = 0
        self.connections: Callable[[], object] = list
        self._talks: list[Talk] = []

    async def echo(self, request: Request) -> Response:
        """Answer with the body."""
        self.seen.append(request.url.path)
        return Response(await body_of(request))

    async def hold(self, request: Request) -> Response:
        """Answer when the test says so."""
        self.seen.append(request.url.path)
        await self.go_on.wait()
        return Response(b"held")

    async def much(self, request: Request) -> Response:
        """Answer with more than a socket holds."""
        self.seen.append(request.url.path)
        return Response(b"x" * 50_000_000)

    async def connect(self) -> Talk:
        talk = Talk(*await soon(asyncio.open_connection("127.0.0.1", self.number)))
        self._talks.append(talk)
        return talk

    async def ask(self, *said: bytes) -> Said:
        return await (await (await self.connect()).say(*said)).hear()

    def close(self) -> None:
        for talk in self._talks:
            talk.close()


@asynccontextmanager
async def a_port(limits: Limits | None = None) -> AsyncIterator[Port]:
    port = Port()
    app = application(
        [
            Route("GET", "/hold", port.hold),
            Route("GET", "/much", port.much),
            Route("GET", "/echo", port.echo),
            Route("POST", "/echo", port.echo),
        ]
    )
    listener = Listener(app, bind("127.0.0.1", 0), names=names_of("desk"), limits=limits)
    port.number = listener.address[1]
    port.connections = lambda: listener._server.server_state.connections
    async with at_once(listener):
        try:
            yield port
        finally:
            port.go_on.set()
            port.close()


HOST = b"Host: desk\r\n"
GET = b"GET /echo HTTP/1.1\r\n" + HOST
POST = b"POST /echo HTTP/1.1\r\n" + HOST
END = b"\r\n"

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MANY = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(20))

MALFORMED = {
    "both lengths": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two content-lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "a negative content-length": POST + b"Content-Length: -3\r\n\r\n",
    "a content-length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "transfer-encoding gzip": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "two hosts": GET + HOST + END,
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "a wish that is none": GET + b"Expect: the-moon\r\n\r\n",
    "an old line end": b"GET /echo HTTP/1.1\nHost: desk\n\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a NUL in a header": GET + b"X: a\x00b\r\n\r\n",
    "a blank before a colon": GET + b"X : a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT evil.com:443 HTTP/1.1\r\nHost: desk\r\n\r\n",
    "a target that is none": b"GET \xff HTTP/1.1\r\nHost: desk\r\n\r\n",
    "an upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n1",
}
TOO_LARGE = {
    "101 headers": GET + b"".join(b"X-%d: 1\r\n" % number for number in range(100)) + END,
    "a header of 70 kB": GET + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    "a head of 20 kB in many headers": GET + MANY + END,
    "a target of 20 kB": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + END,
    "an endless header": GET + b"X: " + b"x" * 100_000,
    "trailers of 20 kB": CHUNKED + b"1\r\n1\r\n0\r\n" + MANY,
    "an endless chunk extension": CHUNKED + b"1;" + b"x" * 100_000,
}
REFUSED = [
    *((name, said, 400, "invalid-request") for name, said in MALFORMED.items()),
    *((name, said, 431, "head-too-large") for name, said in TOO_LARGE.items()),
    ("another host", b"GET /echo HTTP/1.1\r\nHost: evil.com\r\n\r\n", 421, "misdirected"),
    ("another host in the target", b"GET http://evil.com/ HTTP/1.1\r\n" + HOST + END, 421, "misdirected"),
    ("another origin", GET + b"Origin: https://evil.com\r\n\r\n", 403, "not-allowed"),
    ("a compressed body", POST + b"Content-Encoding: gzip\r\n\r\n", 415, "unsupported-media"),
    ("a form", POST + b"Content-Type: multipart/form-data\r\n\r\n", 415, "unsupported-media"),
    ("TRACE", b"TRACE /echo HTTP/1.1\r\nHost: desk\r\n\r\n", 405, "method-not-allowed"),
]


@pytest.mark.parametrize(
    ("said", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
@pytest.mark.parametrize("at_a_time", [1 << 20, 1000], ids=["at once", "in pieces"])
async def test_what_the_shell_does_not_take_is_refused_in_a_problem_document(
    said: bytes, status: int, code: str, at_a_time: int
) -> None:
    async with a_port() as port:
        talk = await port.connect()
        await talk.say(*(said[at : at + at_a_time] for at in range(0, len(said), at_a_time)))
        answer = await talk.hear()

        assert (answer.status, answer.code) == (status, code)
        assert (await port.ask(GET + END)).status == 200


@pytest.mark.parametrize(
    "said",
    [
        GET + END,
        b"\r\n\r\n" + GET + END,
        GET + b"Authorization:   Bearer x \t\r\n\r\n",
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        GET + b"".join(b"X-%d: 1\r\n" % number for number in range(99)) + END,
        GET + b"X: " + b"x" * 15_000 + b"\r\n\r\n",
        b"GET http://desk/echo HTTP/1.1\r\nHost: desk\r\n\r\n",
        b"GET /echo HTTP/1.0\r\n\r\n",
        POST + b"Content-Length: 3\r\n\r\nabc",
        POST + b"Content-Type: application/json; charset=utf-8\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\nX-Sum: 5\r\n\r\n",
    ],
)
async def test_what_is_as_it_should_be_reaches_the_app(said: bytes) -> None:
    async with a_port() as port:
        assert (await port.ask(said)).status == 200
        assert port.seen == ["/echo"]


async def test_a_wish_to_go_on_is_granted() -> None:
    async with a_port() as port:
        talk = await port.connect()
        await talk.say(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await talk.hear()).status == 100
        await talk.say(b"abc")
        assert (await talk.hear()).body == b"abc"


async def test_a_thousand_requests_in_a_row_are_answered_one_after_the_other() -> None:
    async with a_port() as port:
        talk = await port.connect()
        await talk.say((GET + END) * 1000)

        assert {(await talk.hear()).status for _ in range(1000)} == {200}


async def test_a_bad_request_behind_a_good_one_is_told_after_its_answer() -> None:
    async with a_port() as port:
        talk = await port.connect()
        await talk.say(b"GET /hold HTTP/1.1\r\nHost: desk\r\n\r\n", b"GET /echo HTTP/1.1\r\n\r\n")
        await until(lambda: port.seen == ["/hold"])
        port.go_on.set()

        assert [(await talk.hear()).status for _ in range(2)] == [200, 400]
        assert await talk.ended() == b""


SHORT = Limits(head_s=0.3, body_s=0.3, body_bytes=10, answer_s=0.3)


@pytest.mark.parametrize(
    "said", [b"G", b"\r\n", GET, GET + b"X: 1"], ids=["a letter", "a line", "half", "more"]
)
async def test_a_head_that_does_not_come_is_given_up(said: bytes) -> None:
    async with a_port(SHORT) as port:
        talk = await port.connect()
        await talk.say(said)
        answer = await talk.hear()

        assert (answer.status, answer.code) == (408, "too-slow")
        assert await talk.ended() == b""


async def test_a_second_head_that_does_not_come_is_given_up_too() -> None:
    async with a_port(SHORT) as port:
        talk = await port.connect()
        await talk.say(GET + END)
        assert (await talk.hear()).status == 200
        await talk.say(GET)
        assert (await talk.hear()).code == "too-slow"


async def test_a_connection_that_never_says_anything_is_closed() -> None:
    async with a_port(SHORT) as port:
        assert await (await port.connect()).ended() == b""


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"])
async def test_a_body_that_does_not_come_is_given_up(head: bytes) -> None:
    async with a_port(SHORT) as port:
        talk = await port.connect()
        await talk.say(POST + head + b"x")
        answer = await talk.hear()

        assert (answer.status, answer.code) == (408, "too-slow")
        assert await talk.ended() == b""


async def test_a_body_that_gets_on_may_take_its_time() -> None:
    async with a_port(Limits(body_s=0.02, body_bytes=0)) as port:
        talk = await port.connect()
        await talk.say(POST + b"Content-Length: 1000000\r\n\r\n")
        begun, sent = asyncio.get_running_loop().time(), 0
        while asyncio.get_running_loop().time() - begun < 0.1:  # five spans of time, a byte after the other
            await talk.say(b"x")
            sent += 1
        await talk.say(b"x" * (1_000_000 - sent))

        assert (await talk.hear()).status == 200


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with a_port(SHORT) as port:
        talk = await port.connect()
        await talk.say(b"GET /much HTTP/1.1\r\nHost: desk\r\n\r\n")
        await until(lambda: port.seen == ["/much"])

        await until(lambda: not port.connections())


async def test_a_body_that_goes_on_behind_its_answer_is_cut_off() -> None:
    async with a_port() as port:
        talk = await port.connect()
        await talk.say(POST + b"Content-Length: 1000000000000\r\n\r\n")
        assert (await talk.hear()).code == "too-large"
        with pytest.raises(ConnectionError):
            while True:
                await talk.say(b"x" * 65536)


async def test_one_address_has_a_number_of_connections_and_the_idle_make_way() -> None:
    async with a_port(Limits(per_address=3)) as port:
        idle, *held = [await port.connect() for _ in range(3)]
        await idle.say(GET + END)
        assert (await idle.hear()).status == 200
        for talk in held:
            await talk.say(b"GET /hold HTTP/1.1\r\nHost: desk\r\n\r\n")
        await until(lambda: port.seen.count("/hold") == 2)

        third = await port.connect()
        await third.say(b"GET /hold HTTP/1.1\r\nHost: desk\r\n\r\n")
        assert await idle.ended() == b""
        await until(lambda: port.seen.count("/hold") == 3)
        refused = await (await port.connect()).hear()
        assert (refused.status, refused.code) == (429, "too-busy")
        assert "retry-after: 5" in refused.head

        port.go_on.set()
        assert [(await talk.hear()).body for talk in (*held, third)] == [b"held"] * 3
        assert (await port.ask(GET + END)).status == 200


async def test_all_addresses_together_have_a_number_of_connections() -> None:
    async with a_port(Limits(connections=2)) as port:
        for _ in range(2):
            await (await port.connect()).say(b"GET /hold HTTP/1.1\r\nHost: desk\r\n\r\n")
        await until(lambda: len(port.seen) == 2)

        assert (await (await port.connect()).hear()).status == 429
