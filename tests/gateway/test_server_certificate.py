from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from cloud.gateway import CertificateFiles, CertificateUnusable, OwnCertificate
from cloud.gateway.server_certificate import LEAF_LIFETIME, nobody_ca_pem

NAMES = ["localhost", "tacit.example.org", "127.0.0.1", "::1"]


def leaf_of(certificate: OwnCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificates(certificate.current().chain_pem)[0]


def test_what_is_made_is_kept_and_private(tmp_path: Path) -> None:
    first = OwnCertificate(tmp_path / "tls", NAMES)
    for name in ("service-ca.pem", "server.pem"):
        assert (tmp_path / "tls" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    again = OwnCertificate(tmp_path / "tls", NAMES)
    assert again.ca_pem == first.ca_pem
    assert again.current() == first.current()
    assert "PRIVATE" not in repr(first.current())
    alternative = leaf_of(first).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.DNSName) == NAMES[:2]
    assert [str(ip) for ip in alternative.get_values_for_type(x509.IPAddress)] == NAMES[2:]


def test_new_names_make_a_new_leaf_of_the_same_ca(tmp_path: Path) -> None:
    first = OwnCertificate(tmp_path, NAMES)
    second = OwnCertificate(tmp_path, ["other.example.org"])
    assert second.ca_pem == first.ca_pem
    assert second.current().version != first.current().version


def test_a_leaf_is_renewed_in_time_while_running(tmp_path: Path) -> None:
    now = [datetime.now(UTC)]
    certificate = OwnCertificate(tmp_path, NAMES, lambda: now[0])
    first = certificate.current()
    now[0] += timedelta(days=59)
    assert certificate.current() is first
    now[0] += timedelta(days=2)
    second = certificate.current()
    assert second.version != first.version
    assert leaf_of(certificate).not_valid_after_utc > now[0] + LEAF_LIFETIME - timedelta(minutes=1)
    assert OwnCertificate(tmp_path, NAMES, lambda: now[0]).current() == second


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_broken_file_is_named_not_overwritten(tmp_path: Path, content: bytes) -> None:
    OwnCertificate(tmp_path, NAMES)
    (tmp_path / "service-ca.pem").write_bytes(content)
    with pytest.raises(CertificateUnusable, match=r"service-ca\.pem"):
        OwnCertificate(tmp_path, NAMES)
    assert (tmp_path / "service-ca.pem").read_bytes() == content


def test_a_crash_while_writing_leaves_the_old_pair(tmp_path: Path) -> None:
    first = OwnCertificate(tmp_path, NAMES)
    (tmp_path / "server.part").write_bytes(b"half of")
    assert OwnCertificate(tmp_path, NAMES).current() == first.current()


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    made = [OwnCertificate(tmp_path / str(n), NAMES).current() for n in range(2)]
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    now = [0.0]

    def write(n: int, at: int) -> None:
        chain.write_bytes(made[n].chain_pem)
        os.utime(chain, ns=(at, at))

    write(0, 1)
    key.write_bytes(made[0].key_pem)
    files = CertificateFiles(chain, key, lambda: now[0])
    assert files.current().chain_pem == made[0].chain_pem
    # The chain is replaced first: until its key follows, the old pair is shown.
    write(1, 2)
    now[0] = 2
    assert files.current().chain_pem == made[0].chain_pem
    key.write_bytes(made[1].key_pem)
    now[0] = 4
    assert files.current().chain_pem == made[1].chain_pem
    assert files.current().key_pem == made[1].key_pem
    chain.unlink()
    now[0] = 6
    assert files.current().chain_pem == made[1].chain_pem


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one, two = (OwnCertificate(tmp_path / str(n), NAMES).current() for n in range(2))
    (tmp_path / "chain.pem").write_bytes(one.chain_pem)
    (tmp_path / "key.pem").write_bytes(two.key_pem)
    with pytest.raises(CertificateUnusable, match="not that of the certificate"):
        CertificateFiles(tmp_path / "chain.pem", tmp_path / "key.pem", lambda: 0.0)
    with pytest.raises(CertificateUnusable, match="No such file"):
        CertificateFiles(tmp_path / "none.pem", tmp_path / "key.pem", lambda: 0.0)


def test_nobody_has_the_key_of_nobody() -> None:
    assert nobody_ca_pem() != nobody_ca_pem()
    assert b"PRIVATE" not in nobody_ca_pem()
