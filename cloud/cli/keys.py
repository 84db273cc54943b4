"""`tacit keys`: the key ring that payloads are encrypted with. It works on a file of the customer's; the service
has no part in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from cloud.cli import keys_check, keys_exchange, keys_subjects
from cloud.cli.keys_common import (
    KeyIdArgument,
    KeyRingOption,
    ProfileOption,
    change_ring,
    confirm,
    do,
    ring_path,
    row,
    row_of,
    source_of_ring,
)
from cloud.cli.output import Output, OutputOption, emit, fail, note
from codec import KeyRing, create_key_ring, load_key_ring, update_key_ring
from sdk import Profile, load_profile, settings_file, write_settings
from sdk.profile import profiles_with_keys_for

app = typer.Typer(
    help="The key ring that encrypts your payloads. It is yours alone: the service never sees it.",
    epilog="Example: tacit keys init --binding orders.acme && tacit keys list",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("export", epilog=keys_exchange.EXPORT_EXAMPLE)(keys_exchange.export_command)
app.command("import", epilog=keys_exchange.IMPORT_EXAMPLE)(keys_exchange.import_command)
app.command("forget", epilog=keys_subjects.FORGET_EXAMPLE)(keys_subjects.forget)
app.command("reseal", epilog=keys_subjects.RESEAL_EXAMPLE)(keys_subjects.reseal)
app.command("check", epilog=keys_check.EXAMPLE)(keys_check.check)


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

    chosen = do(lambda: load_profile(profile))
    path = ring_path(key_ring, profile)
    wanted = binding or chosen.namespace
    if not second:
        _refuse_second_ring(chosen, wanted)
    if path.exists():
        fail(
            f"{path} exists already and is not overwritten: name another file (--key-ring FILE), or, if it is this profile's "
            f"ring, set key-ring to it in [profile.{chosen.name}] of {settings_file(chosen.config_file)}"
        )

    def work() -> KeyRing:
        ring = KeyRing.create(wanted, key_id=key_id)
        create_key_ring(path, ring)
        if chosen.codec.key_ring is None:
            # What stands in the file, without what the environment says on top of it.
            settings = load_profile(chosen.name, config_file=chosen.config_file, environment={}).codec
            write_settings(chosen.config_file, chosen.name, dataclasses.replace(settings, key_ring=path))
            note(f"Profile {chosen.name!r} uses this key ring from now on.")
        elif chosen.codec.key_ring.resolve() != path.resolve():
            note(
                f"Profile {chosen.name!r} still uses {chosen.codec.key_ring}: set key-ring in {settings_file(chosen.config_file)} "
                "if it is to use this one."
            )
        return ring

    ring = do(work)
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
    ring = do(lambda: load_key_ring(ring_path(key_ring, profile)))
    emit([row(key, ring) for key in ring.records], output)


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

    ring = change_ring(key_ring, profile, change)
    new = ring.keys[-1]
    emit(row(new, ring), output)
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
    ring = change_ring(key_ring, profile, lambda ring: ring.activated(key_id))
    emit(row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys disable 2026-11-24-9f2c6a01")
def disable(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop a key from decrypting. It stays in the ring, so that `enable` can undo this."""
    ring = change_ring(key_ring, profile, lambda ring: ring.disabled(key_id))
    emit(row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys enable 2026-11-24-9f2c6a01")
def enable(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let a disabled key decrypt again."""
    ring = change_ring(key_ring, profile, lambda ring: ring.enabled(key_id))
    emit(row_of(ring, key_id), output)


@app.command(epilog="Example: tacit keys destroy 2025-01-07-11aa22bb")
def destroy(
    key_id: KeyIdArgument,
    key_ring: KeyRingOption = None,
    profile: ProfileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the id once more.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Destroy a key: all that it encrypted is unreadable for ever. Its id and dates stay in the list."""
    path = ring_path(key_ring, profile)
    known = do(lambda: load_key_ring(path))
    if (gone := known.tombstone(key_id)) is not None:
        emit(row_of(known, key_id), output)
        note(
            f"Key {key_id} was destroyed already, on {gone.destroyed:%Y-%m-%d}: nothing was left to do here."
        )
        return
    ring = do(lambda: known.destroyed(key_id))
    source = do(lambda: source_of_ring(path, profile))
    if source is not None and source.subject_store is not None and ring.tombstone(key_id) is not None:
        subjects = do(source.open_subject_keys)
        if needing := do(lambda: asyncio.run(subjects.sealed_by(key_id))):
            fail(
                f"{needing} subjects' keys are sealed with key {key_id}, and would be lost with it: run `tacit keys reseal` "
                "first"
            )
    if not yes:
        confirm(key_id, f"Nothing will ever read again what key {key_id} encrypted")
    ring = do(lambda: update_key_ring(path, lambda ring: ring.destroyed(key_id), erase_old=True))
    emit(row_of(ring, key_id), output)
    note("Copies of this key ring on other machines and in backups still hold it: destroy it there too.")


def _refuse_second_ring(profile: Profile, binding: str) -> None:
    """End the command if payloads of this binding have a key ring already, in another profile."""
    others = do(lambda: profiles_with_keys_for(profile.config_file, {binding}, besides=profile.name))
    for name, settings in others.items():
        fail(
            f"profile {name!r} has keys for {binding!r} already, and a second key ring can't read what they "
            f"encrypt: set {settings.keys_setting} in [profile.{profile.name}] of "
            f"{settings_file(profile.config_file)}, or give --second to make another all the same"
        )
