"""which nodes were seen on the network, by their own word: hints of where to dial, never of whom to trust"""

from collections.abc import Callable
from dataclasses import replace

from lanmesh.engine.events import Events, heard
from lanmesh.engine.ports import Clock
from lanmesh.errors import InvalidRequest, PairingClosed
from lanmesh.model.ids import NodeId, PeerId, short
from lanmesh.model.peer import Place, Sighting
from lanmesh.protocol.pairing import WINDOW_S
from lanmesh.protocol.quoting import one_line
from lanmesh.store.database import Change, Topic

MOST_STRANGERS = 64
"""Nodes that are kept though nobody here knows them; a flood of invented ones costs no more."""

MOST_PLACES = 8
"""Addresses that are kept of one node, the latest first."""


class Sightings:
    """What was last seen of each node, peers and strangers.

    None is forgotten because it says goodbye or nothing: anyone can say goodbye in its name, and
    absence says nothing about liveness.
    """

    def __init__(
        self, *, node_id: NodeId, peer_of: Callable[[NodeId], PeerId | None], events: Events, clock: Clock
    ) -> None:
        """Begin with none.

        Args:
            node_id: This node itself.
            peer_of: Which peer has proven a key; those are always kept.
            events: Who waits for a node to be seen.
            clock: The time.
        """
        self.looking = False
        """Whether anybody looks for nodes at all."""
        self.trouble: str | None = None
        """Why none can be seen now; `None` while they can."""
        self._node_id = node_id
        self._peer_of = peer_of
        self._events = events
        self._clock = clock
        self._seen: dict[NodeId, Sighting] = {}

    def note(self, new: Sighting) -> None:
        """Keep what was seen of a node; what waits for a peer is tried at once."""
        if new.node_id == self._node_id:
            return
        before = self._seen.pop(new.node_id, None)
        places = dict.fromkeys([*new.places, *(() if before is None else before.places)])
        self._seen[new.node_id] = replace(new, places=tuple(places)[:MOST_PLACES])
        strangers = self.strangers()
        for stranger in strangers[: max(0, len(strangers) - MOST_STRANGERS)]:
            del self._seen[stranger.node_id]
        self._events.publish([Change(Topic.SIGHTING)])
        peer = self._peer_of(new.node_id)
        if peer is not None:
            topics = (Topic.SIGHTING, Topic.CONTACT, Topic.RETURN)
            self._events.publish(Change(topic, peer) for topic in topics)

    def places(self, node_id: NodeId) -> tuple[Place, ...]:
        """Return where a node may be dialled; nothing, if it was never seen."""
        seen = self._seen.get(node_id)
        return () if seen is None else seen.places

    def strangers(self) -> list[Sighting]:
        """Return the nodes that are no peers, the latest last."""
        return [seen for seen in self._seen.values() if self._peer_of(seen.node_id) is None]

    def showing_a_code(self) -> list[Sighting]:
        """Return the nodes, peers or not, that say that they can be paired with now."""
        since = self._clock.now() - WINDOW_S  # one that vanished took its code along
        return [seen for seen in self._seen.values() if seen.shows_code and seen.seen_at > since]

    async def only_code(self, wait_s: float) -> Sighting:
        """Return the one node that shows a code, waited for so long.

        Raises:
            PairingClosed: None does, as far as can be seen.
            InvalidRequest: More than one does.
        """
        if not self.looking:
            raise PairingClosed("this node does not look for others (node.discovery): say where that one is")
        shown = await self._codes(wait_s)
        if not shown:
            why = f" (mDNS does not work here: {self.trouble})" if self.trouble else ""
            raise PairingClosed(
                f"no node on this network says that it shows a code{why}: show one there, and see that it "
                "listens on the network; or say where it is"
            )
        if len(shown) > 1:
            found = "; ".join(
                f"{one_line(each.name)} (node {short(each.node_id)}) at "
                f"{each.places[0][0]}:{each.places[0][1]}"
                for each in shown
            )
            raise InvalidRequest(f"more than one node shows a code, so say where yours is: {found}")
        return shown[0]

    async def _codes(self, wait_s: float) -> list[Sighting]:
        deadline = self._clock.monotonic() + wait_s
        stop = Change(Topic.STOPPING)
        with (
            self._events.watch(stop) as stopping,
            self._events.watch(Change(Topic.SIGHTING), stop) as changed,
        ):
            while True:
                changed.clear()
                found = self.showing_a_code()
                left_s = deadline - self._clock.monotonic()
                if found or left_s <= 0 or stopping.is_set():
                    return found
                await heard(self._clock, changed, left_s)
