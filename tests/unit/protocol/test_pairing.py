"""The ceremony without its wire: who ends up with what, and what nobody gets."""

import random

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanmesh.errors import InvalidRequest, PairingClosed, PairingFailed
from lanmesh.model import ids
from lanmesh.protocol import certificates, codes, pairing
from lanmesh.protocol.json import convert
from lanmesh.protocol.pairing import Confirmation, Confirmed, Dialler, Hello, Stage, Welcome, Window

CODE = codes.secret_of_code("K7QF-2M9X")
NOW, LATER = 1000.0, 1120.0


def chance(seed: str) -> codes.Entropy:
    return random.Random(seed).randbytes  # noqa: S311  # a test


def certificate(letter: bytes) -> bytes:
    return certificates.make(Ed25519PrivateKey.from_private_bytes(letter * 32))


A, B, MALLORY = certificate(b"a"), certificate(b"b"), certificate(b"m")


def window(secret: bytes = CODE, certificate: bytes = B) -> Window:
    return Window(
        secret,
        name="b",
        node_id=certificates.read(certificate),
        closes_at=NOW + pairing.WINDOW_S,
        entropy=chance("b"),
    )


def dialler(secret: bytes = CODE, theirs: bytes = B, mine: bytes = A, number: int = 0) -> Dialler:
    return Dialler(
        secret,
        name="a",
        port=18760,
        certificate=mine,
        theirs=theirs,
        session=ids.local_id(bytes([number] * 16)),
        entropy=chance(f"a{number}"),
    )


def proof_of(side: Dialler, of: Window, now: float = NOW, at: str = "10.0.0.1") -> Confirmation:
    return side.answer(of.start(side.hello, now, at))


def guess(of: Window, number: int, at: str) -> None:
    """Try a wrong code."""
    proof = proof_of(dialler(codes.secret_of_code("AAAA-AAAA"), number=number), of, at=at)
    with pytest.raises(PairingFailed):
        of.prove(proof, NOW)


def test_both_sides_agree_on_keys_and_on_a_token_for_each_direction() -> None:
    a, b = dialler(), window()

    at_b = b.prove(proof_of(a, b), NOW)
    at_a = a.finish(Confirmed(tag=at_b.tag))

    assert (at_a.node_id, at_b.node_id) == (certificates.read(B), certificates.read(A))
    assert (at_a.certificate, at_b.certificate) == (B, A)
    assert (at_a.token, at_a.accepted) == (at_b.accepted, at_b.token)
    assert at_a.token != at_b.token
    assert len(at_a.token) == 43
    assert (at_a.name, at_b.name, at_b.port) == ("b", "a", 18760)
    assert b.stage is Stage.AGREED


def test_another_code_proves_nothing_and_three_tries_are_all() -> None:
    b = window()
    for number in range(3):
        guess(b, number, f"10.0.0.{number}")
    with pytest.raises(PairingClosed):
        b.start(dialler(number=3).hello, NOW, "10.0.0.9")
    assert (b.stage, b.vain) == (Stage.CLOSED, ["10.0.0.0", "10.0.0.1", "10.0.0.2"])


def test_a_try_counts_from_its_start() -> None:
    b = window()
    for number in range(3):
        b.start(dialler(number=number).hello, NOW, f"10.0.0.{number}")
    with pytest.raises(PairingClosed):
        b.start(dialler(number=3).hello, NOW, "10.0.0.9")


def test_one_address_does_not_use_up_a_code() -> None:
    b = window()
    guess(b, 0, "10.0.0.66")
    b.start(dialler(number=1).hello, NOW, "10.0.0.66")
    with pytest.raises(PairingClosed, match="two tries came from this address"):
        b.start(dialler(number=2).hello, NOW, "10.0.0.66")
    a = dialler(number=3)

    assert a.finish(Confirmed(tag=b.prove(proof_of(a, b, at="10.0.0.7"), NOW).tag)).name == "b"


def test_a_try_ends_no_other_that_is_under_way() -> None:
    a, b = dialler(), window()
    proof = proof_of(a, b)
    guess(b, 1, "10.0.0.66")
    b.start(dialler(number=2).hello, NOW, "10.0.0.66")

    assert a.finish(Confirmed(tag=b.prove(proof, NOW).tag)).name == "b"


def test_a_try_that_proves_nothing_in_time_has_come_to_nothing() -> None:
    b = window()
    proofs = [proof_of(dialler(number=number), b, at=f"10.0.0.{number}") for number in range(3)]
    assert b.look(NOW) == pairing.PROOF_S

    over = NOW + pairing.PROOF_S
    assert b.look(over - 1) == 1
    b.look(over)

    assert (b.stage, len(b.vain)) == (Stage.CLOSED, 3)
    for proof in proofs:
        with pytest.raises(PairingClosed):
            b.prove(proof, over)


def test_the_last_try_may_still_prove_itself() -> None:
    b = window()
    for number in range(2):
        b.start(dialler(number=number).hello, NOW, "10.0.0.66")
    a = dialler(number=2)

    assert a.finish(Confirmed(tag=b.prove(proof_of(a, b), NOW).tag)).name == "b"


def test_a_code_is_good_for_two_minutes_and_once() -> None:
    a, b = dialler(), window()
    proof = proof_of(a, b)
    with pytest.raises(PairingClosed):
        b.prove(proof, LATER)
    with pytest.raises(PairingClosed):
        window().start(a.hello, LATER, "10.0.0.1")

    a, b = dialler(), window()
    b.prove(proof_of(a, b), NOW)
    with pytest.raises(PairingClosed):
        b.start(dialler(number=1).hello, NOW, "10.0.0.1")


def test_a_lost_last_answer_can_be_asked_again() -> None:
    a, b = dialler(), window()
    proof = proof_of(a, b)

    assert b.prove(proof, NOW) == b.prove(proof, NOW + 60)
    with pytest.raises(PairingFailed):
        b.prove(msgspec.structs.replace(proof, tag=bytes(32)), NOW)


def test_somebody_in_between_who_shows_a_key_of_their_own_is_found_out_by_both() -> None:
    a, b = dialler(theirs=MALLORY), window()
    welcome = b.start(msgspec.structs.replace(a.hello, certificate=MALLORY), NOW, "10.0.0.1")

    with pytest.raises(PairingFailed):
        b.prove(a.answer(welcome), NOW)
    with pytest.raises(PairingFailed):
        a.finish(Confirmed(tag=bytes(32)))


@pytest.mark.parametrize("changed", [{"name": "c"}, {"port": 1}, {"certificate": MALLORY}])
def test_nothing_that_is_said_can_be_changed_on_the_way(changed: dict[str, object]) -> None:
    a, b = dialler(), window()
    welcome = b.start(msgspec.structs.replace(a.hello, **changed), NOW, "10.0.0.1")

    with pytest.raises(PairingFailed):
        b.prove(a.answer(welcome), NOW)


def test_a_proof_of_another_ceremony_or_of_none_counts_nothing() -> None:
    b = window()
    with pytest.raises(PairingClosed):
        b.prove(Confirmation(session="b" * 26, tag=bytes(32)), NOW)
    proof_of(dialler(), b)
    with pytest.raises(PairingClosed):
        b.prove(Confirmation(session="b" * 26, tag=bytes(32)), NOW)


@pytest.mark.parametrize(
    "share",
    [
        b"A" + bytes(32),  # of order 4
        b"A\x01" + bytes(31),  # the identity
        b"A" + (2**255 - 19).to_bytes(32, "little"),  # no canonical number
        b"A" + b"\xff" * 32,
        b"B" + bytes(32),
        b"S" + bytes(32),
        b"\0" * 33,
    ],
)
def test_a_share_that_is_none_is_refused(share: bytes) -> None:
    b = window()
    with pytest.raises(PairingFailed):
        b.start(msgspec.structs.replace(dialler().hello, share=share), NOW, "10.0.0.1")
    assert b.vain == ["10.0.0.1"]


def test_a_share_that_is_sent_back_is_refused() -> None:
    a = dialler()
    with pytest.raises(PairingFailed):
        a.answer(Welcome(name="b", share=a.hello.share))
    with pytest.raises(PairingFailed):
        dialler().answer(Welcome(name="b", share=b"B" + a.hello.share[1:]))


def test_no_node_pairs_with_itself() -> None:
    with pytest.raises(PairingFailed, match="itself"):
        dialler(theirs=A)
    with pytest.raises(PairingFailed, match="itself"):
        window(certificate=A).start(dialler().hello, NOW, "10.0.0.1")


def test_nobody_pairs_with_what_shows_no_certificate_of_a_node() -> None:
    with pytest.raises(PairingFailed):
        dialler(theirs=b"a certificate of some web server")
    with pytest.raises(PairingFailed):
        window().start(msgspec.structs.replace(dialler().hello, certificate=A[:-1] + b"\0"), NOW, "10.0.0.1")


@pytest.mark.parametrize(
    "changed",
    [
        {"share": ""},
        {"share": "QQ=="},
        {"share": "A" * 6000},
        {"session": "../"},
        {"session": "A" * 26},
        {"name": ""},
        {"name": "x" * 10_000},
        {"port": -1},
        {"port": 65536},
        {"certificate": "A" * 2000},
        {"by": "force"},
    ],
)
def test_what_has_not_the_form_of_a_ceremony_is_refused_unread(changed: dict[str, object]) -> None:
    said = msgspec.to_builtins(dialler().hello)
    assert convert(said, Hello) == dialler().hello

    with pytest.raises(InvalidRequest):
        convert({**said, **changed}, Hello)


def test_tokens_that_both_sides_know_pair_them_without_a_code() -> None:
    secret = codes.secret_of_tokens(b"1" * 32, b"2" * 32)
    a, b = dialler(secret), window(secret)
    assert a.finish(Confirmed(tag=b.prove(proof_of(a, b), NOW).tag)).node_id == certificates.read(B)

    a, b = dialler(codes.secret_of_tokens(b"2" * 32, b"1" * 32)), window(secret)
    with pytest.raises(PairingFailed):
        b.prove(proof_of(a, b), NOW)


def test_a_code_is_eight_letters_that_nobody_confuses_however_it_is_typed() -> None:
    shown = {codes.new_code(chance(str(seed))) for seed in range(200)}

    assert len(shown) == 200
    assert not set("".join(shown)) & set("01OIL")
    assert set("".join(shown)) - {"-"} == set(codes.ALPHABET)
    for code in shown:
        assert [len(half) for half in code.split("-")] == [4, 4]
        assert codes.secret_of_code(code) == codes.secret_of_code(f" {code.lower().replace('-', ' ')} ")


@pytest.mark.parametrize(
    "typed", ["", "K7QF", "K7QF-2M9", "K7QF-2M9XX", "K7QF-2M90", "K7QF-2M9é", "OOOO-OOOO"]
)
def test_what_is_no_code_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="a code has 8 characters"):
        codes.secret_of_code(typed)
