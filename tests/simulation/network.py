"""The network between simulated nodes: what is lost, late, doubled or cut off, as chance and the plan say."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanmesh.engine.callers import Caller
from lanmesh.errors import AnswerLost, MeshError, PeerUnreachable
from lanmesh.model.ids import PeerId
from lanmesh.net.calls import ANSWER_S, CONNECT_S, refusal
from lanmesh.protocol import problems
from tests.fakes import FakeTokens, MemoryLink, NodeUnderTest
from tests.simulation.ledger import Ledger
from tests.simulation.loop import life

if TYPE_CHECKING:
    from tests.simulation.node import SimulatedNode

_HELD_S = 25.0
"""For which a peer may hold back its answer to a question."""

Question = Callable[[NodeUnderTest, Caller], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How likely each misfortune is for one request."""

    lose_request: float = 0.0
    lose_answer: float = 0.0
    double: float = 0.0
    slow_s: float = 0.01
    """The longest that one way takes."""
    stale_s: float = 1.0
    """The longest after which the second of a doubled request arrives."""


CALM = Weather()


class Network:
    """Carries questions to nodes, and answers back."""

    def __init__(self, nodes: Mapping[str, "SimulatedNode"], chance: random.Random, ledger: Ledger) -> None:
        self.weather = CALM
        self._nodes = nodes
        self._chance = chance
        self._ledger = ledger
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._asked = 0
        self._carrying: dict[asyncio.Task[None], None] = {}

    def cut(self, source: str, target: str) -> None:
        """Let nothing through in one direction; as often as it was cut, it must be mended."""
        self._cuts[source, target] += 1

    def mend(self, source: str, target: str) -> None:
        """Undo one cut."""
        self._cuts[source, target] = max(0, self._cuts[source, target] - 1)

    def heal(self) -> None:
        """Be as good as new; what is under way arrives."""
        self._cuts.clear()
        self.weather = CALM

    async def close(self) -> None:
        """Drop what is under way."""
        for task in list(self._carrying):
            task.cancel()
        if self._carrying:
            await asyncio.wait(self._carrying)

    async def ask(self, source: str, target: str, token: str | None, question: Question) -> bytes:
        """Return the answer of a node, or raise what a link would raise."""
        asker = life()
        if asker is not None and asker.dead:
            raise PeerUnreachable("this process is no more")
        self._asked += 1
        request = _Request(
            number=self._asked,
            source=source,
            target=target,
            token=token,
            question=question,
            answer=asyncio.get_running_loop().create_future(),
        )
        self.outside(self._carry(request))
        try:
            return await asyncio.wait_for(request.answer, ANSWER_S + _HELD_S)
        except TimeoutError:
            raise AnswerLost(f"{target}: connected, but no answer") from None

    def outside(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that is part of no node's life."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._carrying[task] = None
        task.add_done_callback(self._carrying.pop)

    # ---------------------------------------------------------------------------------------------

    async def _carry(self, request: "_Request") -> None:
        weather = self.weather
        if self._cut(request.there) or self._cut(request.back):  # no handshake
            await asyncio.sleep(CONNECT_S)
            request.settle(PeerUnreachable(f"{request.target}: no connection"))
            return
        await asyncio.sleep(self._way(weather))
        if not self._nodes[request.target].running:
            request.settle(PeerUnreachable(f"{request.target}: connection refused"))
            return
        if self._chance.random() < weather.lose_request:
            self._note(request, "lost")
            if self._chance.random() < 0.5:
                request.settle(AnswerLost(f"{request.target}: connection reset"))
            return
        if self._chance.random() < weather.double:
            self.outside(self._arrive(request, self._chance.random() * weather.stale_s))
        await self._arrive(request, self._way(weather))

    async def _arrive(self, request: "_Request", after_s: float) -> None:
        await asyncio.sleep(after_s)
        node = self._nodes[request.target]
        if self._cut(request.there):
            return
        if not node.running:
            request.settle(AnswerLost(f"{request.target}: connection reset"))
            return
        self._note(request, "arrives")
        if request.answer.done():
            self._ledger.strays.add(request.there)
        said = await node.answer(request.question, request.token)
        if said is None:
            request.settle(AnswerLost(f"{request.target}: connection reset"))
            return
        weather = self.weather
        lost = self._chance.random() < weather.lose_answer
        await asyncio.sleep(self._way(weather))
        self._note(request, "answer lost" if lost else f"answered {_words(said)}")
        if lost or self._cut(request.back):
            if self._chance.random() < 0.5:
                request.settle(AnswerLost(f"{request.target}: connection reset"))
        elif isinstance(said, MeshError):
            status = problems.spelling(said).status
            request.settle(refusal(request.target, status, problems.encode(said), said.retry_after_s))
        else:
            request.settle(said)

    def _cut(self, way: tuple[str, str]) -> bool:
        return self._cuts[way] > 0

    def _way(self, weather: Weather) -> float:
        return 0.0001 + self._chance.random() * weather.slow_s

    def _note(self, request: "_Request", what: str) -> None:
        way = f"#{request.number} {request.source} > {request.target}"
        self._ledger.note(asyncio.get_running_loop().time(), f"{way} {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One question on its way, and the answer that the asker waits for."""

    number: int
    source: str
    target: str
    token: str | None
    question: Question
    answer: asyncio.Future[bytes]

    @property
    def there(self) -> tuple[str, str]:
        return self.source, self.target

    @property
    def back(self) -> tuple[str, str]:
        return self.target, self.source

    def settle(self, said: bytes | MeshError) -> None:
        """Let the asker have the answer, if it still waits."""
        if self.answer.done():
            return
        if isinstance(said, MeshError):
            self.answer.set_exception(said)
            self.answer.exception()  # seen, even if the asker is gone
        else:
            self.answer.set_result(said)


def _words(said: bytes | MeshError) -> str:
    return said.code if isinstance(said, MeshError) else said.decode(errors="replace")


class Wire(MemoryLink):
    """A node's way to the others over the simulated network. Implements the port `PeerLink`."""

    def __init__(
        self, me: str, tokens: FakeTokens, nodes: Mapping[str, NodeUnderTest], network: Network
    ) -> None:
        super().__init__(tokens, nodes)
        self._me = me
        self._network = network

    async def ask(self, peer: PeerId, question: Question) -> bytes:
        return await self._network.ask(self._me, peer, self._tokens.outbound(peer), question)
