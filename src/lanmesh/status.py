"""what a node tells its owner about itself, and what it warns of"""

from collections.abc import Mapping

from lanmesh import __version__
from lanmesh.config import Config
from lanmesh.engine.node import Node
from lanmesh.faces.operator import peer_views
from lanmesh.home import Home
from lanmesh.locations import StateFolder
from lanmesh.model.peer import Wire
from lanmesh.protocol.peer_views import sighting_view
from lanmesh.protocol.views import SettingView, StatusView
from lanmesh.tokens import EnvironmentTokens


class Status:
    """One node, seen by its owner."""

    def __init__(self, folder: StateFolder, settings: Config, tokens: EnvironmentTokens, home: Home) -> None:
        """Tell of a node with these settings."""
        self._folder = folder
        self._config = settings
        self._tokens = tokens
        self._home = home

    def view(self, node: Node, addresses: Mapping[str, tuple[str, int]]) -> StatusView:
        """Return the state of a node that listens at the addresses of its faces `mesh` and `operator`."""
        numbers = node.numbers()
        host, port = addresses["mesh"]
        keys = self._config.node
        return StatusView(
            id=node.peers.me,
            node_id=node.node_id,
            name=self._config.identity.name,
            version=__version__,
            uptime=round(node.uptime_s, 1),
            accept_mode=node.modes.general(),
            executor=f"openclaw: agent {keys.agent}"
            if keys.executor == "openclaw"
            else f"command: {' '.join(keys.command)}",
            listen=host,
            port=port,
            operator_port=addresses["operator"][1],
            state_folder=str(self._folder.path),
            running=numbers.running,
            waiting=numbers.waiting,
            approvals=numbers.approvals,
            unread=numbers.unread,
            queued=numbers.queued,
            undelivered=numbers.undelivered,
            peers=peer_views(node),
            seen=[sighting_view(one) for one in node.pairing.sightings.strangers()],
            warnings=self.warnings(node),
        )

    def settings(self) -> list[SettingView]:
        """Return how the settings are shown."""
        return setting_views(self._config)

    def warnings(self, node: Node) -> list[str]:
        """Return what the owner should know, a sentence each."""
        warnings = [*self._config.warnings, *self._tokens.check(), *self._home.warnings()]
        if (trouble := node.trouble) is not None:
            warnings.append(f"{self._folder.database}: {trouble}")
        if (blind := node.pairing.sightings.trouble) is not None:
            warnings.append(f"other nodes are not found on the network: mDNS does not work: {blind}")
        if (spoiled := node.pairing.used_up()) is not None:
            warnings.append(spoiled)
        if not node.peers.anyone_may_call():
            warnings.append(
                "no peer can call this node: pair with one by `lanmesh pair`, or set OPENCLAW_LAN_TOKEN in "
                "the .env file"
            )
        open_ones = [known.peer.id for known in node.peers.all() if known.peer.wire is Wire.CLEARTEXT]
        if open_ones:
            warnings.append(
                f"whoever is on the network reads what goes to {', '.join(open_ones)}, token included: "
                "`lanmesh peers upgrade` pairs with a node"
            )
        return warnings


def setting_views(settings: Config) -> list[SettingView]:
    """Return how settings are shown."""
    return [SettingView(key=item.key, value=item.value, source=item.source) for item in settings.settings]
