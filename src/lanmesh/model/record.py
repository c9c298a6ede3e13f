"""the asker's record of a task: what its doer reports, and what has to be assumed"""

from dataclasses import replace

from lanmesh.errors import IllegalTransition
from lanmesh.model import dialogue
from lanmesh.model.ids import short
from lanmesh.model.report import TaskReport
from lanmesh.model.task import FINAL, Failure, Outcome, Task, TaskState


def recalled(task: Task, who: str) -> Task:
    """Return the asker's record while the doer is told to end the task."""
    return replace(task, canceling=who, not_stopped=None, version=task.version + 1)


def unrecalled(task: Task, why: str) -> Task:
    """Return the asker's record after the doer could not be told, or did not understand."""
    return replace(task, canceling=None, not_stopped=why, version=task.version + 1)


def answered(task: Task, answer: str | None) -> Task:
    """Return the record while an answer is on its way to the doer; `None`: it came to nothing."""
    said = dialogue.answered(task.dialogue, answer)
    return replace(task, dialogue=said, version=task.version + 1)


def reported(task: Task, report: TaskReport, now: float) -> Task:
    """Return the asker's record with what the doer says of the task.

    The doer alone decides the task's life, so any state may follow here while the record is
    open, or its end only assumed. An end that was reported stays, and a report that was
    overtaken by a newer one changes nothing. Where the end was assumed for the doer's silence
    alone, its word that nothing has changed since is news.
    """
    over = report.state in FINAL
    silent = task.assumed and task.error is not None and task.error.code == Failure.SILENT
    news = report.version > task.seen_version or (silent and report.version == task.seen_version)
    if (task.final and not task.assumed) or not (over or news):
        return task
    answered = over or (report.not_stopped is not None and not report.canceling)
    said = task.dialogue
    if report.question is not None:
        said = dialogue.asked(said, report.attempt, report.question)
    return replace(
        task,
        state=report.state,
        waiting_for=report.waiting_for,
        attempt=report.attempt,
        version=task.version + 1,
        seen_version=report.version,
        result=report.result,
        progress=None if over else report.progress,
        truncated=report.truncated,
        error=report.error,
        canceling=None if answered else task.canceling,
        not_stopped=report.not_stopped,
        dialogue=said,
        started_at=report.started_at,
        finished_at=(report.finished_at or now) if over else None,
        assumed=False,
    )


def presumed(task: Task, outcome: Outcome, now: float) -> Task:
    """Return the asker's record with an end that it has to assume, for want of the doer's word."""
    return replace(
        task,
        state=outcome.state,
        waiting_for=None,
        progress=None,
        version=task.version + 1,
        error=outcome.error,
        canceling=None,
        finished_at=now,
        assumed=True,
    )


def reopened(task: Task) -> Task:
    """Return the asker's record as its request is sent again, after an end that was assumed.

    Raises:
        IllegalTransition: It has ended for real.
    """
    if task.final and not task.assumed:
        raise IllegalTransition(f"task {short(task.local_id)} has ended: it is {task.state}")
    return replace(
        task,
        state=TaskState.SUBMITTED,
        version=task.version + 1,
        error=None,
        finished_at=None,
        assumed=False,
    )


def withdrawn(task: Task, outcome: Outcome, now: float) -> Task:
    """Return the record of a task that no peer ever had: its end is known, not assumed."""
    return replace(presumed(task, outcome, now), assumed=False)
