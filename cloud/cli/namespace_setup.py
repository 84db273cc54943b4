"""The client's side of a new namespace: its CA, a client certificate, a key ring and a profile, made on this machine.

    <directory>/<namespace>/ca.pem, ca.key           the CA: the certificate goes to the service, the key stays
                            client.pem, client.key   what workers show
                            keyring.json             what payloads are encrypted with

What is there already is used and never replaced, so that a command that broke off can be run again.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import typer

from cloud.cli.output import EXIT_MISUSED, fail
from codec import KeyRing, KeyRingError, create_key_ring, load_key_ring
from sdk import (
    CodecSettings,
    ProfileError,
    SdkError,
    create_ca,
    default_config_file,
    issue_client,
    load_profile,
    read_ca,
    write_pair,
    write_profile,
    write_settings,
)
from sdk.profile import DEFAULT_PROFILE
from tenancy.names import namespace_name_faults


@dataclass(frozen=True, kw_only=True)
class NamespaceFiles:
    """Paths of what was made for a namespace, and the CA's certificate for the service."""

    ca: Path
    client_certificate: Path
    client_key: Path
    key_ring: Path
    ca_pem: bytes


class Litter:
    """Files and folders that a command makes: those that were not there before are taken away again if it is refused."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def expect(self, path: Path) -> None:
        """`path` is made next, with the folders above it that are missing."""
        missing = [each for each in (path, *path.parents) if not each.exists() and each not in self._made]
        self._made.extend(reversed(missing))

    def clear(self) -> None:
        """Take away what was made; a folder that holds something else stays."""
        for path in reversed(self._made):
            with contextlib.suppress(OSError):  # what can't be taken away is harmless
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        self._made.clear()


def default_directory() -> Path:
    """Where files go if nothing is said: beside temporal.toml."""
    return default_config_file().parent


def make_files(directory: Path, namespace: str, organization: str, litter: Litter) -> NamespaceFiles:
    """Make what is missing of a namespace's files; ends the command if it can't."""
    folder = directory / namespace
    ring = folder / "keyring.json"
    bare_name = namespace.partition(".")[0]
    for name in ("ca.pem", "ca.key", "client.pem", "client.key", "keyring.json"):
        litter.expect(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (folder / "ca.pem").exists():
            authority = read_ca(folder / "ca.pem", folder / "ca.key")
        else:
            # The full name, which nobody else's CA has: TLS tells CAs apart by their subjects.
            authority = create_ca(f"{namespace} CA", organization)
            write_pair(folder, "ca", authority)
        if not (folder / "client.pem").exists():
            write_pair(folder, "client", issue_client(authority, f"{bare_name} worker"))
        if ring.exists():
            load_key_ring(ring)
        else:
            create_key_ring(ring, KeyRing.create(namespace))
    except (SdkError, KeyRingError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{folder} can't be written: {error.strerror}; choose another --dir")
    return NamespaceFiles(
        ca=folder / "ca.pem",
        client_certificate=folder / "client.pem",
        client_key=folder / "client.key",
        key_ring=ring,
        ca_pem=authority.cert_pem,
    )


def write_worker_profile(
    name: str,
    files: NamespaceFiles,
    *,
    namespace: str,
    address: str,
    server_ca: Path | None,
    object_store: str | None,
    control_profile: str,
) -> None:
    """Write the profile with which workers and clients connect; ends the command if it can't.

    The settings for payloads also go to the `control_profile` if it is about the same namespace and has no key ring:
    a worker that connects with its API key reads and writes the same payloads.
    """
    path = default_config_file()
    codec = CodecSettings(key_ring=files.key_ring.resolve(), binding=namespace, object_store=object_store)
    try:
        write_profile(
            path,
            name,
            address=address,
            namespace=namespace,
            server_ca_pem_path=server_ca,
            client_cert_path=files.client_certificate,
            client_key_path=files.client_key,
            codec=codec,
        )
        control = load_profile(control_profile, config_file=path, environment={})
        if control.namespace == namespace and control.codec.key_ring is None:
            write_settings(path, control.name, codec)
    except SdkError as error:
        fail(str(error))


def refuse_taken_profile(name: str, option: str, *, replace: bool) -> None:
    """End the command if the profile is there already, before anything is made: it may hold the only copy of a key."""
    if replace:
        return
    path = default_config_file()
    try:
        profile = load_profile(name, config_file=path, environment={})
    except ProfileError:
        return  # there is none; a damaged file is told of where it is written
    if name == DEFAULT_PROFILE and profile.connection.address is None:
        return
    fail(f"{path} has a profile {name!r} already; choose another {option}, or give --replace", EXIT_MISUSED)


def refuse_bad_name(name: str, option: str) -> None:
    """End the command if this can't be a namespace's name, before anything is made."""
    for fault in namespace_name_faults(name):
        fail(f"{option} {name[:64]!r} {fault.problem}", EXIT_MISUSED)


def read_file(path: Path, what: str) -> bytes:
    """A file that an option names; ends the command if it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"the {what} {path} can't be read: {error.strerror}", EXIT_MISUSED)


def keep_server_ca(directory: Path, content: bytes, litter: Litter) -> Path:
    """A copy of the service's CA beside the other files, so that the profile holds when the original moves.

    Named by its content: another service's CA in the same directory stays what it is.
    """
    path = directory / f"server-ca-{hashlib.sha256(content).hexdigest()[:8]}.pem"
    litter.expect(path)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)
    except OSError as error:
        fail(f"{path} can't be written: {error.strerror}; choose another --dir")
    return path


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what can't be undone; without a terminal `--yes` is needed."""
    if yes:
        return
    if not typer.get_text_stream("stdin").isatty():
        fail("this can't be undone; give --yes to do it without being asked", EXIT_MISUSED)
    typer.confirm(question, abort=True, err=True)
