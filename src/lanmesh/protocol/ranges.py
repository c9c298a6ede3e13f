"""which bytes of a file a request asks for (RFC 9110, section 14)"""

import re

from lanmesh.errors import RangeImpossible

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII | re.IGNORECASE)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return where the bytes begin and end that are asked for, the end not included; `None`: all of them.

    A header that is no range of bytes, or several of them, asks for all, as the RFC has it.

    Raises:
        RangeImpossible: There are none in that range.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or found.group(0).endswith("=-"):
        return None
    first, last = found.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), size if not last else min(int(last) + 1, size)
        if last and int(last) < int(first):
            return None
    if begin >= end:
        raise RangeImpossible(f"the file has {size} bytes")
    return begin, end
