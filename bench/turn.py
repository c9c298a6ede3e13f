"""how many milliseconds the mesh adds to an agent's turn: the same turn with it and without, in pairs"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lanmesh.machine import SystemClock, SystemRandom
from lanmesh.model.chain import Chain
from lanmesh.model.ids import LocalId, Origin, WireId
from lanmesh.model.task import Task
from lanmesh.openclaw.device import Device
from lanmesh.openclaw.executor import GatewayExecutor
from lanmesh.openclaw.gateway import Gateway, GatewayAddress
from tests.acceptance.openclaw.gateway import ROOT, GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel, say
from tests.acceptance.openclaw.pair import started_pair

_TEXT = "benchword: what is the answer?"
_ANSWER = "forty-two"
_LIMIT_MS = 30.0

_REST_S = 0.1
"""Between two turns: a gateway writes its session down after it has answered, and that is nobody's turn."""

Pair = tuple[float, float]
"""Seconds of one turn directly, and of one through the mesh."""


async def direct(gateway: GatewayExecutor, number: int) -> float:
    """Return the seconds that a turn takes which nobody but its own gateway is asked for.

    It is begun by the node's own executor, so that message, session and tools are those of the
    turn through the mesh.
    """
    task = Task(
        local_id=LocalId(f"direct{number:020d}"),
        wire_id=WireId(f"direct-{number}"),
        origin=Origin("shared"),
        peer="alpha",
        description=f"{_TEXT} ({number})",
        chain=Chain(root_id=WireId(f"direct-{number}")),
        attempt=1,
        created_at=time.time(),
    )
    began = time.perf_counter()
    outcome = await gateway.run(task, lambda _progress: None)
    seconds = time.perf_counter() - began
    assert outcome.result == _ANSWER, outcome
    return seconds


async def through_the_mesh(asker: GatewayProcess, number: int) -> float:
    """Return the seconds from giving a task to one node until that node has the other's result."""
    began = time.perf_counter()
    task = await asker.op("POST", "/op/tasks", {"peer": "beta", "text": f"{_TEXT} ({number})"})
    while task["state"] not in {"completed", "failed", "rejected"}:
        task = await asker.op("GET", f"/op/tasks/{task['id']}?wait=30&version={task['version']}")
    seconds = time.perf_counter() - began
    assert task["result"] == _ANSWER, task  # a benchmark of wrong answers measures nothing
    return seconds


async def measure(count: int, warm_up: int, folder: Path) -> list[Pair]:
    """Return pairs of turns, warm and in turns."""
    launcher = Path(
        subprocess.run(  # noqa: ASYNC221  # before anything is measured
            [ROOT / "scripts" / "openclaw"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
    )

    def home_of(name: str) -> Path:
        (home := folder / name).mkdir()
        return home

    async with (
        ScriptedModel() as model,
        started_pair(launcher=launcher, model_url=model.url, home_of=home_of, plugin={}, more={}) as (
            alpha,
            beta,
        ),
        asyncio.TaskGroup() as group,
    ):
        model.script("benchword", say(_ANSWER))
        clock = SystemClock()
        gateway = Gateway(
            GatewayAddress(url=beta.url, token=beta.token, boot="bench"),
            device=Device.kept_in(folder / "device.key"),
            clock=clock,
            chance=SystemRandom(),
            version="bench",
        )
        connection = group.create_task(gateway.run())
        await gateway.connected()
        executor = GatewayExecutor(gateway, clock=clock, agent="main", repeatable=False)
        pairs = [await _pair(executor, alpha, number) for number in range(warm_up + count)]
        connection.cancel()
    return pairs[warm_up:]


async def _pair(executor: GatewayExecutor, asker: GatewayProcess, number: int) -> Pair:
    # In either order by turns, so that neither profits from the other's warm caches.
    await asyncio.sleep(_REST_S)
    if number % 2:
        meshed = await through_the_mesh(asker, number)
        await asyncio.sleep(_REST_S)
        return await direct(executor, number), meshed
    alone = await direct(executor, number)
    await asyncio.sleep(_REST_S)
    return alone, await through_the_mesh(asker, number)


def median_and_interval(values: list[float]) -> tuple[float, tuple[float, float]]:
    """Return the median, and an interval that holds the true one in 95 of 100 such runs.

    The interval is that of the order statistics: it takes nothing for granted of how the values scatter.
    """
    ranked = sorted(values)
    reach = 1.96 * math.sqrt(len(ranked)) / 2
    low = max(math.floor(len(ranked) / 2 - reach), 0)
    high = min(math.ceil(len(ranked) / 2 + reach), len(ranked) - 1)
    return statistics.median(ranked), (ranked[low], ranked[high])


def main() -> None:
    """Print medians and what the mesh adds; exit 1 if that is beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--warm-up", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = asyncio.run(measure(options.pairs, options.warm_up, Path(folder)))
    added, interval = median_and_interval([(meshed - alone) * 1000 for alone, meshed in pairs])
    figures = {
        "pairs": len(pairs),
        "direct_ms_median": round(statistics.median(alone for alone, _ in pairs) * 1000, 1),
        "mesh_ms_median": round(statistics.median(meshed for _, meshed in pairs) * 1000, 1),
        "added_ms_median": round(added, 1),
        "added_ms_median_95_percent": [round(bound, 1) for bound in interval],
        "limit_ms": _LIMIT_MS,
    }
    print(json.dumps(figures))
    sys.exit(added > _LIMIT_MS)


if __name__ == "__main__":
    main()
