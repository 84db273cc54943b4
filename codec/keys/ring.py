"""The key ring: the keys that payloads are encrypted with, and the file they live in.

File format (JSON, version 1; a file that is cut is never valid JSON, so a cut cannot pass for a shorter
ring)::

    {"format": "tacit-keyring", "version": 1, "binding": "orders.acme",
     "keys": [{"id": "2026-11-24-9f2c6a01", "state": "active", "created": "2026-11-24T09:00:00Z",
               "material": "<base64 of 32 bytes>", "check": "<16 hex digits>"}]}

`check` is derived from the material and the id and finds a mistyped or exchanged key. How the format may
grow: a reader refuses fields that it does not know, as one of them may change what a key is good for; so
every new field comes with a new version number, and readers keep reading the older ones.

States of a key:

           ──rotate──>                ──disable──>
    active               decrypt-only               disabled
           <─activate─                <──enable───

A ring has exactly one active key. A disabled key is kept, so that disabling can be undone; it decrypts
nothing.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from codec.errors import DisabledKey, KeyRingError, MissingKey

FORMAT = "tacit-keyring"
EXPORT_FORMAT = "tacit-keys"
VERSION = 1
KEY_BYTES = 32
KEYS_MAX = 1000
"""Rotating weekly for nineteen years; a file with more is not a key ring."""

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_BINDING_CHARACTERS_MAX = 255


class KeyState(enum.StrEnum):
    """What a key may be used for."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt-only"
    DISABLED = "disabled"


class KeyMaterial:
    """Secret bytes that cannot be printed, logged, compared by ``==`` or pickled by accident."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise KeyRingError(f"A key has {KEY_BYTES} bytes, not {len(secret)}.")
        self._secret = secret

    def reveal(self) -> bytes:
        """The secret itself, for the cipher and for the file."""
        return self._secret

    def same_as(self, other: KeyMaterial) -> bool:
        """Whether both hold one secret, in time that does not depend on it."""
        return hmac.compare_digest(self._secret, other.reveal())

    def __repr__(self) -> str:
        return "<key material>"

    def __reduce__(self) -> str:
        raise TypeError("key material is not pickled")

    def __copy__(self) -> KeyMaterial:
        return self

    def __deepcopy__(self, memo: object) -> KeyMaterial:
        return self


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Key:
    """One 256-bit key and what it may be used for."""

    id: str
    state: KeyState
    created: datetime
    material: KeyMaterial

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.id):
            raise KeyRingError(
                f"{self.id[:140]!r} is no key id: at most 128 letters, digits and . _ : / @ -, "
                "the first a letter or digit."
            )
        if self.created.tzinfo is None:
            raise KeyRingError(f"Key {self.id!r} has a creation time without a time zone.")

    @classmethod
    def generate(cls, *, key_id: str | None = None, now: datetime | None = None) -> Key:
        """A new active key from the operating system's random source.

        Without `key_id` its id is the day and eight random hex digits, so that lists sort by age.
        """
        created = (now or datetime.now(UTC)).replace(microsecond=0)
        return cls(
            id=key_id or f"{created:%Y-%m-%d}-{secrets.token_hex(4)}",
            state=KeyState.ACTIVE,
            created=created,
            material=KeyMaterial(secrets.token_bytes(KEY_BYTES)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KeyRing:
    """Keys under one binding name. Never changes: each change makes another ring.

    `binding` goes into every payload's authentication: what is encrypted under one binding does not decrypt
    under another, even with the same key. It is the namespace unless several namespaces share their data, and
    it stays as it is when a namespace is renamed or moved.
    """

    binding: str
    keys: tuple[Key, ...]
    source: str = "the key ring"

    def __post_init__(self) -> None:
        if not self.binding or len(self.binding) > _BINDING_CHARACTERS_MAX or not self.binding.isprintable():
            raise KeyRingError(
                f"A binding is a printable name of 1 to {_BINDING_CHARACTERS_MAX} characters "
                f"(by default the namespace), not {self.binding[:80]!r}."
            )
        if len(self.keys) > KEYS_MAX:
            raise KeyRingError(f"A key ring holds at most {KEYS_MAX} keys.")
        ids = [key.id for key in self.keys]
        if doubled := sorted({key_id for key_id in ids if ids.count(key_id) > 1}):
            raise KeyRingError(f"The key ring holds several keys with the id {doubled[0]!r}.")
        active = [key.id for key in self.keys if key.state is KeyState.ACTIVE]
        if len(active) != 1:
            raise KeyRingError(f"A key ring has exactly one active key; this one has {len(active)}.")

    @classmethod
    def create(cls, binding: str, *, key_id: str | None = None) -> KeyRing:
        """A ring with one new key."""
        return cls(binding=binding, keys=(Key.generate(key_id=key_id),))

    @property
    def active(self) -> Key:
        """The key that new payloads are encrypted with."""
        return next(key for key in self.keys if key.state is KeyState.ACTIVE)

    def find(self, key_id: str) -> Key | None:
        """The key of that id, whatever its state."""
        return next((key for key in self.keys if key.id == key_id), None)

    def decrypting(self, key_id: str) -> Key:
        """The key to decrypt with.

        Raises:
            MissingKey: the ring has no key of that id.
            DisabledKey: it has, and it was disabled.
        """
        key = self.find(key_id)
        if key is None:
            raise MissingKey(key_id, ring=self.source)
        if key.state is KeyState.DISABLED:
            raise DisabledKey(key_id, ring=self.source)
        return key

    def rotated(self, *, key_id: str | None = None) -> KeyRing:
        """With a new active key; the one that was active only decrypts from now on.

        Raises:
            KeyRingError: a key of that id exists.
        """
        older = (
            dataclasses.replace(key, state=KeyState.DECRYPT_ONLY) if key.state is KeyState.ACTIVE else key
            for key in self.keys
        )
        return dataclasses.replace(self, keys=(*older, Key.generate(key_id=key_id)))

    def prepared(self, *, key_id: str | None = None) -> KeyRing:
        """With a new key that decrypts only: to be carried to every machine before it is activated.

        Raises:
            KeyRingError: a key of that id exists.
        """
        key = dataclasses.replace(Key.generate(key_id=key_id), state=KeyState.DECRYPT_ONLY)
        return dataclasses.replace(self, keys=(*self.keys, key))

    def disabled(self, key_id: str) -> KeyRing:
        """With that key disabled.

        Raises:
            KeyRingError: there is no such key, or it is the active one.
        """
        if self._existing(key_id).state is KeyState.ACTIVE:
            raise KeyRingError(
                f"Key {key_id!r} is the active one. Run `tacit keys rotate` first, then disable it."
            )
        return self._with_state(key_id, KeyState.DISABLED)

    def enabled(self, key_id: str) -> KeyRing:
        """With that key able to decrypt again, if it was disabled.

        Raises:
            KeyRingError: there is no such key.
        """
        if self._existing(key_id).state is not KeyState.DISABLED:
            return self
        return self._with_state(key_id, KeyState.DECRYPT_ONLY)

    def activated(self, key_id: str) -> KeyRing:
        """With that key active; the one that was active only decrypts from now on.

        Raises:
            KeyRingError: there is no such key, or it is disabled.
        """
        if self._existing(key_id).state is KeyState.DISABLED:
            raise KeyRingError(f"Key {key_id!r} is disabled. Run `tacit keys enable {key_id}` first.")
        demoted = self.active.id
        keys = tuple(
            dataclasses.replace(key, state=KeyState.ACTIVE)
            if key.id == key_id
            else dataclasses.replace(key, state=KeyState.DECRYPT_ONLY)
            if key.id == demoted
            else key
            for key in self.keys
        )
        return dataclasses.replace(self, keys=keys)

    def with_key(self, key: Key, *, activate: bool = False) -> KeyRing:
        """With a key from elsewhere, decrypting only unless `activate`. Adding a key twice changes nothing.

        Raises:
            KeyRingError: another key has that id, or the same bytes are there under another id.
        """
        present = self.find(key.id)
        if present is not None and not present.material.same_as(key.material):
            raise KeyRingError(
                f"The key ring has another key with the id {key.id!r}. Keep them in separate key rings."
            )
        if present is None:
            twin = next((one.id for one in self.keys if one.material.same_as(key.material)), None)
            if twin is not None:
                raise KeyRingError(f"The key ring has this key already, under the id {twin!r}.")
        added = dataclasses.replace(key, state=KeyState.DECRYPT_ONLY)
        ring = dataclasses.replace(self, keys=(*self.keys, added)) if present is None else self
        return ring.activated(key.id) if activate else ring

    def to_json(self) -> bytes:
        """The key ring as its file holds it: secret."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "binding": self.binding,
            "keys": [_key_to_document(key) for key in self.keys],
        }
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes, *, source: str) -> KeyRing:
        """Read what `to_json` wrote. `source` names the ring in errors.

        Raises:
            KeyRingError: cut, garbage, another version, or against the rules of a ring.
        """
        binding, keys = _read_document(content, source=source, formats=(FORMAT,))
        try:
            return cls(binding=binding, keys=keys, source=source)
        except KeyRingError as error:
            raise KeyRingError(f"{source} is not usable: {error}") from None

    def _existing(self, key_id: str) -> Key:
        key = self.find(key_id)
        if key is None:
            known = ", ".join(key.id for key in self.keys)
            raise KeyRingError(f"There is no key {key_id!r} in {self.source}; it has: {known}.")
        return key

    def _with_state(self, key_id: str, state: KeyState) -> KeyRing:
        keys = tuple(dataclasses.replace(key, state=state) if key.id == key_id else key for key in self.keys)
        return dataclasses.replace(self, keys=keys)


def export_keys(ring: KeyRing, key_ids: list[str]) -> bytes:
    """Some keys of a ring, to be imported into another: secret.

    The format is that of the ring's file under the name `tacit-keys`; states are the ring's.

    Raises:
        KeyRingError: the ring lacks one of them.
    """
    keys = []
    for key_id in key_ids:
        key = ring.find(key_id)
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
    binding, keys = _read_document(content, source=source, formats=(EXPORT_FORMAT, FORMAT))
    if not keys:
        raise KeyRingError(f"{source} holds no keys.")
    return binding, keys


def _read_document(content: bytes, *, source: str, formats: tuple[str, ...]) -> tuple[str, tuple[Key, ...]]:
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


def _document_keys(document: Any, *, formats: tuple[str, ...]) -> tuple[str, tuple[Key, ...]]:
    if not isinstance(document, dict) or document.get("format") not in formats:
        raise KeyRingError(f"it does not hold keys in the format {formats[0]!r}. Put back a copy of it.")
    if document.get("version") != VERSION:
        raise KeyRingError(
            f"it has format version {str(document.get('version'))[:20]!r}, this Tacit reads {VERSION}. "
            "Use a newer Tacit."
        )
    fields = _fields(document, {"format": str, "version": int, "binding": str, "keys": list}, where="it")
    return fields["binding"], tuple(_key_from_document(key) for key in fields["keys"])


def _key_to_document(key: Key) -> dict[str, str]:
    return {
        "id": key.id,
        "state": key.state.value,
        "created": key.created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "material": base64.b64encode(key.material.reveal()).decode(),
        "check": _check(key.id, key.material),
    }


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
        states = ", ".join(KeyState)
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
