"""tasks: what was asked, how far it has come, and the table of what may happen next"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lanmesh.errors import IllegalTransition
from lanmesh.model import dialogue
from lanmesh.model.chain import Chain
from lanmesh.model.claim import Claim
from lanmesh.model.dialogue import Dialogue
from lanmesh.model.file import FileRef
from lanmesh.model.ids import SELF, LocalId, Origin, WireId, short

DEFAULT_TIMEOUT_S = 600.0
MAX_TIMEOUT_S = 24 * 3600.0
"""A run may take a day; longer work is better cut into tasks."""

APPROVAL_S = 72 * 3600.0
"""How long a task waits for its owner's word."""


class TaskState(StrEnum):
    """How far a task has come, in the words of A2A 1.0."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input-required"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELED = "canceled"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    APPROVE = "approve"
    CLAIM = "claim"
    ADOPT = "adopt"
    RUN_AGAIN = "run-again"
    COMPLETE = "complete"
    FAIL = "fail"
    REJECT = "reject"
    ASK = "ask"
    ANSWER = "answer"
    STOP = "stop"
    GO_ON = "go-on"
    SUPPLY = "supply"
    CANCEL = "cancel"


TRANSITIONS: Mapping[TaskState, Mapping[TaskEvent, TaskState]] = {
    TaskState.SUBMITTED: {
        TaskEvent.APPROVE: TaskState.SUBMITTED,
        TaskEvent.SUPPLY: TaskState.SUBMITTED,  # its files are here
        TaskEvent.CLAIM: TaskState.WORKING,
        TaskEvent.REJECT: TaskState.REJECTED,
        TaskEvent.CANCEL: TaskState.CANCELED,
    },
    TaskState.WORKING: {
        TaskEvent.ADOPT: TaskState.WORKING,  # the node began anew, the run went on without it
        TaskEvent.RUN_AGAIN: TaskState.SUBMITTED,  # interrupted, and marked repeatable
        TaskEvent.COMPLETE: TaskState.COMPLETED,
        TaskEvent.FAIL: TaskState.FAILED,
        TaskEvent.ASK: TaskState.INPUT_REQUIRED,  # its run has a question, and has ended with it
        TaskEvent.STOP: TaskState.WORKING,  # somebody wants it ended: its run is being stopped
        TaskEvent.GO_ON: TaskState.WORKING,  # and could not be
        TaskEvent.CANCEL: TaskState.CANCELED,
    },
    TaskState.INPUT_REQUIRED: {
        TaskEvent.ANSWER: TaskState.SUBMITTED,  # the next attempt goes on with the answer
        TaskEvent.FAIL: TaskState.FAILED,  # nobody answered in time
        TaskEvent.CANCEL: TaskState.CANCELED,
    },
    TaskState.COMPLETED: {},
    TaskState.FAILED: {},
    TaskState.REJECTED: {},
    TaskState.CANCELED: {},
}
"""The life of a task on the node that does it. The figure in PROTOCOL.md is drawn from it."""

ENDINGS: Mapping[TaskState, TaskEvent] = {
    TaskState.COMPLETED: TaskEvent.COMPLETE,
    TaskState.FAILED: TaskEvent.FAIL,
    TaskState.REJECTED: TaskEvent.REJECT,
    TaskState.CANCELED: TaskEvent.CANCEL,
}
"""By which event a task comes to each of its ends."""

FINAL = frozenset(state for state, moves in TRANSITIONS.items() if not moves)


class AcceptMode(StrEnum):
    """What a node does with a task that arrives: run it, ask its owner first, or refuse it."""

    AUTO = "auto"
    MANUAL = "manual"
    OFF = "off"


class TaskMode(StrEnum):
    """How the asker wants to learn the outcome."""

    CALLBACK = "callback"
    FIRE_AND_FORGET = "fire-and-forget"
    WAIT = "wait"


class WaitingFor(StrEnum):
    """What a task waits for before it can go on."""

    APPROVAL = "approval"
    FILES = "files"


class Failure(StrEnum):
    """Why a task ended without a result."""

    COMMAND_FAILED = "command-failed"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"
    DENIED = "denied"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    SILENT = "silent"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why a task has no result."""

    code: str
    """One of `Failure`, or a word of the peer's own."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended."""

    state: TaskState
    """One of `FINAL`."""
    result: str | None = None
    truncated: bool = False
    """Whether the result was longer than what is kept of it."""
    error: TaskError | None = None
    files: tuple[FileRef, ...] = ()


def failed(code: Failure, detail: str) -> Outcome:
    """Return the outcome of a task that was tried in vain."""
    return Outcome(state=TaskState.FAILED, error=TaskError(code=code, detail=detail))


def rejected(code: Failure, detail: str) -> Outcome:
    """Return the outcome of a task that was never tried."""
    return Outcome(state=TaskState.REJECTED, error=TaskError(code=code, detail=detail))


def canceled(why: str) -> Outcome:
    """Return the outcome of a task that somebody wanted ended before its time."""
    return Outcome(state=TaskState.CANCELED, error=TaskError(code=Failure.CANCELED, detail=why))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A request for work, and how far it has come.

    A node holds one for each task that it does, and one for each that it asked of a peer; the
    latter mirrors what the peer reports (model/record.py). Times are seconds since the Unix epoch.
    """

    local_id: LocalId
    wire_id: WireId
    origin: Origin
    """Who sent it, as proven; `SELF` for what this node asked of a peer."""
    peer: str
    """Whom we asked, or the label under which the asker presented itself."""
    description: str
    mode: TaskMode = TaskMode.CALLBACK
    timeout_s: float = DEFAULT_TIMEOUT_S
    """The run's deadline, counted from its claim."""
    reply_key: str | None = None
    """The asker's secret for this task: every result must carry it."""
    session: str | None = None
    """At the asker: the agent's session that asked; `None` for a person or a program."""
    parent: LocalId | None = None
    """The task here whose run delegated this one."""
    chain: Chain
    state: TaskState = TaskState.SUBMITTED
    waiting_for: WaitingFor | None = None
    needs_approval: bool = False
    """Whether it came while the owner wanted to be asked; stays true once approved."""
    attempt: int = 0
    """Times it was claimed."""
    boot: str | None = None
    """The boot that holds the claim; `None` while nobody works on it."""
    host_boot: str | None = None
    """The boot of the gateway that runs the claimed attempt; `None` where this node runs it itself."""
    repeatable: bool = False
    """Whether an interrupted run may be done again; decided at the claim."""
    progress: str | None = None
    """The latest words of the run that goes on; `None` where none goes on, or it has said nothing."""
    result: str | None = None
    truncated: bool = False
    error: TaskError | None = None
    canceling: str | None = None
    """Who wants it ended, in words, until it is known whether it has ended; `None` if nobody does."""
    not_stopped: str | None = None
    """Why it goes on although somebody wanted it ended."""
    dialogue: Dialogue = ()
    """What its attempts have asked its asker, and the answers."""
    version: int = 1
    seen_version: int = 0
    """At the asker: the version in the doer's latest report."""
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    read_at: float | None = None
    """At the asker: when the session that asked had the outcome."""
    assumed: bool = False
    """At the asker: whether its end is only what must be assumed; a report of the doer overrides it."""
    parted: bool = False
    """Whether its peer was unpaired since: whoever bears that name now has no part in it."""

    @property
    def claim(self) -> Claim | None:
        """Who works on it now; `None` while nobody does."""
        return None if self.boot is None else Claim(boot=self.boot, attempt=self.attempt)

    @property
    def tries(self) -> int:
        """How often it was begun, beside the attempts that have ended with a question."""
        return self.attempt - len(self.dialogue)

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in FINAL

    @property
    def decide_by(self) -> float | None:
        """Until when the owner of this node can decide about it; `None` if there is nothing to decide."""
        undecided = self.waiting_for is WaitingFor.APPROVAL and not self.asked
        return self.created_at + APPROVAL_S if undecided else None

    @property
    def asked(self) -> bool:
        """Whether this node asked for it, rather than does it."""
        return self.origin == SELF

    @property
    def question(self) -> str | None:
        """What it waits to be answered; `None` while it does not."""
        if self.state is not TaskState.INPUT_REQUIRED or not self.dialogue or self.dialogue[-1].answer:
            return None
        return self.dialogue[-1].question

    def after(self, event: TaskEvent) -> "Task":
        """Return the task as it is after the event.

        Raises:
            IllegalTransition: The event cannot happen in this state.
        """
        state = TRANSITIONS[self.state].get(event)
        if state is None:
            raise IllegalTransition(f"cannot {event} task {short(self.local_id)}: it is {self.state}")
        said = self.progress if event in {TaskEvent.ADOPT, TaskEvent.STOP, TaskEvent.GO_ON} else None
        return replace(self, state=state, version=self.version + 1, progress=said)

    def told(self, progress: str) -> "Task":
        """Return the task with the latest words of its run; its state stays."""
        return replace(self, progress=progress, version=self.version + 1)

    def held(self) -> "Task":
        """Return a new task that waits for approval."""
        return replace(self, waiting_for=WaitingFor.APPROVAL, needs_approval=True)

    def refused(self, outcome: Outcome, now: float) -> "Task":
        """Return a new task that has its end already as it comes."""
        return replace(self, state=outcome.state, error=outcome.error, finished_at=now)

    def approved(self) -> "Task":
        """Return the task free to run.

        Raises:
            IllegalTransition: It does not wait for approval, or not for that of this node's owner.
        """
        if self.asked or self.waiting_for is not WaitingFor.APPROVAL:
            asked = f"was asked of {self.peer}: the owner there decides"
            why = asked if self.asked else f"does not wait for approval: it is {self.state}"
            raise IllegalTransition(f"task {short(self.local_id)} {why}")
        return replace(self.after(TaskEvent.APPROVE), waiting_for=None)

    def claimed(self, boot: str, now: float, *, repeatable: bool, host_boot: str | None = None) -> "Task":
        """Return the task as the given boot begins its next attempt."""
        return replace(
            self.after(TaskEvent.CLAIM),
            boot=boot,
            host_boot=host_boot,
            attempt=self.attempt + 1,
            repeatable=repeatable,
            started_at=now,
        )

    def adopted(self, boot: str) -> "Task":
        """Return the task as another boot goes on with the same attempt; the earlier claim is fenced."""
        return replace(self.after(TaskEvent.ADOPT), boot=boot)

    def released(self) -> "Task":
        """Return the task as it waits for its next attempt, after an interrupted one."""
        return replace(self.after(TaskEvent.RUN_AGAIN), boot=None, host_boot=None, started_at=None)

    def asking(self, question: str) -> "Task":
        """Return the task as it waits for an answer; its claim is given up, and that time does not count."""
        if self.canceling is not None:
            raise IllegalTransition(f"cannot ask about task {short(self.local_id)}: it is being canceled")
        if len(self.dialogue) >= dialogue.MOST_QUESTIONS:
            raise IllegalTransition(
                f"task {short(self.local_id)} has asked {len(self.dialogue)} times already"
            )
        said = dialogue.asked(self.dialogue, self.attempt, question)
        return replace(self.after(TaskEvent.ASK), boot=None, host_boot=None, dialogue=said)

    def answered(self, answer: str) -> "Task":
        """Return the task as it waits for the attempt that goes on with the answer."""
        after = self.after(TaskEvent.ANSWER)
        return replace(after, started_at=None, dialogue=dialogue.answered(self.dialogue, answer))

    def stopping(self, who: str) -> "Task":
        """Return the task while its run is being stopped."""
        return replace(self.after(TaskEvent.STOP), canceling=who, not_stopped=None)

    def going_on(self, why: str) -> "Task":
        """Return the task whose run could not be stopped."""
        return replace(self.after(TaskEvent.GO_ON), canceling=None, not_stopped=why)

    def ended(self, outcome: Outcome, now: float) -> "Task":
        """Return the task with its outcome."""
        return replace(
            self.after(ENDINGS[outcome.state]),
            waiting_for=None,
            boot=None,
            result=outcome.result,
            truncated=outcome.truncated,
            error=outcome.error,
            canceling=None,
            finished_at=now,
        )
