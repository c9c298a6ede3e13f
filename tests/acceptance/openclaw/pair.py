"""two gateways that know each other, configured as the project's first README says"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.openclaw.gateway import GatewayProcess, free_ports

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
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    """Start alpha and beta, each as a peer of the other, and stop them in the end.

    Args:
        launcher: The OpenClaw to run.
        model_url: The model that both ask.
        home_of: Where a gateway of some name may live.
        plugin: More config of our plugin, by the name of the gateway.
        more: More config of the gateway itself, by its name.
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
                "peers": {
                    other: {
                        "host": "127.0.0.1",
                        "port": ports[other],
                        "tokenEnvVar": f"LAN_PEER_{other.upper()}_TOKEN",
                    }
                },
                "acceptMode": "auto",
                **plugin.get(name, {}),
            },
            tokens={
                "OPENCLAW_LAN_TOKEN": f"opens-{name}",
                f"LAN_PEER_{other.upper()}_TOKEN": f"opens-{other}",
            },
            more=more.get(name, {}),
        )
        for name, other in (NAMES, NAMES[::-1])
    )
    try:
        await asyncio.gather(alpha.start(), beta.start())
        await asyncio.gather(alpha.node_ready(), beta.node_ready())
        yield alpha, beta
    finally:
        await asyncio.gather(alpha.stop(), beta.stop())
