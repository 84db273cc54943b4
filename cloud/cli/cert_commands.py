"""`tacit cert`: CAs and client certificates, made on this machine. The private keys never leave it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cloud.cli.durations import duration
from cloud.cli.namespace_setup import default_directory, read_file
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from sdk import SdkError, create_ca, issue_client, read_ca, write_pair

app = typer.Typer(
    no_args_is_help=True,
    help="Make certificates for workers and clients. Keys stay on this machine.",
    epilog="Example: tacit cert show certs/client.pem",
)

DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory of the files; else beside temporal.toml.", show_default=False),
]


@app.command(epilog="Example: tacit cert ca --name 'orders.f45a2 CA' --organization Acme --dir certs")
def ca(
    name: Annotated[
        str,
        typer.Option(
            "--name", help="The CA's common name; with a namespace's full name in it, nobody else has it."
        ),
    ],
    organization: Annotated[str, typer.Option("--organization", help="Your organisation.")],
    valid_for: Annotated[str, typer.Option("--valid-for", help="At most a year, such as 365d.")] = "365d",
    file: Annotated[str, typer.Option("--file", help="Name of the two files, without ending.")] = "ca",
    directory: DirectoryOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a CA. Upload its certificate with `tacit namespace update NAME --add-ca`; keep its key safe."""
    lifetime = _lifetime(valid_for)
    try:
        authority = create_ca(name, organization, lifetime)
        certificate, key = write_pair(directory or default_directory(), file, authority)
    except SdkError as error:
        fail(str(error))
    emit({"certificate": certificate, "key": key, **_facts(authority.cert_pem)}, output)
    note("The key signs certificates for your namespaces: keep it where only you can read it.")


@app.command(
    epilog="Example: tacit cert issue --ca certs/ca.pem --ca-key certs/ca.key --name worker-7 --dir certs"
)
def issue(
    name: Annotated[str, typer.Option("--name", help="The certificate's common name.")],
    ca_file: Annotated[Path, typer.Option("--ca", help="The CA's certificate.")],
    ca_key: Annotated[Path, typer.Option("--ca-key", help="The CA's key.")],
    unit: Annotated[str | None, typer.Option("--unit", help="Organisational unit, for filters.")] = None,
    valid_for: Annotated[str, typer.Option("--valid-for", help="Such as 90d or 12h.")] = "90d",
    file: Annotated[str, typer.Option("--file", help="Name of the two files, without ending.")] = "client",
    directory: DirectoryOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Issue a client certificate with a new key."""
    lifetime = _lifetime(valid_for)
    try:
        pair = issue_client(read_ca(ca_file, ca_key), name, lifetime, organizational_unit=unit)
        certificate, key = write_pair(directory or default_directory(), file, pair)
    except SdkError as error:
        fail(str(error))
    emit({"certificate": certificate, "key": key, **_facts(pair.cert_pem)}, output)


@app.command(epilog="Example: tacit cert show certs/client.pem")
def show(
    file: Annotated[Path, typer.Argument(help="PEM file with one certificate or more.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what stands in certificates: names, dates, fingerprints."""
    try:
        certificates = x509.load_pem_x509_certificates(read_file(file, "certificate"))
    except ValueError:
        fail(f"{file} holds no PEM certificate (-----BEGIN CERTIFICATE-----)", EXIT_MISUSED)
    emit([_facts_of(one) for one in certificates], output)


def _lifetime(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        fail(f"--valid-for: {error}", EXIT_MISUSED)


def _facts(pem: bytes) -> dict[str, object]:
    return _facts_of(x509.load_pem_x509_certificate(pem))


def _facts_of(certificate: x509.Certificate) -> dict[str, object]:
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "is_ca": is_ca,
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }
