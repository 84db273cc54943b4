"""Certificates made by the client: what they say, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from sdk import CertificateAuthority, CertificateError, create_ca, issue_client, read_ca, write_pair
from tenancy.certificates import CertificateRefused, ClientCertificates, parse_bundle

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return create_ca("Acme workers CA", "Acme")


def parse(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_ca(ca: CertificateAuthority) -> None:
    certificate = parse(ca.cert_pem)
    assert certificate.version is x509.Version.v3
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=Acme workers CA,O=Acme"
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=365)
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_leaf_is_accepted_as_a_client_of_its_ca(ca: CertificateAuthority) -> None:
    cert_pem, key_pem = issue_client(ca, "worker-1", 30 * DAY)
    leaf = parse(cert_pem)
    service = ClientCertificates([parse(ca.cert_pem)], [])
    assert service.check(cert_pem, [], datetime.now(UTC))
    stranger = ClientCertificates([parse(create_ca("Acme workers CA", "Acme").cert_pem)], [])
    with pytest.raises(CertificateRefused):
        stranger.check(cert_pem, [], datetime.now(UTC))
    assert parse_bundle(ca.cert_pem)[1] == []
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == leaf.public_key()
    assert key.curve.name == "secp384r1"
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.subject.rfc4514_string() == "CN=worker-1,O=Acme"


def test_times(ca: CertificateAuthority) -> None:
    now = datetime.now(UTC)
    leaf = parse(issue_client(ca, "w", DAY, now=now).cert_pem)
    assert leaf.not_valid_before_utc < now
    assert now + DAY - timedelta(seconds=1) <= leaf.not_valid_after_utc <= now + DAY
    assert leaf.not_valid_before_utc >= parse(ca.cert_pem).not_valid_before_utc
    whole = parse(create_ca("a", "b", timedelta(days=365)).cert_pem)
    assert whole.not_valid_after_utc - whole.not_valid_before_utc == timedelta(days=365)
    for wrong in (timedelta(0), -DAY, timedelta(days=366)):
        with pytest.raises(CertificateError, match="a minute up to 365 days"):
            create_ca("a", "b", wrong)


def test_leaf_does_not_outlive_its_ca() -> None:
    with pytest.raises(CertificateError, match="after its CA"):
        issue_client(create_ca("a", "b", 10 * DAY), "w", 11 * DAY)
    expired = create_ca("a", "b", DAY, now=datetime.now(UTC) - 2 * DAY)
    with pytest.raises(CertificateError, match="after its CA"):
        issue_client(expired, "w", timedelta(hours=1))


def test_names_are_distinct_and_checked(ca: CertificateAuthority) -> None:
    for name in ("Acme workers CA", "ACME Workers ca"):
        with pytest.raises(CertificateError, match="a name of its own"):
            issue_client(ca, name)
    for name in ("", " ", "x" * 65, "a\nb", "a\0b"):
        with pytest.raises(CertificateError, match="common name has 1 to 64"):
            issue_client(ca, name)
        with pytest.raises(CertificateError, match="organization has 1 to 64"):
            create_ca("a", name)


def test_keys_do_not_show(ca: CertificateAuthority) -> None:
    assert "PRIVATE" not in repr(ca)
    assert "PRIVATE" not in repr(issue_client(ca, "w"))


def test_files(ca: CertificateAuthority, tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path / "certs", "ca", ca)
    assert (certificate.name, key.name) == ("ca.pem", "ca.key")
    assert key.stat().st_mode & 0o777 == certificate.stat().st_mode & 0o777 == 0o600
    assert read_ca(certificate, key) == ca
    with pytest.raises(CertificateError, match="exists already"):
        write_pair(tmp_path / "certs", "ca", create_ca("other", "b"))
    assert read_ca(certificate, key) == ca
    leaf = issue_client(ca, "w")
    other, other_key = write_pair(tmp_path / "certs", "worker", leaf)
    with pytest.raises(CertificateError, match="does not belong to its certificate"):
        read_ca(certificate, other_key)
    with pytest.raises(CertificateError, match="not an unencrypted PEM"):
        read_ca(key, key)
    with pytest.raises(CertificateError, match="no private key at"):
        read_ca(certificate, tmp_path / "lost.key")
    key.chmod(0o644)
    with pytest.raises(CertificateError, match="open to other users"):
        read_ca(certificate, key)
    with pytest.raises(CertificateError, match="cannot be read"):
        read_ca(tmp_path / "lost.pem", other_key)
    # A leaf signs nothing, though it has a key.
    with pytest.raises(CertificateError, match="is no CA"):
        read_ca(other, other_key)
