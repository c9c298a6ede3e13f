"""wait for what must come to be, and show a log where it does not"""

import asyncio
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


async def eventually(
    holds: Callable[[], Any],
    otherwise: str,
    within_s: float = 20.0,
    log: Path | None = None,
) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + within_s
    while True:
        answer = holds()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            end = f"\n{tail(log)}" if log is not None else ""
            raise AssertionError(f"{otherwise} after {within_s:g} s{end}")
        await asyncio.sleep(0.1)


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"({log} does not exist)"
