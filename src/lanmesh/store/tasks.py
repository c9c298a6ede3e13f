"""tasks on disk: how each stands, and which of them are in which state"""

from collections.abc import Collection
from typing import Any

from lanmesh.errors import InvalidRequest, TaskNotFound
from lanmesh.model import ids
from lanmesh.model.chain import Chain
from lanmesh.model.ids import SELF, LocalId, Origin, PeerId, WireId
from lanmesh.model.profile import TaskCounts
from lanmesh.model.task import Task, TaskError, TaskMode, TaskState, WaitingFor
from lanmesh.store import history, questions
from lanmesh.store.database import Transaction

_COLUMNS = (
    "local_id, wire_id, origin, peer, description, mode, timeout_s, reply_key, parent, root_id, path, hops, "
    "state, waiting_for, needs_approval, attempt, boot, repeatable, result, truncated, error_code, "
    "error_detail, version, seen_version, created_at, started_at, finished_at, session, read_at, host_boot, "
    "assumed, canceling, not_stopped, questions, parted"
)
_INSERT = f"INSERT INTO tasks ({_COLUMNS}) VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"  # noqa: S608  # constants
_LATEST_WORDS = "(SELECT text FROM task_progress WHERE task_progress.local_id = tasks.local_id)"
_SELECT = f"SELECT {_COLUMNS}, {_LATEST_WORDS} FROM tasks "  # noqa: S608  # constants
_SUMMARY = _SELECT.replace(" description,", " substr(description, 1, 500),").replace(
    " result,", " substr(result, 1, 500),"
)
_CHANGING = (
    "state", "waiting_for", "attempt", "boot", "repeatable", "result", "truncated", "error_code",
    "error_detail", "version", "seen_version", "started_at", "finished_at",
    "host_boot", "assumed", "canceling", "not_stopped", "questions",
)  # fmt: skip
_UPDATE = (
    f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in _CHANGING)}, settled_at = ? WHERE local_id = ?"  # noqa: S608
)

_IN_INDEX = "origin = 'self' AND (finished_at IS NULL OR assumed = 1) "  # in the words of the index
AWAITING = _SELECT + (
    "WHERE waiting_for = 'approval' AND origin <> 'self' AND (told_at IS NULL OR NOT ?) "
    "ORDER BY created_at, seq LIMIT ?"
)
SHORT_OF_FILES = _SELECT + "WHERE waiting_for = 'files' AND origin <> 'self' ORDER BY created_at"
UNSETTLED = _SUMMARY + f"WHERE peer = ? AND {_IN_INDEX}AND parted = 0 ORDER BY seq LIMIT ? OFFSET ?"
PEERS_ASKED = f"SELECT DISTINCT peer FROM tasks INDEXED BY tasks_unsettled WHERE {_IN_INDEX}AND parted = 0"  # noqa: S608  # constants

_LONGEST_NAME = 128
_SHORTEST_NAME = 4
"""Characters of a local id that must at least be given."""


def insert(tx: Transaction, task: Task, detail: str = "") -> None:
    """Keep a new task; its (origin, wire id) must not be there yet."""
    row = _row(task)
    tx.run(_INSERT, *(row[name] for name in _COLUMNS.split(", ")))
    history.note(tx, task, "submit", task.created_at, detail)


def save(tx: Transaction, task: Task, event: str, at: float, detail: str = "") -> None:
    """Keep a task as it is now, and that this happened to it."""
    row = _row(task)
    tx.run(_UPDATE, *(row[name] for name in _CHANGING), at if task.final else None, task.local_id)
    if task.progress is None:
        tx.run("DELETE FROM task_progress WHERE local_id = ?", task.local_id)
    else:
        tx.run("REPLACE INTO task_progress (local_id, text) VALUES (?, ?)", task.local_id, task.progress)
    questions.save(tx, task.local_id, task.dialogue, at)
    history.note(tx, task, event, at, detail)


def note(tx: Transaction, local_id: LocalId, event: str, at: float, detail: str) -> None:
    """Keep that something happened to a task which leaves its state as it is."""
    tx.run("UPDATE tasks SET version = version + 1 WHERE local_id = ?", local_id)
    history.note(tx, get(tx, local_id), event, at, detail)


def get(tx: Transaction, local_id: LocalId) -> Task:
    """Return a task by its local id.

    Raises:
        TaskNotFound: There is none.
    """
    row = tx.row(_SELECT + "WHERE local_id = ?", local_id)
    if row is None:
        raise TaskNotFound(f"no task {ids.quoted(ids.short(local_id))} on this node")
    return _task(tx, row)


def of_origin(tx: Transaction, origin: Origin, identifier: str) -> Task | None:
    """Return an origin's task by its wire id or its local id; `None` if that origin has none."""
    row = tx.row(_SELECT + "WHERE origin = ? AND wire_id = ?", origin, identifier) or tx.row(
        _SELECT + "WHERE local_id = ? AND origin = ?", identifier, origin
    )
    return None if row is None else _task(tx, row)


def named(tx: Transaction, name: str) -> Task:
    """Return the task that its owner means by an id, ours or the asker's, or by the beginning of one.

    Our own id, whole, always wins: askers choose theirs, and may choose one that looks like ours.

    Raises:
        TaskNotFound: There is none.
        InvalidRequest: There are several.
    """
    row = tx.row(_SELECT + "WHERE local_id = ?", name)
    if row is not None:
        return _task(tx, row)
    rows: list[tuple[Any, ...]] = []
    if len(name) <= _LONGEST_NAME:
        beginning = name.lower() if len(name) >= _SHORTEST_NAME and name.isalnum() else "\0"
        rows = tx.rows(
            _SELECT + "WHERE wire_id = ?1 OR local_id GLOB ?2 OR wire_id GLOB ?2 LIMIT 2",
            name,
            f"{beginning}*",
        )
    if not rows:
        raise TaskNotFound(f"no task {ids.quoted(name)} on this node; `lanmesh tasks` lists them")
    if len(rows) > 1:
        raise InvalidRequest(f"{ids.quoted(name)} means more than one task: give the whole id")
    return _task(tx, rows[0])


def next_runnable(tx: Transaction, besides: Collection[LocalId] = ()) -> Task | None:
    """Return the oldest task that only waits to be run; `None` if there is none.

    Args:
        tx: The transaction.
        besides: Tasks that do not count; a few.
    """
    rows = tx.rows(
        _SELECT + "WHERE state = ? AND waiting_for IS NULL AND origin <> ? ORDER BY seq LIMIT ?",
        TaskState.SUBMITTED, SELF, len(besides) + 1,
    )  # fmt: skip
    found = (_task(tx, row) for row in rows)
    return next((task for task in found if task.local_id not in besides), None)


def claimed_by(tx: Transaction, boot: str) -> list[Task]:
    """Return the tasks whose claim one boot of this node holds."""
    rows = tx.rows(_SELECT + "WHERE state = ? AND origin <> ? AND boot = ?", TaskState.WORKING, SELF, boot)
    return [_task(tx, row) for row in rows]


def claimed_by_others(tx: Transaction, boot: str) -> list[Task]:
    """Return the tasks whose claim an earlier boot of this node holds."""
    rows = tx.rows(
        _SELECT + "WHERE state = ? AND origin <> ? AND boot IS NOT ?", TaskState.WORKING, SELF, boot
    )
    return [_task(tx, row) for row in rows]


def children(tx: Transaction, parent: LocalId) -> list[Task]:
    """Return the tasks that the run of a task here has asked of peers."""
    return [_task(tx, row) for row in tx.rows(_SELECT + "WHERE parent = ? AND origin = ?", parent, SELF)]


def like(tx: Transaction, session: str, peer: PeerId, description: str) -> Task | None:
    """Return what a session has asked of a peer in the same words, if that is open or its outcome unread."""
    row = tx.row(
        _SELECT + "WHERE session = ? AND peer = ? AND description = ? AND read_at IS NULL "
        "AND canceling IS NULL AND parted = 0 ORDER BY seq DESC LIMIT 1",
        session, peer, description,
    )  # fmt: skip
    return None if row is None else _task(tx, row)


def unread_outcomes(tx: Transaction) -> list[Task]:
    """Return the ended tasks whose asking session has neither had the outcome nor been told of it."""
    rows = tx.rows(
        _SELECT + "WHERE session IS NOT NULL AND read_at IS NULL AND told_at IS NULL "
        "AND finished_at IS NOT NULL ORDER BY seq"
    )
    return [_task(tx, row) for row in rows]


def unsettled(tx: Transaction, peer: PeerId, limit: int, begin: int = 0) -> list[Task]:
    """Return the tasks asked of a peer whose end it has not reported, from a place on, their texts cut."""
    return [_task(tx, row) for row in tx.rows(UNSETTLED, peer, limit, begin)]


def peers_asked(tx: Transaction) -> list[PeerId]:
    """Return the peers that have not reported the end of all that they were asked for."""
    return [PeerId(peer) for (peer,) in tx.rows(PEERS_ASKED)]


def open_between(tx: Transaction, peer: PeerId) -> list[Task]:
    """Return the tasks asked of a peer, and those that it has asked here, that have not ended."""
    rows = tx.rows(
        _SELECT + "WHERE peer = ? AND origin IN (?, ?) AND finished_at IS NULL ORDER BY seq", peer, SELF, peer
    )
    return [_task(tx, row) for row in rows]


def part(tx: Transaction, peer: PeerId) -> None:
    """Note that whoever bears a peer's name from now on has no part in the tasks so far."""
    tx.run("UPDATE tasks SET parted = 1 WHERE peer = ? AND origin IN (?, ?)", peer, SELF, peer)


def is_parted(tx: Transaction, local_id: LocalId) -> bool:
    """Return whether whoever bears the name of a task's peer now has no part in it."""
    return tx.row("SELECT 1 FROM tasks WHERE local_id = ? AND parted = 1", local_id) is not None


def join(tx: Transaction, local_id: LocalId) -> None:
    """Note that a task is one of whoever bears its peer's name now."""
    tx.run("UPDATE tasks SET parted = 0 WHERE local_id = ?", local_id)


def mark_read(tx: Transaction, local_id: LocalId, now: float) -> None:
    """Note that the session that asked has the outcome of an ended task."""
    tx.run(
        "UPDATE tasks SET read_at = ? WHERE local_id = ? AND read_at IS NULL AND finished_at IS NOT NULL",
        now, local_id,
    )  # fmt: skip


def mark_told(tx: Transaction, task: Task, now: float) -> None:
    """Note that a session was shown this outcome, or that this waits, unless it is otherwise since."""
    tx.run(
        "UPDATE tasks SET told_at = ? WHERE local_id = ? AND told_at IS NULL "
        "AND finished_at IS ? AND assumed = ?",
        now, task.local_id, task.finished_at, int(task.assumed),
    )  # fmt: skip


def unread(tx: Transaction, local_id: LocalId) -> None:
    """Note that what was read or told of a task's end does not hold any more."""
    tx.run("UPDATE tasks SET read_at = NULL, told_at = NULL WHERE local_id = ?", local_id)


def page(tx: Transaction, limit: int, state: TaskState | None = None) -> list[Task]:
    """Return the latest tasks, the newest first, with the beginnings of their texts only."""
    if state is None:
        rows = tx.rows(_SUMMARY + "ORDER BY seq DESC LIMIT ?", limit)
    else:
        rows = tx.rows(_SUMMARY + "WHERE state = ? ORDER BY seq DESC LIMIT ?", state, limit)
    return [_task(tx, row) for row in rows]


def count_waiting(tx: Transaction) -> int:
    """Return how many tasks wait here to be run or approved."""
    return tx.number("SELECT count(*) FROM tasks WHERE state = ? AND origin <> ?", TaskState.SUBMITTED, SELF)


def count_open(tx: Transaction, origin: Origin) -> int:
    """Return how many tasks of an origin have not ended."""
    return tx.number("SELECT count(*) FROM tasks WHERE origin = ? AND finished_at IS NULL", origin)


def awaiting_approval(tx: Transaction, limit: int, *, untold: bool = False) -> list[Task]:
    """Return the tasks that wait for their owner's word, the oldest first; or those not yet told of."""
    rows = tx.rows(AWAITING, untold, limit)
    return [_task(tx, row) for row in rows]


def short_of_files(tx: Transaction) -> list[Task]:
    """Return the tasks that wait for files, the oldest first."""
    return [_task(tx, row) for row in tx.rows(SHORT_OF_FILES)]


def count_approvals(tx: Transaction) -> int:
    """Return how many tasks wait for their owner's word."""
    return tx.number(
        "SELECT count(*) FROM tasks WHERE state = ? AND waiting_for = ? AND origin <> ?",
        TaskState.SUBMITTED, WaitingFor.APPROVAL, SELF,
    )  # fmt: skip


def counts(tx: Transaction) -> TaskCounts:
    """Return what this node has to do, and has done for others."""
    by_state = dict(tx.rows("SELECT state, count(*) FROM tasks WHERE origin <> ? GROUP BY state", SELF))
    (mean,) = tx.rows(
        "SELECT avg(finished_at - started_at) FROM tasks WHERE state = ? AND origin <> ?",
        TaskState.COMPLETED, SELF,
    )[0]  # fmt: skip
    return TaskCounts(
        running=by_state.get(TaskState.WORKING, 0),
        waiting=by_state.get(TaskState.SUBMITTED, 0),
        done=by_state.get(TaskState.COMPLETED, 0),
        failed=by_state.get(TaskState.FAILED, 0),
        mean_s=mean,
    )


def _row(task: Task) -> dict[str, Any]:
    return {
        "local_id": task.local_id,
        "wire_id": task.wire_id,
        "origin": task.origin,
        "peer": task.peer,
        "description": task.description,
        "mode": task.mode,
        "timeout_s": task.timeout_s,
        "reply_key": task.reply_key,
        "parent": task.parent,
        "root_id": task.chain.root_id,
        "path": ",".join(task.chain.path),
        "hops": task.chain.hops,
        "state": task.state,
        "waiting_for": task.waiting_for,
        "needs_approval": int(task.needs_approval),
        "attempt": task.attempt,
        "boot": task.boot,
        "repeatable": int(task.repeatable),
        "result": task.result,
        "truncated": int(task.truncated),
        "error_code": None if task.error is None else task.error.code,
        "error_detail": None if task.error is None else task.error.detail,
        "version": task.version,
        "seen_version": task.seen_version,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "session": task.session,
        "read_at": task.read_at,
        "host_boot": task.host_boot,
        "assumed": int(task.assumed),
        "canceling": task.canceling,
        "not_stopped": task.not_stopped,
        "questions": len(task.dialogue),
        "parted": int(task.parted),
    }


def _task(tx: Transaction, row: tuple[Any, ...]) -> Task:
    at = dict(zip((*_COLUMNS.split(", "), "progress"), row, strict=True))
    code = at["error_code"]
    return Task(
        local_id=LocalId(at["local_id"]),
        wire_id=WireId(at["wire_id"]),
        origin=Origin(at["origin"]),
        peer=at["peer"],
        description=at["description"],
        mode=TaskMode(at["mode"]),
        timeout_s=at["timeout_s"],
        reply_key=at["reply_key"],
        parent=at["parent"],
        chain=Chain(
            root_id=WireId(at["root_id"]),
            path=tuple(PeerId(name) for name in at["path"].split(",") if name),
            hops=at["hops"],
        ),
        state=TaskState(at["state"]),
        waiting_for=None if at["waiting_for"] is None else WaitingFor(at["waiting_for"]),
        needs_approval=bool(at["needs_approval"]),
        attempt=at["attempt"],
        boot=at["boot"],
        repeatable=bool(at["repeatable"]),
        result=at["result"],
        truncated=bool(at["truncated"]),
        error=None if code is None else TaskError(code=code, detail=at["error_detail"] or ""),
        version=at["version"],
        seen_version=at["seen_version"],
        created_at=at["created_at"],
        started_at=at["started_at"],
        finished_at=at["finished_at"],
        session=at["session"],
        read_at=at["read_at"],
        host_boot=at["host_boot"],
        progress=at["progress"],
        assumed=bool(at["assumed"]),
        canceling=at["canceling"],
        not_stopped=at["not_stopped"],
        dialogue=questions.of(tx, at["local_id"]) if at["questions"] else (),
        parted=bool(at["parted"]),
    )
