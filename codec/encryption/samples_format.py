"""The official samples' format of an encrypted payload (Go, Python, TypeScript and Java), for interop.

::

    metadata: encoding = "binary/encrypted"
              encryption-key-id = <key id>
              encryption-cipher = "AES/GCM/NoPadding"     in Java's alone; not looked at
              encryption-dek = <base64 of the wrapped key>    only with envelope encryption, as temporal-proxy writes it
    data:     nonce (12 bytes) | AES-256-GCM ciphertext and tag (16 bytes) of the whole serialized Payload

It has no associated data, so it binds a payload to its key only: not to a binding, an owner or a version. One key must not
encrypt more than 2**32 payloads in it: message_bound.py counts.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload

from codec.encryption.tacit_format import KEY_ID_FIELD, REFUSED, WRAPPED_KEY_FIELD
from codec.encryption.wire import parse
from codec.errors import InvalidPayload
from codec.keys.provider import DataKey

ENCODING = b"binary/encrypted"
NONCE_BYTES = 12
TAG_BYTES = 16


def seal_as_samples(key: DataKey, payload: Payload) -> Payload:
    """The payload encrypted under `key`."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(key.material.reveal()).encrypt(nonce, payload.SerializeToString(), b"")
    metadata = {"encoding": ENCODING, KEY_ID_FIELD: key.id.encode()}
    if key.wrapped is not None:
        metadata[WRAPPED_KEY_FIELD] = key.wrapped
    return Payload(metadata=metadata, data=nonce + sealed)


def open_samples(key: DataKey, data: bytes) -> Payload:
    """The payload that was sealed as `data`.

    Raises:
        InvalidPayload: it does not authenticate.
    """
    if len(data) < NONCE_BYTES + TAG_BYTES:
        raise InvalidPayload(REFUSED.format(key_id=key.id))
    sealed = memoryview(data)[NONCE_BYTES:]
    try:
        return parse(AESGCM(key.material.reveal()).decrypt(data[:NONCE_BYTES], sealed, b""))
    except InvalidTag:
        raise InvalidPayload(REFUSED.format(key_id=key.id)) from None
