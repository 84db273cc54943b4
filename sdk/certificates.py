"""Certificates made on the client's side: the private keys are born here and never leave.

The rules are Temporal Cloud's, so that the same certificates work there: X.509 v3, ECDSA P-384 with SHA-384,
a CA for at most a year, leaves with `CA:false`, the digitalSignature usage and client authentication, and a
subject of its own for every certificate of a chain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from codec import SecretFileError, read_secret_file, write_secret_file
from sdk.errors import CertificateError

VALID_FOR_MAX = timedelta(days=365)
CA_VALID_FOR = VALID_FOR_MAX
CLIENT_VALID_FOR = timedelta(days=90)
CLOCK_SKEW = timedelta(minutes=5)
"""How far a certificate's start lies in the past, for servers whose clocks are behind."""

_NAME_CHARACTERS_MAX = 64  # ub-common-name and ub-organization-name of RFC 5280, Appendix A


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertificateAuthority:
    """A CA: the certificate goes to the service, the key stays with the customer."""

    cert_pem: bytes
    key_pem: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientCertificate:
    """What a worker or client shows; iterates as `(cert_pem, key_pem)`."""

    cert_pem: bytes
    key_pem: bytes = dataclasses.field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        return iter((self.cert_pem, self.key_pem))


def create_ca(
    common_name: str, organization: str, valid_for: timedelta = CA_VALID_FOR, *, now: datetime | None = None
) -> CertificateAuthority:
    """A self-signed CA whose only use is to sign client certificates.

    Raises:
        CertificateError: an empty or too long name, or a time that is not between a minute and a year.
    """
    start, end = _validity(valid_for, now)
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _subject(common_name, organization)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject=subject, issuer=subject, key=key.public_key(), start=start, end=end)
        # No CA below this one: it signs leaves only.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA384())
    )
    return CertificateAuthority(cert_pem=_pem(certificate), key_pem=_key_pem(key))


def issue_client(
    ca: CertificateAuthority,
    common_name: str,
    valid_for: timedelta = CLIENT_VALID_FOR,
    *,
    organizational_unit: str | None = None,
    now: datetime | None = None,
) -> ClientCertificate:
    """A client certificate, with a new private key, signed by `ca`.

    Raises:
        CertificateError: the CA's files do not fit each other or it has expired, the certificate would
        outlive
            it or share its subject, or a name or time is out of bounds.
    """
    ca_certificate, ca_key = _open_ca(ca)
    start, end = _validity(valid_for, now)
    if end > ca_certificate.not_valid_after_utc:
        raise CertificateError(
            f"The certificate would end {end:%Y-%m-%d %H:%M} UTC, after its CA, which ends "
            f"{ca_certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Choose a shorter time, or make a new "
            "CA."
        )
    organizations = ca_certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    organization = str(organizations[0].value) if organizations else None
    subject = _subject(common_name, organization, organizational_unit)
    if subject.rfc4514_string().casefold() == ca_certificate.subject.rfc4514_string().casefold():
        raise CertificateError(
            f"The CA is named {common_name!r} too, and each certificate of a chain needs a name of its own. "
            "Choose another common name."
        )
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = (
        _builder(
            subject=subject,
            issuer=ca_certificate.subject,
            key=key.public_key(),
            start=max(start, ca_certificate.not_valid_before_utc),
            end=end,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(ca_key, hashes.SHA384())
    )
    return ClientCertificate(cert_pem=_pem(certificate), key_pem=_key_pem(key))


def write_pair(
    directory: Path, name: str, pair: CertificateAuthority | ClientCertificate
) -> tuple[Path, Path]:
    """Write `<name>.pem` and `<name>.key`, mode 0600; existing files are never replaced. Returns both paths.

    Raises:
        CertificateError: a file is there already, or cannot be written.
    """
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    try:
        for path in (certificate, key):
            if path.exists():
                raise CertificateError(f"{path} exists already and is not overwritten. Choose another name.")
        # The key first: a certificate without its key is the more puzzling half to be left with.
        write_secret_file(key, pair.key_pem, replace=False)
        write_secret_file(certificate, pair.cert_pem, replace=False)
    except SecretFileError as error:
        raise CertificateError(str(error)) from None
    return certificate, key


def read_ca(certificate: Path, key: Path) -> CertificateAuthority:
    """A CA from its two files.

    Raises:
        CertificateError: a file is missing, the key's is open to other users, or they do not fit each other.
    """
    try:
        pair = CertificateAuthority(
            cert_pem=certificate.read_bytes(), key_pem=read_secret_file(key, what="private key")
        )
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except SecretFileError as error:
        raise CertificateError(str(error)) from None
    _open_ca(pair)
    return pair


def _open_ca(ca: CertificateAuthority) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(ca.cert_pem)
        key = serialization.load_pem_private_key(ca.key_pem, password=None)
    except (ValueError, TypeError):
        raise CertificateError(
            "The CA's certificate or key is not an unencrypted PEM file. Give the files that `tacit cert` "
            "wrote."
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError("The CA's private key does not belong to its certificate.")
    try:
        signs = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        signs = False
    if not signs:
        raise CertificateError("The certificate is no CA (CA:false): nothing signed by it would be accepted.")
    return certificate, key


def _validity(valid_for: timedelta, now: datetime | None) -> tuple[datetime, datetime]:
    if not timedelta(minutes=1) <= valid_for <= VALID_FOR_MAX:
        raise CertificateError(f"A certificate is valid for a minute up to {VALID_FOR_MAX.days} days.")
    moment = (now or datetime.now(UTC)).replace(microsecond=0)
    # The start in the past counts, so that the whole stays within the year that services accept.
    return moment - CLOCK_SKEW, moment + min(valid_for, VALID_FOR_MAX - CLOCK_SKEW)


def _subject(common_name: str, organization: str | None, organizational_unit: str | None = None) -> x509.Name:
    parts = (
        (NameOID.ORGANIZATION_NAME, organization, "organization"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, organizational_unit, "organizational unit"),
        (NameOID.COMMON_NAME, common_name, "common name"),
    )
    attributes = []
    for oid, value, what in parts:
        if value is None:
            continue
        if not value.strip() or len(value) > _NAME_CHARACTERS_MAX or not value.isprintable():
            raise CertificateError(
                f"A certificate's {what} has 1 to {_NAME_CHARACTERS_MAX} printable characters, not "
                f"{value[:80]!r}."
            )
        attributes.append(x509.NameAttribute(oid, value))
    return x509.Name(attributes)


def _builder(
    *, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=end,
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
