"""What a codec asks of whatever holds keys: a key ring, or a key service that wraps a data key per message.

Two calls each way, because most keys are at hand: the plain one answers at once or with None, and then the awaited
one fetches (from a key management service, a file). So a payload whose key is in memory costs no task switch.
"""

from __future__ import annotations

import abc
import dataclasses
import weakref
from typing import Protocol

from codec.errors import WrappedKey
from codec.keys.ring import Key, KeyMaterial, KeyRing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """Whose payload it is, as far as the SDK says; nothing of it is secret."""

    namespace: str | None = None
    workflow_id: str | None = None


ANYONE = Scope()
"""Where nothing is known of whose payload it is."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DataKey:
    """A key at hand: what a payload is encrypted or decrypted with.

    `wrapped` is the key as another key has encrypted it. It travels with each payload, so that whoever may use that
    other key can read it; None where `id` is enough to find the key. `of_subject`: it is one of very many, each for the
    data of one subject.
    """

    id: str
    material: KeyMaterial
    binding: str
    wrapped: bytes | None = None
    of_subject: bool = False


class Keys(Protocol):
    """Where a codec finds its keys. Safe to share between event loops and threads."""

    def sealing(self, scope: Scope, size: int) -> DataKey | None:
        """The key to encrypt `size` bytes with now; None if it has to be fetched first."""
        ...

    async def fetch_sealing(self, scope: Scope, size: int) -> DataKey:
        """The same, fetched.

        Raises:
            CodecError: it cannot be had; the sentence says what to do.
        """
        ...

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey | None:
        """The key to decrypt with; None if it has to be fetched first.

        Raises:
            MissingKey: there is none of that id.
            DisabledKey: there is, and it must not be used.
        """
        ...

    async def fetch_opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        """The same, fetched.

        Raises:
            MissingKey: there is none of that id.
            DisabledKey: there is, and it must not be used.
            CodecError: it cannot be had; the sentence says what to do.
        """
        ...


class RingBacked(abc.ABC):
    """`Keys` out of a whole key ring in memory: every key is at hand."""

    @abc.abstractmethod
    def current(self) -> KeyRing:
        """The ring to work with now."""

    def find_in(self, key_id: str) -> KeyRing:
        """The ring to look a key up in; who can learn of new keys does so here, if it lacks this one."""
        return self.current()

    def sealing(self, scope: Scope, size: int) -> DataKey | None:
        """The ring's active key."""
        ring = self.current()
        return _data_key(ring, ring.active)

    async def fetch_sealing(self, scope: Scope, size: int) -> DataKey:
        """The ring's active key."""
        ring = self.current()
        return _data_key(ring, ring.active)

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey | None:
        """The key of that id.

        Raises:
            MissingKey: the ring has none of that id, or the payload's key is one that a key service has wrapped.
            DisabledKey: it has, and it was disabled.
        """
        if wrapped is not None:
            raise WrappedKey(key_id)
        ring = self.find_in(key_id)
        return _data_key(ring, ring.decrypting(key_id))

    async def fetch_opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        """See `opening`."""
        key = self.opening(key_id, wrapped, scope)
        assert key is not None
        return key


class FixedKeys(RingBacked):
    """A key ring that does not change while the process runs."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def current(self) -> KeyRing:
        """The ring."""
        return self._ring


def _data_key(ring: KeyRing, key: Key) -> DataKey:
    """The same object for one key of one ring, so that whoever prepares a cipher for it does so once."""
    known = _DATA_KEYS.get(ring)
    if known is None:
        known = _DATA_KEYS.setdefault(ring, {})
    found = known.get(key.id)
    if found is None:
        found = known[key.id] = DataKey(id=key.id, material=key.material, binding=ring.binding)
    return found


_DATA_KEYS: weakref.WeakKeyDictionary[KeyRing, dict[str, DataKey]] = weakref.WeakKeyDictionary()
