"""The WebSocket to a gateway: greeting, calls, turns and events, and what becomes of them when it goes."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lanmesh.errors import GatewayRefused, GatewayUnavailable
from tests.fakes import soon, until
from tests.integration.gateway import HOLD, Beside, Refusal, beside

ACCEPTED = {"status": "accepted", "runId": "t.1"}
FINAL = {"status": "ok", "result": {"payloads": [{"text": "42"}]}}


async def test_a_node_greets_as_an_operator_with_a_device_that_signs_the_challenge(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        (hello,) = gateway.greetings

        assert (hello["minProtocol"], hello["maxProtocol"]) == (3, 4)
        assert (hello["role"], hello["scopes"]) == ("operator", ["operator.read", "operator.write"])
        assert (hello["client"]["id"], hello["client"]["mode"]) == ("gateway-client", "backend")
        assert (gateway.client.connections, gateway.client.is_connected) == (1, True)
        assert gateway.client.has("sessions.abort")
        assert not gateway.client.has("chat.send")


async def test_each_greeting_signs_the_challenge_of_its_own_connection(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        await gateway.reconnected()

        first, second = (hello["device"] for hello in gateway.greetings)
        assert first["id"] == second["id"]
        assert (first["nonce"], second["nonce"]) == ("nonce-0", "nonce-1")
        assert first["signature"] != second["signature"]


async def test_a_node_that_is_turned_away_says_why_and_tries_again(tmp_path: Path) -> None:
    async with beside(tmp_path, token="old", connect=False) as gateway:
        await until(lambda: len(gateway.greetings) > 2)

        with pytest.raises(GatewayUnavailable, match="AUTH_TOKEN_MISMATCH"):
            await gateway.client.call("health", {})
        assert "old" not in gateway.client.last_fault
        assert gateway.client.connections == 0


async def test_a_gateway_that_still_starts_is_asked_until_it_is_up(tmp_path: Path) -> None:
    async with beside(tmp_path, connect=False) as gateway:
        gateway.turned_away = Refusal("UNAVAILABLE", "startup-sidecars")
        await until(lambda: len(gateway.greetings) > 1)
        gateway.turned_away = None

        await gateway.connected()


async def test_a_gateway_that_hangs_up_before_it_greets_is_tried_again(tmp_path: Path) -> None:
    async with beside(tmp_path, connect=False) as gateway:
        gateway.silent = True
        await until(lambda: "before it greeted" in gateway.client.last_fault)
        gateway.silent = False

        await gateway.connected()


async def test_a_call_returns_what_the_gateway_answers(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("agents.list", {"agents": [{"id": "main"}]})

        answer = await soon(gateway.client.call("agents.list", {"x": 1}))

        assert answer == {"agents": [{"id": "main"}]}
        assert gateway.calls == [("agents.list", {"x": 1})]


async def test_calls_may_overlap_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("slow", HOLD)
        gateway.lay("fast", {"n": 2})
        slow = asyncio.create_task(gateway.client.call("slow", {}))
        await until(lambda: bool(gateway.held))

        fast = await soon(gateway.client.call("fast", {}))
        await gateway.answer("slow", {"n": 1})

        assert (fast, await soon(slow)) == ({"n": 2}, {"n": 1})


@pytest.mark.parametrize(
    ("code", "kind"), [("INVALID_REQUEST", GatewayRefused), ("UNAVAILABLE", GatewayUnavailable)]
)
async def test_an_error_says_whether_asking_again_may_help(
    tmp_path: Path, code: str, kind: type[Exception]
) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("wake", Refusal(code, "gateway-restarting"))

        with pytest.raises(kind, match=f"the gateway says {code}: gateway-restarting"):
            await soon(gateway.client.call("wake", {}))


async def test_a_call_that_is_not_answered_in_time_is_given_up(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("slow", HOLD)

        with pytest.raises(GatewayUnavailable, match="did not answer slow"):
            await soon(gateway.client.call("slow", {}, answer_s=0.01))
        await gateway.answer("slow", {"late": True})  # nobody waits for it any more
        await gateway.quiet()


async def test_a_turn_whose_two_answers_come_back_to_back_has_ended(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("agent", [ACCEPTED, FINAL])

        assert await soon(gateway.client.run_agent({"message": "x"})) == FINAL


async def test_a_turn_ends_with_its_second_answer_however_late_that_comes(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("agent", [ACCEPTED])
        turn = asyncio.create_task(gateway.client.run_agent({"message": "x"}))
        await until(lambda: bool(gateway.held))
        await gateway.quiet()
        assert not turn.done()

        await gateway.answer("agent", FINAL)

        assert await soon(turn) == FINAL


async def test_a_turn_that_the_gateway_knows_already_has_one_answer(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("agent", FINAL)

        assert await soon(gateway.client.run_agent({"message": "x"})) == FINAL


async def test_a_turn_that_is_refused_after_it_was_accepted_is_refused(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("agent", [ACCEPTED])
        turn = asyncio.create_task(gateway.client.run_agent({}))
        await until(lambda: bool(gateway.held))

        await gateway.answer("agent", Refusal("INVALID_REQUEST", "no model"))

        with pytest.raises(GatewayRefused, match="no model"):
            await soon(turn)


async def test_who_waits_when_the_gateway_goes_is_told(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("slow", HOLD)
        gateway.lay("agent", [ACCEPTED])
        waiting = [
            asyncio.create_task(gateway.client.call("slow", {})),
            asyncio.create_task(gateway.client.run_agent({})),
        ]
        await until(lambda: len(gateway.held) == 2)

        await gateway.reconnected()

        for task in waiting:
            with pytest.raises(GatewayUnavailable, match="went away before it answered"):
                await soon(task)
        assert gateway.client.connections == 2
        assert await soon(gateway.client.call("health", {})) == {}


async def test_without_a_connection_a_call_fails_at_once(tmp_path: Path) -> None:
    async with beside(tmp_path, connect=False) as gateway:
        with pytest.raises(GatewayUnavailable, match="not connected"):
            await gateway.client.call("health", {})


def recorded(gateway: Beside) -> tuple[Any, list[tuple[str, Any]]]:
    heard: list[tuple[str, Any]] = []
    return gateway.client.listen(lambda event, payload: heard.append((event, payload))), heard


async def test_events_are_told_to_those_who_listen(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        listening, heard = recorded(gateway)
        with listening:
            await gateway.tell("agent", {"stream": "lifecycle"})
            await gateway.quiet()
        await gateway.tell("agent", {"stream": "assistant"})
        await gateway.quiet()

        assert heard == [("agent", {"stream": "lifecycle"})]


@pytest.mark.parametrize("payload", [None, [1, 2], "words", 5])
async def test_an_event_of_another_shape_tells_its_name(tmp_path: Path, payload: object) -> None:
    async with beside(tmp_path) as gateway:
        listening, heard = recorded(gateway)
        with listening:
            await gateway.tell("tick", payload)
            await gateway.quiet()

        assert heard == [("tick", {})]


@pytest.mark.parametrize("text", ["[]", "7", '{"type":"res","id":"99","ok":true}', '{"type":"new"}'])
async def test_a_frame_that_nobody_waits_for_changes_nothing(tmp_path: Path, text: str) -> None:
    async with beside(tmp_path) as gateway:
        await gateway.write(text)
        await gateway.quiet()

        assert gateway.client.connections == 1


async def test_a_frame_that_is_not_json_ends_the_connection_and_no_more(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        await gateway.write("{not json")

        await until(lambda: gateway.client.connections == 2)
        assert await soon(gateway.client.call("health", {})) == {}


async def test_an_answer_that_is_no_object_is_kept_as_a_value(tmp_path: Path) -> None:
    async with beside(tmp_path) as gateway:
        gateway.lay("slow", HOLD)
        call = asyncio.create_task(gateway.client.call("slow", {}))
        await until(lambda: bool(gateway.held))
        ((_, identifier),) = gateway.held
        frame = {"type": "res", "id": identifier, "ok": True, "payload": [1]}
        await gateway.write(msgspec.json.encode(frame).decode())

        assert await soon(call) == {"value": [1]}


async def test_a_text_that_was_cut_within_a_character_is_read_but_for_that(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    async with beside(tmp_path) as gateway:
        with gateway.client.listen(lambda _event, payload: heard.append(payload)):
            # JavaScript cuts texts between the two halves of a character, and tells of it like this.
            await gateway.write(r'{"type": "event", "event": "agent", "payload": {"delta": "half \ud83e"}}')
            await gateway.tell("agent", {"delta": "whole"})
            await gateway.quiet()

        assert heard == [{"delta": "half ?"}, {"delta": "whole"}]
        assert gateway.client.connections == 1
