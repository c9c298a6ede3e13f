"""the local face, /op/*: for the CLI and programs of the owner"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lanmesh.engine.node import Node
from lanmesh.engine.watching import News
from lanmesh.errors import InvalidRequest
from lanmesh.faces.description import shaped
from lanmesh.faces.http import Route, body_of, given, json, taken, wait_of, whole_number
from lanmesh.faces.streams import EventStream, place_of, told
from lanmesh.model.ids import Origin
from lanmesh.model.task import DEFAULT_TIMEOUT_S, TaskState
from lanmesh.protocol import profiles, sse, views
from lanmesh.protocol.codec import encode
from lanmesh.protocol.files import FileBody, KeepRequest, files_named, naming
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.peer_views import PeerProfileView, PeerView, peer_view
from lanmesh.protocol.views import SettingView, StatusView
from lanmesh.protocol.wire import milliseconds

_PAGE = 50
_LONGEST_PAGE = 1000
_SEND_WAIT_S = 5.0
"""How long the answer to a message waits for the peer to have it."""


class Operator:
    """What the owner of this node may ask of it, by the token that lies in the state folder."""

    def __init__(
        self,
        node: Node,
        status: Callable[[], StatusView],
        settings: Callable[[], Sequence[SettingView]],
        take: Callable[[bytes], None],
    ) -> None:
        """Speak for a node; what the daemon alone knows and does are the three functions."""
        self._node = node
        self._take = take
        self._status = status
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        return [
            Route("GET", "/op/status", self.status),
            Route("GET", "/op/config", self.config),
            Route("POST", "/op/config", self.configure),
            Route("GET", "/op/profile", self.profile),
            Route("GET", "/op/peers", self.peers),
            Route("GET", "/op/peers/{peer}/profile", self.peer_profile),
            Route("GET", "/op/messages", self.messages),
            Route("POST", "/op/messages", self.send),
            Route("POST", "/op/messages/read", self.read),
            Route("POST", "/op/files", self.keep),
            Route("GET", "/op/outbox", self.outbox),
            Route("POST", "/op/outbox/{delivery}/resend", self.resend),
            Route("GET", "/op/tasks", self.tasks),
            Route("POST", "/op/tasks", self.delegate),
            Route("GET", "/op/tasks/{task}", self.task),
            Route("GET", "/op/tasks/{task}/events", self.events),
            Route("POST", "/op/tasks/{task}/approve", self.approve),
            Route("POST", "/op/tasks/{task}/deny", self.deny),
            Route("POST", "/op/tasks/{task}/ask", self.ask),
            Route("POST", "/op/tasks/{task}/answer", self.answer),
            Route("POST", "/op/tasks/{task}/cancel", self.cancel),
            Route("PUT", "/op/accept", self.accept),
        ]

    @shaped(Shape(gives=StatusView))
    async def status(self, _request: Request) -> Response:
        """Tell how the node fares."""
        return given(self._status())

    @shaped(Shape(gives=list[SettingView]))
    async def config(self, _request: Request) -> Response:
        """Tell each setting and where it came from."""
        return given(list(self._settings()))

    @shaped(Shape(takes=dict[str, Any]))
    async def configure(self, request: Request) -> Response:
        """Take the settings of the plugin, as on stdin at the start; the node begins anew with them."""
        self._take(await body_of(request))
        return given({"taken": True})

    @shaped(Shape(gives=profiles.ProfileBody))
    async def profile(self, _request: Request) -> Response:
        """Tell what this node tells its peers of itself."""
        return json(profiles.encode(self._node.peers.own_profile()))

    @shaped(Shape(gives=list[PeerView]))
    async def peers(self, _request: Request) -> Response:
        """Tell which peers there are and what was last seen of them."""
        return given(peer_views(self._node))

    @shaped(Shape(gives=PeerProfileView))
    async def peer_profile(self, request: Request) -> Response:
        """Tell what a peer is: fresh if it answers, else as it last said."""
        seen = await self._node.peers.profile(request.path_params["peer"])
        view = PeerProfileView(
            profile=msgspec.Raw(seen.body), seen_at=milliseconds(seen.seen_at), error=seen.error
        )
        return given(view)

    @shaped(Shape(gives=list[views.MessageView], query=("limit", "unread")))
    async def messages(self, request: Request) -> Response:
        """Tell the latest messages, the oldest of them first."""
        unread = request.query_params.get("unread") == "1"
        mail = self._node.mail.inbox(_limit(request), unread=unread)
        of = self._node.files.of_message
        return given([views.message_view(each, of(Origin(each.origin), each.id)) for each in mail])

    @shaped(Shape(takes=views.SendRequest, gives=views.DeliveryView, status=(202,)))
    async def send(self, request: Request) -> Response:
        """Say something to a peer."""
        asked = await taken(request, views.SendRequest)
        delivery = await self._node.mail.send(
            asked.peer, asked.text, files=files_named(asked.files), wait_s=_SEND_WAIT_S
        )
        return given(views.delivery_view(delivery), 202)

    @shaped(Shape(takes=KeepRequest, gives=list[FileBody]))
    async def keep(self, request: Request) -> Response:
        """Keep copies of files of this machine, to be sent with something; folders are all their files."""
        asked = await taken(request, KeepRequest)
        return given(naming(await self._node.files.keep(asked.paths)))

    @shaped(Shape(takes=views.ReadRequest, status=(204,)))
    async def read(self, request: Request) -> Response:
        """Note that messages were read."""
        asked = await taken(request, views.ReadRequest)
        await self._node.mail.mark_read(asked.numbers)
        return Response(status_code=204)

    @shaped(Shape(gives=list[views.DeliveryView], query=("limit",)))
    async def outbox(self, request: Request) -> Response:
        """Tell what waits for peers and what was given up, the newest first."""
        return given([views.delivery_view(item) for item in self._node.mail.outbox(_limit(request))])

    @shaped(Shape(gives=views.DeliveryView, status=(202,)))
    async def resend(self, request: Request) -> Response:
        """Send something again under its own id; a task whose end was only assumed is open again."""
        again = await self._node.mail.resend(request.path_params["delivery"])
        return given(views.delivery_view(again), 202)

    @shaped(Shape(gives=list[views.TaskView], query=("approvals", "limit", "state")))
    async def tasks(self, request: Request) -> Response:
        """Tell the latest tasks, the newest first; or those that wait for approval, the oldest first."""
        if request.query_params.get("approvals") == "1":
            waiting = self._node.tasks.awaiting_approval(_limit(request))
            return given([views.task_view(task) for task in waiting])
        state = request.query_params.get("state")
        if state is not None and state not in set(TaskState):
            raise InvalidRequest(f"state must be one of {', '.join(TaskState)}")
        chosen = None if state is None else TaskState(state)
        return given([views.task_view(task) for task in self._node.tasks.page(_limit(request), chosen)])

    @shaped(Shape(takes=views.DelegateRequest, gives=views.TaskView, status=(202,)))
    async def delegate(self, request: Request) -> Response:
        """Ask a peer to do something."""
        asked = await taken(request, views.DelegateRequest)
        timeout_s = DEFAULT_TIMEOUT_S if asked.timeout is None else asked.timeout / 1000
        task = await self._node.tasks.delegate(
            asked.peer,
            asked.text,
            timeout_s=timeout_s,
            parent=asked.parent,
            files=files_named(asked.files),
        )
        return self._task(task.local_id, 202)

    @shaped(Shape(gives=views.TaskView, query=("wait", "version")))
    async def task(self, request: Request) -> Response:
        """Tell all about a task; hold the answer back while nothing new is known."""
        name, query = request.path_params["task"], request.query_params
        wait_s = wait_of(query)
        if wait_s:
            task = await self._node.tasks.watch(name, wait_s=wait_s, version=whole_number(query, "version"))
            name = task.local_id
        return self._task(name)

    @shaped(Shape(status=(200, 204), media="text/event-stream"))
    async def events(self, request: Request) -> Response:
        """Tell what happens to a task, as it happens, until its end."""
        place = place_of(request)
        news = self._node.tasks.events(request.path_params["task"], place.version, place.seen)
        return Response(status_code=204) if news is None else EventStream(_frames(news, place))

    @shaped(Shape(gives=views.TaskView))
    async def approve(self, request: Request) -> Response:
        """Let a waiting task run."""
        return self._task((await self._node.tasks.approve(request.path_params["task"])).local_id)

    @shaped(Shape(gives=views.TaskView))
    async def deny(self, request: Request) -> Response:
        """End a waiting task."""
        return self._task((await self._node.tasks.deny(request.path_params["task"])).local_id)

    @shaped(Shape(takes=views.Words, gives=views.TaskView))
    async def ask(self, request: Request) -> Response:
        """Have the run of a task here ask its asker."""
        asked = await taken(request, views.Words)
        return self._task((await self._node.tasks.ask(request.path_params["task"], asked.text)).local_id)

    @shaped(Shape(takes=views.Words, gives=views.TaskView, status=(202,)))
    async def answer(self, request: Request) -> Response:
        """Answer what a task that a peer was asked for has asked."""
        asked = await taken(request, views.Words)
        task = await self._node.tasks.answer(request.path_params["task"], asked.text)
        return self._task(task.local_id, 202)

    @shaped(Shape(gives=views.TaskView, status=(200, 202)))
    async def cancel(self, request: Request) -> Response:
        """Have a task end before its time, and all that it has asked of peers."""
        task = await self._node.tasks.cancel(request.path_params["task"])
        return self._task(task.local_id, 200 if task.final else 202)

    @shaped(Shape(takes=views.AcceptRequest, gives=views.AcceptRequest))
    async def accept(self, request: Request) -> Response:
        """Decide what is done with tasks that arrive."""
        asked = await taken(request, views.AcceptRequest)
        await self._node.modes.decide(asked.mode, asked.peer)
        return given(asked)

    def _task(self, name: str, status: int = 200) -> Response:
        found = self._node.tasks.find(name)
        events = [views.event_view(event) for event in found.events]
        files = self._node.files.of_task(found.task.local_id)
        return given(views.task_view(found.task, found.delivery, events, files), status)


async def _frames(news: AsyncGenerator[News, None], place: sse.Place) -> AsyncGenerator[bytes, None]:
    async with aclosing(news):
        async for some in news:
            place, frames = told(
                place,
                some,
                lambda event: encode(views.event_view(event)),
                lambda task, last: encode(views.task_view(task, events=[views.event_view(last)])),
            )
            yield frames


def peer_views(node: Node) -> list[PeerView]:
    """Return how the peers are shown."""
    return [
        peer_view(
            state.peer,
            state.contact,
            has_token=state.has_token,
            queued=state.queued,
            presence=state.presence,
            accept_mode=node.modes.of(state.peer.id),
        )
        for state in node.peers.all()
    ]


def _limit(request: Request) -> int:
    return min(whole_number(request.query_params, "limit") or _PAGE, _LONGEST_PAGE)
