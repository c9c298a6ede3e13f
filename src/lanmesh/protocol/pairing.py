"""the pairing ceremony, without its wire: codes, the two sides of the PAKE, and what they agree on"""

import base64
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from lanmesh.errors import InvalidRequest, PairingClosed, PairingFailed
from lanmesh.model.ids import NodeId
from lanmesh.protocol import certificates

if TYPE_CHECKING:
    from spake2.spake2 import SPAKE2_A, SPAKE2_B

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without 0 and O, 1, I and L, which people confuse."""

CODE_LENGTH = 8
"""Of 31 characters: a guess is right once in 850 thousand million times."""

WINDOW_S = 120.0
"""How long a code can be used."""

TRIES = 3
"""Counted as they begin, so that nobody gets a guess for nothing by hanging up."""

Entropy = Callable[[int], bytes]
"""Returns so many bytes that nobody can guess."""

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
    TRIED = "tried"
    """Somebody has begun, and has not proven yet that it knows the secret."""
    AGREED = "agreed"
    CLOSED = "closed"


class Event(StrEnum):
    """What can happen to a pairing window."""

    START = "start"
    PROOF = "proof"
    WRONG = "wrong proof"
    LAST_WRONG = "third wrong proof"
    REPEAT = "same proof again"
    CLOSE = "2 minutes, or closed"


TRANSITIONS: Mapping[Stage, Mapping[Event, Stage]] = {
    Stage.OPEN: {Event.START: Stage.TRIED, Event.CLOSE: Stage.CLOSED},
    Stage.TRIED: {
        Event.START: Stage.TRIED,  # the earlier one is dropped; its try is spent
        Event.PROOF: Stage.AGREED,
        Event.WRONG: Stage.OPEN,
        Event.LAST_WRONG: Stage.CLOSED,
        Event.CLOSE: Stage.CLOSED,
    },
    Stage.AGREED: {Event.REPEAT: Stage.AGREED, Event.CLOSE: Stage.CLOSED},  # its answer was lost
    Stage.CLOSED: {},
}
"""The life of a pairing window. The figure in PROTOCOL.md is drawn from it."""


class Window:
    """The side that showed a code: takes part in a few tries, and agrees once."""

    def __init__(
        self, secret: bytes, *, name: str, node_id: NodeId, closes_at: float, entropy: Entropy
    ) -> None:
        """Open it for whoever knows the secret."""
        self.stage = Stage.OPEN
        self.tries = 0
        self.closes_at = closes_at
        self.agreement: Agreement | None = None
        self._secret = secret
        self._name = name
        self._node_id = node_id
        self._entropy = entropy
        self._expected: tuple[str, bytes, Agreement] | None = None

    @property
    def session(self) -> str | None:
        """The ceremony that is under way or done."""
        return None if self._expected is None else self._expected[0]

    def left_s(self, now: float) -> float:
        """Return for how long somebody may still begin a try."""
        may_begin = Event.START in TRANSITIONS[self.stage] and self.tries < TRIES
        return max(0.0, self.closes_at - now) if may_begin else 0.0

    def start(self, hello: Hello, now: float) -> Welcome:
        """Take part in one try.

        Raises:
            PairingClosed: It is closed, has agreed already, or has seen as many tries as it takes.
            PairingFailed: What came is no part of a ceremony, or came from this node itself.
        """
        self._close_if_over(now)
        if Event.START not in TRANSITIONS[self.stage] or self.tries >= TRIES:
            raise PairingClosed
        self.tries += 1
        self._take(Event.START)
        self._expected = None
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
        self._expected = hello.session, keys.dialler_tag, agreement
        return welcome

    def prove(self, said: Confirmation, now: float) -> Agreement:
        """Return what was agreed on, if the other proves that it knows the secret.

        The same proof again gets the same answer, for that may have been lost.

        Raises:
            PairingClosed: It is closed, or knows no such ceremony.
            PairingFailed: The proof is wrong: another secret, or somebody in between.
        """
        self._close_if_over(now)
        if self._expected is None or self._expected[0] != said.session or self.stage is Stage.OPEN:
            raise PairingClosed
        _, tag, agreement = self._expected
        right = hmac.compare_digest(tag, said.tag)
        if self.stage is Stage.AGREED:
            if not right:
                raise PairingFailed
            self._take(Event.REPEAT)
            return agreement
        if not right:
            self._expected = None
            self._take(Event.LAST_WRONG if self.tries >= TRIES else Event.WRONG)
            raise PairingFailed
        self._take(Event.PROOF)
        self.agreement = agreement
        return agreement

    def close(self) -> None:
        """Let nobody use it any more."""
        if self.stage is not Stage.CLOSED:
            self._take(Event.CLOSE)

    def _close_if_over(self, now: float) -> None:
        if now >= self.closes_at:
            self.close()
        if self.stage is Stage.CLOSED:
            raise PairingClosed

    def _take(self, event: Event) -> None:
        self.stage = TRANSITIONS[self.stage][event]


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


def new_code(entropy: Entropy) -> str:
    """Return a new code, as it is shown."""
    letters = ""
    while len(letters) < CODE_LENGTH:
        (byte,) = entropy(1)
        if byte < 256 // len(ALPHABET) * len(ALPHABET):  # so that each is as likely
            letters += ALPHABET[byte % len(ALPHABET)]
    return f"{letters[:4]}-{letters[4:]}"


def secret_of_code(typed: str) -> bytes:
    """Return the secret in a code, however it was typed.

    Raises:
        InvalidRequest: It is no code.
    """
    letters = typed.upper().replace("-", "").replace(" ", "")
    if len(letters) != CODE_LENGTH or any(letter not in ALPHABET for letter in letters):
        raise InvalidRequest(
            f"a code has {CODE_LENGTH} characters, letters without I, L, O and digits without 0, 1"
        )
    return b"code " + letters.encode()


def secret_of_tokens(to_dialled: bytes, to_dialler: bytes) -> bytes:
    """Return the secret in two tokens, given by their digests: each side presents one of them."""
    return b"tokens " + to_dialled + to_dialler


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
