"""drafts on the wire: what a run has written, and how far a reader has come"""

from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.model.draft import Passage


class DraftBody(msgspec.Struct, kw_only=True):
    """A part of what a run has written so far."""

    run: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._~-]*$")]
    """Names the run: with another one, the text begins anew."""
    offset: Annotated[int, Meta(ge=0, le=2**49)]
    """Characters (code points) of it before this."""
    text: Annotated[str, Meta(max_length=65_536)]


def spelled(passage: Passage) -> DraftBody:
    """Return a passage as it goes out."""
    return DraftBody(run=passage.run, offset=passage.offset, text=passage.text)


def passage(body: DraftBody) -> Passage:
    """Return what came."""
    return Passage(run=body.run, offset=body.offset, text=body.text)
