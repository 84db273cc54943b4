"""Encryption of payloads, as a `PayloadCodec` for any Temporal client or worker.

Our format (version 1)::

    metadata: encoding = "binary/tacit-encrypted"
              encryption-key-id = <key id>
    data:     0x01 | nonce (24 bytes) | XAES-256-GCM ciphertext and tag (16 bytes) of the whole serialized
    Payload associated data: "tacit payload\\0", then version, key id and binding, each with its length (4
    bytes, big-endian)
                     before it, so that no two triples give the same bytes

It may grow by another first byte: a reader refuses versions it does not know.

The official samples' format, for interop (Go, Python, TypeScript and Java samples): encoding
`binary/encrypted`, same key id field, data = nonce (12 bytes) | AES-256-GCM ciphertext and tag. It has no
associated data, so it binds a payload to its key only, and one key must not encrypt more than 2**32 payloads
(NIST SP 800-38D).
"""

from __future__ import annotations

import asyncio
import enum
import os
import struct
import weakref
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec.encryption.xaes256gcm import NONCE_BYTES, TAG_BYTES, XAES256GCM, fresh_nonce
from codec.errors import InvalidPayload, PlaintextRefused
from codec.keys.provider import ANYONE, DataKey, FixedKeys, Keys
from codec.keys.ring import KeyRing

ENCODING = b"binary/tacit-encrypted"
SAMPLES_ENCODING = b"binary/encrypted"
KEY_ID_FIELD = "encryption-key-id"
WRAPPED_KEY_FIELD = "encryption-dek"

THREAD_THRESHOLD_BYTES = 2 * 1024 * 1024
"""Above it a payload is worked on in a thread (the cipher releases the interpreter's lock): on the event loop it
would hold up everything else for a millisecond or more. Below it the hand-over costs more than it saves."""

_D = TypeVar("_D", bytes, memoryview)
_VERSION = b"\x01"
_SAMPLES_NONCE_BYTES = 12
_REFUSED = (
    "The payload could not be authenticated with key {key_id!r} and this key ring's binding: "
    "it was altered, cut, or encrypted under another binding or another key of that id."
)


class WriteFormat(enum.StrEnum):
    """The format that new payloads are written in. Both are read, always."""

    TACIT = "tacit"
    SAMPLES = "samples"


class EncryptionCodec(PayloadCodec):
    """Encrypts every payload with the ring's active key, and decrypts what the ring has keys for.

    What is not encrypted passes through on decode, as Temporal asks of a codec, unless `refuse_plaintext`:
    then a server that slips in a payload of its own making is found out. Set it once nothing unencrypted is
    left.
    """

    def __init__(
        self,
        keys: Keys | KeyRing,
        *,
        binding: str | None = None,
        write_format: WriteFormat = WriteFormat.TACIT,
        refuse_plaintext: bool = False,
    ) -> None:
        """`binding` replaces the ring's own, for payloads that were written under another."""
        self._keys: Keys = FixedKeys(keys) if isinstance(keys, KeyRing) else keys
        self._binding = binding
        self._write_format = write_format
        self._refuse_plaintext = refuse_plaintext
        # The scope of payloads is given with the SDK's serialization context; a codec without one serves all.
        self._scope = ANYONE
        self._ciphers: weakref.WeakKeyDictionary[DataKey, _BoundCipher] = weakref.WeakKeyDictionary()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload encrypted, in the same order."""
        seal = self._seal_as_samples if self._write_format is WriteFormat.SAMPLES else self._seal
        return [await seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload decrypted, in the same order; what is not encrypted as it came.

        Raises:
            MissingKey: a key is not in the ring; the error names it.
            DisabledKey: a key was disabled.
            InvalidPayload: a payload does not authenticate.
            PlaintextRefused: a payload is not encrypted, and `refuse_plaintext` is set.
        """
        return [await self._decode(payload) for payload in payloads]

    async def _decode(self, payload: Payload) -> Payload:
        encoding = payload.metadata.get("encoding", b"")
        if encoding == ENCODING:
            return await self._open(payload)
        if encoding == SAMPLES_ENCODING:
            return await self._open_samples(payload)
        if self._refuse_plaintext:
            raise PlaintextRefused(
                f"A payload with the encoding {_shown(encoding)} is not encrypted, but refuse-plaintext is "
                "set. Whoever sent it needs the codec; or clear refuse-plaintext until none are left."
            )
        return payload

    async def _seal(self, payload: Payload) -> Payload:
        plain = payload.SerializeToString()
        cipher = self._cipher(await self._sealing_key(len(plain)))
        nonce = fresh_nonce()
        sealed = await _run(cipher.aead.encrypt, nonce, plain, cipher.associated)
        return Payload(metadata=cipher.metadata, data=b"".join((_VERSION, nonce, sealed)))

    async def _open(self, payload: Payload) -> Payload:
        cipher = self._cipher(await self._opening_key(payload))
        data = payload.data
        if data[:1] not in (b"", _VERSION):
            raise InvalidPayload(
                f"The payload is encrypted in version {data[0]} of the format, this Tacit reads version 1: "
                "it was altered, or written by a newer Tacit."
            )
        if len(data) < 1 + NONCE_BYTES + TAG_BYTES:
            raise InvalidPayload(_REFUSED.format(key_id=cipher.key_id))
        nonce, sealed = data[1 : 1 + NONCE_BYTES], memoryview(data)[1 + NONCE_BYTES :]
        try:
            return _parse(await _run(cipher.aead.decrypt, nonce, sealed, cipher.associated))
        except InvalidTag:
            raise InvalidPayload(_REFUSED.format(key_id=cipher.key_id)) from None

    async def _seal_as_samples(self, payload: Payload) -> Payload:
        plain = payload.SerializeToString()
        key = await self._sealing_key(len(plain))
        nonce = os.urandom(_SAMPLES_NONCE_BYTES)
        sealed = await _run(AESGCM(key.material.reveal()).encrypt, nonce, plain, b"")
        metadata = {"encoding": SAMPLES_ENCODING, KEY_ID_FIELD: key.id.encode()}
        return Payload(metadata=metadata, data=nonce + sealed)

    async def _open_samples(self, payload: Payload) -> Payload:
        key = await self._opening_key(payload)
        data = payload.data
        if len(data) < _SAMPLES_NONCE_BYTES + TAG_BYTES:
            raise InvalidPayload(_REFUSED.format(key_id=key.id))
        nonce, sealed = data[:_SAMPLES_NONCE_BYTES], memoryview(data)[_SAMPLES_NONCE_BYTES:]
        try:
            return _parse(await _run(AESGCM(key.material.reveal()).decrypt, nonce, sealed, b""))
        except InvalidTag:
            raise InvalidPayload(_REFUSED.format(key_id=key.id)) from None

    async def _sealing_key(self, size: int) -> DataKey:
        key = self._keys.sealing(self._scope, size)
        return key if key is not None else await self._keys.fetch_sealing(self._scope, size)

    async def _opening_key(self, payload: Payload) -> DataKey:
        key_id, wrapped = _key_id(payload), payload.metadata.get(WRAPPED_KEY_FIELD)
        key = self._keys.opening(key_id, wrapped, self._scope)
        return key if key is not None else await self._keys.fetch_opening(key_id, wrapped, self._scope)

    def _cipher(self, key: DataKey) -> _BoundCipher:
        """The key's cipher, worked out once."""
        known = self._ciphers.get(key)
        if known is None:
            known = self._ciphers[key] = _BoundCipher(key, self._binding or key.binding)
        return known


class _BoundCipher:
    """All that one key and one binding have in common for every payload."""

    __slots__ = ("aead", "associated", "key_id", "metadata")

    def __init__(self, key: DataKey, binding: str) -> None:
        self.key_id = key.id
        self.aead = XAES256GCM(key.material.reveal())
        self.associated = _associated(key.id, binding)
        self.metadata = {"encoding": ENCODING, KEY_ID_FIELD: key.id.encode()}
        if key.wrapped is not None:
            self.metadata[WRAPPED_KEY_FIELD] = key.wrapped


def is_encrypted(payload: Payload) -> bool:
    """Whether a payload claims one of the two encrypted encodings; says nothing of whether it decrypts."""
    return payload.metadata.get("encoding", b"") in (ENCODING, SAMPLES_ENCODING)


def _associated(key_id: str, binding: str) -> bytes:
    parts = [_VERSION, key_id.encode(), binding.encode()]
    return b"tacit payload\0" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _key_id(payload: Payload) -> str:
    raw = payload.metadata.get(KEY_ID_FIELD)
    if not raw:
        raise InvalidPayload("The payload says that it is encrypted but names no key (encryption-key-id).")
    # Whatever stands there is only looked up and shown; an id that no key can have ends as a missing key.
    return raw[:160].decode(errors="replace")


def _parse(plain: bytes) -> Payload:
    try:
        return Payload.FromString(plain)
    except DecodeError:
        raise InvalidPayload(
            "The decrypted payload is not a Temporal payload: its sender used another format."
        ) from None


def _shown(encoding: bytes) -> str:
    return repr(encoding[:80].decode(errors="replace"))


async def _run(work: Callable[[bytes, _D, bytes], bytes], nonce: bytes, data: _D, associated: bytes) -> bytes:
    if len(data) < THREAD_THRESHOLD_BYTES:
        return work(nonce, data, associated)
    return await asyncio.to_thread(work, nonce, data, associated)
