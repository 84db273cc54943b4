"""What the commands of `tacit keys` share: options, the profile's key ring, errors, confirmations, rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cloud.cli.output import EXIT_MISUSED, fail
from codec import CodecError, Key, KeyRing, SecretFileError, Tombstone, update_key_ring
from sdk import KeySource, ProfileError, SdkError, load_profile
from sdk.converter import options_of
from sdk.profile import new_key_ring_path

_T = TypeVar("_T")

KeyRingOption = Annotated[
    Path | None,
    typer.Option(
        "--key-ring",
        "-k",
        help="The key ring's file. By default the profile's, else keyring.json beside temporal.toml (NAME.keyring.json where "
        "another profile has that).",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="The profile whose key ring is meant.", show_default=False),
]
KeyIdArgument = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's id, as `tacit keys list` shows it.")
]


def ring_path(key_ring: Path | None, profile: str | None) -> Path:
    """The key ring's file: the option, else the profile's setting, else where a new one of this profile goes."""
    if key_ring is not None:
        return key_ring.expanduser()
    chosen = do(lambda: load_profile(profile))
    provider = chosen.codec.key_provider
    if chosen.codec.key_ring is None and provider is not None:
        fail(
            f"the keys of profile {chosen.name!r} come from {provider.partition('?')[0]} and are rotated, disabled and "
            "destroyed there; this command works on a key ring's file (--key-ring FILE)"
        )
    return chosen.codec.key_ring or do(lambda: new_key_ring_path(chosen))


def key_source(key_ring: Path | None, profile: str | None) -> KeySource:
    """Where the profile's keys come from, or the key ring that is named instead.

    Raises:
        ProfileError: the profile is not usable, or has no keys.
    """
    if key_ring is not None:
        return KeySource(namespace="", ring=key_ring.expanduser())
    chosen = load_profile(profile)
    found = options_of(chosen).key_ring
    match found:
        case KeySource():
            return found
        case Path():
            return KeySource(namespace=chosen.namespace, binding=chosen.codec.binding, ring=found)
    raise ProfileError(f"Profile {chosen.name!r} has encryption off, so it has no keys.")


def source_of_ring(path: Path, profile: str | None) -> KeySource | None:
    """Where the profile's keys come from, if they come from this key ring.

    Raises:
        ProfileError: the profile is damaged.
    """
    settings = load_profile(profile).codec
    if settings.key_ring is None or settings.key_ring.resolve() != path.resolve():
        return None
    return key_source(None, profile)


def change_ring(key_ring: Path | None, profile: str | None, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """The profile's key ring, changed and written."""
    path = ring_path(key_ring, profile)
    return do(lambda: update_key_ring(path, change))


def do(work: Callable[[], _T]) -> _T:
    """The result of `work`; its expected faults end the command with their sentence."""
    try:
        return work()
    except (CodecError, SdkError, SecretFileError) as error:
        fail(str(error))


def row(key: Key | Tombstone, ring: KeyRing) -> dict[str, object]:
    """A key as it is shown: never its bytes."""
    return {
        "key_id": key.id,
        "state": key.state,
        "created": key.created,
        "age_days": (datetime.now(UTC) - key.created).days,
        "destroyed": key.destroyed if isinstance(key, Tombstone) else None,
        "binding": ring.binding,
    }


def row_of(ring: KeyRing, key_id: str) -> dict[str, object]:
    """The ring's key of that id as it is shown."""
    return next(row(key, ring) for key in ring.records if key.id == key_id)


def confirm(name: str, consequence: str) -> None:
    """End the command unless `name` is typed once more."""
    if not sys.stdin.isatty():
        fail(f"{consequence}; give --yes where nobody can be asked.", EXIT_MISUSED)
    if typer.prompt(f"{consequence}. Type {name} to go on", err=True, default="", show_default=False) != name:
        fail(f"{name} was not typed: nothing is changed.")
