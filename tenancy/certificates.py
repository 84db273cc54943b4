"""Client certificates: what a namespace's CA bundle may hold, and whether a presented certificate passes.

Rules of the bundle are Temporal Cloud's: X.509 v3 with CA:true, RSA or ECDSA with SHA-256 or stronger, every
certificate a root or issued by another of the bundle, at most 16 certificates and 32 KB, no private key. A
publicly known CA vouches for the whole world, so it needs certificate filters beside it.

The chain itself is checked by `cryptography.x509.verification`. Its web profile asks for a subject
alternative name and key identifiers, which certificates made for Temporal Cloud often lack, so the extension
rules are set here; what it always checks (signatures, dates, path lengths, name constraints, unknown critical
extensions) stays as it is.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from tenancy.errors import Fault
from tenancy.model import CertificateFilter

BUNDLE_CERTIFICATES_MAX = 16
BUNDLE_BYTES_MAX = 32 * 1024
FILTERS_MAX = 25
FILTER_LENGTH_MAX = 256
RSA_BITS_MIN = 2048
# A client sends its leaf and a few intermediates. More would only cost us time before the refusal.
PRESENTED_INTERMEDIATES_MAX = 8
PRESENTED_BYTES_MAX = 64 * 1024

_PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class CertificateRefused(Exception):
    """A presented certificate does not pass. The sentence is for our log, never for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A certificate that passed: its SHA-256 fingerprint and the time in which its whole chain is in date."""

    fingerprint: str
    not_before: datetime
    not_after: datetime


def parse_bundle(bundle_pem: bytes) -> tuple[tuple[x509.Certificate, ...], list[Fault]]:
    """The certificates of a CA bundle, and every fault of it; a bundle with faults must not be used.

    An empty bundle has no certificates and no faults: whether one is needed is the namespace's question.
    """
    if not bundle_pem.strip():
        return (), []
    if len(bundle_pem) > BUNDLE_BYTES_MAX:
        size = f"the bundle has {len(bundle_pem)} bytes, the most is {BUNDLE_BYTES_MAX}"
        return (), [Fault(field="ca_bundle", problem=f"{size}; remove CAs that no client uses any more")]
    if b"PRIVATE KEY" in bundle_pem:
        problem = "it holds a private key; upload certificates only, and replace that CA: its key was sent"
        return (), [Fault(field="ca_bundle", problem=problem)]
    try:
        certificates = tuple(dict.fromkeys(x509.load_pem_x509_certificates(bundle_pem)))
    except ValueError:
        problem = "it is no PEM of X.509 certificates (-----BEGIN CERTIFICATE-----)"
        return (), [Fault(field="ca_bundle", problem=problem)]
    faults = []
    if len(certificates) > BUNDLE_CERTIFICATES_MAX:
        problem = f"it holds {len(certificates)} certificates, the most is {BUNDLE_CERTIFICATES_MAX}"
        faults.append(Fault(field="ca_bundle", problem=problem))
    for index, certificate in enumerate(certificates):
        place = f"ca_bundle[{index}] ({_label(certificate)})"
        faults.extend(Fault(field=place, problem=problem) for problem in _ca_problems(certificate))
    if not faults:
        faults.extend(_chain_faults(certificates))
    return certificates, faults


def read_bundle(bundle_pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a bundle that was checked when it was stored; a fiftieth of the cost of checking it."""
    return tuple(x509.load_pem_x509_certificates(bundle_pem)) if bundle_pem else ()


def subject_faults(
    bundle: Sequence[x509.Certificate],
    known: Collection[x509.Certificate],
    own: Iterable[x509.Certificate],
    foreign: Iterable[x509.Certificate],
) -> list[Fault]:
    """Faults of CAs in `bundle` that TLS would take for another with the same subject and another key.

    One listener serves all tenants, so all their CAs are in one store, in which TLS looks an issuer up by its
    subject. Where several CAs have it, the presented certificate's authority key identifier decides, and where
    it has none, or a CA lacks its own, the oldest alone is tried: the clients of the others are turned away in
    the handshake, where nothing can tell them why.

    `foreign` are other accounts' CAs. There the subject must differ, whatever the identifiers: what certificates
    hold is up to each account, and none may come to depend on what another uploads. `own` are those of the
    account's other namespaces. A CA is often made again under its old name, and where both CAs have key
    identifiers the certificates of both can pass, so that is allowed; without them it could not work.
    What the namespace accepts already (`known`) is not refused again.
    """
    ours, theirs = _by_subject([*bundle, *own]), _by_subject(foreign)
    faults = []
    for index, one in enumerate(bundle):
        if one in known:
            continue
        subject = _subject_in_tls(one)
        place = f"ca_bundle[{index}] ({_label(one)})"
        if any(_subject_key(other) != _subject_key(one) for other in theirs.get(subject, ())):
            problem = (
                "has the subject of a CA that the service accepts elsewhere, with another key, and TLS finds CAs by "
                "their subjects; make a CA with a subject of its own, such as one with the namespace's full name in "
                "it: tacit cert ca --name '<name>.<account> CA'"
            )
            faults.append(Fault(field=place, problem=problem))
        elif any(_mistaken_in_tls(one, other) for other in ours[subject]):
            problem = (
                "has the subject of another CA of the account, with another key, and no subject key identifiers tell "
                "TLS which is which; make a CA with another subject, or with that extension (`tacit cert ca` adds it)"
            )
            faults.append(Fault(field=place, problem=problem))
    return faults


def normalised_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """The certificates alone, as PEM, without whatever text stood between them."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """The SHA-256 fingerprint in lowercase hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def has_public_ca(certificates: Iterable[x509.Certificate]) -> bool:
    """Whether one of them is a CA that browsers trust, which vouches for anyone who owns a domain."""
    known = _public_ca_keys()
    return any(_subject_key(certificate) in known for certificate in certificates)


def filter_faults(filters: Sequence[CertificateFilter]) -> list[Fault]:
    """Faults of certificate filters, each with its place."""
    faults = []
    if len(filters) > FILTERS_MAX:
        faults.append(
            Fault(
                field="certificate_filters", problem=f"there may be at most {FILTERS_MAX}, got {len(filters)}"
            )
        )
    for index, one in enumerate(filters):
        place = f"certificate_filters[{index}]"
        given = {name: value for name, value in _filter_fields(one) if value}
        if not given:
            faults.append(
                Fault(field=place, problem="must name at least one field; it would match nothing else")
            )
        for name, value in given.items():
            if len(value) > FILTER_LENGTH_MAX:
                faults.append(
                    Fault(field=f"{place}.{name}", problem=f"has more than {FILTER_LENGTH_MAX} characters")
                )
            stars = value.count("*")
            if value == "*" or stars > 1 or (stars == 1 and not (value[0] == "*" or value[-1] == "*")):
                problem = "may hold one * at its start or its end, beside other characters"
                faults.append(Fault(field=f"{place}.{name}", problem=problem))
    return faults


class ClientCertificates:
    """Checks presented certificates against one namespace's bundle and filters. Immutable; holds no cache."""

    def __init__(
        self, certificates: Sequence[x509.Certificate], filters: Sequence[CertificateFilter]
    ) -> None:
        roots = [certificate for certificate in certificates if _is_root(certificate)]
        self._store = Store(roots) if roots else None
        self._own_intermediates = [certificate for certificate in certificates if not _is_root(certificate)]
        self._filters = tuple(_FilterMatcher(one) for one in filters)

    def check(self, leaf_pem: bytes, intermediates_pem: Sequence[bytes], now: datetime) -> Accepted:
        """Check a certificate that its holder proved to have the key of (the TLS handshake did).

        Raises:
            CertificateRefused: malformed, does not chain to the bundle, not in date, not a client's, or no
                filter matches.
        """
        if self._store is None:
            raise CertificateRefused("the namespace accepts no client certificates")
        if len(intermediates_pem) > PRESENTED_INTERMEDIATES_MAX:
            raise CertificateRefused("too many intermediates")
        if len(leaf_pem) + sum(map(len, intermediates_pem)) > PRESENTED_BYTES_MAX:
            raise CertificateRefused("too many bytes of certificates")
        try:
            leaf = x509.load_pem_x509_certificate(leaf_pem)
            intermediates = [x509.load_pem_x509_certificate(one) for one in intermediates_pem]
            # The verifier takes naive times as UTC.
            policy = PolicyBuilder().store(self._store).time(now.astimezone(UTC).replace(tzinfo=None))
            policy = policy.extension_policies(ca_policy=_ca_policy(), ee_policy=_leaf_policy())
            verifier = policy.build_client_verifier()
            chain = verifier.verify(leaf, [*intermediates, *self._own_intermediates]).chain
            if leaf.version is not x509.Version.v3:
                raise CertificateRefused("the certificate is not X.509 v3")
            if self._filters and not any(one.matches(leaf) for one in self._filters):
                raise CertificateRefused("no certificate filter matches")
        except (VerificationError, ValueError, x509.InvalidVersion) as error:
            raise CertificateRefused(str(error)) from error
        names = [certificate.subject.rfc4514_string().casefold() for certificate in chain]
        if len(set(names)) != len(names):
            raise CertificateRefused("two certificates of the chain have the same distinguished name")
        return Accepted(
            fingerprint=fingerprint_of(leaf),
            not_before=max(certificate.not_valid_before_utc for certificate in chain),
            not_after=min(certificate.not_valid_after_utc for certificate in chain),
        )


class _FilterMatcher:
    """One filter, its patterns folded once."""

    def __init__(self, one: CertificateFilter) -> None:
        self._patterns = [(name, value.casefold()) for name, value in _filter_fields(one) if value]

    def matches(self, leaf: x509.Certificate) -> bool:
        return all(
            any(_value_matches(pattern, value.casefold()) for value in _values(leaf, name))
            for name, pattern in self._patterns
        )


def _value_matches(pattern: str, value: str) -> bool:
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


_SUBJECT_FIELDS = {
    "common_name": NameOID.COMMON_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
}


def _values(leaf: x509.Certificate, field: str) -> list[str]:
    if field in _SUBJECT_FIELDS:
        attributes = leaf.subject.get_attributes_for_oid(_SUBJECT_FIELDS[field])
        return [value.value for value in attributes if isinstance(value.value, str)]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    readable = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
    return [str(name.value) for name in names if isinstance(name, readable)]


def _filter_fields(one: CertificateFilter) -> list[tuple[str, str]]:
    return [
        ("common_name", one.common_name),
        ("organization", one.organization),
        ("organizational_unit", one.organizational_unit),
        ("subject_alternative_name", one.subject_alternative_name),
    ]


def _ca_problems(certificate: x509.Certificate) -> list[str]:
    problems = []
    if certificate.version is not x509.Version.v3:
        problems.append("is not X.509 v3")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            problems.append("is not a CA (CA:false); upload the CA that issued it")
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.key_cert_sign:
            problems.append("may not sign certificates (its key usage lacks keyCertSign)")
    except x509.ExtensionNotFound as absent:
        if absent.oid == x509.BasicConstraints.oid:
            problems.append("is not a CA (no basic constraints); upload the CA that issued it")
    except (ValueError, x509.DuplicateExtension):
        problems.append("has an extension that can't be read")
    try:
        digest = certificate.signature_hash_algorithm
    except ValueError:
        digest = None
    if not isinstance(digest, _HASHES):
        problems.append("is not signed with SHA-256, SHA-384 or SHA-512")
    problems.extend(_key_problems(certificate))
    return problems


def _key_problems(certificate: x509.Certificate) -> list[str]:
    try:
        key = certificate.public_key()
    except ValueError:
        return ["has a public key that can't be read"]
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            return [f"has an RSA key of {key.key_size} bits, at least {RSA_BITS_MIN} are needed"]
        return []
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            return [f"has a key on the curve {key.curve.name}; P-256, P-384 and P-521 are accepted"]
        return []
    return ["has a key that is neither RSA nor ECDSA"]


def _chain_faults(certificates: Sequence[x509.Certificate]) -> list[Fault]:
    """Each must be a root, or lead to a root of this bundle through issuers in it."""
    anchored = [certificate for certificate in certificates if _is_root(certificate)]
    loose = [certificate for certificate in certificates if not _is_root(certificate)]
    while loose:
        found = [one for one in loose if any(_issued_by(one, issuer) for issuer in anchored)]
        if not found:
            problem = "is no root, and its issuer is not in the bundle; add the chain up to the root"
            return [Fault(field=f"ca_bundle ({_label(one)})", problem=problem) for one in loose]
        anchored.extend(found)
        loose = [one for one in loose if one not in found]
    return []


def _is_root(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject and _issued_by(certificate, certificate)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _by_subject(certificates: Iterable[x509.Certificate]) -> dict[Hashable, list[x509.Certificate]]:
    found: dict[Hashable, list[x509.Certificate]] = {}
    for one in certificates:
        found.setdefault(_subject_in_tls(one), []).append(one)
    return found


def _subject_in_tls(certificate: x509.Certificate) -> Hashable:
    """The subject as TLS libraries compare it: neither case nor the number of spaces counts."""
    return tuple(
        frozenset(
            (part.oid, " ".join(part.value.split()).casefold() if isinstance(part.value, str) else part.value)
            for part in parts
        )
        for parts in certificate.subject.rdns
    )


def _mistaken_in_tls(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether TLS can't tell two CAs of the same subject apart, though they are two."""
    if _subject_key(one) == _subject_key(other):
        return False
    identifiers = [_key_identifier(one), _key_identifier(other)]
    return None in identifiers or identifiers[0] == identifiers[1]


def _key_identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _label(certificate: x509.Certificate) -> str:
    text = certificate.subject.rfc4514_string()
    return text if len(text) <= 100 else text[:97] + "..."


def _subject_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@cache
def _public_ca_keys() -> frozenset[bytes]:
    """Public keys of the CAs that browsers trust (Mozilla's list); a key tells a cross-signed twin too."""
    keys = set()
    with warnings.catch_warnings():
        # A few old roots bend the rules; the list is not ours to mend.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _PEM_BLOCK.findall(certifi.contents().encode()):
            # One that a later library refuses to read is one that no bundle can hold either.
            with contextlib.suppress(ValueError):
                keys.add(_subject_key(x509.load_pem_x509_certificate(block)))
    return frozenset(keys)


def _refuse_ca_leaf(_policy: Policy, _leaf: x509.Certificate, value: x509.BasicConstraints | None) -> None:
    if value is not None and value.ca:
        raise ValueError("a CA's own certificate is not a client's")


def _check_leaf_usage(_policy: Policy, _leaf: x509.Certificate, value: x509.KeyUsage | None) -> None:
    if value is not None and not value.digital_signature:
        raise ValueError("the key usage lacks digitalSignature")


def _check_leaf_purpose(
    _policy: Policy, _leaf: x509.Certificate, value: x509.ExtendedKeyUsage | None
) -> None:
    wanted = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if value is not None and not any(purpose in value for purpose in wanted):
        raise ValueError("the extended key usage lacks clientAuth")


def _check_ca_usage(_policy: Policy, _ca: x509.Certificate, value: x509.KeyUsage | None) -> None:
    if value is not None and not value.key_cert_sign:
        raise ValueError("the key usage of a CA lacks keyCertSign")


@cache
def _ca_policy() -> ExtensionPolicy:
    anywhere = Criticality.AGNOSTIC
    policy = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, anywhere, None)
    return policy.may_be_present(x509.KeyUsage, anywhere, _check_ca_usage)


@cache
def _leaf_policy() -> ExtensionPolicy:
    anywhere = Criticality.AGNOSTIC
    policy = ExtensionPolicy.permit_all().may_be_present(x509.BasicConstraints, anywhere, _refuse_ca_leaf)
    policy = policy.may_be_present(x509.KeyUsage, anywhere, _check_leaf_usage)
    return policy.may_be_present(x509.ExtendedKeyUsage, anywhere, _check_leaf_purpose)
