"""Profiles: where to connect, as whom, and with which payload settings.

The connection is Temporal's own environment configuration, read by Temporal's own code: `temporal.toml`,
TEMPORAL_PROFILE, TEMPORAL_ADDRESS and the rest. What concerns payloads is in `tacit.toml` beside it (see
`sdk.settings`).
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
from temporalio.envconfig import ClientConfigProfile

from codec import KeyRingError, SecretFileError, load_key_ring, sole_writer, write_secret_file
from sdk.errors import ProfileError
from sdk.loopback import is_loopback_address
from sdk.settings import VERSION, CodecSettings, read_document, read_settings, read_toml

DEFAULT_PROFILE = "default"
DEFAULT_ADDRESS = "127.0.0.1:7233"
DEFAULT_NAMESPACE = "default"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CONNECTION_FIELDS = frozenset({"address", "namespace", "api_key", "tls"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """One profile, as read from files and environment."""

    name: str
    # Holds the API key.
    connection: ClientConfigProfile = dataclasses.field(repr=False)
    codec: CodecSettings
    config_file: Path

    @property
    def address(self) -> str:
        """`host:port` of the service."""
        return self.connection.address or DEFAULT_ADDRESS

    @property
    def namespace(self) -> str:
        """The namespace that a client of this profile works in."""
        return self.connection.namespace or DEFAULT_NAMESPACE


def default_config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where `temporal.toml` is: TEMPORAL_CONFIG_FILE, else the official CLI's and SDKs' default place."""
    variables = os.environ if environment is None else environment
    if chosen := variables.get("TEMPORAL_CONFIG_FILE"):
        return Path(chosen)
    home = Path(variables.get("HOME") or Path.home())
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "temporalio" / "temporal.toml"


def settings_file(config_file: Path) -> Path:
    """Where the `tacit.toml` is that belongs to a `temporal.toml`."""
    return config_file.with_name("tacit.toml")


def load_profile(
    name: str | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Profile:
    """Read a profile: the named one, else TEMPORAL_PROFILE's, else `default`.

    `environment` stands in for the process's own variables. The default profile need not exist; then it is
    what the environment says.

    Raises:
        ProfileError: the profile is not there, a file is damaged, or a setting is wrong.
    """
    variables = dict(os.environ if environment is None else environment)
    path = config_file or default_config_file(variables)
    chosen = name or variables.get("TEMPORAL_PROFILE") or DEFAULT_PROFILE
    variables["TEMPORAL_CONFIG_FILE"] = str(path)
    # Read here first for errors that name the file; Temporal's reader then gives the values their meaning.
    profiles = read_toml(path).get("profile", {})
    if not isinstance(profiles, dict):
        raise ProfileError(f"{path}: profile is not a table.")
    if chosen != DEFAULT_PROFILE and chosen not in profiles:
        known = ", ".join(profiles) or "none"
        raise ProfileError(
            f"There is no profile {chosen!r} in {path} (there: {known}), which says where to connect: write "
            f'[profile.{chosen}] with address = "HOST:PORT" and namespace = "NAME" into it, or let `tacit namespace create` '
            "or `tacit signup` do so."
        )
    # Temporal's reader takes a default profile that is nowhere for an empty one only if nobody names it.
    variables.pop("TEMPORAL_PROFILE", None)
    wanted = chosen if chosen in profiles else None
    try:
        connection = ClientConfigProfile.load(wanted, override_env_vars=variables)
    except RuntimeError as error:
        raise ProfileError(f"Profile {chosen!r} of {path} is not usable: {error}") from error
    return Profile(
        name=chosen,
        connection=connection,
        codec=read_settings(settings_file(path), chosen, variables),
        config_file=path,
    )


def profiles_with_keys_for(path: Path, names: Collection[str], *, besides: str) -> dict[str, CodecSettings]:
    """The profiles of the `temporal.toml` at `path`, but `besides`, whose key ring or key service is for one of `names`.

    That is, whose namespace or payloads' binding is among them: what they wrote, a second ring cannot read.
    Profiles that are damaged are left out; a key ring whose file is lost counts by its profile.
    """
    found = {}
    for other in _profiles_besides(path, besides):
        ring = other.codec.key_ring
        if ring is None and other.codec.key_provider is None:
            continue
        if not {other.namespace, _binding(other.codec, ring)}.isdisjoint(names):
            found[other.name] = other.codec
    return found


def new_key_ring_path(profile: Profile) -> Path:
    """Where the key ring of a profile without one goes: `keyring.json` beside its files, or, if that is another profile's,
    a file named after it.
    """
    usual = profile.config_file.with_name("keyring.json")
    rings = [other.codec.key_ring for other in _profiles_besides(profile.config_file, profile.name)]
    taken = any(ring is not None and ring.resolve() == usual.resolve() for ring in rings)
    if taken and _FILE_NAME.fullmatch(profile.name):
        return usual.with_name(f"{profile.name}.keyring.json")
    return usual


def _profiles_besides(path: Path, besides: str) -> Iterator[Profile]:
    """The other profiles of a `temporal.toml`, without what the environment says. Damaged ones are left out."""
    profiles = read_toml(path).get("profile", {})
    # The default one may be in `tacit.toml` alone.
    for name in dict.fromkeys((*(profiles if isinstance(profiles, dict) else ()), DEFAULT_PROFILE)):
        if name != besides:
            with suppress(ProfileError):
                yield load_profile(name, config_file=path, environment={})


def _binding(settings: CodecSettings, ring: Path | None) -> str | None:
    if settings.binding is not None or ring is None:
        return settings.binding
    try:
        return load_key_ring(ring).binding
    except KeyRingError:
        return None


def write_profile(
    path: Path,
    name: str,
    *,
    address: str,
    namespace: str,
    server_ca_pem_path: Path | None = None,
    client_cert_path: Path | None = None,
    client_key_path: Path | None = None,
    api_key: str | None = None,
    server_name: str | None = None,
    tls: bool = True,
    codec: CodecSettings | None = None,
) -> None:
    """Add or replace one profile in the `temporal.toml` at `path` and in the `tacit.toml` beside it.

    Other profiles stay, as do fields of this one that are not about the connection (`grpc_meta`). Without
    `codec` the profile's settings for payloads stay as they are. Both files get mode 0600. Comments are lost:
    TOML writers do not keep them.

    Raises:
        ProfileError: a client certificate without its key, a credential without TLS to another machine, a
        file
            that is there but damaged, or one that cannot be written.
    """
    if (client_cert_path is None) != (client_key_path is None):
        raise ProfileError(
            "A client certificate and its private key go together: give both paths, or neither."
        )
    if not tls and (client_cert_path or server_ca_pem_path or server_name):
        raise ProfileError("Certificates and a server name are for TLS; leave them out, or leave TLS on.")
    if not tls and api_key:
        refuse_key_in_the_clear(address)
    table: dict[str, Any] = {"address": address, "namespace": namespace}
    if api_key is not None:
        table["api_key"] = api_key
    paths = {
        "server_ca_cert_path": server_ca_pem_path,
        "client_cert_path": client_cert_path,
        "client_key_path": client_key_path,
    }
    table["tls"] = {"disabled": not tls} | {field: str(one.resolve()) for field, one in paths.items() if one}
    if server_name:
        table["tls"]["server_name"] = server_name
    try:
        with sole_writer(path):
            connections = read_toml(path)
            profiles = connections.setdefault("profile", {})
            if not isinstance(profiles, dict) or not isinstance(before := profiles.get(name, {}), dict):
                raise ProfileError(
                    f"{path}: profile, or profile.{name}, is not a table. Mend it, or move it away."
                )
            kept = {field: value for field, value in before.items() if field not in _CONNECTION_FIELDS}
            profiles[name] = table | kept
            if codec is not None:
                # First, so that a crash in between cannot leave a connection without its encryption.
                write_settings(path, name, codec)
            write_secret_file(path, tomli_w.dumps(connections).encode())
    except SecretFileError as error:
        raise ProfileError(str(error)) from None


def write_settings(config_file: Path, name: str, codec: CodecSettings) -> None:
    """Replace a profile's settings for payloads in the `tacit.toml` that belongs to `config_file`.

    Raises:
        ProfileError: the file is there but damaged, or cannot be written.
    """
    path = settings_file(config_file)
    try:
        with sole_writer(path):
            settings = read_document(path)
            settings["profile"][name] = codec.to_table()
            write_secret_file(path, tomli_w.dumps({"version": VERSION} | settings).encode())
    except SecretFileError as error:
        raise ProfileError(str(error)) from None


def refuse_key_in_the_clear(address: str) -> None:
    """Raise unless `address` is this very machine: an API key without TLS is read by all in between.

    Raises:
        ProfileError: it is another machine, or may be.
    """
    if not is_loopback_address(address):
        raise ProfileError(
            f"An API key would travel to {address} unencrypted. Switch TLS on for this profile."
        )
