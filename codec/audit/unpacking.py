"""Opens what hides text from a search: compressed blobs, and runs of base64 and hex, inside any bytes.

Compression is recognized by its first bytes wherever they stand: gzip, zlib, zstd, snappy's framing. What begins so by
chance does not open, and costs a call. All is bounded: what one blob opens to, how many levels, and what one buffer may
cost in all.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator

import zstandard

OPENED_BYTES_MAX = 64 * 1024 * 1024
"""Of one blob; the rest of it is left unread. Payloads are smaller."""
OPENED_TOTAL_BYTES_MAX = 1024 * 1024 * 1024
"""Of all blobs within one source, so that a file made of bombs ends."""
DEPTH_MAX = 4
PIECE_BYTES = 1024 * 1024

# One class of first bytes, then what tells them apart: the engine skips to members of the class.
_MAGIC = re.compile(
    rb"[\x1f\x28\x78\xff](?:"
    rb"(?<=\x1f)(?P<gzip>\x8b\x08[\x00-\x1f])|(?<=\x28)(?P<zstd>\xb5\x2f\xfd)|"
    rb"(?<=\x78)(?P<zlib>[\x01\x5e\x9c\xda])|(?<=\xff)(?P<snappy>\x06\x00\x00sNaPpY))",
    re.DOTALL,
)
_RUNS = re.compile(rb"[A-Za-z0-9+/_-]{32,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}){16,}|(?:[0-9A-F]{2}){16,}")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class Budget:
    """How much may still be opened within one source."""

    def __init__(self, left: int = OPENED_TOTAL_BYTES_MAX) -> None:
        self.left = left

    def take(self, count: int) -> int:
        """At most `count` of what is left."""
        taken = min(count, self.left)
        self.left -= taken
        return taken


def opened(data: bytes | memoryview, budget: Budget) -> Iterator[tuple[str, bytes, int]]:
    """Each thing that opens in `data`: how it was packed, its content, and where it stood."""
    for found in _MAGIC.finditer(data):
        kind = found.lastgroup or ""
        start = found.start()
        content = _OPENERS[kind](memoryview(data)[start:], budget)
        if content:
            yield kind, content, start
    for found in _RUNS.finditer(data):
        text = found.group()
        room = budget.take(len(text))
        if room < len(text):
            return
        for digits in _HEX.finditer(text):
            yield "hex", bytes.fromhex(digits.group().decode()), found.start() + digits.start()
        if content := _from_base64(text):
            yield "base64", content, found.start()


def _from_base64(text: bytes) -> bytes:
    # A run may begin with characters of something else; what then comes out is noise, and the other alignments are
    # searched for by the needles.
    text = text.rstrip(b"=").translate(_TO_STANDARD)
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return b""


def _inflate(data: memoryview, budget: Budget, window: int) -> bytes:
    opener = zlib.decompressobj(window)
    allowed = min(OPENED_BYTES_MAX, budget.left)
    content = bytearray()
    position = 0
    try:
        while not opener.eof and len(content) < allowed and (position < len(data) or opener.unconsumed_tail):
            piece = opener.unconsumed_tail or data[position : position + 65536]
            if not opener.unconsumed_tail:
                position += len(piece)
            content += opener.decompress(piece, allowed - len(content))
    except zlib.error:
        # What was whole up to there counts: a capture or a log may end in the middle.
        pass
    budget.take(len(content))
    return bytes(content)


def _gunzip(data: memoryview, budget: Budget) -> bytes:
    return _inflate(data, budget, 31)


def _unzlib(data: memoryview, budget: Budget) -> bytes:
    # The two bytes of its head are a number that 31 divides; a pair in sixty passes by chance.
    if int.from_bytes(data[:2], "big") % 31:
        return b""
    return _inflate(data, budget, 15)


def _unzstd(data: memoryview, budget: Budget) -> bytes:
    opener = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    allowed = min(OPENED_BYTES_MAX, budget.left)
    content = bytearray()
    try:
        # Small pieces: what one of them opens to can't be bounded otherwise (the format allows some 1:20,000).
        for position in range(0, len(data), 4096):
            content += opener.decompress(data[position : position + 4096])
            if opener.eof or len(content) >= allowed:
                break
    except zstandard.ZstdError:
        pass  # as above
    del content[allowed:]
    budget.take(len(content))
    return bytes(content)


def _unsnappy(data: memoryview, budget: Budget) -> bytes:
    """Snappy's framing format: chunks with a type, a length of three bytes and a checksum."""
    content = bytearray()
    position = 0
    allowed = min(OPENED_BYTES_MAX, budget.left)
    while position + 4 <= len(data) and len(content) < allowed:
        kind, size = data[position], int.from_bytes(data[position + 1 : position + 4], "little")
        chunk = data[position + 4 : position + 4 + size]
        position += 4 + size
        if kind == 0x00:
            content += _snappy_block(chunk[4:])
        elif kind == 0x01:
            content += chunk[4:]
        elif kind < 0x80:
            break
    budget.take(len(content))
    return bytes(content)


def _snappy_block(data: memoryview) -> bytes:
    """One block of snappy: literals and copies of what came before. What is damaged ends it."""
    position = 0
    while position < len(data) and data[position] & 0x80:
        position += 1
    position += 1
    content = bytearray()
    while position < len(data) and len(content) <= 65536:
        tag = data[position]
        position += 1
        if tag & 3 == 0:
            size = tag >> 2
            if size >= 60:
                width = size - 59
                size = int.from_bytes(data[position : position + width], "little")
                position += width
            content += data[position : position + size + 1]
            position += size + 1
            continue
        if tag & 3 == 1:
            size, offset = (
                ((tag >> 2) & 7) + 4,
                (tag >> 5) << 8 | int.from_bytes(data[position : position + 1], "little"),
            )
            position += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            size, offset = (tag >> 2) + 1, int.from_bytes(data[position : position + width], "little")
            position += width
        if not 0 < offset <= len(content):
            break
        for _ in range(size):
            content.append(content[-offset])
    return bytes(content)


_OPENERS = {"gzip": _gunzip, "zstd": _unzstd, "zlib": _unzlib, "snappy": _unsnappy}
