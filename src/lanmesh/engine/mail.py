"""the room of mail: messages to peers and from them, and all that is on its way to peers"""

from collections.abc import Iterable, Sequence

from lanmesh.engine import admission, reports
from lanmesh.engine.allowance import Allowance
from lanmesh.engine.callers import Caller
from lanmesh.engine.envelopes import Envelopes
from lanmesh.engine.events import Events, heard
from lanmesh.engine.peers import Peers
from lanmesh.engine.ports import Clock
from lanmesh.errors import InvalidRequest
from lanmesh.model.delivery import TRANSITIONS, Delivery, DeliveryState
from lanmesh.model.envelope import Envelope, Mail, Message, carried
from lanmesh.model.file import FileRef
from lanmesh.model.ids import SELF, Origin, WireId
from lanmesh.store import files as file_store
from lanmesh.store import inbox, outbox, partings, tasks
from lanmesh.store.database import Change, Database, Topic, Transaction


class Mailroom:
    """Sends messages and keeps those that arrive."""

    def __init__(
        self,
        *,
        database: Database,
        events: Events,
        clock: Clock,
        peers: Peers,
        allowance: Allowance,
        envelopes: Envelopes,
    ) -> None:
        """Open the room."""
        self._database = database
        self._events = events
        self._clock = clock
        self._peers = peers
        self._allowance = allowance
        self._envelopes = envelopes

    async def send(
        self, peer: str, text: str, *, files: Sequence[FileRef] = (), wait_s: float = 0.0
    ) -> Delivery:
        """Say something to a peer; it is stored, and on its way, when this returns.

        Args:
            peer: Its name here.
            text: What to say.
            files: What goes with it; each must be kept here (`Files.keep`).
            wait_s: How long to wait for the peer to have it, or to refuse it.

        Raises:
            PeerNotFound: There is no such peer.
            InvalidRequest: The text is blank or too large.
        """
        target = self._peers.named(peer).id
        if not text.strip():
            raise InvalidRequest("the message is blank")
        delivery = self._envelopes.message(target, text, files)

        def change(tx: Transaction) -> None:
            outbox.queue(tx, delivery)
            file_store.announce(
                tx, files, origin=SELF, peer=target, envelope=delivery.envelope.id, now=delivery.created_at,
                reader=Origin(target),
            )  # fmt: skip

        await self._database.write(change)
        return await self._settled(delivery, wait_s)

    async def receive(self, caller: Caller, envelope: Envelope, digest: bytes) -> WireId:
        """Take a message; it is stored when this returns. A repeat changes nothing.

        Raises:
            NotAllowed: It speaks in another's name.
            IdConflict: Its id was used before for something else.
            TooBusy: It brings too much; see `Allowance.check`.
        """
        self._peers.check_sender(caller, envelope)
        carried(envelope, Message)
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            if admission.already_seen(tx, caller, envelope, digest) is None:
                self._allowance.check(tx, caller, envelope)
                inbox.receive(tx, envelope, origin=caller.origin, digest=digest, now=now)
                file_store.announce(
                    tx, envelope.files, origin=caller.origin, peer=envelope.sender, envelope=envelope.id,
                    now=now,
                )  # fmt: skip
                self._peers.note_contact(tx, envelope.sender)

        await self._database.write(change)
        return envelope.id

    def inbox(self, limit: int, *, unread: bool = False) -> list[Mail]:
        """Return the latest messages, the oldest of them first."""
        return inbox.messages(self._database.read, limit, unread=unread)

    async def mark_read(self, numbers: Iterable[int]) -> None:
        """Note that messages were read; unknown numbers are passed over."""
        chosen = list(numbers)
        await self._database.write(lambda tx: inbox.mark_read(tx, chosen, self._clock.now()))

    def untold(self) -> list[Mail]:
        """Return the messages that were neither read nor pointed out to anyone."""
        return inbox.untold(self._database.read)

    async def mark_told(self, messages: Iterable[Mail]) -> None:
        """Note that messages were pointed out."""
        chosen = list(messages)

        def change(tx: Transaction) -> None:
            for message in chosen:
                inbox.mark_told(tx, message.number, self._clock.now())

        await self._database.write(change)

    def outbox(self, limit: int) -> list[Delivery]:
        """Return what waits for peers and what was given up, the newest first; of any kind."""
        return outbox.undelivered(self._database.read, limit)

    async def resend(self, name: str) -> Delivery:
        """Send something again, under its own id, so that a peer that has it does nothing twice.

        A task whose end was only assumed is open again, as a cancel or an answer of it is again on its way.

        Args:
            name: The id of the envelope or of its task, or the beginning of one.

        Raises:
            DeliveryNotFound: There is none.
            IllegalTransition: It is delivered, withdrawn, under way or too old, its task has ended, or
                the question has another answer.
        """

        def change(tx: Transaction) -> Delivery:
            now = self._clock.now()
            again = outbox.named(tx, name).resent(now)
            partings.offer_again(tx, again.envelope.id, now)
            if again.task is not None:
                tasks.join(tx, again.task)
            if again.task is not None and again.envelope.type in reports.TO_THE_DOER:
                reports.say_again(tx, tasks.get(tx, again.task), again.envelope.payload, now)
            outbox.save(tx, again, now)
            tx.announce(Topic.OUTBOX)
            return again

        return await self._database.write(change)

    def undelivered(self) -> list[Delivery]:
        """Return what was given up and the owner was not told of."""
        return outbox.untold(self._database.read)

    async def mark_undelivered_told(self, deliveries: Iterable[Delivery]) -> None:
        """Note that the owner was told that these were given up."""
        chosen = list(deliveries)

        def change(tx: Transaction) -> None:
            for delivery in chosen:
                outbox.mark_told(tx, delivery, self._clock.now())

        await self._database.write(change)

    async def _settled(self, delivery: Delivery, wait_s: float) -> Delivery:
        deadline = self._clock.monotonic() + wait_s
        over = {state for state, moves in TRANSITIONS.items() if not moves}
        with self._events.watch(Change(Topic.OUTBOX, delivery.peer)) as changed:
            while True:
                changed.clear()
                now = outbox.find(self._database.read, delivery.envelope.id) or delivery
                left_s = deadline - self._clock.monotonic()
                tried = now.attempts > 0 and now.state is not DeliveryState.SENT
                if now.state in over or tried or left_s <= 0:
                    return now
                await heard(self._clock, changed, left_s)
