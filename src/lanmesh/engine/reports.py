"""what is known here of a task that a peer was asked for"""

from lanmesh.engine.allowance import Allowance
from lanmesh.errors import IllegalTransition
from lanmesh.model.delivery import TRANSITIONS, Delivery, DeliveryEvent
from lanmesh.model.envelope import Answer, Cancel, EnvelopeType, Payload
from lanmesh.model.history import PROGRESS, REPORT
from lanmesh.model.ids import Origin, short
from lanmesh.model.record import answered, presumed, recalled, reopened, reported, unrecalled
from lanmesh.model.report import TaskReport
from lanmesh.model.task import Outcome, Task, TaskEvent, TaskState
from lanmesh.store import files, outbox, tasks
from lanmesh.store.database import Transaction

TO_THE_DOER = frozenset({EnvelopeType.TASK, EnvelopeType.ANSWER, EnvelopeType.CANCEL})
"""What goes to the doer of a task, whose answer tells how the task stands there."""


_LONGEST_SENTENCE = 4000
"""Characters of what a task's history tells of one report; the task itself has all of it."""


def record(
    tx: Transaction,
    task: Task,
    report: TaskReport,
    now: float,
    allowance: Allowance,
    *,
    has_it: bool = True,
) -> Task:
    """Keep what the peer reports of a task; return the task as it is then.

    An overtaken report, and any report of a task whose end was reported, changes nothing. An end
    that was only assumed gives way, and whoever asked is told anew. Of its files, those are given up
    that would be more than the peer may have here; the rest of it counts.

    Args:
        tx: The transaction.
        task: The task.
        report: What the peer says.
        now: When.
        allowance: What the peer may.
        has_it: Whether the peer must have the request, as whoever reports of a task does, whatever
            became of the answer to that; one that answers a cancel may have been overtaken by it.
    """
    if has_it:
        _note_arrival(tx, task, now)
        task = tasks.get(tx, task.local_id)
    after = reported(task, report, now)
    if after is task:
        return task
    if task.assumed:
        tasks.unread(tx, task.local_id)
    if report.files and after.final:
        origin = Origin(task.peer)
        files.announce(
            tx, report.files, origin=origin, peer=task.peer, envelope="", now=now,
            task=task.local_id, made=True, room=allowance.room(tx, origin),
        )  # fmt: skip
    words = None if after.progress == task.progress else after.progress
    if words is None or not _same_but_words(task, after):
        tasks.save(tx, after, REPORT, now, _sentence(task.peer, after)[:_LONGEST_SENTENCE])
        after = after if words is None else after.told(words)
    if words is not None:
        tasks.save(tx, after, PROGRESS, now, words)
    return after


def presume(tx: Transaction, task: Task, outcome: Outcome, now: float) -> None:
    """Keep the end that a task must be assumed to have come to, until its doer says otherwise."""
    task = tasks.get(tx, task.local_id)
    if task.final and not task.assumed:
        return
    if task.final:
        tasks.unread(tx, task.local_id)
    detail = "" if outcome.error is None else outcome.error.detail
    tasks.save(tx, presumed(task, outcome, now), "assume", now, detail)


def say_again(tx: Transaction, task: Task, said: Payload, now: float) -> None:
    """Keep what it means for a task that something is sent to its doer again.

    Raises:
        IllegalTransition: The task has ended for real, or what is answered is answered otherwise.
    """
    if task.final and not task.assumed:
        raise IllegalTransition(f"task {short(task.local_id)} has ended: it is {task.state}")
    if isinstance(said, Cancel):
        if task.canceling is None:
            tasks.save(tx, recalled(task, "its cancel is sent again"), "recall", now)
    elif isinstance(said, Answer):
        _answer_again(tx, task, said, now)
    else:
        _reopen(tx, task, now)


def _answer_again(tx: Transaction, task: Task, said: Answer, now: float) -> None:
    asked = task.dialogue[-1] if task.state is TaskState.INPUT_REQUIRED and task.dialogue else None
    if asked is None or asked.attempt != said.attempt or asked.answer not in {None, said.text}:
        raise IllegalTransition(f"task {short(task.local_id)} does not wait for that answer any more")
    if asked.answer is None:
        tasks.save(tx, answered(task, said.text), TaskEvent.ANSWER, now, said.text)


def _reopen(tx: Transaction, task: Task, now: float) -> None:
    after = reopened(task)
    if task.final:
        tasks.unread(tx, task.local_id)
        tasks.save(tx, after, "reopen", now, "its request is sent again")


def unrecall(tx: Transaction, task: Task, why: str, now: float) -> None:
    """Keep that the peer could not be told to end a task, if it has not ended by itself meanwhile."""
    if task.canceling is not None:
        tasks.save(tx, unrecalled(task, why), "not-recalled", now, why)


def unanswer(tx: Transaction, task: Task, now: float) -> None:
    """Keep that an answer did not come through, if its question is still open."""
    if task.state is TaskState.INPUT_REQUIRED and task.dialogue:
        tasks.save(tx, answered(task, None), "not-answered", now, f"{task.peer} did not take the answer")


def come_to_nothing(tx: Transaction, delivery: Delivery, end: Outcome, now: float) -> None:
    """Record what it means for a task that an envelope about it was not taken."""
    if delivery.task is None:
        return
    match delivery.envelope.type:
        case EnvelopeType.TASK:
            presume(tx, tasks.get(tx, delivery.task), end, now)
        case EnvelopeType.ANSWER:
            unanswer(tx, tasks.get(tx, delivery.task), now)
        case EnvelopeType.CANCEL:
            why = "" if end.error is None else end.error.detail
            unrecall(tx, tasks.get(tx, delivery.task), why, now)
        case _:  # what a doer says of its task changes nothing of that
            pass


def _sentence(peer: str, task: Task) -> str:
    if task.error is not None:
        return task.error.detail
    if task.question is not None:
        return f"{task.peer} asks: {task.question}"
    if task.not_stopped is not None:
        return f"{peer} could not stop it: {task.not_stopped}"
    if task.canceling is not None:
        return f"{peer} is asked to end it"
    if task.waiting_for is not None:
        return f"{peer} waits for {task.waiting_for}"
    return f"{peer}, attempt {task.attempt}" if task.attempt else f"{peer} has it"


def _same_but_words(task: Task, after: Task) -> bool:
    before = (task.state, task.waiting_for, task.attempt, task.canceling, task.not_stopped)
    return before == (after.state, after.waiting_for, after.attempt, after.canceling, after.not_stopped)


def _note_arrival(tx: Transaction, task: Task, now: float) -> None:
    delivery = outbox.find(tx, task.wire_id)
    if delivery is not None and DeliveryEvent.ACKNOWLEDGE in TRANSITIONS[delivery.state]:
        outbox.save(tx, delivery.after(DeliveryEvent.ACKNOWLEDGE), now)
