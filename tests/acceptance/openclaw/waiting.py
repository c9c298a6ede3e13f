"""wait for what must come to be, and show a log where it does not

A bound is there so that what never comes is told; how fast things are, no test says.
"""

import asyncio
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOUND_S = 90.0
"""How long anything here may take: two gateways on a slow machine, beside other work."""


async def eventually(
    holds: Callable[[], Any],
    otherwise: str,
    within_s: float = BOUND_S,
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
