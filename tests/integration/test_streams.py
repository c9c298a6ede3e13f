"""Streams of events over real sockets: what happens, what was missed, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from lanmesh.engine.progress import GATHER_S
from lanmesh.engine.watching import MOST_STREAMS, QUIET_S
from lanmesh.faces.http import application, guarded
from lanmesh.faces.operator import Operator
from lanmesh.faces.rest import Rest
from lanmesh.faces.streams import EventStream
from lanmesh.model.draft import START
from lanmesh.model.task import TaskState
from lanmesh.protocol.sse import Frame
from tests.fakes import FakeExecutor, Mesh, NodeUnderTest, a_task, done, proven, soon, until
from tests.integration.loopback import Program, Stream, served

EVENTS = "/lan/task/t-1/events"


@asynccontextmanager
async def peers_of(node: NodeUnderTest) -> AsyncIterator[Program]:
    async with served(application(Rest(node.node).routes()), "shared@b") as program:
        yield program


@asynccontextmanager
async def the_owner_of(node: NodeUnderTest) -> AsyncIterator[Program]:
    operator = Operator(node.node, lambda: pytest.fail("status"), lambda: [], lambda _body: None)
    async with served(application(guarded(operator.routes(), "secret")), "secret") as program:
        yield program


async def busy(mesh: Mesh, executor: FakeExecutor | None = None) -> NodeUnderTest:
    """Return a node in the middle of task `t-1`."""
    b = mesh.describe("b", peers=["a"], executor=executor or FakeExecutor(done("42"), outlives=True))
    await b.start()
    b.executor.hold()
    await b.receive(a_task())
    await until(lambda: bool(b.executor.say))
    return b


async def say(mesh: Mesh, node: NodeUnderTest, text: str) -> None:
    """Have the only run of a node say something, and let it be kept."""
    for said in node.executor.say.values():
        said(text)
    await mesh.clock.advance(GATHER_S)


def told(frame: Frame | None) -> tuple[str, int, Any]:
    """Return an event as a tuple: its name, its id, and what counts of its data."""
    assert frame is not None
    data = msgspec.json.decode(frame.data)
    version = int(frame.id)
    assert data["version"] == version
    return frame.event, version, data.get("progress") or data["state"]


async def told_next(stream: Stream) -> tuple[str, int, Any]:
    return told(await stream.next())


async def test_a_peer_sees_what_happens_to_its_task_as_it_happens(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, program.stream(EVENTS) as stream:
        assert stream.answer.status == 200
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        assert stream.answer.headers["Cache-Control"] == "no-store"
        assert await told_next(stream) == ("state", 1, "submitted")
        assert await told_next(stream) == ("state", 2, "working")
        await say(mesh, b, "half of it")
        assert await told_next(stream) == ("progress", 3, "half of it")
        b.executor.release()
        last = await soon(stream.next())
        assert last is not None

        assert await stream.next() is None
        assert (last.event, last.id) == ("end", "4")
        report = await program.ask("GET", "/lan/task/t-1")
        assert msgspec.json.decode(last.data) == report.json
        assert report.json["result"] == "42"


async def test_the_report_tells_the_latest_words_until_the_run_has_ended(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program:
        await say(mesh, b, "half of it")
        assert (await program.ask("GET", "/lan/task/t-1")).json["progress"] == "half of it"
        b.executor.release()
        await until(lambda: b.task("t-1").final)

        assert "progress" not in (await program.ask("GET", "/lan/task/t-1")).json


async def test_a_stream_goes_on_where_it_was_cut_over_a_restart_of_the_node(mesh: Mesh) -> None:
    b = await busy(mesh)
    seen = []
    async with peers_of(b) as program, program.stream(EVENTS) as stream:
        await say(mesh, b, "one")
        seen += [await told_next(stream) for _ in range(3)]
    await say(mesh, b, "two")
    await b.restart()
    await until(lambda: bool(b.executor.resumed))
    await say(mesh, b, "three")
    async with peers_of(b) as program, program.stream(EVENTS, str(seen[-1][1])) as stream:
        seen += [await told_next(stream) for _ in range(3)]
        b.executor.release()
        seen += [told(frame) for frame in await stream.rest()]

    assert seen == [
        ("state", 1, "submitted"),
        ("state", 2, "working"),
        ("progress", 3, "one"),
        ("progress", 4, "two"),
        ("state", 5, "working"),  # the next boot has taken it over
        ("progress", 6, "three"),
        ("end", 7, "completed"),
    ]


async def test_each_event_is_told_once_from_whichever_one_goes_on(mesh: Mesh) -> None:
    b = await busy(mesh)
    await say(mesh, b, "one")
    b.executor.release()
    await until(lambda: b.task("t-1").final)
    async with peers_of(b) as program:
        async with program.stream(EVENTS) as stream:
            all_of_it = await stream.rest()

        assert [frame.id for frame in all_of_it] == ["1", "2", "3", "4"]
        for number in range(4):
            async with program.stream(EVENTS, str(number)) as stream:
                assert await stream.rest() == all_of_it[number:]


async def test_whoever_asks_for_the_head_alone_gets_that_alone(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, the_owner_of(b) as owner:
        answers = [
            await soon(program.ask("HEAD", EVENTS)),
            await soon(owner.ask("HEAD", "/op/tasks/t-1/events")),
        ]

        for answer in answers:
            assert (answer.status, answer.body) == (200, b"")
            assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert QUIET_S not in mesh.clock.pauses


async def test_a_reader_that_has_the_end_is_told_to_ask_no_more(mesh: Mesh) -> None:
    b = await busy(mesh)
    b.executor.release()
    await until(lambda: b.task("t-1").final)
    async with peers_of(b) as program, the_owner_of(b) as owner:
        last = {"Last-Event-ID": str(b.task("t-1").version)}
        answers = [
            await program.ask("GET", EVENTS, headers=last),
            await owner.ask("GET", "/op/tasks/t-1/events", headers=last),
        ]

        assert [(answer.status, answer.body) for answer in answers] == [(204, b"")] * 2


@pytest.mark.parametrize(
    "bad", ["x", "-1", "1.5", "1e3", "", "٣", "9" * 16, "1, 2", "1.run", "1.ru n.2", "1.run.-2"]
)
async def test_a_last_event_id_that_is_none_is_refused(mesh: Mesh, bad: str) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, the_owner_of(b) as owner:
        headers = {"Last-Event-ID": bad}
        answers = [
            await program.ask("GET", EVENTS, headers=headers),
            await owner.ask("GET", "/op/tasks/t-1/events", headers=headers),
        ]

        for answer in answers:
            assert (answer.status, answer.code) == (400, "invalid-request")
            assert answer.json["detail"] == "Last-Event-ID must be the id of an event, or 0"


async def test_a_last_event_id_that_was_never_told_is_refused(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program:
        answer = await program.ask("GET", EVENTS, headers={"Last-Event-ID": "3"})

        assert (answer.status, answer.code) == (400, "invalid-request")
        assert "is 2: there is no 3 yet" in answer.json["detail"]


async def test_a_stream_is_for_the_task_s_origin_alone(mesh: Mesh) -> None:
    b = await busy(mesh)
    await b.receive(a_task("t-2", sender="a"), proven("a"))
    async with peers_of(b) as program:
        for path, token, status in [
            (EVENTS, None, 401),
            (EVENTS, "guessed", 401),
            (EVENTS, "a@b", 404),
            ("/lan/task/t-2/events", "shared@b", 404),
            ("/lan/task/none/events", "shared@b", 404),
        ]:
            assert (await program.ask("GET", path, token=token)).status == status
        async with program.stream("/lan/task/t-2/events", token="a@b") as stream:
            assert await told_next(stream) == ("state", 1, "submitted")


async def test_a_stream_ends_when_its_reader_s_token_is_taken_back(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, program.stream(EVENTS) as stream:
        await told_next(stream)
        await told_next(stream)
        del b.tokens.inbound_tokens["shared@b"]
        await say(mesh, b, "not for everyone")

        assert await stream.next() is None


async def test_a_silent_stream_says_that_it_goes_on(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, program.stream(EVENTS) as stream:
        await told_next(stream)
        await told_next(stream)
        for _ in range(2):
            await until(lambda: QUIET_S in mesh.clock.pauses)
            await mesh.clock.advance(QUIET_S)
        await until(lambda: QUIET_S in mesh.clock.pauses)
        await say(mesh, b, "still here")

        assert await told_next(stream) == ("progress", 3, "still here")
        assert stream.comments == 2


async def test_a_stream_ends_when_the_node_stops(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program, program.stream(EVENTS) as stream:
        await told_next(stream)
        await told_next(stream)
        b.node.tasks.stop()

        assert await stream.next() is None


async def test_a_reader_that_goes_away_leaves_nothing_behind(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with peers_of(b) as program:
        for _ in range(MOST_STREAMS + 10):
            async with program.stream(EVENTS) as stream:
                await told_next(stream)
                stream.answer.close()
            await until(lambda: QUIET_S not in mesh.clock.pauses)


async def test_a_caller_has_so_many_streams_and_others_have_theirs(mesh: Mesh) -> None:
    b = await busy(mesh)
    open_ones = [b.node.arrivals.events(await _shared(b), "t-1", 2, START) for _ in range(MOST_STREAMS)]
    reading = [asyncio.create_task(anext(news)) for news in open_ones if news is not None]
    await until(lambda: mesh.clock.pauses.count(QUIET_S) == MOST_STREAMS)
    async with peers_of(b) as program, the_owner_of(b) as owner:
        refused = await program.ask("GET", EVENTS)
        async with owner.stream("/op/tasks/t-1/events") as stream:
            assert (await told_next(stream))[1] == 1

        assert (refused.status, refused.code) == (429, "too-busy")
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        async with program.stream(EVENTS) as stream:
            assert (await told_next(stream))[1] == 1


async def _shared(node: NodeUnderTest) -> Any:
    return await node.node.identify(f"shared@{node.name}")


async def test_the_owner_sees_more_of_each_event_and_the_whole_task_at_the_end(mesh: Mesh) -> None:
    b = await busy(mesh)
    async with the_owner_of(b) as owner, owner.stream("/op/tasks/t-1/events") as stream:
        first = await stream.next()
        assert first is not None
        assert msgspec.json.decode(first.data).items() >= {"event": "submit", "state": "submitted"}.items()
        await stream.next()
        await say(mesh, b, "half of it")
        words = await stream.next()
        assert words is not None
        detail = {"event": "progress", "detail": "half of it", "state": "working"}
        assert (words.event, words.id) == ("progress", "3")
        assert msgspec.json.decode(words.data).items() >= detail.items()
        b.executor.release()
        (last,) = await stream.rest()
        view = msgspec.json.decode(last.data)
        assert (last.event, last.id, view["result"]) == ("end", "4", "42")
        assert [event["event"] for event in view["events"]] == ["complete"]


async def test_while_the_asker_s_owner_follows_a_task_its_words_arrive(mesh: Mesh) -> None:
    a, b = await mesh.pair(executor=FakeExecutor(done("42")))
    b.executor.hold()
    asked = await a.delegate("b")
    await until(lambda: bool(b.executor.say))
    seen: list[Frame] = []
    async with the_owner_of(a) as owner, owner.stream(f"/op/tasks/{asked.local_id}/events") as stream:

        async def read_until(state: Mapping[str, str]) -> None:
            while True:
                frame = await stream.next()
                assert frame is not None
                seen.append(frame)
                if msgspec.json.decode(frame.data).items() >= state.items():
                    return

        await read_until({"event": "report", "state": "working"})
        await until(lambda: any(pause > 20 for pause in mesh.clock.pauses))
        await say(mesh, b, "half of it")
        await read_until({"event": "progress", "detail": "half of it"})
        assert a.task(asked.local_id).progress == "half of it"
        b.executor.release()
        await read_until({"state": "completed", "result": "42"})

    assert [frame.id for frame in seen] == sorted({frame.id for frame in seen})
    assert a.task(asked.local_id).state is TaskState.COMPLETED


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    sent: list[Message] = []
    ended = asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 3:
            await asyncio.Event().wait()  # as a server does whose buffers are full

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    stream: Any = frames()

    await soon(EventStream(stream, slowest_reader_s=0.01)({"method": "GET"}, receive, send))

    assert len(sent) == 3
    assert ended.is_set()
