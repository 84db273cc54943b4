"""How key rings are written: the ring's file, and what `export` makes.

Format (JSON; a file that is cut is never valid JSON, so a cut cannot pass for a shorter ring)::

    {"format": "tacit-keyring", "version": 2, "binding": "orders.acme",
     "keys": [{"id": "2026-11-24-9f2c6a01", "state": "active", "created": "2026-11-24T09:00:00Z",
               "material": "<base64 of 32 bytes>", "check": "<16 hex digits>"}],
     "destroyed": [{"id": "2025-01-07-11aa22bb", "created": "2025-01-07T09:00:00Z",
                    "destroyed": "2026-11-24T09:00:00Z"}]}

`check` is derived from the material and the id and finds a mistyped or exchanged key. How the format may grow: a
reader refuses fields that it does not know, as one of them may change what a key is good for; so every new field
comes with a new version number, and readers keep reading the older ones. A ring is written in the oldest version that
can hold it, so that machines with an older Tacit read it as long as possible.

    1: without "destroyed"
    2: with it
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from codec.errors import KeyRingError
from codec.keys.ring import Key, KeyMaterial, KeyRing, KeyState, Tombstone

FORMAT = "tacit-keyring"
EXPORT_FORMAT = "tacit-keys"
VERSION = 1
VERSION_WITH_DESTROYED = 2


def ring_to_json(ring: KeyRing) -> bytes:
    """The key ring as its file holds it: secret."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "binding": ring.binding,
        "keys": [_key_to_document(key) for key in ring.keys],
    }
    if ring.tombstones:
        document["version"] = VERSION_WITH_DESTROYED
        document["destroyed"] = [_tombstone_to_document(gone) for gone in ring.tombstones]
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def ring_from_json(content: bytes, *, source: str) -> KeyRing:
    """Read what `ring_to_json` wrote, in any version. `source` names the ring in errors.

    Raises:
        KeyRingError: cut, garbage, a newer version, or against the rules of a ring.
    """
    binding, keys, tombstones = _read_document(content, source=source, formats=(FORMAT,))
    try:
        return KeyRing(binding=binding, keys=keys, tombstones=tombstones, source=source)
    except KeyRingError as error:
        raise KeyRingError(f"{source} is not usable: {error}") from None


def export_keys(ring: KeyRing, key_ids: list[str]) -> bytes:
    """Some keys of a ring, to be imported into another: secret.

    The format is that of the ring's file (version 1) under the name `tacit-keys`; states are the ring's.

    Raises:
        KeyRingError: the ring lacks one of them.
    """
    keys = []
    for key_id in key_ids:
        key = ring.find(key_id)
        if key is None and ring.tombstone(key_id) is not None:
            raise KeyRingError(f"Key {key_id!r} was destroyed in {ring.source}: there is nothing to export.")
        if key is None:
            raise KeyRingError(
                f"There is no key {key_id!r} in {ring.source}; run `tacit keys list` to see its keys."
            )
        keys.append(_key_to_document(key))
    document = {"format": EXPORT_FORMAT, "version": VERSION, "binding": ring.binding, "keys": keys}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def import_keys(content: bytes, *, source: str) -> tuple[str, tuple[Key, ...]]:
    """The binding and the keys that `export_keys` (or a whole key ring's file) holds.

    Raises:
        KeyRingError: cut, garbage or another version.
    """
    binding, keys, _ = _read_document(content, source=source, formats=(EXPORT_FORMAT, FORMAT))
    if not keys:
        raise KeyRingError(f"{source} holds no keys.")
    return binding, keys


_Read = tuple[str, tuple[Key, ...], tuple[Tombstone, ...]]


def _read_document(content: bytes, *, source: str, formats: tuple[str, ...]) -> _Read:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        # The parser's own error holds the whole text: key material.
        raise KeyRingError(
            f"{source} is cut or damaged: it is not valid JSON. "
            "Put back a copy of it, or export its keys again."
        ) from None
    try:
        return _document_keys(document, formats=formats)
    except KeyRingError as error:
        raise KeyRingError(f"{source} is not usable: {error}") from None


def _document_keys(document: Any, *, formats: tuple[str, ...]) -> _Read:
    if not isinstance(document, dict) or document.get("format") not in formats:
        raise KeyRingError(f"it does not hold keys in the format {formats[0]!r}. Put back a copy of it.")
    version = document.get("version")
    if version not in (VERSION, VERSION_WITH_DESTROYED) or type(version) is not int:
        raise KeyRingError(
            f"it has format version {str(version)[:20]!r}, this Tacit reads {VERSION} and "
            f"{VERSION_WITH_DESTROYED}. Use a newer Tacit."
        )
    types: dict[str, type] = {"format": str, "version": int, "binding": str, "keys": list}
    if version == VERSION_WITH_DESTROYED:
        types["destroyed"] = list
    fields = _fields(document, types, where="it")
    keys = tuple(_key_from_document(key) for key in fields["keys"])
    tombstones = tuple(_tombstone_from_document(gone) for gone in fields.get("destroyed", ()))
    return fields["binding"], keys, tombstones


def _key_to_document(key: Key) -> dict[str, str]:
    return {
        "id": key.id,
        "state": key.state.value,
        "created": _time(key.created),
        "material": base64.b64encode(key.material.reveal()).decode(),
        "check": _check(key.id, key.material),
    }


def _tombstone_to_document(gone: Tombstone) -> dict[str, str]:
    return {"id": gone.id, "created": _time(gone.created), "destroyed": _time(gone.destroyed)}


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _tombstone_from_document(document: Any) -> Tombstone:
    fields = _fields(document, dict.fromkeys(("id", "created", "destroyed"), str), where="a destroyed key")
    try:
        created, destroyed = (datetime.fromisoformat(fields[one]) for one in ("created", "destroyed"))
    except ValueError:
        raise KeyRingError(
            f"the destroyed key {fields['id'][:140]!r} has a wrong time (not like 2026-11-24T09:00:00Z)."
        ) from None
    return Tombstone(id=fields["id"], created=created, destroyed=destroyed)


def _key_from_document(document: Any) -> Key:
    text = dict.fromkeys(("id", "state", "created", "material", "check"), str)
    fields = _fields(document, text, where="a key")
    name = fields["id"][:140]
    try:
        material = KeyMaterial(base64.b64decode(fields["material"], validate=True))
    except binascii.Error:
        raise KeyRingError(f"the material of key {name!r} is not base64.") from None
    if not hmac.compare_digest(_check(fields["id"], material).encode(), fields["check"].encode()):
        raise KeyRingError(f"key {name!r} does not fit its check digits: it was altered or mistyped.")
    try:
        state, created = KeyState(fields["state"]), datetime.fromisoformat(fields["created"])
    except ValueError:
        states = ", ".join(state for state in KeyState if state is not KeyState.DESTROYED)
        raise KeyRingError(
            f"key {name!r} has a wrong state (one of {states}) or creation time (like 2026-11-24T09:00:00Z)."
        ) from None
    return Key(id=fields["id"], state=state, created=created, material=material)


def _fields(document: Any, types: Mapping[str, type], *, where: str) -> dict[str, Any]:
    """The document, if it has exactly these fields of these types."""
    if not isinstance(document, dict):
        raise KeyRingError(f"{where} is not a table of fields.")
    if unknown := sorted(set(document) - set(types)):
        raise KeyRingError(f"{where} has a field {unknown[0][:80]!r}, which this Tacit does not know.")
    for name, kind in types.items():
        if type(document.get(name)) is not kind:
            raise KeyRingError(f"{where} has no {name!r} of the right type.")
    return document


def _check(key_id: str, material: KeyMaterial) -> str:
    """Digits that betray a mistyped key without telling anything of it (a MAC under the key itself)."""
    return hmac.new(material.reveal(), b"tacit key check 1\0" + key_id.encode(), hashlib.sha256).hexdigest()[
        :16
    ]
