"""Those of the 82 bad inputs that are about TLS and pairing; importing this notes them."""

import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from lanmesh.model import ids
from lanmesh.protocol.pairing import Confirmation, Welcome
from tests.acceptance import guest
from tests.acceptance.guest import WRONG, Guest, finish, guess, said, start
from tests.acceptance.hostile import PATIENCE_S, Target, bad, head, refused
from tests.acceptance.node_process import Answer, anybody, http_call

_P = 2**255 - 19
# macOS has one address of itself, and an address has two of the three tries.
SOURCES = ["127.0.0.1", "127.0.0.1", "127.0.0.2"][: 3 if sys.platform == "linux" else 2]

SHARES = {
    "empty": b"",
    "short": b"A",
    "nothing but zeros": bytes(33),
    "of order 4": b"A" + bytes(32),
    "the identity": b"A\x01" + bytes(31),
    "of order 2": b"A" + (_P - 1).to_bytes(32, "little"),
    "of order 8": b"A" + bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "p": b"A" + _P.to_bytes(32, "little"),
    "of the wrong side": b"B" + b"\x09" + bytes(31),
    "of 5 kB": b"A" * 5000,
}


# --- TLS -----------------------------------------------------------------------------------------


@bad(4, "no ClientHello, from a hundred at once")
def _(target: Target) -> None:
    with contextlib.ExitStack() as held:
        silent = [
            held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S))
            for _ in range(100)
        ]
        assert target.ask("GET", "/lan/health").status == 200
        assert [heard_to_the_end(each) for each in silent] == [b""] * 100


@bad(5, "plain HTTP on the TLS port")
def _(target: Target) -> None:
    with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as plain:
        plain.sendall(head("GET", "/lan/health"))
        assert b"HTTP" not in heard_to_the_end(plain)


@bad(6, "TLS 1.2")
def _(target: Target) -> None:
    old = anybody()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as plain,
        contextlib.suppress(ssl.SSLError, ConnectionError),
    ):
        old.wrap_socket(plain)
        raise AssertionError("the node speaks TLS 1.2")


@bad(36, "a token that was taken back, on an open link")
def _(target: Target) -> None:
    with guests(target, "linked") as (linked,):
        linked.pair(target.node, code_of(target))
        with (
            socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as plain,
            anybody(linked.file).wrap_socket(plain) as link,
        ):
            link.sendall(
                head(
                    "GET", "/lan/link", f"Authorization: Bearer {linked.token}", "Connection: Upgrade",
                    "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                )
            )  # fmt: skip
            assert link.recv(4096).startswith(b"HTTP/1.1 101 ")
            target.node.op("POST", "/op/peers/linked/unpair")

            heard_to_the_end(link)
        assert linked.ask(target.node, "/lan/whoami").json == {"status": "not_paired"}


@bad(38, "a token with another peer's certificate")
def _(target: Target) -> None:
    with guests(target, "one", "two") as (one, two):
        for each in (one, two):
            each.pair(target.node, code_of(target))

        assert two.ask(target.node, "/lan/whoami", one.token).json == {"status": "cert_mismatch"}
        assert refused(two.ask(target.node, "/lan/profile", one.token), 401)["code"] == "cert-mismatch"
        bare = target.node.lan("GET", "/lan/profile", token=one.token)
        assert refused(bare, 401)["code"] == "client-cert-required"


@bad(39, "a certificate that a paired peer has issued")
def _(target: Target) -> None:
    with guests(target, "issuer") as (issuer,):
        issuer.pair(target.node, code_of(target))
        issued = issued_by(issuer)

        with contextlib.suppress(ssl.SSLError, ConnectionError):  # cut off, or known to nobody
            headers = {"Authorization": f"Bearer {issuer.token}"}
            answer = http_call(target.port, "GET", "/lan/profile", None, headers, shown=issued)
            refused(answer, 401)


# --- pairing -------------------------------------------------------------------------------------


@bad(45, "a ceremony where no code is shown")
def _(target: Target) -> None:
    with guests(target, "early") as (early,):
        shut(target)
        assert closed(start(target.node, early.begin(target.node, WRONG).hello))


@bad(47, "a code that was used")
def _(target: Target) -> None:
    with guests(target, "first", "second") as (first, second):
        code = code_of(target)
        first.pair(target.node, code)
        assert closed(start(target.node, second.begin(target.node, code).hello))


@bad(48, "a fourth try")
def _(target: Target) -> None:
    with guests(target, "guesser") as (guesser,):
        code = code_of(target)
        for source in SOURCES:
            assert fails(guess(target.node, guesser, source))
        assert closed(start(target.node, guesser.begin(target.node, code).hello))
        assert paired_with(target, guesser) == []


@bad(49, "a hundred tries at once")
def _(target: Target) -> None:
    with guests(target, "crowd") as (crowd,):
        code = code_of(target)
        sides = [crowd.begin(target.node, WRONG) for _ in range(100)]
        with ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(lambda side: start(target.node, side.hello), sides))

        taken = [side for side, answer in zip(sides, answers, strict=True) if answer.status == 200]
        assert len(taken) <= 3
        assert all(closed(answer) for answer in answers if answer.status != 200)
        assert closed(start(target.node, crowd.begin(target.node, code).hello))


@bad(50, "shares that are none")
def _(target: Target) -> None:
    with guests(target, "share") as (some,):
        for name, share in SHARES.items():
            side = some.begin(target.node, code_of(target))
            answer = start(target.node, msgspec.structs.replace(side.hello, share=share))
            assert refused(answer, 400, 403)["code"] in {"invalid-request", "pairing-failed"}, name


@bad(51, "the node's own share sent back to it")
def _(target: Target) -> None:
    with guests(target, "mirror") as (mirror,):
        for as_theirs in (b"", b"A"):
            code = code_of(target)
            welcome = said(start(target.node, mirror.begin(target.node, code).hello), Welcome)
            share = as_theirs + welcome.share[len(as_theirs) :]
            side = mirror.begin(target.node, code)
            answer = start(target.node, msgspec.structs.replace(side.hello, share=share))
            if answer.status == 200:
                answer = finish(target.node, side.answer(said(answer, Welcome)))
            assert refused(answer, 403)["code"] == "pairing-failed"


@bad(52, "a proof without a beginning")
def _(target: Target) -> None:
    code_of(target)
    assert closed(finish(target.node, Confirmation(session="b" * 26, tag=bytes(32))))


@bad(53, "a proof of another ceremony")
def _(target: Target) -> None:
    with guests(target, "honest-guest") as (some,):
        side = some.begin(target.node, code_of(target))
        proof = side.answer(said(start(target.node, side.hello), Welcome))
        other = msgspec.structs.replace(proof, session=ids.local_id(os.urandom(16)))

        assert closed(finish(target.node, other))
        assert finish(target.node, proof).status == 200  # the one that it is about goes on


@bad(54, "another key between the two words")
def _(target: Target) -> None:
    with guests(target, "before", "after") as (before, after):
        code = code_of(target)
        side = before.begin(target.node, code)
        session = side.hello.session
        proof = side.answer(said(start(target.node, side.hello), Welcome))
        later = after.begin(target.node, code, session=session).hello
        said(start(target.node, later), Welcome)

        assert refused(finish(target.node, proof), 403)["code"] == "pairing-failed"
        assert paired_with(target, before, after) == []


@bad(56, "the name of a peer, with another key")
def _(target: Target) -> None:
    with guests(target, "twin") as (first,), guests(target, "twin-2") as (second,):
        first.pair(target.node, code_of(target))
        second.name = first.name
        second.pair(target.node, code_of(target))

        assert paired_with(target, first, second) == ["twin", f"twin-{second.node_id[:8]}"]
        assert first.ask(target.node, "/lan/whoami").json["origin"] == "twin"


@bad(57, "pairing with oneself")
def _(target: Target) -> None:
    node = target.node
    own = node.lanmesh("pair", code_of(target), "--at", f"127.0.0.1:{target.port}")
    assert (own.status, "itself" in own.err) == (5, True)
    with guests(target, "double") as (some,):
        hello = some.begin(node, code_of(target)).hello
        mirrored = msgspec.structs.replace(hello, certificate=guest.certificate_of(node))
        assert refused(start(node, mirrored), 403)["code"] == "pairing-failed"


# ---------------------------------------------------------------------------------------------


def heard_to_the_end(connection: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(4096):
            heard += piece
    return heard


def code_of(target: Target) -> str:
    """Let the node show a new code."""
    return str(target.node.op("POST", "/op/pairing").json["code"])


def shut(target: Target) -> None:
    """Let no code be open."""
    if target.node.op("GET", "/op/pairing").status == 200:
        with guests(target, "shutter") as (shutter,):
            shutter.pair(target.node, code_of(target))


def fails(answer: Answer) -> bool:
    return bool(refused(answer, 403)["code"] == "pairing-failed")


def closed(answer: Answer) -> bool:
    return bool(refused(answer, 403)["code"] == "pairing-closed")


def paired_with(target: Target, *some: Guest) -> list[str]:
    """Return the names under which the node has paired with some."""
    keys = {each.node_id for each in some}
    return sorted(peer["id"] for peer in target.node.op("GET", "/op/peers").json if peer["nodeId"] in keys)


@contextlib.contextmanager
def guests(target: Target, *names: str) -> Iterator[list[Guest]]:
    """Give somebody for each name; none of them is a peer in the end."""
    folder = target.node.home / "guests"
    folder.mkdir(mode=0o700, exist_ok=True)
    some = [Guest(folder, name) for name in names]
    yield some
    for peer in paired_with(target, *some):
        target.node.op("POST", f"/op/peers/{peer}/unpair")


def issued_by(issuer: Guest) -> Path:
    """Return a file with a key and a certificate for it that a guest has signed."""
    key = Ed25519PrivateKey.generate()
    own = x509.load_der_x509_certificate(issuer.certificate)
    signer = load_pem_private_key(issuer.file.read_bytes(), None)
    assert isinstance(signer, Ed25519PrivateKey)
    issued = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eve")]))
        .issuer_name(own.subject)
        .public_key(key.public_key())
        .serial_number(2)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .sign(signer, None)
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = issuer.file.with_name("issued.pem")
    chain = issued.public_bytes(Encoding.PEM) + own.public_bytes(Encoding.PEM)
    file.write_bytes(pem + chain)
    return file
