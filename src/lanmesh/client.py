"""ask a running node: the library for programs and for the CLI"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from lanmesh.errors import InvalidRequest, NodeUnreachable, TimedOut
from lanmesh.locations import StateFolder
from lanmesh.model.draft import START, Mark, Passage
from lanmesh.model.ids import quoted
from lanmesh.model.peer import DEFAULT_PORT
from lanmesh.model.task import AcceptMode
from lanmesh.protocol import drafts, problems, sse
from lanmesh.protocol.drafts import DraftBody
from lanmesh.protocol.files import FileBody, KeepRequest
from lanmesh.protocol.peer_views import (
    InvitationView,
    PairingView,
    PairRequest,
    PeerProfileView,
    PeerView,
    UpgradeRequest,
)
from lanmesh.protocol.views import (
    AcceptRequest,
    DelegateRequest,
    DeliveryView,
    EventView,
    MessageView,
    ReadRequest,
    SendRequest,
    SettingView,
    StatusView,
    TaskView,
    Words,
)

T = TypeVar("T")

NO_CONTENT = 204
LONGEST_SILENCE_S = 60.0
"""Of a stream of events; a node says every 15 s that it still goes on."""

LONGEST_WAIT_S = 50.0
"""Of one question to the node; a longer wait is many questions."""


class Client:
    """A connection to the node of one state folder, for the owner's programs.

    Every method raises what the node raises, in the same classes; see `lanmesh.errors`.

    Example:
        async with Client(StateFolder(path=state_folder(os.environ))) as node:
            task = await node.delegate("server-219", "count the words of …")
            while task.state not in FINAL:
                task = await node.watch(task.id, wait_s=LONGEST_WAIT_S)
    """

    def __init__(self, folder: StateFolder) -> None:
        """Speak to the node that holds a state folder, whether it runs yet or not."""
        self._folder = folder
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        """Find the node.

        Raises:
            NodeUnreachable: None runs in this state folder.
        """
        if not self._folder.is_held():
            raise NodeUnreachable(self._hint())  # what an ended node left behind may lead to another's port
        try:
            address = json.loads(self._folder.node.read_text(encoding="utf-8"))["operator"]
            token = self._folder.operator_token.read_text(encoding="utf-8").strip()
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise NodeUnreachable(self._hint()) from fault
        self._session = aiohttp.ClientSession(
            base_url=f"http://{address['host']}:{address['port']}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=LONGEST_WAIT_S + 30, sock_connect=5),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the node."""
        if self._session is not None:
            await self._session.close()

    async def status(self) -> StatusView:
        """Return how the node fares."""
        return await self._get("/op/status", StatusView)

    async def settings(self) -> list[SettingView]:
        """Return each setting and where it came from."""
        return await self._get("/op/config", list[SettingView])

    async def profile(self) -> dict[str, Any]:
        """Return what the node tells its peers of itself."""
        return await self._get("/op/profile", dict[str, Any])

    async def peers(self) -> list[PeerView]:
        """Return the peers and what was last seen of them."""
        return await self._get("/op/peers", list[PeerView])

    async def peer_profile(self, peer: str) -> PeerProfileView:
        """Return a peer's profile: fresh if it answers, else the one it last showed."""
        return await self._get(f"/op/peers/{_segment(peer)}/profile", PeerProfileView)

    async def keep(self, *paths: str) -> list[FileBody]:
        """Have the node keep copies of files of this machine, by absolute paths, to be sent."""
        if not paths:
            return []
        body = msgspec.json.encode(KeepRequest(paths=list(paths)))
        headers = {"Content-Type": "application/json"}
        patient = aiohttp.ClientTimeout(sock_connect=5)
        async with self._asked("POST", "/op/files", data=body, headers=headers, timeout=patient) as answer:
            return msgspec.json.decode(await answer.read(), type=list[FileBody])

    async def send(self, peer: str, text: str, *, files: Sequence[FileBody] = ()) -> DeliveryView:
        """Say something to a peer; returns after the first attempt to deliver it, or 5 s."""
        asked = SendRequest(peer=peer, text=text, files=list(files))
        return await self._call("POST", "/op/messages", DeliveryView, asked)

    async def messages(self, *, unread: bool = False, limit: int = 50) -> list[MessageView]:
        """Return the latest messages, the oldest of them first."""
        return await self._get(f"/op/messages?limit={limit}&unread={int(unread)}", list[MessageView])

    async def mark_read(self, numbers: list[int]) -> None:
        """Note that messages were read."""
        await self._request("POST", "/op/messages/read", msgspec.json.encode(ReadRequest(numbers=numbers)))

    async def delegate(
        self,
        peer: str,
        text: str,
        *,
        timeout_s: float | None = None,
        parent: str | None = None,
        files: Sequence[FileBody] = (),
    ) -> TaskView:
        """Ask a peer to do something; the task is stored when this returns, not yet done."""
        try:
            timeout = None if timeout_s is None else round(timeout_s * 1000)
        except (ValueError, OverflowError) as fault:
            raise InvalidRequest("the timeout must be a number of seconds") from fault
        asked = DelegateRequest(peer=peer, text=text, timeout=timeout, parent=parent, files=list(files))
        return await self._call("POST", "/op/tasks", TaskView, asked)

    async def outbox(self, *, limit: int = 50) -> list[DeliveryView]:
        """Return what waits for peers and what was given up, the newest first."""
        return await self._get(f"/op/outbox?limit={limit}", list[DeliveryView])

    async def resend(self, delivery: str) -> DeliveryView:
        """Send something again, by the id of its envelope or its task, or the first characters of one."""
        return await self._call("POST", f"/op/outbox/{_segment(delivery)}/resend", DeliveryView)

    async def tasks(self, *, state: str | None = None, limit: int = 50) -> list[TaskView]:
        """Return the latest tasks, the newest first."""
        chosen = "" if state is None else f"&state={_segment(state)}"
        return await self._get(f"/op/tasks?limit={limit}{chosen}", list[TaskView])

    async def approvals(self, *, limit: int = 50) -> list[TaskView]:
        """Return the tasks that wait for the owner's word, the oldest first."""
        return await self._get(f"/op/tasks?limit={limit}&approvals=1", list[TaskView])

    async def task(self, task: str) -> TaskView:
        """Return all about a task, by its id, the first characters of it, or its wire id."""
        return await self._get(f"/op/tasks/{_segment(task)}", TaskView)

    async def watch(self, task: str, *, wait_s: float, version: int | None = None) -> TaskView:
        """Return a task once it is final or newer than a version, or after `wait_s` as it is.

        One question to the node: `wait_s` beyond `LONGEST_WAIT_S` counts as that.
        """
        newer = "" if version is None else f"&version={version}"
        wait_s = min(wait_s, LONGEST_WAIT_S)
        return await self._get(f"/op/tasks/{_segment(task)}?wait={wait_s:g}{newer}", TaskView)

    async def events(
        self, task: str, *, after: int = 0, seen: Mark = START
    ) -> AsyncGenerator[EventView | Passage | TaskView, None]:
        """Yield what happens to a task after one of its versions, as it happens, and last its end.

        That is the finished task, whose `events` hold the last one; nothing is yielded if it was
        finished at that version already. In between, what its run writes beyond a mark: of another
        run it begins anew, and the result takes the place of all of it.

        Example:
            async for news in node.events(task.id):
                if isinstance(news, TaskView):
                    print(news.result)
                elif isinstance(news, Passage):
                    print(news.text, end="")
                elif news.event == PROGRESS:
                    print(news.detail)

        Raises:
            NodeUnreachable: The node has stopped; the next one tells on from the version of the
                last event, and the `end` of the last passage.
        """
        path = f"/op/tasks/{_segment(task)}/events"
        timeout = aiohttp.ClientTimeout(sock_connect=5, sock_read=LONGEST_SILENCE_S)
        headers = {"Last-Event-ID": str(sse.Place(after, seen))}
        reader = sse.Reader()
        async with self._asked("GET", path, headers=headers, timeout=timeout) as answer:
            if answer.status == NO_CONTENT:
                return
            async for chunk in answer.content.iter_any():
                for frame in reader.feed(chunk):
                    if frame.event == "end":
                        yield msgspec.json.decode(frame.data, type=TaskView)
                        return
                    if frame.event == "draft":
                        yield drafts.passage(msgspec.json.decode(frame.data, type=DraftBody))
                    else:
                        yield msgspec.json.decode(frame.data, type=EventView)
        raise NodeUnreachable(f"the node in {self._folder.path} has stopped; the task goes on with it")

    async def approve(self, task: str) -> TaskView:
        """Let a waiting task run."""
        return await self._call("POST", f"/op/tasks/{_segment(task)}/approve", TaskView)

    async def deny(self, task: str) -> TaskView:
        """End a waiting task."""
        return await self._call("POST", f"/op/tasks/{_segment(task)}/deny", TaskView)

    async def ask(self, task: str, question: str) -> TaskView:
        """Have the run of a task here ask its asker; the next run has the answer."""
        return await self._call("POST", f"/op/tasks/{_segment(task)}/ask", TaskView, Words(text=question))

    async def answer(self, task: str, text: str) -> TaskView:
        """Answer what a task that a peer was asked for has asked; it goes on with that."""
        return await self._call("POST", f"/op/tasks/{_segment(task)}/answer", TaskView, Words(text=text))

    async def cancel(self, task: str) -> TaskView:
        """Have a task end before its time; it is `canceling` until it is known whether it has."""
        return await self._call("POST", f"/op/tasks/{_segment(task)}/cancel", TaskView)

    async def accept(self, mode: AcceptMode, peer: str | None = None) -> AcceptMode:
        """Decide what is done with tasks that arrive, of all or of one peer; return what is done then."""
        asked = AcceptRequest(mode=mode, peer=peer)
        return (await self._call("PUT", "/op/accept", AcceptRequest, asked)).mode

    async def invite(self) -> InvitationView:
        """Show a new code, which can be typed on another node for two minutes."""
        return await self._call("POST", "/op/pairing", InvitationView)

    async def expected(self, *, wait_s: float) -> InvitationView:
        """Return what has come of the code, once somebody has used it, or after `wait_s` as it is."""
        return await self._get(f"/op/pairing?wait={min(wait_s, LONGEST_WAIT_S):g}", InvitationView)

    async def pair(self, code: str, host: str | None = None, port: int = DEFAULT_PORT) -> PairingView:
        """Pair with the node at an address that shows a code; without one, with the one on the network."""
        asked = PairRequest(code=code, host=host, port=port)
        return await self._call("POST", "/op/pairing/dial", PairingView, asked)

    async def upgrade(self, peer: str, host: str | None = None, port: int | None = None) -> PairingView:
        """Pair with a peer by the tokens that both have for each other; of a paired one, renew them."""
        asked = UpgradeRequest(host=host, port=port)
        return await self._call("POST", f"/op/peers/{_segment(peer)}/upgrade", PairingView, asked)

    async def unpair(self, peer: str) -> None:
        """Forget what a peer has proven, and close its connections."""
        await self._request("POST", f"/op/peers/{_segment(peer)}/unpair", None)

    async def block(self, peer: str) -> None:
        """Let a paired node be no peer any more, until it is unpaired."""
        await self._request("POST", f"/op/peers/{_segment(peer)}/block", None)

    async def _get(self, path: str, kind: type[T]) -> T:
        return await self._call("GET", path, kind)

    async def _call(self, method: str, path: str, kind: type[T], asked: msgspec.Struct | None = None) -> T:
        try:
            body = None if asked is None else msgspec.json.encode(asked)
        except UnicodeEncodeError as fault:
            raise InvalidRequest("the text is not UTF-8") from fault
        return msgspec.json.decode(await self._request(method, path, body), type=kind)

    async def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self._asked(method, path, data=body, headers=headers) as answer:
            return await answer.read()

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, **more: Any
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        if self._session is None:
            raise NodeUnreachable("use the client as `async with Client(…) as node`")
        try:
            async with self._session.request(method, path, **more) as answer:
                if not answer.ok:
                    raise problems.decode(answer.status, await answer.read())
                yield answer
        except TimeoutError as fault:
            raise TimedOut(f"the node in {self._folder.path} does not answer; its log says why") from fault
        except aiohttp.ClientError as fault:
            raise NodeUnreachable(self._hint()) from fault

    def _hint(self) -> str:
        return f"no node runs in {self._folder.path}; start one with `lanmesh run`"


def _segment(text: str) -> str:
    if text in {"", ".", ".."} or "/" in text:
        raise InvalidRequest(f"{quoted(text)} is no id and no name")
    return quote(text, safe="", errors="surrogatepass")
