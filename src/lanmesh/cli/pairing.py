"""lanmesh pair, unpair, block, peers upgrade: whom this node trusts"""

import sys
from typing import Annotated

import typer

from lanmesh.cli.node import ask, owner_only
from lanmesh.cli.terminal import JsonFlag, plain, show_json
from lanmesh.client import LONGEST_WAIT_S, Client
from lanmesh.errors import PairingClosed
from lanmesh.model.ids import address, short
from lanmesh.model.peer import DEFAULT_PORT
from lanmesh.protocol.pairing import TRIES, used_up
from lanmesh.protocol.peer_views import InvitationView, PairingView

Peer = Annotated[str, typer.Argument(help="Which peer.")]
At = Annotated[
    str | None,
    typer.Option(metavar="HOST[:PORT]", help=f"Where the other node is; else port {DEFAULT_PORT}."),
]

_LOOPBACK = ("127.", "::1", "localhost")


def pair(
    code: Annotated[str | None, typer.Argument(help="The code that the other node shows.")] = None,
    at: At = None,
    json: JsonFlag = False,
) -> None:
    """Pair with another node: show a code, or type the one that the other shows.

    The other node is found on the network by itself, or dialled where --at says.
    Without a code, one is shown, for two minutes, and this waits until it is used; with --json it
    is only shown.
    """
    owner_only("pairing")
    if code is not None:
        host, port = (None, DEFAULT_PORT) if at is None else address(at, DEFAULT_PORT)
        _show(ask(lambda node: node.pair(code, host, port)), json=json)
    elif json:
        show_json(ask(lambda node: node.invite()))
    else:
        ask(_wait_for_guest)


def unpair(peer: Peer) -> None:
    """Forget a paired peer, and end all that is between you and it; a blocked one may pair again."""
    owner_only("unpairing")
    ask(lambda node: node.unpair(peer))
    print(f"{plain(peer)} is not paired any more")


def block(peer: Peer) -> None:
    """Let a paired peer be none any more, whatever it tries; `lanmesh unpair` takes it back."""
    owner_only("blocking a peer")
    ask(lambda node: node.block(peer))
    print(f"{plain(peer)} is blocked")


def upgrade(peer: Peer, at: At = None, json: JsonFlag = False) -> None:
    """Pair with a peer by the tokens that both have for each other; a paired one gets new ones."""
    owner_only("pairing")
    host, port = (None, None) if at is None else address(at, DEFAULT_PORT)
    _show(ask(lambda node: node.upgrade(peer, host, port)), json=json)


async def _wait_for_guest(node: Client) -> None:
    invitation = await node.invite()
    _show_code(invitation)
    told: list[str] = []
    while invitation.open and (invitation.guest is None or invitation.guest.state == "pending"):
        invitation = await node.expected(wait_s=LONGEST_WAIT_S)
        for place in invitation.in_vain[len(told) :]:
            told.append(place)
            print(
                f"try {len(told)} of {TRIES} came to nothing: a wrong code or none, from {plain(place)}",
                flush=True,
            )
    if invitation.guest is None:
        why = used_up(invitation.in_vain) or "nobody has used the code in time"
        raise PairingClosed(f"{plain(why)}; run `lanmesh pair` for a new one")
    _show(invitation.guest, json=False)


def _show_code(invitation: InvitationView) -> None:
    print(f"code  {invitation.code}   (for two minutes, for one node)\n")
    where = f"HOST:{invitation.port}" if invitation.port != DEFAULT_PORT else "HOST"
    command = f"lanmesh pair {invitation.code}"
    if sys.stdout.isatty():
        import segno  # noqa: PLC0415  # only where there is somebody to see it

        segno.make(command, error="l").terminal(compact=True)
        print()
    print(f"On the other node:\n\n  {command}\n")
    print(f"If that does not find this one, add --at {where}, with the address of this machine for HOST.\n")
    if invitation.listen.startswith(_LOOPBACK):
        print(
            f"This node listens on {invitation.listen}: only nodes on this machine reach it. For others, set "
            'node.listen to "0.0.0.0".\n'
        )
    sys.stdout.flush()


def _show(pairing: PairingView, *, json: bool) -> None:
    if json:
        show_json(pairing)
        return
    node = short(pairing.node_id)
    if pairing.state == "pending":
        print(f"{plain(pairing.peer)} (node {node}) knows the code; it counts once both can reach each other")
    else:
        print(f"paired with {plain(pairing.peer)} (node {node}) at {plain(pairing.host)}:{pairing.port}")
