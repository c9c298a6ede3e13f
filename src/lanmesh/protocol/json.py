"""JSON within limits: what is read of it, and how much of a text is sent"""

import re
from typing import Any, TypeVar

import msgspec

from lanmesh.errors import InvalidRequest

T = TypeVar("T")

MAX_BODY_BYTES = 1024 * 1024
"""A larger request is refused before it is read."""

MAX_DEPTH = 32
"""Arrays and objects within one another."""

MAX_RESULT_BYTES = 512_000
"""What is kept of a result, counted as JSON, so that its envelope always fits in a body."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, closed or not, so that one pass finds them all."""

_ENDLESS = re.compile(rb"(?<![0-9.])[0-9]{309}")
"""The digits of a number beyond a double. msgspec looks at those of fractions alone."""

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_LONGEST_REASON = 200
"""Characters of an error; it may quote a value, which may be long."""


def parse(body: bytes) -> Any:
    """Return the JSON value in some bytes.

    Stricter than the JSON module of the standard library: no NaN, no number beyond a double, no
    lone surrogate (RFC 8259 section 8.2), no name twice in one object, no nesting beyond
    `MAX_DEPTH`; that is seen before anything is built.

    Raises:
        InvalidRequest: It is none of that.
    """
    bare = _STRING.sub(b"", body)
    depth = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"the JSON is nested more than {MAX_DEPTH} deep")
    if _ENDLESS.search(bare):
        raise InvalidRequest("the body is not JSON in UTF-8: a number has more than 308 digits")
    try:
        value = msgspec.json.decode(body)
    except ValueError as fault:
        raise InvalidRequest(f"the body is not JSON in UTF-8: {fault}") from None
    if _members(value) != bare.count(b":"):
        raise InvalidRequest("the JSON has an object in which a name stands twice")
    return value


def convert(raw: Any, kind: type[T], at: str = "") -> T:
    """Return a JSON value as one of the structs of this package.

    Args:
        raw: The value.
        kind: The struct.
        at: The field that holds the value, for errors; empty for a whole body.

    Raises:
        InvalidRequest: A field is missing, of another type, or out of its bounds.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as fault:
        what, _, where = str(fault).partition(" - at `$")
        path = f"{at}{where}".strip(".`") or "the body"
        raise InvalidRequest(f"{path}: {what[:_LONGEST_REASON]}".replace("`", "'")) from None


def cut(text: str, limit: int = MAX_RESULT_BYTES) -> tuple[str, bool]:
    """Return as much of the text as fits into a number of bytes of JSON, and whether that is less."""
    if len(text) * 6 <= limit or _json_size(text) <= limit:
        return text, False
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        if _json_size(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low], True


def _members(value: Any) -> int:
    """Return how many members the objects in a value have; of two with one name, only one is there."""
    count, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        count += sum(len(item) for item in level if isinstance(item, dict))
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return count


def _json_size(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2
