"""What the simulation promises: a seed replays a run, sound parts pass, and every planted bug is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import script, world
from tests.simulation.planted import PLANTED, rough

_ROOT = Path(__file__).resolve().parents[2]

_ENOUGH = 60
"""Seeds within which every planted bug is found; most are found by the first."""

_WORDS = {
    "acknowledge before commit": "lost:",
    "synchronous=NORMAL": "lost:",
    "dedupe in memory": "twice:",
    "no fencing": "ended",
    "run again what is not repeatable": "twice:",
    "delete before done": "delivered",
    "cancel before it is known": "there it is",
    "forget ids too early": "swept:",
}
"""What of it is seen first."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 7, 53])
def test_a_seed_replays_a_run_in_this_process_and_in_another(seed: int) -> None:
    first, second = world.run(script.plan(seed)), world.run(script.plan(seed))

    command = [sys.executable, "-m", "tests.simulation.campaign", "--seed", str(seed)]
    environ = {**os.environ, "PYTHONHASHSEED": "4711"}
    other = subprocess.run(
        command, cwd=_ROOT, env=environ, capture_output=True, text=True, timeout=200, check=True
    )

    assert first.trace == second.trace
    assert f"trace {first.trace}" in other.stdout


@pytest.mark.timeout(300)
def test_other_seeds_are_other_runs() -> None:
    assert len({world.run(script.plan(seed)).trace for seed in range(5)}) == 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [12, 30, 42, 53, 129, 188, 352, 473, 203470, 733651160])
def test_nothing_is_lost_and_nothing_done_twice(seed: int) -> None:
    assert world.run(script.plan(seed)).violations == ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_the_weather_in_which_planted_bugs_are_found_is_nothing_to_sound_parts(seed: int) -> None:
    assert world.run(rough(seed)).violations == ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str) -> None:
    found: list[str] = []
    for seed in range(_ENOUGH):
        found = [what for what in world.run(rough(seed), PLANTED[bug]).violations if _WORDS[bug] in what]
        if found:
            break

    assert found


@pytest.mark.timeout(300)
def test_a_campaign_tells_its_seeds_and_how_many_failed() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.simulation.campaign",
        "--seeds",
        "3",
        "--from",
        "5",
        "--jobs",
        "1",
    ]

    told = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=200, check=True)

    assert "seeds from 5 on" in told.stdout
    assert "3 seeds in" in told.stdout
    assert "0 failed" in told.stdout
