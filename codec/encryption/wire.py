"""Payloads as bytes without needless copies: a mebibyte that is copied once more costs a fifth of its encryption."""

from __future__ import annotations

import threading

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from temporalio.api.common.v1 import Payload

from codec.errors import InvalidPayload

SCRATCH_KEPT_BYTES = 4 * 1024 * 1024
"""What a thread keeps for the next payload; fresh memory costs more than filling it."""

DATA_TAG = bytes([Payload.DATA_FIELD_NUMBER << 3 | 2])
"""What stands before the length of a payload's data."""


class _Scratch(threading.local):
    """Memory of one thread for what is made of a payload and copied away at once."""

    def __init__(self) -> None:
        self.kept = bytearray()


_scratch = _Scratch()


def scratch(size: int) -> memoryview:
    """Memory to write `size` bytes to; whatever the thread asked for before is lost."""
    if size > SCRATCH_KEPT_BYTES:
        return memoryview(bytearray(size))
    if len(_scratch.kept) < size:
        _scratch.kept = bytearray(size)
    return memoryview(_scratch.kept)[:size]


def varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def parts_of(payload: Payload) -> list[bytes]:
    """A payload's serialized form in pieces, with its data uncopied but for the one time that protobuf asks for."""
    data = payload.data
    # What a newer protocol adds to payloads is kept: only protobuf knows how to write it.
    if payload.external_payloads or len(UnknownFieldSet(payload)):
        return [payload.SerializeToString()]
    head = Payload(metadata=payload.metadata).SerializeToString()
    return [head, DATA_TAG, varint(len(data)), data] if data else [head]


def parse(plain: bytes | memoryview) -> Payload:
    """A payload of its serialized form.

    Raises:
        InvalidPayload: it is none.
    """
    try:
        return Payload.FromString(plain)  # type: ignore[arg-type]
    except DecodeError:
        raise InvalidPayload(
            "The decrypted payload is not a Temporal payload: its sender used another format."
        ) from None
