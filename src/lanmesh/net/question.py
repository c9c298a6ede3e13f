"""a question over a live link, and for how long its answer is waited for"""

import asyncio

from lanmesh.protocol.frames import Frame

_TURNS = 4
"""In which the time for an answer passes; while this node is held up, no more than one does."""


class Question:
    """What was asked, and has no answer yet."""

    def __init__(self) -> None:
        """Begin to wait; in the loop."""
        self.answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
        self.coming = False
        """Whether a part of the answer has come lately."""

    async def answered(self, seconds: float) -> Frame | None:
        """Return the answer, `None` once there can be none.

        Raises:
            TimeoutError: For so long, no part of it has come.
        """
        turns = _TURNS
        while turns:
            await asyncio.wait([self.answer], timeout=seconds / _TURNS)
            if self.answer.done():
                return self.answer.result()
            turns = _TURNS if self.coming else turns - 1
            self.coming = False
        raise TimeoutError
