"""The REST face over real sockets: each route, and each way to be refused."""

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lanmesh.engine.admission import Limits
from lanmesh.faces.blobs import Blobs
from lanmesh.faces.http import application
from lanmesh.faces.rest import Rest
from lanmesh.model.file import FileRef
from lanmesh.model.ids import SELF
from lanmesh.model.task import AcceptMode
from lanmesh.protocol.json import MAX_BODY_BYTES
from tests.fakes import Mesh, NodeUnderTest, soon, until
from tests.integration.desk import a_file, with_shelf
from tests.integration.loopback import Program, served


@asynccontextmanager
async def a_node(
    mesh: Mesh, accept_mode: AcceptMode = AcceptMode.AUTO, waiting: int = 1000
) -> AsyncIterator[tuple[NodeUnderTest, Program]]:
    b = mesh.describe("b", peers=["a"], accept_mode=accept_mode, limits=Limits(max_waiting=waiting))
    await b.start()
    async with served(application(Rest(b.node).routes()), "shared@b") as program:
        yield b, program


def envelope(kind: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "e-1",
        "protocolVersion": "1.0",
        "type": kind,
        "from": "a-script",
        "timestamp": 0,
        "payload": payload,
        **more,
    }


def task(**payload: Any) -> dict[str, Any]:
    return envelope("task", {"description": "count", **payload})


async def test_anyone_may_see_that_the_node_lives(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        await mesh.clock.advance(1.5)
        answer = await program.ask("GET", "/lan/health", token=None)

        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json == {
            "status": "ok",
            "version": "0.0.0",
            "protocolVersion": "1.0",
            "nodeId": b.node_id,
            "uptime": 1.5,
        }


async def test_whoami_tells_what_a_token_is_worth(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        answers = [await program.ask("GET", "/lan/whoami", token=token) for token in ("a@b", "shared@b")]
        strangers = [await program.ask("GET", "/lan/whoami", token=token) for token in (None, "guessed")]

        assert [answer.json for answer in answers] == [
            {"status": "paired", "origin": "a"},
            {"status": "paired", "origin": "shared"},
        ]
        assert [answer.json for answer in strangers] == [{"status": "not_paired"}] * 2
        assert {answer.status for answer in (*answers, *strangers)} == {200}


async def test_a_peer_sees_the_profile(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        answer = await program.ask("GET", "/lan/profile")

        assert (answer.status, answer.json["id"], answer.json["acceptMode"]) == (200, "b", "auto")


async def test_a_message_is_stored_once(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        for _ in range(2):
            answer = await program.ask("POST", "/lan/message", envelope("message", {"text": "hello"}))
            assert (answer.status, answer.json) == (202, {"id": "e-1", "stored": True})

        assert [message.text for message in b.node.mail.inbox(10)] == ["hello"]


async def test_a_file_is_delivered_once_its_reader_has_all_of_it_and_not_its_end_alone(mesh: Mesh) -> None:
    b = with_shelf(mesh.describe("b", peers=["a"]), mesh)
    await b.start()
    async with served(application(Blobs(b.node).routes()), "a@b") as program:
        kept = await soon(b.node.files.keep([a_file(mesh), a_file(mesh, "dog.jpg", b"dog")]))
        sent = await soon(b.node.mail.send("a", "see", files=kept))

        async def give(file: FileRef, **headers: str) -> None:
            answer = await program.ask("GET", f"/lan/blob/{file.sha256}", headers=headers)
            assert answer.status in {200, 206}

        def delivered() -> list[bool]:
            return [each.settled for each in b.node.files.of_message(SELF, sent.envelope.id)]

        cat, dog = kept
        for some in ("bytes=-1", f"bytes={cat.size - 1}-", "bytes=0-9"):
            await give(cat, Range=some)
        await give(dog)
        await until(lambda: delivered() == [False, True])
        await give(cat, **{"Range": f"bytes={cat.size - 10}-", "If-Range": f'"{cat.sha256}"'})
        await until(lambda: delivered() == [True, True])


async def test_a_task_is_stored_done_and_read(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        stored = await program.ask("POST", "/lan/task", task())
        await until(lambda: b.task("e-1").final)
        read = await program.ask("GET", "/lan/task/e-1")
        again = await program.ask("POST", "/lan/task", task())
        same = await program.ask("GET", f"/lan/task/{stored.json['localId']}")

        assert (stored.status, stored.json["state"]) == (202, "submitted")
        assert stored.json["taskId"] == "e-1"
        assert (read.status, read.json["state"], read.json["result"]) == (200, "completed", "done: count")
        assert (again.status, again.json) == (202, stored.json)
        assert same.json == read.json


async def test_who_brings_too_much_is_told_when_to_come_again(mesh: Mesh) -> None:
    b = mesh.describe("b", limits=Limits(requests_per_minute=2, stored_bytes=500))
    await b.start()
    async with served(application(Rest(b.node).routes()), "shared@b") as program:
        said = envelope("message", {"text": "x" * 500})
        stored = await program.ask("POST", "/lan/message", said)
        full = await program.ask("POST", "/lan/message", {**said, "id": "e-2"})
        fast = await program.ask("POST", "/lan/message", {**said, "id": "e-3"})
        again = await program.ask("POST", "/lan/message", said)

        assert (stored.status, again.status) == (202, 202)
        assert (full.status, full.code, full.headers["Retry-After"]) == (507, "quota-reached", "600")
        assert (fast.status, fast.code, fast.headers["Retry-After"]) == (429, "too-fast", "30")


async def test_a_caller_that_waits_gets_the_finished_task(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        answer = await program.ask("POST", "/lan/task", task(mode="wait"))

        assert (answer.status, answer.json["state"]) == (200, "completed")


async def test_a_caller_waits_no_longer_than_it_says(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.executor.hold()
        asking = asyncio.create_task(program.ask("POST", "/lan/task", task(mode="wait", waitMs=2000)))
        await until(lambda: 2 in mesh.clock.pauses)
        await mesh.clock.advance(2)
        answer = await soon(asking)

        assert (answer.status, answer.json["state"]) == (202, "working")


async def test_a_report_is_held_until_there_is_news(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.executor.hold()
        await program.ask("POST", "/lan/task", task())
        await until(lambda: b.task("e-1").version == 2)
        at_once = await program.ask("GET", "/lan/task/e-1?wait=25&version=1")
        asking = asyncio.create_task(program.ask("GET", "/lan/task/e-1?wait=25&version=2"))
        await until(lambda: 25 in mesh.clock.pauses)
        b.executor.release()

        assert at_once.json["state"] == "working"
        assert (await soon(asking)).json["state"] == "completed"


async def test_a_wait_is_at_most_55_seconds(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.executor.hold()
        await program.ask("POST", "/lan/task", task())
        asking = asyncio.create_task(program.ask("GET", "/lan/task/e-1?wait=1e300"))
        await until(lambda: 55 in mesh.clock.pauses)
        b.node.tasks.stop()

        assert (await soon(asking)).status == 200


async def test_a_result_is_taken_from_the_peer_that_was_asked(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        asked = await b.delegate("a")
        payload = {"taskId": asked.wire_id, "state": "completed", "result": "42"}
        result = {**envelope("result", payload), "from": "a"}
        stranger = await program.ask("POST", "/lan/result", envelope("result", payload))
        answer = await program.ask("POST", "/lan/result", result, token="a@b")

        assert (stranger.status, stranger.code) == (403, "not-allowed")
        assert (answer.status, answer.json["state"], answer.json["result"]) == (202, "completed", "42")
        assert b.task(asked.local_id).result == "42"


GUARDED = [
    ("GET", "/lan/profile"),
    ("POST", "/lan/message"),
    ("POST", "/lan/task"),
    ("POST", "/lan/result"),
    ("GET", "/lan/task/e-1"),
]
STRANGERS = [(None, {}), ("guessed", {}), (None, {"Authorization": "Basic c2hhcmVkQGI="})]


async def test_a_stranger_is_told_how_to_present_itself(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        for (method, path), (token, headers) in itertools.product(GUARDED, STRANGERS):
            answer = await program.ask(method, path, token=token, headers=headers)

            assert (answer.status, answer.code) == (401, "not-authenticated")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="lanmesh"'


async def test_what_is_not_there_is_a_problem_document(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        for path in ("/", "/lan", "/lan/nothing", "/op/status", "/lan/task/e-1/more"):
            answer = await program.ask("GET", path)
            assert (answer.status, answer.code) == (404, "route-not-found"), path


async def test_a_method_that_a_route_has_not_is_a_problem_document(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        answer = await program.ask("DELETE", "/lan/task")

        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method-not-allowed", "POST")


REFUSED: list[tuple[object, int, str]] = [
    (b"", 400, "invalid-request"),
    (b"{", 400, "invalid-request"),
    (b"[]", 400, "invalid-request"),
    (b"\xff", 400, "invalid-request"),
    (b"[" * 100_000, 400, "invalid-request"),
    (task(timeout=0), 400, "invalid-request"),
    (envelope("message", {"text": "hello"}), 400, "invalid-request"),
    (envelope("poem", {}), 400, "unknown-type"),
    ({**task(), "protocolVersion": "2.0"}, 400, "unsupported-version"),
    ({**task(), "from": "a"}, 403, "not-allowed"),
    ({**task(), "hops": 6}, 409, "chain-refused"),
]


async def test_what_cannot_be_taken_is_refused_with_the_reason(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        for body, status, code in REFUSED:
            answer = await program.ask("POST", "/lan/task", body)
            assert (answer.status, answer.code) == (status, code), body
            assert answer.json["detail"]
        assert b.tasks_of_others() == []


async def test_a_question_that_makes_no_sense_is_refused(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        await program.ask("POST", "/lan/task", task())
        for query in ("wait=-1", "wait=soon", "wait=nan", "version=-1", "version=x", "version=²"):
            answer = await program.ask("GET", f"/lan/task/e-1?{query}")
            assert (answer.status, answer.code) == (400, "invalid-request"), query


async def test_an_unknown_task_is_a_problem_document(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        answer = await program.ask("GET", "/lan/task/e-1?wait=25")

        assert (answer.status, answer.code) == (404, "task-not-found")


async def test_a_full_node_says_when_to_come_back(mesh: Mesh) -> None:
    async with a_node(mesh, AcceptMode.MANUAL, waiting=1) as (_, program):
        await program.ask("POST", "/lan/task", task())
        answer = await program.ask("POST", "/lan/task", {**task(), "id": "e-2"})

        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "too-busy", "5")


async def test_other_content_under_a_used_id_is_a_conflict(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        await program.ask("POST", "/lan/task", task())
        answer = await program.ask("POST", "/lan/task", task(timeout=1000))

        assert (answer.status, answer.code) == (409, "id-conflict")


async def test_a_node_that_takes_no_tasks_says_so(mesh: Mesh) -> None:
    async with a_node(mesh, AcceptMode.OFF) as (_, program):
        answer = await program.ask("POST", "/lan/task", task())

        assert (answer.status, answer.code) == (403, "tasks-not-accepted")


def of_size(size: int) -> bytes:
    start, end = b'{"description": "', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


async def test_a_body_beyond_a_megabyte_is_refused(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        just_fits = await program.ask("POST", "/lan/task", of_size(MAX_BODY_BYTES))
        too_large = await program.ask("POST", "/lan/task", io.BytesIO(of_size(MAX_BODY_BYTES + 1)))

        assert (just_fits.status, just_fits.code) == (400, "invalid-request")
        assert (too_large.status, too_large.code) == (413, "too-large")


async def test_a_body_in_chunks_beyond_a_megabyte_is_refused(mesh: Mesh) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        body = of_size(size)
        for start in range(0, size, 65536):
            yield body[start : start + 65536]

    async with a_node(mesh) as (_, program):
        just_fits = await program.ask("POST", "/lan/task", chunks(MAX_BODY_BYTES))
        too_large = await program.ask("POST", "/lan/task", chunks(MAX_BODY_BYTES + 1))

        assert (just_fits.status, just_fits.code) == (400, "invalid-request")
        assert (too_large.status, too_large.code) == (413, "too-large")


async def test_a_fault_of_the_node_itself_tells_nothing_of_its_inside(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.writer.broken = True
        answer = await program.ask("POST", "/lan/task", task())
        b.writer.broken = False

        assert (answer.status, answer.code) == (507, "storage-failed")
        assert "power" not in answer.json["detail"]


async def test_whoever_sent_a_task_may_have_it_ended_and_asks_as_often_as_it_likes(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.executor.hold()
        b.executor.hold_aborts()
        await program.ask("POST", "/lan/task", task())
        await until(lambda: len(b.executor.runs) == 1)

        stopping = await program.ask("POST", "/lan/task/e-1/cancel")
        again = await program.ask("POST", "/lan/task/e-1/cancel", {})
        b.executor.release_aborts()
        await until(lambda: b.task("e-1").final)
        over = await program.ask("POST", f"/lan/task/{b.task('e-1').local_id}/cancel")

        assert (stopping.status, stopping.json["state"], stopping.json["canceling"]) == (202, "working", True)
        assert again.status == 202
        assert (over.status, over.json["state"]) == (200, "canceled")
        assert over.json["error"] == {"code": "canceled", "detail": '"a-script" canceled it'}


async def test_a_cancel_is_an_envelope_and_may_come_before_its_task(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        said = envelope("cancel", {"taskId": "t-9"}, id="c-1")

        first = await program.ask("POST", "/lan/task/t-9/cancel", said)
        again = await program.ask("POST", "/lan/task/t-9/cancel", said)
        other = await program.ask("POST", "/lan/task/t-8/cancel", {**said, "payload": {"taskId": "t-8"}})
        refused = await program.ask("POST", "/lan/task", {**task(), "id": "t-9"})

        assert (first.status, first.json["state"], first.json.get("localId")) == (200, "canceled", None)
        assert again.json == first.json
        assert (other.status, other.code) == (409, "id-conflict")
        assert (refused.status, refused.json["state"]) == (200, "canceled")
        assert b.executor.runs == []


async def test_what_cannot_be_canceled_is_a_problem_document(mesh: Mesh) -> None:
    async with a_node(mesh) as (_, program):
        message = envelope("message", {"text": "hello"})
        cases: list[tuple[Any, int, str]] = [
            (None, 404, "task-not-found"),
            (message, 400, "invalid-request"),
            (envelope("cancel", {"taskId": "another"}), 400, "invalid-request"),
            (envelope("cancel", {"taskId": "no id"}), 400, "invalid-request"),
            (envelope("cancel", {}), 400, "invalid-request"),
            (b"[]", 400, "invalid-request"),
        ]
        for body, status, code in cases:
            answer = await program.ask("POST", "/lan/task/t-9/cancel", body)
            assert (answer.status, answer.code) == (status, code), body
        stranger = await program.ask("POST", "/lan/task/t-9/cancel", token=None)
        assert stranger.status == 401


async def test_a_question_is_read_and_answered_over_http(mesh: Mesh) -> None:
    async with a_node(mesh) as (b, program):
        b.executor.hold()
        await program.ask("POST", "/lan/task", task())
        await until(lambda: len(b.executor.runs) == 1)
        early = await program.ask("POST", "/lan/task/e-1/answer", {"text": "left"})
        await b.node.tasks.ask(b.task("e-1").local_id, "which one?")
        b.executor.release()

        read = await program.ask("GET", "/lan/task/e-1")
        wrong = envelope("answer", {"taskId": "e-1", "text": "left", "attempt": 2}, id="a-1")
        other = await program.ask("POST", "/lan/task/e-1/answer", wrong)
        taken = await program.ask("POST", "/lan/task/e-1/answer", {"text": "left"})
        await until(lambda: b.task("e-1").final)

        assert (early.status, early.code) == (409, "illegal-transition")
        assert (read.json["state"], read.json["question"]) == ("input-required", "which one?")
        assert (other.status, other.code) == (409, "illegal-transition")
        assert (taken.status, taken.json["state"]) == (202, "submitted")
        assert b.task("e-1").dialogue[-1].answer == "left"
