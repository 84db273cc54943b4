"""HTTP/2 frames (RFC 9113, sections 4, 6 and 7): their numbers and layout, and the faults that end streams and connections."""

from __future__ import annotations

import enum
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""

HEAD_BYTES = 9
read_head = struct.Struct(">HBBBL").unpack_from
"""Of a frame: the length's high 16 and low 8 bits, type, flags, stream id (whose highest bit means nothing)."""

STREAM_ID_MAX = WINDOW_MAX = 2**31 - 1
FRAME_BYTES_MAX = 16_384
"""The payload of one frame, in both directions unless the peer allows more (RFC 9113, 4.2)."""
FRAME_BYTES_ALLOWED_MAX = 2**24 - 1
WINDOW_BYTES = 65_535
"""A flow-control window until settings say otherwise (RFC 9113, 6.9.2)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20


class Setting(enum.IntEnum):
    """The settings that mean something here (RFC 9113, 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """The peer broke a rule that both sides' state hangs on: the connection ends with GOAWAY."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class StreamFault(Exception):
    """The peer broke a rule on one stream: it ends with RST_STREAM, the others go on."""

    def __init__(self, stream_id: int, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.stream_id = stream_id
        self.code = code
        self.sentence = sentence


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """SETTINGS with these values."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", key, value) for key, value in settings.items()))


def window_update(stream_id: int, bytes_more: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, bytes_more.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: ErrorCode, sentence: str = "") -> bytes:
    """GOAWAY; the sentence is for people who debug the peer."""
    payload = last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + sentence.encode()
    return frame(GOAWAY, 0, 0, payload)


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of DATA or HEADERS without its padding.

    Raises:
        ConnectionFault: the padding is longer than the frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def depends_on(priority: bytes) -> int:
    """The stream that a priority names; all else about priorities is ignored, as RFC 9113 has it."""
    return int.from_bytes(priority[:4], "big") & STREAM_ID_MAX
