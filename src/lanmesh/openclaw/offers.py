"""what the gateway beside this node can do: its agents, skills, models and tools"""

import logging

from lanmesh.engine.ports import Clock
from lanmesh.errors import MeshError
from lanmesh.model.profile import Offers
from lanmesh.openclaw.gateway import Gateway, Json

log = logging.getLogger(__name__)

_AGAIN_S = 300.0
"""Skills and models change when their owner changes them, which is seldom."""

_MOST = 100
"""Of each kind; a profile is read by a model, not by a machine."""


class GatewayOffers:
    """Asks the gateway now and then. Implements the port `Surroundings`."""

    def __init__(self, gateway: Gateway, *, clock: Clock, agent: str) -> None:
        """Speak for one of the gateway's agents."""
        self._gateway = gateway
        self._clock = clock
        self._agent = agent
        self._known = Offers()

    def offers(self) -> Offers:
        """Return what the gateway said last."""
        return self._known

    async def run(self) -> None:
        """Ask at each connection and every few minutes, until cancelled."""
        while True:
            await self._gateway.connected()
            try:
                self._known = await self._ask()
            except MeshError as fault:
                log.info("gateway's offers not known", extra={"why": fault.detail})
            await self._clock.sleep(_AGAIN_S)

    async def _ask(self) -> Offers:
        agents = await self._list("agents.list", {}, "agents")
        skills = await self._list("skills.status", {"agentId": self._agent}, "skills")
        models = await self._list("models.list", {}, "models")
        groups = await self._list("tools.catalog", {"agentId": self._agent}, "groups")
        tools = [tool for group in groups for tool in group.get("tools") or ()]
        return Offers(
            agents=_names(agents, "id"),
            skills=_names([skill for skill in skills if skill.get("eligible")], "name"),
            models=tuple(f"{model.get('provider')}/{model.get('id')}" for model in models[:_MOST]),
            tools=_names(tools, "id"),
        )

    async def _list(self, method: str, params: Json, key: str) -> list[Json]:
        if not self._gateway.has(method):
            return []
        found = (await self._gateway.call(method, params)).get(key)
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _names(items: list[Json], key: str) -> tuple[str, ...]:
    return tuple(str(item[key]) for item in items[:_MOST] if item.get(key))
