"""server-sent events (WHATWG HTML, section 9.2): how they are written, and read as they come"""

from typing import NamedTuple

import msgspec

from lanmesh.errors import InvalidRequest
from lanmesh.model.draft import START, Mark, mark
from lanmesh.model.task import TaskState

KEEP_ALIVE = b":\n\n"
"""A comment: it says that the stream still goes on."""

MEDIA_TYPE = "text/event-stream"


_DIGITS = 15
"""What fits into 64 bits."""


class Happening(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One thing that happened to a task, as its stream of events tells it."""

    version: int
    """Of the task from then on; also the `id` of the event."""
    at: int | None
    state: TaskState
    progress: str | None = None
    """What its run has said; the state is as it was."""


class Frame(NamedTuple):
    """One event of a stream."""

    event: str
    data: bytes
    id: str
    """Where the reader is then; see `Place`."""


class Place(NamedTuple):
    """How far a reader has come in what happens to a task, and in what its run writes."""

    version: int = 0
    seen: Mark = START

    def __str__(self) -> str:
        """Return it as the `id` of an event: the version, and the mark of a reader that has one."""
        return f"{self.version}.{self.seen}" if self.seen.run else str(self.version)


def place(text: str) -> Place:
    """Return the place that the `id` of an event tells.

    Raises:
        InvalidRequest: It is no such id.
    """
    number, dot, seen = text.partition(".")
    try:
        if number.isascii() and number.isdigit() and len(number) <= _DIGITS:
            return Place(int(number), mark(seen) if dot else START)
    except InvalidRequest:
        pass
    raise InvalidRequest("Last-Event-ID must be the id of an event, or 0")


def encode(frame: Frame) -> bytes:
    """Return an event as it stands in a stream; its data is one line, as JSON of ours is."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (frame.event.encode(), frame.id.encode(), frame.data)


class Reader:
    """Puts the events of a stream of `encode` together again, however the stream is cut."""

    def __init__(self) -> None:
        """Begin at the beginning of a stream."""
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the events that are complete with this chunk; comments are none."""
        # Only what is new may end an event: what was there before is not looked through again.
        seen = max(0, len(self._rest) - 1)
        text = self._rest + chunk
        end = text.rfind(b"\n\n", seen)
        if end < 0:
            self._rest = text
            return []
        self._rest = text[end + 2 :]
        return [frame for block in text[:end].split(b"\n\n") if (frame := _frame(block))]


def _frame(block: bytes) -> Frame | None:
    lines = (line.partition(b":") for line in block.split(b"\n"))
    fields = {name: value.removeprefix(b" ") for name, _, value in lines}
    if b"data" not in fields:
        return None
    event, name = (fields.get(field, b"").decode("utf-8", "replace") for field in (b"event", b"id"))
    return Frame(event or "message", fields[b"data"], name)
