"""Tasks between two nodes whose connections break, most of them, in both directions."""

import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.mesh import Mesh, start_all
from tests.acceptance.node_process import free_port
from tests.campaigns.breaking_proxy import BreakingProxy, Fate
from tests.campaigns.ledger import Findings, Ledger

BROKEN = 0.8
CALLERS = 4
SETTLING_S = 3600.0
MOST_TEXT = 20_000
"""Characters of a task: long ones are cut in the middle of their text, short ones in a header."""


def connections(folder: Path, *, tasks: int, seed: int, tell: Callable[[str], None]) -> Findings:
    """Run the campaign, and say what came of it: each node asks the other for half of the tasks."""
    mesh = Mesh(folder)
    chance = random.Random(seed)  # noqa: S311  # no secret
    ledger = Ledger(folder / "effects")
    ports = {"a": free_port(), "b": free_port()}
    with contextlib.ExitStack() as parts:
        parts.callback(mesh.end)
        ways = {
            name: parts.enter_context(BreakingProxy(port, random.Random(chance.random()), BROKEN))  # noqa: S311  # no secret
            for name, port in ports.items()
        }
        keys = {"command": ledger.command, "concurrency": 4}
        a, b = mesh.of(
            reached_by={name: way.port for name, way in ways.items()},
            **{name: {**keys, "port": port} for name, port in ports.items()},
        )
        start_all(a, b)
        began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as callers:
            for number in range(tasks):
                ways_round = (a, b) if number % 2 else (b, a)
                rest = f"0\n{'x' * chance.randrange(MOST_TEXT)}"
                callers.submit(ledger.ask, *ways_round, f"task-{number}", rest)
        tell(f"  {len(ledger.tasks)} tasks acknowledged by their askers")
        settled = ledger.settle((a, b), SETTLING_S)
        took_s = time.monotonic() - began
        found = ledger.account((a, b))
        sends = [task.asker.task(task.id) for task in ledger.tasks if task.asker is not None]
    tries = sum(task["delivery"]["attempts"] for task in sends)
    waited_s = [((task["finishedAt"] or task["createdAt"]) - task["createdAt"]) / 1000 for task in sends]
    results = sum(1 for task in sends if task["state"] == "completed")
    fates = sum((way.fates for way in ways.values()), Counter[Fate]())
    broken = 1 - fates[Fate.SPARED] / fates.total()
    if not settled:
        found.violations.append(f"tasks or deliveries were still open after {SETTLING_S:g} s")
    if results != tasks:
        found.violations.append(f"{tasks} tasks, {results} results")
    found.figures = {
        "tasks": tasks,
        "results": results,
        "connections": f"{fates.total()}, of them broken {broken:.0%}",
        **{f"  {fate}": count for fate, count in sorted(fates.items())},
        "tries to deliver a task": f"{tries / len(sends):.1f} on average",
        **found.figures,
        "seconds": f"{took_s:.0f}, half of the results after {statistics.median(waited_s):.0f}",
    }
    return found
