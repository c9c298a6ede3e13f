"""Two gateways, one model for both, and one pair for the whole suite."""

import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.openclaw.gateway import ROOT, GatewayProcess
from tests.acceptance.openclaw.model import ScriptedModel
from tests.acceptance.openclaw.pair import started_pair

_words = itertools.count(1)

SECONDS_OF_A_SHORT_WAIT = 3
"""How long beta's agent waits for a task that it gave away; alpha's waits as long as is the default."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every test of this folder in the loop of the session, and give it time for a start of a gateway."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def launcher() -> Path:
    """The locked OpenClaw, or another one that a variable names."""
    if another := os.environ.get("OPENCLAW_UNDER_TEST"):
        return Path(another)
    brought = subprocess.run([ROOT / "scripts" / "openclaw"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(brought.stdout.strip())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def the_model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest_asyncio.fixture(loop_scope="session")
async def model(the_model: ScriptedModel) -> AsyncIterator[ScriptedModel]:
    """The model behind both gateways; it forgets its scripts after each test."""
    the_model.forget()
    yield the_model
    the_model.forget()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateways(
    launcher: Path, the_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    async with started_pair(
        launcher=launcher,
        model_url=the_model.url,
        home_of=tmp_path_factory.mktemp,
        plugin={"beta": {"toolWaitSeconds": SECONDS_OF_A_SHORT_WAIT}},
        more={"alpha": {"tools": {"profile": "coding"}}},  # as the onboarding sets it; beta has none
    ) as pair:
        yield pair


@pytest.fixture
def alpha(gateways: tuple[GatewayProcess, GatewayProcess]) -> GatewayProcess:
    return gateways[0]


@pytest.fixture
def beta(gateways: tuple[GatewayProcess, GatewayProcess]) -> GatewayProcess:
    return gateways[1]


@pytest.fixture
def word() -> Iterator[str]:
    """A word that no other test uses."""
    yield f"word{next(_words)}x"
