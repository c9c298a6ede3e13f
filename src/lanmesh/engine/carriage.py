"""carry the bytes of files to peers that have their names, and fetch those that are not brought"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

from lanmesh.engine.each_peer import for_each_peer
from lanmesh.engine.events import Events, Stopped, heard, unless
from lanmesh.engine.files import Files
from lanmesh.engine.ports import Clock, FileLink, Random, Shelf
from lanmesh.engine.retry import LONGEST_S, pause
from lanmesh.errors import (
    AnswerLost,
    FileDiffers,
    FileNotFound,
    MeshError,
    OffsetDiffers,
    PeerUnreachable,
    StorageFailed,
    TooBusy,
)
from lanmesh.model.ids import PeerId
from lanmesh.store import files
from lanmesh.store.database import Change, Database, Topic
from lanmesh.store.files import Named

log = logging.getLogger(__name__)

_FIRST_LOOK_S = 10.0
"""How long whoever has named a file has time to begin to bring it, before it is fetched; of those who
have brought nothing lately, it is fetched at once."""

_MOST_TRIES = 3
"""Of one file whose bytes the peer says are others: each time it is sent from its beginning."""

_SMALL_BYTES = 1024 * 1024
"""What has no more is carried beside what has: in moments, also while hours of bytes are under way."""

Step = Callable[[PeerId, bool, int], Awaitable[bool]]

_NOT_NOW = (PeerUnreachable, AnswerLost, TooBusy, StorageFailed, OffsetDiffers)
"""What passes by itself; a file stands elsewhere while an older try of it still comes to its end."""


class Carriage:
    """One small file and one large one at a time with each peer and each way, the smallest first."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        chance: Random,
        link: FileLink,
        shelf: Shelf,
        room: Files,
        peers: Container[PeerId],
        dialled: bool = True,
    ) -> None:
        """Carry to and from those who are peers, over a link.

        If this node cannot be dialled, all that comes has to be fetched.
        """
        self._database = database
        self._events = events
        self._clock = clock
        self._chance = chance
        self._link = link
        self._shelf = shelf
        self._room = room
        self._peers = peers
        self._dialled = dialled
        self._bringing: dict[PeerId, bool] = {}
        """Whether the latest file of each peer was brought by it."""
        self._faults: dict[tuple[PeerId, str], int] = {}

    async def run(self) -> None:
        """Open a lane for every peer with which files are under way, until cancelled."""
        await for_each_peer(
            self._events,
            Topic.FILES,
            lambda: files.peers(self._database.read),
            lambda peer: self._lane(peer, self._send, small=True),
            lambda peer: self._lane(peer, self._send, small=False),
            lambda peer: self._lane(peer, self._fetch, small=True),
            lambda peer: self._lane(peer, self._fetch, small=False),
        )

    async def _lane(self, peer: PeerId, step: Step, *, small: bool) -> None:
        failures, said = 0, ""
        news = Change(Topic.FILES), Change(Topic.OUTBOX, peer), Change(Topic.PAIRING)
        with (
            self._events.watch(*news) as changed,
            self._events.watch(Change(Topic.CONTACT, peer)) as contact,
        ):
            while True:
                changed.clear()
                contact.clear()
                try:
                    if peer in self._peers and await step(peer, small, failures):
                        failures, said = 0, ""
                    else:
                        await changed.wait()
                    continue
                except _NOT_NOW as fault:
                    why, detail, retry_after_s = fault.code, fault.detail, fault.retry_after_s or 0.0
                except Exception as fault:  # a bug of ours must not hold up what else waits
                    log.exception("carriage broke", extra={"peer": peer})
                    why, detail, retry_after_s = type(fault).__name__, "a bug", 0.0
                failures += 1
                if why != said:  # tried again and again, told once
                    log.info("file put off", extra={"peer": peer, "why": detail})
                said = why
                # Not at once, whoever is heard: the way that failed may be the one that is needed.
                await self._clock.sleep(pause(1, self._chance.uniform()) + retry_after_s)
                await heard(self._clock, contact, pause(failures, self._chance.uniform(), LONGEST_S))

    async def _send(self, peer: PeerId, small: bool, failures: int) -> bool:
        """Bring a file to a peer, after failures another one; return whether there was one."""
        waiting = _in_lane(files.to_send(self._database.read, peer), small)
        if not waiting:
            return False
        named = waiting[failures % len(waiting)]
        key, error = (peer, named.ref.sha256), None
        if not self._shelf.has(named.ref):
            error = "its bytes are not on this machine any more"
        else:
            try:
                offset = self._room.sent.get(key, 0)
                giving = self._link.give(peer, named.ref, offset, lambda begin: self._counted(named, begin))
                await unless(giving, self._unwanted(named))
            except Stopped:
                return True
            except _NOT_NOW:
                raise
            except MeshError as fault:
                faults = self._faults[key] = self._faults.get(key, 0) + 1
                if isinstance(fault, FileDiffers) and faults < _MOST_TRIES:
                    self._room.sent[key] = 0
                    raise AnswerLost(f"{peer} says that {fault.detail}") from fault
                error = f"{peer} does not take it ({fault.detail}); it may still fetch it"
        await self._settle(named, error)
        self._room.sent.pop(key, None)
        self._faults.pop(key, None)
        return True

    async def _counted(self, named: Named, begin: int) -> AsyncGenerator[bytes, None]:
        key = named.peer, named.ref.sha256
        self._room.sent[key] = begin
        async with aclosing(self._shelf.read(named.ref.sha256, begin, named.ref.size)) as pieces:
            async for piece in pieces:
                yield piece
                self._room.sent[key] += len(piece)

    async def _fetch(self, peer: PeerId, small: bool, failures: int) -> bool:
        """Fetch a file that a peer has named and does not bring; return whether there was one."""
        waiting = _in_lane(files.to_fetch(self._database.read, peer), small)
        if not waiting:
            return False
        named = waiting[failures % len(waiting)]
        present = self._shelf.present(named.origin, named.ref.sha256)
        if self._room.comes(named) or self._bringing.get(peer, self._dialled):
            await self._clock.sleep(_FIRST_LOOK_S)
        if self._room.comes(named) or present != self._shelf.present(named.origin, named.ref.sha256):
            self._bringing[peer] = True
            return True
        if named.number not in {other.number for other in files.to_fetch(self._database.read, peer)}:
            return True
        try:
            await unless(self._fetched(named, present), self._unwanted(named))
        except Stopped:
            return True
        except _NOT_NOW:
            raise
        except (FileDiffers, FileNotFound) as fault:  # it may be brought later, and is given up in time
            raise AnswerLost(f"{peer}: {fault.detail}") from fault
        except MeshError as fault:
            await self._settle(named, f"{peer} does not give it: {fault.detail}")
        return True

    async def _fetched(self, named: Named, present: int) -> None:
        async with self._rest(named, present) as chunks:
            self._bringing[named.peer] = False
            await self._room.receive(named, chunks)

    def _rest(self, named: Named, present: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give what is missing of a file: of one that stands complete, as after a crash, nothing is."""
        if present == named.ref.size:
            return nullcontext(_nothing())
        return self._link.fetch(named.peer, named.ref, present)

    async def _unwanted(self, named: Named) -> None:
        """Return once nobody waits for a file any more, as when its task was canceled."""
        changes = Change(Topic.FILES), Change(Topic.TASK, named.task or "")
        with self._events.watch(*changes) as changed:
            while files.wanted(self._database.read, named.number):
                changed.clear()
                await changed.wait()

    async def _settle(self, named: Named, error: str | None) -> None:
        now = self._clock.now()
        await self._database.insist(
            lambda tx: files.settle(tx, named.number, now, error=error), self._clock.sleep
        )
        about = {"peer": named.peer, "sha256": named.ref.sha256[:12], "bytes": named.ref.size}
        if error is None:
            log.info("file delivered", extra=about)
        else:
            log.warning("file given up", extra={**about, "why": error})


def _in_lane(waiting: list[Named], small: bool) -> list[Named]:
    return [named for named in waiting if (named.ref.size <= _SMALL_BYTES) is small]


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for piece in none:
        yield piece
