"""The service's settings: one typed object, from a TOML file and ``TACIT_*`` environment variables of the same names.

Order, later wins: defaults, file, environment, command line. A name that does not exist is an error, not a surprise.
"""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

PREFIX = "TACIT_"
_NOT_SETTINGS = ("TACIT_SIGNUP_TOKEN", "TACIT_SCENARIOS_", "TACIT_CODEC_")
"""Variables of the prefix that belong to clients or to tests, by how they begin."""


class SignupPolicy(enum.Enum):
    """Who may make an account."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - a policy's name
    CLOSED = "closed"


class Transport(enum.Enum):
    """What carries gRPC. Both behave alike; ours costs a fraction, the other is there should a client not get along with it."""

    HTTP2 = "http2"  # our own
    GRPC = "grpc"  # grpcio


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `tacit up` runs with. Ports: 0 takes a free one."""

    data: str = "tacit-data"
    """Directory of databases, keys and certificates, private to the service's user."""
    database: str = ""
    """The cell's database: a file, sqlite:///FILE or postgresql://…; empty: cell.db in `data`."""
    control_database: str = ""
    """The control plane's database; empty: control.db in `data`."""
    host: str = "127.0.0.1"
    """Address that the listeners bind; 0.0.0.0 for all."""
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    """DNS names and addresses that clients call the service by; they stand in its own certificate."""
    mtls_port: int = 7233
    api_port: int = 7234
    certificate: str = ""
    """PEM chain to show instead of one of our own; with `key`."""
    key: str = ""
    outbound_private: bool = False
    """Whether what tenants name (Nexus endpoints, callbacks) may be called at private addresses, and without TLS."""
    signup: SignupPolicy = SignupPolicy.TOKEN
    region: str = "local"
    transport: Transport = Transport.HTTP2

    @property
    def data_path(self) -> Path:
        """`data` as a path."""
        return Path(self.data)

    @property
    def database_url(self) -> str:
        """Where the cell keeps its rows."""
        return self.database or str(self.data_path / "cell.db")

    @property
    def control_database_url(self) -> str:
        """Where the control plane keeps its rows."""
        return self.control_database or f"sqlite:///{self.data_path / 'control.db'}"


class SettingsError(Exception):
    """The settings can't be used; the sentence names the file or variable, and what is right."""


def load(
    config: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings. `overrides` are the command line's; None values in it are not given.

    Raises:
        SettingsError: the file can't be read, or a value is of no use.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values.update(tomllib.loads(config.read_text(encoding="utf-8")))
        except OSError as error:
            raise SettingsError(f"the settings file {config} can't be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"the settings file {config} is no TOML: {error}") from error
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(_NOT_SETTINGS):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known:
            raise SettingsError(
                f"the environment variable {variable} is no setting; settings are "
                + ", ".join(f"{PREFIX}{field.upper()}" for field in known)
            )
        values[name] = text.split(",") if name == "names" else text
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"the settings{f' (file {config})' if config else ''} are wrong: {error}"
        ) from error
    if bool(settings.certificate) != bool(settings.key):
        raise SettingsError("the settings `certificate` and `key` belong together: give both or neither")
    return settings
