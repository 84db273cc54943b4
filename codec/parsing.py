"""Payloads out of bytes that others chose: protobuf makes 16 bytes of memory out of each byte of empty messages."""

from __future__ import annotations

from typing import cast

from temporalio.api.common.v1 import Payload

from codec.errors import InvalidPayload

FIELDS_MAX = 1_000
"""Entries of metadata and of external payloads that one payload may have: SDKs write some five."""

LOOK_FROM_BYTES = 64 * 1024
"""Below it, what a payload of many fields takes is a mebibyte at most, until it is counted."""


def payload_of(plain: bytes | memoryview) -> Payload:
    """A payload of its serialized form, without taking much more memory than that has.

    Raises:
        google.protobuf.message.DecodeError: it is none.
        InvalidPayload: it has more fields than payloads have.
    """
    if len(plain) >= LOOK_FROM_BYTES and _has_many_fields(plain):
        raise _too_many()
    # Its parser takes any buffer; its types say bytes.
    payload = Payload.FromString(cast("bytes", plain))
    if has_many_fields(payload):
        raise _too_many()
    return payload


def has_many_fields(payload: Payload) -> bool:
    """Whether a payload has more fields than are read."""
    return len(payload.metadata) + len(payload.external_payloads) > FIELDS_MAX


def _has_many_fields(plain: bytes | memoryview) -> bool:
    """The same of a serialized payload, told by its outermost fields alone. What is no protobuf has none: its parser will tell."""
    position, end = 0, len(plain)
    for _ in range(FIELDS_MAX + 1):
        if position >= end:
            return False
        tag, position = _varint(plain, position)
        match tag & 7:
            case 0:
                _, position = _varint(plain, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(plain, position)
                position += length
            case 5:
                position += 4
            case _:
                # Groups are in no payload, and can't be skipped without looking into them.
                return True
    return position < end


def _varint(plain: bytes | memoryview, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(plain) and shift < 70:
        byte = plain[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return number, position


def _too_many() -> InvalidPayload:
    return InvalidPayload(
        f"The payload has more than {FIELDS_MAX} fields, which no SDK writes: it is an attempt to exhaust memory."
    )
