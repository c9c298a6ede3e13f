"""lanmesh status, peers, profile, config: look at the node"""

import os
from typing import Annotated, Any

import msgspec
import typer

from lanmesh.cli.node import ask, folder
from lanmesh.cli.terminal import JsonFlag, ago, plain, show_facts, show_json, show_table
from lanmesh.errors import NodeUnreachable
from lanmesh.model.ids import short
from lanmesh.protocol.peer_views import PeerView, SightingView
from lanmesh.protocol.views import SettingView, StatusView


def status(json: JsonFlag = False) -> None:
    """Show how the node fares."""
    view = ask(lambda node: node.status())
    if json:
        show_json(view)
        return
    tasks = f"{view.running} running, {view.waiting} waiting"
    if view.approvals:
        tasks += f" ({view.approvals} for your approval: lanmesh tasks --approvals)"
    mail = f"{view.unread} unread, {view.queued} to be delivered"
    if view.undelivered:
        mail += f", {view.undelivered} not delivered (lanmesh outbox)"
    show_facts(
        [
            ("node", view.id if view.name == view.id else f"{view.id} ({view.name})"),
            ("key", short(view.node_id)),
            ("version", f"{view.version}, up {round(view.uptime)} s"),
            ("peers reach it", _reach(view)),
            ("accepts tasks", view.accept_mode),
            ("does them by", view.executor),
            ("tasks", tasks),
            ("mail", mail),
            ("state", view.state_folder),
            *(("note", sentence) for sentence in view.warnings),
        ]
    )
    if view.peers:
        print()
        _show_peers(view.peers)
    if view.seen:
        print()
        _show_seen(view.seen)


def peers(context: typer.Context, json: JsonFlag = False) -> None:
    """Show the peers and when they were last seen, and the nodes on the network that are not paired."""
    if context.invoked_subcommand is not None:
        return
    if json:
        show_json(ask(lambda node: node.peers()))
        return
    view = ask(lambda node: node.status())
    if view.peers:
        _show_peers(view.peers)
    else:
        print(f"no peers yet: `lanmesh pair` here and on the other node, or add one to {folder().config}")
    if view.seen:
        print()
        _show_seen(view.seen)


def profile(
    peer: Annotated[str | None, typer.Argument(help="A peer; else this node.")] = None, json: JsonFlag = False
) -> None:
    """Show what this node, or a peer, is and offers."""
    if peer is None:
        about = ask(lambda node: node.profile())
    else:
        seen = ask(lambda node: node.peer_profile(peer))
        about = msgspec.json.decode(seen.profile, type=dict[str, Any])
        if seen.error and not json:
            print(f"as {peer} was {ago(seen.seen_at)}: {plain(seen.error)}\n")
    if json:
        show_json(about)
    else:
        show_facts([(name, _words(value)) for name, value in about.items()])


def config(json: JsonFlag = False) -> None:
    """Show each setting, and where it came from."""
    try:
        settings = ask(lambda node: node.settings())
    except NodeUnreachable:
        settings = _settings_of_files()
    if json:
        show_json(settings)
    else:
        show_table(
            ("setting", "value", "from"),
            [(item.key, _words(item.value) or "-", item.source) for item in settings],
        )


def _reach(view: StatusView) -> str:
    if view.listen in {"0.0.0.0", "::"}:  # noqa: S104  # only named here, not bound
        return f"on every address of this machine, port {view.port}"
    return f"at {view.listen}, port {view.port}"


def _settings_of_files() -> list[SettingView]:
    from lanmesh import daemon  # noqa: PLC0415  # only where no node answers
    from lanmesh.config import Source  # noqa: PLC0415
    from lanmesh.status import setting_views  # noqa: PLC0415

    return setting_views(daemon.load_config(folder(), os.environ, Source(name="flag", values={})))


def _show_peers(views: list[PeerView]) -> None:
    show_table(
        ("peer", "address", "wire", "presence", "last answer", "last word", "waiting", "note"),
        [
            (
                view.id,
                f"{view.host}:{view.port}" if view.port else f"{view.host}, dials only",
                view.wire if view.node_id is None else f"{view.wire} {short(view.node_id)}",
                view.presence or "-",
                ago(view.reached_at),
                ago(view.heard_at),
                str(view.queued),
                view.error
                or ("" if view.has_token else "no token for it: set its LAN_PEER_…_TOKEN, or pair"),
            )
            for view in views
        ],
    )


def _show_seen(views: list[SightingView]) -> None:
    show_table(
        ("seen, not paired", "node", "address", "last seen", "note"),
        [
            (
                view.name,
                short(view.node_id),
                view.addresses[0],
                ago(view.seen_at),
                "shows a code: lanmesh pair CODE" if view.shows_code else "",
            )
            for view in views
        ],
    )


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return "" if value is None else str(value)
