"""kill -9 of sender, receiver and both at random moments, under load over real sockets."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.mesh import Mesh, start_all
from tests.acceptance.node_process import NodeProcess, free_port, until
from tests.campaigns.ledger import Findings, Ledger

CALLERS = 8
WITHIN_S = 0.2
"""A kill comes so soon after the acknowledgement that it was waiting for."""


def kills(folder: Path, *, rounds: int, seed: int, tell: Callable[[str], None]) -> Findings:
    """Run the campaign, and say what came of it."""
    with Mesh(folder) as mesh:
        return _Kills(mesh, folder, random.Random(seed), tell).run(rounds)  # noqa: S311  # no secret


class _Kills:
    """Two nodes that ask each other: b may do nothing twice, a may do again what was interrupted."""

    def __init__(self, mesh: Mesh, folder: Path, chance: random.Random, tell: Callable[[str], None]) -> None:
        self._chance = chance
        self._tell = tell
        self._ledger = Ledger(folder / "effects")
        keys = {"command": self._ledger.command, "concurrency": 4}
        self._a, self._b = mesh.of(
            a={**keys, "operatorPort": free_port(), "repeatable": True},
            b={**keys, "operatorPort": free_port()},
        )
        self._killed: Counter[str] = Counter()

    def run(self, rounds: int) -> Findings:
        began = time.monotonic()
        start_all(self._a, self._b)
        for number in range(rounds):
            self._round(number)
            if number % 10 == 9:
                self._tell(f"  {number + 1} rounds, {self._ledger.acknowledged} acknowledged")
        under_load_s = time.monotonic() - began
        settled = self._ledger.settle((self._a, self._b))
        settled_s = time.monotonic() - began
        found = self._ledger.account((self._a, self._b))
        if not settled:
            found.violations.append("tasks or deliveries were still open long after the last kill")
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self._killed.items()))
        found.figures = {
            "rounds": f"{rounds} (killed: {kinds})",
            **found.figures,
            "seconds": f"{under_load_s:.0f} under load, {settled_s - under_load_s:.0f} to settle",
        }
        return found

    def _round(self, number: int) -> None:
        kind, victims = self._chance.choice(
            [("sender", [self._a]), ("receiver", [self._b]), ("both", [self._a, self._b])]
        )
        self._killed[kind] += 1
        work = self._load(number)
        moment = self._ledger.acknowledged + self._chance.randrange(len(work))
        with ThreadPoolExecutor(CALLERS) as callers:
            asked = [callers.submit(step) for step in work]
            # Not every step is acknowledged once a node is gone: the last ones end without.
            until(
                lambda: self._ledger.acknowledged >= moment or all(step.done() for step in asked),
                lambda: "the load hangs",
                60.0,
            )
            time.sleep(self._chance.uniform(0, WITHIN_S))  # no wait: the moment of the fault
            _kill(victims)
            start_all(*victims)
        for step in asked:
            step.result()

    def _load(self, number: int) -> list[Callable[[], None]]:
        a, b, ledger = self._a, self._b, self._ledger

        def step(what: Callable[..., None], *sides: NodeProcess, name: str) -> Callable[[], None]:
            return lambda: what(*sides, name)

        work = [
            *(step(ledger.ask, a, b, name=f"r{number}-ab-{each}") for each in range(4)),
            *(step(ledger.ask, b, a, name=f"r{number}-ba-{each}") for each in range(2)),
            *(step(ledger.give, b, name=f"r{number}-xb-{each}") for each in range(2)),
            *(step(ledger.say, a, b, name=f"r{number}-says-a-{each}") for each in range(2)),
            step(ledger.say, b, a, name=f"r{number}-says-b"),
            *(step(ledger.post, b, name=f"r{number}-says-x-{each}") for each in range(2)),
        ]
        self._chance.shuffle(work)
        return work


def _kill(victims: list[NodeProcess]) -> None:
    processes = [victim.let_go() for victim in victims]
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
