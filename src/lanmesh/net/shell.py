"""what stands between the network and an app: one connection, its heads, bodies and time within limits"""

import asyncio
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lanmesh.errors import HeadTooLarge, InvalidRequest, MeshError, TooBusy, TooSlow
from lanmesh.model.ids import NodeId
from lanmesh.net import head
from lanmesh.net.door import Door, Limits
from lanmesh.net.websocket import LINK_PATH, Upgraded
from lanmesh.protocol import certificates, problems

_PIECE = 16 * 1024
"""What the parser is given at a time, so that it holds little when it is told to stop."""

_LINGER_S = 2.0
"""How long a refused caller may go on sending, so that it gets to read why."""

_MAX_DISCARDED = 2 * 1024 * 1024
"""What is read of a body after its answer is out."""

_HELD_UP_S = 1.0
"""A deadline that comes to be seen so late says that this node was held up, not its caller."""

_RETRY_AFTER_S = 5.0


class _Phase(Enum):
    IDLE = auto()
    """Between requests."""
    HEAD = auto()
    BODY = auto()
    OVER = auto()
    """Refused: what comes is not read any more."""


class Shell(HttpToolsProtocol):
    """One connection: uvicorn's, which sets no limits, within limits.

    What is refused here gets a problem document and the end of its connection.
    """

    def __init__(self, *args: Any, door: Door, **more: Any) -> None:
        """Belong to a door; all else is uvicorn's."""
        super().__init__(*args, **more)
        self.certified: NodeId | None = None
        """The node whose key the connection has proven, if it has; the app finds it in its state."""
        self._door = door
        self._limits = door.limits
        self._upgraded = False
        self._phase = _Phase.IDLE
        self._messages = 0
        self._head_bytes = 0
        self._unread = 0
        """Bytes since the parser last had something whole."""
        self._got = 0
        """Bytes of the body in this span of time."""
        self._discarded = 0
        self._timed: tuple[_Phase, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._last_words: MeshError | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered here, and no WebSocket open."""
        asked = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        return not asked and not self._upgraded

    # --- what the transport tells ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        tls = transport.get_extra_info("ssl_object")
        shown = None if tls is None else tls.getpeercert(binary_form=True)
        if shown is not None:
            self.certified = certificates.node_of(shown)
            self.app_state = {**self.app_state, "certified": self.certified}
        super().connection_made(transport)
        if self._door.enter(self, self._address):
            self._mind()
        else:
            self._refuse(TooBusy("too many connections at once", retry_after_s=_RETRY_AFTER_S))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that was kept for it."""
        self._door.leave(self)
        self._phase = _Phase.OVER
        self._mind()
        self._unset_keepalive_if_required()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, piece by piece."""
        self._unset_keepalive_if_required()
        for at in range(0, len(data), _PIECE):
            if self._phase is _Phase.OVER:
                self._discard(len(data) - at)
                return
            self._feed(data if len(data) <= _PIECE else data[at : at + _PIECE])
        self._mind()
        between = self._phase is _Phase.IDLE and not self._unread
        if between and self.idle and self.timeout_keep_alive_task is None:
            # The answer was out before the request was in.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        """Give the caller some time to read what it asked for."""
        super().pause_writing()
        self._reading = self.loop.call_later(self._limits.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    # --- what the parser tells; what is raised here ends in `_feed` -----------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._messages += 1
        self._head_bytes = self._unread = self._discarded = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are passed over (RFC 9110 section 6.5.1)."""
        self._count(len(name) + len(value) + 4)
        if self._phase is _Phase.BODY:
            return
        if len(self.headers) >= self._limits.headers:
            raise HeadTooLarge(f"the request has more than {self._limits.headers} headers")
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Let the app begin, if the head is as it should be."""
        target = httptools.parse_url(self.url)
        authority = None
        if target.host:
            authority = f"{target.host.decode('latin-1')}:{target.port or 80}"
        head.check(
            self.headers, self._door.names, version=self.parser.get_http_version(), authority=authority
        )
        self._phase = _Phase.BODY
        self._unread = self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body to the app."""
        self._unread = 0
        self._got += len(body)
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._phase = _Phase.IDLE
        self._unread = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or to the last words."""
        super().on_response_complete()
        if self._last_words is not None and self.idle:
            self._say(self._last_words)

    # ---------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _feed(self, piece: bytes) -> None:
        self._unread += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._become_websocket(rest=piece[upgrade.args[0] :])
                return
            # It is answered as the plain request that it is too; the parser is done for.
            self._phase = _Phase.OVER
            self.cycle.keep_alive = False
        except httptools.HttpParserCallbackError as fault:
            cause = fault.__context__
            told = cause if isinstance(cause, MeshError) else InvalidRequest("the request's target is none")
            self._refuse(told)
        except httptools.HttpParserError as fault:
            self._refuse(InvalidRequest(f"this is no HTTP/1.1: {fault}"))
        else:
            if self._unread > self._limits.head_bytes + _PIECE:
                self._refuse(_too_large(self._limits))

    def _should_upgrade(self) -> bool:
        return bool(super()._should_upgrade()) and self.url.partition(b"?")[0] == LINK_PATH.encode()

    def _become_websocket(self, rest: bytes) -> None:
        self._phase = _Phase.OVER
        self._mind()
        self._upgraded = True  # the door keeps this shell for as long as the connection lasts
        if rest or self.pipeline or self.scope["method"] != "GET":
            self.transport.abort()  # nobody may say more before the answer
            return
        self.ws_protocol_class = partial(Upgraded, gone=lambda: self._door.leave(self))  # type: ignore[assignment]  # uvicorn calls it
        self.handle_websocket_upgrade()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            raise _too_large(self._limits)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _MAX_DISCARDED:
            self.transport.abort()

    def _mind(self) -> None:
        """Set the deadline of the phase that the connection is in."""
        waits = self._phase is not _Phase.IDLE or self._unread or not self._messages
        now_timed = (self._phase, self._messages) if waits and self._phase is not _Phase.OVER else None
        if now_timed == self._timed:
            return
        self._timed = now_timed
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if now_timed is not None:
            in_body = self._phase is _Phase.BODY
            self._got = 0
            self._set(self._limits.body_s if in_body else self._limits.head_s)

    def _set(self, seconds: float) -> None:
        due = self.loop.time() + seconds
        self._timer = self.loop.call_at(due, self._over_time, due)

    def _over_time(self, due: float) -> None:
        in_body = self._phase is _Phase.BODY
        got_on = in_body and (self._got >= self._limits.body_bytes or self.flow.read_paused)
        if got_on or self.loop.time() - due > _HELD_UP_S:
            self._got = 0
            self._set(self._limits.body_s if in_body else self._limits.head_s)
        elif not self._messages and not self._unread:
            self.transport.close()  # it has never said anything
        else:
            what = "body" if in_body else "head"
            self._refuse(TooSlow(f"the {what} of the request did not come in time"))

    def _refuse(self, error: MeshError) -> None:
        """End the connection, with the reason behind the answers that are still under way."""
        body_of_its_own = self._phase is _Phase.BODY
        self._phase = _Phase.OVER
        self._mind()
        self._door.tell(error, self._address, self.loop.time())
        if not body_of_its_own:
            if self.idle:
                self._say(error)
            else:
                self._last_words = error
        elif self.cycle.response_started or self.pipeline:
            self.transport.abort()  # its answer is out, or not yet its turn
        else:
            self._say(error)
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _say(self, error: MeshError) -> None:
        body = problems.encode(error)
        status = problems.spelling(error).status
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(f"{name}: {value}" for name, value in problems.headers(error).items()),
            f"content-length: {len(body)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        # A socket that is closed over unread bytes takes its last answer with it.
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)
        else:
            self.transport.close()


def _too_large(limits: Limits) -> HeadTooLarge:
    return HeadTooLarge(f"the head of the request has more than {limits.head_bytes} bytes")
