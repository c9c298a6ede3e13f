"""tell the gateway's sessions what has arrived for them, without starting a turn where that can be"""

import asyncio
import logging

from lanmesh.engine.events import Events, heard
from lanmesh.engine.node import Node
from lanmesh.engine.ports import Clock
from lanmesh.errors import GatewayRefused, MeshError
from lanmesh.model.delivery import Delivery
from lanmesh.model.envelope import Mail
from lanmesh.model.ids import LocalId, Origin, WireId, short
from lanmesh.model.task import Task
from lanmesh.openclaw.gateway import Gateway, Json
from lanmesh.protocol.quoting import fenced, one_line
from lanmesh.protocol.sessions import is_main
from lanmesh.store.database import Change, Topic

log = logging.getLogger(__name__)

_GRACE_S = 3.0
"""A tool call that waits for the outcome gets it first; only what nobody fetched by then is told."""

_FILES_S = 600.0
"""How long the files of a result are waited for, before it is told without them."""

_LOOK_S = 5.0
"""How soon a new process of the gateway is told again."""

_MAIN = "main"
"""Whichever main session took a notice that was meant for another session."""

_LINES = 5
"""Of things of one kind in a notice."""

_QUEUE = 1000
"""Of the tasks that wait for approval, how many are looked at."""

_DIGEST = 400
"""Characters of a message or a result in a notice; the rest is read by tool or command."""

_End = tuple[LocalId, float | None, bool]
"""One end of a task: when it came, and whether it is only assumed. A later word may bring another."""


class Notices:
    """Points sessions to their mail and their outcomes, after each reconnect again until a turn shows it.

    The gateway keeps notices in memory only, so what no turn has shown is told to its next process.
    """

    def __init__(self, gateway: Gateway, node: Node, *, events: Events, clock: Clock) -> None:
        """Tell what a node has, over a gateway."""
        self._gateway = gateway
        self._node = node
        self._events = events
        self._clock = clock
        self._messages: dict[int, Mail] = {}
        self._outcomes: dict[_End, tuple[Task, str]] = {}
        """Each outcome that was told, with the session that was told of it."""
        self._failures: dict[WireId, Delivery] = {}
        self._approvals: dict[LocalId, Task] = {}
        self._questions: dict[tuple[LocalId, int], tuple[Task, str]] = {}
        self._begun: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Tell, until cancelled."""
        with self._gateway.listen(self._listen):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._confirm())
                await self._tell_for_ever()

    async def _tell_for_ever(self) -> None:
        connection = 0
        with self._events.watch(
            *map(Change, (Topic.MAIL, Topic.ENDED, Topic.UNDELIVERED, Topic.APPROVAL, Topic.QUESTION))
        ) as news:
            while True:
                await self._gateway.connected()
                news.clear()
                await self._clock.sleep(_GRACE_S)
                if connection != self._gateway.connections:
                    connection = self._gateway.connections
                    self._messages.clear()
                    self._outcomes.clear()
                    self._failures.clear()
                    self._approvals.clear()
                    self._questions.clear()
                try:
                    await self._tell_messages()
                    await self._tell_outcomes()
                    await self._tell_failures()
                    await self._tell_approvals()
                    await self._tell_questions()
                except MeshError as fault:
                    log.info("notice not taken", extra={"why": fault.detail})
                await heard(self._clock, news, _LOOK_S)

    async def _tell_messages(self) -> None:
        new = [mail for mail in self._node.mail.untold() if mail.number not in self._messages]
        if not new:
            return
        parts = [
            fenced(_cut(mail.text), peer=mail.sender, proven=mail.proven, what=self._message(mail))
            for mail in new[-_LINES:]
        ]
        count = "a new message" if len(new) == 1 else f"{len(new)} new messages"
        text = f"LAN mesh: {count} in the inbox (lan_inbox reads them).\n" + "\n".join(parts)
        await self._gateway.call("wake", {"text": text, "mode": "next-heartbeat"})
        self._messages.update({mail.number: mail for mail in new})

    async def _tell_outcomes(self) -> None:
        for task in self._node.tasks.unread_outcomes():
            if _end(task) in self._outcomes or self._lacks_files(task):
                continue
            what = f"task {short(task.local_id)} that you gave to {task.peer} is {task.state}"
            said = task.result if task.error is None else task.error.detail
            quote = fenced(_cut(said or ""), peer=task.peer, proven=True, what="result")
            text = f"LAN mesh: {what} (lan_task reads all of it).\n{quote}"
            told = await self._wake(task.session or "", text)
            self._outcomes[_end(task)] = (task, told)

    async def _tell_failures(self) -> None:
        new = [item for item in self._node.mail.undelivered() if item.envelope.id not in self._failures]
        if not new:
            return
        lines = [
            f"- {item.envelope.type} {short(item.envelope.id)} to {item.peer}: {item.state}"
            + (f" ({one_line(item.error)})" if item.error else "")
            for item in new[-_LINES:]
        ]
        text = "LAN mesh: not delivered (the owner can send it again by `lanmesh resend ID`):\n"
        await self._gateway.call("wake", {"text": text + "\n".join(lines), "mode": "next-heartbeat"})
        self._failures.update({item.envelope.id: item for item in new})

    async def _tell_approvals(self) -> None:
        waiting = self._node.tasks.awaiting_approval(_QUEUE, untold=True)
        new = [task for task in waiting if task.local_id not in self._approvals]
        if not new:
            return
        parts = [
            f"task {short(task.local_id)}:\n"
            + fenced(_cut(task.description), peer=task.peer, proven=task.origin == task.peer, what="task")
            for task in new[-_LINES:]
        ]
        count = "a task waits" if len(new) == 1 else f"{len(new)} tasks wait"
        how = "only the owner decides, by /lan-approve ID or /lan-deny ID; /lan-tasks lists what waits"
        text = f"LAN mesh: {count} for the owner's approval ({how}).\n" + "\n".join(parts)
        await self._gateway.call("wake", {"text": text, "mode": "next-heartbeat"})
        self._approvals.update({task.local_id: task for task in new})

    async def _tell_questions(self) -> None:
        for task in self._node.tasks.untold_questions():
            if (task.local_id, task.attempt) in self._questions:
                continue
            what = f"task {short(task.local_id)} that you gave to {task.peer} asks back"
            quote = fenced(_cut(task.question or ""), peer=task.peer, proven=True, what="question")
            text = f'LAN mesh: {what} (answer by lan_task, action "answer").\n{quote}'
            told = await self._wake(task.session or "", text)
            self._questions[task.local_id, task.attempt] = (task, told)

    def _message(self, mail: Mail) -> str:
        count = len(self._node.files.of_message(Origin(mail.origin), mail.id))
        return f"message with {count} file{'s' if count > 1 else ''}" if count else "message"

    def _lacks_files(self, task: Task) -> bool:
        """Return whether files of an outcome are still to come: a tool call may wait for them, as we do."""
        since_s = self._clock.now() - (task.finished_at or 0.0)
        return since_s < _FILES_S and not self._node.files.complete(task.local_id)

    async def _wake(self, session: str, text: str) -> str:
        """Tell a session: the main one sees it in its next turn, another begins a turn for it.

        Return who was told: the session, or `_MAIN`.
        """
        notice: Json = {"text": text, "mode": "next-heartbeat"}
        if not is_main(session):
            try:
                await self._gateway.call("wake", {**notice, "mode": "now", "sessionKey": session})
            except GatewayRefused:  # 2026.3 knows the main session only
                pass
            else:
                return session
        await self._gateway.call("wake", notice)
        return session if is_main(session) else _MAIN

    def _listen(self, event: str, payload: Json) -> None:
        if event != "agent" or payload.get("stream") != "lifecycle":
            return
        data = payload.get("data")
        if isinstance(data, dict) and data.get("phase") == "start":
            self._begun.put_nowait(str(payload.get("sessionKey") or ""))

    async def _confirm(self) -> None:
        """Note what a turn has shown: a session's turn begins with all that it was told."""
        while True:
            session = await self._begun.get()
            if is_main(session) and self._messages:
                shown, self._messages = self._messages, {}
                await self._node.mail.mark_told(shown.values())
            if is_main(session) and self._failures:
                given_up, self._failures = self._failures, {}
                await self._node.mail.mark_undelivered_told(given_up.values())
            if is_main(session) and self._approvals:
                shown_tasks, self._approvals = self._approvals, {}
                for task in shown_tasks.values():
                    await self._node.tasks.mark_told(task)
            for task, told in list(self._questions.values()):
                if told == session or (told == _MAIN and is_main(session)):
                    await self._node.tasks.mark_asked(task)
            for task, told in list(self._outcomes.values()):
                if told == session or (told == _MAIN and is_main(session)):
                    await self._node.tasks.mark_told(task)


def _end(task: Task) -> _End:
    return task.local_id, task.finished_at, task.assumed


def _cut(text: str) -> str:
    return text if len(text) <= _DIGEST else f"{text[:_DIGEST]}…"
