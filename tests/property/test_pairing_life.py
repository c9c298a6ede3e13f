"""The life of a pairing window, whatever is said to it in whatever order."""

import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lanmesh.errors import PairingClosed, PairingFailed
from lanmesh.model import ids
from lanmesh.protocol import certificates, codes
from lanmesh.protocol.pairing import (
    PROOF_S,
    TRANSITIONS,
    TRIES,
    TRIES_OF_ONE,
    WINDOW_S,
    Agreement,
    Confirmation,
    Confirmed,
    Dialler,
    Event,
    Stage,
    Window,
)

OWN, GUEST, OTHER, BETWEEN = (
    certificates.make(Ed25519PrivateKey.from_private_bytes(letter * 32))
    for letter in (b"o", b"g", b"x", b"b")
)
Proof = tuple[Dialler, Confirmation]
RIGHT, WRONG = codes.secret_of_code("K7QF-2M9X"), codes.secret_of_code("K7QF-2M9Y")


class LifeOfAWindow(RuleBasedStateMachine):
    """Guests who know the code, guests who guess, and what becomes of one window."""

    proofs = Bundle("proofs")

    @initialize(seed=st.integers(0, 2**32))
    def open(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # a test
        self.now = 0.0
        self.closed = False
        self.started: list[str] = []
        """From where tries have begun."""
        self.last_at: dict[str, float] = {}
        """Until when each ceremony may prove itself."""
        self.agreements: list[Agreement] = []
        self.knowing: set[str] = set()
        """The ceremonies of those who know the code and are who they say they are."""
        self.refused: set[str] = set()
        """The ceremonies in which a wrong proof was given."""
        self.window = Window(
            RIGHT,
            name="own",
            node_id=certificates.read(OWN),
            closes_at=WINDOW_S,
            entropy=self.chance.randbytes,
        )

    @rule(
        target=proofs,
        secret=st.sampled_from([RIGHT, RIGHT, WRONG]),
        mine=st.sampled_from([GUEST, OTHER]),
        theirs=st.sampled_from([OWN, OWN, BETWEEN]),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    )
    def starts(self, secret: bytes, mine: bytes, theirs: bytes, address: str) -> Proof:
        side = Dialler(
            secret,
            name="guest",
            port=18760,
            certificate=mine,
            theirs=theirs,
            session=ids.local_id(self.chance.randbytes(16)),
            entropy=self.chance.randbytes,
        )
        if secret == RIGHT and theirs == OWN:
            self.knowing.add(side.hello.session)
        try:
            welcome = self.window.start(side.hello, self.now, address)
        except PairingClosed:
            used_up = len(self.started) >= TRIES or self.started.count(address) >= TRIES_OF_ONE
            assert self.over or used_up or self.agreements
            return side, Confirmation(session=side.hello.session, tag=bytes(32))
        assert not (self.over or self.agreements)
        self.started.append(address)
        self.last_at[side.hello.session] = self.now + PROOF_S
        return side, side.answer(welcome)

    @rule(said=proofs, forged=st.sampled_from([False, False, False, True]))
    def proves(self, said: Proof, forged: bool) -> None:
        side, proof = said
        if forged:
            proof = Confirmation(session=proof.session, tag=self.chance.randbytes(32))
        try:
            agreement = self.window.prove(proof, self.now)
        except (PairingClosed, PairingFailed):
            if not forged and not self.agreements and not self.over and proof.session in self.knowing:
                assert proof.session in self.refused or self.now >= self.last_at.get(proof.session, 0)
            self.refused.add(proof.session)
            return
        assert not self.over
        assert not forged
        assert self.agreements or self.now < self.last_at[proof.session]
        assert proof.session in self.knowing
        assert side.finish(Confirmed(tag=agreement.tag)).token == agreement.accepted
        self.agreements.append(agreement)

    @precondition(lambda self: self.started)
    @rule(seconds=st.sampled_from([1.0, PROOF_S / 2, WINDOW_S / 3, WINDOW_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.agreements or len(self.started) >= TRIES)
    @rule()
    def is_closed(self) -> None:
        self.window.close()
        self.closed = True

    @property
    def over(self) -> bool:
        return self.closed or self.now >= WINDOW_S

    @invariant()
    def there_are_few_guesses_and_one_guest(self) -> None:
        assert len(self.window.begun) <= TRIES
        assert all(self.window.begun.count(each) <= TRIES_OF_ONE for each in self.window.begun)
        assert len({agreement.session for agreement in self.agreements}) <= 1
        assert (self.window.agreement is not None) == bool(self.agreements)
        if self.agreements:
            assert self.window.stage in {Stage.AGREED, Stage.CLOSED}


def test_in_whatever_order_they_come_a_code_makes_one_peer_at_most_of_one_who_knew_it() -> None:
    run_state_machine_as_test(LifeOfAWindow, settings=settings(max_examples=40, stateful_step_count=20))


def test_what_is_over_stays_over() -> None:
    assert TRANSITIONS[Stage.CLOSED] == {}
    assert Event.START not in TRANSITIONS[Stage.AGREED]
    for moves in TRANSITIONS.values():
        assert Event.CLOSE in moves or not moves
