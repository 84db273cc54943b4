"""Keyed hashes of search attributes' values, which whoever has the key can turn back.

The form of a stored value (version 1), at most 255 characters, as that is what services keep of a keyword::

    tacit-index-1:<base64url of: key tag (3 bytes) | AES-256-SIV of the padded value>
    tacit-hash-1:<base64url of: key tag (3 bytes) | HMAC-SHA256 of the value>          values of 144 bytes and more

AES-SIV (RFC 5297) is deterministic: its first 16 bytes are a keyed hash of the value (S2V, on AES-CMAC), which is also what
the value is encrypted with. So equal values are stored equally and can be searched for, nobody without the key can tell or
try values, and whoever has it reads results without a dictionary. Values are padded (0x80, zeros) to 16 bytes, so what is
stored tells lengths in steps of 16 only. What is too long for 255 characters is only hashed: it can be found, and is shown
as it is stored. Another form gets another version in its mark; readers leave marks that they don't know as they are.

Keys: for each key of the ring, HKDF-SHA256 (no salt) of its 32 bytes, with the info "tacit blind index 1\\0", the ring's
binding and the attribute's name, each with its length (4 bytes, big-endian) before it; 64 bytes for AES-SIV, 32 for HMAC, 3
for the tag by which a reader finds the key. So a value looks different under another attribute and in another namespace,
and nothing that encrypts payloads is used here.

Rotation: values are written under the ring's active key, and searched for under all keys of the ring that may be used, so
nothing is lost to a search by a rotation. A key that is destroyed takes the values with it that were written under it: they
are found no more, as their payloads are read no more.

What it reveals to the service: which runs have equal values of an attribute, how often each occurs, and lengths in steps of
16 bytes. Whoever can have runs started with values of their choice can compare them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hmac
import re
import struct
import weakref
from collections.abc import Iterable, Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from codec.errors import CodecError
from codec.keys.ring import Key, KeyRing, KeyState

MARK = "tacit-index-1:"
HASH_MARK = "tacit-hash-1:"
REVERSIBLE_BYTES_MAX = 143
VALUE_BYTES_MAX = 64 * 1024

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,126}")
_SIV_KEY_BYTES, _HASH_KEY_BYTES, _TAG_BYTES = 64, 32, 3
_BLOCK_BYTES = 16
_LABEL = b"tacit blind index 1\0"
_SYSTEM = frozenset(
    {
        *(
            "WorkflowId",
            "RunId",
            "WorkflowType",
            "TaskQueue",
            "ExecutionStatus",
            "StartTime",
            "ExecutionTime",
            "CloseTime",
        ),
        *(
            "ExecutionDuration",
            "HistoryLength",
            "HistorySizeBytes",
            "StateTransitionCount",
            "ParentWorkflowId",
            "ParentRunId",
        ),
        *(
            "RootWorkflowId",
            "RootRunId",
            "BatcherUser",
            "BatcherNamespace",
            "BinaryChecksums",
            "BuildIds",
            "ActivityId",
        ),
        *("ActivityType", "OperationId", "Endpoint", "Service", "Operation", "RequestId"),
    }
)


class BlindIndexError(CodecError):
    """A search attribute or a filter can't be translated; the sentence says which and why, and repeats no value."""


class Ring(Protocol):
    """Where the index has its keys: what `codec.KeyRingFile` and `codec.FixedKeys` are."""

    def current(self) -> KeyRing:
        """The ring as it is now."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class _Keyed:
    """What one key of the ring makes for one attribute."""

    siv: AESSIV
    hash_key: bytes = dataclasses.field(repr=False)
    tag: bytes


class BlindIndex:
    """Turns values of the named attributes into what is stored, and back. Safe to share between threads."""

    def __init__(self, ring: Ring, attributes: Iterable[str], *, binding: str | None = None) -> None:
        """`binding` replaces the ring's own.

        Raises:
            BlindIndexError: a name is none, or is the service's own attribute.
        """
        self.attributes = frozenset(attributes)
        for name in self.attributes:
            if not _NAME.fullmatch(name):
                raise BlindIndexError(f"blind-index: {name[:80]!r} is no name of a search attribute.")
            if name in _SYSTEM or name.startswith("Temporal"):
                raise BlindIndexError(
                    f"blind-index: {name} is the service's own attribute, which it must read. Name a keyword of yours."
                )
        self._ring = ring
        self._binding = binding
        self._derived: weakref.WeakKeyDictionary[Key, dict[tuple[str, str], _Keyed]] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"BlindIndex({', '.join(sorted(self.attributes))})"

    def blind(self, attribute: str, value: str) -> str:
        """What is stored of a value, under the active key. What is stored already stays as it is.

        Raises:
            BlindIndexError: the value is too large.
            codec.KeyRingError: the ring can't be read.
        """
        if self.is_stored(attribute, value):
            return value
        ring = self._ring.current()
        return self._stored(self._keyed(ring, ring.active, attribute), attribute, value)

    def candidates(self, attribute: str, value: str) -> list[str]:
        """What may be stored of a value, under each key of the ring that may be used; the active one's first.

        Raises:
            BlindIndexError: the value is too large.
            codec.KeyRingError: the ring can't be read.
        """
        if self.is_stored(attribute, value):
            return [value]
        ring = self._ring.current()
        keys = [ring.active, *(key for key in ring.keys if key.state is KeyState.DECRYPT_ONLY)]
        return [self._stored(self._keyed(ring, key, attribute), attribute, value) for key in keys]

    def reveal(self, attribute: str, stored: str) -> str:
        """The value of what is stored; what is only a hash, is not marked, or has a key that the ring lacks, as it is."""
        found = self._opened(attribute, stored)
        return stored if found is None else found

    def is_stored(self, attribute: str, value: str) -> bool:
        """Whether `value` is what was stored of another already."""
        if value.startswith(HASH_MARK):
            return len(_decoded(value.removeprefix(HASH_MARK))) == _TAG_BYTES + 32
        return self._opened(attribute, value) is not None

    def _opened(self, attribute: str, stored: str) -> str | None:
        if not stored.startswith(MARK):
            return None
        raw = _decoded(stored.removeprefix(MARK))
        if len(raw) < _TAG_BYTES + 2 * _BLOCK_BYTES:
            return None
        ring = self._ring.current()
        for key in ring.keys:
            if key.state not in (KeyState.ACTIVE, KeyState.DECRYPT_ONLY):
                continue
            keyed = self._keyed(ring, key, attribute)
            if not hmac.compare_digest(keyed.tag, raw[:_TAG_BYTES]):
                continue
            try:
                padded = keyed.siv.decrypt(raw[_TAG_BYTES:], None)
            except InvalidTag:
                continue
            return padded.rstrip(b"\0")[:-1].decode(errors="replace")
        return None

    def _stored(self, keyed: _Keyed, attribute: str, value: str) -> str:
        raw = value.encode()
        if len(raw) > VALUE_BYTES_MAX:
            raise BlindIndexError(
                f"A value of {attribute} has {len(raw)} bytes; at most {VALUE_BYTES_MAX} are indexed."
            )
        if len(raw) > REVERSIBLE_BYTES_MAX:
            return HASH_MARK + _encoded(keyed.tag + hmac.digest(keyed.hash_key, raw, "sha256"))
        padded = raw + b"\x80" + bytes(-(len(raw) + 1) % _BLOCK_BYTES)
        return MARK + _encoded(keyed.tag + keyed.siv.encrypt(padded, None))

    def _keyed(self, ring: KeyRing, key: Key, attribute: str) -> _Keyed:
        binding = self._binding or ring.binding
        known = self._derived.setdefault(key, {})
        found = known.get((binding, attribute))
        if found is None:
            parts = (binding.encode(), attribute.encode())
            info = _LABEL + b"".join(struct.pack(">I", len(part)) + part for part in parts)
            size = _SIV_KEY_BYTES + _HASH_KEY_BYTES + _TAG_BYTES
            derived = HKDF(hashes.SHA256(), size, None, info).derive(key.material.reveal())
            found = known[binding, attribute] = _Keyed(
                siv=AESSIV(derived[:_SIV_KEY_BYTES]),
                hash_key=derived[_SIV_KEY_BYTES : _SIV_KEY_BYTES + _HASH_KEY_BYTES],
                tag=derived[-_TAG_BYTES:],
            )
        return found


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    if len(text) > 512 or not text.isascii():
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def names(attributes: Sequence[str]) -> str:
    """Attributes as a sentence has them."""
    return ", ".join(sorted(attributes))
