"""A slice of each campaign that `scripts/campaign` runs at length, each time with a fresh seed."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.kills import kills
from tests.campaigns.ledger import Findings

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
