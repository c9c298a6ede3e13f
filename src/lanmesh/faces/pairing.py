"""pairing for the owner, /op/pairing and /op/peers/*: codes shown and typed, and partings"""

from starlette.requests import Request
from starlette.responses import Response

from lanmesh.engine.node import Node
from lanmesh.faces.description import shaped
from lanmesh.faces.http import Route, given, taken, wait_of
from lanmesh.model.peer import Invitation
from lanmesh.protocol.openapi import Shape
from lanmesh.protocol.peer_views import (
    InvitationView,
    PairingView,
    PairRequest,
    UpgradeRequest,
    invitation_view,
    pairing_view,
)


class Pairing:
    """Whom the owner of this node trusts, and no longer trusts. Never a tool of an agent."""

    def __init__(self, node: Node, address: tuple[str, int]) -> None:
        """Speak for a node that peers reach at an address."""
        self._node = node
        self._address = address

    def routes(self) -> list[Route]:
        """Return the table of routes; PROTOCOL.md describes each."""
        return [
            Route("POST", "/op/pairing", self.invite),
            Route("GET", "/op/pairing", self.expected),
            Route("POST", "/op/pairing/dial", self.dial),
            Route("POST", "/op/peers/{peer}/upgrade", self.upgrade),
            Route("POST", "/op/peers/{peer}/unpair", self.unpair),
            Route("POST", "/op/peers/{peer}/block", self.block),
        ]

    @shaped(Shape(gives=InvitationView))
    async def invite(self, _request: Request) -> Response:
        """Show a new code, which can be typed on another node for two minutes."""
        return self._shown(self._node.pairing.invite())

    @shaped(Shape(gives=InvitationView, query=("wait",)))
    async def expected(self, request: Request) -> Response:
        """Tell what has come of the code that was shown last; held until it is used, or tried in vain."""
        return self._shown(await self._node.pairing.expected(wait_of(request.query_params)))

    @shaped(Shape(takes=PairRequest, gives=PairingView))
    async def dial(self, request: Request) -> Response:
        """Pair with a node that shows a code: at an address, or the one on the network."""
        asked = await taken(request, PairRequest)
        room = self._node.pairing
        pairing = await (
            room.find(asked.code) if asked.host is None else room.dial(asked.code, asked.host, asked.port)
        )
        return given(pairing_view(pairing))

    @shaped(Shape(takes=UpgradeRequest, gives=PairingView))
    async def upgrade(self, request: Request) -> Response:
        """Pair with a peer by the tokens that both have for each other; of a paired one, renew them."""
        asked = await taken(request, UpgradeRequest)
        peer = request.path_params["peer"]
        return given(pairing_view(await self._node.pairing.renew(peer, asked.host, asked.port)))

    @shaped(Shape(status=(204,)))
    async def unpair(self, request: Request) -> Response:
        """Forget what a peer has proven, close its connections, and end all that is open with it."""
        await self._node.pairing.unpair(request.path_params["peer"])
        return Response(status_code=204)

    @shaped(Shape(status=(204,)))
    async def block(self, request: Request) -> Response:
        """Let a paired node be no peer any more, and close its connections, until it is unpaired."""
        await self._node.pairing.block(request.path_params["peer"])
        return Response(status_code=204)

    def _shown(self, invitation: Invitation) -> Response:
        return given(invitation_view(invitation, *self._address))
