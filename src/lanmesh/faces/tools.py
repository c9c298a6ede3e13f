"""the tools of an agent beside this node, /op/tools/*: answers in words that a model reads"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from lanmesh.engine.node import Node
from lanmesh.engine.peers import PeerState
from lanmesh.errors import InvalidRequest, MeshError, NotAllowed, RouteNotFound, TimedOut
from lanmesh.faces.description import shaped
from lanmesh.faces.http import Route, body_of, json
from lanmesh.model import ids
from lanmesh.model.envelope import Mail
from lanmesh.model.file import WHOLE_RESULT, FileRef, FileState
from lanmesh.model.ids import LocalId, Origin, short
from lanmesh.model.task import DEFAULT_TIMEOUT_S, Task, TaskState, WaitingFor
from lanmesh.protocol import sessions
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.quoting import fenced, one_line

T = TypeVar("T")

_HOLD_S = 25.0
"""How long one call is held; the plugin asks again for as long as the tool may wait."""

_MOST_WORDS = 1000
"""Characters of a run's latest words that a model is shown: enough to see how far it is."""

_CANCEL_S = 10.0
"""How long an agent waits to hear what became of its cancel; most runs end at once."""

_PROFILE_S = 3.0
"""How long a list of peers waits for those that do not answer."""


class _ToolCall(msgspec.Struct, kw_only=True):
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    session: str | None = None
    workspace: str | None = None
    """The folder that the agent works in, if it may read there what this node may."""


class _Args(msgspec.Struct, kw_only=True, rename="camel"):
    """What a model passes to a tool."""


class _None(_Args, kw_only=True):
    pass


class _Send(_Args, kw_only=True):
    peer: str
    text: str
    files: list[str] = msgspec.field(default_factory=list)


class _Inbox(_Args, kw_only=True):
    unread: bool = True
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class _Delegate(_Args, kw_only=True):
    peer: str
    task: str
    files: list[str] = msgspec.field(default_factory=list)
    timeout_seconds: Annotated[float, Meta(gt=0)] = DEFAULT_TIMEOUT_S


class _Task(_Args, kw_only=True):
    task: str
    action: Annotated[str, Meta(pattern="^(status|wait|answer|cancel)$")] = "status"
    wait_seconds: Annotated[float, Meta(ge=0)] = _HOLD_S
    answer: str = ""
    version: Annotated[int, Meta(ge=0)] | None = None
    """What the caller has seen of the task; the plugin says it, so that it misses nothing."""


class _Reply(_Args, kw_only=True):
    result: str | None = None
    question: str | None = None
    files: list[str] = msgspec.field(default_factory=list)


class Answer(msgspec.Struct, kw_only=True):
    """What a tool says to the model."""

    text: str
    task: str | None = None
    """The task that it is about."""
    open: bool = False
    """Whether that task goes on by itself, so that asking again may tell more."""
    version: int | None = None
    """Of that task, as it is told here."""
    terminate: bool = False
    """Whether the model's turn has nothing more to do."""


@dataclass(frozen=True, slots=True)
class _Calling:
    """Who calls, as the gateway tells it; the model has no say in that."""

    session: str | None
    workspace: str | None
    gone: Callable[[], Awaitable[bool]]
    """Whether nobody waits for the answer any more."""

    @property
    def run(self) -> LocalId | None:
        """The task of a peer that this session does, if it does one."""
        return sessions.task_of(self.session)


@dataclass(frozen=True, slots=True)
class _Tool:
    args: type[_Args]
    answer: Callable[[Any, _Calling], Awaitable[Answer]]


class Tools:
    """What an agent may ask of the node by tool calls of the plugin."""

    def __init__(self, node: Node) -> None:
        """Speak for a node."""
        self._node = node
        self._tools: Mapping[str, _Tool] = {
            "lan_peers": _Tool(_None, self.peers),
            "lan_send": _Tool(_Send, self.send),
            "lan_inbox": _Tool(_Inbox, self.inbox),
            "lan_delegate": _Tool(_Delegate, self.delegate),
            "lan_task": _Tool(_Task, self.task),
            "lan_task_reply": _Tool(_Reply, self.reply),
        }

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        return [Route("POST", "/op/tools/{tool}", self.call)]

    @shaped(Shape(takes=_ToolCall, gives=Answer))
    async def call(self, request: Request) -> Response:
        """Answer a tool call."""
        name = request.path_params["tool"]
        tool = self._tools.get(name)
        if tool is None:
            raise RouteNotFound(f"no tool {ids.quoted(name)}; there are {', '.join(self._tools)}")
        call = convert(parse(await body_of(request)), _ToolCall)
        calling = _Calling(call.session, call.workspace, request.is_disconnected)
        answer = await tool.answer(convert(call.args, tool.args), calling)
        over = not answer.open and not await request.is_disconnected()
        if over and answer.task is not None and answer.version is not None:
            # Only what somebody hears counts as read: an abort may have come while the call was held.
            await self._node.tasks.mark_read(LocalId(answer.task), answer.version)
        return json(msgspec.json.encode(answer))

    async def peers(self, _args: _None, _calling: _Calling) -> Answer:
        """Tell who can be asked, what each offers and how busy it is."""
        states = self._node.peers.all()
        if not states:
            return Answer(text="There are no peers yet: the owner pairs with one by typing /lan-pair.")
        return Answer(text="\n".join(await asyncio.gather(*(self._peer(state) for state in states))))

    async def send(self, args: _Send, calling: _Calling) -> Answer:
        """Say something to a peer; it starts no work there."""
        kept = await self._kept(args.files, calling)
        delivery = await self._node.mail.send(args.peer, args.text, files=kept, wait_s=5.0)
        detail = f" ({delivery.error})" if delivery.error else ""
        follow = f" {_count(kept)} will follow." if kept else ""
        return Answer(text=f"Message to {delivery.peer}: {delivery.state}{detail}.{follow}")

    async def inbox(self, args: _Inbox, _calling: _Calling) -> Answer:
        """Show messages, and where their files lie; they count as read from then on."""
        mail = self._node.mail.inbox(args.limit, unread=args.unread)
        await self._node.mail.mark_read([message.number for message in mail if message.read_at is None])
        return Answer(text="\n\n".join(map(self._message, mail)) or "No new messages.")

    async def delegate(self, args: _Delegate, calling: _Calling) -> Answer:
        """Give a peer something to do; the plugin then waits for its outcome by `lan_task`."""
        kept = await self._kept(args.files, calling)
        task = await self._node.tasks.delegate(
            args.peer,
            args.task,
            timeout_s=args.timeout_seconds,
            parent=calling.run,
            session=calling.session,
            files=kept,
        )
        return self._told(task)

    async def task(self, args: _Task, calling: _Calling) -> Answer:
        """Tell how a task fares, wait for news, answer its question, or have it end."""
        task = self._node.tasks.find(args.task).task
        if args.action == "answer":
            _check_own(task, calling.run)
            return self._told(await self._node.tasks.answer(task.local_id, args.answer))
        if args.action == "cancel":
            return self._told(await self._canceled(task, calling.run))
        if args.action == "wait":
            seen = task.version if args.version is None else args.version
            wait_s = min(args.wait_seconds, _HOLD_S)
            if task.final:
                await self._node.tasks.brought(task.local_id, wait_s=wait_s)
            mark = self._node.tasks.drafts.mark(task.local_id)
            task = await self._node.tasks.watch(task.local_id, wait_s=wait_s, version=seen, draft=mark)
        return self._told(task)

    async def reply(self, args: _Reply, calling: _Calling) -> Answer:
        """Take the outcome of the task that this session does, or a question; never of another.

        With the outcome go the files that lie in the task's folder for that, and what else of it is named.
        """
        if (args.result is None) == (args.question is None):
            raise InvalidRequest("give a result, or a question, and not both")
        task = calling.run
        if task is None:
            raise InvalidRequest("this session does no task of a peer, so there is nothing to reply to")
        if args.question is not None:
            asked = await self._node.tasks.ask(task, args.question)
            text = f"Asked {one_line(asked.peer)}. End the turn: the answer comes in this session."
            return Answer(text=text, terminate=True)
        kept = await self._node.files.made(task, args.result, args.files)
        done = await self._node.tasks.reply(task, args.result or "", kept)
        follow = f" {_count(kept)} will follow." if kept else ""
        return Answer(text=f"Replied to {one_line(done.peer)}. The task is done.{follow}", terminate=True)

    async def _kept(self, paths: Sequence[str], calling: _Calling) -> tuple[FileRef, ...]:
        """Keep files to be sent: of its own folder in a task's session, of the agent's workspace else."""
        if not paths:
            return ()
        if calling.run is not None:
            within = self._node.files.folder(calling.run)
        elif sessions.is_helper(calling.session):
            # Whose helper it is, the gateway does not tell: it may be that of a peer's task.
            raise NotAllowed("a subagent sends no files: the agent that it works for does that itself")
        elif calling.workspace is not None and Path(calling.workspace).is_absolute():
            within = Path(calling.workspace)
        else:
            raise NotAllowed(
                "this session cannot send files: its agent has no workspace on this machine that the gateway "
                "tells of (a sandboxed one has none); its owner can, by `lanmesh send --file`"
            )
        kept = await self._node.files.keep(paths, within=within)
        if await calling.gone():
            # It has been told that nothing came of it, and may ask again: then this would be done twice.
            raise TimedOut("nothing was sent: the call was given up while its files were being copied")
        return kept

    async def _canceled(self, task: Task, run: LocalId | None) -> Task:
        if not task.asked:
            raise NotAllowed(f"task {short(task.local_id)} was given to this node: its owner cancels it")
        who = f"the agent of {self._node.peers.me} canceled it"
        task = await self._node.tasks.cancel(task.local_id, who, run=run)
        while task.canceling is not None:
            before = task.version
            task = await self._node.tasks.watch(task.local_id, wait_s=_CANCEL_S, version=before)
            if task.version == before:
                break
        return task

    def _told(self, task: Task) -> Answer:
        if task.question is not None:
            asks = fenced(task.question, peer=task.peer, proven=True, what="question")
            how = 'Answer by lan_task, action "answer"; it waits for that.'
            text = f"Task {short(task.local_id)} at {task.peer} asks back. {how}\n{asks}"
            return Answer(text=text, task=task.local_id, version=task.version)
        if not task.final:
            written = self._node.tasks.drafts.latest(task.local_id, _MOST_WORDS)
            return Answer(text=_progress(task, written), task=task.local_id, open=True, version=task.version)
        if task.error is not None:
            text = (
                f"Task {short(task.local_id)} at {task.peer} is {task.state}: {one_line(task.error.detail)}"
            )
        else:
            text = fenced(task.result or "", peer=task.peer, proven=True, what="result")
        made = [state for state in self._node.files.of_task(task.local_id) if state.made]
        if task.truncated:
            whole = any(state.ref.name == WHOLE_RESULT for state in made)
            more = f": all of it is in {WHOLE_RESULT}" if whole else ""
            text += f"\n(The result was longer than this{more}.)"
        coming = task.asked and not self._node.files.complete(task.local_id)
        text += _files(made, peer=task.peer, proven=True)
        return Answer(text=text, task=task.local_id, open=coming, version=task.version)

    def _message(self, mail: Mail) -> str:
        found = self._node.files.of_message(Origin(mail.origin), mail.id)
        text = fenced(mail.text, peer=mail.sender, proven=mail.proven, what="message")
        return text + _files(found, peer=mail.sender, proven=mail.proven)

    async def _peer(self, state: PeerState) -> str:
        name = state.peer.id
        try:
            async with asyncio.timeout(_PROFILE_S):
                seen = await self._node.peers.profile(name)
        except (MeshError, TimeoutError) as fault:
            why = one_line(str(fault) or "no answer in time")
            return f"- {name}: does not answer now ({why}); what is sent to it waits a day"
        about = msgspec.json.decode(seen.body)
        load, facts = about.get("load") or {}, []
        for key in ("role", "capabilities", "models", "agents", "hardware"):
            if about.get(key):
                facts.append(f"{key}: {one_line(_words(about[key]))}")
        facts.append(
            f"load: cpu {load.get('cpuPercent', '?')} %, {load.get('running', '?')} running, "
            f"{load.get('waiting', '?')} waiting"
        )
        facts.append(f"takes tasks: {one_line(str(about.get('acceptMode', '?')))}")
        when = f" (as it was; {one_line(seen.error)})" if seen.error else ""
        there = "" if state.presence is None else f" ({state.presence})"
        return f"- {name}{there}{when}: {'; '.join(facts)}"


def _check_own(task: Task, run: LocalId | None) -> None:
    if run is not None and task.parent != run:
        raise NotAllowed(f"this session has not asked for task {short(task.local_id)}")


def _progress(task: Task, written: str) -> str:
    what = f"Task {short(task.local_id)} for {task.peer} is {task.state}"
    if task.canceling is not None:
        return f"{what} and is being canceled: {task.peer} has not said yet that it has ended."
    if task.not_stopped is not None:
        return f"{what}: it could not be stopped ({one_line(task.not_stopped)})."
    if task.waiting_for is WaitingFor.FILES:
        return f"{what}: it begins once its files are there."
    if task.waiting_for is not None:
        return f"{what}: it waits for {task.waiting_for} by its owner there."
    goes_on = f"{what}. It goes on without you; lan_task tells how it fares."
    latest = written if task.state is TaskState.WORKING and written.strip() else task.progress
    if latest is None:
        return goes_on
    words = fenced(latest[-_MOST_WORDS:].strip(), peer=task.peer, proven=True, what="progress")
    return f"{goes_on} Its latest words:\n{words}"


def _files(states: Sequence[FileState], *, peer: str, proven: bool) -> str:
    """Return where the files lie that a peer has sent; their names are its words too, so they are quoted."""
    if not states:
        return ""
    lines = "\n".join(
        state.place or f"{one_line(state.ref.name)}: {one_line(state.error or 'still on its way')}"
        for state in states
    )
    quote = fenced(lines, peer=peer, proven=proven, what="file names")
    return f"\n{_count(states)} came with it. On this machine, under names that the peer chose:\n{quote}"


def _count(files: Sequence[object]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items() if item)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value)
