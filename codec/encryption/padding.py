"""Padding that hides how long a payload is, but for the size class that it falls into (Padmé).

Padmé (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019)
keeps of a length's binary digits as many as the number of its digits has, and rounds up to the next such length. Of a
length of n bytes so only O(log log n) bits are told, and padding never adds more than 12 %: 11.7 % at worst (129 bytes),
6 % above a kilobyte, 3 % above 64 KiB.

Padded form::

    plaintext | zeros | number of zeros (4 bytes, big-endian)

with the length of the whole of it a Padmé length.
"""

from __future__ import annotations

from codec.errors import InvalidPayload

COUNT_BYTES = 4


def padded_length(length: int) -> int:
    """The smallest Padmé length that is not below `length`."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (length + mask) & ~mask


def padding_for(length: int) -> bytes:
    """What to add to a plaintext of `length` bytes."""
    zeros = padded_length(length + COUNT_BYTES) - length - COUNT_BYTES
    return bytes(zeros) + zeros.to_bytes(COUNT_BYTES)


def unpadded_length(plain: bytes | bytearray) -> int:
    """How many bytes of its padded form are the plaintext.

    Raises:
        InvalidPayload: it is no padded form.
    """
    length = len(plain) - COUNT_BYTES
    if length >= 0:
        length -= int.from_bytes(plain[length:])
        if length >= 0 and len(plain) == padded_length(length + COUNT_BYTES):
            return length
    raise InvalidPayload(
        "The decrypted payload is not padded as its format says: its sender used another format."
    )
