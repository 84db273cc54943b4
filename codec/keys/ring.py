"""The key ring: keys under one binding name, and what may be done with each.

States of a key:

           ──rotate──>                ──disable──>
    active               decrypt-only               disabled
           <─activate─                <──enable───
                              │                         │
                              └───────destroy───────────┴──> destroyed

A ring has exactly one active key. A disabled key is kept, so that disabling can be undone; it decrypts nothing. Of a
destroyed key only a tombstone is left, its id and dates: nothing can read its data again, and its id is never used
again. How a ring is written is in `ring_document.py`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from codec.errors import DestroyedKey, DisabledKey, KeyRingError, MissingKey

KEY_BYTES = 32
KEYS_MAX = 1000
"""Rotating weekly for nineteen years; a file with more is not a key ring. Destroyed ones count."""

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_BINDING_CHARACTERS_MAX = 255


class KeyState(enum.StrEnum):
    """What a key may be used for."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt-only"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


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
        _checked(self.id, self.created)
        if self.state is KeyState.DESTROYED:
            raise KeyRingError(f"Key {self.id!r} is destroyed and still has its bytes.")

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is left of a destroyed key."""

    id: str
    created: datetime
    destroyed: datetime

    def __post_init__(self) -> None:
        _checked(self.id, self.created)
        _checked(self.id, self.destroyed)

    @property
    def state(self) -> KeyState:
        """Destroyed, always."""
        return KeyState.DESTROYED


def _checked(key_id: str, *times: datetime) -> None:
    if not _KEY_ID.fullmatch(key_id):
        raise KeyRingError(
            f"{key_id[:140]!r} is no key id: at most 128 letters, digits and . _ : / @ -, "
            "the first a letter or digit."
        )
    if any(time.tzinfo is None for time in times):
        raise KeyRingError(f"Key {key_id!r} has a creation time (or one of its end) without a time zone.")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KeyRing:
    """Keys under one binding name. Never changes: each change makes another ring.

    `binding` goes into every payload's authentication: what is encrypted under one binding does not decrypt
    under another, even with the same key. It is the namespace unless several namespaces share their data, and
    it stays as it is when a namespace is renamed or moved.
    """

    binding: str
    keys: tuple[Key, ...]
    tombstones: tuple[Tombstone, ...] = ()
    source: str = "the key ring"

    def __post_init__(self) -> None:
        if not self.binding or len(self.binding) > _BINDING_CHARACTERS_MAX or not self.binding.isprintable():
            raise KeyRingError(
                f"A binding is a printable name of 1 to {_BINDING_CHARACTERS_MAX} characters "
                f"(by default the namespace), not {self.binding[:80]!r}."
            )
        ids = [record.id for record in self.records]
        if len(ids) > KEYS_MAX:
            raise KeyRingError(f"A key ring holds at most {KEYS_MAX} keys, destroyed ones included.")
        if doubled := sorted({key_id for key_id in ids if ids.count(key_id) > 1}):
            raise KeyRingError(f"The key ring holds several keys with the id {doubled[0]!r}.")
        active = [key.id for key in self.keys if key.state is KeyState.ACTIVE]
        if len(active) != 1:
            raise KeyRingError(f"A key ring has exactly one active key; this one has {len(active)}.")

    @classmethod
    def create(cls, binding: str, *, key_id: str | None = None) -> KeyRing:
        """A ring with one new key."""
        return cls(binding=binding, keys=(Key.generate(key_id=key_id),))

    @classmethod
    def of(cls, binding: str, keys: Iterable[Key], *, active: str) -> KeyRing:
        """A ring of keys from elsewhere, of which that one encrypts and those that were disabled stay so.

        Raises:
            KeyRingError: two have one id, or none has that one.
        """
        found = tuple(
            dataclasses.replace(
                key,
                state=KeyState.ACTIVE
                if key.id == active
                else KeyState.DISABLED
                if key.state is KeyState.DISABLED
                else KeyState.DECRYPT_ONLY,
            )
            for key in keys
        )
        return cls(binding=binding, keys=found)

    @functools.cached_property
    def active(self) -> Key:
        """The key that new payloads are encrypted with."""
        return next(key for key in self.keys if key.state is KeyState.ACTIVE)

    @property
    def records(self) -> tuple[Key | Tombstone, ...]:
        """All that is known: the keys, then what is left of destroyed ones."""
        return (*self.keys, *self.tombstones)

    def find(self, key_id: str) -> Key | None:
        """The key of that id, whatever its state."""
        return self._by_id.get(key_id)

    @functools.cached_property
    def _by_id(self) -> Mapping[str, Key]:
        return {key.id: key for key in self.keys}

    def tombstone(self, key_id: str) -> Tombstone | None:
        """What is left of the key of that id, if it was destroyed."""
        return next((one for one in self.tombstones if one.id == key_id), None)

    def decrypting(self, key_id: str) -> Key:
        """The key to decrypt with.

        Raises:
            MissingKey: the ring has no key of that id.
            DisabledKey: it has, and it was disabled.
            DestroyedKey: it had, and the key is gone.
        """
        key = self.find(key_id)
        if key is None and (gone := self.tombstone(key_id)) is not None:
            raise DestroyedKey(key_id, ring=self.source, when=f"{gone.destroyed:%Y-%m-%d}")
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

    def destroyed(self, key_id: str, *, now: datetime | None = None) -> KeyRing:
        """Without that key, for ever: its id and dates are left. Destroying it again changes nothing.

        Raises:
            KeyRingError: there never was such a key, or it is the active one.
        """
        if self.tombstone(key_id) is not None:
            return self
        key = self._existing(key_id)
        if key.state is KeyState.ACTIVE:
            raise KeyRingError(
                f"Key {key_id!r} is the active one. Run `tacit keys rotate` first, then destroy it."
            )
        gone = Tombstone(
            id=key.id, created=key.created, destroyed=(now or datetime.now(UTC)).replace(microsecond=0)
        )
        return dataclasses.replace(
            self,
            keys=tuple(one for one in self.keys if one.id != key_id),
            tombstones=(*self.tombstones, gone),
        )

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
            KeyRingError: another key has or had that id, or the same bytes are there under another id.
        """
        if (gone := self.tombstone(key.id)) is not None:
            raise KeyRingError(
                f"Key {key.id!r} was destroyed in {self.source} on {gone.destroyed:%Y-%m-%d} and is not taken in again; "
                "destroy it where this copy comes from too."
            )
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

    def _existing(self, key_id: str) -> Key:
        key = self.find(key_id)
        if key is None and (gone := self.tombstone(key_id)) is not None:
            raise KeyRingError(
                f"Key {key_id!r} was destroyed in {self.source} on {gone.destroyed:%Y-%m-%d}: "
                "nothing brings it back."
            )
        if key is None:
            known = ", ".join(key.id for key in self.keys)
            raise KeyRingError(f"There is no key {key_id!r} in {self.source}; it has: {known}.")
        return key

    def _with_state(self, key_id: str, state: KeyState) -> KeyRing:
        keys = tuple(dataclasses.replace(key, state=state) if key.id == key_id else key for key in self.keys)
        return dataclasses.replace(self, keys=keys)
