"""the plugin as people install it by hand: linked from a clone, which itself may be a link

One is set up to the letter of the project's first README: peers and tokens by hand, on the gateway's port.
"""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.openclaw.gateway import PLUGIN_ID, ROOT, GatewayProcess, as_peer
from tests.acceptance.openclaw.model import ScriptedModel, last_result, say, use
from tests.acceptance.openclaw.tasks import ended, tasks_about


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the environment that any script makes in it, reached by a link.

    No other environment of ours is on the PATH.
    """
    (tmp_path / "clone").mkdir()
    shutil.copytree(ROOT / "plugin", tmp_path / "clone" / "plugin")
    (tmp_path / "clone" / ".venv").symlink_to(sys.prefix)
    (tmp_path / "linked").symlink_to(tmp_path / "clone")
    return tmp_path / "linked"


@pytest.fixture
def gateway(launcher: Path, the_model: ScriptedModel, port_of_gamma: int, tmp_path: Path) -> GatewayProcess:
    """A gateway that does not know our plugin yet."""
    (tmp_path / "home").mkdir()
    gateway = GatewayProcess(
        name="gamma",
        home=tmp_path / "home",
        launcher=launcher,
        model_url=the_model.url,
        port=port_of_gamma,
        tokens={"OPENCLAW_LAN_TOKEN": "opens-gamma", "LAN_PEER_BETA_TOKEN": "opens-beta"},
    )
    gateway.write_config()
    return gateway


@pytest_asyncio.fixture(loop_scope="session")
async def linked(gateway: GatewayProcess, clone: Path, consent: list[str]) -> GatewayProcess:
    """That gateway, once the plugin of the clone is linked into it."""
    await gateway.cli("plugins", "install", "--link", "./plugin", *consent, folder=clone)
    return gateway


async def test_gateways_set_up_as_the_first_readme_says_do_tasks_for_each_other(
    model: ScriptedModel, linked: GatewayProcess, beta: GatewayProcess, word: str
) -> None:
    model.script(f"ask {word}", use("lan_delegate", peer="beta", task=f"do {word}"), say(last_result))
    model.script(f"do {word}", use("lan_task_reply", result=f"{word} is done"))
    model.script(f"back {word}", use("lan_task_reply", result=f"{word} comes back"))

    linked.configure({"profile": {"id": "gamma"}, **as_peer("beta", beta.port)})
    try:
        await linked.start()
        await linked.node_ready()
        async with linked.user() as user:
            answer = await user.ask(f"ask {word}")
            status = await user.ask("/lan-status")
        asked = await beta.op("POST", "/op/tasks", {"peer": "gamma", "text": f"back {word}"})
        back = await ended(beta, asked["id"])
        [done] = [task for task in await tasks_about(beta, word) if task["direction"] == "doing"]
    finally:
        await linked.stop()

    assert f"{word} is done" in answer
    assert re.search(rf"^- beta at 127\.0\.0\.1:{beta.port}, cleartext\b.*: fine$", status, re.MULTILINE)
    assert (done["peer"], done["proven"]) == ("gamma", False)
    assert (back["state"], back["result"]) == ("completed", f"{word} comes back")


async def test_a_plugin_linked_from_its_own_folder_after_npm_install_serves_the_mesh(
    model: ScriptedModel, clone: Path, gateway: GatewayProcess, consent: list[str], word: str
) -> None:
    plugin = clone.parent / "clone" / "plugin"
    before = files_in(plugin)

    await npm_install(plugin, gateway.home)
    assert {name: text for name, text in files_in(plugin).items() if name in before} == before

    await gateway.cli("plugins", "install", "--link", ".", *consent, folder=plugin)
    await check_serves_the_mesh(model, gateway, word)


async def npm_install(folder: Path, home: Path) -> None:
    """Run `npm install`, which brings nothing and asks nobody."""
    process = await asyncio.create_subprocess_exec(
        "npm",
        "install",
        "--offline",
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what stands in a folder, file by file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def check_serves_the_mesh(model: ScriptedModel, gateway: GatewayProcess, word: str) -> None:
    """Check that the gateway answers peers, its owner and its agent."""
    talking = model.script(f"talk {word}", say("yes"))
    try:
        await gateway.start()
        node = await gateway.node_ready()
        profile = await gateway.lan("GET", "/lan/profile", token=gateway.lan_token)
        async with gateway.user() as user:
            status = await user.ask("/lan-status")
            await user.ask(f"talk {word}")
    finally:
        await gateway.stop()

    assert profile.status == 200, profile
    assert profile.json["id"] in status
    assert node["pid"] != gateway.pid
    assert "lan_delegate" in talking()[0].tools
    assert PLUGIN_ID in gateway.config_file.read_text()
