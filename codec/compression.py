"""Compression of payloads with zstandard, before they are encrypted.

Format: metadata `encoding` = "binary/zstd"; data = one zstd frame (RFC 8878) of the whole serialized Payload,
with its content size in the frame's header.

A payload stays as it is when compressing gains nothing. What a frame may grow to is bounded, and the bound is
checked against the header before anything is allocated, so that a small hostile payload cannot take all
memory.

Compressing before encrypting lets the length of the ciphertext tell a little about the content. That matters
where one payload holds a secret beside text that an attacker chooses and can watch change in length: switch
it off there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import zstandard
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec.errors import InvalidPayload

ENCODING = b"binary/zstd"
EXPANSION_MAX_BYTES = 64 * 1024 * 1024
"""The largest payload that is compressed or decompressed: SDKs accept 50 MiB by default."""
SIZE_MIN_BYTES = 128
"""Below it a frame's own header eats what compression gains."""
THREAD_THRESHOLD_BYTES = 128 * 1024
"""Above it a thread does the work (zstandard releases the interpreter's lock); the event loop stays free."""

_LEVEL = 3
_OVERHEAD_BYTES = (
    Payload(metadata={"encoding": ENCODING}, data=bytes(SIZE_MIN_BYTES)).ByteSize() - SIZE_MIN_BYTES + 4
)
"""What a compressed payload weighs besides its frame, the longest length field included."""
_SKIPPED = frozenset({ENCODING, b"binary/encrypted", b"binary/tacit-encrypted"})


class CompressionCodec(PayloadCodec):
    """Compresses what gets smaller by it; decompresses what was."""

    def __init__(self, *, expansion_max_bytes: int = EXPANSION_MAX_BYTES) -> None:
        """Payloads above `expansion_max_bytes` (uncompressed) are neither compressed nor decompressed."""
        self._expansion_max_bytes = expansion_max_bytes
        # Neither compressors nor decompressors of zstandard may be shared between threads.
        self._local = threading.local()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload compressed, or as it came where that would gain nothing."""
        return [await self._encode(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload decompressed; what was not compressed here as it came.

        Raises:
            InvalidPayload: damaged, or larger than the bound when decompressed.
        """
        return [await self._decode(payload) for payload in payloads]

    async def _encode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding", b"") in _SKIPPED:
            return payload
        plain = payload.SerializeToString()
        if not SIZE_MIN_BYTES <= len(plain) <= self._expansion_max_bytes:
            return payload
        if len(plain) < THREAD_THRESHOLD_BYTES:
            compressed = self._compress(plain)
        else:
            compressed = await asyncio.to_thread(self._compress, plain)
        if len(compressed) + _OVERHEAD_BYTES >= len(plain):
            return payload
        return Payload(metadata={"encoding": ENCODING}, data=compressed)

    async def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding", b"") != ENCODING:
            return payload
        data = payload.data
        size = self._content_size(data)
        if size < THREAD_THRESHOLD_BYTES:
            return self._decompress(data, size)
        return await asyncio.to_thread(self._decompress, data, size)

    def _compress(self, plain: bytes) -> bytes:
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(
                level=_LEVEL, write_content_size=True
            )
        return compressor.compress(plain)

    def _decompress(self, data: bytes, size: int) -> Payload:
        decompressor: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if decompressor is None:
            decompressor = self._local.decompressor = zstandard.ZstdDecompressor()
        try:
            plain = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
            return Payload.FromString(plain)
        except (zstandard.ZstdError, DecodeError):
            raise InvalidPayload(
                "The compressed payload is damaged: its zstd frame does not decompress."
            ) from None

    def _content_size(self, data: bytes) -> int:
        """The size that the frame says it decompresses to; zstandard never writes more than that.

        Raises:
            InvalidPayload: no zstd frame, no size in it, or a size above the bound.
        """
        try:
            size = zstandard.frame_content_size(data)
        except zstandard.ZstdError:
            raise InvalidPayload(
                "The compressed payload is damaged: it does not begin a zstd frame."
            ) from None
        if size < 0:
            raise InvalidPayload(
                "The compressed payload does not say how large its content is, and is refused."
            )
        if size > self._expansion_max_bytes:
            raise InvalidPayload(
                f"The compressed payload would expand to {size} bytes, over {self._expansion_max_bytes}. "
                "Raise the bound if it is yours; else it is an attempt to exhaust memory."
            )
        return size
