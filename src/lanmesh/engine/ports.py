"""what the engine needs of the world: time, chance, executors, links, files, the machine, tokens"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from lanmesh.engine.callers import InboundToken
from lanmesh.model.draft import Mark
from lanmesh.model.envelope import Envelope
from lanmesh.model.file import FileRef
from lanmesh.model.ids import NodeId, Origin, PeerId, WireId
from lanmesh.model.peer import Pairing, Place
from lanmesh.model.profile import Hardware, MachineLoad, Offers
from lanmesh.model.report import TaskReport
from lanmesh.model.task import Outcome, Task


class Clock(Protocol):
    """Time, as the engine and the store know it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch; may jump."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after some seconds of `monotonic`; at once if they are not positive."""


class Random(Protocol):
    """Chance, as the engine knows it. Called from the loop and from the writer's thread."""

    def bytes(self, count: int) -> bytes:
        """Return bytes that nobody can guess."""

    def uniform(self) -> float:
        """Return a number from 0 up to, not including, 1."""


class Interrupted(Exception):
    """A run came to nothing that is known; its argument says why."""


class NotBegun(Interrupted):
    """A run was never begun: it may be begun anew, whatever the task."""


class Progress(Protocol):
    """Takes what a run lets be known while it goes on. Cheap, and never raises."""

    def __call__(self, words: str, /) -> None:
        """Take words about the work: a line or a few."""

    def write(self, text: str, /) -> None:
        """Take what the run writes next, be it in the middle of a line; its lines are such words, too."""


class Executor(Protocol):
    """A way to do a task on this node."""

    @property
    def repeatable(self) -> bool:
        """Whether doing a task again after an interrupted run is harmless."""

    @property
    def outlives(self) -> bool:
        """Whether a run goes on without this node, so that a later boot can go on with it."""

    @property
    def host_boot(self) -> str | None:
        """Return the boot of what runs the work beside this node; `None` if nothing does."""

    async def ready(self) -> None:
        """Return once work can be begun."""

    async def run(self, task: Task, said: Progress) -> Outcome:
        """Do the task and return how it ended; failure is an outcome, not an exception.

        Meanwhile `said` is told what can be seen of it, by and by.

        Cancellation lets go of the work: what does not outlive this node has ended before it is
        passed on.

        Raises:
            Interrupted: It was begun, and how it ended cannot be known.
        """

    async def resume(self, task: Task, said: Progress) -> Outcome:
        """Go on with an attempt that an earlier boot of this node began; like `run` otherwise.

        Raises:
            Interrupted: Nothing of it goes on, whatever was left of it is ended, and how far it
                came cannot be known.
        """

    async def abort(self, task: Task) -> str | None:
        """End for real what may go on of an attempt that was let go of.

        Return `None` once it has surely ended, else why it could not be ended.
        """


class PeerLink(Protocol):
    """The way to peers. Nothing is retried here: the outbox does that."""

    async def send(self, peer: PeerId, envelope: Envelope) -> TaskReport | None:
        """Return once the peer has stored the envelope, with what it reports of a task.

        Raises:
            PeerUnreachable: The peer surely does not have it; it may take it later.
            AnswerLost: The peer may have it or not.
            MeshError: The peer refuses it for good.
        """

    async def report(
        self, peer: PeerId, task: WireId, *, wait_s: float, version: int, draft: Mark | None = None
    ) -> TaskReport:
        """Return what the peer says of a task that it was asked for.

        It holds its answer for up to `wait_s` until the task is final or newer than `version`, or
        its run has written something beyond `draft`; where that is `None`, drafts are of no interest.

        Raises:
            PeerUnreachable: The peer does not answer; so too `AnswerLost`.
            MeshError: The peer refuses to say.
        """

    async def profile(self, peer: PeerId) -> bytes:
        """Return the peer's profile, checked, as it came.

        Raises:
            PeerUnreachable: The peer does not answer; so too `AnswerLost`.
            MeshError: The peer refuses to show it.
        """


class FileLink(Protocol):
    """The way on which the bytes of files go between peers. Nothing is retried here."""

    async def give(self, peer: PeerId, ref: FileRef, offset: int, bytes_from: "BytesFrom") -> None:
        """Return once the peer has all of a file whose name it has in an envelope.

        Args:
            peer: Who is to have it.
            ref: The file.
            offset: Where the peer is thought to stand; it is asked, if that is wrong.
            bytes_from: Yields the bytes from an offset on.

        Raises:
            PeerUnreachable: The peer does not take it now; so too `AnswerLost` and `TooBusy`.
            MeshError: The peer refuses it for good.
        """

    def fetch(
        self, peer: PeerId, ref: FileRef, offset: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes of a file that a peer has offered, from an offset on.

        Raises:
            PeerUnreachable: The peer does not answer; so too `AnswerLost`.
            MeshError: The peer does not offer it.
        """


BytesFrom = Callable[[int], AsyncGenerator[bytes, None]]


class Shelf(Protocol):
    """Where the bytes of files lie on this machine, and where they are laid out to be used."""

    def present(self, origin: Origin, sha256: str) -> int:
        """Return how many bytes have come of a file that is not whole."""

    def has(self, ref: FileRef) -> bool:
        """Return whether all bytes of a file are here."""

    async def take(self, origin: Origin, ref: FileRef, offset: int, chunks: AsyncIterator[bytes]) -> bool:
        """Keep what comes of a file from where it stands; return whether it is whole then.

        Raises:
            FileDiffers: It is longer than announced, or its hash another.
            NoRoom: The disk is full. What has come before is kept.
            Exception: What `chunks` raises, with what came before it kept.
        """

    async def taken(self, origin: Origin, sha256: str) -> None:
        """Remove what a file came in, once it is known to be whole: until then, `present` tells of it."""

    def read(self, sha256: str, begin: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a whole file from one offset up to another."""

    async def keep(self, path: Path, name: str) -> FileRef:
        """Keep a copy of a file of this machine under a name, and return what is to be said of it.

        Raises:
            InvalidRequest: There is no such file, or it cannot be read.
            NoRoom: The disk is full.
        """

    def inside(self, path: str, folder: Path) -> list[tuple[Path, str]]:
        """Return a file of a folder, or all in one below it, each with its name.

        Args:
            path: An absolute one, or one from the folder on.
            folder: What it may not lead out of, by links neither.

        Raises:
            NotAllowed: It leads out of the folder, or to what is hidden there.
            InvalidRequest: There is no such file, or there are too many.
        """

    def below(self, path: Path) -> list[tuple[Path, str]]:
        """Return a file, or all in a folder, each with its name."""

    async def lay_out(self, ref: FileRef, holder: str, kind: str, parts: tuple[str, ...]) -> str:
        """Copy a whole file into the folder of a task, and return its place.

        Raises:
            StorageFailed: The disk does not take it.
        """

    def longest(self, holder: str, kind: str) -> tuple[int, int]:
        """Return how many bytes a part of a name, and all parts together, may have in such a folder.

        Raises:
            StorageFailed: The disk cannot be asked.
        """

    def at(self, place: str) -> Path:
        """Return where something was laid out."""

    def folder(self, holder: str, kind: str) -> Path:
        """Return the folder in which a task's files of a kind lie."""

    async def made(self, holder: str) -> list[tuple[Path, str]]:
        """Return what a task's run has made, each with its name."""

    async def clear(self, holder: str) -> None:
        """Remove what a task's run has made, whole or not.

        Raises:
            StorageFailed: The disk does not let it.
        """

    async def write(self, holder: str, name: str, text: str) -> Path:
        """Write a text into a task's folder, beside what it gets and makes, and return where.

        Raises:
            StorageFailed: The disk does not take it.
        """


class Broom(Protocol):
    """What removes from the shelf, and from where it has laid out."""

    async def drop(self, origin: Origin, sha256: str) -> None:
        """Remove what has come of a file that is not whole.

        Raises:
            StorageFailed: The disk does not let it.
        """

    async def remove(self, places: Sequence[str]) -> None:
        """Remove what was laid out, and the folders that are empty then.

        Raises:
            StorageFailed: The disk does not let it.
        """

    async def gone(self, places: Sequence[str]) -> Sequence[str]:
        """Return the places at which nothing lies any more; none, if the folder of all work is not there."""

    async def sweep(self, known: Callable[[str], bool], needed: Callable[[str], bool]) -> None:
        """Remove the bytes whose hash is not known any more, and the folders of what is not needed."""


class Strangers(Protocol):
    """The way to nodes that are no peers yet: nothing that is secret goes over it."""

    async def meet(self, host: str, port: int) -> bytes:
        """Return the certificate that whoever listens there shows, in DER, its key proven.

        Raises:
            PeerUnreachable: Nobody does, or not by TLS.
        """

    async def find(self, node_id: NodeId, places: Sequence[Place]) -> tuple[Place, bytes]:
        """Return the first of some places where a node proves its key, and its certificate.

        Raises:
            PeerUnreachable: It does so at none of them.
        """

    async def ask(self, host: str, port: int, certificate: bytes, path: str, body: bytes) -> bytes:
        """Post a body to whoever showed a certificate there, and return the answer.

        Raises:
            PeerUnreachable: Somebody else listens there now, or nobody.
            AnswerLost: It may have been taken or not.
            MeshError: What it answers with.
        """

    async def standing(self, pairing: Pairing) -> str:
        """Return what the other side of a pairing says of it: `paired`, `not_paired`, ….

        Raises:
            MeshError: It cannot be asked now.
        """


class Machine(Protocol):
    """The computer that the node runs on."""

    def hardware(self) -> Hardware:
        """Return what the machine knows of itself; found out once."""

    def load(self) -> MachineLoad:
        """Return how busy it has been since the last call."""

    def online(self, hosts: Sequence[str]) -> bool:
        """Return whether a network is up that leads to one of some hosts.

        Where it is not known what leads to them, any counts but the loopback.
        """


class Surroundings(Protocol):
    """What stands beside this node and can be offered to peers: the gateway's agents and their means."""

    def offers(self) -> Offers:
        """Return what is known of it now; nothing, where nothing stands there."""


class Tokens(Protocol):
    """The secrets that open nodes to each other; looked up anew at each call."""

    def inbound(self) -> Sequence[InboundToken]:
        """Return the tokens that callers of this node may present, the shared one first."""

    def outbound(self, peer: PeerId) -> str | None:
        """Return the token that this node presents to a peer; `None` if it has none."""
