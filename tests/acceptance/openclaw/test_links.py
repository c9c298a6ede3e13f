"""the plugin as people install it by hand: linked from a clone, which itself may be a link"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.acceptance.openclaw.gateway import PLUGIN_ID, ROOT, GatewayProcess, free_ports
from tests.acceptance.openclaw.model import ScriptedModel, say


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the environment that any script makes in it, reached by a link."""
    (tmp_path / "clone").mkdir()
    shutil.copytree(ROOT / "plugin", tmp_path / "clone" / "plugin")
    (tmp_path / "clone" / ".venv").symlink_to(sys.prefix)
    (tmp_path / "linked").symlink_to(tmp_path / "clone")
    return tmp_path / "linked"


@pytest.fixture
def gateway(launcher: Path, the_model: ScriptedModel, tmp_path: Path) -> GatewayProcess:
    """A gateway that does not know our plugin yet."""
    (tmp_path / "home").mkdir()
    gateway = GatewayProcess(
        name="gamma",
        home=tmp_path / "home",
        launcher=launcher,
        model_url=the_model.url,
        port=free_ports(1)[0],
        tokens={"OPENCLAW_LAN_TOKEN": "opens-gamma"},
    )
    gateway.write_config()
    return gateway


async def test_a_plugin_linked_from_a_symlinked_clone_serves_the_mesh(
    model: ScriptedModel, clone: Path, gateway: GatewayProcess, consent: list[str], word: str
) -> None:
    await gateway.cli("plugins", "install", "--link", "./plugin", *consent, folder=clone)

    await check_serves_the_mesh(model, gateway, word)


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
