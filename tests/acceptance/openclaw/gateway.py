"""an OpenClaw gateway as a process of its own"""

import asyncio
import io
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from yarl import URL

from tests.acceptance.openclaw import model
from tests.acceptance.openclaw.user import User
from tests.acceptance.openclaw.waiting import BOUND_S, eventually, tail

ROOT = Path(__file__).resolve().parents[3]
PLUGIN_ID = "openclaw-lan-mesh"

_READY_S = 180.0
_STOP_S = 60.0
_PORTS_OF_A_GATEWAY = 120
"""A gateway uses its base port and up to 110 above it."""

MESH_PORT = 115
"""Above the base port of a gateway: where its node may listen."""

_PATH = os.pathsep.join(
    folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != Path(sys.prefix, "bin")
)
"""As a user has it who has no environment of ours on it."""

_handed_out: set[int] = set()


@dataclass(slots=True, kw_only=True)
class GatewayProcess:
    """One gateway with a home, a state folder and a config of its own."""

    name: str
    home: Path
    launcher: Path
    model_url: str
    port: int
    plugin: dict[str, Any] | None = None
    """Config of our plugin; without one it is not loaded."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Goes to the `.env` of the state folder."""
    more: dict[str, Any] = field(default_factory=dict)
    """Config beyond the least that a gateway needs offline."""
    _process: asyncio.subprocess.Process | None = None

    @property
    def state(self) -> Path:
        return self.home / ".openclaw"

    @property
    def config_file(self) -> Path:
        return self.state / "openclaw.json"

    @property
    def log(self) -> Path:
        return self.home / "gateway.log"

    @property
    def node_log(self) -> Path:
        return self.state / "lanmesh" / "node.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The gateway's own token: who has it is the owner."""
        return f"owner-of-{self.name}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"gateway {self.name} was not started")
        return self._process.pid

    @property
    def lan_token(self) -> str:
        """What opens the node to a peer."""
        return self.tokens["OPENCLAW_LAN_TOKEN"]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def node(self) -> dict[str, Any]:
        """Return what the running node says of itself: pid, boot, ports."""
        about: dict[str, Any] = json.loads((self.state / "lanmesh" / "node.json").read_text())
        return about

    async def node_ready(self) -> dict[str, Any]:
        """Return what the node says of itself, once it answers through the gateway."""

        async def answers() -> bool:
            try:
                return (await self.lan("GET", "/lan/health")).status == 200
            except aiohttp.ClientError:  # a gateway that restarts for a new config
                return False

        await eventually(answers, f"the node of {self.name} does not answer", log=self.log)
        return self.node()

    async def lan(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> "Answer":
        """Ask the gateway's own port, as a peer does."""
        return await _http(f"{self.url}{path}", method, body, token)

    async def op(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the node's operator port, as the command line does."""
        at = self.node()["operator"]
        token = (self.state / "lanmesh" / "operator.token").read_text().strip()
        answer = await _http(f"http://{at['host']}:{at['port']}{path}", method, body, token)
        assert answer.status < 300, answer
        return answer.json

    def write_config(self) -> None:
        """Write the config file and the tokens anew."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config_file.write_text(json.dumps(self._config(), indent=2))
        (self.state / ".env").write_text("".join(f"{key}={value}\n" for key, value in self.tokens.items()))
        (self.state / ".env").chmod(0o600)

    def configure(self, plugin: dict[str, Any]) -> None:
        """Set our plugin's config in the config file, as an owner does by an editor."""
        config = json.loads(self.config_file.read_text())
        config["plugins"].setdefault("entries", {}).setdefault(PLUGIN_ID, {"enabled": True})["config"] = (
            plugin
        )
        self.config_file.write_text(json.dumps(config, indent=2))

    async def start(self) -> None:
        """Start, and return once it serves; its config file is left as it is if there is one."""
        if not self.config_file.exists():
            self.write_config()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.launcher,
                "gateway",
                "run",
                cwd=self.home,
                env=self.environ(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self.ready()

    async def ready(self) -> None:
        """Return once the gateway serves, plugins included."""
        async with aiohttp.ClientSession() as http:
            await eventually(
                lambda: self._is_ready(http), f"gateway {self.name} is not ready", _READY_S, self.log
            )
        # Behind a launcher that is not the gateway, killing would leave the gateway alive.
        assert self.port in {at.laddr.port for at in psutil.Process(self.pid).net_connections()}

    async def stop(self) -> None:
        """End it as a service manager does."""
        if self.running:
            self._signal(signal.SIGTERM)
            await self._ended(_STOP_S)

    async def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)
        await self._ended(_STOP_S)

    async def ended(self, within_s: float = _STOP_S) -> int:
        """Return its exit status once it has ended."""
        await self._ended(within_s)
        assert self._process is not None
        assert self._process.returncode is not None
        return self._process.returncode

    @asynccontextmanager
    async def user(self) -> AsyncIterator[User]:
        """Be the owner, in front of this gateway."""
        async with User(name=self.name, url=self.url, token=self.token, home=self.home, log=self.log) as user:
            yield user

    async def cli(self, *arguments: str, folder: Path | None = None) -> str:
        """Run `openclaw …` beside this gateway, in its home or another folder; return what it prints."""
        process = await asyncio.create_subprocess_exec(
            self.launcher,
            *arguments,
            cwd=folder or self.home,
            env=self.environ(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        text = output.decode()
        assert process.returncode == 0, text
        return text

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        if not self.running:
            raise AssertionError(f"gateway {self.name} has ended\n{tail(self.log)}")
        try:
            async with http.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _ended(self, within_s: float) -> None:
        if self._process is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise AssertionError(
                f"gateway {self.name} had not ended after {within_s:g} s\n{tail(self.log)}"
            ) from None

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of this gateway, and of its owner."""
        return {
            "HOME": str(self.home),
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "OPENCLAW_STATE_DIR": str(self.state),
            "OPENCLAW_CONFIG_PATH": str(self.config_file),
            "OPENCLAW_DISABLE_BONJOUR": "1",
            "LANMESH_LISTEN": "127.0.0.1",  # its node: no test opens a port to a network, or sends to one
            "OPENCLAW_NO_RESPAWN": "1",
            "OPENCLAW_EXEC_SHELL_SNAPSHOT": "0",
            "NO_COLOR": "1",
            **more,
        }

    def _config(self) -> dict[str, Any]:
        provider = {
            "baseUrl": self.model_url,
            "apiKey": "none-needed",
            "api": "openai-completions",
            "models": [
                {
                    "id": model.NAME,
                    "name": "Scripted",
                    "reasoning": False,
                    "input": ["text"],
                    "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
                    "contextWindow": 200_000,
                    "maxTokens": 8192,
                }
            ],
        }
        config: dict[str, Any] = {
            "gateway": {
                "mode": "local",
                "bind": "loopback",
                "port": self.port,
                "auth": {"mode": "token", "token": self.token},
                "controlUi": {"enabled": False},
            },
            "agents": {
                "defaults": {
                    "workspace": str(self.state / "workspace"),
                    "skipBootstrap": True,
                    "model": {"primary": f"scripted/{model.NAME}"},
                    "heartbeat": {"every": "0m"},
                }
            },
            "models": {"mode": "merge", "providers": {"scripted": provider}},
            "logging": {"file": str(self.home / "gateway.jsonl")},
            "discovery": {"mdns": {"mode": "off"}},
            "update": {"checkOnStart": False},
            **self.more,
        }
        if self.plugin is not None:
            config["plugins"] = {
                "load": {"paths": [str(ROOT / "plugin")]},
                "entries": {
                    PLUGIN_ID: {"enabled": True, "config": {"python": sys.executable, **self.plugin}}
                },
            }
        return config


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


async def _http(url: str, method: str, body: Any, token: str | None) -> Answer:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else io.BytesIO(json.dumps(body).encode())
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_S), trust_env=False) as http,
        http.request(method, URL(url, encoded=True), data=data, headers=headers) as answer,
    ):
        return Answer(answer.status, answer.headers, await answer.text())


def free_ports(count: int) -> list[int]:
    """Return base ports for gateways, below those that the system hands out by itself; none twice."""
    while True:
        first = random.randrange(20_000, 32_000 - count * _PORTS_OF_A_GATEWAY)  # noqa: S311  # no secret
        ports = [first + number * _PORTS_OF_A_GATEWAY for number in range(count)]
        apart = all(abs(port - other) >= _PORTS_OF_A_GATEWAY for port in ports for other in _handed_out)
        if apart and all(is_free(port + more) for port in ports for more in (0, 2, MESH_PORT)):
            _handed_out.update(ports)
            return ports


def as_peer(name: str, port: int) -> dict[str, Any]:
    """Return the config for a peer behind the port of its gateway, as the project's first README has it."""
    token = f"LAN_PEER_{name.upper()}_TOKEN"
    return {"peers": {name: {"host": "127.0.0.1", "port": port, "tokenEnvVar": token}}}


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
