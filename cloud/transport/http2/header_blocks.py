"""Header blocks: decoded by `hpack`, checked as RFC 9113 (8.2, 8.3) wants; answers' blocks, which use no dynamic table.

Decoding costs some 25 us a block, so a connection remembers what its blocks mean. That is sound: what a block
means hangs on its bytes and the dynamic table alone, a block is remembered only if it did not change the table, and
all are forgotten when the table changes. Clients repeat their blocks as long as their headers stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import hpack
from hpack.table import HeaderTable

from cloud.transport.http2.frames import END_HEADERS, END_STREAM, HEADERS, ConnectionFault, ErrorCode

LIST_BYTES_MAX = 16_384
"""Of a request's headers, as RFC 9113 counts (name + value + 32 each). What has more is refused."""
LIST_BYTES_READ_MAX = 4 * LIST_BYTES_MAX
"""What is decoded at all, so that the refusal concerns one call; beyond it the connection ends."""
CONTINUATIONS_MAX = 16
"""Frames that may go on with one block."""
FIELDS_MAX = 128
"""Headers of a block; with more, the connection ends: each costs some 20 us, and may be one byte."""
TABLE_CHANGES_MAX = 2
"""Changes of the table's size that may lead a block (RFC 7541, 4.2)."""
REMEMBERED_MAX = 64
REMEMBERED_BYTES_MAX = 1_024
REMEMBERED_LIST_BYTES_MAX = 4_096
"""Blocks that a connection remembers, the length of one, and what it may mean."""

Field = tuple[bytes, bytes]
Meaning = TypeVar("Meaning")


class Malformed(Exception):
    """Headers that RFC 9113 has a server treat as a stream error."""


@dataclass(frozen=True, slots=True)
class RequestFields:
    """A well-formed request's headers: pseudo-headers by name, the others in their order."""

    method: bytes
    path: bytes
    content_length: int | None
    fields: Sequence[Field]
    too_large: bool


class PartialBlock:
    """A header block that comes in several frames; bounded, as its sender need not ever end it."""

    __slots__ = ("_content", "_count", "flags", "stream_id")

    def __init__(self, stream_id: int, flags: int, content: bytes) -> None:
        self.stream_id = stream_id
        self.flags = flags
        self._content = bytearray(content)
        self._count = 0

    def add(self, content: bytes, *, ends: bool) -> bytes | None:
        """Take what a CONTINUATION holds; the whole block where it is the last.

        Raises:
            ConnectionFault: the block is too long, or in too many pieces.
        """
        self._content += content
        if self._count >= CONTINUATIONS_MAX or len(self._content) > LIST_BYTES_READ_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        self._count += 1
        return bytes(self._content) if ends else None


class _Table(HeaderTable):
    """A dynamic table that tells when it may have changed."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.__set__(self, newmax)  # type: ignore[attr-defined]


class _Decoder(hpack.Decoder):
    """A decoder that gives up on a block of too many headers or changes of the table's size.

    Overridden are the library's readers of one header each, which its `decode` calls; a test finds out if it no longer
    does.
    """

    def __init__(self) -> None:
        super().__init__(max_header_list_size=LIST_BYTES_READ_MAX)
        self.fields = self._size_changes = 0

    def decode(self, data: bytes, raw: bool = False) -> Iterable[hpack.HeaderTuple]:
        self.fields = self._size_changes = 0
        return super().decode(data, raw)

    def _decode_indexed(self, data: bytes | memoryview) -> tuple[hpack.HeaderTuple, int]:
        self._one_more()
        return super()._decode_indexed(data)

    def _decode_literal(self, data: bytes | memoryview, should_index: bool) -> tuple[hpack.HeaderTuple, int]:
        self._one_more()
        return super()._decode_literal(data, should_index)

    def _update_encoding_context(self, data: bytes | memoryview) -> int:
        self._size_changes += 1
        if self._size_changes > TABLE_CHANGES_MAX:
            raise hpack.HPACKDecodingError("the table's size changes too often")
        return super()._update_encoding_context(data)

    def _one_more(self) -> None:
        self.fields += 1
        if self.fields > FIELDS_MAX:
            raise _TooManyFields


class _TooManyFields(hpack.HPACKError):
    """A block has more than FIELDS_MAX headers."""


class HeaderBlocks(Generic[Meaning]):
    """The header blocks that come in on one connection. `interpret` says what a request's fields mean; it must not raise.

    `work` is what the last block cost to read, in headers; one that was remembered cost nothing.
    """

    def __init__(self, interpret: Callable[[Sequence[Field]], Meaning]) -> None:
        self._interpret = interpret
        self._decoder = _Decoder()
        self._decoder.header_table = self._table = _Table()
        self._remembered: dict[bytes, Meaning] = {}
        self.work = 0

    def request(self, block: bytes) -> Meaning:
        """What a request's header block means.

        Raises:
            ConnectionFault: it can't be decoded, or is a bomb.
        """
        known = self._remembered.get(block)
        if known is not None:
            self.work = 0
            return known
        changes = self._table.changes
        fields = self.fields(block)
        meaning = self._interpret(fields)
        if (
            self._table.changes == changes
            and len(block) <= REMEMBERED_BYTES_MAX
            and sum(len(name) + len(value) for name, value in fields) <= REMEMBERED_LIST_BYTES_MAX
        ):
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[block] = meaning
        return meaning

    def fields(self, block: bytes) -> Sequence[Field]:
        """The bare fields of a block, for trailers and blocks that only the table must see.

        Raises:
            ConnectionFault: it can't be decoded, or is a bomb.
        """
        changes = self._table.changes
        # Besides the headers, Huffman's code costs time.
        self.work = len(block) // 16
        try:
            return list(self._decoder.decode(block, raw=True))
        except hpack.OversizedHeaderListError:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"a header list of more than {LIST_BYTES_READ_MAX} bytes"
            ) from None
        except _TooManyFields:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {FIELDS_MAX} headers") from None
        except hpack.HPACKError:
            # What the library says has addresses of memory in it.
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block can't be read") from None
        finally:
            self.work += self._decoder.fields
            if self._table.changes != changes:
                self._remembered.clear()


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_UNFIT_IN_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z").search
_UNFIT_IN_CREDENTIALS = re.compile(rb"[\x00\r\n]").search
_UNFIT = "a value has line ends, or blanks around it"
_OF_A_CONNECTION = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})


def request_fields(fields: Iterable[Field]) -> RequestFields:
    """Check the headers of a request.

    Raises:
        Malformed: they break RFC 9113, 8.2 or 8.3.
    """
    pseudo: dict[bytes, bytes] = {}
    others: list[Field] = []
    content_length: int | None = None
    size_bytes = 0
    for name, value in fields:
        size_bytes += len(name) + len(value) + 32
        if name[:1] == b":":
            if others or name not in _PSEUDO or name in pseudo:
                raise Malformed("a pseudo-header is unknown, twice there, or behind other headers")
            pseudo[name] = value
            continue
        _check(name, value)
        if name == b"content-length":
            if not value.isdigit() or len(value) > 19 or content_length not in (None, int(value)):
                raise Malformed("content-length is no number")
            content_length = int(value)
        others.append((name, value))
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if not method or not path or not pseudo.get(b":scheme"):
        raise Malformed(":method, :scheme or :path is missing or empty")
    if any(_UNFIT_IN_VALUE(value) for value in pseudo.values()):
        raise Malformed(_UNFIT)
    return RequestFields(
        method=method,
        path=path,
        content_length=content_length,
        fields=others,
        too_large=size_bytes > LIST_BYTES_MAX,
    )


def check_trailers(fields: Iterable[Field]) -> None:
    """Check the trailers of a request.

    Raises:
        Malformed: they break RFC 9113, 8.1 or 8.2.
    """
    for name, value in fields:
        _check(name, value)


def _check(name: bytes, value: bytes) -> None:
    if not _NAME(name):
        raise Malformed("a header's name has upper-case letters or characters that do not belong there")
    if _UNFIT_IN_VALUE(value) and (name != b"authorization" or _UNFIT_IN_CREDENTIALS(value)):
        # `Bearer ` and nothing behind it is a mistake that people make: the layer above refuses it in words.
        raise Malformed(_UNFIT)
    if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
        raise Malformed("a header is of HTTP/1 connections")


NO_TABLE = b"\x20"
"""A change of the dynamic table's size to 0. It leads the first block on a connection: from there on nothing that
the peer sets about that table concerns the answers."""

_encoder = hpack.Encoder()


class Block:
    """Headers of an answer, encoded once, good on every connection: they refer to the static table only.

    `opens` and `ends` are the first five bytes of their HEADERS frame, without and with END_STREAM.
    """

    __slots__ = ("data", "ends", "opens")

    def __init__(self, *fields: tuple[str, str]) -> None:
        # As "never indexed", so that the encoder keeps no table. Huffman would cost more time than it saves bytes.
        self.data = _encoder.encode([(name, value, True) for name, value in fields], huffman=False)
        length = len(self.data).to_bytes(3, "big")
        self.opens = length + bytes((HEADERS, END_HEADERS))
        self.ends = length + bytes((HEADERS, END_HEADERS | END_STREAM))
