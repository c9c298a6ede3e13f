"""one live link: questions and answers both ways over one WebSocket"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext, suppress
from typing import Any

from lanmesh.engine.ports import Clock, Random
from lanmesh.errors import (
    AnswerLost,
    InvalidRequest,
    MeshError,
    PeerUnreachable,
    RouteNotFound,
    TooBusy,
    TooFast,
)
from lanmesh.model.ids import NodeId, PeerId
from lanmesh.model.pace import Pace
from lanmesh.net.calls import refusal, sending_s
from lanmesh.net.inward import Reply
from lanmesh.net.question import Question
from lanmesh.net.websocket import Socket
from lanmesh.protocol import frames, problems
from lanmesh.protocol.frames import ANSWER, ASK, BEAT, HELLO, Frame, Joined

log = logging.getLogger(__name__)

BEAT_S = 5.0
"""How often each side says that it lives, give or take a fifth."""

SILENT_S = 15.0
"""After that long without a word, a link is dead: soon enough for another before its peer seems gone."""

LAG_S = 1.0
"""A beat that is late by more says that this node was held up: then its peer's silence says nothing."""

GREETING_S = 10.0
"""How long the other side may take to say who it is."""

SLOWEST_READER_S = 30.0
"""How long the other side may take nothing of what is sent."""

_LONG = 16 * 1024
"""A frame that nobody has asked for costs one more for so many characters of it."""

NEWS_S = 1.0
"""At most so often is looked at what a peer tells of itself; of what it tells meanwhile, the latest."""

DOUBT_S = 3.0
"""How long a peer may take to say over its link that it is there, once it was seen, maybe elsewhere."""

AT_ONCE = 64
"""Questions of the other side that are answered at one time; more are put off."""

HELD = 32
"""Of the questions asked at one time, those whose answer may be held back."""

_GRACE_S = 1.0
_RETRY_AFTER_S = 1.0
_NOT_KNOWN = 401

_CARRIED = re.compile(
    r"(GET /lan/(health|whoami|profile|task/[A-Za-z0-9._~-]{1,128})"
    r"|POST /lan/(message|task|result|task/[A-Za-z0-9._~-]{1,128}/(answer|cancel)))"
    r"(\?[A-Za-z0-9._~=&-]{0,200})?"
)
"""What may be asked over a link: the routes whose answer is one short document."""

Answerer = Callable[[str, str, bytes, str], Awaitable[Reply]]
"""Answers a method and a path with a body, for whoever presents a token."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Lets somebody else own a task."""


class Channel:
    """A link to one peer, open or not any more."""

    def __init__(
        self,
        socket: Socket,
        *,
        peer: PeerId,
        node_id: NodeId,
        dialled: bool,
        given: str,
        token: str | None,
        pace: Pace,
        answer: Answerer,
        heard: Callable[[], None],
        news: Callable[[], bytes],
        told: Callable[[bytes], Awaitable[None]],
        spawn: Spawn,
        clock: Clock,
        chance: Random,
    ) -> None:
        """Speak over a socket that is open.

        Args:
            socket: The WebSocket.
            peer: Who is there.
            node_id: The key that it has proven.
            dialled: Whether this node dialled.
            given: The token that this node has presented to it.
            token: The token that it has presented; `None` while it has not, as its hello will.
            pace: How much it may bring that nobody has asked for.
            answer: Answers what it asks.
            heard: Told of each frame of its.
            news: Returns what is new of this node, as JSON; nothing, if nothing is.
            told: Told what is new of its.
            spawn: Owns the tasks that do so: they outlive the link.
            clock: For beats.
            chance: So that not all nodes beat at once.
        """
        self.peer = peer
        self.node_id = node_id
        self.dialled = dialled
        self.given = given
        self.open = True
        """Whether anything new should be asked over it."""
        self.boot: str | None = None
        """The life of the peer's node; `None` until its hello."""
        self._socket = socket
        self._token = token
        self._pace = pace
        self._answer = answer
        self._heard = heard
        self._news = news
        self._told = told
        self._spawn = spawn
        self._clock = clock
        self._chance = chance
        self._asked = 0
        self._pending: dict[int, Question] = {}
        self._joined = Joined()
        self._cutting = asyncio.Lock()
        self._latest = b""
        self._fresh = asyncio.Event()
        self._looking = asyncio.Semaphore(HELD)
        self._serving: dict[asyncio.Task[None], str] = {}
        self._heard_at = clock.monotonic()
        self._over = asyncio.Event()

    async def greet(self, hello: Frame) -> None:
        """Exchange hellos.

        Raises:
            PeerUnreachable: The other side says none in time.
        """
        try:
            async with asyncio.timeout(GREETING_S):
                await self._socket.send(frames.encode(hello))
                said = await self._socket.receive()
            theirs = frames.decode(said or "")
        except (TimeoutError, OSError, InvalidRequest) as fault:
            await self.abort()
            raise PeerUnreachable(f"{self.peer} does not greet over its link") from fault
        if theirs.kind != HELLO:
            await self.abort()
            raise PeerUnreachable(f"{self.peer} does not greet over its link")
        self.boot = theirs.boot
        if self._token is None:
            self._token = theirs.token or ""

    async def run(self, seen: asyncio.Event) -> None:
        """Ask and answer until one side ends it.

        Args:
            seen: Set whenever the peer was seen on the network: maybe the link leads nowhere by then.
        """
        self._heard_at = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                works = self._beat(), self._over.wait(), self._read(), self._doubt(seen), self._take_news()
                parts = [group.create_task(work) for work in works]
                try:
                    await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self.open = False
                    for part in parts:
                        part.cancel()
                    for question in self._pending.values():
                        if not question.answer.done():
                            question.answer.set_result(None)
                    for task, method in self._serving.items():
                        if method == "GET":  # what is brought is taken, whoever hears of it
                            task.cancel()
                    await self.abort()
        except* (MeshError, OSError) as faults:
            log.info("link broke", extra={"peer": self.peer, "why": faults.exceptions[0]})

    async def ask(self, method: str, path: str, body: bytes | None, answer_s: float) -> bytes:
        """Return what the peer answers; like `Calls.ask`, whatever breaks is an answer lost."""
        where = f"{self.peer} over its link"
        if method != "GET":
            answer = await self._exchange(where, method, path, body, answer_s)
        else:
            async with self._looking:
                answer = await self._exchange(where, method, path, body, answer_s)
        said = bytes(answer.body)
        if 200 <= answer.status < 300:  # noqa: PLR2004  # RFC 9110 section 15.3
            return said
        if answer.status == _NOT_KNOWN:
            self._over.set()  # the next link is opened with the tokens that count by then
        raise refusal(where, answer.status, said, answer.retry_after)

    async def leave(self) -> None:
        """Ask nothing more, let what is under way be answered, and end the link."""
        self.open = False
        await self._clock.sleep(_GRACE_S)
        waiting = [question.answer for question in self._pending.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=GREETING_S)
        self._over.set()

    async def abort(self) -> None:
        """End the link now."""
        self.open = False
        self._over.set()
        await self._close()

    def end(self) -> None:
        """Let `run` return soon."""
        self.open = False
        self._over.set()

    async def _close(self, why: str = "") -> None:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_GRACE_S):
                await self._socket.close(why)

    async def _exchange(
        self, where: str, method: str, path: str, body: bytes | None, answer_s: float
    ) -> Frame:
        if not self.open:
            raise AnswerLost(f"{where}: the link is closed")
        self._asked += 1
        number = self._asked
        asked = Frame(kind=ASK, id=number, method=method, path=path, body=frames.body_of(body or b""))
        question = self._pending[number] = Question()
        try:
            await self._send(asked, answer_s)
            answer = await question.answered(answer_s + sending_s(body))
        except TimeoutError as fault:
            raise AnswerLost(f"{where}: no answer within {answer_s:g} s") from fault
        except OSError as fault:
            raise AnswerLost(f"{where}: it broke before the answer came") from fault
        finally:
            self._pending.pop(number, None)
        if answer is None:
            raise AnswerLost(f"{where}: it broke before the answer came")
        return answer

    async def _read(self) -> None:
        try:
            while (text := await self._socket.receive()) is not None:
                self._heard_at = self._clock.monotonic()
                self._heard()
                frame = frames.decode(text)
                question = self._pending.get(frame.id) if frame.kind == ANSWER else None
                if question is not None:
                    question.coming = True
                elif frame.kind != ASK:
                    self._spend(1 + len(text) / _LONG)
                dropped = self._joined.dropped
                whole = self._joined.add(frame)
                self._spend(self._joined.dropped - dropped)
                if whole is None:
                    continue
                if whole.kind == ASK:
                    await self._take(whole)
                elif whole.kind == BEAT and whole.body:
                    self._latest = bytes(whole.body)
                    self._fresh.set()
                elif question is not None and not question.answer.done():
                    question.answer.set_result(whole)
        except (InvalidRequest, TooFast) as fault:
            log.warning("link ended", extra={"peer": self.peer, "why": fault.detail})
            await self._close(fault.detail)
        except OSError:
            pass

    def _spend(self, cost: float) -> None:
        """Count what the peer brings unasked.

        Raises:
            TooFast: It is more than a peer may.
        """
        if cost and self._pace.early_s(self._clock.monotonic(), cost):
            raise TooFast("more frames came than anybody has asked for")

    async def _take_news(self) -> None:
        """Look at what the peer tells of itself, one at a time."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            await self._told(self._latest)
            await self._clock.sleep(NEWS_S)

    async def _take(self, frame: Frame) -> None:
        if len(self._serving) >= AT_ONCE:
            self._spend(1)
            busy = TooBusy("too many questions at once over this link", retry_after_s=_RETRY_AFTER_S)
            await self._say(frame.id, _refused(busy))
            return
        task = self._spawn(self._serve(frame))
        self._serving[task] = frame.method
        task.add_done_callback(lambda done: self._serving.pop(done, None))

    async def _serve(self, frame: Frame) -> None:
        if _CARRIED.fullmatch(f"{frame.method} {frame.path}") is None:
            reply = _refused(RouteNotFound("that is not asked over a link; PROTOCOL.md lists what is"))
        else:
            reply = await self._answer(frame.method, frame.path, bytes(frame.body), self._token or "")
        await self._say(frame.id, reply)
        if reply.status == _NOT_KNOWN:
            self._over.set()

    async def _say(self, number: int, reply: Reply) -> None:
        answer = Frame(
            kind=ANSWER,
            id=number,
            status=reply.status,
            retry_after=reply.retry_after_s,
            body=frames.body_of(reply.body),
        )
        await self._tell(answer)

    async def _tell(self, frame: Frame) -> None:
        try:
            await self._send(frame, SLOWEST_READER_S)
        except (TimeoutError, OSError):
            self._over.set()

    async def _send(self, frame: Frame, patience_s: float) -> None:
        """Send a frame, a long one in parts, between which others go.

        Raises:
            TimeoutError: For so long, the other side takes nothing.
            ConnectionError: The link is closed.
        """
        parts = [*frames.cut(frame)]
        async with self._cutting if len(parts) > 1 else nullcontext():
            for part in parts:
                async with asyncio.timeout(patience_s):
                    await self._socket.send(frames.encode(part))

    async def _doubt(self, seen: asyncio.Event) -> None:
        """Return once the peer was seen on the network, and does not answer here."""
        while True:
            await seen.wait()
            seen.clear()
            heard_at = self._heard_at
            try:
                await self._exchange(self.peer, "GET", "/lan/health", None, DOUBT_S)
            except AnswerLost:
                if self._heard_at == heard_at:
                    log.info("link leads nowhere", extra={"peer": self.peer})
                    return
            await self._clock.sleep(BEAT_S)  # anybody can make it be seen, as often as they like

    async def _beat(self) -> None:
        while True:
            await self._tell(Frame(kind=BEAT, body=frames.body_of(self._news())))
            began = self._clock.monotonic()
            pause_s = BEAT_S * (0.8 + 0.4 * self._chance.uniform())
            await self._clock.sleep(pause_s)
            now = self._clock.monotonic()
            if now - began - pause_s > LAG_S:
                self._heard_at = now
            elif now - self._heard_at > SILENT_S:
                log.info("link silent", extra={"peer": self.peer})
                return


def _refused(error: TooBusy | RouteNotFound) -> Reply:
    return Reply(
        status=problems.spelling(error).status, body=problems.encode(error), retry_after_s=error.retry_after_s
    )
