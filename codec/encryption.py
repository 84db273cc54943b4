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
import dataclasses
import enum
import os
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec.errors import InvalidPayload, PlaintextRefused
from codec.keyring import Key, KeyRing
from codec.xaes256gcm import NONCE_BYTES, TAG_BYTES, XAES256GCM, fresh_nonce

ENCODING = b"binary/tacit-encrypted"
SAMPLES_ENCODING = b"binary/encrypted"
KEY_ID_FIELD = "encryption-key-id"

THREAD_THRESHOLD_BYTES = 512 * 1024
"""Above it a payload is worked on in a thread (the cipher releases the interpreter's lock): on the event loop
it would hold up everything else for about a millisecond per two mebibytes; below, the hand-over costs
more."""

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


class Keys(Protocol):
    """Where a codec finds its keys: a `KeyRingFile` that follows its file, or `FixedKeys`."""

    def current(self) -> KeyRing:
        """The ring to encrypt with now."""
        ...

    def decrypting(self, key_id: str) -> Key:
        """The key of that id, or `MissingKey` or `DisabledKey`."""
        ...


@dataclasses.dataclass(frozen=True)
class FixedKeys:
    """A key ring that does not change while the process runs."""

    ring: KeyRing

    def current(self) -> KeyRing:
        """The ring."""
        return self.ring

    def decrypting(self, key_id: str) -> Key:
        """The key of that id, or `MissingKey` or `DisabledKey`."""
        return self.ring.decrypting(key_id)


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
        self._ciphers: dict[str, tuple[Key, XAES256GCM]] = {}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload encrypted, in the same order."""
        ring = self._keys.current()
        write = self._seal if self._write_format is WriteFormat.TACIT else _seal_as_samples
        return [await _run(payload, lambda one: write(one, ring)) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload decrypted, in the same order; what is not encrypted as it came.

        Raises:
            MissingKey: a key is not in the ring; the error names it.
            DisabledKey: a key was disabled.
            InvalidPayload: a payload does not authenticate.
            PlaintextRefused: a payload is not encrypted, and `refuse_plaintext` is set.
        """
        return [await _run(payload, self._open) for payload in payloads]

    def _seal(self, payload: Payload, ring: KeyRing) -> Payload:
        key = ring.active
        nonce = fresh_nonce()
        associated = _associated(key.id, self._binding or ring.binding)
        sealed = self._cipher(key).encrypt(nonce, payload.SerializeToString(), associated)
        return Payload(
            metadata={"encoding": ENCODING, KEY_ID_FIELD: key.id.encode()},
            data=b"".join((_VERSION, nonce, sealed)),
        )

    def _open(self, payload: Payload) -> Payload:
        encoding = payload.metadata.get("encoding", b"")
        if encoding == ENCODING:
            return self._open_ours(payload)
        if encoding == SAMPLES_ENCODING:
            return self._open_samples(payload)
        if self._refuse_plaintext:
            raise PlaintextRefused(
                f"A payload with the encoding {_shown(encoding)} is not encrypted, but refuse-plaintext is "
                "set. Whoever sent it needs the codec; or clear refuse-plaintext until none are left."
            )
        return payload

    def _open_ours(self, payload: Payload) -> Payload:
        key = self._keys.decrypting(_key_id(payload))
        # The binding is the ring's of now: rings of one file share it, whichever key is meant.
        associated = _associated(key.id, self._binding or self._keys.current().binding)
        data = payload.data
        if data[:1] not in (b"", _VERSION):
            raise InvalidPayload(
                f"The payload is encrypted in version {data[0]} of the format, this Tacit reads version 1: "
                "it was altered, or written by a newer Tacit."
            )
        if len(data) < 1 + NONCE_BYTES + TAG_BYTES:
            raise InvalidPayload(_REFUSED.format(key_id=key.id))
        view = memoryview(data)
        nonce = bytes(view[1 : 1 + NONCE_BYTES])
        try:
            plain = self._cipher(key).decrypt(nonce, view[1 + NONCE_BYTES :], associated)
        except InvalidTag:
            raise InvalidPayload(_REFUSED.format(key_id=key.id)) from None
        return _parse(plain)

    def _open_samples(self, payload: Payload) -> Payload:
        if "encryption-dek" in payload.metadata:
            raise InvalidPayload(
                "The payload is envelope-encrypted with a data key of its own (encryption-dek), as "
                "temporal-proxy writes it; its key service is needed to read it."
            )
        key = self._keys.decrypting(_key_id(payload))
        view = memoryview(payload.data)
        if len(view) < _SAMPLES_NONCE_BYTES + TAG_BYTES:
            raise InvalidPayload(_REFUSED.format(key_id=key.id))
        try:
            plain = AESGCM(key.material.reveal()).decrypt(
                bytes(view[:_SAMPLES_NONCE_BYTES]), view[_SAMPLES_NONCE_BYTES:], None
            )
        except InvalidTag:
            raise InvalidPayload(_REFUSED.format(key_id=key.id)) from None
        return _parse(plain)

    def _cipher(self, key: Key) -> XAES256GCM:
        """The key's cipher, whose subkey is worked out once; another key under a known id gets its own."""
        known = self._ciphers.get(key.id)
        if known is None or known[0] is not key:
            known = (key, XAES256GCM(key.material.reveal()))
            self._ciphers[key.id] = known
        return known[1]


def is_encrypted(payload: Payload) -> bool:
    """Whether a payload claims one of the two encrypted encodings; says nothing of whether it decrypts."""
    return payload.metadata.get("encoding", b"") in (ENCODING, SAMPLES_ENCODING)


def _seal_as_samples(payload: Payload, ring: KeyRing) -> Payload:
    key = ring.active
    nonce = os.urandom(_SAMPLES_NONCE_BYTES)
    sealed = AESGCM(key.material.reveal()).encrypt(nonce, payload.SerializeToString(), None)
    return Payload(
        metadata={"encoding": SAMPLES_ENCODING, KEY_ID_FIELD: key.id.encode()}, data=nonce + sealed
    )


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


async def _run(payload: Payload, work: Callable[[Payload], Payload]) -> Payload:
    if payload.ByteSize() < THREAD_THRESHOLD_BYTES:
        return work(payload)
    return await asyncio.to_thread(work, payload)
