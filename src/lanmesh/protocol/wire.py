"""JSON objects on the wire: how fields are spelled and left out, and the texts, times and ids in them"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest

T = TypeVar("T")

Text = Annotated[str, Meta(min_length=1)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]


class Wire(msgspec.Struct, kw_only=True, rename="camel"):
    """A JSON object; fields it does not know are ignored, absent ones take their defaults."""


class Sparse(Wire, kw_only=True, omit_defaults=True):
    """One that does not say what would be understood anyway."""


def milliseconds(seconds: float | None) -> int | None:
    """Return seconds since the epoch as the wire has them."""
    return None if seconds is None else round(seconds * 1000)


def named(field: str, kind: Callable[[str], T], text: str) -> T:
    """Return what a field holds as an id of some kind; an error names the field."""
    try:
        return kind(text)
    except InvalidRequest as fault:
        raise InvalidRequest(f"{field}: {fault.detail}") from None
