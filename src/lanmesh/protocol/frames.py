"""what goes over a live link: its frames, in both directions"""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest
from lanmesh.protocol.json import MAX_BODY_BYTES

MAX_FRAME_BYTES = 256 * 1024
"""A part of a body, however it is spelled, and what stands around it; a longer frame ends the link."""

LONGEST_PART = 32 * 1024
"""Characters of a longer body that one frame carries: soon through a slow network, and others go between."""

HELLO = "hello"
"""Says who is there: the first frame from each side."""
ASK = "ask"
"""A request, as it would come over HTTP."""
ANSWER = "answer"
"""What the request of that id is answered."""
BEAT = "beat"
"""Says that its sender lives; the first, and each after something has changed, with its profile."""

_CUT = (ASK, ANSWER, BEAT)
_MOST_PARTS = MAX_BODY_BYTES // LONGEST_PART + 1

NOTHING = msgspec.Raw()
"""No body."""

Number = Annotated[int, Meta(ge=0, le=2**53)]


class Frame(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One text message of the WebSocket. A kind, and a field, that is not known is passed over."""

    kind: Annotated[str, Meta(max_length=32)]
    id: Number = 0
    """Of an ask, counted by its sender; an answer repeats it."""
    method: Annotated[str, Meta(max_length=8)] = ""
    path: Annotated[str, Meta(max_length=1024)] = ""
    """With its query; both as in the routes of the mesh port."""
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    """Of HTTP."""
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    """Seconds to wait before the same is worth asking again."""
    body: msgspec.Raw = NOTHING
    """JSON; without one, it is empty."""
    part: Annotated[str, Meta(max_length=LONGEST_PART)] | None = None
    """The next part of the text of a body that is too long for one frame."""
    more: bool = False
    """Whether further parts follow, in frames of the same kind and id; the last one says all else."""
    token: Annotated[str, Meta(max_length=256)] | None = None
    """In the hello of the side that was dialled: what it presents to the side that dialled."""
    boot: Annotated[str, Meta(max_length=64)] | None = None
    """In a hello: which life of its node this is."""


def body_of(said: bytes) -> msgspec.Raw:
    """Return some JSON, or nothing, as the body of a frame."""
    return msgspec.Raw(said) if said else NOTHING


def cut(frame: Frame) -> Iterator[Frame]:
    """Yield a frame as it goes out: in several, if its body is long."""
    body = bytes(frame.body)
    if len(body) <= LONGEST_PART:
        yield frame
        return
    text = body.decode()
    last = (len(text) - 1) // LONGEST_PART * LONGEST_PART
    for begin in range(0, last, LONGEST_PART):
        yield Frame(kind=frame.kind, id=frame.id, part=text[begin : begin + LONGEST_PART], more=True)
    yield msgspec.structs.replace(frame, body=NOTHING, part=text[last:])


class Joined:
    """Puts together what came in parts: of each kind one frame at a time."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._begun: dict[str, list[Frame]] = {}
        self.dropped = 0
        """Parts of what was never brought to its end."""

    def add(self, frame: Frame) -> Frame | None:
        """Return the whole that a frame completes; `None` while more of it is to come.

        Raises:
            InvalidRequest: It becomes longer than a body may be.
        """
        if frame.part is None or frame.kind not in _CUT:
            return frame
        parts = self._begun.setdefault(frame.kind, [])
        if parts and parts[0].id != frame.id:  # whoever asked has given up in the middle
            self.dropped += len(parts)
            parts.clear()
        parts.append(frame)
        if len(parts) > _MOST_PARTS:
            raise InvalidRequest(f"the body of a frame has more than {MAX_BODY_BYTES} bytes")
        if frame.more:
            return None
        del self._begun[frame.kind]
        text = "".join(each.part or "" for each in parts)
        return msgspec.structs.replace(frame, part=None, body=body_of(text.encode()))


def encode(frame: Frame) -> str:
    """Return a frame as it goes out."""
    return msgspec.json.encode(frame).decode()


def decode(text: str) -> Frame:
    """Return a frame that came. Its body is taken as it stands: whoever reads that, checks it.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        return msgspec.json.decode(text, type=Frame)
    except (ValueError, RecursionError) as fault:
        raise InvalidRequest(f"this is no frame of a live link: {fault}") from None
