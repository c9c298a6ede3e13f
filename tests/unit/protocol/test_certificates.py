"""Certificates: one form, a pure function of the key, and what the official library makes of it."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lanmesh.errors import InvalidRequest
from lanmesh.model import ids
from lanmesh.protocol import certificates

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
DER = certificates.make(KEY)


def test_the_same_key_has_the_same_certificate() -> None:
    assert certificates.make(KEY) == DER
    assert len(DER) <= certificates.MAX_BYTES


def test_the_official_library_reads_it_as_it_is_meant() -> None:
    read = x509.load_der_x509_certificate(DER)
    limits = read.extensions.get_extension_for_class(x509.BasicConstraints)

    assert read.version is x509.Version.v3
    assert read.subject == read.issuer
    assert read.subject.rfc4514_string() == f"CN={ids.node_id(PUBLIC)}"
    assert (read.not_valid_before_utc.year, read.not_valid_after_utc.year) == (2000, 9999)
    assert (limits.critical, limits.value.ca) == (True, False)
    read.verify_directly_issued_by(read)


def test_it_tells_whose_it_is() -> None:
    assert certificates.node_of(DER) == certificates.read(DER) == ids.node_id(PUBLIC)
    assert len(ids.node_id(PUBLIC)) == 52


@pytest.mark.parametrize("other", [b"", b"\x30", DER[:-1], DER + b"\0", b"\x30\x82" + bytes(318)])
def test_what_has_another_form_is_nobody_s(other: bytes) -> None:
    assert certificates.node_of(other) is None
    with pytest.raises(InvalidRequest):
        certificates.read(other)


def test_no_byte_of_it_can_be_another_one() -> None:
    for at in range(len(DER)):
        forged = DER[:at] + bytes([DER[at] ^ 1]) + DER[at + 1 :]
        with pytest.raises(InvalidRequest):
            certificates.read(forged)


def test_a_certificate_that_may_issue_others_is_nobody_s() -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.load_der_x509_certificate(DER).subject)
        .issuer_name(x509.load_der_x509_certificate(DER).subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(x509.load_der_x509_certificate(DER).not_valid_before_utc)
        .not_valid_after(x509.load_der_x509_certificate(DER).not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )

    assert certificates.node_of(builder.sign(KEY, None).public_bytes(Encoding.DER)) is None
