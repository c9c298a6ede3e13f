"""what stands beside a node and does its tasks: a gateway, if there is one, or programs"""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from lanmesh import __version__
from lanmesh.config import Config
from lanmesh.engine.events import Events
from lanmesh.engine.node import Node
from lanmesh.engine.ports import Clock, Executor, Random, Surroundings
from lanmesh.executors.command import CommandExecutor
from lanmesh.locations import StateFolder
from lanmesh.model.profile import Offers


class NoSurroundings:
    """No gateway beside this node. Implements the port `Surroundings`."""

    def offers(self) -> Offers:
        """Return nothing."""
        return Offers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """How a node does tasks, what can be offered here, and what has to run along."""

    executor: Executor
    surroundings: Surroundings
    works: Callable[[Node], list[Coroutine[Any, Any, None]]]
    """Returns the work that runs for as long as the node."""

    @classmethod
    def of(
        cls, settings: Config, folder: StateFolder, *, events: Events, clock: Clock, chance: Random
    ) -> "Beside":
        """Return what these settings name."""
        keys, address = settings.node, settings.gateway
        command = CommandExecutor(
            keys.command, repeatable=keys.repeatable, state_folder=folder.path, environ=os.environ
        )
        if address is None:
            return cls(executor=command, surroundings=NoSurroundings(), works=lambda _node: [])
        # Imported here: a node without a gateway does without the memory of its cryptography.
        from lanmesh.openclaw.device import Device  # noqa: PLC0415
        from lanmesh.openclaw.executor import GatewayExecutor  # noqa: PLC0415
        from lanmesh.openclaw.gateway import Gateway, GatewayAddress  # noqa: PLC0415
        from lanmesh.openclaw.notices import Notices  # noqa: PLC0415
        from lanmesh.openclaw.offers import GatewayOffers  # noqa: PLC0415

        gateway = Gateway(
            GatewayAddress(url=address.url, token=address.token or "", boot=address.boot),
            device=Device.kept_in(folder.device_key),
            clock=clock,
            chance=chance,
            version=__version__,
        )
        offers = GatewayOffers(gateway, clock=clock, agent=keys.agent)
        executor: Executor = command
        if keys.executor == "openclaw":
            executor = GatewayExecutor(
                gateway, clock=clock, agent=keys.agent, repeatable=keys.repeatable, work=folder.work
            )

        def works(node: Node) -> list[Coroutine[Any, Any, None]]:
            return [gateway.run(), offers.run(), Notices(gateway, node, events=events, clock=clock).run()]

        return cls(executor=executor, surroundings=offers, works=works)
