"""what tasks ask back: asked by their doers, answered by their askers, and for how long that is waited for"""

from lanmesh.engine.deadlines import STEP, keep_deadlines
from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.events import Events
from lanmesh.engine.outcomes import Outcomes
from lanmesh.engine.ports import Clock
from lanmesh.errors import IllegalTransition
from lanmesh.model import record
from lanmesh.model.dialogue import QUESTION_S
from lanmesh.model.envelope import Answer, Question
from lanmesh.model.ids import short
from lanmesh.model.report import report_of
from lanmesh.model.task import Failure, Task, TaskEvent, TaskMode, TaskState, failed
from lanmesh.protocol.json import cut
from lanmesh.store import outbox, questions, tasks
from lanmesh.store.database import Database, Topic, Transaction

_MOST_BYTES = 64_000
"""Of a question, and of an answer: both stand in reports beside all else."""


class Questions:
    """Carries questions and answers between a task's doer and its asker."""

    def __init__(
        self, *, database: Database, events: Events, clock: Clock, envelopes: Envelopes, outcomes: Outcomes
    ) -> None:
        """Tell askers as outcomes are told, and doers by envelopes."""
        self._database = database
        self._events = events
        self._clock = clock
        self._envelopes = envelopes
        self._outcomes = outcomes

    def ask(self, tx: Transaction, task: Task, question: str) -> Task:
        """Have the run of a task ask its asker; the run ends with it, and the next one has the answer.

        The same question again changes nothing.

        Raises:
            IllegalTransition: It is not being done, it is being canceled, or nobody waits for it.
        """
        text, _ = cut(question, _MOST_BYTES)
        if task.question == text:
            return task
        if task.canceling is not None or task.mode is TaskMode.FIRE_AND_FORGET:
            why = "it is being canceled" if task.canceling else "nobody waits for it: decide by yourself"
            raise IllegalTransition(f"task {short(task.local_id)} cannot ask back: {why}")
        after = task.asking(text)
        tasks.save(tx, after, TaskEvent.ASK, self._clock.now(), text)
        self._outcomes.tell(tx, after, Question(report=report_of(after)))
        return after

    def take(self, tx: Transaction, task: Task, answer: str, attempt: int | None = None) -> Task:
        """Take the answer to what a task done here has asked; it goes on with that.

        Raises:
            IllegalTransition: It waits for no answer, or for that to another question.
        """
        if task.question is None or attempt not in {None, task.attempt}:
            raise IllegalTransition(
                f"task {short(task.local_id)} waits for no such answer: it is {task.state}"
            )
        after = task.answered(cut(answer, _MOST_BYTES)[0])
        tasks.save(tx, after, TaskEvent.ANSWER, self._clock.now(), answer)
        return after

    def give(self, tx: Transaction, task: Task, answer: str) -> Task:
        """Send the answer to what a task that a peer was asked for has asked.

        The same answer again changes nothing.

        Raises:
            IllegalTransition: It waits for no answer, or has another already.
        """
        text, _ = cut(answer, _MOST_BYTES)
        if not task.asked:
            raise IllegalTransition(
                f"task {short(task.local_id)} is done here: its asker answers, {task.peer}"
            )
        if task.state is not TaskState.INPUT_REQUIRED or not task.dialogue:
            raise IllegalTransition(f"task {short(task.local_id)} has no question: it is {task.state}")
        latest = task.dialogue[-1]
        if latest.answer == text:
            return task
        if latest.answer is not None:
            raise IllegalTransition(f"task {short(task.local_id)} has another answer already")
        after = record.answered(task, text)
        tasks.save(tx, after, TaskEvent.ANSWER, self._clock.now(), text)
        said = Answer(task_id=task.wire_id, text=text, attempt=latest.attempt)
        outbox.queue(tx, self._envelopes.about(after, said))
        return tasks.get(tx, task.local_id)

    async def run(self) -> None:
        """End what nobody answers, each at its time, until cancelled."""
        await keep_deadlines(
            self._database,
            self._events,
            self._clock,
            topic=Topic.QUESTION,
            next_due=lambda tx: next((at + QUESTION_S for _, at in questions.open_ones(tx, 1)), None),
            end_late=self._expire,
        )

    def _expire(self, tx: Transaction) -> bool:
        """End some of what has waited too long; return whether there may be more."""
        ends = self._clock.now() - QUESTION_S
        late = [name for name, asked_at in questions.open_ones(tx, STEP) if asked_at <= ends]
        for name in late:
            why = f"its question was not answered within {QUESTION_S / 3600:g} h"
            self._outcomes.end(tx, tasks.get(tx, name), failed(Failure.EXPIRED, why))
        return len(late) == STEP
