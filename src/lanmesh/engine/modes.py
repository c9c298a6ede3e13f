"""what the owner wants done with tasks that arrive: with all of them, or with those of one peer"""

from lanmesh.engine.callers import Caller
from lanmesh.engine.roster import Roster
from lanmesh.model.ids import PeerId
from lanmesh.model.task import AcceptMode
from lanmesh.store import settings
from lanmesh.store.database import Database, Transaction

_MODE = "accept-mode"
_CONFIGURED = "accept-mode-configured"
_STRICTER = (AcceptMode.AUTO, AcceptMode.MANUAL, AcceptMode.OFF)


class AcceptModes:
    """The owner's word on tasks that arrive, as it is kept in the store."""

    def __init__(self, database: Database, roster: Roster) -> None:
        """Decide about the peers in a roster, and whoever else calls."""
        self._database = database
        self._roster = roster

    def general(self, tx: Transaction | None = None) -> AcceptMode:
        """Return what is done with the tasks of all that have no mode of their own."""
        return AcceptMode(settings.get(tx or self._database.read, _MODE) or AcceptMode.AUTO)

    def of(self, peer: str, tx: Transaction | None = None) -> AcceptMode | None:
        """Return what is done with the tasks of one peer; `None`: the same as with all."""
        mode = settings.get(tx or self._database.read, _key(peer))
        return AcceptMode(mode) if mode and PeerId(peer) in self._roster else None

    def for_caller(self, tx: Transaction, caller: Caller, sender: str) -> AcceptMode:
        """Return what is done with a task of a caller.

        A name that is not proven opens nothing: of its mode and the one for all, the stricter counts.
        """
        mode, own = self.general(tx), self.of(sender, tx)
        if own is None:
            return mode
        return own if caller.peer is not None else max(mode, own, key=_STRICTER.index)

    async def decide(self, mode: AcceptMode, peer: str | None = None) -> None:
        """Decide what is done with tasks from now on; holds until the configured mode changes.

        Args:
            mode: What is done.
            peer: With the tasks of this peer; `None`: of all that have no mode of their own.

        Raises:
            PeerNotFound: There is no such peer.
        """
        key = _MODE if peer is None else _key(self._roster.named(peer).id)
        await self._database.write(lambda tx: settings.put(tx, key, mode))

    def forget(self, tx: Transaction, peer: PeerId) -> None:
        """Forget what was decided about a peer's tasks."""
        settings.put(tx, _key(peer), "")

    async def configure(self, mode: AcceptMode) -> None:
        """Take each configured accept mode, if it is another than at the last start."""
        modes = {"": str(mode)}
        modes |= {f":{peer.id}": str(peer.accept_mode or "") for peer in self._roster.values()}

        def change(tx: Transaction) -> None:
            for whose, configured in modes.items():
                if (settings.get(tx, _CONFIGURED + whose) or "") != configured:
                    settings.put(tx, _CONFIGURED + whose, configured)
                    settings.put(tx, _MODE + whose, configured)

        await self._database.write(change)


def _key(peer: str) -> str:
    return f"{_MODE}:{peer}"
