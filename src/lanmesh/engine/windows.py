"""what others may pair by with this node: a code that it shows, or the tokens that it shares with a peer"""

from collections.abc import Iterator

from lanmesh.engine.ports import Clock, Random
from lanmesh.engine.roster import Roster
from lanmesh.errors import PairingClosed
from lanmesh.model.ids import PeerId
from lanmesh.model.peer import PairingState
from lanmesh.protocol import certificates, codes, pairing
from lanmesh.protocol.pairing import Hello, Stage, Window


class Windows:
    """The pairing windows of this node; none outlives its process."""

    def __init__(self, roster: Roster, clock: Clock, chance: Random) -> None:
        """Begin with none."""
        self._roster = roster
        self._clock = clock
        self._chance = chance
        self._shown: tuple[str, Window] | None = None
        self._renewals: dict[PeerId, Window] = {}

    def show_code(self) -> None:
        """Open a window for whoever is told a new code; an earlier code counts no more."""
        if self._shown is not None:
            self._shown[1].close()
        code = codes.new_code(self._chance.bytes)
        self._shown = code, self._new(codes.secret_of_code(code))

    def shown(self) -> tuple[str, Window]:
        """Return the code that was shown last, and its window, which may be closed by now.

        Raises:
            PairingClosed: None was shown.
        """
        if self._shown is None:
            raise PairingClosed("no code was shown since this node started")
        return self._shown

    def used_up(self) -> str | None:
        """Return from where the tries came that have used up the code shown last; `None` if none have."""
        if self._shown is None:
            return None
        window = self._shown[1]
        window.look(self._clock.now())
        return pairing.used_up(window.vain)

    def quiet_s(self) -> float:
        """Return for how long nothing becomes of the code that was shown last, if nobody does anything."""
        return 0.0 if self._shown is None else self._shown[1].look(self._clock.now())

    def left_s(self) -> float:
        """Return for how long the code can be used still; 0 if it cannot, or none was shown."""
        return 0.0 if self._shown is None else self._shown[1].left_s(self._clock.now())

    def for_whoever_says(self, hello: Hello) -> Window:
        """Return the window that a node wants to use: that of the code, or of the tokens shared with it.

        Raises:
            PairingClosed: This node shows no code, or shares no tokens with that one.
        """
        if hello.by == "code":
            if self._shown is None:
                raise PairingClosed
            return self._shown[1]
        node_id = certificates.node_of(hello.certificate)
        known = [each.peer for each in self._roster.pairings(PairingState.PAIRED) if each.node_id == node_id]
        name = known[0] if known else PeerId(hello.name)
        exchanged = self._roster.exchanged(name) if name in self._roster else None
        if exchanged is None or (not known and self._roster.paired(name)):
            raise PairingClosed
        window = self._renewals.get(name)
        if window is None or window.stage is Stage.AGREED or self._clock.now() >= window.closes_at:
            to_me, to_them = exchanged[1], exchanged[0]
            window = self._renewals[name] = self._new(codes.secret_of_tokens(to_me, to_them))
        return window

    def all(self) -> Iterator[tuple[PeerId | None, Window]]:
        """Return all, each with the peer whose it is; `None` for that of the code."""
        if self._shown is not None:
            yield None, self._shown[1]
        yield from self._renewals.items()

    def close_for(self, peer: PeerId) -> None:
        """Let no answer be asked again that would make a peer of it anew."""
        if self._shown is not None and self._shown[1].agreement is not None:
            self._shown[1].close()
        self._renewals.pop(peer, None)

    def _new(self, secret: bytes) -> Window:
        return Window(
            secret,
            name=self._roster.me,
            node_id=self._roster.node_id,
            closes_at=self._clock.now() + pairing.WINDOW_S,
            entropy=self._chance.bytes,
        )
