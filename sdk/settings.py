"""What a profile says about payloads, which Temporal's own configuration has no place for.

It is in `tacit.toml` beside `temporal.toml`, as the official CLI drops what it does not know when it writes
its file. Format, version 1, one table per profile of the same name (all fields optional)::

    version = 1

    [profile.default]
    encryption = "on"                      # "off": payloads go out readable
    key-ring = "orders.keyring.json"       # relative to this file
    key-provider = "aws-kms:arn:aws:kms:…" # a key service for new payloads, beside or instead of a key ring; or "env:NAME"
    key-provider-also = ["gcp-kms:…"]      # key services whose payloads are read too
    subject-keys = "file:///srv/subjects"  # or s3://…: a store with a key for each subject, so that one can be forgotten
    subject = "(customer-[0-9]+)-"         # "workflow" (each is one), or what a workflow's id begins with
    subject-required = false               # true: what is nobody's is not sent, as it could not be forgotten
    data-key-seconds = 3600                # how long a key service's data keys are used and kept
    data-key-grace-seconds = 14400         # how much longer, while the service can't be reached
    binding = "orders.acme"                # only where it differs from the key ring's own
    write-format = "tacit"                 # "samples": the official samples' format
    samples-writers = 64                   # how many machines may write with one key in the samples' format
    refuse-plaintext = false               # true: an unencrypted payload from the service is an error
    bind-workflow = false                  # true: a payload is readable only in the workflow it was written for
    refuse-unbound = false                 # true: a payload that is bound to no workflow is an error
    padding = false                        # true: lengths are hidden, for up to 12 % more bytes
    compression = true
    decode-bytes-max = 268435456           # what the payloads of one message may become, fetched and decompressed, in all
    object-store = "s3://bucket/prefix"    # or file:///directory; absent: nothing is offloaded
    offload-threshold-bytes = 262144
    readable-namespaces = ["billing.acme"] # whose offloaded payloads may be read too
    object-store-options = { region = "eu-central-1" }
    local-namespace = "orders"             # what workers behind `tacit codec proxy` call the namespace
    offload-types = ["Import*", "resize"]  # only of these workflows and activities; absent: of all
    object-store-cache = "cache"           # a directory of this machine's own for objects read and written; absent: none
    object-store-cache-bytes = 1073741824
    blind-index = ["CustomerId"]           # search attributes (keywords) that the service stores as keyed hashes
    blind-index-key-ring = "index.json"    # their keys, made by `tacit keys init`; absent: key-ring's

`TACIT_CODEC_<FIELD>` (as in TACIT_CODEC_KEY_RING) replaces a field's value, as TEMPORAL_* does for the
connection. A field that is not known is an error: a misspelt security setting must not be ignored.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from codec import (
    DECODE_BYTES_MAX,
    OBJECT_CACHE_BYTES,
    OFFLOAD_THRESHOLD_BYTES,
    SAMPLES_WRITERS,
    EnvelopeBounds,
    WriteFormat,
)
from sdk.errors import ProfileError

VERSION = 1
ENVIRONMENT_PREFIX = "TACIT_CODEC_"


class Encryption(enum.StrEnum):
    """Whether a profile's payloads are encrypted."""

    ON = "on"
    OFF = "off"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecSettings:
    """A profile's settings for payloads. Without a key ring, and with `encryption` on, it cannot connect."""

    encryption: Encryption = Encryption.ON
    key_ring: Path | None = None
    # A URL may hold a token, though none should.
    key_provider: str | None = dataclasses.field(default=None, repr=False)
    key_provider_also: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    subject_keys: str | None = None
    subject: str = "workflow"
    subject_required: bool = False
    data_key_seconds: int = int(EnvelopeBounds.seal_age_seconds)
    data_key_grace_seconds: int = int(EnvelopeBounds.grace_seconds)
    binding: str | None = None
    write_format: WriteFormat = WriteFormat.TACIT
    samples_writers: int = SAMPLES_WRITERS
    refuse_plaintext: bool = False
    bind_workflow: bool = False
    refuse_unbound: bool = False
    padding: bool = False
    compression: bool = True
    decode_bytes_max: int = DECODE_BYTES_MAX
    object_store: str | None = None
    offload_threshold_bytes: int = OFFLOAD_THRESHOLD_BYTES
    readable_namespaces: tuple[str, ...] = ()
    local_namespace: str | None = None
    # May hold an access key.
    object_store_options: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    offload_types: tuple[str, ...] = ()
    object_store_cache: Path | None = None
    object_store_cache_bytes: int = OBJECT_CACHE_BYTES
    blind_index: tuple[str, ...] = ()
    blind_index_key_ring: Path | None = None

    @property
    def keys_setting(self) -> str | None:
        """The line of `tacit.toml` that says where keys come from; None if none does."""
        if self.key_provider is not None:
            return f'key-provider = "{self.key_provider}"'
        return None if self.key_ring is None else f'key-ring = "{self.key_ring}"'

    def to_table(self) -> dict[str, Any]:
        """The profile's table of `tacit.toml`; what is as by default is left out."""
        table: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            default = field.default_factory() if callable(field.default_factory) else field.default
            if value != default:
                table[_name(field.name)] = _plain(value)
        return table


def read_settings(path: Path, profile: str, environment: Mapping[str, str]) -> CodecSettings:
    """A profile's settings from `tacit.toml` at `path` (which may be missing) and the environment.

    Raises:
        ProfileError: not TOML, another version, an unknown field, or a value of the wrong kind.
    """
    table = read_document(path)["profile"].get(profile, {})
    if not isinstance(table, dict):
        raise ProfileError(f"{path}: profile.{profile} is not a table.")
    values = {
        field: _from_toml(field, value, path.parent, where=f"{path}, profile {profile}")
        for field, value in table.items()
    }
    for field in _READERS:
        variable = ENVIRONMENT_PREFIX + field.replace("-", "_").upper()
        if variable in environment:
            values[field] = _from_text(field, environment[variable], where=variable)
    return CodecSettings(**{field.replace("-", "_"): value for field, value in values.items()})


def read_document(path: Path) -> dict[str, Any]:
    """The whole of `tacit.toml`, empty if there is none.

    Raises:
        ProfileError: not TOML, or of another version.
    """
    document = read_toml(path)
    if document and document.get("version") != VERSION:
        raise ProfileError(
            f"{path} has version {str(document.get('version'))[:20]}, and this Tacit reads {VERSION}. "
            f"Add `version = {VERSION}` at its top, or use a newer Tacit."
        )
    if unknown := sorted(set(document) - {"version", "profile"}):
        raise ProfileError(f"{path} has a table {unknown[0]!r}, which this Tacit does not know.")
    document.setdefault("profile", {})
    if not isinstance(document["profile"], dict):
        raise ProfileError(f"{path}: profile is not a table.")
    return document


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, empty if there is none.

    Raises:
        ProfileError: it cannot be read, or is not TOML.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # A TOML error gives the place, never the text there, which might be a key.
        raise ProfileError(f"{path} is not valid TOML: {error}. Mend it, or move it away.") from None


def _from_toml(field: str, value: Any, directory: Path, *, where: str) -> Any:
    reader = _READERS.get(field)
    if reader is None:
        known = ", ".join(_READERS)
        raise ProfileError(f"{where}: there is no setting {field!r}; there are {known}.")
    result = reader(value)
    if result is None:
        raise ProfileError(f"{where}: {field} must be {_KINDS[reader]}.")
    # Relative paths are meant from the file that says them, wherever the program runs.
    return directory / result if isinstance(result, Path) else result


def _from_text(field: str, text: str, *, where: str) -> Any:
    value: Any = text
    match field:
        case (
            "refuse-plaintext"
            | "subject-required"
            | "bind-workflow"
            | "refuse-unbound"
            | "padding"
            | "compression"
        ):
            value = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())
        case (
            "samples-writers"
            | "decode-bytes-max"
            | "offload-threshold-bytes"
            | "object-store-cache-bytes"
            | "data-key-seconds"
            | "data-key-grace-seconds"
        ):
            value = int(text) if text.strip().isdecimal() else None
        case "key-provider-also":
            value = text.split()
        case "readable-namespaces" | "offload-types" | "blind-index":
            value = [part.strip() for part in text.split(",") if part.strip()]
        case "object-store-options":
            value = dict(pair.strip().split("=", 1) for pair in text.split(",") if "=" in pair)
    reader = _READERS[field]
    result = None if value is None else reader(value)
    if result is None:
        raise ProfileError(f"{where} must be {_KINDS[reader]}.")
    return result


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _path(value: Any) -> Path | None:
    return Path(value).expanduser() if isinstance(value, str) and value else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _size(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _bound(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _writers(value: Any) -> int | None:
    return value if type(value) is int and 1 <= value <= 1_000_000 else None


def _age(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _grace(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(_text(one) for one in value) else None


def _urls(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(_text(one) for one in value) else None


def _pattern(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        re.compile(value)
    except re.error:
        return None
    return value


def _texts(value: Any) -> dict[str, str] | None:
    return value if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()) else None


def _encryption(value: Any) -> Encryption | None:
    return Encryption(value) if value in list(Encryption) else None


def _write_format(value: Any) -> WriteFormat | None:
    return WriteFormat(value) if value in list(WriteFormat) else None


_KINDS: Mapping[Callable[[Any], object], str] = {
    _text: "a text that is not empty",
    _path: "a path",
    _flag: "true or false",
    _size: "a number of bytes, 0 or more",
    _bound: "a number of bytes, 1 or more",
    _grace: "a number of seconds, 0 or more",
    _age: "a number of seconds, 1 or more",
    _writers: "a number of machines, 1 to 1000000",
    _names: "a list of names",
    _urls: "a list of URLs (in a variable: with spaces between)",
    _pattern: '"workflow" or a regular expression',
    _texts: "a table of texts",
    _encryption: '"on" or "off"',
    _write_format: '"tacit" or "samples"',
}
_READERS: Mapping[str, Callable[[Any], object]] = {
    "encryption": _encryption,
    "key-ring": _path,
    "key-provider": _text,
    "key-provider-also": _urls,
    "subject-keys": _text,
    "subject": _pattern,
    "subject-required": _flag,
    "data-key-seconds": _age,
    "data-key-grace-seconds": _grace,
    "binding": _text,
    "write-format": _write_format,
    "samples-writers": _writers,
    "refuse-plaintext": _flag,
    "bind-workflow": _flag,
    "refuse-unbound": _flag,
    "padding": _flag,
    "compression": _flag,
    "decode-bytes-max": _bound,
    "object-store": _text,
    "offload-threshold-bytes": _size,
    "readable-namespaces": _names,
    "object-store-options": _texts,
    "local-namespace": _text,
    "offload-types": _names,
    "object-store-cache": _path,
    "object-store-cache-bytes": _size,
    "blind-index": _names,
    "blind-index-key-ring": _path,
}


def _name(attribute: str) -> str:
    return attribute.replace("_", "-")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, enum.StrEnum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
