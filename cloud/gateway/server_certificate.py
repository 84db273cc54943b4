"""The certificate that the service shows: from files, or made here by a service CA of its own.

What is made lies in one directory, mode 0600:
    service-ca.pem   the CA's key and certificate; clients are given the certificate alone
    server.pem       the server's key and chain
Each file holds a key together with its certificate and is replaced whole, so that no crash leaves one without
the other. A leaf is renewed when a third of its time is left, or when the names change.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)
"""How far behind a client's clock may be when it meets a new certificate."""

CHECK_EVERY_S = 1.0
"""Files on disk are looked at no more often than this."""

_KEY_TYPES = ec.EllipticCurvePrivateKey


class CertificateUnusable(Exception):
    """A certificate or key file is missing, unreadable, or the two do not belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """A chain, leaf first, and the leaf's key. `version` differs whenever they do."""

    version: object
    chain_pem: bytes
    key_pem: bytes = field(repr=False)


class CertificateSource(Protocol):
    """Where a listener gets its certificate; asked at every handshake, from any thread."""

    def current(self) -> ServerCertificate:
        """The certificate to show now."""


class CertificateFiles:
    """A certificate that somebody else renews: files, read again when they change.

    Raises CertificateUnusable at once if they can't be used; later changes that can't be used are left out,
    with the last good pair kept, until the files are whole again.
    """

    def __init__(self, chain: Path, key: Path, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._key = key
        self._clock = clock
        self._checked_at = clock()
        self._current = self._read()

    def current(self) -> ServerCertificate:
        """The pair in the files, as of the last second."""
        now = self._clock()
        if now - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = now
            try:
                if self._stamp() != self._current.version:
                    self._current = self._read()
            except (OSError, CertificateUnusable):
                # Files are replaced one after the other: between the two they do not match.
                return self._current
        return self._current

    def _stamp(self) -> tuple[int, int]:
        return (self._chain.stat().st_mtime_ns, self._key.stat().st_mtime_ns)

    def _read(self) -> ServerCertificate:
        try:
            stamp = self._stamp()
            chain_pem, key_pem = self._chain.read_bytes(), self._key.read_bytes()
        except OSError as error:
            raise CertificateUnusable(f"{error.filename} can't be read: {error.strerror}.") from error
        try:
            leaf = x509.load_pem_x509_certificates(chain_pem)[0]
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, IndexError) as error:
            raise CertificateUnusable(
                f"{self._chain} must hold a PEM chain, leaf first, and {self._key} its PEM key without a "
                "passphrase."
            ) from error
        if _public_bytes(leaf.public_key()) != _public_bytes(key.public_key()):
            raise CertificateUnusable(
                f"The key in {self._key} is not that of the certificate in {self._chain}."
            )
        return ServerCertificate(version=stamp, chain_pem=chain_pem, key_pem=key_pem)


class OwnCertificate:
    """A server certificate issued by a service CA that is made, with it, in `directory` on first use.

    `names` are DNS names and IP addresses that clients may call the service by.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not names:
            raise ValueError("A server certificate needs at least one DNS name or IP address.")
        self._now = now
        self._names = tuple(names)
        self._server_path = directory / "server.pem"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ca_key, self._ca = self._load_or_make_ca(directory / "service-ca.pem")
        self._leaf, self._current = self._load_or_issue()

    @property
    def ca_pem(self) -> bytes:
        """The service CA's certificate, for clients to trust. No secret."""
        return self._ca.public_bytes(serialization.Encoding.PEM)

    def current(self) -> ServerCertificate:
        """The certificate to show now; a new one is issued when this one's time runs out."""
        if self._leaf.not_valid_after_utc - self._now() < RENEW_BEFORE:
            self._leaf, self._current = self._issue()
        return self._current

    def _load_or_make_ca(self, path: Path) -> tuple[_KEY_TYPES, x509.Certificate]:
        if path.exists():
            return _read_pair(path)
        now = self._now()
        key = ec.generate_private_key(ec.SECP384R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tacit service CA")])
        ca = (
            _builder(name, name, key.public_key(), now, CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA384())
        )
        _write_secret(path, _key_pem(key) + ca.public_bytes(serialization.Encoding.PEM))
        return key, ca

    def _load_or_issue(self) -> tuple[x509.Certificate, ServerCertificate]:
        if self._server_path.exists():
            key, leaf = _read_pair(self._server_path)
            usable = (
                leaf.issuer == self._ca.subject
                and _alternative_names(leaf) == _general_names(self._names)
                and leaf.not_valid_after_utc - self._now() >= RENEW_BEFORE
            )
            if usable:
                return leaf, self._served(key, leaf)
        return self._issue()

    def _issue(self) -> tuple[x509.Certificate, ServerCertificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tacit service")])
        leaf = (
            _builder(name, self._ca.subject, key.public_key(), self._now(), LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_general_names(self._names)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
            .sign(self._ca_key, hashes.SHA384())
        )
        _write_secret(self._server_path, _key_pem(key) + leaf.public_bytes(serialization.Encoding.PEM))
        return leaf, self._served(key, leaf)

    def _served(self, key: _KEY_TYPES, leaf: x509.Certificate) -> ServerCertificate:
        return ServerCertificate(
            version=leaf.serial_number,
            chain_pem=leaf.public_bytes(serialization.Encoding.PEM) + self.ca_pem,
            key_pem=_key_pem(key),
        )


def nobody_ca_pem() -> bytes:
    """A CA whose key is thrown away: the client roots of a service that trusts nobody yet.

    TLS needs at least one root to ask for a certificate, and one that can sign nothing lets nobody in.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "no namespace has a CA yet")])
    ca = (
        _builder(name, name, key.public_key(), datetime.now(UTC), CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return ca.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general


def _alternative_names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _key_pem(key: _KEY_TYPES) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_bytes(key: object) -> bytes:
    public_bytes = key.public_bytes  # type: ignore[attr-defined] # every kind of public key has it
    pem: bytes = public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


def _read_pair(path: Path) -> tuple[_KEY_TYPES, x509.Certificate]:
    try:
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except OSError as error:
        raise CertificateUnusable(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise CertificateUnusable(
            f"{path} must hold a PEM key and its certificate. Restore it from a backup, or move it away: a "
            "new one is then made, and clients must be given the new CA certificate."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateUnusable(f"{path} holds a key of a kind that is not made here; move it away.")
    if _public_bytes(key.public_key()) != _public_bytes(certificate.public_key()):
        raise CertificateUnusable(f"In {path} the key is not that of the certificate; move it away.")
    return key, certificate


def _write_secret(path: Path, content: bytes) -> None:
    """Replace `path` whole, readable by its owner alone, on disk before this returns."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
