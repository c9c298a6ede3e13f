"""files as envelopes and reports name them"""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest
from lanmesh.model.file import LONGEST_NAME, MAX_FILE_BYTES, MAX_FILES, FileRef, FileState

_SHA256 = r"^[0-9a-f]{64}\Z"


class FileBody(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A file whose bytes travel apart, by their hash."""

    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    """A label; of a file in a folder, with `/` between the parts."""
    size: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    sha256: Annotated[str, Meta(pattern=_SHA256, extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
    media_type: Annotated[str, Meta(min_length=1, max_length=128)] = "application/octet-stream"


FileBodies = Annotated[list[FileBody], Meta(max_length=MAX_FILES)]


def naming(files: Iterable[FileRef]) -> list[FileBody]:
    """Return how files are named on the wire."""
    return [
        FileBody(name=file.name, size=file.size, sha256=file.sha256, media_type=file.media) for file in files
    ]


def files_named(found: Iterable[FileBody], at: str = "files") -> tuple[FileRef, ...]:
    """Return the files that something names.

    Args:
        found: As they stand on the wire.
        at: The field that holds them, for errors.

    Raises:
        InvalidRequest: One hash stands there with two sizes.
    """
    sizes: dict[str, int] = {}
    for body in found:
        if sizes.setdefault(body.sha256, body.size) != body.size:
            raise InvalidRequest(f"{at}: one sha256 stands there with two sizes")
    return tuple(
        FileRef(name=body.name, size=body.size, sha256=body.sha256, media=body.media_type) for body in found
    )


class FileStanding(msgspec.Struct, kw_only=True, rename="camel"):
    """How far a file has come."""

    size: int
    present: int
    """Bytes of it that are here, from its beginning on; all of them, once their hash was found to fit."""


class FileView(msgspec.Struct, kw_only=True, rename="camel"):
    """A file as its owner may see it."""

    name: str
    size: int
    sha256: str
    media_type: str
    sent: bool
    """Whether this node sends it; else it comes from a peer."""
    made: bool
    """Whether the task's doer has made it; else it came with the task or the message."""
    present: int
    """Bytes of it that have come to where they belong, as far as is known."""
    settled: bool
    """Whether nothing more is to come of it."""
    error: str | None
    """Why it does not come; of one that is not settled, why it does not lie here yet."""
    place: str | None
    """Where it lies here, if it came from a peer and is whole."""


class KeepRequest(msgspec.Struct, kw_only=True, rename="camel"):
    """Files of this machine that are to be sent."""

    paths: list[str]
    """Absolute ones, of files and folders."""


def file_views(states: Iterable[FileState]) -> list[FileView]:
    """Return how files are shown."""
    return [
        FileView(
            name=state.ref.name,
            size=state.ref.size,
            sha256=state.ref.sha256,
            media_type=state.ref.media,
            sent=state.ours,
            made=state.made,
            present=state.present,
            settled=state.settled,
            error=state.error,
            place=state.place,
        )
        for state in states
    ]
