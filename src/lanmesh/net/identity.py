"""who this node is on the wire: one Ed25519 key, its certificate, and the TLS that both serve"""

import ssl
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lanmesh.errors import InvalidConfig
from lanmesh.locations import write_private
from lanmesh.model.ids import NodeId
from lanmesh.protocol import certificates

_CERTIFICATE = "CERTIFICATE"


class NodeIdentity:
    """A key that is kept in one file together with its certificate, for the owner's eyes only."""

    def __init__(self, path: Path, certificate: bytes, node_id: NodeId) -> None:
        """Be the node whose key lies in a file; `kept_in` makes sure that it does."""
        self.certificate = certificate
        self.node_id = node_id
        self._path = path

    @classmethod
    def kept_in(cls, path: Path) -> "NodeIdentity":
        """Return the identity that lies in a file; the first time, make the key.

        Raises:
            InvalidConfig: Others may read the file or its folder, or it holds no such key.
        """
        _check_private(path.parent, 0o700)
        if not path.exists():
            # By a process of its own: what makes keys would stay in this one's memory, 11 MB for ever.
            making = [sys.executable, "-I", "-m", "lanmesh.net.identity", str(path)]
            subprocess.run(making, check=True, stdin=subprocess.DEVNULL)  # noqa: S603  # our own interpreter
        _check_private(path, 0o600)
        try:
            # The key comes first in the file: the certificate is all that is read of it here.
            text = path.read_text(encoding="ascii")
            begin = f"-----BEGIN {_CERTIFICATE}-----"
            certificate = ssl.PEM_cert_to_DER_cert(text[text.index(begin) :].strip())
            identity = cls(path, certificate, certificates.node_of(certificate) or NodeId(""))
            identity.serving(())  # fails, where the key is missing or another
            if not identity.node_id:
                raise ValueError("another form of certificate")  # noqa: TRY301  # as what ssl raises
        except (ValueError, ssl.SSLError) as fault:
            raise InvalidConfig(
                f"{path} holds no identity of a node: put back the file that this node had, or delete it; "
                "then the next start makes a new one, and every peer must be paired again"
            ) from fault
        return identity

    def serving(self, trusted: Iterable[bytes]) -> ssl.SSLContext:
        """Return the TLS of a server: 1.3 only; clients may show one of the trusted certificates.

        Whoever shows another, or cannot prove its key, is cut off. More can be trusted later, by
        `load_verify_locations`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # no resumption: who a client is, is looked at on each connection
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(self._path)
        for certificate in trusted:
            context.load_verify_locations(cadata=certificate)
        return context

    def dialling(self, certificate: bytes, *, shown: bool) -> ssl.SSLContext:
        """Return the TLS of a client that trusts one certificate and no other.

        Args:
            certificate: What the server must show, in DER.
            shown: Whether to show this node's own.
        """
        context = _client()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=certificate)
        if shown:
            context.load_cert_chain(self._path)
        return context


def anybody() -> ssl.SSLContext:
    """Return the TLS of a client that takes whatever certificate it is shown, to look at it."""
    context = _client()
    context.verify_mode = ssl.CERT_NONE
    return context


def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a key is what is checked; names and addresses are hints
    return context


def make(path: Path) -> None:
    """Make the key of a new node, and its certificate, in a file."""
    # Imported here: a node that has its key does without the memory of it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    write_private(path, pem + ssl.DER_cert_to_PEM_cert(certificates.make(key)))


def _check_private(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidConfig(
            f"others on this machine may read {path}: run `chmod {mode:o} {path}`, and if they may have "
            "done so, delete the key in it"
        )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
