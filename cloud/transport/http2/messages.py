"""gRPC's messages and statuses on HTTP/2: the length before a message, compression, time-outs, trailers.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from urllib.parse import quote_from_bytes

from cloud.rpc import Code
from cloud.transport.bounds import MESSAGE_BYTES_MAX, message_too_large
from cloud.transport.grpc_status import Ended, FinalStatus
from cloud.transport.http2.header_blocks import Block

PREFIX_BYTES = 5
read_prefix = struct.Struct(">BL").unpack_from
"""Whether the message is compressed, and its length in bytes."""

COMPRESSIONS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
"""`grpc-encoding` and what zlib calls it."""
ACCEPTED = "identity, deflate, gzip"

COMPRESSION_BYTES = 65_536
"""What can't be compressed grows a little by it."""
COMPRESSED_BYTES_MAX = MESSAGE_BYTES_MAX + COMPRESSION_BYTES

OPENING = Block((":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", ACCEPTED))
OK = Block(("grpc-status", "0"))

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def framed(message: bytes) -> bytes:
    """A message as it is sent, uncompressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def timeout_s(value: bytes) -> float | None:
    """The seconds that `grpc-timeout` allows; None if it can't be read."""
    match = _TIMEOUT(value)
    return None if match is None else int(match[1]) * _SECONDS[match[2]]


def trailers_only(status: FinalStatus, *more: tuple[str, str]) -> Block:
    """An answer that is a status and no message."""
    return Block((":status", "200"), ("content-type", "application/grpc"), *_status_fields(status), *more)


def trailers(status: FinalStatus) -> Block:
    """The end of an answer that began with messages."""
    return Block(*_status_fields(status))


def _status_fields(status: FinalStatus) -> list[tuple[str, str]]:
    fields = [("grpc-status", str(int(status.code)))]
    if status.sentence:
        fields.append(("grpc-message", quote_from_bytes(status.sentence.encode(), safe=_PRINTABLE)))
    if status.details is not None:
        fields.append(("grpc-status-details-bin", base64.b64encode(status.details).decode().rstrip("=")))
    fields.extend(status.metadata)
    return fields


def refuse_size(prefix: bytes | bytearray, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
    """Refuse a message by its length alone, before it is there. `bytes_max` holds for it once it is unpacked.

    Raises:
        ResourceExhausted: it is too large.
    """
    compressed, length = read_prefix(prefix)
    if length > (bytes_max + COMPRESSION_BYTES if compressed else bytes_max):
        raise message_too_large(length, bytes_max)


def only_message(
    body: bytes | bytearray, encoding: int | None, bytes_max: int = MESSAGE_BYTES_MAX
) -> tuple[bool, bytes]:
    """Whether the one message that is a unary call's whole body is compressed, and its bytes.

    Raises:
        ResourceExhausted: it is too large.
        Ended: the body is no message, or more than one, or compressed though `encoding` is None.
    """
    if len(body) >= PREFIX_BYTES:
        compressed, length = read_prefix(body)
        refuse_size(body, bytes_max)
        if compressed > 1 or (compressed and encoding is None):
            raise Ended(FinalStatus(Code.INTERNAL, "The message is compressed, and nothing says how."))
        if len(body) == PREFIX_BYTES + length:
            return bool(compressed), bytes(body[PREFIX_BYTES:])
    raise Ended(
        FinalStatus(Code.INTERNAL, "The call has no whole message, or more than one; it takes just one.")
    )
