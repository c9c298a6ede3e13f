"""how many milliseconds the mesh adds to an agent's turn: the same turn with it and without, in pairs"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lanmesh.composition import SystemClock, SystemRandom
from lanmesh.openclaw.device import Device
from lanmesh.openclaw.gateway import Gateway, GatewayAddress
from tests.acceptance.openclaw.gateway import ROOT, GatewayProcess, free_ports
from tests.acceptance.openclaw.model import ScriptedModel, say

_TEXT = "benchword: what is the answer?"
_ANSWER = "forty-two"
_LIMIT_MS = 30.0


async def direct(gateway: Gateway, number: int) -> float:
    """Return the seconds that a turn takes which the gateway is asked for directly, as the node asks."""
    began = time.perf_counter()
    ended = await gateway.run_agent(
        {
            "message": f"{_TEXT} ({number})",
            "sessionKey": f"agent:main:bench:direct-{number}",
            "idempotencyKey": f"direct-{number}",
            "deliver": False,
            "timeout": 60,
        }
    )
    seconds = time.perf_counter() - began
    assert ended["result"]["payloads"][0]["text"] == _ANSWER, ended
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


async def measure(count: int, warm_up: int, folder: Path) -> list[tuple[float, float]]:
    """Return pairs of seconds: directly, and through two nodes."""
    launcher = Path(
        subprocess.run(  # noqa: ASYNC221  # before anything is measured
            [ROOT / "scripts" / "openclaw"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
    )
    ports = dict(zip(("alpha", "beta"), free_ports(2), strict=True))
    async with ScriptedModel() as model:
        gateways = {
            name: GatewayProcess(
                name=name,
                home=folder / name,
                launcher=launcher,
                model_url=model.url,
                port=ports[name],
                plugin={
                    "profile": {"id": name},
                    "peers": {other: {"host": "127.0.0.1", "port": ports[other]}},
                },
                tokens={
                    "OPENCLAW_LAN_TOKEN": f"opens-{name}",
                    f"LAN_PEER_{other.upper()}_TOKEN": f"opens-{other}",
                },
            )
            for name, other in (("alpha", "beta"), ("beta", "alpha"))
        }
        for gateway in gateways.values():
            gateway.home.mkdir()
        try:
            await asyncio.gather(*(gateway.start() for gateway in gateways.values()))
            await asyncio.gather(*(gateway.node_ready() for gateway in gateways.values()))
            model.script("benchword", say(_ANSWER))
            asked = Gateway(
                GatewayAddress(url=gateways["beta"].url, token=gateways["beta"].token, boot="bench"),
                device=Device.kept_in(folder / "device.key"),
                clock=SystemClock(),
                chance=SystemRandom(),
                version="bench",
            )
            async with asyncio.TaskGroup() as group:
                connection = group.create_task(asked.run())
                await asked.connected()
                pairs = [await _pair(asked, gateways["alpha"], number) for number in range(warm_up + count)]
                connection.cancel()
            return pairs[warm_up:]
        finally:
            await asyncio.gather(*(gateway.stop() for gateway in gateways.values()))


async def _pair(gateway: Gateway, asker: GatewayProcess, number: int) -> tuple[float, float]:
    # In either order by turns, so that neither profits from the other's warm caches.
    if number % 2:
        meshed = await through_the_mesh(asker, number)
        return await direct(gateway, number), meshed
    alone = await direct(gateway, number)
    return alone, await through_the_mesh(asker, number)


def main() -> None:
    """Print medians and what the mesh adds; exit 1 if that is beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = asyncio.run(measure(options.pairs, options.warm_up, Path(folder)))
    added: list[float] = sorted((meshed - alone) * 1000 for alone, meshed in pairs)
    figures: dict[str, Any] = {
        "pairs": len(pairs),
        "direct_ms_median": round(statistics.median(alone for alone, _ in pairs) * 1000, 1),
        "mesh_ms_median": round(statistics.median(meshed for _, meshed in pairs) * 1000, 1),
        "added_ms_median": round(statistics.median(added), 1),
        "added_ms_quartiles": [round(value, 1) for value in statistics.quantiles(added, n=4)[::2]],
        "limit_ms": _LIMIT_MS,
    }
    print(json.dumps(figures))
    sys.exit(figures["added_ms_median"] > _LIMIT_MS)


if __name__ == "__main__":
    main()
