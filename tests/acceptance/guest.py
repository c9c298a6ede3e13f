"""A key with a program around it, which pairs with a node as another node would, or as none would."""

import os
from pathlib import Path
from typing import Any, TypeVar

from lanmesh.model import ids
from lanmesh.net import identity
from lanmesh.protocol import certificates, codec, codes
from lanmesh.protocol.json import convert, parse
from lanmesh.protocol.pairing import Agreement, Confirmation, Confirmed, Dialler, Hello, Welcome
from tests.acceptance import confidential
from tests.acceptance.node_process import Answer, NodeProcess, http_call, tls_socket

T = TypeVar("T")


WRONG = "AAAA-AAAA"
"""A code that no node shows, but once in 850 thousand million times."""


class Guest:
    """Somebody who knows how nodes pair."""

    def __init__(self, folder: Path, name: str = "guest") -> None:
        """Make a key, and keep it in a folder."""
        self.name = name
        self.file = folder / f"{name}.identity.pem"
        identity.make(self.file)
        self.certificate = identity.NodeIdentity.kept_in(self.file).certificate
        self.node_id = certificates.read(self.certificate)
        self.token = ""
        """What it presents, once it is paired."""
        confidential.hand_out_key(self.file)

    def begin(self, node: NodeProcess, code: str, **more: Any) -> Dialler:
        """Return its side of a ceremony with a node that shows a code."""
        return Dialler(
            codes.secret_of_code(code),
            **{
                "name": self.name,
                "port": 9,
                "certificate": self.certificate,
                "theirs": certificate_of(node),
                "session": ids.local_id(os.urandom(16)),
                "entropy": os.urandom,
                **more,
            },
        )

    def pair(self, node: NodeProcess, code: str) -> Agreement:
        """Go through the whole ceremony, and make the first call."""
        side = self.begin(node, code)
        welcome = said(start(node, side.hello), Welcome)
        confirmed = said(finish(node, side.answer(welcome)), Confirmed)
        agreement = side.finish(confirmed)
        self.token = confidential.hand_out_token(agreement.token)
        confidential.hand_out_token(agreement.accepted)
        assert self.ask(node, "/lan/whoami").json["status"] == "paired"
        return agreement

    def ask(self, node: NodeProcess, path: str, token: str | None = None) -> Answer:
        """Get something of a node, the key proven."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return http_call(node.port, "GET", path, None, headers, shown=self.file)


def certificate_of(node: NodeProcess) -> bytes:
    """Return what a node shows."""
    with tls_socket(node.port) as connection:
        return connection.getpeercert(binary_form=True) or b""


def start(node: NodeProcess, hello: Hello, source: str = "127.0.0.1") -> Answer:
    """Say the first word of a ceremony, from an address of this machine."""
    return _post(node, "/lan/pair/start", hello, source)


def finish(node: NodeProcess, proof: Confirmation) -> Answer:
    """Say the second."""
    return _post(node, "/lan/pair/finish", proof)


def guess(node: NodeProcess, some: Guest, source: str = "127.0.0.1") -> Answer:
    """Try a wrong code; return what is said to its proof."""
    side = some.begin(node, WRONG)
    return finish(node, side.answer(said(start(node, side.hello, source), Welcome)))


def said(answer: Answer, kind: type[T]) -> T:
    """Return an answer as what it must be."""
    assert answer.status == 200, answer.body
    return convert(parse(answer.body), kind)


def _post(node: NodeProcess, path: str, body: Hello | Confirmation, source: str = "127.0.0.1") -> Answer:
    headers = {"Content-Type": "application/json"}
    return http_call(node.port, "POST", path, codec.encode(body), headers, source=source)
