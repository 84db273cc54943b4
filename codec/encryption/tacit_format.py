"""Tacit's format of an encrypted payload; no I/O, no choice of keys.

::

    metadata: encoding = "binary/tacit-encrypted"
              encryption-key-id = <key id>
              encryption-dek = <the payload's own key, wrapped>     only with envelope encryption
              encryption-bound-to = <owner, see owner.py>           only if BOUND
    data:     version 1: 0x01 | nonce (24 bytes) | XAES-256-GCM ciphertext and tag (16 bytes)
              version 2: 0x02 | flags | nonce (24 bytes) | XAES-256-GCM ciphertext and tag (16 bytes)

What is encrypted is the whole serialized Payload, in version 2 with PADDED in its padded form (padding.py). Associated
data: "tacit payload\\0", then each with its length (4 bytes, big-endian) before it, so that no two lists give the same
bytes:

    version 1: version, key id, binding
    version 2: version, flags, key id, binding, owner (empty if not BOUND)

Flags: 1 = BOUND, 2 = PADDED. Version 1 is written where neither is asked for. The format may grow by flags and by
versions: a reader refuses those that it does not know.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from temporalio.api.common.v1 import Payload

from codec.encryption.owner import Owner
from codec.encryption.padding import padding_for, unpadded_length
from codec.encryption.wire import DATA_TAG, parts_of, scratch, varint
from codec.encryption.xaes256gcm import NONCE_BYTES, TAG_BYTES, XAES256GCM, fresh_nonce
from codec.errors import InvalidPayload
from codec.keys.provider import DataKey

ENCODING = b"binary/tacit-encrypted"
KEY_ID_FIELD = "encryption-key-id"
WRAPPED_KEY_FIELD = "encryption-dek"
OWNER_FIELD = "encryption-bound-to"

REFUSED = (
    "The payload could not be authenticated with key {key_id!r} and this key ring's binding: "
    "it was altered, cut, or encrypted under another binding or another key of that id."
)

JOINED_MAX_BYTES = 96 * 1024
"""Up to here it is cheaper to join a payload's parts than to encrypt them one by one (measured: 18 and 22 microseconds
at 64 KiB, 33 and 31 at 128 KiB)."""

_VERSION_1 = b"\x01"
_VERSION_2 = b"\x02"


# What version 2 may say of a payload. Plain numbers: every payload's are looked at, and enumerations take their time.
BOUND = 1
PADDED = 2
_FLAGS_KNOWN = BOUND | PADDED


class BoundCipher:
    """All that one key and one binding have in common for every payload."""

    __slots__ = ("_unbound", "aead", "associated", "binding", "head", "key_id")

    def __init__(self, key: DataKey, binding: str) -> None:
        self.key_id = key.id
        self.binding = binding.encode()
        self.aead = XAES256GCM(key.material.reveal())
        self.associated = associated_data(_VERSION_1, key.id.encode(), self.binding)
        metadata = {"encoding": ENCODING, KEY_ID_FIELD: key.id.encode()}
        if key.wrapped is not None:
            metadata[WRAPPED_KEY_FIELD] = key.wrapped
        self.head = Payload(metadata=metadata).SerializeToString()
        self._unbound = tuple(Sealer(self, None, padded=padded) for padded in (False, True))

    def sealer(self, owner: Owner | None, *, padded: bool) -> Sealer:
        """What encrypts payloads of this owner."""
        return self._unbound[padded] if owner is None else Sealer(self, owner, padded=padded)

    def open(self, data: bytes, flags: int, owner: bytes) -> bytes | bytearray:
        """The payload that was sealed, serialized; `flags` are its own, `owner` is what its metadata says if BOUND is among them.

        Raises:
            InvalidPayload: it does not authenticate, or is of a version that is not known.
        """
        start = 1 if data[:1] == _VERSION_1 else 2
        if len(data) < start + NONCE_BYTES + TAG_BYTES:
            raise InvalidPayload(REFUSED.format(key_id=self.key_id))
        associated = self.associated
        if start == 2:
            associated = self.associated_2(flags, owner)
        nonce, sealed = data[start : start + NONCE_BYTES], memoryview(data)[start + NONCE_BYTES :]
        plain: bytes | bytearray
        try:
            if len(sealed) <= JOINED_MAX_BYTES:
                plain = self.aead.decrypt(nonce, sealed, associated)
            else:
                plain = scratch(len(sealed) - TAG_BYTES)
                self.aead.decrypt_into(nonce, sealed, associated, plain)
        except InvalidTag:
            raise InvalidPayload(REFUSED.format(key_id=self.key_id)) from None
        if flags & PADDED:
            plain = plain[: unpadded_length(plain)]
        return plain

    def associated_2(self, flags: int, owner: bytes) -> bytes:
        """The associated data of version 2."""
        return associated_data(_VERSION_2, bytes((flags,)), self.key_id.encode(), self.binding, owner)


class Sealer:
    """All that the payloads of one owner have in common, under one key."""

    __slots__ = ("_aead", "_associated", "_head", "_lead", "_padded")

    def __init__(self, cipher: BoundCipher, owner: Owner | None, *, padded: bool) -> None:
        self._aead = cipher.aead
        self._padded = padded
        self._head = cipher.head
        self._lead, self._associated = _VERSION_1, cipher.associated
        if owner is None and not padded:
            return
        flags = PADDED if padded else 0
        name = b""
        if owner is not None:
            flags |= BOUND
            name = owner.to_bytes()
            self._head += Payload(metadata={OWNER_FIELD: name}).SerializeToString()
        self._lead = _VERSION_2 + bytes((flags,))
        self._associated = cipher.associated_2(flags, name)

    def seal(self, payload: Payload, data: bytes) -> bytes | bytearray:
        """The encrypted payload, serialized; `data` is the payload's own, to be taken out of it no second time."""
        nonce = fresh_nonce()
        if len(data) <= JOINED_MAX_BYTES:
            plain = payload.SerializeToString()
            if self._padded:
                plain += padding_for(len(plain))
            sealed = self._aead.encrypt(nonce, plain, self._associated)
            length = varint(len(self._lead) + NONCE_BYTES + len(sealed))
            return b"".join((self._head, DATA_TAG, length, self._lead, nonce, sealed))
        parts = parts_of(payload, data)
        plain_bytes = sum(map(len, parts))
        if self._padded:
            padding = padding_for(plain_bytes)
            parts.append(padding)
            plain_bytes += len(padding)
        length = varint(len(self._lead) + NONCE_BYTES + plain_bytes + TAG_BYTES)
        start = b"".join((self._head, DATA_TAG, length, self._lead, nonce))
        whole = scratch(len(start) + plain_bytes + TAG_BYTES)
        with memoryview(whole) as view:
            view[: len(start)] = start
            self._aead.encrypt_into(nonce, parts, self._associated, view[len(start) :])
        return whole


def flags_of(data: bytes) -> int:
    """What an encrypted payload says of itself; none in version 1.

    Raises:
        InvalidPayload: a version or flag that this Tacit does not know.
    """
    version = data[:1]
    if version in (b"", _VERSION_1):
        return 0
    if version != _VERSION_2:
        raise InvalidPayload(
            f"The payload is encrypted in version {data[0]} of the format, this Tacit reads versions 1 and 2: "
            "it was altered, or written by a newer Tacit."
        )
    flags = data[1] if len(data) > 1 else 0
    if flags & ~_FLAGS_KNOWN:
        raise InvalidPayload(
            f"The payload is encrypted with flags {flags:#04x} of the format's version 2, some of which this Tacit "
            "does not know: it was altered, or written by a newer Tacit."
        )
    return flags


def associated_data(*parts: bytes) -> bytes:
    """The parts, so that no two lists of parts give the same bytes."""
    return b"tacit payload\0" + b"".join(struct.pack(">I", len(part)) + part for part in parts)
