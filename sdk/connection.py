"""Connecting: a profile in, a Temporal client out, with everything about payloads set up."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID
from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadConverter
from temporalio.runtime import Runtime
from temporalio.service import TLSConfig

from codec import KeyRingError, KeyServiceError
from codec.ending import end_gently
from sdk.converter import DataConverterOptions, options_of
from sdk.errors import ConnectFailed, ProfileError
from sdk.plugin import TacitPlugin
from sdk.profile import Profile, load_profile, refuse_key_in_the_clear
from sdk.unconnected import FAILED, why_not


async def connect(
    profile: str | Profile | None = None,
    *,
    namespace: str | None = None,
    config_file: Path | None = None,
    converter: DataConverterOptions | None = None,
    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter,
    interceptors: Sequence[Interceptor] = (),
    plugins: Sequence[Plugin] = (),
    identity: str | None = None,
    runtime: Runtime | None = None,
    lazy: bool = False,
) -> Client:
    """Connect as a profile says: the named one, else TEMPORAL_PROFILE's, else `default`.

    `namespace` replaces the profile's; `converter` replaces its settings for payloads. What is not named here
    is as `Client.connect` has it by default, except that headers go through the codec too, and that requests
    are not gzipped where payloads are encrypted: ciphertext does not shrink.

    Raises:
        ProfileError: the profile is not usable, its client certificate is out of its dates, or it would send payloads
            or an API key readable by mistake.
        KeyRingError: its key ring is missing or not usable.
        codec.KeyServiceError: its key service is not named rightly, or that service's client library is not installed.
        codec.OffloadError: its object store is not.
        ConnectFailed: the service cannot be reached, or refuses.
    """
    end_gently()
    chosen = profile if isinstance(profile, Profile) else load_profile(profile, config_file=config_file)
    options = converter or options_of(
        chosen, namespace=namespace, payload_converter_class=payload_converter_class
    )
    try:
        connection = chosen.connection.to_client_connect_config()
    except OSError as error:
        raise ProfileError(
            f"Profile {chosen.name!r} names the file {error.filename}, which cannot be read: "
            f"{error.strerror}."
        ) from error
    tls = connection.get("tls", False)
    api_key = connection.get("api_key")
    if api_key is not None and tls is False:
        refuse_key_in_the_clear(chosen.address)
    if isinstance(tls, TLSConfig) and tls.client_cert is not None:
        _refuse_outdated(chosen, tls.client_cert)
    try:
        # Last, so that it completes what the program's own plugins have set.
        all_plugins = (*plugins, TacitPlugin(chosen, converter=options))
    except (KeyRingError, KeyServiceError) as error:
        # So that a script's traceback ends at its call of this, with one sentence and none of the way.
        raise error.with_traceback(None) from None
    working_namespace = namespace or chosen.namespace
    try:
        return await Client.connect(
            chosen.address,
            namespace=working_namespace,
            api_key=api_key,
            tls=tls,
            rpc_metadata=connection.get("rpc_metadata", {}),
            data_converter=DataConverter(payload_converter_class=options.payload_converter_class),
            interceptors=interceptors,
            plugins=all_plugins,
            identity=identity,
            runtime=runtime,
            lazy=lazy,
        )
    except RuntimeError as error:
        fault = str(error)
        if not fault.startswith(FAILED):
            raise
        # A new one, for the reason that is above.
        raise ConnectFailed(
            why_not(chosen, fault, tls=tls is not False, shown=_what_was_shown(chosen, working_namespace))
        ) from None


def _refuse_outdated(profile: Profile, cert_pem: bytes) -> None:
    """Raise if the client certificate is out of its dates: the service would only close the connection.

    Raises:
        ProfileError: it has expired, is not valid yet, or is no certificate.
    """
    shown = _client_certificate(profile)
    try:
        certificate = x509.load_pem_x509_certificate(cert_pem)
    except ValueError:
        raise ProfileError(
            f"Profile {profile.name!r} names {shown}, which is no PEM certificate (-----BEGIN CERTIFICATE-----)."
        ) from None
    now = datetime.now(UTC)
    if now < (start := certificate.not_valid_before_utc):
        raise ProfileError(
            f"Profile {profile.name!r} names {shown}, which is valid only from {start:%Y-%m-%d %H:%M} UTC, and this "
            f"machine's clock says {now:%Y-%m-%d %H:%M} UTC: set the clock, or wait."
        )
    if now > (end := certificate.not_valid_after_utc):
        raise ProfileError(
            f"Profile {profile.name!r} names {shown}, which expired on {end:%Y-%m-%d %H:%M} UTC. Issue another, "
            f"`{_issue_command(profile, certificate, now)}`, and name its two files in {profile.config_file}."
        )


def _issue_command(profile: Profile, certificate: x509.Certificate, now: datetime) -> str:
    """The command that makes a successor of a certificate, beside it where its file is known."""
    path = _certificate_path(profile)
    folder = path.parent if path is not None else Path()
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    words: list[str | Path] = ["tacit", "cert", "issue"]
    if _is_ca_of(folder / "ca.pem", certificate):
        words += ["--ca", folder / "ca.pem", "--ca-key", folder / "ca.key"]
    else:
        words += ["--ca", "CA.pem", "--ca-key", "CA.key"]
    words += [
        "--name",
        str(names[0].value) if names else "worker",
        "--dir",
        folder,
        "--file",
        f"client-{now:%Y-%m-%d}",
    ]
    return shlex.join(str(word) for word in words)


def _is_ca_of(path: Path, certificate: x509.Certificate) -> bool:
    """Whether the CA in the file `path` is the one that signed `certificate`."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).subject == certificate.issuer
    except (OSError, ValueError):
        return False


def _what_was_shown(profile: Profile, namespace: str) -> str:
    """What to check after the service closed a TLS connection without an answer."""
    closed = f"{profile.address} closed the connection without an answer"
    tls = profile.connection.tls
    if tls is None or tls.client_cert is None:
        return (
            f"{closed}, and profile {profile.name!r} shows no client certificate: check whether the address takes "
            f"certificates only, and whether the namespace {namespace!r} has another address for API keys."
        )
    return (
        f"{closed}, as a service does that does not accept a certificate: check that {_client_certificate(profile)} "
        f"is signed by a CA of the namespace {namespace!r} (`tacit namespace get {namespace}` shows them)."
    )


def _client_certificate(profile: Profile) -> str:
    path = _certificate_path(profile)
    return f"the client certificate {path}" if path is not None else "a client certificate"


def _certificate_path(profile: Profile) -> Path | None:
    tls = profile.connection.tls
    return tls.client_cert if tls is not None and isinstance(tls.client_cert, Path) else None
