"""What a CA bundle may hold and which certificates pass: each rule of ours with what breaks it."""

import datetime as dt

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tenancy.certificates import (
    CertificateRefused,
    ClientCertificates,
    filter_faults,
    has_public_ca,
    parse_bundle,
)
from tenancy.model import CertificateFilter

from .certificates_made import DAY, NOW, Made, make, subject, usage

ROOT = make("root", ca=True)
MIDDLE = make("middle", ROOT, ca=True)


def problems(bundle: bytes) -> str:
    return "; ".join(str(fault) for fault in parse_bundle(bundle)[1])


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(b"", id="empty"),
        pytest.param(ROOT.pem, id="root"),
        pytest.param(MIDDLE.pem + ROOT.pem, id="chain-in-any-order"),
        pytest.param(b"our CA\n" + ROOT.pem, id="text-around"),
        pytest.param(ROOT.pem + make("root", ca=True).pem, id="old-and-new-of-one-name"),
        pytest.param(make("rsa", ca=True, key=rsa_key(2048), digest=hashes.SHA512()).pem, id="rsa"),
        pytest.param(
            make("signs", ca=True, extensions=((usage(key_cert_sign=True), True),)).pem, id="key-usage"
        ),
        pytest.param(
            make("late", ca=True, end=NOW - dt.timedelta(hours=1)).pem, id="expired-is-not-malformed"
        ),
        pytest.param(b"".join(make(f"ca{n}", ca=True).pem for n in range(16)), id="sixteen"),
    ],
)
def test_bundle_is_accepted(bundle: bytes) -> None:
    assert problems(bundle) == ""


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        pytest.param(b"hello", "no PEM", id="no-pem"),
        pytest.param(ROOT.pem.replace(b"M", b"!", 3), "no PEM", id="damaged"),
        pytest.param(ROOT.pem + ROOT.key_pem, "private key", id="private-key"),
        pytest.param(make("leaf").pem, "not a CA", id="leaf"),
        pytest.param(make("bare", ca=None).pem, "not a CA", id="no-basic-constraints"),
        pytest.param(MIDDLE.pem, "issuer is not in the bundle", id="no-root"),
        pytest.param(
            make("signs", ca=True, extensions=((usage(digital_signature=True), True),)).pem,
            "keyCertSign",
            id="usage",
        ),
        pytest.param(
            make("ed", ca=True, key=ed25519.Ed25519PrivateKey.generate()).pem, "SHA-256", id="ed25519"
        ),
        pytest.param(make("small", ca=True, key=rsa_key(1024)).pem, "1024 bits", id="small-rsa"),
        pytest.param(
            make("curve", ca=True, key=ec.generate_private_key(ec.SECP256K1())).pem, "secp256k1", id="curve"
        ),
        pytest.param(
            make("weak", ca=True, key=rsa_key(2048), digest=hashes.SHA224()).pem, "SHA-256", id="weak-digest"
        ),
        pytest.param(
            b"".join(make(f"ca{n}", ca=True).pem for n in range(17)), "17 certificates", id="seventeen"
        ),
        pytest.param(ROOT.pem + b" " * 33_000, "bytes", id="too-many-bytes"),
    ],
)
def test_bundle_is_refused(bundle: bytes, said: str) -> None:
    assert said in problems(bundle)


def test_all_faults_are_told_at_once() -> None:
    text = problems(make("leaf", key=rsa_key(1024)).pem + make("bare", ca=None).pem)
    assert "1024 bits" in text
    assert text.count("not a CA") == 2


def test_public_cas_are_known() -> None:
    one = certifi.contents().partition("-----BEGIN")[1:]
    some = x509.load_pem_x509_certificate("".join(one).encode())
    assert has_public_ca([some])
    assert not has_public_ca([ROOT.certificate])


@pytest.mark.parametrize("pattern", ["worker", "worker-*", "*.example.com", "a b"])
def test_filter_is_accepted(pattern: str) -> None:
    assert filter_faults([CertificateFilter(common_name=pattern)]) == []


@pytest.mark.parametrize("pattern", ["*", ".example.*.com", "code.*.com", "*a*", "**"])
def test_filter_is_refused(pattern: str) -> None:
    assert filter_faults([CertificateFilter(subject_alternative_name=pattern)])


def test_filters_are_bounded_and_never_empty() -> None:
    assert filter_faults([CertificateFilter()])
    assert filter_faults([CertificateFilter(common_name=f"c{n}") for n in range(26)])
    assert not filter_faults([CertificateFilter(common_name=f"c{n}") for n in range(25)])


def check(
    leaf: Made,
    *,
    bundle: tuple[Made, ...] = (ROOT,),
    presented: tuple[Made, ...] = (),
    filters: tuple[CertificateFilter, ...] = (),
    now: dt.datetime = NOW,
) -> str:
    checker = ClientCertificates([one.certificate for one in bundle], filters)
    return checker.check(leaf.pem, [one.pem for one in presented], now).fingerprint


def san(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName(names), False


def purpose(oid: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    return x509.ExtendedKeyUsage([oid]), False


@pytest.mark.parametrize(
    ("leaf", "bundle", "presented"),
    [
        pytest.param(make("w", ROOT), (ROOT,), (), id="bare"),
        pytest.param(make("w", ROOT, ca=None), (ROOT,), (), id="no-extensions"),
        pytest.param(
            make("w", ROOT, extensions=(purpose(ExtendedKeyUsageOID.CLIENT_AUTH),)), (ROOT,), (), id="client"
        ),
        pytest.param(
            make("w", ROOT, extensions=((usage(digital_signature=True), True),)), (ROOT,), (), id="signs"
        ),
        pytest.param(make("w", MIDDLE), (ROOT,), (MIDDLE,), id="intermediate-presented"),
        pytest.param(make("w", MIDDLE), (ROOT, MIDDLE), (), id="intermediate-in-bundle"),
        pytest.param(make("w", ROOT, key=rsa_key(2048)), (ROOT,), (), id="rsa-leaf"),
        pytest.param(make("w", ROOT), (make("root", ca=True), ROOT), (), id="second-of-two-of-one-name"),
    ],
)
def test_certificate_passes(leaf: Made, bundle: tuple[Made, ...], presented: tuple[Made, ...]) -> None:
    assert (
        check(leaf, bundle=bundle, presented=presented) == leaf.certificate.fingerprint(hashes.SHA256()).hex()
    )


OLD_ROOT = make("old", ca=True, end=NOW - dt.timedelta(hours=1))
SHORT_ROOT = make("short", ca=True, path_length=0)
SHORT_MIDDLE = make("short-middle", SHORT_ROOT, ca=True)
LEAF_AS_CA = make("not-a-ca", ROOT)


@pytest.mark.parametrize(
    ("leaf", "bundle", "presented"),
    [
        pytest.param(make("w", make("root", ca=True)), (ROOT,), (), id="foreign-ca-of-the-same-name"),
        pytest.param(make("w"), (ROOT,), (), id="self-signed"),
        pytest.param(make("w", MIDDLE), (ROOT,), (), id="intermediate-missing"),
        pytest.param(make("w", ROOT, end=NOW - dt.timedelta(minutes=1)), (ROOT,), (), id="expired"),
        pytest.param(make("w", ROOT, start=NOW + dt.timedelta(minutes=1)), (ROOT,), (), id="not-yet"),
        pytest.param(make("w", OLD_ROOT), (OLD_ROOT,), (), id="expired-ca"),
        pytest.param(make("w", ROOT, ca=True), (ROOT,), (), id="a-ca-is-no-leaf"),
        pytest.param(ROOT, (ROOT,), (), id="the-ca-itself"),
        pytest.param(make("w", LEAF_AS_CA), (ROOT,), (LEAF_AS_CA,), id="issued-by-a-leaf"),
        pytest.param(make("w", SHORT_MIDDLE), (SHORT_ROOT,), (SHORT_MIDDLE,), id="path-too-long"),
        pytest.param(
            make("w", ROOT, extensions=(purpose(ExtendedKeyUsageOID.SERVER_AUTH),)),
            (ROOT,),
            (),
            id="server-only",
        ),
        pytest.param(
            make("w", ROOT, extensions=((usage(key_cert_sign=True), True),)), (ROOT,), (), id="usage"
        ),
        pytest.param(make("root", ROOT), (ROOT,), (), id="named-as-its-ca"),
        pytest.param(make("ROOT", ROOT), (ROOT,), (), id="named-as-its-ca-but-for-case"),
        pytest.param(make("w", ROOT), (), (), id="no-bundle"),
        pytest.param(make("w", ROOT), (ROOT,), (MIDDLE,) * 9, id="too-many-presented"),
    ],
)
def test_certificate_is_refused(leaf: Made, bundle: tuple[Made, ...], presented: tuple[Made, ...]) -> None:
    with pytest.raises(CertificateRefused):
        check(leaf, bundle=bundle, presented=presented)


@pytest.mark.parametrize("leaf", [b"", b"hello", ROOT.pem[:300], ROOT.pem + b"x" * 70_000])
def test_malformed_certificate_is_refused(leaf: bytes) -> None:
    with pytest.raises(CertificateRefused):
        ClientCertificates([ROOT.certificate], ()).check(leaf, (), NOW)


WORKER = make(
    subject("Worker-7", "Acme", "Payments"),
    ROOT,
    extensions=(san(x509.DNSName("w7.acme.example"), x509.RFC822Name("ops@acme.example")),),
)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ((), True),
        ((CertificateFilter(common_name="worker-7"),), True),
        ((CertificateFilter(common_name="WORKER-*"),), True),
        ((CertificateFilter(common_name="worker"),), False),
        ((CertificateFilter(common_name="*-8"),), False),
        ((CertificateFilter(organization="acme", organizational_unit="payments"),), True),
        ((CertificateFilter(organization="acme", organizational_unit="sales"),), False),
        ((CertificateFilter(organization="evil"), CertificateFilter(common_name="*-7")), True),
        ((CertificateFilter(subject_alternative_name="*.acme.example"),), True),
        ((CertificateFilter(subject_alternative_name="ops@*"),), True),
        ((CertificateFilter(subject_alternative_name="worker-7"),), False),
    ],
)
def test_filters(filters: tuple[CertificateFilter, ...], passes: bool) -> None:
    if passes:
        assert check(WORKER, filters=filters)
    else:
        with pytest.raises(CertificateRefused):
            check(WORKER, filters=filters)


def test_the_time_in_date_is_that_of_the_whole_chain() -> None:
    middle = make("brief", ROOT, ca=True, end=NOW + 2 * DAY)
    leaf = make("w", middle, start=NOW - dt.timedelta(hours=2))
    accepted = ClientCertificates([ROOT.certificate], ()).check(leaf.pem, [middle.pem], NOW)
    assert accepted.not_after == middle.certificate.not_valid_after_utc
    assert accepted.not_before == leaf.certificate.not_valid_before_utc
