"""Payloads as bytes without needless copies: a mebibyte that is copied once more costs a fifth of its encryption."""

from __future__ import annotations

import threading

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from temporalio.api.common.v1 import Payload

from codec.errors import InvalidPayload

SCRATCH_KEPT_BYTES = 4 * 1024 * 1024
"""The largest piece of memory that a thread keeps for the next payload; fresh memory costs more than filling it."""

DATA_TAG = bytes([Payload.DATA_FIELD_NUMBER << 3 | 2])
"""What stands before the length of a payload's data."""


class _Scratch(threading.local):
    """Memory of one thread for what is made of a payload and copied away at once, by the digits of its size."""

    def __init__(self) -> None:
        self.kept: dict[int, bytearray] = {}


_scratch = _Scratch()


def scratch(size: int) -> bytearray:
    """Exactly `size` bytes to write to; what the thread was given before may be overwritten.

    A bytearray and no view of one: protobuf copies a view before it parses it.
    """
    if size > SCRATCH_KEPT_BYTES:
        return bytearray(size)
    kept = _scratch.kept.get(digits := size.bit_length())
    if kept is None:
        kept = _scratch.kept[digits] = bytearray(size)
    elif len(kept) > size:
        del kept[size:]
    else:
        kept.extend(bytes(size - len(kept)))
    return kept


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


def parts_of(payload: Payload, data: bytes) -> list[bytes]:
    """A payload's serialized form in pieces, one of them `data`, the payload's, which was copied once too often already."""
    # What a newer protocol adds to payloads is kept: only protobuf knows how to write it.
    if payload.external_payloads or len(UnknownFieldSet(payload)):
        return [payload.SerializeToString()]
    return [Payload(metadata=payload.metadata).SerializeToString(), DATA_TAG, varint(len(data)), data]


def parse(plain: bytes | bytearray) -> Payload:
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
