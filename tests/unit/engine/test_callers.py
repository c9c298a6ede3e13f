"""Callers: a token proves who calls, and nothing else does."""

import pytest

from lanmesh.engine.callers import Caller, InboundToken, digest_of, identify
from lanmesh.errors import CertMismatch, ClientCertRequired, NotAuthenticated
from lanmesh.model import ids
from tests.unit.samples import LAPTOP, PI

KNOWN = [
    InboundToken(digest=digest_of("everyone's"), peer=None),
    InboundToken(digest=digest_of("the laptop's"), peer=LAPTOP),
    InboundToken(digest=digest_of("the pi's"), peer=PI),
]


def test_the_shared_token_proves_a_holder_only() -> None:
    caller = identify("everyone's", None, KNOWN).caller

    assert caller == Caller(peer=None)
    assert caller.origin == "shared"


def test_a_token_of_one_s_own_proves_the_peer() -> None:
    caller = identify("the pi's", None, KNOWN).caller

    assert caller == Caller(peer=PI)
    assert caller.origin == "pi"


def test_a_token_that_is_the_shared_one_too_proves_a_holder_only() -> None:
    twice = [*KNOWN, InboundToken(digest=digest_of("everyone's"), peer=LAPTOP)]

    assert identify("everyone's", None, twice).caller == Caller(peer=None)


@pytest.mark.parametrize("token", [None, ""])
def test_who_brings_no_token_is_told_how_to(token: str | None) -> None:
    with pytest.raises(NotAuthenticated, match="Authorization: Bearer"):
        identify(token, None, [*KNOWN, InboundToken(digest=digest_of(""), peer=LAPTOP)])


@pytest.mark.parametrize("token", ["x", "everyone's ", "Everyone's", "the laptop", "\udcff", "\x00", "天"])
def test_a_token_that_nobody_has_opens_nothing(token: str) -> None:
    with pytest.raises(NotAuthenticated) as refusal:
        identify(token, None, KNOWN)
    assert refusal.value.detail == "the token opens nothing on this node; ask its owner for the right one"


def test_without_any_token_configured_nobody_gets_in() -> None:
    with pytest.raises(NotAuthenticated):
        identify("x", None, [])


def test_a_token_is_kept_as_its_sha_256_only() -> None:
    assert digest_of("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


MINE, OTHER = ids.node_id(b"k" * 32), ids.node_id(b"o" * 32)
PAIRED = InboundToken(digest=digest_of("of a pair"), peer=PI, node_id=MINE)


def test_a_paired_peer_s_token_opens_nothing_without_its_certificate() -> None:
    with pytest.raises(ClientCertRequired):
        identify("of a pair", None, [*KNOWN, PAIRED])
    with pytest.raises(CertMismatch):
        identify("of a pair", OTHER, [*KNOWN, PAIRED])

    assert identify("of a pair", MINE, [*KNOWN, PAIRED]).caller == Caller(peer=PI)


def test_a_certificate_without_the_token_opens_nothing() -> None:
    for token in (None, "guessed"):
        with pytest.raises(NotAuthenticated):
            identify(token, MINE, [*KNOWN, PAIRED])
    assert identify("everyone's", MINE, [*KNOWN, PAIRED]).caller == Caller(peer=None)
