"""Finds Temporal payloads in any bytes, without knowing what they are part of, and says what each of them shows.

A payload is found by the metadata that every payload has, its encoding: as the protobuf of it stands in rows of databases,
in messages on the wire and in offloaded objects; or as JSON, in exported histories and answers of the HTTP API. What is
around it does not matter, so databases of any service and version can be read.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from temporalio.api.common.v1 import Payload

from codec.encryption.codec import is_encrypted
from codec.readable import MARKER_DETAILS, SYSTEM_ANSWERS, SYSTEM_REQUESTS, is_bookkeeping
from codec.storage.sdk_references import BYTES_MAX, holds_reference, is_labelled

SAMPLE_BYTES = 4096
SHORT_BYTES = 32
"""Below it nothing can be told from the bytes alone."""

_ENTRY = re.compile(rb"\x0a[\x0d-\x7f]\x0a\x08encoding\x12", re.DOTALL)
_ENTRY_BEFORE = re.compile(rb"\x0a.\x0a.([A-Za-z_-]{3,40})\x12.([\x20-\x7e]{0,110})\Z", re.DOTALL)
_BEFORE_BYTES = 160
_METADATA_MAX = 32
_JSON_ENCODING = re.compile(rb'"encoding"\s*:\s*"([A-Za-z0-9+/]{4,160}={0,2})"')
_JSON_TYPE = re.compile(rb'"(type|messageType)"\s*:\s*"([A-Za-z0-9+/]{4,160}={0,2})"')
_JSON_DATA = re.compile(rb'\s*\}\s*,\s*"data"\s*:\s*"([^"]*)"')
_JSON_AROUND_BYTES = 400
_NAME = re.compile(rb"[a-z][a-z0-9.+-]*/[A-Za-z0-9.+-]+")

_SEARCH_ATTRIBUTE_TYPES = frozenset(
    {b"Text", b"Keyword", b"Int", b"Double", b"Bool", b"Datetime", b"KeywordList"}
) | {
    f"INDEXED_VALUE_TYPE_{name}".encode()
    for name in ("TEXT", "KEYWORD", "INT", "DOUBLE", "BOOL", "DATETIME", "KEYWORD_LIST")
}
_REFERENCE_WORD = re.compile(rb'"(driverName|claimData|driver_name|driver_claim)"')
_PLAIN = frozenset({b"json/plain", b"json/protobuf", b"binary/protobuf", b"binary/plain", b"binary/zstd"})
_SYSTEM = frozenset(name.encode() for name in SYSTEM_REQUESTS) | SYSTEM_ANSWERS
_BOOKKEEPING = "note of the SDK's core about a local activity or a patch"
_JSON_KEY = re.compile(rb'"([^"]{1,40})":')
_PRINTABLE = bytes((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D))


class Kind(enum.StrEnum):
    """What a payload shows to who holds it."""

    CIPHERTEXT = "ciphertext"
    REFERENCE = "reference to an object"
    EMPTY = "empty"
    BY_DESIGN = "readable by design"
    UNKNOWN = "unknown encoding"
    PLAINTEXT = "plaintext"


class Found(NamedTuple):
    """A payload: where it begins and ends, its encoding, the bytes of its data, and what is to be told of it."""

    offset: int
    end: int
    encoding: str
    size: int
    kind: Kind
    why: str


def payloads_in(data: bytes | memoryview, *, damaged: bool = False) -> Iterator[Found]:
    """Every payload in `data`. `damaged`: parts of them may be written over, as in pages of a database that are free."""
    for match in _ENTRY.finditer(data):
        metadata, content, end = _parsed(data, match.start())
        if metadata is not None and _NAME.fullmatch(metadata["encoding"]):
            # What ends before its end is judged by what is left of it.
            yield _judged(match.start(), end, metadata, content, damaged or end > len(data))
    for match in _JSON_ENCODING.finditer(data):
        metadata, content = _parsed_json(data, match)
        if metadata is not None:
            yield _judged(match.start(), match.end() + len(content), metadata, content, damaged)


def is_text(data: bytes | memoryview) -> bool:
    """Whether bytes are mostly characters. Few bytes never count as text."""
    sample = bytes(data[:SAMPLE_BYTES])
    printable = len(sample) - len(sample.translate(None, _PRINTABLE))
    # Of random bytes 38 % are printable; of 32 of them as many as this once in a billion.
    return len(sample) >= SHORT_BYTES and printable > 0.85 * len(sample)


def looks_random(data: bytes | memoryview) -> bool:
    """Whether bytes could be ciphertext: no text, and no value far more frequent than others. Few bytes always could."""
    if is_text(data):
        return False
    sample = bytes(data[:SAMPLE_BYTES])
    if len(sample) < 1024:
        return True
    expected = len(sample) / 256
    deviation = sum((count - expected) ** 2 for count in Counter(sample).values()) / expected
    # Chi-squared of 255 degrees of freedom: 600 is fifteen standard deviations above what random bytes have.
    return deviation < 600


def judge(
    metadata: Mapping[str, bytes], content: bytes | memoryview, *, damaged: bool = False
) -> tuple[Kind, str]:
    """What a payload of this metadata and data shows, and why that is so."""
    encoding = metadata["encoding"]
    if is_encrypted(Payload(metadata={"encoding": encoding})):
        # What is written over in part has zeros in it, and is ciphertext still.
        if looks_random(content) or (damaged and not is_text(content)):
            return Kind.CIPHERTEXT, ""
        return Kind.PLAINTEXT, "says that it is encrypted, and its data is no ciphertext"
    if holds_reference(metadata, content) or (damaged and _is_damaged_reference(metadata, content)):
        return Kind.REFERENCE, ""
    if encoding == b"binary/null" or not len(content):
        return Kind.EMPTY, ""
    if metadata.get("type") in _SEARCH_ATTRIBUTE_TYPES:
        return Kind.BY_DESIGN, "search attribute"
    if metadata.get("messageType") in _SYSTEM:
        return Kind.BY_DESIGN, "request to the service itself, or its answer"
    if encoding == b"json/plain":
        payload = Payload(metadata={"encoding": encoding}, data=bytes(content[: 16 * 1024]))
        if any(is_bookkeeping(payload, fields) for fields in MARKER_DETAILS.values()):
            return Kind.BY_DESIGN, _BOOKKEEPING
    if is_labelled(metadata):
        return Kind.PLAINTEXT, "says that it is a reference to an object, and its data is none"
    if encoding in _PLAIN or not looks_random(content):
        return Kind.PLAINTEXT, "is not encrypted"
    return Kind.UNKNOWN, "another program's codec"


def _judged(
    offset: int, end: int, metadata: Mapping[str, bytes], content: bytes | memoryview, damaged: bool
) -> Found:
    kind, why = judge(metadata, content, damaged=damaged)
    if damaged and kind is Kind.PLAINTEXT and _is_damaged_bookkeeping(content):
        kind, why = Kind.BY_DESIGN, _BOOKKEEPING
    return Found(offset, end, metadata["encoding"].decode(), len(content), kind, why)


def _is_damaged_reference(metadata: Mapping[str, bytes], content: bytes | memoryview) -> bool:
    """Whether what is left can have been a reference."""
    return is_labelled(metadata) and len(content) <= BYTES_MAX and _REFERENCE_WORD.search(content) is not None


def _is_damaged_bookkeeping(content: bytes | memoryview) -> bool:
    """Whether the JSON keys that are left are those of such a note, and no others."""
    keys = {key.decode(errors="replace") for key in _JSON_KEY.findall(bytes(content[: 16 * 1024]))}
    return bool(keys) and any(keys <= fields for fields in MARKER_DETAILS.values())


def _parsed(data: bytes | memoryview, start: int) -> tuple[dict[str, bytes] | None, bytes | memoryview, int]:
    """Metadata, data and end of the payload whose map entry of the encoding begins at `start`."""
    metadata: dict[str, bytes] = {}
    content: bytes | memoryview = b""
    position = start
    for _ in range(_METADATA_MAX):
        if data[position : position + 1] == b"\x0a":
            size, begin = _varint(data, position + 1)
            entry = _entry(bytes(data[begin : begin + size])) if size <= 65536 else None
            if entry is None:
                break
            metadata.setdefault(*entry)
            position = begin + size
        elif data[position : position + 1] == b"\x12":
            size, begin = _varint(data, position + 1)
            content = data[begin : begin + size]
            position = begin + size
            break
        else:
            break
    if "encoding" not in metadata:
        return None, b"", start
    before = bytes(data[max(0, start - _BEFORE_BYTES) : start])
    while (found := _ENTRY_BEFORE.search(before)) is not None:
        metadata.setdefault(found[1].decode(), found[2])
        before = before[: found.start()]
    return metadata, content, position


def _entry(entry: bytes) -> tuple[str, bytes] | None:
    """Key and value of a map entry whose key is a name; None of anything else."""
    if entry[:1] != b"\x0a":
        return None
    size, begin = _varint(entry, 1)
    key = entry[begin : begin + size]
    if len(key) != size or not re.fullmatch(rb"[A-Za-z][A-Za-z0-9_.-]{0,80}", key):
        return None
    rest = begin + size
    if rest == len(entry):
        return key.decode(), b""
    if entry[rest : rest + 1] != b"\x12":
        return None
    size, begin = _varint(entry, rest + 1)
    return (key.decode(), entry[begin : begin + size]) if begin + size == len(entry) else None


def _varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            return 0, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return value, position


def _parsed_json(data: bytes | memoryview, match: re.Match[bytes]) -> tuple[dict[str, bytes] | None, bytes]:
    encoding = _decoded(match[1])
    if not _NAME.fullmatch(encoding):
        return None, b""
    metadata = {"encoding": encoding}
    # The metadata is one pair of braces without others in it.
    before = bytes(data[max(0, match.start() - _JSON_AROUND_BYTES) : match.start()]).rpartition(b"{")[2]
    after = bytes(data[match.end() : match.end() + _JSON_AROUND_BYTES])
    inside = after.partition(b"}")[0]
    for one in (*_JSON_TYPE.finditer(before), *_JSON_TYPE.finditer(inside)):
        metadata.setdefault(one[1].decode(), _decoded(one[2]))
    found = _JSON_DATA.match(data, match.end() + len(inside))
    return metadata, _decoded(found[1]) if found else b""


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text
