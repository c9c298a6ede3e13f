"""The key by which a gateway knows the node: made once, kept to ourselves, named when it is unusable."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lanmesh.errors import InvalidConfig
from lanmesh.openclaw.device import Device

CLIENT = {"id": "gateway-client", "mode": "backend", "platform": "linux"}
CHALLENGE = {"nonce": "n-1", "ts": 5}


def identifier(device: Device) -> str:
    return str(device.credential(CLIENT, "operator", ["operator.read"], "token", CHALLENGE)["id"])


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "device.key"

    first, second = Device.kept_in(path), Device.kept_in(path)

    assert identifier(first) == identifier(second)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_state_folder_has_a_key_of_its_own(tmp_path: Path) -> None:
    assert identifier(Device.kept_in(tmp_path / "a")) != identifier(Device.kept_in(tmp_path / "b"))


def test_what_is_signed_tells_the_challenge_and_never_the_token_or_the_key(tmp_path: Path) -> None:
    device = Device.kept_in(tmp_path / "device.key")

    said = device.credential(CLIENT, "operator", [], "the-token", CHALLENGE)
    other = device.credential(CLIENT, "operator", [], "another-token", CHALLENGE)

    assert (said["nonce"], said["signedAt"]) == ("n-1", 5)
    assert said["signature"] != other["signature"]
    assert "the-token" not in repr(said)
    assert sorted(said) == ["id", "nonce", "publicKey", "signature", "signedAt"]
    assert not any(str(value).endswith("=") for value in said.values())


X25519 = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [b"", b"no key at all", b"\xff\xfe", X25519])
def test_a_file_that_holds_no_such_key_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device.key"
    path.write_bytes(content)

    with pytest.raises(InvalidConfig) as refusal:
        Device.kept_in(path)

    assert str(path) in refusal.value.detail
    assert "delete it" in refusal.value.detail
    assert path.read_bytes() == content
