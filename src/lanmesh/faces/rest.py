"""the REST face, /lan/*"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from lanmesh.engine.callers import Caller
from lanmesh.engine.node import Node
from lanmesh.engine.watching import News
from lanmesh.errors import CertMismatch, ClientCertRequired, InvalidRequest, NotAllowed, NotAuthenticated
from lanmesh.faces.description import Description, shaped
from lanmesh.faces.http import (
    Route,
    bearer,
    body_of,
    certified,
    given,
    json,
    wait_of,
    whole_number,
)
from lanmesh.faces.streams import EventStream, place_of, told
from lanmesh.model.draft import mark
from lanmesh.model.envelope import (
    PROTOCOL_VERSION,
    Answer,
    Cancel,
    Envelope,
    EnvelopeType,
    TaskRequest,
    carried,
)
from lanmesh.model.history import PROGRESS, Event
from lanmesh.model.ids import WireId
from lanmesh.model.report import report_of
from lanmesh.model.task import FINAL, TaskState
from lanmesh.protocol import codec, profiles, reports, sse
from lanmesh.protocol.codec import Health, Stored, Whoami
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.pairing import Confirmation, Confirmed, Hello, Welcome
from lanmesh.protocol.reports import ReportBody
from lanmesh.protocol.wire import milliseconds

_NOTHING = {b"", b"{}"}
"""Bodies that say no more than the address does."""


class Rest:
    """What peers, and any program with a token, may ask of this node."""

    def __init__(self, node: Node, others: Sequence[Route] = ()) -> None:
        """Speak for a node; the other routes are described with those of this face."""
        self._node = node
        self._others = others

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        routes = [
            Route("GET", "/lan/health", self.health),
            Route("GET", "/lan/whoami", self.whoami),
            Route("POST", "/lan/pair/start", self.pair_start),
            Route("POST", "/lan/pair/finish", self.pair_finish),
            Route("GET", "/lan/profile", self.profile),
            Route("POST", "/lan/message", self.message),
            Route("POST", "/lan/task", self.task),
            Route("POST", "/lan/result", self.result),
            Route("GET", "/lan/task/{id}", self.report),
            Route("GET", "/lan/task/{id}/events", self.events),
            Route("POST", "/lan/task/{id}/answer", self.answer),
            Route("POST", "/lan/task/{id}/cancel", self.cancel),
            *self._others,
        ]
        title = "OpenClaw LAN Mesh: the mesh port"
        return [*routes, *Description("/lan/openapi.json", title, PROTOCOL_VERSION, routes).routes()]

    @shaped(Shape(gives=Health, anyone=True))
    async def health(self, _request: Request) -> Response:
        """Tell anyone that this node lives."""
        node = self._node
        health = Health(version=node.version, node_id=node.node_id, uptime=round(node.uptime_s, 3))
        return given(health)

    @shaped(Shape(gives=Whoami, anyone=True))
    async def whoami(self, request: Request) -> Response:
        """Tell a caller what its token is worth here."""
        try:
            caller = await self._caller(request)
        except ClientCertRequired:
            return given(Whoami(status="client_cert_required"))
        except CertMismatch:
            return given(Whoami(status="cert_mismatch"))
        except NotAuthenticated:
            return given(Whoami(status="not_paired"))
        return given(Whoami(status="paired", origin=caller.origin))

    @shaped(Shape(takes=Hello, gives=Welcome, anyone=True))
    async def pair_start(self, request: Request) -> Response:
        """Take part in one try of a node that was told this one's code; over TLS only."""
        _over_tls(request)
        return json(self._node.pairing.start(await body_of(request), _address(request)))

    @shaped(Shape(takes=Confirmation, gives=Confirmed, anyone=True))
    async def pair_finish(self, request: Request) -> Response:
        """Store the pairing with a node that proves that it knew the code; over TLS only."""
        _over_tls(request)
        return json(await self._node.pairing.finish(await body_of(request), _address(request)))

    @shaped(Shape(gives=profiles.ProfileBody))
    async def profile(self, request: Request) -> Response:
        """Tell a peer what this node is, offers and has to do."""
        caller = await self._caller(request)
        return json(profiles.encode(self._node.peers.own_profile(caller)))

    @shaped(Shape(envelope=EnvelopeType.MESSAGE, gives=Stored, status=(202,)))
    async def message(self, request: Request) -> Response:
        """Take a message."""
        caller, envelope, digest = await self._envelope(request, EnvelopeType.MESSAGE)
        stored = await self._node.mail.receive(caller, envelope, digest)
        return given(Stored(id=stored), 202)

    @shaped(Shape(envelope=EnvelopeType.TASK, gives=ReportBody, status=(200, 202)))
    async def task(self, request: Request) -> Response:
        """Take a task; in mode `wait`, hold the answer back for its outcome."""
        caller, envelope, digest = await self._envelope(request, EnvelopeType.TASK)
        report = await self._node.arrivals.receive(caller, envelope, digest)
        wait_s = carried(envelope, TaskRequest).wait_s
        if wait_s and not caller.early_s:
            report = await self._node.arrivals.report(caller, report.local_id, wait_s=wait_s)
        return json(reports.encode(report), 200 if report.state in FINAL else 202)

    @shaped(Shape(envelope=EnvelopeType.RESULT, gives=ReportBody, status=(202,)))
    async def result(self, request: Request) -> Response:
        """Take what its doer says of a task that this node asked for."""
        caller, envelope, digest = await self._envelope(
            request, EnvelopeType.RESULT, EnvelopeType.QUESTION, EnvelopeType.CANCEL_RESULT
        )
        return json(reports.encode(await self._node.arrivals.receive_result(caller, envelope, digest)), 202)

    @shaped(Shape(gives=ReportBody, query=("wait", "version", "draft")))
    async def report(self, request: Request) -> Response:
        """Tell how a task of the caller's fares."""
        caller = await self._caller(request)
        query = request.query_params
        report = await self._node.arrivals.report(
            caller,
            request.path_params["id"],
            wait_s=wait_of(query),
            version=whole_number(query, "version"),
            draft=mark(query["draft"]) if "draft" in query else None,
        )
        return json(reports.encode(report))

    @shaped(Shape(status=(200, 204), media="text/event-stream"))
    async def events(self, request: Request) -> Response:
        """Tell what happens to a task of the caller's, as it happens, until its end."""
        caller = await self._caller(request)
        place = place_of(request)
        news = self._node.arrivals.events(caller, request.path_params["id"], place.version, place.seen)
        if news is None:
            return Response(status_code=204)
        return EventStream(self._frames(request, caller, news, place))

    async def _frames(
        self, request: Request, caller: Caller, news: AsyncGenerator[News, None], place: sse.Place
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(news):
            async for some in news:
                if not self._node.still_knows(caller, bearer(request), certified(request)):
                    return  # its token was taken back meanwhile
                place, frames = told(
                    place, some, _happening, lambda task, _last: reports.encode(report_of(task))
                )
                yield frames

    @shaped(Shape(envelope=EnvelopeType.ANSWER, gives=ReportBody, status=(202,)))
    async def answer(self, request: Request) -> Response:
        """Take the answer to what a task of the caller's has asked."""
        caller, name, body = await self._caller(request), request.path_params["id"], await body_of(request)
        said = parse(body)
        if isinstance(said, dict) and "payload" not in said:
            text = convert(said, codec.SaidToTask).text
            return json(reports.encode(await self._node.arrivals.answer_named(caller, name, text)), 202)
        envelope, digest = self._of_type(request, body, EnvelopeType.ANSWER)
        _check_address(carried(envelope, Answer).task_id, name)
        return json(reports.encode(await self._node.arrivals.answer(caller, envelope, digest)), 202)

    @shaped(Shape(envelope=EnvelopeType.CANCEL, gives=ReportBody, status=(200, 202)))
    async def cancel(self, request: Request) -> Response:
        """Have a task of the caller's end before its time."""
        caller, name = await self._caller(request), request.path_params["id"]
        body = await body_of(request)
        if body.strip() in _NOTHING:
            report = await self._node.arrivals.cancel_named(caller, name)
        else:
            envelope, digest = self._of_type(request, body, EnvelopeType.CANCEL)
            _check_address(carried(envelope, Cancel).task_id, name)
            report = await self._node.arrivals.cancel(caller, envelope, digest)
        return json(reports.encode(report), 200 if report.state in FINAL else 202)

    async def _caller(self, request: Request) -> Caller:
        return await self._node.identify(bearer(request), certified(request))

    async def _envelope(self, request: Request, *kinds: EnvelopeType) -> tuple[Caller, Envelope, bytes]:
        caller = await self._caller(request)
        return caller, *self._of_type(request, await body_of(request), *kinds)

    def _of_type(self, request: Request, body: bytes, *kinds: EnvelopeType) -> tuple[Envelope, bytes]:
        envelope, digest = codec.decode_envelope(body, self._node.local_name)
        if envelope.type not in kinds:
            raise InvalidRequest(f"a {envelope.type} envelope does not belong to {request.url.path}")
        return envelope, digest


def _happening(event: Event) -> bytes:
    happening = sse.Happening(
        version=event.version,
        at=milliseconds(event.at),
        state=TaskState(event.state),
        progress=event.detail if event.kind == PROGRESS else None,
    )
    return codec.encode(happening)


def _check_address(task: WireId, name: str) -> None:
    if task != name:
        raise InvalidRequest("payload.taskId is not the task of the address")


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _over_tls(request: Request) -> None:
    """Refuse a ceremony whose connection proves no key of this node, as through the gateway.

    Raises:
        NotAllowed: It came in clear text.
    """
    if request.url.scheme != "https":
        raise NotAllowed("nodes pair on the mesh port, by TLS")
