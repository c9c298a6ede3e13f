"""the owner's slash commands in a chat of the gateway, /op/commands/*: answers to be shown"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lanmesh.engine.node import Node
from lanmesh.errors import MeshError, RouteNotFound
from lanmesh.faces.description import shaped
from lanmesh.faces.http import Route, body_of, json
from lanmesh.model import ids
from lanmesh.model.ids import Origin, short
from lanmesh.model.peer import DEFAULT_PORT
from lanmesh.model.task import AcceptMode, Task
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.quoting import one_line

_SEND_WAIT_S = 5.0
_LATEST = 10


class _CommandCall(msgspec.Struct, kw_only=True):
    args: str = ""
    session: str | None = None


class _Said(msgspec.Struct):
    text: str


class Commands:
    """What an owner may say in a chat. Mistakes are answered in words, not by errors."""

    def __init__(self, node: Node) -> None:
        """Speak for a node."""
        self._node = node
        self._commands: Mapping[str, Callable[[str], Awaitable[str]]] = {
            "lan-status": self.status,
            "lan-send": self.send,
            "lan-inbox": self.inbox,
            "lan-accept": self.accept,
            "lan-tasks": self.tasks,
            "lan-approve": self.approve,
            "lan-deny": self.deny,
            "lan-pair": self.pair,
        }

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        return [Route("POST", "/op/commands/{command}", self.call)]

    @shaped(Shape(takes=_CommandCall, gives=_Said))
    async def call(self, request: Request) -> Response:
        """Answer a command."""
        name = request.path_params["command"]
        command = self._commands.get(name)
        if command is None:
            raise RouteNotFound(f"no command {ids.quoted(name)}; there are {', '.join(self._commands)}")
        call = convert(parse(await body_of(request)), _CommandCall)
        try:
            text = await command(call.args.strip())
        except MeshError as fault:
            text = f"/{name}: {fault.detail}"
        return json(msgspec.json.encode(_Said(text)))

    async def status(self, _args: str) -> str:
        """Tell how this node and its peers fare."""
        node, numbers = self._node, self._node.numbers()
        lines = [
            f"{node.peers.me}: accepts tasks {node.modes.general()}; {numbers.running} running, "
            f"{numbers.waiting} waiting, {numbers.unread} unread messages, {numbers.queued} to be delivered"
        ]
        if numbers.approvals:
            lines.append(f"{numbers.approvals} for your approval: /lan-tasks shows them")
        if numbers.undelivered:
            lines.append(f"{numbers.undelivered} not delivered: `lanmesh outbox` shows them")
        for state in node.peers.all():
            contact = state.contact
            fate = f"last error: {one_line(contact.error)}" if contact.error else "fine"
            if contact.reached_at is None and contact.error is None:
                fate = "never talked to yet" if state.has_token else "no token for it in the .env file"
            wire = state.peer.wire if state.presence is None else f"{state.peer.wire}, {state.presence}"
            lines.append(f"- {state.peer.id} at {state.peer.host}:{state.peer.port}, {wire}: {fate}")
        if not node.peers.all():
            lines.append("no peers yet: /lan-pair pairs with one")
        for seen in node.pairing.sightings.strangers():
            lines.append(f"- seen, not paired: {one_line(seen.name)} (node {short(seen.node_id)})")
        return "\n".join(lines)

    async def send(self, args: str) -> str:
        """Say something to a peer."""
        peer, _, text = args.partition(" ")
        if not text.strip():
            return "usage: /lan-send <peerId> <text>"
        delivery = await self._node.mail.send(peer, text.strip(), wait_s=_SEND_WAIT_S)
        return f"message to {delivery.peer}: {delivery.state}" + (
            f" ({delivery.error})" if delivery.error else ""
        )

    async def inbox(self, _args: str) -> str:
        """Show the latest messages; they count as read from then on."""
        mail = self._node.mail.inbox(_LATEST)
        await self._node.mail.mark_read([message.number for message in mail if message.read_at is None])
        lines = []
        for message in mail:
            new = "new, " if message.read_at is None else ""
            claim = "" if message.proven else ", by its own word"
            count = len(self._node.files.of_message(Origin(message.origin), message.id))
            more = f", with {count} file{'s' if count > 1 else ''}" if count else ""
            lines.append(
                f"- {new}from {one_line(message.sender)}{claim}{more}: {one_line(message.text, 500)}"
            )
        return "\n".join(lines) or "no messages yet"

    async def accept(self, args: str) -> str:
        """Decide what is done with tasks that arrive."""
        mode, _, peer = args.partition(" ")
        if mode not in set(AcceptMode):
            now = self._node.modes.general()
            return f"usage: /lan-accept <auto|manual|off> [peerId]; now it is {now}"
        await self._node.modes.decide(AcceptMode(mode), peer.strip() or None)
        whose = f" of {peer.strip()}" if peer.strip() else ""
        return f"tasks{whose} that arrive from now on: {mode}"

    async def tasks(self, _args: str) -> str:
        """Show the tasks that wait for approval, and the latest others."""
        waiting = self._node.tasks.awaiting_approval(_LATEST)
        shown = {task.local_id for task in waiting}
        others = [task for task in self._node.tasks.page(_LATEST) if task.local_id not in shown]
        return "\n".join(map(_line, [*waiting, *others])) or "no tasks yet"

    async def approve(self, args: str) -> str:
        """Let a waiting task run."""
        if not args:
            return "usage: /lan-approve <id>; /lan-tasks shows what waits"
        return f"approved: {_line(await self._node.tasks.approve(args))}"

    async def deny(self, args: str) -> str:
        """End a waiting task."""
        if not args:
            return "usage: /lan-deny <id>; /lan-tasks shows what waits"
        return f"denied: {_line(await self._node.tasks.deny(args))}"

    async def pair(self, args: str) -> str:
        """Show a code for another node, or pair with the node that shows one."""
        code, _, where = args.partition(" ")
        if not code:
            before = self._node.pairing.used_up()
            shown = self._node.pairing.invite()
            return f"the code before: {before}\n" * (before is not None) + (
                f"code {shown.code}, for two minutes: type /lan-pair {shown.code} in a chat of the other "
                "gateway; if that does not find this node, put its HOST[:PORT] behind the code"
            )
        if where.strip():
            pairing = await self._node.pairing.dial(code, *ids.address(where.strip(), DEFAULT_PORT))
        else:
            pairing = await self._node.pairing.find(code)
        return f"paired with {pairing.peer} (node {short(pairing.node_id)}): {pairing.state}"


def _line(task: Task) -> str:
    side = "asked of" if task.asked else "for"
    waits = f", waits for {task.waiting_for}" if task.waiting_for else ""
    if task.decide_by is not None:
        waits += f" since {_at(task.created_at)}, until {_at(task.decide_by)}"
    what = one_line(task.description, 80)
    return f"- {short(task.local_id)} {side} {one_line(task.peer)}: {task.state}{waits}: {what}"


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
