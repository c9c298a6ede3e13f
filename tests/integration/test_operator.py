"""The local face over real sockets: what the owner may ask, and that nobody else may."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lanmesh.errors import InvalidConfig
from lanmesh.faces.http import application, guarded
from lanmesh.faces.operator import Operator, peer_views
from lanmesh.model.task import AcceptMode, TaskState
from lanmesh.protocol.views import SettingView, StatusView
from tests.fakes import EPOCH, Fault, Mesh, NodeUnderTest, a_message, a_task, proven, soon, until
from tests.integration.loopback import Program, served

NOW_MS = round(EPOCH * 1000)

ROUTES = [
    ("GET", "/op/status"),
    ("GET", "/op/config"),
    ("POST", "/op/config"),
    ("GET", "/op/profile"),
    ("GET", "/op/peers"),
    ("GET", "/op/peers/b/profile"),
    ("GET", "/op/messages"),
    ("POST", "/op/messages"),
    ("POST", "/op/messages/read"),
    ("GET", "/op/outbox"),
    ("POST", "/op/outbox/m-1/resend"),
    ("GET", "/op/tasks"),
    ("POST", "/op/tasks"),
    ("GET", "/op/tasks/t-1"),
    ("GET", "/op/tasks/t-1/events"),
    ("POST", "/op/tasks/t-1/approve"),
    ("POST", "/op/tasks/t-1/deny"),
    ("POST", "/op/tasks/t-1/ask"),
    ("POST", "/op/tasks/t-1/answer"),
    ("POST", "/op/tasks/t-1/cancel"),
    ("PUT", "/op/accept"),
]


@asynccontextmanager
async def an_owner(
    node: NodeUnderTest, take: Callable[[bytes], None] = lambda _body: None
) -> AsyncIterator[Program]:
    def status() -> StatusView:
        return StatusView(
            id=node.name,
            node_id=node.node_id,
            name="",
            version="0.0.0",
            uptime=0.0,
            accept_mode=node.node.modes.general(),
            executor="fake",
            listen="127.0.0.1",
            port=1,
            operator_port=2,
            state_folder="/nowhere",
            running=0,
            waiting=0,
            approvals=0,
            unread=0,
            queued=0,
            undelivered=0,
            peers=peer_views(node.node),
            seen=[],
            warnings=[],
        )

    settings = [SettingView(key="acceptMode", value="auto", source="default")]
    operator = Operator(node.node, status, lambda: settings, take)
    async with served(application(guarded(operator.routes(), "secret")), "secret") as program:
        yield program


async def test_every_route_needs_the_operator_token(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        for (method, path), token in itertools.product(ROUTES, (None, "guessed", "shared@a", "secre")):
            answer = await program.ask(method, path, {}, token=token)
            assert (answer.status, answer.code) == (401, "not-authenticated")
            assert "WWW-Authenticate" in answer.headers


async def test_status_and_settings_are_those_of_the_daemon(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        status = await program.ask("GET", "/op/status")
        settings = await program.ask("GET", "/op/config")

        assert (status.json["id"], status.json["operatorPort"]) == ("a", 2)
        assert settings.json == [{"key": "acceptMode", "value": "auto", "source": "default"}]


async def test_settings_of_the_plugin_are_handed_on_as_they_came(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    taken: list[bytes] = []
    async with an_owner(a, taken.append) as program:
        answer = await program.ask("POST", "/op/config", b'{"acceptMode": "off"}')

        assert (answer.status, answer.json) == (200, {"taken": True})
        assert taken == [b'{"acceptMode": "off"}']


async def test_settings_that_cannot_be_used_are_refused_with_the_reason(mesh: Mesh) -> None:
    def refuse(_body: bytes) -> None:
        raise InvalidConfig("plugin: acceptMode: invalid enum value")

    a, _ = await mesh.pair()
    async with an_owner(a, refuse) as program:
        answer = await program.ask("POST", "/op/config", {"acceptMode": "maybe"})

        assert (answer.status, answer.code) == (400, "invalid-config")
        assert answer.json["detail"] == "plugin: acceptMode: invalid enum value"


async def test_a_task_is_asked_for_watched_and_shown_with_its_history(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    async with an_owner(a) as program:
        b.executor.hold()
        asked = await program.ask("POST", "/op/tasks", {"peer": "b", "text": "count", "timeout": 5000})
        watching = asyncio.create_task(program.ask("GET", f"/op/tasks/{asked.json['id'][:8]}?wait=20"))
        await until(lambda: 20 in mesh.clock.pauses)
        b.executor.release()
        shown = (await soon(watching)).json
        listed = await program.ask("GET", "/op/tasks?state=completed&limit=1")

        assert (asked.status, asked.json["state"], asked.json["direction"]) == (202, "submitted", "asked")
        assert (asked.json["timeout"], asked.json["createdAt"]) == (5000, NOW_MS)
        assert (shown["state"], shown["result"], shown["delivery"]["state"]) == (
            "completed",
            "done: count",
            "delivered",
        )
        assert shown["events"][0] == {
            "version": 1,
            "at": NOW_MS,
            "event": "submit",
            "state": "submitted",
            "detail": "",
        }
        assert [task["id"] for task in listed.json] == [asked.json["id"]]
        assert listed.json[0]["events"] == []


async def test_a_task_that_waits_is_approved_or_denied(mesh: Mesh) -> None:
    b = mesh.describe("b", peers=["a"], accept_mode=AcceptMode.MANUAL)
    await b.start()
    for name in ("t-1", "t-2"):
        await b.receive(a_task(name, sender="a"), proven("a"))
    async with an_owner(b) as program:
        waiting = await program.ask("GET", "/op/tasks/t-1")
        approved = await program.ask("POST", "/op/tasks/t-1/approve")
        denied = await program.ask("POST", "/op/tasks/t-2/deny")
        again = await program.ask("POST", "/op/tasks/t-2/approve")

        assert (waiting.json["waitingFor"], waiting.json["proven"]) == ("approval", True)
        assert (approved.status, approved.json["waitingFor"]) == (200, None)
        assert (denied.json["state"], denied.json["error"]["code"]) == ("rejected", "denied")
        assert (again.status, again.code) == (409, "illegal-transition")


async def test_the_accept_mode_is_decided(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        answer = await program.ask("PUT", "/op/accept", {"mode": "manual"})
        nonsense = await program.ask("PUT", "/op/accept", {"mode": "sometimes"})

        of_one = await program.ask("PUT", "/op/accept", {"mode": "off", "peer": "b"})
        of_nobody = await program.ask("PUT", "/op/accept", {"mode": "off", "peer": "nobody"})
        (shown,) = (await program.ask("GET", "/op/peers")).json

        assert (answer.status, answer.json) == (200, {"mode": "manual", "peer": None})
        assert (of_one.status, of_one.json) == (200, {"mode": "off", "peer": "b"})
        assert (of_nobody.status, of_nobody.code) == (404, "peer-not-found")
        assert (shown["id"], shown["acceptMode"]) == ("b", "off")
        assert (nonsense.status, nonsense.code) == (400, "invalid-request")
        assert a.node.modes.general() is AcceptMode.MANUAL


async def test_messages_are_sent_listed_and_read(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    async with an_owner(a) as program:
        sent = await program.ask("POST", "/op/messages", {"peer": "b", "text": "hello"})
        await a.hear(a_message(sender="b"), proven("b"))
        listed = await program.ask("GET", "/op/messages?unread=1")
        read = await program.ask("POST", "/op/messages/read", {"numbers": [1]})
        unread = await program.ask("GET", "/op/messages?unread=1")

        assert (sent.status, sent.json["state"], sent.json["attempts"]) == (202, "delivered", 1)
        assert [message.text for message in b.node.mail.inbox(10)] == ["hello"]
        assert listed.json == [
            {
                "number": 1,
                "id": "m-1",
                "sender": "b",
                "proven": True,
                "text": "hello",
                "receivedAt": NOW_MS,
                "readAt": None,
                "files": [],
            }
        ]
        assert (read.status, read.body, unread.json) == (204, b"", [])


async def test_peers_are_shown_with_their_profiles(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        fresh = await program.ask("GET", "/op/peers/b/profile")
        a.link.faults["b"] = Fault.DOWN
        stale = await program.ask("GET", "/op/peers/b/profile")
        peers = await program.ask("GET", "/op/peers")
        own = await program.ask("GET", "/op/profile")

        assert (fresh.json["profile"]["id"], fresh.json["error"]) == ("b", None)
        assert (stale.json["profile"]["id"], stale.json["error"]) == ("b", "b is down")
        assert (peers.json[0]["id"], peers.json[0]["reachedAt"], peers.json[0]["error"]) == (
            "b",
            NOW_MS,
            "b is down",
        )
        assert own.json["id"] == "a"


CASES: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/op/tasks", {"peer": "c", "text": "x"}, 404, "peer-not-found"),
    ("POST", "/op/tasks", {"peer": "b", "text": " "}, 400, "invalid-request"),
    ("POST", "/op/tasks", {"peer": "b"}, 400, "invalid-request"),
    ("POST", "/op/tasks", {"peer": "b", "text": "x", "timeout": 0}, 400, "invalid-request"),
    ("POST", "/op/tasks", {"peer": "b", "text": "x", "parent": "none"}, 404, "task-not-found"),
    ("POST", "/op/messages", b"not JSON", 400, "invalid-request"),
    ("GET", "/op/tasks/none", None, 404, "task-not-found"),
    ("GET", "/op/tasks/none?wait=5", None, 404, "task-not-found"),
    ("GET", "/op/tasks?state=asleep", None, 400, "invalid-request"),
    ("GET", "/op/tasks?limit=some", None, 400, "invalid-request"),
    ("POST", "/op/tasks/none/approve", None, 404, "task-not-found"),
    ("POST", "/op/tasks/none/cancel", None, 404, "task-not-found"),
    ("GET", "/op/peers/c/profile", None, 404, "peer-not-found"),
    ("GET", "/op/nothing", None, 404, "route-not-found"),
    ("GET", "/lan/health", None, 404, "route-not-found"),
    ("PATCH", "/op/status", None, 405, "method-not-allowed"),
]


async def test_what_cannot_be_done_is_a_problem_document(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        for method, path, body, status, code in CASES:
            answer = await program.ask(method, path, body)
            assert (answer.status, answer.code) == (status, code), (method, path, body)


async def test_a_route_with_two_methods_tells_both(mesh: Mesh) -> None:
    a, _ = await mesh.pair()
    async with an_owner(a) as program:
        answer = await program.ask("DELETE", "/op/tasks")

        assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_what_did_not_get_through_is_listed_and_sent_again(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    async with an_owner(a) as program:
        await soon(b.node.modes.decide(AcceptMode.OFF))
        asked = (await program.ask("POST", "/op/tasks", {"peer": "b", "text": "count"})).json
        await until(lambda: a.task(asked["id"]).final)

        (listed,) = (await program.ask("GET", "/op/outbox")).json
        shown = (await program.ask("GET", f"/op/tasks/{asked['id']}")).json
        await soon(b.node.modes.decide(AcceptMode.AUTO))
        again = await program.ask("POST", f"/op/outbox/{asked['id'][:8]}/resend")
        await until(lambda: a.task(asked["id"]).state is TaskState.COMPLETED)
        unknown = await program.ask("POST", "/op/outbox/nothing/resend")
        twice = await program.ask("POST", f"/op/outbox/{asked['id']}/resend")

        assert (listed["type"], listed["task"], listed["state"]) == ("task", asked["id"], "refused")
        assert (listed["settledAt"], listed["dueAt"]) == (NOW_MS, None)
        assert shown["assumed"]
        assert (again.status, again.json["state"], again.json["id"]) == (202, "queued", asked["id"])
        assert (await program.ask("GET", "/op/outbox")).json == []
        assert (unknown.status, unknown.code) == (404, "delivery-not-found")
        assert (twice.status, twice.code) == (409, "illegal-transition")


async def test_a_task_is_canceled_and_shown_as_it_is_until_its_end(mesh: Mesh) -> None:
    a, b = await mesh.pair()
    b.executor.hold()
    b.executor.hold_aborts()
    async with an_owner(a) as program:
        asked = await program.ask("POST", "/op/tasks", {"peer": "b", "text": "count"})
        await until(lambda: len(b.executor.runs) == 1)

        canceling = await program.ask("POST", f"/op/tasks/{asked.json['id']}/cancel")
        b.executor.release_aborts()
        await until(lambda: a.task(asked.json["id"]).final)
        over = await program.ask("POST", f"/op/tasks/{asked.json['id']}/cancel")

        assert (canceling.status, canceling.json["canceling"]) == (202, "the owner of a canceled it")
        assert (over.status, over.json["state"], over.json["canceling"]) == (200, "canceled", None)
