"""reports: what a node says of a task to whoever asked for it"""

from dataclasses import dataclass, replace

from lanmesh.model.draft import Passage
from lanmesh.model.file import FileRef
from lanmesh.model.ids import LocalId, WireId
from lanmesh.model.task import Task, TaskError, TaskState, WaitingFor


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """What a node says of a task to whoever asked for it."""

    task_id: WireId
    local_id: LocalId
    state: TaskState
    waiting_for: WaitingFor | None = None
    version: int = 1
    """Grows with everything that happens to the task; a newer report has a higher one."""
    attempt: int = 0
    progress: str | None = None
    """The latest words of the run that goes on."""
    draft: Passage | None = None
    """What it has written beyond what the reader has of it; `None` if that does not want to know."""
    result: str | None = None
    truncated: bool = False
    error: TaskError | None = None
    canceling: bool = False
    """Whether it was asked to end, and has not yet."""
    not_stopped: str | None = None
    """Why it goes on although it was asked to end."""
    question: str | None = None
    """What the attempt has asked, and nobody has answered yet."""
    started_at: float | None = None
    finished_at: float | None = None
    files: tuple[FileRef, ...] = ()


def report_of(task: Task) -> TaskReport:
    """Return what the asker of a task may know of it."""
    return TaskReport(
        task_id=task.wire_id,
        local_id=task.local_id,
        state=task.state,
        waiting_for=task.waiting_for,
        version=task.version,
        attempt=task.attempt,
        progress=task.progress,
        result=task.result,
        truncated=task.truncated,
        error=task.error,
        canceling=task.canceling is not None,
        not_stopped=task.not_stopped,
        question=task.question,
        started_at=task.started_at,
        finished_at=task.finished_at,
    )


def first_report_of(task: Task) -> TaskReport:
    """Return what was said of a task when it arrived; every repeat of its envelope gets the same."""
    if task.final and task.version == 1:
        return report_of(task)  # it never lived
    said = TaskReport(task_id=task.wire_id, local_id=task.local_id, state=TaskState.SUBMITTED)
    return replace(said, waiting_for=WaitingFor.APPROVAL) if task.needs_approval else said
