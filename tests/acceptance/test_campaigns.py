"""A slice of each campaign that `scripts/campaign` runs at length, each time with a fresh seed."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.node_process import REPOSITORY
from tests.campaigns.connections import connections
from tests.campaigns.kills import kills
from tests.campaigns.ledger import Findings
from tests.campaigns.probes import Probe, probes

Campaign = Callable[[int], Findings]


def clean(campaign: Campaign) -> Findings:
    """Run a campaign and see that it found nothing wrong; the seed is told if it did."""
    seed = secrets.randbelow(1 << 32)
    found = campaign(seed)
    assert not found.violations, "\n".join([f"seed {seed}", *found.lines()])
    return found


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_when_nodes_are_killed_under_load(tmp_path: Path) -> None:
    found = clean(lambda seed: kills(tmp_path, rounds=6, seed=seed, tell=lambda _: None))

    assert found.figures["acknowledged and lost"] == found.figures["effects done twice"] == 0
    assert found.figures["tasks acknowledged"]


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_done_twice_when_most_connections_break(tmp_path: Path) -> None:
    found = clean(lambda seed: connections(tmp_path, tasks=12, seed=seed, tell=lambda _: None))

    assert found.figures["results"] == 12
    assert found.figures["effects done twice"] == 0


@pytest.mark.timeout(300)
def test_the_nine_probes_come_out_as_both_readmes_say(tmp_path: Path) -> None:
    rows = probes(tmp_path)

    assert len(rows) == 9
    measured = {0, 2, 3, 4, 5}  # rows with figures, which differ from machine to machine
    english = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert not [row.tried for row in rows if f"| {row.tried} | {row.theirs} |" not in english]
    assert not [
        row.tried for number, row in enumerate(rows) if number not in measured and _line(row) not in english
    ]


def _line(row: Probe) -> str:
    return f"| {row.tried} | {row.theirs} | {row.ours} |"
