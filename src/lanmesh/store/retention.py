"""what may be forgotten, some rows at a time: finished tasks, settled deliveries, read mail, old ids"""

from lanmesh.store.database import Transaction

NTH_TASK = (
    "SELECT settled_at FROM tasks WHERE settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT 1 OFFSET ?"
)
NTH_DELIVERY = (
    "SELECT settled_at FROM outbox WHERE settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT 1 OFFSET ?"
)
NTH_MESSAGE = (
    "SELECT read_at FROM inbox WHERE text IS NOT NULL AND read_at IS NOT NULL "
    "ORDER BY read_at DESC LIMIT 1 OFFSET ?"
)

TASKS = (
    "SELECT local_id FROM tasks WHERE settled_at < ?1 AND finished_at IS NOT NULL "
    "AND (assumed = 0 OR settled_at < ?2) "
    "AND (session IS NULL OR read_at IS NOT NULL OR told_at IS NOT NULL) "
    "AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.task = tasks.local_id AND "
    "(outbox.due_at IS NOT NULL OR "
    "(outbox.state NOT IN ('delivered', 'withdrawn') AND outbox.settled_at >= ?3))) "
    "AND (settled_at < ?4 OR NOT EXISTS (SELECT 1 FROM files "
    "WHERE files.task = tasks.local_id AND files.made = 1 AND files.settled_at IS NULL)) "
    "ORDER BY settled_at LIMIT ?5"
)
DELIVERIES = (
    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox INDEXED BY outbox_settled "
    "WHERE task IS NULL AND settled_at < ?1 "
    "AND (state IN ('delivered', 'withdrawn') OR settled_at < ?2) "
    "AND (state <> 'delivered' OR settled_at < ?3 OR NOT EXISTS (SELECT 1 FROM files "
    "WHERE files.task IS NULL AND files.envelope = outbox.wire_id AND files.origin = 'self' "
    "AND files.settled_at IS NULL)) "
    "ORDER BY settled_at LIMIT ?4)"
)
TEXTS = (
    "UPDATE inbox SET text = NULL WHERE seq IN (SELECT seq FROM inbox WHERE text IS NOT NULL "
    "AND read_at IS NOT NULL AND read_at < ?1 "
    "AND (read_at < ?2 OR NOT EXISTS (SELECT 1 FROM files WHERE files.task IS NULL "
    "AND files.envelope = inbox.wire_id AND files.origin = inbox.origin AND files.settled_at IS NULL)) "
    "ORDER BY read_at LIMIT ?3)"
)
IDS = (
    "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE text IS NULL AND received_at < ?1 "
    "AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.local_id = inbox.task) "
    "AND seq <= (SELECT max(seq) FROM inbox) - ?2 ORDER BY received_at LIMIT ?3)"
)


def nth(tx: Transaction, query: str, count: int) -> float | None:
    """Return when the latest thing ended that is too many; `None` if there are no more than `count`."""
    row = tx.row(query, count)
    return None if row is None else row[0]


def forget_tasks(
    tx: Transaction,
    before: float,
    *,
    assumed_before: float,
    failed_before: float,
    files_before: float,
    limit: int,
) -> int:
    """Forget finished tasks with all that is about them; return how many.

    What is open, what its asking session has not heard of, and what has a delivery that waits or
    could be sent again or a file of its result on its way stays.

    Args:
        tx: The transaction.
        before: Of those that ended before.
        assumed_before: Those whose end is only assumed must have got it before this.
        failed_before: What was not delivered must have been given up before this.
        files_before: Those with files that are still on their way must have ended before this.
        limit: How many at most.
    """
    rows = tx.rows(TASKS, before, assumed_before, failed_before, files_before, limit)
    for (task,) in rows:
        tx.run("DELETE FROM task_events WHERE local_id = ?", task)
        tx.run("DELETE FROM task_questions WHERE local_id = ?", task)
        tx.run("DELETE FROM outbox WHERE task = ?", task)
        tx.run("DELETE FROM tasks WHERE local_id = ?", task)
    return len(rows)


def forget_deliveries(
    tx: Transaction, before: float, *, failed_before: float, files_before: float, limit: int
) -> int:
    """Forget messages that were sent; return how many.

    Those that failed stay until `failed_before`, those whose files are on their way until `files_before`.
    """
    return tx.run(DELIVERIES, before, failed_before, files_before, limit)


def forget_texts(tx: Transaction, before: float, *, files_before: float, limit: int) -> int:
    """Forget messages that were read before; return how many. Their ids stay known.

    Those whose files are still on their way stay until `files_before`.
    """
    return tx.run(TEXTS, before, files_before, limit)


def forget_ids(tx: Transaction, before: float, *, latest: int, limit: int) -> int:
    """Forget ids that came before, but none of a kept task or message; return how many.

    The latest stay, whatever the clock says: it may have been far behind when they came.
    """
    return tx.run(IDS, before, latest, limit)
