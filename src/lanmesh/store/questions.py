"""questions on disk: what tasks have asked back, and the answers"""

from lanmesh.model.dialogue import Dialogue, Exchange
from lanmesh.model.ids import LocalId
from lanmesh.store.database import Transaction


def of(tx: Transaction, task: LocalId) -> Dialogue:
    """Return all that a task has asked, and the answers."""
    rows = tx.rows(
        "SELECT attempt, question, answer FROM task_questions WHERE local_id = ? ORDER BY attempt", task
    )
    return tuple(
        Exchange(attempt=attempt, question=question, answer=answer) for attempt, question, answer in rows
    )


def save(tx: Transaction, task: LocalId, dialogue: Dialogue, now: float) -> None:
    """Keep what a task has asked as it is now; a question keeps the time at which it came."""
    for said in dialogue:
        tx.run(
            "INSERT INTO task_questions (local_id, attempt, question, asked_at, answer) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answer = excluded.answer",
            task, said.attempt, said.question, now, said.answer,
        )  # fmt: skip


def open_ones(tx: Transaction, limit: int) -> list[tuple[LocalId, float]]:
    """Return the tasks done here that wait for an answer, and since when, the oldest first."""
    rows = tx.rows(
        "SELECT q.local_id, q.asked_at FROM task_questions q JOIN tasks t ON t.local_id = q.local_id "
        "WHERE q.answer IS NULL AND t.state = 'input-required' AND t.origin <> 'self' "
        "ORDER BY q.asked_at LIMIT ?",
        limit,
    )
    return [(LocalId(task), float(asked_at)) for task, asked_at in rows]


def untold(tx: Transaction) -> list[LocalId]:
    """Return the tasks whose question the session that asked for them has not been shown."""
    rows = tx.rows(
        "SELECT q.local_id FROM task_questions q JOIN tasks t ON t.local_id = q.local_id "
        "WHERE q.answer IS NULL AND q.told_at IS NULL AND t.state = 'input-required' "
        "AND t.session IS NOT NULL ORDER BY q.asked_at"
    )
    return [LocalId(task) for (task,) in rows]


def mark_told(tx: Transaction, task: LocalId, attempt: int, now: float) -> None:
    """Note that the session that asked for a task was shown the question of an attempt."""
    tx.run(
        "UPDATE task_questions SET told_at = ? WHERE local_id = ? AND attempt = ? AND told_at IS NULL",
        now, task, attempt,
    )  # fmt: skip
