"""Two gateways, one model for both, and one pair for the whole suite."""

import itertools
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.openclaw.gateway import PLUGIN_ID, ROOT, GatewayProcess, as_peer, free_ports
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


@pytest.fixture(scope="session")
def consent(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options by which an owner agrees to what a plugin declares; none where OpenClaw does not ask."""
    told = _help(launcher, tmp_path_factory.mktemp("nobody"), "plugins", "install")
    return [option for option in ("--force", "--accept-capabilities") if option in told]


@pytest.fixture(scope="session")
def reloads(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only for a gateway that can reload a plugin without a restart of itself."""
    if not re.search(
        r"^ +reload\b", _help(launcher, tmp_path_factory.mktemp("nobody"), "plugins"), re.MULTILINE
    ):
        pytest.skip(
            "this version of OpenClaw restarts instead of reloading a plugin, once its turns have ended"
        )


def _help(launcher: Path, home: Path, *command: str) -> str:
    return subprocess.run(
        [launcher, *command, "--help"],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


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


@pytest.fixture(scope="session")
def port_of_gamma() -> int:
    """Where beta has been told that a gateway of that name is; it has a token for it."""
    return free_ports(1)[0]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateways(
    launcher: Path,
    consent: list[str],
    the_model: ScriptedModel,
    port_of_gamma: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    tools: dict[str, object] = {"profile": "coding"}  # as the onboarding sets it; beta has none
    if not consent:  # nor does it read of which profiles a plugin's tools are: its owner must say so
        tools["alsoAllow"] = [PLUGIN_ID]
    async with started_pair(
        launcher=launcher,
        model_url=the_model.url,
        home_of=tmp_path_factory.mktemp,
        plugin={"beta": {"toolWaitSeconds": SECONDS_OF_A_SHORT_WAIT, **as_peer("gamma", port_of_gamma)}},
        tokens={"beta": {"LAN_PEER_GAMMA_TOKEN": "opens-gamma"}},
        more={"alpha": {"tools": tools}},
    ) as pair:
        yield pair


@pytest_asyncio.fixture(loop_scope="session")
async def alpha(gateways: tuple[GatewayProcess, GatewayProcess]) -> GatewayProcess:
    return await _standing(gateways[0])


@pytest_asyncio.fixture(loop_scope="session")
async def beta(gateways: tuple[GatewayProcess, GatewayProcess]) -> GatewayProcess:
    return await _standing(gateways[1])


async def _standing(gateway: GatewayProcess) -> GatewayProcess:
    """Return a gateway that runs, though a test that failed may have left it dead."""
    if not gateway.running:
        await gateway.start()
        await gateway.node_ready()
    return gateway


@pytest.fixture
def word() -> Iterator[str]:
    """A word that no other test uses."""
    yield f"word{next(_words)}x"
