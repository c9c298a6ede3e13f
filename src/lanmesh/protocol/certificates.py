"""a node's certificate: a pure function of its key, of one form alone"""

from typing import TYPE_CHECKING

from lanmesh.errors import InvalidRequest
from lanmesh.model import ids
from lanmesh.model.ids import NodeId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# DER (X.690), built by hand: the library that can build any certificate takes 11 MB of an idle node.
_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _UTF8, _OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x0C, 0x06
_BOOLEAN, _UTC_TIME, _TIME, _VERSION, _EXTENSIONS = 0x01, 0x17, 0x18, 0xA0, 0xA3

_ED25519 = bytes.fromhex("2b6570")
"""1.3.101.112 (RFC 8410 section 3)."""
_COMMON_NAME = bytes.fromhex("550403")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
MAX_BYTES = 512
"""All of them have the same length, which is less."""


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    # X.690 section 8.1.3: the length itself up to 127, else in as many octets as the first one says.
    length = octets.rjust(1, b"\0") if size < 0x80 else bytes([0x80 | len(octets)]) + octets  # noqa: PLR2004
    return bytes([tag]) + length + content


_ALGORITHM = _der(_SEQUENCE, _der(_OID, _ED25519))


def _unsigned(public_key: bytes) -> bytes:
    """Return the part of the certificate that its signature covers (RFC 5280 section 4.1)."""
    # A name for each key: OpenSSL looks for issuers by name.
    name = _der(_OID, _COMMON_NAME) + _der(_UTF8, ids.node_id(public_key).encode())
    subject = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, name)))
    # A clock that is wrong by years must not part two nodes; the end is RFC 5280's "no end" (4.1.2.5).
    validity = _der(_SEQUENCE, _der(_UTC_TIME, b"000101000000Z"), _der(_TIME, b"99991231235959Z"))
    key = _der(_SEQUENCE, _ALGORITHM, _der(_BITS, b"\0", public_key))
    # CA:FALSE, which is what an empty sequence says: else a peer could issue certificates to others.
    limits = _der(_OID, _BASIC_CONSTRAINTS) + _der(_BOOLEAN, b"\xff") + _der(_OCTETS, _der(_SEQUENCE))
    extensions = _der(_EXTENSIONS, _der(_SEQUENCE, _der(_SEQUENCE, limits)))
    version, serial = _der(_VERSION, _der(_INTEGER, b"\2")), _der(_INTEGER, b"\1")
    return _der(_SEQUENCE, version, serial, _ALGORITHM, subject, validity, subject, key, extensions)


def _signed(unsigned: bytes, signature: bytes) -> bytes:
    return _der(_SEQUENCE, unsigned, _ALGORITHM, _der(_BITS, b"\0", signature))


_BLANK = _signed(_unsigned(bytes(_KEY_BYTES)), bytes(_SIGNATURE_BYTES))
_KEY_AT = _BLANK.index(_der(_BITS, b"\0", bytes(_KEY_BYTES))) + 3


def make(key: "Ed25519PrivateKey") -> bytes:
    """Return the certificate of a key, in DER; always the same one."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    unsigned = _unsigned(public_key)
    return _signed(unsigned, key.sign(unsigned))


def node_of(certificate: bytes) -> NodeId | None:
    """Return the node whose certificate this is; `None` if no node has such a one.

    Its signature is not looked at: whoever shows it in a handshake has proven its key by that.
    """
    public_key = certificate[_KEY_AT : _KEY_AT + _KEY_BYTES]
    unsigned, signature = _unsigned(public_key), certificate[-_SIGNATURE_BYTES:]
    return ids.node_id(public_key) if certificate == _signed(unsigned, signature) else None


def read(certificate: bytes) -> NodeId:
    """Return the node whose certificate this is, its signature checked.

    Raises:
        InvalidRequest: It is of another form, or not signed by its own key.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # memory that only pairing needs
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    node = node_of(certificate)
    public_key = certificate[_KEY_AT : _KEY_AT + _KEY_BYTES]
    try:
        if node is not None:
            key = Ed25519PublicKey.from_public_bytes(public_key)
            key.verify(certificate[-_SIGNATURE_BYTES:], _unsigned(public_key))
            return node
    except (InvalidSignature, ValueError):
        pass
    raise InvalidRequest("the certificate is none of a node of the mesh")
