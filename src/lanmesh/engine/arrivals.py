"""the room of arrivals: what callers from the network bring, and may ask of it later"""

import hmac
from collections.abc import AsyncGenerator
from dataclasses import replace

from lanmesh.engine import admission, reports
from lanmesh.engine.admission import Limits
from lanmesh.engine.allowance import Allowance, check_pace
from lanmesh.engine.callers import Caller
from lanmesh.engine.cancel import Cancels
from lanmesh.engine.modes import AcceptModes
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock, Random
from lanmesh.engine.questions import Questions
from lanmesh.engine.watching import News, Watching
from lanmesh.errors import NotAllowed, TaskNotFound
from lanmesh.model import ids
from lanmesh.model.draft import Mark
from lanmesh.model.envelope import Answer, Cancel, CancelResult, Envelope, Question, TaskRequest, carried
from lanmesh.model.ids import SELF, SHARED, LocalId, WireId
from lanmesh.model.report import TaskReport, first_report_of, report_of
from lanmesh.model.supply import short_of_files
from lanmesh.model.task import Failure, Task, TaskError, TaskState, WaitingFor, canceled
from lanmesh.store import files, inbox, tasks
from lanmesh.store.database import Database, Transaction


class Arrivals:
    """Takes tasks from peers, and what they tell of the tasks that they were asked for."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        chance: Random,
        watching: Watching,
        peers: Peers,
        modes: AcceptModes,
        allowance: Allowance,
        cancels: Cancels,
        questions: Questions,
        limits: Limits,
    ) -> None:
        """Begin."""
        self._database = database
        self._clock = clock
        self._chance = chance
        self._watching = watching
        self._peers = peers
        self._modes = modes
        self._allowance = allowance
        self._cancels = cancels
        self._questions = questions
        self._limits = limits

    async def receive(self, caller: Caller, envelope: Envelope, digest: bytes) -> TaskReport:
        """Take a task; it is stored when this returns. Every repeat gets the first answer again.

        Raises:
            NotAllowed: It speaks in another's name.
            IdConflict: Its id was used before for something else.
            ChainRefused: The chain of delegations is too long, or has come back.
            TasksNotAccepted: The owner takes no tasks.
            TooBusy: As many wait as may; so too the other refusals of `Allowance.check`.
        """
        self._peers.check_sender(caller, envelope)
        request = carried(envelope, TaskRequest)
        local_id = ids.local_id(self._chance.bytes(16))
        now = self._clock.now()

        def change(tx: Transaction) -> TaskReport:
            known = admission.already_seen(tx, caller, envelope, digest)
            if known is not None and known.task is not None:
                self._peers.note_contact(tx, envelope.sender)
                return _first_answer(tx, known.task, envelope.id)
            self._allowance.check(tx, caller, envelope)
            task = Task(
                local_id=local_id,
                wire_id=envelope.id,
                origin=caller.origin,
                peer=envelope.sender,
                description=request.description,
                mode=request.mode,
                timeout_s=request.timeout_s,
                reply_key=envelope.reply_key,
                chain=admission.chain_of(envelope, self._peers.me),
                created_at=now,
            )
            task, detail = self._admitted(tx, caller, envelope, task)
            tasks.insert(tx, task, detail)
            inbox.receive(tx, envelope, origin=caller.origin, digest=digest, now=now, task=local_id)
            if not task.final:
                files.announce(
                    tx, request.files, origin=caller.origin, peer=envelope.sender, envelope=envelope.id,
                    now=now, task=local_id,
                )  # fmt: skip
            self._peers.note_contact(tx, envelope.sender)
            return _first_report(tx, task)

        return await self._database.write(change)

    async def receive_result(self, caller: Caller, envelope: Envelope, digest: bytes) -> TaskReport:
        """Take what its doer says of a task that this node asked for; return the task as it is then.

        What comes after the end gets that end as its answer, and changes nothing.

        Raises:
            TaskNotFound: This node did not ask for it.
            NotAllowed: It does not come from the peer that was asked.
            IdConflict: Its id was used before for something else.
        """
        self._peers.check_sender(caller, envelope)
        said = envelope.payload
        report = said.report if isinstance(said, Question | CancelResult) else carried(envelope, TaskReport)
        now = self._clock.now()

        def change(tx: Transaction) -> TaskReport:
            known = admission.already_seen(tx, caller, envelope, digest)
            if known is not None and known.task is not None:
                return _now(tx, known.task, report)
            self._allowance.check(tx, caller, envelope)
            task = tasks.of_origin(tx, SELF, report.task_id)
            if task is None:
                raise TaskNotFound(f"this node asked for no task {ids.quoted(report.task_id)}")
            _check_doer(caller, envelope.reply_key, task)
            after = reports.record(tx, task, report, now, self._allowance)
            inbox.receive(tx, envelope, origin=caller.origin, digest=digest, now=now, task=task.local_id)
            self._peers.note_contact(tx, envelope.sender)
            return report_of(after)

        return await self._database.write(change)

    async def answer(self, caller: Caller, envelope: Envelope, digest: bytes) -> TaskReport:
        """Take the answer to what a task of the caller's has asked; return the task as it is then.

        Raises:
            TaskNotFound: This caller sent no such task.
            IllegalTransition: It waits for no answer, or for that to another question.
            NotAllowed: It speaks in another's name.
            IdConflict: Its id was used before for something else.
        """
        self._peers.check_sender(caller, envelope)
        said = carried(envelope, Answer)

        def change(tx: Transaction) -> TaskReport:
            task = _known(tx, caller, said.task_id)
            if admission.already_seen(tx, caller, envelope, digest) is not None:
                return report_of(task)
            self._allowance.check(tx, caller, envelope)
            after = self._questions.take(tx, task, said.text, said.attempt)
            now = self._clock.now()
            inbox.receive(tx, envelope, origin=caller.origin, digest=digest, now=now, task=task.local_id)
            self._peers.note_contact(tx, envelope.sender)
            return report_of(after)

        return await self._database.write(change)

    async def answer_named(self, caller: Caller, identifier: str, text: str) -> TaskReport:
        """Take an answer for a task of the caller's, by its wire id or local id; see `answer`."""
        check_pace(caller)
        return await self._database.write(
            lambda tx: report_of(self._questions.take(tx, _known(tx, caller, identifier), text))
        )

    async def cancel(self, caller: Caller, envelope: Envelope, digest: bytes) -> TaskReport:
        """Have a task of the caller's end before its time, and return it as it is then.

        A task that has not come yet is refused when it comes; see `Cancels.cancel` for the rest.

        Raises:
            NotAllowed: It speaks in another's name.
            IdConflict: Its id was used before for something else.
        """
        self._peers.check_sender(caller, envelope)
        wish = carried(envelope, Cancel)

        def change(tx: Transaction) -> TaskReport:
            task = _of_caller(tx, caller, wish.task_id)
            if admission.already_seen(tx, caller, envelope, digest) is None:
                self._allowance.check(tx, caller, envelope)
                now = self._clock.now()
                known = None if task is None else task.local_id
                inbox.receive(tx, envelope, origin=caller.origin, digest=digest, now=now, task=known)
                self._peers.note_contact(tx, envelope.sender)
            if task is None:
                return _unseen(wish.task_id)
            return report_of(self._cancels.cancel(tx, task, _by(task.peer)))

        return await self._database.write(change)

    async def cancel_named(self, caller: Caller, identifier: str) -> TaskReport:
        """Have a task of the caller's end, by its wire id or local id; see `cancel`.

        Raises:
            TaskNotFound: This caller sent no such task.
            TooFast: It asks for too much in a minute.
        """
        check_pace(caller)

        def change(tx: Transaction) -> TaskReport:
            task = _known(tx, caller, identifier)
            return report_of(self._cancels.cancel(tx, task, _by(task.peer)))

        return await self._database.write(change)

    async def report(
        self,
        caller: Caller,
        identifier: str,
        *,
        wait_s: float = 0.0,
        version: int | None = None,
        draft: Mark | None = None,
    ) -> TaskReport:
        """Return what a caller may know of a task that it sent, by its wire id or local id.

        Held until the task is final, newer than a version or written beyond a mark, if these are
        given, but no longer than `wait_s`. With a mark, it tells what was written beyond that.

        Raises:
            TaskNotFound: This caller sent no such task.
        """
        check_pace(caller)
        task = _known(self._database.read, caller, identifier)
        task = await self._watching.until(task, wait_s, version, draft)
        written = None if draft is None else self._watching.drafts.after(task.local_id, draft)
        return replace(_report(self._database.read, task), draft=None if task.final else written)

    def events(
        self, caller: Caller, identifier: str, after: int, seen: Mark
    ) -> AsyncGenerator[News, None] | None:
        """Return what happens to a task that a caller sent; see `Watching.follow`.

        Raises:
            TaskNotFound: This caller sent no such task.
            InvalidRequest: The task has not come to that version.
            TooBusy: The caller follows as many tasks as it may.
        """
        check_pace(caller)
        task = _known(self._database.read, caller, identifier)
        return self._watching.follow(task, after, seen, caller.origin)

    def _admitted(self, tx: Transaction, caller: Caller, envelope: Envelope, task: Task) -> tuple[Task, str]:
        """Return a new task as it is taken, and in words how."""
        if admission.already_canceled(tx, caller, envelope):
            why = f"{_by(task.peer)} before it came"
            return task.refused(canceled(why), task.created_at), why
        mode = self._modes.for_caller(tx, caller, envelope.sender)
        if admission.needs_approval(mode, tasks.count_waiting(tx), self._limits):
            return task.held(), "waits for approval"
        if envelope.files:
            return short_of_files(task), "waits for its files"
        return task, ""


def _of_caller(tx: Transaction, caller: Caller, identifier: str) -> Task | None:
    """Return a task that the caller sent; `None` if it sent no such task."""
    task = tasks.of_origin(tx, caller.origin, identifier)
    if task is not None and task.parted:
        return None
    if task is None and caller.peer is not None:
        earlier = tasks.of_origin(tx, SHARED, identifier)
        return earlier if earlier is not None and earlier.peer == caller.peer else None
    return task


def _known(tx: Transaction, caller: Caller, identifier: str) -> Task:
    task = _of_caller(tx, caller, identifier)
    if task is None:
        raise TaskNotFound(f"no task {ids.quoted(identifier)} of yours on this node")
    return task


def _by(peer: str) -> str:
    return f"{ids.quoted(peer)} canceled it"


def _unseen(wire_id: WireId) -> TaskReport:
    """Return what is said of a task that was canceled and has not come: it will never be run."""
    error = TaskError(code=Failure.CANCELED, detail="canceled before it came")
    return TaskReport(task_id=wire_id, local_id=LocalId(""), state=TaskState.CANCELED, version=0, error=error)


def _check_doer(caller: Caller, reply_key: str | None, task: Task) -> None:
    if caller.peer is not None and caller.peer != task.peer:
        raise NotAllowed(f"task {ids.quoted(task.wire_id)} was asked of {task.peer}, not of {caller.peer}")
    keyed = hmac.compare_digest((reply_key or "").encode(), (task.reply_key or "").encode())
    # Its name alone does not show that it is still the peer that was asked.
    if not keyed and (caller.peer is None or reply_key is not None or task.parted):
        raise NotAllowed(f"the replyKey is not that of task {ids.quoted(task.wire_id)}")


def _first_answer(tx: Transaction, local_id: ids.LocalId, wire_id: ids.WireId) -> TaskReport:
    try:
        return _first_report(tx, tasks.get(tx, local_id))
    except TaskNotFound:  # it is over and forgotten, its id is not
        return TaskReport(task_id=wire_id, local_id=local_id, state=TaskState.SUBMITTED)


def _first_report(tx: Transaction, task: Task) -> TaskReport:
    report = first_report_of(task)
    if report.state is TaskState.SUBMITTED and not task.needs_approval and files.given(tx, task.local_id):
        return replace(report, waiting_for=WaitingFor.FILES)
    return report


def _report(tx: Transaction, task: Task) -> TaskReport:
    """Return what is told of a task, with the files that it has come to."""
    return replace(report_of(task), files=files.made(tx, task.local_id)) if task.final else report_of(task)


def _now(tx: Transaction, local_id: ids.LocalId, said: TaskReport) -> TaskReport:
    try:
        return report_of(tasks.get(tx, local_id))
    except TaskNotFound:  # it is over and forgotten; this is how it ended
        return said
