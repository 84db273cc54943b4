"""`tacit keys`: the key ring that payloads are encrypted with. It works on a file of the customer's; the service
has no part in it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from codec import (
    CodecError,
    Key,
    KeyMaterial,
    KeyRing,
    KeyRingError,
    KeyState,
    SecretFileError,
    Tombstone,
    create_key_ring,
    export_keys,
    import_keys,
    load_key_ring,
    read_secret_file,
    update_key_ring,
    write_secret_file,
)
from sdk import Profile, SdkError, default_config_file, load_profile, settings_file, write_settings
from sdk.profile import profiles_with_ring_for

app = typer.Typer(
    help="The key ring that encrypts your payloads. It is yours alone: the service never sees it.",
    epilog="Example: tacit keys init --binding orders.acme && tacit keys list",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

KEY_BYTES = 32
RAW_KEY_BYTES_MAX = 4096
_T = TypeVar("_T")

KeyRingOption = Annotated[
    Path | None,
    typer.Option(
        "--key-ring",
        "-k",
        help="The key ring's file. By default the profile's, else keyring.json beside temporal.toml.",
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


@app.command(epilog="Example: tacit keys init --binding orders.acme")
def init(
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    binding: Annotated[
        str | None,
        typer.Option(
            help="The name that payloads are bound to; by default the profile's namespace. It can't be changed later.",
            show_default=False,
        ),
    ] = None,
    key_id: Annotated[
        str | None,
        typer.Option(help="The first key's id; by default the day and random digits.", show_default=False),
    ] = None,
    second: Annotated[
        bool,
        typer.Option(
            "--second",
            help="Make it although another profile has a ring for this binding: neither reads what the other encrypts.",
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a key ring with one key. An existing file is never overwritten."""

    path = _path(key_ring, profile)
    chosen = _do(lambda: load_profile(profile))
    wanted = binding or chosen.namespace
    if not second:
        _refuse_second_ring(chosen, wanted)

    def work() -> KeyRing:
        ring = KeyRing.create(wanted, key_id=key_id)
        create_key_ring(path, ring)
        if chosen.codec.key_ring is None:
            # What stands in the file, without what the environment says on top of it.
            settings = load_profile(chosen.name, config_file=chosen.config_file, environment={}).codec
            write_settings(chosen.config_file, chosen.name, dataclasses.replace(settings, key_ring=path))
            note(f"Profile {chosen.name!r} uses this key ring from now on.")
        return ring

    ring = _do(work)
    emit({"key_ring": path, "binding": ring.binding, "key_id": ring.active.id}, output)
    note(
        "Keep a copy in a safe place: without this file nobody, the service included, can read what it "
        "encrypted."
    )


@app.command("list", epilog="Example: tacit keys list --output json")
def list_keys(
    key_ring: KeyRingOption = None, profile: ProfileOption = None, output: OutputOption = Output.TEXT
) -> None:
    """List the keys: ids, states and ages, never the keys themselves."""
    ring = _do(lambda: load_key_ring(_path(key_ring, profile)))
    emit([_row(key, ring) for key in ring.records], output)


@app.command(epilog="Example: tacit keys rotate --prepare")
def rotate(
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Only make the new key; `activate` it once every machine has it."),
    ] = False,
    key_id: Annotated[
        str | None,
        typer.Option(help="The new key's id; by default the day and random digits.", show_default=False),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Encrypt with a new key from now on. Older keys go on decrypting."""

    def change(ring: KeyRing) -> KeyRing:
        return ring.prepared(key_id=key_id) if prepare else ring.rotated(key_id=key_id)

    ring = _change(key_ring, profile, change)
    new = ring.keys[-1]
    emit(_row(new, ring), output)
    if prepare:
        note(
            f"Carry it to every machine (`tacit keys export {new.id}`, `tacit keys import`), then run "
            f"`tacit keys activate {new.id}` on each."
        )
    else:
        note(
            "Workers that follow this file use it in a few seconds. Workers elsewhere cannot read what it "
            "encrypts "
            f"until they have it: `tacit keys export {new.id}`, `tacit keys import`."
        )


@app.command(epilog="Example: tacit keys activate 2026-11-24-9f2c6a01")
def activate(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Encrypt with a key that is in the ring already."""
    ring = _change(key_ring, profile, lambda ring: ring.activated(key_id))
    emit(_row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys disable 2026-11-24-9f2c6a01")
def disable(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop a key from decrypting. It stays in the ring, so that `enable` can undo this."""
    ring = _change(key_ring, profile, lambda ring: ring.disabled(key_id))
    emit(_row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys enable 2026-11-24-9f2c6a01")
def enable(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let a disabled key decrypt again."""
    ring = _change(key_ring, profile, lambda ring: ring.enabled(key_id))
    emit(_row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys destroy 2025-01-07-11aa22bb")
def destroy(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the id once more.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Destroy a key: all that it encrypted is unreadable for ever. Its id and dates stay in the list."""
    path = _path(key_ring, profile)
    _do(lambda: load_key_ring(path).destroyed(key_id))
    if not yes:
        _confirm(key_id, f"Nothing will ever read again what key {key_id} encrypted")
    ring = _do(lambda: update_key_ring(path, lambda ring: ring.destroyed(key_id), erase_old=True))
    emit(_row_of(ring, key_id), output)
    note("Copies of this key ring on other machines and in backups still hold it: destroy it there too.")


@app.command("export", epilog="Example: tacit keys export --to for-worker-2.json")
def export_command(
    key_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY_ID]...", help="Which keys; by default the active one.", show_default=False
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="A new file (mode 0600). Without it the keys go to stdout, if that is a pipe.",
            show_default=False,
        ),
    ] = None,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write keys out for another machine's key ring. What is written is secret."""
    if to is None and sys.stdout.isatty():
        fail(
            "Keys are not shown on a terminal. Name a file (--to FILE), or pipe this to another command.",
            EXIT_MISUSED,
        )
    ring = _do(lambda: load_key_ring(_path(key_ring, profile)))
    chosen = key_ids or [ring.active.id]
    content = _do(lambda: export_keys(ring, chosen))
    if to is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    _do(lambda: write_secret_file(to, content, replace=False))
    emit({"file": to, "binding": ring.binding, "key_ids": chosen}, output)
    note("Send it by a way that you would trust with the data itself, and delete it afterwards.")


@app.command("import", epilog="Example: ssh worker-1 tacit keys export | tacit keys import -")
def import_command(
    file: Annotated[str, typer.Argument(help="What `tacit keys export` wrote; - reads stdin.")],
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    make_active: Annotated[
        bool, typer.Option("--activate", help="Encrypt with the (last) imported key from now on.")
    ] = False,
    raw_id: Annotated[
        str | None,
        typer.Option(
            "--raw",
            metavar="KEY_ID",
            help="FILE is one bare key of 32 bytes (or their hex or base64), to be known by this id.",
            show_default=False,
        ),
    ] = None,
    any_binding: Annotated[
        bool,
        typer.Option(
            "--any-binding", help="Accept keys that were exported from a ring with another binding."
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Add keys from another key ring, to read what it encrypted. Keys with the same id are never replaced."""

    def work() -> list[Key]:
        content = _read(file)
        keys: tuple[Key, ...]
        if raw_id is not None:
            keys, binding = (_raw_key(content, raw_id),), None
        else:
            binding, keys = import_keys(content, source="standard input" if file == "-" else file)
        if make_active and keys[-1].state is KeyState.DISABLED:
            raise KeyRingError(
                f"Key {keys[-1].id!r} was disabled where it comes from; import it without --activate."
            )
        present = load_key_ring(path)
        if binding is not None and binding != present.binding and not any_binding:
            raise KeyRingError(
                f"The keys come from a ring with the binding {binding!r}, and {path} has "
                f"{present.binding!r}: what was "
                "encrypted there cannot be decrypted with this ring. Import them into a ring with that "
                "binding, or "
                "pass --any-binding."
            )

        def added(ring: KeyRing) -> KeyRing:
            for key in keys:
                ring = ring.with_key(key, activate=make_active and key is keys[-1])
            return ring

        ring = update_key_ring(path, added)
        return [found for key in keys if (found := ring.find(key.id))]

    path = _path(key_ring, profile)
    imported = _do(work)
    ring = _do(lambda: load_key_ring(path))
    emit([_row(key, ring) for key in imported], output)


def _confirm(name: str, consequence: str) -> None:
    """End the command unless `name` is typed once more."""
    if not sys.stdin.isatty():
        fail(f"{consequence}; give --yes where nobody can be asked.", EXIT_MISUSED)
    if typer.prompt(f"{consequence}. Type {name} to go on", err=True, default="", show_default=False) != name:
        fail(f"{name} was not typed: nothing is changed.")


def _refuse_second_ring(profile: Profile, binding: str) -> None:
    """End the command if payloads of this binding have a key ring already, in another profile."""
    others = _do(lambda: profiles_with_ring_for(profile.config_file, {binding}, besides=profile.name))
    for name, settings in others.items():
        fail(
            f"profile {name!r} has a key ring for {binding!r} already, and a second one can't read what the first "
            f'encrypts: set key-ring = "{settings.key_ring}" in [profile.{profile.name}] of '
            f"{settings_file(profile.config_file)}, or give --second to make another all the same"
        )


def _path(key_ring: Path | None, profile: str | None) -> Path:
    """The key ring's file: the option, else the profile's setting, else keyring.json beside temporal.toml."""
    if key_ring is not None:
        return key_ring.expanduser()
    chosen = _do(lambda: load_profile(profile)).codec.key_ring
    return chosen or default_config_file().with_name("keyring.json")


def _change(key_ring: Path | None, profile: str | None, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    path = _path(key_ring, profile)
    return _do(lambda: update_key_ring(path, change))


def _do(work: Callable[[], _T]) -> _T:
    """The result of `work`; its expected faults end the command with their sentence."""
    try:
        return work()
    except (CodecError, SdkError, SecretFileError) as error:
        fail(str(error))


def _row(key: Key | Tombstone, ring: KeyRing) -> dict[str, object]:
    return {
        "key_id": key.id,
        "state": key.state,
        "created": key.created,
        "age_days": (datetime.now(UTC) - key.created).days,
        "destroyed": key.destroyed if isinstance(key, Tombstone) else None,
        "binding": ring.binding,
    }


def _row_of(ring: KeyRing, key_id: str) -> dict[str, object]:
    return next(_row(key, ring) for key in ring.records if key.id == key_id)


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(1024 * 1024)
    return read_secret_file(Path(file), what="file of keys")


def _raw_key(content: bytes, key_id: str) -> Key:
    if len(content) > RAW_KEY_BYTES_MAX:
        raise KeyRingError(f"A bare key has {KEY_BYTES} bytes; this is {len(content)}.")
    secret = content
    if len(content) != KEY_BYTES:
        text = content.strip()
        try:
            secret = (
                bytes.fromhex(text.decode())
                if len(text) == 2 * KEY_BYTES
                else base64.b64decode(text, validate=True)
            )
        except (ValueError, binascii.Error):
            raise KeyRingError(
                f"A bare key is {KEY_BYTES} bytes, or their hex or base64; this is neither."
            ) from None
    return Key(
        id=key_id,
        state=KeyState.DECRYPT_ONLY,
        created=datetime.now(UTC).replace(microsecond=0),
        material=KeyMaterial(secret),
    )
