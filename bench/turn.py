"""how many milliseconds the mesh adds to an agent's turn

Two measures of one run. The first is read off each turn through the mesh, and is the mesh's own time: from
the call that gives a node a task until the other node asks its gateway for the turn, and from the turn's end
until the asker has the result. How long the gateway's turn takes in between, and how that scatters, is no
part of it. The second compares each such turn with one that the same gateway is asked for directly: it holds
what the mesh costs the gateway, too, and scatters as the gateway does.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.relay import Relay
from lanmesh.client import LONGEST_WAIT_S, Client
from lanmesh.locations import StateFolder
from lanmesh.machine import SystemClock, SystemRandom
from lanmesh.model.chain import Chain
from lanmesh.model.ids import LocalId, Origin, WireId
from lanmesh.model.task import FINAL, Task
from lanmesh.openclaw.device import Device
from lanmesh.openclaw.executor import GatewayExecutor
from lanmesh.openclaw.gateway import Gateway, GatewayAddress
from tests.acceptance.openclaw.gateway import ROOT
from tests.acceptance.openclaw.model import ScriptedModel, say
from tests.acceptance.openclaw.pair import started_pair
from tests.fakes import unheard

_TEXT = "benchword: what is the answer?"
_ANSWER = "forty-two"
_LIMIT_MS = 30.0

_REST_S = 0.1
"""Between two turns: a gateway writes its session down after it has answered, and that is nobody's turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Seconds of two turns, one through the mesh and one without it."""

    alone: float
    meshed: float
    before: float
    """Of the one through the mesh: until the gateway was asked."""
    after: float
    """… and from the end of the gateway's turn."""

    @property
    def own(self) -> float:
        """What the mesh itself took."""
        return self.before + self.after

    @property
    def more(self) -> float:
        """How much longer the turn through the mesh took than the other."""
        return self.meshed - self.alone


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
    outcome = await gateway.run(task, unheard)
    seconds = time.perf_counter() - began
    assert outcome.result == _ANSWER, outcome
    return seconds


async def through_the_mesh(asker: Client, relay: Relay, number: int) -> tuple[float, float, float]:
    """Return when a task was given to one node, when that had the other's result, and what came between.

    Returns:
        Seconds in all, before the gateway's turn, and behind it.
    """
    began = time.perf_counter()
    task = await asker.delegate("beta", f"{_TEXT} ({number})")
    while task.state not in FINAL:
        task = await asker.watch(task.id, wait_s=LONGEST_WAIT_S)
    ended = time.perf_counter()
    assert task.result == _ANSWER, task  # a benchmark of wrong answers measures nothing
    assert began < relay.begun < relay.ended < ended, "another turn was measured"
    return ended - began, relay.begun - began, ended - relay.ended


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
        Relay(beta.url) as relay,
        Client(StateFolder(path=alpha.state / "lanmesh")) as asker,
        asyncio.TaskGroup() as group,
    ):
        model.script("benchword", say(_ANSWER))
        at = {"url": relay.url, "token": beta.token, "boot": "bench"}
        await beta.op("POST", "/op/config", {**(beta.plugin or {}), "gateway": at})
        clock = SystemClock()
        gateway = Gateway(
            GatewayAddress(**at),
            device=Device.kept_in(folder / "device.key"),
            clock=clock,
            chance=SystemRandom(),
            version="bench",
        )
        connection = group.create_task(gateway.run())
        await gateway.connected()
        executor = GatewayExecutor(gateway, clock=clock, agent="main", repeatable=False, work=folder / "work")
        pairs = [await _pair(executor, asker, relay, number) for number in range(warm_up + count)]
        connection.cancel()
    return pairs[warm_up:]


async def _pair(executor: GatewayExecutor, asker: Client, relay: Relay, number: int) -> Pair:
    # In either order by turns, so that neither profits from the other's warm caches.
    await asyncio.sleep(_REST_S)
    alone = 0.0 if number % 2 else await direct(executor, number)
    await asyncio.sleep(_REST_S)
    meshed, before, after = await through_the_mesh(asker, relay, number)
    if number % 2:
        await asyncio.sleep(_REST_S)
        alone = await direct(executor, number)
    return Pair(alone=alone, meshed=meshed, before=before, after=after)


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
    """Print medians; exit 1 if what the mesh adds is beyond the limit, by either measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--warm-up", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = asyncio.run(measure(options.pairs, options.warm_up, Path(folder)))
    own, own_interval = median_and_interval([pair.own for pair in pairs])
    more, more_interval = median_and_interval([pair.more for pair in pairs])
    figures = {
        "pairs": len(pairs),
        "direct_ms_median": _ms(statistics.median(pair.alone for pair in pairs)),
        "mesh_ms_median": _ms(statistics.median(pair.meshed for pair in pairs)),
        "own_ms_median": _ms(own),
        "own_ms_median_95_percent": [_ms(bound) for bound in own_interval],
        "own_ms_before_the_turn": _ms(statistics.median(pair.before for pair in pairs)),
        "own_ms_after_the_turn": _ms(statistics.median(pair.after for pair in pairs)),
        "added_ms_median": _ms(more),
        "added_ms_median_95_percent": [_ms(bound) for bound in more_interval],
        "limit_ms": _LIMIT_MS,
        "load_at_the_end": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(figures, indent=2))
    # The comparison says that a limit was passed only where chance alone would not have.
    sys.exit(_ms(own) > _LIMIT_MS or _ms(more_interval[0]) > _LIMIT_MS)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
