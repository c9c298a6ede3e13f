"""two gateways whose owners have paired them by a code, each typing `/lan-pair` in a chat"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.acceptance.openclaw.gateway import MESH_PORT, GatewayProcess, free_ports

NAMES = ("alpha", "beta")

Json = dict[str, Any]


@asynccontextmanager
async def started_pair(
    *,
    launcher: Path,
    model_url: str,
    home_of: Callable[[str], Path],
    plugin: Mapping[str, Json],
    more: Mapping[str, Json],
    tokens: Mapping[str, dict[str, str]] = MappingProxyType({}),
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    """Start alpha and beta, make each a peer of the other, and stop them in the end.

    Args:
        launcher: The OpenClaw to run.
        model_url: The model that both ask.
        home_of: Where a gateway of some name may live.
        plugin: More config of our plugin, by the name of the gateway.
        more: More config of the gateway itself, by its name.
        tokens: More variables of its `.env`, by its name.
    """
    ports = dict(zip(NAMES, free_ports(2), strict=True))
    alpha, beta = (
        GatewayProcess(
            name=name,
            home=home_of(name),
            launcher=launcher,
            model_url=model_url,
            port=ports[name],
            plugin={
                "profile": {"id": name, "name": f"{name} of the pair", "capabilities": ["coding"]},
                # The same port after a restart, though both are on one machine; and nobody looks for others.
                "node": {"port": ports[name] + MESH_PORT, "discovery": False},
                "acceptMode": "auto",
                **plugin.get(name, {}),
            },
            tokens={"OPENCLAW_LAN_TOKEN": f"opens-{name}", **tokens.get(name, {})},
            more=more.get(name, {}),
        )
        for name in NAMES
    )
    try:
        await asyncio.gather(alpha.start(), beta.start())
        await asyncio.gather(alpha.node_ready(), beta.node_ready())
        await pair(alpha, beta)
        yield alpha, beta
    finally:
        await asyncio.gather(alpha.stop(), beta.stop())


async def pair(shows: GatewayProcess, types: GatewayProcess) -> None:
    """Have one owner ask for a code in a chat, and the other type it."""
    async with shows.user() as owner, types.user() as other:
        shown = await owner.ask("/lan-pair")
        code = re.search(r"/lan-pair (\S+) ", shown)
        assert code, shown
        done = await other.ask(f"/lan-pair {code[1]} 127.0.0.1:{shows.node()['mesh']['port']}")
    assert re.fullmatch(rf"paired with {shows.name} \(node \w{{8}}\): paired", done), done
