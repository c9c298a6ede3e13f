"""Whatever comes, each parser returns, or says in our words what is wrong with it; and it ends."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lanmesh.config import combine, read_json
from lanmesh.errors import MeshError
from lanmesh.faces.http import wait_of, whole_number
from lanmesh.model import ids
from lanmesh.net import head
from lanmesh.openclaw import json5_text, settings_file
from lanmesh.protocol import certificates, codec, codes, pairing, problems, profiles, reports, sse
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.quoting import fenced, one_line
from lanmesh.tokens import parse_dotenv
from tests.unit.samples import asking, body, telling

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""How long `scripts/fuzz` looks at each parser."""

NAMES = head.names_of("desk", "planner")
SETTINGS = (
    b'{"acceptMode":"auto","node":{"port":1,"command":["cat"]},"peers":{"a":{"host":"h","may":["task"]}}}'
)
CONFIG = "{/*a*/ plugins: {load: {paths: [\"x\"]}, allow: ['y'], entries: {}}, // b\n agents: {n: +.5e3}}"
PROFILE = (
    b'{"schemaVersion":"1.0","id":"a","load":{"cpuPercent":5.0},"hardware":{"gpus":[]},"acceptMode":"off"}'
)
PROBLEM = b'{"type":"urn:lanmesh:problem:too-busy","status":429,"detail":"x","code":"too-busy"}'
CERTIFICATE = certificates.make(Ed25519PrivateKey.from_private_bytes(bytes(32)))
HELLO = codec.encode(
    pairing.Hello(session="a" * 26, name="a", certificate=CERTIFICATE, port=1, share=b"A" + bytes(32))
)
DOTENV = "A=1\nexport B=\"two\\n\" # c\nLAN_PEER_X_TOKEN='x'\n\n=\n"

FIELDS = [
    "host",
    "origin",
    "authorization",
    "content-length",
    "transfer-encoding",
    "expect",
    "x-forwarded-host",
]


def pieces(text: bytes) -> list[tuple[bytes, bytes]]:
    """Return bytes as headers: the first of each line says which."""
    return [(FIELDS[len(line) % len(FIELDS)].encode(), line) for line in text.split(b"\n")]


BYTES: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "JSON": (parse, body()),
    "an envelope": (codec.decode_envelope, asking(mode="wait", waitMs=5)),
    "a result": (codec.decode_envelope, telling(result="x", error={"code": "c"})),
    "a report": (
        reports.decode,
        json.dumps({"taskId": "t", "state": "completed", "version": 3}).encode(),
    ),
    "a profile": (profiles.check, PROFILE),
    "a problem": (problems.read, PROBLEM),
    "settings": (lambda said: combine([read_json(said, "stdin")], "host"), SETTINGS),
    "a stream of events": (
        lambda said: list(sse.Reader().feed(said)),
        b"id: 5\nevent: end\ndata: {}\n\n: x\n",
    ),
    "the first word of a ceremony": (lambda said: convert(parse(said), pairing.Hello), HELLO),
    "its last word": (lambda said: convert(parse(said), pairing.Confirmation), b'{"session":"","tag":""}'),
    "a certificate": (certificates.read, CERTIFICATE),
    "headers": (lambda said: head.check(pieces(said), NAMES), b"desk:1\nhttp://desk\nchunked\n100-continue"),
}
TEXTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "a code": (codes.secret_of_code, "K7QF-2M9X"),
    "a host": (lambda said: head.is_own(said, NAMES), "[fe80::1%eth0]:80"),
    "JSON5": (json5_text.read, CONFIG),
    "an OpenClaw config": (lambda said: settings_file.registered(said, "/x"), CONFIG),
    "an OpenClaw config to leave": (lambda said: settings_file.unregistered(said, "x"), CONFIG),
    "a .env file": (parse_dotenv, DOTENV),
    "a wire id": (ids.wire_id, "task-1"),
    "a node's name": (ids.peer_id, "desk"),
    "a wait": (lambda said: wait_of({"wait": said}), "1e3"),
    "a version or Last-Event-ID": (lambda said: whole_number({"version": said}, "version"), "12"),
    "a quoted text": (
        lambda said: (fenced(said, peer=said, proven=False, what="task"), one_line(said)),
        "a\nb",
    ),
}


@st.composite
def mangled(draw: st.DrawFn, sample: bytes) -> bytes:
    """A good sample with a few pieces taken out, doubled, or put in from somewhere else."""
    said = sample
    for _ in range(draw(st.integers(0, 5))):
        at, to = sorted(draw(st.tuples(st.integers(0, len(said)), st.integers(0, len(said)))))
        put = draw(
            st.sampled_from(
                [
                    b"",
                    said[at:to] * 2,
                    b"[" * 40,
                    b'"',
                    b"\\",
                    b"\0",
                    b"\xff",
                    b"9" * 400,
                    b"\\ud800",
                    b"e999",
                    b"\n",
                    b"{}",
                ]
            )
            | st.binary(max_size=8)
        )
        said = said[:at] + put + said[to:]
    return said


def survives(parser: Callable[[Any], Any], said: bytes | str) -> None:
    try:
        parser(said)
    except MeshError as refusal:
        assert refusal.detail
        assert len(refusal.detail) < 5000
        assert problems.encode(refusal)


def look(parser: Callable[[Any], Any], inputs: st.SearchStrategy[Any]) -> None:
    begun = time.monotonic()

    while True:

        @given(inputs)
        def some(said: Any) -> None:
            survives(parser, said)

        some()
        if time.monotonic() - begun >= SECONDS:
            return


@pytest.mark.timeout(60 + 2 * SECONDS)
@pytest.mark.parametrize("name", BYTES)
def test_no_bytes_break_a_parser(name: str) -> None:
    parser, sample = BYTES[name]
    look(parser, st.binary(max_size=200) | mangled(sample))


@pytest.mark.timeout(60 + 2 * SECONDS)
@pytest.mark.parametrize("name", TEXTS)
def test_no_text_breaks_a_parser(name: str) -> None:
    parser, sample = TEXTS[name]
    some = mangled(sample.encode()).map(lambda said: said.decode("utf-8", "replace"))
    look(parser, st.text(max_size=200) | some)
