"""What the gateway can do, as the node's profile tells it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from lanmesh.model.profile import Offers
from lanmesh.openclaw.offers import GatewayOffers
from tests.fakes import soon, until
from tests.integration.gateway import Beside, Refusal, beside

METHODS = ["agents.list", "skills.status", "models.list", "tools.catalog"]


@asynccontextmanager
async def offered(
    folder: Path, methods: Iterable[str] = METHODS, *, connect: bool = True
) -> AsyncIterator[tuple[Beside, GatewayOffers]]:
    async with beside(folder, methods=methods, connect=connect) as gateway:
        offers = GatewayOffers(gateway.client, clock=gateway.clock, agent="main")
        asking = asyncio.create_task(offers.run())
        try:
            yield gateway, offers
            assert not asking.done(), asking
        finally:
            asking.cancel()
            await soon(asyncio.wait([asking]))


def lay_all(gateway: Beside) -> None:
    gateway.lay("agents.list", {"agents": [{"id": "main"}, {"id": "coder"}, {"name": "nameless"}, "odd"]})
    gateway.lay(
        "skills.status",
        {"skills": [{"name": "pdf", "eligible": True}, {"name": "mac-only", "eligible": False}]},
    )
    gateway.lay("models.list", {"models": [{"provider": "openai", "id": "gpt"}]})
    gateway.lay(
        "tools.catalog",
        {"groups": [{"tools": [{"id": "exec"}, {"id": "read"}]}, {"id": "empty"}, {"tools": None}]},
    )


ALL = Offers(agents=("main", "coder"), skills=("pdf",), models=("openai/gpt",), tools=("exec", "read"))


async def test_what_the_gateway_can_do_is_asked_once_it_is_connected(tmp_path: Path) -> None:
    async with offered(tmp_path, connect=False) as (gateway, offers):
        lay_all(gateway)
        assert offers.offers() == Offers()

        await until(lambda: offers.offers() != Offers())

        assert offers.offers() == ALL
        assert gateway.asked("skills.status") == gateway.asked("tools.catalog") == [{"agentId": "main"}]


async def test_it_is_asked_again_now_and_then(tmp_path: Path) -> None:
    async with offered(tmp_path) as (gateway, offers):
        await until(lambda: gateway.clock.pauses == [300])
        lay_all(gateway)
        await gateway.clock.advance(300)

        await until(lambda: offers.offers() == ALL)


async def test_what_a_gateway_s_version_cannot_tell_is_not_asked(tmp_path: Path) -> None:
    async with offered(tmp_path, ["models.list"], connect=False) as (gateway, offers):
        lay_all(gateway)

        await until(lambda: offers.offers() == Offers(models=("openai/gpt",)))

        assert [method for method, _ in gateway.calls] == ["models.list"]


async def test_what_was_known_stays_when_the_gateway_says_no(tmp_path: Path) -> None:
    async with offered(tmp_path, connect=False) as (gateway, offers):
        lay_all(gateway)
        await until(lambda: offers.offers() == ALL)
        gateway.lay("agents.list", Refusal("UNAVAILABLE", "gateway-restarting"))
        await until(lambda: gateway.clock.pauses == [300])
        await gateway.clock.advance(300)
        await until(lambda: len(gateway.asked("agents.list")) == 2)
        await gateway.quiet()

        assert offers.offers() == ALL


async def test_an_answer_of_another_shape_offers_nothing(tmp_path: Path) -> None:
    async with offered(tmp_path, connect=False) as (gateway, offers):
        for method, key in zip(METHODS, ("agents", "skills", "models", "groups"), strict=True):
            gateway.lay(method, {key: "none"})
        await until(lambda: gateway.clock.pauses == [300])

        assert offers.offers() == Offers()


async def test_a_profile_holds_no_more_of_a_kind_than_can_be_read(tmp_path: Path) -> None:
    async with offered(tmp_path, connect=False) as (gateway, offers):
        gateway.lay("agents.list", {"agents": [{"id": f"a{n}"} for n in range(500)]})
        gateway.lay("models.list", {"models": [{"provider": "p", "id": n} for n in range(500)]})
        await until(lambda: offers.offers() != Offers())

        assert (len(offers.offers().agents), len(offers.offers().models)) == (100, 100)
