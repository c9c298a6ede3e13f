"""files as envelopes and reports name them"""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest
from lanmesh.model.file import MAX_FILE_BYTES, MAX_FILES, FileRef

_SHA256 = r"^[0-9a-f]{64}\Z"


class FileBody(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A file whose bytes travel apart, by their hash."""

    name: Annotated[str, Meta(min_length=1, max_length=1024)]
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
