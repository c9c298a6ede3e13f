"""who is there: what is heard of peers, judged only while this node itself is well"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from lanmesh.engine.ports import Clock, Machine
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import Peer
from lanmesh.model.presence import Observation, Presence

log = logging.getLogger(__name__)

TICK_S = 2.0
"""How often this node looks whether it is well."""

LAG_S = 1.0
"""A look that is late by more says that this node heard nobody meanwhile: it was suspended, or too busy."""


class Presences:
    """Keeps what was heard of each peer that has proven a key."""

    def __init__(self, peers: Mapping[PeerId, Peer], machine: Machine, clock: Clock) -> None:
        """Judge the peers that are in a roster at each time."""
        self._peers = peers
        self._machine = machine
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._cut_off: set[PeerId] = set()
        self._seen: dict[PeerId, Observation] = {}
        self._told: dict[PeerId, Presence] = {}

    def heard(self, peer: PeerId) -> None:
        """Note a word of a peer's."""
        now = self._now()
        self._seen[peer] = self._of(peer, now).after_word(now)

    def called(self, peer: PeerId) -> None:
        """Note a request of a peer's: a word, unless it has links; then these alone tell.

        Where a network passes one way only, requests still come for a while, and no answer arrives.
        """
        if self._of(peer, self._now()).boot is None:
            self.heard(peer)

    def greeted(self, peer: PeerId, boot: str | None) -> bool:
        """Note which life of its node a peer is in; return whether that is another than before."""
        now = self._now()
        before = self._of(peer, now)
        self._seen[peer] = replace(before, heard_at=now, boot=boot)
        return before.boot is not None and boot != before.boot

    def forget(self, peer: PeerId) -> None:
        """Forget what was heard of a peer: whoever bears its name next is another."""
        self._seen.pop(peer, None)
        self._told.pop(peer, None)

    def of(self, peer: PeerId) -> Presence | None:
        """Return what is known of a peer's presence; `None` of one to which there can be no link."""
        known = self._peers.get(peer)
        if known is None or known.node_id is None:
            return None
        now = self._now()
        return self._of(peer, now).presence(now, online=peer not in self._cut_off)

    async def run(self) -> None:
        """Look after this node itself, and tell the log who comes and goes, until cancelled."""
        while True:
            for peer in [name for name in self._seen if name not in self._peers]:
                del self._seen[peer]
                self._told.pop(peer, None)
            silent = [peer for name, peer in self._peers.items() if self.of(name) is not Presence.HERE]
            self._cut_off = {peer.id for peer in silent if not self._machine.online(peer.hosts)}
            for peer in self._peers:
                now = self.of(peer)
                if now is not None and now is not self._told.get(peer, Presence.QUIET):
                    log.info("presence", extra={"peer": peer, "is": now})
                    self._told[peer] = now
            await self._clock.sleep(TICK_S)

    def _of(self, peer: PeerId, now: float) -> Observation:
        return self._seen.setdefault(peer, Observation(since=now))

    def _now(self) -> float:
        """Return the time, having taken account of how long this node could hear nobody."""
        now = self._clock.monotonic()
        away_s = now - self._looked_at - TICK_S
        if away_s > LAG_S:
            log.info("this node was held up", extra={"seconds": round(away_s, 1)})
            self._seen = {name: seen.after_absence(away_s) for name, seen in self._seen.items()}
        self._looked_at = now
        return now
