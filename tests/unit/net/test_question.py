"""How long the answer to a question over a live link is waited for, on virtual time."""

import asyncio

import pytest

from lanmesh.net.question import Question
from lanmesh.protocol.frames import ANSWER, Frame
from tests.simulation.loop import VirtualLoop

SAID = Frame(kind=ANSWER, id=1)


async def answered(*, held_up_s: float, after_s: float) -> Frame | None:
    """Ask with a patience of 1 s; at once this node is held up, and then the answer takes so long."""
    question = Question()
    waiting = asyncio.create_task(question.answered(1.0))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.hold_up(held_up_s)
    loop.call_later(after_s, question.answer.set_result, SAID)
    return await waiting


def test_an_answer_that_came_while_this_node_was_held_up_counts() -> None:
    assert VirtualLoop().run(answered(held_up_s=1.5, after_s=0.7)) == SAID


@pytest.mark.parametrize("held_up_s", [0.0, 1.5])
def test_an_answer_that_does_not_come_is_given_up(held_up_s: float) -> None:
    with pytest.raises(TimeoutError):
        VirtualLoop().run(answered(held_up_s=held_up_s, after_s=1.1))
