"""One live link between two ends in memory: what is asked, what is answered, and what its end means."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from lanmesh.errors import (
    AnswerLost,
    IdConflict,
    MeshError,
    PeerUnreachable,
    RouteNotFound,
    StorageFailed,
    TooBusy,
)
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.pace import Pace
from lanmesh.net.channel import AT_ONCE, BEAT_S, NEWS_S, SILENT_S, Channel
from lanmesh.net.inward import Reply
from lanmesh.net.websocket import AT_EASE, PER_S
from lanmesh.protocol import frames, problems
from lanmesh.protocol.frames import ANSWER, ASK, BEAT, HELLO, Frame
from tests.fakes import FakeClock, FakeRandom, settle, soon, until

QUESTION = ("POST", "/lan/message", b'{"text":"hello"}')


class Wire:
    """One end of a WebSocket in memory. Implements `Socket`."""

    def __init__(self) -> None:
        self.other: Wire = self
        self.holds = False
        """Whether what is sent stays on the way, as where the other side is suspended."""
        self.sent: list[str] = []
        self.why = ""
        """What the other side was told that it did."""
        self.room = math.inf
        """How many characters the network takes, before more is given."""
        self._turn = asyncio.Lock()
        self._more = asyncio.Event()
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._closed = False

    async def send(self, text: str) -> None:
        async with self._turn:
            while self.room < len(text):
                self._more.clear()
                await self._more.wait()
            self.room -= len(text)
        if self._closed:
            raise ConnectionResetError
        self.sent.append(text)
        if not self.holds:
            self.other._texts.put_nowait(text)

    def give(self, characters: float) -> None:
        self.room += characters
        self._more.set()

    async def receive(self) -> str | None:
        return await self._texts.get()

    async def close(self, why: str = "") -> None:
        self.why = self.why or why
        for end in (self, self.other):
            if not end._closed:
                end._closed = True
                end._texts.put_nowait(None)


class End:
    """A node at one end, which answers as the test wants."""

    def __init__(self, name: str, other: str, clock: FakeClock, group: asyncio.TaskGroup) -> None:
        self.wire = Wire()
        self.asked: list[tuple[str, str, bytes, str]] = []
        self.reply = Reply(status=202, body=b'{"stored":true}')
        self.heard: list[float] = []
        self.told: list[bytes] = []
        self.news = [f'{{"of":"{name}"}}'.encode()]
        self.broken: Exception | None = None
        """What this node's own part fails with."""
        self.clock = clock
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.seen = asyncio.Event()
        self.channel = Channel(
            self.wire,
            peer=PeerId(other),
            node_id=NodeId(other),
            dialled=name == "a",
            given=f"{name}@{other}",
            token=None if name == "a" else f"{other}@{name}",
            pace=Pace(AT_EASE, PER_S, clock.monotonic()),
            answer=self._answer,
            heard=lambda: self.heard.append(clock.monotonic()),
            news=self._news,
            told=self._told,
            spawn=group.create_task,
            clock=clock,
            chance=FakeRandom(name, 0.5),
        )

    async def ask(
        self, method: str = QUESTION[0], path: str = QUESTION[1], body: bytes = QUESTION[2]
    ) -> bytes:
        return await soon(self.channel.ask(method, path, body, 20.0))

    def _news(self) -> bytes:
        if self.broken is not None:
            raise self.broken
        return self.news.pop(0) if self.news else b""

    async def _told(self, news: bytes) -> None:
        self.told.append(news)
        await self.go_on.wait()

    async def _answer(self, method: str, path: str, body: bytes, token: str) -> Reply:
        self.asked.append((method, path, body, token))
        await self.go_on.wait()
        return self.reply


@asynccontextmanager
async def a_link() -> AsyncIterator[tuple[End, End, FakeClock, list[asyncio.Task[None]]]]:
    clock = FakeClock()
    async with asyncio.TaskGroup() as group:
        a, b = End("a", "b", clock, group), End("b", "a", clock, group)
        a.wire.other, b.wire.other = b.wire, a.wire
        await soon(
            asyncio.gather(
                a.channel.greet(Frame(kind=HELLO, boot="a-1")),
                b.channel.greet(Frame(kind=HELLO, boot="b-1", token="b@a")),
            )
        )
        running = [group.create_task(end.channel.run(end.seen)) for end in (a, b)]
        await settle()
        try:
            yield a, b, clock, running
        finally:
            for end in (a, b):
                end.go_on.set()
                end.channel.end()


async def test_both_sides_ask_and_each_presents_the_token_that_it_was_given() -> None:
    async with a_link() as (a, b, _, _):
        answers = await a.ask(), await b.ask("GET", "/lan/task/t-1?wait=25&version=3", b"")

    assert answers == (b'{"stored":true}', b'{"stored":true}')
    assert b.asked == [(*QUESTION, "a@b")]
    assert a.asked == [("GET", "/lan/task/t-1?wait=25&version=3", b"", "b@a")]
    assert (a.channel.boot, b.channel.boot) == ("b-1", "a-1")


async def test_a_refusal_is_the_same_error_as_over_http() -> None:
    async with a_link() as (a, b, _, _):
        b.reply = Reply(status=409, body=problems.encode(IdConflict("other content")))
        with pytest.raises(IdConflict, match="other content"):
            await a.ask()

        b.reply = Reply(status=429, body=problems.encode(TooBusy("full")), retry_after_s=7.0)
        with pytest.raises(TooBusy) as busy:
            await a.ask()
        assert busy.value.retry_after_s == 7.0

        b.reply = Reply(status=500, body=problems.encode(MeshError("broken")))
        with pytest.raises(AnswerLost):
            await a.ask()


async def test_a_link_that_ends_while_an_answer_is_awaited_leaves_the_answer_lost() -> None:
    async with a_link() as (a, b, _, running):
        b.go_on.clear()
        asking = asyncio.create_task(a.ask())
        await settle()
        await b.wire.close()

        with pytest.raises(AnswerLost):
            await asking
        with pytest.raises(AnswerLost):
            await a.ask()
        await soon(asyncio.wait(running))
        assert b.asked == [(*QUESTION, "a@b")]


async def test_what_was_brought_is_taken_to_its_end_though_its_link_has_ended() -> None:
    async with a_link() as (a, b, _, running):
        b.go_on.clear()
        bringing, looking = (
            asyncio.create_task(a.ask()),
            asyncio.create_task(a.ask("GET", "/lan/task/t-1?wait=25", b"")),
        )
        await settle()
        serving = dict(b.channel._serving)
        await b.wire.close()
        await soon(asyncio.gather(bringing, looking, *running, return_exceptions=True))
        b.go_on.set()
        await soon(asyncio.wait(serving))

    assert {method: task.cancelled() for task, method in serving.items()} == {"POST": False, "GET": True}


async def test_a_side_that_is_silent_for_long_is_given_up() -> None:
    async with a_link() as (_, b, clock, running):
        b.wire.holds = True
        await clock.advance(SILENT_S + 2 * BEAT_S)

        await soon(asyncio.wait(running))


async def test_a_link_lives_for_as_long_as_both_sides_do() -> None:
    async with a_link() as (a, _, clock, running):
        await clock.advance(10 * SILENT_S)

        assert not any(task.done() for task in running)
        assert await a.ask() == b'{"stored":true}'


async def test_a_node_that_was_held_up_itself_does_not_take_that_for_silence() -> None:
    async with a_link() as (a, _, clock, running):
        await clock.jump(20 * SILENT_S)

        assert not any(task.done() for task in running)
        assert await a.ask() == b'{"stored":true}'


async def test_too_many_questions_at_once_are_put_off() -> None:
    async with a_link() as (a, b, _, _):
        b.go_on.clear()
        asking = [asyncio.create_task(a.ask()) for _ in range(AT_ONCE + 1)]
        with pytest.raises(TooBusy):
            await asking[-1]
        b.go_on.set()

        assert await soon(asyncio.gather(*asking[:-1])) == [b'{"stored":true}'] * AT_ONCE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/lan/pair/start"),
        ("GET", "/lan/link"),
        ("GET", "/lan/task/t-1/events"),
        ("GET", "/op/status"),
        ("GET", "/lan/task/../../op/status"),
        ("DELETE", "/lan/task/t-1"),
        ("GET", "/lan/health\r\nX: y"),
    ],
)
async def test_only_what_is_carried_can_be_asked(method: str, path: str) -> None:
    async with a_link() as (a, b, _, _):
        with pytest.raises(RouteNotFound):
            await a.ask(method, path, b"")

        assert b.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"kind":1}',
        '{"kind":"ask","id":-1}',
        '{"kind":"ask","body":' + "[" * 100_000,
    ],
)
async def test_what_is_no_frame_ends_the_link(text: str) -> None:
    async with a_link() as (a, _, _, running):
        await a.wire.send(text)

        await soon(asyncio.wait(running))


async def test_kinds_and_answers_that_nobody_waits_for_are_passed_over() -> None:
    async with a_link() as (a, _, _, _):
        await a.wire.send('{"kind":"song","verse":[1,2]}')
        await a.wire.send(frames.encode(Frame(kind=ANSWER, id=77, status=200)))

        assert await a.ask() == b'{"stored":true}'


async def test_a_token_that_counts_no_more_ends_the_link() -> None:
    async with a_link() as (a, b, _, running):
        b.reply = Reply(status=401, body=b"{}")
        with pytest.raises(PeerUnreachable):
            await a.ask()

        await soon(asyncio.wait(running))


async def test_a_link_that_is_left_answers_first_what_is_under_way() -> None:
    async with a_link() as (a, b, clock, running):
        b.go_on.clear()
        asking = asyncio.create_task(a.ask())
        await settle()
        leaving = asyncio.create_task(a.channel.leave())
        await clock.advance(2)
        assert not leaving.done()
        b.go_on.set()

        assert await asking == b'{"stored":true}'
        await soon(asyncio.wait([leaving, *running]))


@pytest.mark.parametrize("said", ["", "hello", '{"kind":"beat"}', None])
async def test_who_does_not_greet_is_not_spoken_to(said: str | None) -> None:
    async with asyncio.TaskGroup() as group:
        a = End("a", "b", FakeClock(), group)
        other = Wire()
        a.wire.other, other.other = other, a.wire
        await (other.close() if said is None else other.send(said))

        with pytest.raises(PeerUnreachable, match="does not greet"):
            await soon(a.channel.greet(Frame(kind=HELLO)))


def test_a_frame_is_what_it_was() -> None:
    asked = Frame(kind=ASK, id=1, method="POST", path="/lan/task", body=msgspec.Raw(b'{"a":[1,"\\u00e4"]}'))

    assert frames.decode(frames.encode(asked)) == asked
    assert frames.encode(Frame(kind="beat")) == '{"kind":"beat"}'


async def test_a_peer_that_is_seen_and_answers_keeps_its_link() -> None:
    async with a_link() as (a, b, clock, _):
        a.seen.set()
        await until(lambda: ("GET", "/lan/health", b"", "a@b") in b.asked)
        a.seen.set()  # a flood of sightings
        await clock.advance(1)

        assert len(b.asked) == 1
        assert a.channel.open


@pytest.mark.timeout(60)
async def test_a_link_that_leads_nowhere_ends_when_its_peer_is_seen_elsewhere() -> None:
    async with a_link() as (a, _, _, (ended, _)):
        a.wire.holds = True
        a.seen.set()

        await asyncio.wait_for(ended, 30)

        assert not a.channel.open


async def test_what_is_new_of_a_node_goes_with_its_first_beat_and_with_those_after_it_has_changed() -> None:
    async with a_link() as (a, b, clock, _):
        first = [*b.told]
        await clock.advance(10 * BEAT_S)
        unchanged = [*b.told]
        a.news.append(b'{"of":"a","load":2}')
        await clock.advance(2 * BEAT_S)

    assert (first, unchanged) == ([b'{"of":"a"}'], [b'{"of":"a"}'])
    assert b.told == [b'{"of":"a"}', b'{"of":"a","load":2}']
    assert a.told == [b'{"of":"b"}']


@pytest.mark.parametrize(
    "frame",
    [
        Frame(kind=BEAT),
        Frame(kind=BEAT, body=msgspec.Raw(b'{"of":"b"}')),
        Frame(kind="song"),
        Frame(kind=ANSWER, id=77, status=200),
        Frame(kind=ASK, id=7, path="x", part="[", more=True),
    ],
)
async def test_more_frames_than_anybody_has_asked_for_end_the_link_and_it_is_said_why(frame: Frame) -> None:
    async with a_link() as (a, b, _, (_, ended)):
        for number in range(2 * int(AT_EASE)):
            if b.wire._closed:
                break
            await a.wire.send(frames.encode(msgspec.structs.replace(frame, id=frame.id + number)))
            if number % 50 == 0:
                await settle()

        await soon(asyncio.wait([ended]))
        assert "more frames came" in b.wire.why


async def test_long_frames_that_nobody_has_asked_for_end_the_link_sooner() -> None:
    async with a_link() as (a, b, _, (_, ended)):
        for _ in range(50):
            await a.wire.send(
                frames.encode(Frame(kind="song", path="la", body=msgspec.Raw(b'"' + b"a" * 200_000 + b'"')))
            )

        await soon(asyncio.wait([ended]))
        assert "more frames came" in b.wire.why


async def test_of_what_a_peer_tells_of_itself_one_is_looked_at_at_a_time_and_then_the_latest() -> None:
    async with a_link() as (a, b, clock, _):
        await clock.advance(NEWS_S)
        b.go_on.clear()
        for load in range(100):
            await a.wire.send(f'{{"kind":"beat","body":{{"load":{load}}}}}')
            await settle()
        at_first = [*b.told]
        b.go_on.set()
        await settle()
        too_early = [*b.told]
        await clock.advance(NEWS_S)

    assert at_first == too_early == [b'{"of":"a"}', b'{"load":0}']
    assert b.told == [*at_first, b'{"load":99}']


LONG = b'{"text":"' + b'h\\u00e4\\"\\\\' * 90_000 + b'"}'


async def test_a_long_body_goes_in_parts_both_ways_and_others_go_between() -> None:
    async with a_link() as (a, b, _, _):
        b.reply = Reply(status=200, body=LONG)
        a.wire.room = 60_000
        asking = asyncio.gather(a.ask(body=LONG), a.ask("GET", "/lan/profile", b""), a.ask(body=LONG))
        await settle()
        a.wire.give(math.inf)
        answers = await soon(asking)

    assert list(answers) == [LONG] * 3
    assert [asked[2] for asked in b.asked] == [b"", LONG, LONG]
    for end in (a, b):
        assert max(map(len, map(str.encode, end.wire.sent))) <= frames.MAX_FRAME_BYTES


async def test_a_side_that_sends_something_long_slowly_is_not_silent() -> None:
    async with a_link() as (a, b, clock, running):
        a.wire.room = 0
        asking = asyncio.create_task(a.ask(body=LONG))
        for _ in range(2 * len(LONG) // 40_000):
            a.wire.give(40_000)
            await clock.advance(5)

        assert await soon(asking) == b'{"stored":true}'
        assert [asked[2] for asked in b.asked] == [LONG]
        assert not any(task.done() for task in running)


async def test_an_answer_is_waited_for_while_parts_of_it_come() -> None:
    async with a_link() as (a, b, _, _):
        b.reply = Reply(status=200, body=LONG)
        b.wire.room = 0
        asking = asyncio.create_task(a.channel.ask("GET", "/lan/profile", None, 0.4))
        for _ in range(16):  # twice the time in which an answer is lost of which nothing comes
            b.wire.give(40_000)
            await asyncio.sleep(0.05)
        b.wire.give(math.inf)

        assert await soon(asking) == LONG


async def test_what_was_not_taken_in_time_is_sent_no_further() -> None:
    async with a_link() as (a, b, _, _):
        a.wire.room = 60_000
        with pytest.raises(AnswerLost):
            await a.channel.ask(*QUESTION[:2], LONG, 0.01)
        a.wire.give(math.inf)
        await settle()
        parts = sum('"part"' in text for text in a.wire.sent)

        assert parts == 1
        assert await a.ask(body=LONG) == b'{"stored":true}'
        assert [asked[2] for asked in b.asked] == [LONG]


@pytest.mark.parametrize("fault", [OSError("disk I/O error"), StorageFailed("the disk is full")])
async def test_a_link_that_ends_by_a_fault_of_this_node_ends_like_any_other(fault: Exception) -> None:
    async with a_link() as (a, _, clock, running):
        a.broken = fault
        await clock.advance(2 * BEAT_S)

        await soon(asyncio.wait(running))
        assert [task.exception() for task in running] == [None, None]
