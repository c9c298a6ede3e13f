"""A whole node in one process: its two ports, who may call which, and settings that arrive while it runs."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lanmesh import config
from lanmesh.composition import FORWARDING, Composition
from lanmesh.config import Source
from lanmesh.daemon import Options, _Daemon, load_config
from lanmesh.errors import InvalidConfig
from lanmesh.home import Home
from lanmesh.locations import StateFolder
from lanmesh.net.identity import anybody
from lanmesh.net.server import bind
from tests.fakes import BOUND_S, soon, until
from tests.integration.loopback import Program

PORTS = {"node": {"listen": "127.0.0.1", "port": 0, "operatorPort": 0, "discovery": False}}
SHARED = "shared-token"


@pytest.fixture(autouse=True)
def openclaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path))
    (tmp_path / ".env").write_text(f"OPENCLAW_LAN_TOKEN={SHARED}\n")


@asynccontextmanager
async def a_node(
    folder: Path, take: Callable[[bytes], None] = lambda _body: None, given: dict[str, Any] | None = None
) -> AsyncIterator[tuple[dict[str, Any], Program, Program]]:
    """Give node.json, and programs that ask the mesh port and the operator port."""
    state = StateFolder(path=folder / "lanmesh")
    state.create()
    source = None if given is None else config.read_json(json.dumps(given).encode(), "stdin")
    settings = load_config(state, {}, Source(name="flag", values=PORTS), source)
    stop = asyncio.Event()
    serving = asyncio.create_task(Composition(state, settings, take, Home(state)).serve(stop))
    try:
        await until(lambda: state.node.exists() or serving.done())
        if serving.done():
            await serving
        about = json.loads(state.node.read_text())
        token = state.operator_token.read_text().strip()
        timeout = aiohttp.ClientTimeout(total=BOUND_S)
        mesh, operator = (
            aiohttp.ClientSession(
                f"{scheme}://127.0.0.1:{about[name]['port']}",
                timeout=timeout,
                connector=aiohttp.TCPConnector(ssl=anybody()),
            )
            for name, scheme in (("mesh", "https"), ("operator", "http"))
        )
        async with mesh, operator:
            yield about, Program(mesh, SHARED), Program(operator, token)
    finally:
        stop.set()
        await soon(serving)
        assert not state.node.exists()


async def test_a_node_tells_where_it_listens_and_keeps_its_secrets(tmp_path: Path) -> None:
    async with a_node(tmp_path) as (about, _, operator):
        status = (await operator.ask("GET", "/op/status")).json

        assert about["pid"] == os.getpid()
        assert (status["port"], status["operatorPort"]) == (about["mesh"]["port"], about["operator"]["port"])
        assert status["executor"] == "command: cat"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "lanmesh").iterdir()}
        assert (modes["node.json"], modes["operator.token"]) == (0o600, 0o600)
        assert "device.key" not in modes


async def test_the_mesh_port_has_no_operator_routes(tmp_path: Path) -> None:
    async with a_node(tmp_path) as (_, mesh, operator):
        assert (await mesh.ask("GET", "/lan/profile")).status == 200
        for path in ("/op/status", "/op/config"):
            assert (await mesh.ask("GET", path, token=operator.token)).code == "route-not-found"
        for path in ("/op/tools/lan_peers", "/op/commands/lan-accept"):
            answer = await mesh.ask("POST", path, {"args": "off"}, token=operator.token)
            assert answer.code == "route-not-found"


async def test_the_gateway_s_port_reaches_the_node_only_with_the_forwarding_secret(tmp_path: Path) -> None:
    async with a_node(tmp_path) as (_, _, operator):
        secret = {FORWARDING: operator.token or ""}

        async def forwarded(path: str, token: str | None, headers: dict[str, str]) -> int:
            return (await operator.ask("GET", path, token=token, headers=headers)).status

        assert await forwarded("/lan/health", None, secret) == 200
        assert await forwarded("/lan/profile", SHARED, secret) == 200
        assert await forwarded("/lan/profile", "guessed", secret) == 401
        assert await forwarded("/lan/profile", None, secret) == 401
        for headers in ({}, {FORWARDING: ""}, {FORWARDING: "guessed"}, {FORWARDING: SHARED}):
            for token in (SHARED, operator.token, None):
                assert await forwarded("/lan/health", token, headers) == 401
        assert await forwarded("/op/status", None, secret) == 401
        assert await forwarded("/op/status", SHARED, secret) == 401


async def test_tools_and_commands_are_on_the_operator_port(tmp_path: Path) -> None:
    async with a_node(tmp_path) as (_, _, operator):
        tool = await operator.ask("POST", "/op/tools/lan_inbox", {"args": {}, "session": "agent:main:main"})
        command = await operator.ask("POST", "/op/commands/lan-accept", {"args": "manual", "session": None})

        assert tool.json["text"] == "No new messages."
        assert command.json["text"] == "tasks that arrive from now on: manual"


async def test_beside_a_gateway_the_agent_is_the_executor_and_no_secret_is_shown(tmp_path: Path) -> None:
    gateway = {"url": "ws://127.0.0.1:1/", "token": "gateway-secret", "boot": "b"}
    async with a_node(tmp_path, given={"gateway": gateway}) as (_, mesh, operator):
        status = await operator.ask("GET", "/op/status")
        settings = await operator.ask("GET", "/op/config")

        assert status.json["executor"] == "openclaw: agent main"
        assert b"gateway-secret" not in status.body + settings.body
        assert (await mesh.ask("GET", "/lan/health")).status == 200
        assert stat.S_IMODE((tmp_path / "lanmesh" / "device.key").stat().st_mode) == 0o600


async def test_settings_that_arrive_are_taken_or_refused(tmp_path: Path) -> None:
    daemon = a_daemon(tmp_path)
    async with a_node(tmp_path, daemon._take) as (_, _, operator):
        taken = await operator.ask("POST", "/op/config", {"acceptMode": "manual"})
        assert (taken.status, taken.json) == (200, {"taken": True})
        assert daemon._end.is_set()

        for body in (b"not JSON", b"[]", b'{"acceptMode": "maybe"}', b'{"node": {"executor": "openclaw"}}'):
            refused = await operator.ask("POST", "/op/config", body)
            assert (refused.status, refused.code) == (400, "invalid-config"), body


def a_daemon(folder: Path) -> _Daemon:
    state = StateFolder(path=folder / "lanmesh")
    state.create()
    return _Daemon(Options(folder=state, flags=Source(name="flag", values=PORTS)))


def test_the_same_settings_again_change_nothing(tmp_path: Path) -> None:
    daemon = a_daemon(tmp_path)
    daemon._take(b'{"acceptMode": "manual", "node": {}}')
    assert daemon._end.is_set()

    daemon._end.clear()
    daemon._take(b'{"node": {}, "acceptMode": "manual"}')
    assert not daemon._end.is_set()

    daemon._take(b'{"node": {}, "acceptMode": "off"}')
    assert daemon._end.is_set()


def test_settings_that_cannot_be_used_leave_the_old_ones(tmp_path: Path) -> None:
    daemon = a_daemon(tmp_path)
    daemon._take(b'{"acceptMode": "manual"}')
    daemon._end.clear()

    with pytest.raises(InvalidConfig, match="plugin: acceptMode"):
        daemon._take(b'{"acceptMode": "maybe"}')
    daemon._take(b'{"acceptMode": "manual"}')

    assert not daemon._end.is_set()


def test_a_port_that_is_taken_is_replaced_only_where_that_was_asked_for() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with bind("127.0.0.1", port, or_any=True) as other:
            assert other.getsockname()[1] not in {0, port}
        with pytest.raises(InvalidConfig, match=f"cannot listen on 127.0.0.1 port {port}"):
            bind("127.0.0.1", port)
        with pytest.raises(InvalidConfig, match=r"cannot listen on 192\.0\.2\.1"):
            bind("192.0.2.1", port, or_any=True)
