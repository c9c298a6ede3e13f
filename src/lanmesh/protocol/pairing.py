"""the pairing ceremony, without its wire: the two sides of the PAKE, and what they agree on"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest, PairingClosed, PairingFailed
from lanmesh.model.ids import NodeId
from lanmesh.protocol import certificates
from lanmesh.protocol.codes import Entropy

if TYPE_CHECKING:
    from spake2.spake2 import SPAKE2_A, SPAKE2_B

WINDOW_S = 120.0
"""How long a code can be used."""

TRIES = 3
"""Counted as they begin, so that nobody gets a guess for nothing by hanging up."""

TRIES_OF_ONE = 2
"""From one address: no single machine uses a code up."""

PROOF_S = 30.0
"""How long a try may take to prove itself; then it has come to nothing."""

Share = Annotated[bytes, Meta(min_length=33, max_length=33)]
Tag = Annotated[bytes, Meta(min_length=32, max_length=32)]
Session = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Hello(msgspec.Struct, kw_only=True, rename="camel"):
    """What the side that dials says first. Bytes are base64 in JSON."""

    session: Session
    name: Name
    certificate: Annotated[bytes, Meta(max_length=certificates.MAX_BYTES)]
    port: Annotated[int, Meta(ge=0, le=65535)]
    """On which it can be reached, at the address that it calls from; 0: it only dials."""
    share: Share
    by: Literal["code", "tokens"] = "code"
    """What both sides know: the code, or the tokens that each presents to the other."""


class Welcome(msgspec.Struct, kw_only=True):
    """What the side that was dialled answers."""

    name: Name
    share: Share


class Confirmation(msgspec.Struct, kw_only=True):
    """The proof of the side that dials, that it knew the secret."""

    session: Session
    tag: Tag


class Confirmed(msgspec.Struct, kw_only=True):
    """The proof of the other side; what they agreed on is stored there by then."""

    tag: Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a side holds once the other has proven that it knew the secret."""

    session: str
    name: str
    """As the other names itself."""
    node_id: NodeId
    certificate: bytes
    port: int | None
    """On which the dialling side can be reached; `None` at that side itself."""
    token: str
    """To present to the other."""
    accepted: str
    """Which the other presents."""
    tag: bytes
    """This side's own proof."""
    dialled: bool


class Stage(StrEnum):
    """How far a pairing window has come."""

    OPEN = "open"
    AGREED = "agreed"
    CLOSED = "closed"


class Event(StrEnum):
    """What can happen to a pairing window."""

    START = "start"
    PROOF = "proof"
    VAIN = "wrong proof, or none in 30 seconds"
    LAST_VAIN = "the third of these"
    REPEAT = "same proof again"
    CLOSE = "2 minutes, or closed"


TRANSITIONS: Mapping[Stage, Mapping[Event, Stage]] = {
    Stage.OPEN: {
        Event.START: Stage.OPEN,
        Event.VAIN: Stage.OPEN,
        Event.PROOF: Stage.AGREED,
        Event.LAST_VAIN: Stage.CLOSED,
        Event.CLOSE: Stage.CLOSED,
    },
    Stage.AGREED: {Event.REPEAT: Stage.AGREED, Event.CLOSE: Stage.CLOSED},  # its answer was lost
    Stage.CLOSED: {},
}
"""The life of a pairing window. The figure in PROTOCOL.md is drawn from it."""


@dataclass(frozen=True, slots=True)
class _Try:
    """One that has begun, and has not proven yet that it knows the secret."""

    address: str
    ends_at: float
    expected: bytes
    agreement: Agreement


class Window:
    """The side that showed a code: takes part in a few tries, each by itself, and agrees once."""

    def __init__(
        self, secret: bytes, *, name: str, node_id: NodeId, closes_at: float, entropy: Entropy
    ) -> None:
        """Open it for whoever knows the secret."""
        self.stage = Stage.OPEN
        self.begun: list[str] = []
        """From where each try has begun."""
        self.vain: list[str] = []
        """From where those came that have come to nothing."""
        self.closes_at = closes_at
        self.agreement: Agreement | None = None
        self._secret = secret
        self._name = name
        self._node_id = node_id
        self._entropy = entropy
        self._tries: dict[str, _Try] = {}

    def knows(self, session: str) -> bool:
        """Return whether a ceremony is under way here, or was the one that agreed."""
        return session in self._tries

    def left_s(self, now: float) -> float:
        """Return for how long somebody may still begin a try."""
        self.look(now)
        may_begin = Event.START in TRANSITIONS[self.stage] and len(self.begun) < TRIES
        return max(0.0, self.closes_at - now) if may_begin else 0.0

    def look(self, now: float) -> float:
        """Let what has taken too long come to nothing; return for how long nothing more does so."""
        if self.stage is Stage.OPEN:
            for session, one in list(self._tries.items()):
                if now >= one.ends_at:
                    self._fail(session)
        if now >= self.closes_at:
            self.close()
        ends = [one.ends_at for one in self._tries.values() if self.stage is Stage.OPEN]
        return max(0.0, min([self.closes_at, *ends]) - now)

    def start(self, hello: Hello, now: float, address: str) -> Welcome:
        """Take part in one try, which comes from an address.

        Raises:
            PairingClosed: It is closed, has agreed already, or has seen as many tries as it takes.
            PairingFailed: What came is no part of a ceremony, or came from this node itself.
        """
        self.look(now)
        if Event.START not in TRANSITIONS[self.stage] or len(self.begun) >= TRIES:
            raise PairingClosed
        if self.begun.count(address) >= TRIES_OF_ONE:
            raise PairingClosed(
                "two tries came from this address, and no more are taken from one: wait two minutes, or show "
                "a new code"
            )
        self.begun.append(address)
        self._take(Event.START)
        try:
            welcome, one = self._answered(hello, now, address)
        except PairingFailed:
            self._came_to_nothing(address)
            raise
        if hello.session in self._tries:
            self._fail(hello.session)
        self._tries[hello.session] = one
        return welcome

    def prove(self, said: Confirmation, now: float) -> Agreement:
        """Return what was agreed on, if the other proves that it knows the secret.

        The same proof again gets the same answer, for that may have been lost.

        Raises:
            PairingClosed: It is closed, or knows no such ceremony.
            PairingFailed: The proof is wrong: another secret, or somebody in between.
        """
        self.look(now)
        one = self._tries.get(said.session)
        if one is None or self.stage is Stage.CLOSED:
            raise PairingClosed
        right = hmac.compare_digest(one.expected, said.tag)
        if self.stage is Stage.AGREED:
            if not right:
                raise PairingFailed
            self._take(Event.REPEAT)
            return one.agreement
        if not right:
            self._fail(said.session)
            raise PairingFailed
        self._take(Event.PROOF)
        self._tries = {said.session: one}
        self.agreement = one.agreement
        return one.agreement

    def close(self) -> None:
        """Let nobody use it any more."""
        if self.stage is not Stage.CLOSED:
            self._take(Event.CLOSE)

    def _answered(self, hello: Hello, now: float, address: str) -> tuple[Welcome, _Try]:
        theirs = _node(hello.certificate)
        if theirs == self._node_id:
            raise PairingFailed("that is this node itself")
        pake = _side("B", self._secret, hello.session, (theirs, self._node_id), self._entropy)
        welcome = Welcome(name=self._name, share=pake.start())
        keys = _Keys(_shared(pake, hello.share), hello, welcome, theirs, self._node_id)
        agreement = Agreement(
            session=hello.session, name=hello.name, node_id=theirs, certificate=hello.certificate,
            port=hello.port, token=keys.to_dialler, accepted=keys.to_dialled, tag=keys.dialled_tag,
            dialled=False,
        )  # fmt: skip
        return welcome, _Try(address, now + PROOF_S, keys.dialler_tag, agreement)

    def _fail(self, session: str) -> None:
        self._came_to_nothing(self._tries.pop(session).address)

    def _came_to_nothing(self, address: str) -> None:
        self.vain.append(address)
        self._take(Event.LAST_VAIN if len(self.vain) >= TRIES else Event.VAIN)

    def _take(self, event: Event) -> None:
        self.stage = TRANSITIONS[self.stage][event]


def used_up(vain: Sequence[str]) -> str | None:
    """Return what the owner should know of tries that came to nothing; `None` while one is left."""
    if len(vain) < TRIES:
        return None
    return (
        f"{TRIES} tries have used up the code, and none was right. They came from "
        f"{', '.join(dict.fromkeys(vain))}: if that is not who you pair with, somebody on the network "
        "guesses codes, or keeps others from using them"
    )


class Dialler:
    """The side that was told the code."""

    def __init__(
        self,
        secret: bytes,
        *,
        name: str,
        port: int,
        certificate: bytes,
        theirs: bytes,
        session: str,
        entropy: Entropy,
        by: Literal["code", "tokens"] = "code",
    ) -> None:
        """Begin.

        Args:
            secret: What both sides know.
            name: Of this node.
            port: On which this node can be reached.
            certificate: Of this node.
            theirs: The certificate that the other showed on the connection that this goes over.
            session: A new name for this ceremony.
            entropy: Makes the share.
            by: What kind of secret it is.

        Raises:
            PairingFailed: The other is no node of the mesh, or this node itself.
        """
        self._theirs = theirs
        self._node_id = _node(certificate)
        self._their_id = _node(theirs)
        if self._their_id == self._node_id:
            raise PairingFailed("that is this node itself")
        self._pake = _side("A", secret, session, (self._node_id, self._their_id), entropy)
        self.hello = Hello(
            session=session, name=name, certificate=certificate, port=port, share=self._pake.start(), by=by
        )
        self._welcome: Welcome | None = None
        self._keys: _Keys | None = None

    def answer(self, welcome: Welcome) -> Confirmation:
        """Return the proof that this side knows the secret; it goes first."""
        shared = _shared(self._pake, welcome.share)
        self._welcome = welcome
        self._keys = _Keys(shared, self.hello, welcome, self._node_id, self._their_id)
        return Confirmation(session=self.hello.session, tag=self._keys.dialler_tag)

    def finish(self, confirmed: Confirmed) -> Agreement:
        """Return what was agreed on, if the other proves that it knew the secret.

        Raises:
            PairingFailed: The proof is wrong.
        """
        keys, welcome = self._keys, self._welcome
        if keys is None or welcome is None or not hmac.compare_digest(keys.dialled_tag, confirmed.tag):
            raise PairingFailed
        return Agreement(
            session=self.hello.session, name=welcome.name, node_id=self._their_id, certificate=self._theirs,
            port=None, token=keys.to_dialled, accepted=keys.to_dialler, tag=keys.dialler_tag, dialled=True,
        )  # fmt: skip


class _Keys:
    """What both sides derive from what only they know: a proof and a token for each direction."""

    def __init__(
        self, shared: bytes, hello: Hello, welcome: Welcome, dialler: NodeId, dialled: NodeId
    ) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  # as in _side
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        said = [
            hello.session, dialler, dialled, hello.name, str(hello.port), hello.by, welcome.name,
            hello.share.hex(), welcome.share.hex(),
        ]  # fmt: skip
        transcript = msgspec.json.encode(said)  # unambiguous: lengths and order are part of it
        made = HKDF(SHA256(), 128, salt=b"lanmesh pairing 1", info=transcript).derive(shared)
        self.dialler_tag, self.dialled_tag = made[:32], made[32:64]
        self.to_dialled, self.to_dialler = (
            base64.urlsafe_b64encode(token).decode().rstrip("=") for token in (made[64:96], made[96:])
        )


def _node(certificate: bytes) -> NodeId:
    try:
        return certificates.read(certificate)
    except InvalidRequest as fault:
        raise PairingFailed(fault.detail) from None


def _side(
    side: Literal["A", "B"], secret: bytes, session: str, nodes: tuple[NodeId, NodeId], entropy: Entropy
) -> "SPAKE2_A | SPAKE2_B":
    # Imported here: a node that pairs with nobody does without the memory of it.
    from spake2.spake2 import SPAKE2_A, SPAKE2_B  # noqa: PLC0415

    kind = SPAKE2_A if side == "A" else SPAKE2_B
    names = (f"lanmesh {session} {node}".encode() for node in nodes)
    return kind(secret, *names, entropy_f=entropy)


def _shared(pake: "SPAKE2_A | SPAKE2_B", share: bytes) -> bytes:
    from spake2.spake2 import SPAKEError  # noqa: PLC0415  # as in _side

    try:
        key: bytes = pake.finish(share)
    except (SPAKEError, ValueError, AssertionError) as fault:
        raise PairingFailed("what the other side sent is no part of a pairing") from fault
    return key
