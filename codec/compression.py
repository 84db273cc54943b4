"""Compression of payloads with zstandard, before they are encrypted.

Format: metadata `encoding` = "binary/zstd"; data = one zstd frame (RFC 8878) of the whole serialized Payload, with its
content size in the frame's header, without a dictionary. Also read, never written: "binary/zlib", one zlib stream
(RFC 1950) of the whole serialized Payload, as the Go SDK's `NewZlibCodec` writes it. The samples' "binary/snappy" passes
through.

A payload stays as it is when compressing gains nothing. What a frame may grow to is bounded, and so is the memory that
reading it takes (the window): both are checked against its header before anything is allocated, so that a small hostile
payload cannot take all memory.

Compressing before encrypting lets the length of the ciphertext tell a little about the content. That matters
where one payload holds a secret beside text that an attacker chooses and can watch change in length: switch
it off there.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Sequence

import zstandard
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec.decode_bound import DECODE_BYTES_MAX, DecodeBound, decode_bound
from codec.encryption.samples_format import ENCODING as SAMPLES_ENCODING
from codec.encryption.tacit_format import ENCODING as TACIT_ENCODING
from codec.errors import InvalidPayload
from codec.parsing import has_many_fields, payload_of
from codec.turns import Turn

ENCODING = b"binary/zstd"
ZLIB_ENCODING = b"binary/zlib"
EXPANSION_MAX_BYTES = 64 * 1024 * 1024
"""The largest payload that is compressed or decompressed: SDKs accept 50 MiB by default."""
SIZE_MIN_BYTES = 128
"""Below it a frame's own header eats what compression gains."""

# What one call does on the event loop (zstandard and zlib release the interpreter's lock in a thread). One core of 2026
# compresses a mebibyte in 2 ms (JSON of records) to 7 ms (digits, hex, words), and decompresses it in at most 1.2 ms;
# the bounds keep to 5 ms on a core of half that speed. A hand-over costs a tenth of a millisecond.
COMPRESS_TURN_BYTES = 256 * 1024
DECOMPRESS_TURN_BYTES = 1024 * 1024
ZLIB_TURN_BYTES = 512 * 1024

_LEVEL = 3
_MAGIC = zstandard.FRAME_HEADER
_OVERHEAD_BYTES = (
    Payload(metadata={"encoding": ENCODING}, data=bytes(SIZE_MIN_BYTES)).ByteSize() - SIZE_MIN_BYTES + 4
)
"""What a compressed payload weighs besides its frame, the longest length field included."""
_SKIPPED = frozenset({ENCODING, ZLIB_ENCODING, SAMPLES_ENCODING, TACIT_ENCODING})


class CompressionCodec(PayloadCodec):
    """Compresses what gets smaller by it; decompresses what was."""

    def __init__(
        self, *, expansion_max_bytes: int = EXPANSION_MAX_BYTES, decode_bytes_max: int = DECODE_BYTES_MAX
    ) -> None:
        """Payloads above `expansion_max_bytes` (uncompressed) are neither compressed nor decompressed.

        All payloads of one decode together may become `decode_bytes_max`.
        """
        self._expansion_max_bytes = expansion_max_bytes
        self._decode_bytes_max = decode_bytes_max
        # A frame's window is a power of two, or its content's size; zstandard takes bounds of a kilobyte and more.
        self._window_max_bytes = max(1024, 1 << (expansion_max_bytes - 1).bit_length())
        # Neither compressors nor decompressors of zstandard may be shared between threads.
        self._local = threading.local()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload compressed, or as it came where that would gain nothing."""
        turn = Turn(COMPRESS_TURN_BYTES, each=4096)
        encoded: list[Payload] = []
        for payload in payloads:
            plain = b"" if payload.metadata.get("encoding", b"") in _SKIPPED else payload.SerializeToString()
            if SIZE_MIN_BYTES <= len(plain) <= self._expansion_max_bytes:
                encoded.append(await self._encode(payload, plain, turn))
            else:
                encoded.append(payload)
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload decompressed; what was not compressed as it came.

        Raises:
            InvalidPayload: damaged, or larger than the bound when decompressed.
            DecodeBoundReached: larger than the bound together.
        """
        turn = Turn(DECOMPRESS_TURN_BYTES, each=8192)
        bound = decode_bound(self._decode_bytes_max)
        decoded: list[Payload] = []
        for payload in payloads:
            encoding = payload.metadata.get("encoding", b"")
            if encoding in (ENCODING, ZLIB_ENCODING):
                payload = await self._decode(payload, encoding, turn, bound)
            decoded.append(payload)
        return decoded

    async def _encode(self, payload: Payload, plain: bytes, turn: Turn) -> Payload:
        if has_many_fields(payload):
            return payload
        compressed = await turn.run(len(plain), self._compress, plain)
        if len(compressed) + _OVERHEAD_BYTES >= len(plain):
            return payload
        return Payload(metadata={"encoding": ENCODING}, data=compressed)

    async def _decode(self, payload: Payload, encoding: bytes, turn: Turn, bound: DecodeBound) -> Payload:
        data = payload.data
        if encoding == ZLIB_ENCODING:
            return await self._inflate(data, turn, bound)
        size = self._content_size(data)
        bound.take(size)
        return await turn.run(size, self._decompress, data, size)

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
            decompressor = self._local.decompressor = zstandard.ZstdDecompressor(
                max_window_size=self._window_max_bytes
            )
        try:
            plain = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
            return payload_of(plain)
        except (zstandard.ZstdError, DecodeError):
            raise InvalidPayload(
                "The compressed payload is damaged: its zstd frame does not decompress."
            ) from None

    def _content_size(self, data: bytes) -> int:
        """The size that the frame says it decompresses to; zstandard never writes more than that.

        Raises:
            InvalidPayload: no zstd frame (or one to be skipped), no size in it, or a size, window or dictionary that
                is not accepted.
        """
        try:
            header = zstandard.get_frame_parameters(data)
        except zstandard.ZstdError:
            header = None
        if header is None or data[: len(_MAGIC)] != _MAGIC:
            raise InvalidPayload("The compressed payload is damaged: it does not begin a zstd frame.")
        size: int = header.content_size
        if size == zstandard.CONTENTSIZE_UNKNOWN:
            raise InvalidPayload(
                "The compressed payload does not say how large its content is, and is refused."
            )
        if not size:
            raise InvalidPayload("The compressed payload holds nothing: it was not written by this codec.")
        if size > self._expansion_max_bytes:
            raise InvalidPayload(
                f"The compressed payload would expand to {size} bytes, over {self._expansion_max_bytes}. "
                "Raise the bound if it is yours; else it is an attempt to exhaust memory."
            )
        if header.window_size > self._window_max_bytes or header.dict_id:
            raise InvalidPayload(
                f"The compressed payload needs a window of {header.window_size} bytes (at most "
                f"{self._window_max_bytes} are accepted) or a dictionary (none is): it was not written by this codec."
            )
        return size

    async def _inflate(self, data: bytes, turn: Turn, bound: DecodeBound) -> Payload:
        """Read the Go SDK's zlib. A stream does not say how large its content is, so a thread takes over if it is large."""
        inflating = zlib.decompressobj()
        try:
            # One byte more than may be: it tells a stream that is too large. Zero would mean no bound at all.
            most = min(self._expansion_max_bytes, bound.left) + 1
            plain = inflating.decompress(data, min(most, ZLIB_TURN_BYTES))
            if len(plain) < most and (inflating.unconsumed_tail or not turn.take(len(plain))):
                rest = inflating.unconsumed_tail
                plain += await asyncio.to_thread(inflating.decompress, rest, most - len(plain))
            if len(plain) > self._expansion_max_bytes:
                raise InvalidPayload(
                    f"The compressed payload would expand to more than {self._expansion_max_bytes} bytes. "
                    "Raise the bound if it is yours; else it is an attempt to exhaust memory."
                )
            bound.take(len(plain))
            if not inflating.eof or inflating.unused_data:
                raise InvalidPayload(
                    "The compressed payload is damaged: its zlib stream is cut, or not all of it."
                )
            return payload_of(plain)
        except (zlib.error, DecodeError):
            raise InvalidPayload(
                "The compressed payload is damaged: its zlib stream does not decompress."
            ) from None
