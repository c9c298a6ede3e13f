"""Run many seeds, tell which fail, and how to see each failure again."""

import argparse
import gc
import multiprocessing
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import count, islice

from tests.simulation import script, world
from tests.simulation.shrink import shrink
from tests.simulation.world import Verdict

_REPLAYED = 50
"""Every so many seeds, one is run twice: both runs must be the same in all."""

_SHRUNK = 3
"""How many failing plans are made small: each costs as much as a few hundred seeds."""

_TOLD = 10
"""Violations of one seed."""

_MANY = 10
"""So many failing seeds are enough."""


def judge(seed: int) -> tuple[int, tuple[str, ...]]:
    """Return what is violated by the plan of a seed."""
    try:
        verdict = world.run(script.plan(seed))
        violations = verdict.violations
        if seed % _REPLAYED == 0 and world.run(script.plan(seed)).trace != verdict.trace:
            violations = (*violations, "a second run of the same seed was another")
    except Exception:  # noqa: BLE001  # a bug of the simulation is one of its findings
        violations = (f"the simulation broke: {traceback.format_exc()}",)
    gc.collect()
    return seed, violations


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status: 1 if a seed fails."""
    options = _options(arguments)
    if options.seed is not None:
        return _replay(options.seed, options.keep, trace=options.trace)
    first = random.SystemRandom().randrange(1 << 31) if options.first is None else options.first
    print(f"seeds from {first} on, {options.jobs} at a time", flush=True)
    began, seeds, failed = time.monotonic(), 0, []
    for seed, violations in _judged(first, options.seeds, options.seconds, options.jobs):
        seeds += 1
        if violations:
            failed.append(seed)
            _tell(seed, violations)
            if len(failed) == _MANY:
                break
    seconds = time.monotonic() - began
    print(f"{seeds} seeds in {seconds:.0f} s ({seeds / seconds:.1f} a second): {len(failed)} failed")
    for seed in failed[:_SHRUNK]:
        _shrunk(seed)
    return 1 if failed or not seeds else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many")
    parser.add_argument("--seconds", type=float, help="for how long")
    parser.add_argument("--from", type=int, dest="first", metavar="SEED", help="the first; any, if not given")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--seed", type=int, help="only this one, and show its plan")
    parser.add_argument("--keep", metavar="0,3,…", help="with --seed: only these steps of its plan")
    parser.add_argument("--trace", action="store_true", help="with --seed: all that happens")
    options = parser.parse_args(arguments)
    if options.seeds is None and options.seconds is None:
        options.seeds = 1000
    return options


def _judged(
    first: int, seeds: int | None, seconds: float | None, jobs: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    until = None if seconds is None else time.monotonic() + seconds
    chosen = count(first) if seeds is None else iter(range(first, first + seeds))
    # Fresh processes: no lock and no state of this one is taken along.
    with multiprocessing.get_context("spawn").Pool(jobs, _prepare) as pool:
        waiting = [pool.apply_async(judge, (seed,)) for seed in islice(chosen, 2 * jobs)]
        while waiting:
            yield waiting.pop(0).get()
            if until is None or time.monotonic() < until:
                waiting += [pool.apply_async(judge, (seed,)) for seed in islice(chosen, 1)]


def _prepare() -> None:
    gc.freeze()  # what is loaded stays


def _tell(seed: int, violations: Sequence[str]) -> None:
    print(f"seed {seed} fails; see it again by: scripts/simulate --seed {seed} --trace")
    for violation in violations[:_TOLD]:
        print(f"    {violation}", flush=True)


def _shrunk(seed: int) -> None:
    plan = script.plan(seed)
    kind = _kind(world.run(plan))
    kept = shrink(len(plan.steps), lambda steps: _kind(world.run(plan.keeping(steps))) == kind)
    print(
        f"seed {seed}, made small: scripts/simulate --seed {seed} --keep '{','.join(map(str, kept))}' --trace"
    )
    for number in kept:
        print(f"    {number}: {plan.steps[number]}", flush=True)


def _kind(verdict: Verdict) -> str:
    """Return by what one failure is taken for another: the first word of the first violation."""
    return verdict.violations[0].split()[0] if verdict.violations else ""


def _replay(seed: int, keep: str | None, *, trace: bool) -> int:
    plan = script.plan(seed)
    if keep is not None:
        plan = plan.keeping([int(number) for number in keep.split(",") if number])
    verdict = world.run(plan, verbose=trace)
    for node in plan.nodes:
        print(node)
    for line in verdict.lines or map(str, plan.steps):
        print(line)
    for violation in verdict.violations:
        print(f"VIOLATION {violation}")
    print(f"{verdict.seconds:.0f} s of virtual time, {verdict.turns} turns, trace {verdict.trace}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
