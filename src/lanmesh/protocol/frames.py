"""what goes over a live link: its frames, in both directions"""

from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest
from lanmesh.protocol.json import MAX_BODY_BYTES

MAX_FRAME_BYTES = MAX_BODY_BYTES + 64 * 1024
"""A body as large as may be, and what stands around it; a longer frame ends the link."""

HELLO = "hello"
"""Says who is there: the first frame from each side."""
ASK = "ask"
"""A request, as it would come over HTTP."""
ANSWER = "answer"
"""What the request of that id is answered."""
BEAT = "beat"
"""Says that its sender lives; the first, and each after something has changed, with its profile."""

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
    token: Annotated[str, Meta(max_length=256)] | None = None
    """In the hello of the side that was dialled: what it presents to the side that dialled."""
    boot: Annotated[str, Meta(max_length=64)] | None = None
    """In a hello: which life of its node this is."""


def body_of(said: bytes) -> msgspec.Raw:
    """Return some JSON, or nothing, as the body of a frame."""
    return msgspec.Raw(said) if said else NOTHING


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
