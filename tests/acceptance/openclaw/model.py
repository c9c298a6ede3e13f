"""a model that answers by a script: the OpenAI-compatible server that both gateways ask"""

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.acceptance.openclaw.waiting import BOUND_S

_ADDED = re.compile(
    r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>|(\[[^\]]*\] )?\[System\] Your previous turn was interrupted"
)
"""How messages begin that OpenClaw adds to a conversation by itself, in the user's role."""

NAME = "scripted-1"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The agent uses a tool."""

    name: str
    arguments: dict[str, Any]


class Gate:
    """Holds an answer back until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """A request waits here, or has."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let all pass, from now on."""
        self._opened.set()

    async def arrival(self) -> None:
        """Return once a request waits here."""
        async with asyncio.timeout(BOUND_S):
            await self.reached.wait()

    async def passed(self) -> None:
        self.reached.set()
        await self._opened.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question that a gateway asked the model."""

    messages: list[dict[str, Any]]
    tools: list[str]
    """Names of the tools that the model may call directly."""
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        """What the gateway told the agent of itself."""
        return "\n".join(_text(m) for m in self.messages if m["role"] in {"system", "developer"})

    @property
    def session(self) -> str:
        """Key of the session, as the gateway notes it in the session's first message."""
        noted = re.search(r"^Runtime: .*?\bsession=(\S+)", "\n".join(map(_text, self.messages)), re.MULTILINE)
        return noted[1] if noted else ""

    @property
    def user(self) -> str:
        """The last message that a person or a caller wrote."""
        return _text(self.messages[self._at]) if self._at >= 0 else ""

    @property
    def context(self) -> str:
        """What OpenClaw added by itself since then, in the user's role."""
        return "\n".join(_text(m) for m in self._since if m["role"] == "user")

    @property
    def told(self) -> str:
        """What was said to the agent since, by whomever: older versions add to the user's own words."""
        return f"{self.user}\n{self.context}"

    @property
    def results(self) -> list[str]:
        """What the tools answered since then."""
        return [_text(m) for m in self._since if m["role"] == "tool"]

    @property
    def step(self) -> int:
        """How often the model has answered since then."""
        return sum(m["role"] == "assistant" for m in self._since)

    @property
    def _at(self) -> int:
        written = [
            n for n, m in enumerate(self.messages) if m["role"] == "user" and not _ADDED.match(_text(m))
        ]
        return written[-1] if written else -1

    @property
    def _since(self) -> list[dict[str, Any]]:
        return self.messages[self._at + 1 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model answers: text, tool calls, or both; at once, or when a gate opens."""

    text: str | Callable[[Request], str] = ""
    calls: tuple[ToolCall, ...] | Callable[[Request], tuple[ToolCall, ...]] = ()
    gate: Gate | None = None
    """Holds all of it back."""
    pause: Gate | None = None
    """Holds back what comes after the text."""
    words: tuple[Gate, ...] = ()
    """Hold back the words of the text, the first gate the second word, and so on."""


def say(text: str | Callable[[Request], str], *, gate: Gate | None = None) -> Answer:
    """Return the answer that ends a turn; a function makes it from the request."""
    return Answer(text=text, gate=gate)


def use(tool: str, *, gate: Gate | None = None, **arguments: Any) -> Answer:
    """Return the answer that uses a tool; a function as an argument makes it from the request."""

    def calls(request: Request) -> tuple[ToolCall, ...]:
        made = {name: value(request) if callable(value) else value for name, value in arguments.items()}
        return (ToolCall(tool, made),)

    return Answer(calls=calls, gate=gate)


@dataclass(slots=True)
class _Rule:
    key: str
    answers: tuple[Answer, ...]
    requests: list[Request] = field(default_factory=list)

    def answer(self, step: int) -> Answer:
        if step < len(self.answers):
            return self.answers[step]
        last = self.answers[-1]
        return say("That was all.") if last.calls else last


def begun(requests: list[Request]) -> int:
    """Return how many turns these requests began.

    OpenClaw 2026.3 asks the model once more after a tool that ends the turn.
    """
    return sum(request.step == 0 for request in requests)


class ScriptedModel:
    """Answers each request by the script whose key the user's last message contains."""

    def __init__(self) -> None:
        self.url = ""
        """Base address for an OpenAI-compatible provider, once it runs."""
        self.requests: list[Request] = []
        self.unscripted: list[Request] = []
        """Requests for which no script was found."""
        self.aborted: list[Request] = []
        """Requests whose gateway went away before the answer."""
        self._rules: list[_Rule] = []
        self._gates: list[Gate] = []
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "ScriptedModel":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open_all_gates()
        if self._runner is not None:
            await self._runner.cleanup()

    def script(self, key: str, *answers: Answer) -> Callable[[], list[Request]]:
        """Answer turns whose user message contains the key: the first request by the first answer, and so on.

        Beyond the last answer the last counts, if it ends a turn; a tool is not used again. Of
        several keys the one scripted last wins. Returns a function that tells the requests that
        were answered so.
        """
        rule = _Rule(key, answers)
        self._rules.insert(0, rule)
        return lambda: rule.requests

    def forget(self) -> None:
        """Drop all scripts and records, and let all that waits pass."""
        self.open_all_gates()
        self._rules.clear()
        self.requests.clear()
        self.unscripted.clear()
        self.aborted.clear()

    def gate(self) -> Gate:
        """Return a gate that is closed."""
        gate = Gate()
        self._gates.append(gate)
        return gate

    def open_all_gates(self) -> None:
        """Let all that waits pass."""
        for gate in self._gates:
            gate.open()

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        request = Request(
            messages=body["messages"],
            tools=[tool["function"]["name"] for tool in body.get("tools", [])],
            headers=dict(http.headers),
            body=body,
        )
        self.requests.append(request)
        try:
            answer = self._answer(request)
            if answer.gate is not None:
                await answer.gate.passed()
            text = answer.text if isinstance(answer.text, str) else answer.text(request)
            calls = answer.calls(request) if callable(answer.calls) else answer.calls
            message = self._message(request, text, calls)
            return await _respond(http, body, message, next(self._numbers), answer)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted.append(request)
            raise

    def _answer(self, request: Request) -> Answer:
        for rule in self._rules:
            if rule.key in request.user:
                rule.requests.append(request)
                return rule.answer(request.step)
        self.unscripted.append(request)
        return say("I was told nothing about this.")

    def _message(self, request: Request, text: str, calls: tuple[ToolCall, ...]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [
                {
                    "index": index,
                    "id": f"call_{next(self._numbers)}",
                    "type": "function",
                    "function": _directly_or_by_search(request, call),
                }
                for index, call in enumerate(calls)
            ]
        return message


def _directly_or_by_search(request: Request, call: ToolCall) -> dict[str, str]:
    """Return the call as a model makes it: a tool that is not in its list is called through `tool_call`."""
    name, arguments = call.name, call.arguments
    if name not in request.tools and "tool_call" in request.tools:
        name, arguments = "tool_call", {"id": call.name, "args": call.arguments}
    return {"name": name, "arguments": json.dumps(arguments)}


async def _respond(
    http: web.Request, body: dict[str, Any], message: dict[str, Any], number: int, answer: Answer
) -> web.StreamResponse:
    reason = "tool_calls" if "tool_calls" in message else "stop"
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    common = {"id": f"answer-{number}", "created": 1_700_000_000, "model": body.get("model", NAME)}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return web.json_response({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(http)
    first, *rest = _words(message["content"] or "", len(answer.words))
    for word, gate in zip(rest, answer.words, strict=False):
        choice = {"index": 0, "delta": {"role": "assistant", "content": first}, "finish_reason": None}
        await _event(response, {**common, "object": "chat.completion.chunk", "choices": [choice]})
        await gate.passed()
        first = word
    for delta, ending in _deltas({**message, "content": first}, reason):
        choice = {"index": 0, "delta": delta, "finish_reason": ending}
        await _event(response, {**common, "object": "chat.completion.chunk", "choices": [choice]})
        if answer.pause is not None:
            await answer.pause.passed()
    await _event(response, {**common, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    await response.write(b"data: [DONE]\n\n")
    return response


def _words(text: str, gates: int) -> list[str]:
    """Return a text word by word, the last part whole, in at most one part more than there are gates."""
    parts: list[str] = []
    while gates > len(parts) and (word := re.match(r"\s*\S+(?=\s)", text)):
        parts.append(word[0])
        text = text[word.end() :]
    return [*parts, text]


def _deltas(message: dict[str, Any], reason: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": message["content"] or ""}, None
    if "tool_calls" in message:
        yield {"tool_calls": message["tool_calls"]}, None
    yield {}, reason


async def _event(response: web.StreamResponse, value: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


def last_result(request: Request) -> str:
    """Return what the last tool answered: for an agent that says it as it is."""
    return f"It says: {request.results[-1]}"
