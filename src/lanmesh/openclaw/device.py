"""the identity by which a gateway knows this node: an Ed25519 key kept in the state folder"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from lanmesh.errors import InvalidConfig
from lanmesh.locations import write_private


class Device:
    """A key, and what it signs when the node connects (OpenClaw gateway protocol 3 and 4)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Sign with a key."""
        self._key = key
        self._public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def kept_in(cls, path: Path) -> "Device":
        """Return the device whose key lies in a file; the first time, make the key.

        Raises:
            InvalidConfig: The file holds no Ed25519 key.
        """
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_private(path, pem.decode())
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
            raise InvalidConfig(f"{path} holds no key: delete it, and the next start makes one") from fault
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidConfig(f"{path} holds another kind of key: delete it, and the next start makes one")
        return cls(key)

    def credential(
        self, client: dict[str, str], role: str, scopes: list[str], token: str, challenge: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the `device` part of a `connect` request, as an answer to the gateway's challenge."""
        nonce, signed_at = str(challenge.get("nonce", "")), challenge.get("ts")
        identifier = hashlib.sha256(self._public).hexdigest()
        parts = (
            "v3", identifier, client["id"], client["mode"], role, ",".join(scopes), str(signed_at), token,
            nonce, client["platform"], "",
        )  # fmt: skip
        return {
            "id": identifier,
            "publicKey": _base64url(self._public),
            "signature": _base64url(self._key.sign("|".join(parts).encode())),
            "signedAt": signed_at,
            "nonce": nonce,
        }


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
