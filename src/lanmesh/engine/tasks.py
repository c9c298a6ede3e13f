"""the room of tasks: delegate, watch, decide"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from lanmesh.engine import admission
from lanmesh.engine.cancel import Cancels
from lanmesh.engine.drafts import Drafts
from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock, Random
from lanmesh.engine.pull import Pull
from lanmesh.engine.questions import Questions
from lanmesh.engine.watching import News, Watching
from lanmesh.errors import IllegalTransition, InvalidRequest, NotAllowed, TaskNotFound
from lanmesh.model import ids
from lanmesh.model.delivery import Delivery
from lanmesh.model.draft import Mark
from lanmesh.model.file import FileRef
from lanmesh.model.history import Event
from lanmesh.model.ids import SELF, Origin
from lanmesh.model.supply import short_of_files
from lanmesh.model.task import (
    DEFAULT_TIMEOUT_S,
    MAX_TIMEOUT_S,
    Failure,
    Outcome,
    Task,
    TaskEvent,
    TaskState,
    rejected,
)
from lanmesh.protocol.json import cut
from lanmesh.store import files as file_store
from lanmesh.store import history, outbox, questions, tasks
from lanmesh.store.database import Database, Topic, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHistory:
    """A task with what happened to it and how its latest envelope fares."""

    task: Task
    delivery: Delivery | None
    events: list[Event]


class Tasks:
    """What this node does for others and what it asked of them, as its owner and its agents see it."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        chance: Random,
        watching: Watching,
        pull: Pull,
        peers: Peers,
        envelopes: Envelopes,
        outcomes: Outcomes,
        cancels: Cancels,
        questions: Questions,
    ) -> None:
        """Open the room."""
        self._database = database
        self._clock = clock
        self._chance = chance
        self._watching = watching
        self._pull = pull
        self._peers = peers
        self._envelopes = envelopes
        self._outcomes = outcomes
        self._cancels = cancels
        self._questions = questions

    async def delegate(
        self,
        peer: str,
        description: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        parent: str | None = None,
        session: str | None = None,
        files: Sequence[FileRef] = (),
    ) -> Task:
        """Ask a peer to do something; the task is stored, and on its way, when this returns.

        A session that asks the same of the same peer again gets the task that it has asked for,
        while that is open or its outcome unread: a turn that was resumed may ask again.

        Args:
            peer: Its name here.
            description: What is to be done.
            timeout_s: How long the run may take there, counted from its claim.
            parent: The local id of the task here whose run delegates.
            session: The agent's session that asks; `None` for a person or a program.
            files: What it comes with; each must be kept here (`Files.keep`).

        Raises:
            PeerNotFound: There is no such peer.
            ChainRefused: The chain of delegations is too long, or would come back.
            IllegalTransition: The task that delegates was canceled.
            InvalidRequest: The description is blank or too large, or the timeout out of bounds.
        """
        target = self._peers.named(peer).id
        if not description.strip():
            raise InvalidRequest("the task's text is blank")
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise InvalidRequest(f"the timeout must be more than 0 and at most {MAX_TIMEOUT_S:g} s")
        wire_id = self._envelopes.new_id()
        now = self._clock.now()

        def change(tx: Transaction) -> Task:
            known = None if session is None else tasks.like(tx, session, target, description)
            if known is not None and file_store.given(tx, known.local_id) == tuple(files):
                return known
            before = None if parent is None else tasks.get(tx, ids.LocalId(parent))
            if before is not None and before.asked:
                raise InvalidRequest(f"task {ids.short(before.local_id)} is not done here: it has no run")
            if before is not None and (before.canceling is not None or before.state is TaskState.CANCELED):
                raise IllegalTransition(
                    f"task {ids.short(before.local_id)} was canceled: its run can ask for nothing more"
                )
            chain = admission.onward(before.chain if before else None, self._peers.me, target, wire_id)
            task = Task(
                local_id=ids.LocalId(wire_id),
                wire_id=wire_id,
                origin=SELF,
                peer=target,
                description=description,
                timeout_s=timeout_s,
                reply_key=ids.local_id(self._chance.bytes(16)),
                session=session,
                parent=before.local_id if before else None,
                chain=chain,
                created_at=now,
            )
            tasks.insert(tx, task)
            outbox.queue(tx, self._envelopes.request(task, files))
            file_store.announce(
                tx, files, origin=SELF, peer=target, envelope=wire_id, now=now, task=task.local_id,
                reader=Origin(target),
            )  # fmt: skip
            return task

        return await self._database.write(change)

    def find(self, name: str) -> TaskHistory:
        """Return the task that its owner means by a local id, the beginning of one, or a wire id.

        Raises:
            TaskNotFound: There is none.
            InvalidRequest: There are several.
        """
        read = self._database.read
        task = tasks.named(read, name)
        return TaskHistory(
            task=task,
            delivery=outbox.find(read, task.wire_id)
            if task.asked
            else outbox.latest_of_task(read, task.local_id),
            events=history.events(read, task.local_id),
        )

    def page(self, limit: int, state: TaskState | None = None) -> list[Task]:
        """Return the latest tasks, the newest first."""
        return tasks.page(self._database.read, limit, state)

    def awaiting_approval(self, limit: int, *, untold: bool = False) -> list[Task]:
        """Return the tasks that wait for the owner's word, the oldest first; or those not yet told of."""
        return tasks.awaiting_approval(self._database.read, limit, untold=untold)

    async def watch(
        self, name: str, *, wait_s: float, version: int | None = None, draft: Mark | None = None
    ) -> Task:
        """Return a task once it is final, newer than a version or written beyond a mark, or after some time.

        While one waits for a task that a peer was asked for, the peer is asked how it fares: so
        its outcome arrives even where the peer cannot reach this node.
        """
        task = tasks.named(self._database.read, name)
        if not task.asked:
            return await self._watching.until(task, wait_s, version, draft)
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(self._pull.follow(task, drafts=draft is not None))
            task = await self._watching.until(task, wait_s, version, draft)
            pulling.cancel()
        return task

    async def brought(self, local_id: ids.LocalId, *, wait_s: float) -> None:
        """Return once all files that a task has come to are here or given up, or after some time."""
        await self._watching.brought(local_id, wait_s)

    @property
    def drafts(self) -> Drafts:
        """What is known of what runs are writing."""
        return self._watching.drafts

    def events(self, name: str, after: int, seen: Mark) -> AsyncGenerator[News, None] | None:
        """Return what happens to a task, from one of its versions and a mark in its draft on.

        See `Watching.follow`.

        As with `watch`, the peer that was asked is asked how the task fares, meanwhile.

        Raises:
            TaskNotFound: There is none.
            InvalidRequest: There are several, or it has not come to that version.
            TooBusy: As many tasks are followed as may be.
        """
        task = tasks.named(self._database.read, name)
        news = self._watching.follow(task, after, seen, SELF)
        return self._pulled(task, news) if news is not None and task.asked and not task.final else news

    async def _pulled(self, task: Task, news: AsyncGenerator[News, None]) -> AsyncGenerator[News, None]:
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(self._pull.follow(task, drafts=True))
            try:
                async with aclosing(news):
                    async for each in news:
                        yield each
            finally:
                pulling.cancel()

    async def approve(self, name: str) -> Task:
        """Let a task that waits for its owner's word run.

        Raises:
            IllegalTransition: It does not wait for that.
        """

        def change(tx: Transaction) -> Task:
            task = tasks.named(tx, name).approved()
            if file_store.missing(tx, task.local_id):
                task = short_of_files(task)
            tasks.save(tx, task, TaskEvent.APPROVE, self._clock.now())
            tx.announce(Topic.FILES)
            return task

        return await self._database.write(change)

    async def deny(self, name: str) -> Task:
        """End a task that waits for its owner's word; its asker is told.

        Raises:
            IllegalTransition: It does not wait for that.
        """

        def change(tx: Transaction) -> Task:
            task = tasks.named(tx, name)
            task.approved()  # raises, if there is nothing to decide
            outcome = rejected(Failure.DENIED, f"the owner of {self._peers.me} denied it")
            return self._outcomes.end(tx, task, outcome)

        return await self._database.write(change)

    async def cancel(self, name: str, who: str | None = None, *, run: ids.LocalId | None = None) -> Task:
        """Have a task end before its time, and all that it has asked of peers.

        A task that waits here ends at once, and so does one whose request no peer has yet. Any other
        is `canceling` until its run has ended, or the peer has told what became of it. What has
        ended before stays as it is.

        Args:
            name: The task; see `find`.
            who: Who wants it, in words; `None` for the owner of this node.
            run: The task here whose run wants it: then it must have asked for it.

        Raises:
            TaskNotFound: There is none.
            InvalidRequest: There are several.
            NotAllowed: The run has not asked for it.
        """

        def change(tx: Transaction) -> Task:
            task = tasks.named(tx, name)
            if run is not None and task.parent != run:
                raise NotAllowed(f"task {ids.short(run)} has not asked for task {ids.short(task.local_id)}")
            return self._cancels.cancel(tx, task, who or f"the owner of {self._peers.me} canceled it")

        return await self._database.write(change)

    async def answer(self, name: str, text: str) -> Task:
        """Answer what a task that a peer was asked for has asked back; it goes on with that.

        Raises:
            InvalidRequest: The answer is blank.
            IllegalTransition: It has no question, or another answer already.
        """
        if not text.strip():
            raise InvalidRequest("the answer is blank")
        return await self._database.write(lambda tx: self._questions.give(tx, tasks.named(tx, name), text))

    async def ask(self, local_id: str, question: str) -> Task:
        """Have the run of a task here ask its asker; the next run has the answer.

        Raises:
            InvalidRequest: The question is blank.
            IllegalTransition: It is not being done, or nobody waits for it.
        """
        if not question.strip():
            raise InvalidRequest("the question is blank")

        def change(tx: Transaction) -> Task:
            task = _done_here(tx, ids.LocalId(local_id))
            return self._questions.ask(tx, task, question)

        return await self._database.write(change)

    def untold_questions(self) -> list[Task]:
        """Return the tasks whose question the session that asked for them has not been shown."""
        read = self._database.read
        return [tasks.get(read, name) for name in questions.untold(read)]

    async def mark_asked(self, task: Task) -> None:
        """Note that the session that asked for a task was shown its question."""
        await self._database.write(
            lambda tx: questions.mark_told(tx, task.local_id, task.attempt, self._clock.now())
        )

    async def mark_read(self, local_id: ids.LocalId, version: int) -> None:
        """Note that the session that asked has seen a task, its outcome or its question, at a version.

        Nothing, if more has happened to it since: then what it came to is still to be told.
        """

        def change(tx: Transaction) -> None:
            task = tasks.get(tx, local_id)
            if task.version == version:
                tasks.mark_read(tx, local_id, self._clock.now())
                questions.mark_told(tx, local_id, task.attempt, self._clock.now())

        await self._database.write(change)

    def unread_outcomes(self) -> list[Task]:
        """Return the ended tasks whose asking session has neither had the outcome nor been told."""
        return tasks.unread_outcomes(self._database.read)

    async def mark_told(self, task: Task) -> None:
        """Note that a session was shown that there is this outcome, or that this waits for approval."""
        await self._database.write(lambda tx: tasks.mark_told(tx, task, self._clock.now()))

    async def reply(self, local_id: str, result: str, files: Sequence[FileRef] = ()) -> Task:
        """Take the reply of the agent that does a task; it is the outcome.

        The first reply counts; the same again changes nothing.

        Raises:
            TaskNotFound: No such task is done here.
            IllegalTransition: It has another outcome already.
        """
        text, truncated = cut(result)

        def change(tx: Transaction) -> Task:
            task = _done_here(tx, ids.LocalId(local_id))
            if task.final:
                if task.state is TaskState.COMPLETED and task.result == text:
                    return task
                raise IllegalTransition(
                    f"task {ids.short(task.local_id)} is {task.state} already: this reply comes too late"
                )
            outcome = Outcome(state=TaskState.COMPLETED, result=text, truncated=truncated, files=tuple(files))
            return self._outcomes.end(tx, task, outcome)

        return await self._database.write(change)

    def stop(self) -> None:
        """End all waits: each returns its task as it is."""
        self._watching.stop()


def _done_here(tx: Transaction, local_id: ids.LocalId) -> Task:
    task = tasks.get(tx, local_id)
    if task.asked:
        raise TaskNotFound(f"task {ids.short(local_id)} is not done here")
    return task
