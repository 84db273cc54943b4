"""A client's side of HTTP/2 that says what a test wants, right or wrong, and a handler that notes what the server understood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hpack

from cloud.transport.http2 import frames
from cloud.transport.http2.connection import Connection
from cloud.transport.http2.frames import ErrorCode, Setting, frame
from cloud.transport.http2.header_blocks import Block, RequestFields
from cloud.transport.http2.streams import Stream

REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/a/b"), ("te", "trailers"))
OPENING, CLOSING = Block((":status", "200"), ("x", "y")), Block(("grpc-status", "0"))

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


def split(data: bytes) -> Iterator[Frame]:
    """The frames that `data` is made of, all of them whole."""
    while data:
        assert len(data) >= frames.HEAD_BYTES
        length = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + length
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]
        data = data[9 + length :]


class Notes:
    """A handler that notes what happens, and answers nothing."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.streams: dict[int, Stream] = {}

    def request(self, stream: Stream, meaning: RequestFields, ended: bool) -> None:
        self.streams[stream.id] = stream
        self.seen.append(("request", stream.id, meaning, ended))

    def data(self, stream: Stream, chunk: bytes, ended: bool) -> None:
        self.seen.append(("data", stream.id, chunk, ended))

    def reset(self, stream: Stream) -> None:
        self.seen.append(("reset", stream.id))

    def drained(self, stream: Stream) -> None:
        self.seen.append(("drained", stream.id))

    def output(self) -> None:
        pass


class Peer:
    """A connection of the server's core and the client that speaks to it. It has said the preface unless told not to."""

    def __init__(
        self, *, greet: bool = True, settings: dict[Setting, int] | None = None, streams_max: int = 100
    ) -> None:
        self.notes = Notes()
        self.core = Connection(self.notes, lambda fields: fields, streams_max=streams_max)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        if greet:
            self.say(frames.PREFACE + frames.settings_frame(settings or {}))
            self.heard()

    def say(self, data: bytes) -> None:
        self.core.receive(data)

    def heard(self) -> list[Frame]:
        """What the server has to say by now."""
        return list(split(self.core.take_output()))

    def headers(self, *fields: tuple[str, str]) -> bytes:
        return bytes(self.encoder.encode(fields or REQUEST))

    def request(self, stream_id: int, *fields: tuple[str, str], ends: bool = True, flags: int = 0) -> None:
        flags |= frames.END_HEADERS | (frames.END_STREAM if ends else 0)
        self.say(frame(frames.HEADERS, flags, stream_id, self.headers(*fields)))

    def data(self, stream_id: int, data: bytes, *, ends: bool = False, flags: int = 0) -> None:
        self.say(frame(frames.DATA, flags | (frames.END_STREAM if ends else 0), stream_id, data))

    def decoded(self, block: bytes) -> list[tuple[str, str]]:
        return [(str(name), str(value)) for name, value in self.decoder.decode(block)]

    def gone(self) -> ErrorCode | None:
        """How the connection ended, if it did: GOAWAY's code, checked to be the last that is said."""
        if self.core.over is None:
            return None
        *_, (kind, _, _, payload) = self.heard()
        assert kind == frames.GOAWAY
        assert self.core.over.code == ErrorCode(int.from_bytes(payload[4:8], "big"))
        return self.core.over.code

    def resets(self) -> list[tuple[int, ErrorCode]]:
        """The streams that the server reset since the last look, and why."""
        return [
            (stream, ErrorCode(int.from_bytes(payload, "big")))
            for kind, _, stream, payload in self.heard()
            if kind == frames.RST_STREAM
        ]
