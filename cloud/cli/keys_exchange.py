"""`tacit keys export` and `import`: keys from one machine's ring to another's."""

from __future__ import annotations

import base64
import binascii
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.cli.keys_common import KeyRingOption, ProfileOption, do, ring_path, row
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from codec import (
    Key,
    KeyMaterial,
    KeyRing,
    KeyRingError,
    KeyState,
    create_key_ring,
    export_keys,
    import_keys,
    load_key_ring,
    read_secret_file,
    update_key_ring,
    write_secret_file,
)

EXPORT_EXAMPLE = "Example: tacit keys export --to for-worker-2.json"
IMPORT_EXAMPLE = "Example: ssh worker-1 tacit keys export | tacit keys import -"
KEY_BYTES = 32
RAW_KEY_BYTES_MAX = 4096


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
    ring = do(lambda: load_key_ring(ring_path(key_ring, profile)))
    chosen = key_ids or [ring.active.id]
    content = do(lambda: export_keys(ring, chosen))
    if to is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    do(lambda: write_secret_file(to, content, replace=False))
    emit({"file": to, "binding": ring.binding, "key_ids": chosen}, output)
    note("Send it by a way that you would trust with the data itself, and delete it afterwards.")


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
    new: Annotated[
        bool,
        typer.Option(
            "--new",
            help="Make the key ring of these keys alone, with their binding; the last becomes active.",
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Add keys from another key ring, to read what it encrypted. Keys with the same id are never replaced."""
    if new and raw_id is not None:
        fail("--raw is for one key and a ring that is there, so leave out --new, or it.", EXIT_MISUSED)

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
        if new:
            usable = [key for key in keys if key.state is not KeyState.DISABLED]
            if not usable or binding is None:
                raise KeyRingError(
                    "All these keys were disabled where they come from, and a ring needs one to encrypt with."
                )
            create_key_ring(path, KeyRing.of(binding, keys, active=usable[-1].id))
            return list(load_key_ring(path).keys)
        if not path.exists():
            raise KeyRingError(
                f"There is no key ring at {path}. If it is to be made of these keys, add --new; if it was lost, put your copy of "
                "it back."
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

    path = ring_path(key_ring, profile)
    imported = do(work)
    ring = do(lambda: load_key_ring(path))
    emit([row(key, ring) for key in imported], output)


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
