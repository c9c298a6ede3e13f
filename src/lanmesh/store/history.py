"""histories on disk: everything that happened to each task, of a run's words the latest"""

from lanmesh.model.history import PROGRESS, REPORT, Event
from lanmesh.model.ids import LocalId
from lanmesh.model.task import Task, TaskEvent, TaskState, WaitingFor
from lanmesh.store.database import Topic, Transaction

MOST_WORDS = 50
MOST_WORDS_BYTES = 64_000
"""Kept of a task's events of progress, and of its doer's reports at its asker: the latest of each."""


def note(tx: Transaction, task: Task, event: str, at: float, detail: str) -> None:
    """Keep what has happened to a task, and have those told who wait for that."""
    tx.run(
        "INSERT INTO task_events (local_id, version, at, event, state, detail) VALUES (?, ?, ?, ?, ?, ?)",
        task.local_id, task.version, at, event, task.state, detail,
    )  # fmt: skip
    if event in {PROGRESS, REPORT}:
        _forget_old_words(tx, task.local_id, event)
    tx.announce(Topic.TASK, task.local_id)
    if event in {TaskEvent.STOP, TaskEvent.CANCEL, TaskEvent.ANSWER}:
        tx.announce(Topic.STOP, task.local_id)
    if task.state is TaskState.SUBMITTED and task.waiting_for is None and not task.asked:
        tx.announce(Topic.RUNNABLE)
    if task.waiting_for is WaitingFor.APPROVAL and not task.asked:
        tx.announce(Topic.APPROVAL)
    if task.final and task.session is not None:
        tx.announce(Topic.ENDED)
    if task.state is TaskState.INPUT_REQUIRED:
        tx.announce(Topic.QUESTION)


def events(tx: Transaction, local_id: LocalId, *, after: int = 0, most: int = -1) -> list[Event]:
    """Return everything that happened to a task after one of its versions, in order, or the first of it."""
    rows = tx.rows(
        "SELECT version, at, event, state, detail FROM task_events WHERE local_id = ? AND version > ? "
        "ORDER BY seq LIMIT ?",
        local_id, after, most,
    )  # fmt: skip
    return [
        Event(version=version, at=at, event=event, state=state, detail=detail)
        for version, at, event, state, detail in rows
    ]


def _forget_old_words(tx: Transaction, local_id: LocalId, event: str) -> None:
    tx.run(
        "DELETE FROM task_events WHERE seq IN (SELECT seq FROM (SELECT seq, "
        "row_number() OVER latest AS number, sum(length(CAST(detail AS BLOB))) OVER latest AS bytes "
        "FROM task_events WHERE local_id = ? AND event = ? WINDOW latest AS (ORDER BY seq DESC)) "
        "WHERE number > ? OR bytes > ?)",
        local_id, event, MOST_WORDS, MOST_WORDS_BYTES,
    )  # fmt: skip
