"""reports of tasks as they go over the wire, in both directions"""

from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.model import ids
from lanmesh.model.report import TaskReport
from lanmesh.model.task import TaskError, TaskState, WaitingFor
from lanmesh.protocol.drafts import DraftBody, passage, spelled
from lanmesh.protocol.files import FileBodies, files_named, naming
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.wire import Label, Sparse, milliseconds, named

_LONGEST_WORDS = 64_000
"""Characters that are read of a question, of an error, and of why something goes on."""

_LONGEST_PROGRESS = 4000
"""Characters that are read of a run's latest words: what a node of ours says at most."""


class _Error(Sparse, kw_only=True):
    code: Label
    detail: str = ""


class ReportBody(Sparse, kw_only=True):
    """What a node says of a task."""

    task_id: str
    local_id: str = ""
    state: TaskState
    waiting_for: WaitingFor | None = None
    version: Annotated[int, Meta(ge=0, le=2**53)] = 0
    attempt: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    progress: str | None = None
    draft: DraftBody | None = None
    result: str | None = None
    truncated: bool = False
    error: _Error | None = None
    canceling: bool = False
    not_stopped: str | None = None
    question: str | None = None
    started_at: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    finished_at: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    files: FileBodies = msgspec.field(default_factory=list)


def encode(report: TaskReport) -> bytes:
    """Return what a node answers about a task."""
    return msgspec.json.encode(body_of(report))


def decode(body: bytes) -> TaskReport:
    """Return what another node answered about a task.

    Raises:
        InvalidRequest: It is no report.
    """
    return report_in(convert(parse(body), ReportBody))


def body_of(report: TaskReport) -> ReportBody:
    """Return a report as it stands in an answer or in an envelope."""
    error = report.error
    return ReportBody(
        task_id=report.task_id,
        local_id=report.local_id,
        state=report.state,
        waiting_for=report.waiting_for,
        version=report.version,
        attempt=report.attempt,
        progress=report.progress,
        draft=None if report.draft is None else spelled(report.draft),
        result=report.result,
        truncated=report.truncated,
        error=None if error is None else _Error(code=error.code, detail=error.detail),
        canceling=report.canceling,
        not_stopped=report.not_stopped,
        question=report.question,
        started_at=milliseconds(report.started_at),
        finished_at=milliseconds(report.finished_at),
        files=naming(report.files),
    )


def report_in(wire: ReportBody) -> TaskReport:
    """Return what a report on the wire says.

    Raises:
        InvalidRequest: The id of its task is none.
    """
    error = wire.error
    return TaskReport(
        task_id=named("taskId", ids.wire_id, wire.task_id),
        local_id=ids.LocalId(wire.local_id[:128]),
        state=wire.state,
        waiting_for=wire.waiting_for,
        version=wire.version,
        attempt=wire.attempt,
        progress=wire.progress[-_LONGEST_PROGRESS:] if wire.progress and wire.progress.strip() else None,
        draft=None if wire.draft is None else passage(wire.draft),
        result=wire.result,
        truncated=wire.truncated,
        error=None if error is None else TaskError(code=error.code, detail=error.detail[:_LONGEST_WORDS]),
        canceling=wire.canceling,
        not_stopped=None if wire.not_stopped is None else wire.not_stopped[:_LONGEST_WORDS],
        question=None if wire.question is None else wire.question[:_LONGEST_WORDS],
        started_at=None if wire.started_at is None else wire.started_at / 1000,
        finished_at=None if wire.finished_at is None else wire.finished_at / 1000,
        files=files_named(wire.files),
    )
