"""dialogues: what a task asks back while it is done, and what it is answered"""

from dataclasses import dataclass, replace

QUESTION_S = 72 * 3600.0
"""How long a task waits for an answer."""


MOST_QUESTIONS = 100
"""That one task may ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One question, asked by one attempt at a task, and its answer."""

    attempt: int
    question: str
    answer: str | None = None


Dialogue = tuple[Exchange, ...]
"""All of a task's exchanges, the latest last."""


def asked(dialogue: Dialogue, attempt: int, question: str) -> Dialogue:
    """Return the dialogue with a question; an attempt asks once, and nobody more than `MOST_QUESTIONS`."""
    if dialogue and (dialogue[-1].attempt == attempt or len(dialogue) >= MOST_QUESTIONS):
        return dialogue
    return (*dialogue, Exchange(attempt=attempt, question=question))


def answered(dialogue: Dialogue, answer: str | None) -> Dialogue:
    """Return the dialogue with an answer to its latest question, or without one."""
    return (*dialogue[:-1], replace(dialogue[-1], answer=answer))
