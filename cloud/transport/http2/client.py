"""The client's side of an HTTP/2 connection, without I/O: calls in, bytes out; bytes in, answers of a `ClientHandler`.

It shares frames, windows and header blocks with the server's side. What the peer does wrong ends its stream or the connection,
and nothing that it sends raises to the caller of `receive`. Headers of requests use no dynamic table, so they are made once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cloud.transport.http2 import frames
from cloud.transport.http2.floods import Floods
from cloud.transport.http2.frames import ConnectionFault, ErrorCode, Setting
from cloud.transport.http2.header_blocks import LIST_BYTES_READ_MAX, Block, Field, HeaderBlocks, PartialBlock
from cloud.transport.http2.sending import Sending
from cloud.transport.http2.streams import Stream

CONNECTION_CREDIT = 16 * 1024 * 1024
STREAM_CREDIT = 4 * 1024 * 1024
"""What the service may send ahead, on all streams together and on one."""
FRAME_BYTES_MAX = 65_536
STREAMS_MAX = 100
"""Streams at once until the peer says how many it takes."""
STREAM_ID_LAST = 2**31 - 3
BACKLOG_BYTES_MAX = 1024 * 1024 * 1024
"""Requests that wait for a slow service; who sends them bounds them."""
EMPTY_FRAMES_MAX = 10_000
"""Empty DATA and CONTINUATION frames of a connection: honest peers send next to none."""
ACKS_WAITING_MAX = 10_000
"""Acknowledgements that wait to be written: whoever reads what it is sent lets none wait for long."""

_PLAIN_DATA_END = bytes((frames.DATA, frames.END_STREAM))


class ClientHandler(Protocol):
    """What happens on a connection. None of these may raise."""

    def headers(self, stream: Stream, meaning: Any, ended: bool) -> None:
        """Headers or, with `ended`, the answer's last words."""

    def data(self, stream: Stream, chunk: bytes, ended: bool) -> None:
        """More of an answer's body."""

    def reset(self, stream: Stream, code: ErrorCode, *, untouched: bool) -> None:
        """The stream ends without an answer; `untouched`: the peer has surely done nothing about it."""

    def output(self) -> None:
        """There is something to write; asked again only after `take_output`."""


class ClientConnection:
    """One connection. `interpret` turns a block's fields into what `ClientHandler.headers` is given."""

    def __init__(self, handler: ClientHandler, interpret: Callable[[Sequence[Field]], Any]) -> None:
        self.handler = handler
        self.streams: dict[int, Stream] = {}
        self.streams_max = STREAMS_MAX
        self.leaving = False
        """The peer wants new calls to go elsewhere."""
        self.over: ConnectionFault | None = None
        self._blocks: HeaderBlocks[Any] = HeaderBlocks(interpret)
        self.sending = Sending(
            Floods(), handler.output, _nothing, _nothing, self._too_much, BACKLOG_BYTES_MAX
        )
        self._next_id = 1
        self._rest = b""
        self._credit = CONNECTION_CREDIT
        self._partial: PartialBlock | None = None
        self._empty = 0
        self._acks = 0
        self._begun = self.settled = False
        # `settled`: the peer has said what it takes.
        self.sending.emit(
            frames.PREFACE
            + frames.settings_frame(
                {
                    Setting.ENABLE_PUSH: 0,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_CREDIT,
                    Setting.MAX_FRAME_SIZE: FRAME_BYTES_MAX,
                    Setting.MAX_HEADER_LIST_SIZE: LIST_BYTES_READ_MAX,
                }
            )
            + frames.window_update(0, CONNECTION_CREDIT - frames.WINDOW_BYTES)
        )

    @property
    def has_room(self) -> bool:
        """Whether a call can begin here."""
        return (
            self.over is None
            and not self.leaving
            and len(self.streams) < self.streams_max
            and self._next_id <= STREAM_ID_LAST
        )

    def open(self, block: Block, body: bytes, call: Any) -> Stream:
        """Begin a call, if there is room: its headers and its whole body."""
        stream = Stream(self._next_id, self.sending.initial_window, STREAM_CREDIT, 0)
        stream.call = call
        self._next_id += 2
        self.streams[stream.id] = stream
        self.sending.send(stream, block, body, ends=True)
        return stream

    def cancel(self, stream: Stream) -> None:
        """Give a call up."""
        if not stream.closed:
            self.sending.drop(stream)
            self._close(stream)
            self.sending.emit(frames.rst_stream(stream.id, ErrorCode.CANCEL))

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self.sending.emit(frames.frame(frames.PING, 0, 0, bytes(8)))

    def take_output(self) -> bytes:
        """What is to be written now."""
        self._acks = 0
        return self.sending.take()

    def receive(self, data: bytes) -> None:
        """Take in what came."""
        if self.over is not None:
            return
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._frames(data) :]
        except ConnectionFault as fault:
            self.end(fault)

    def end(self, fault: ConnectionFault) -> None:
        """End the connection; calls under way have no answer."""
        if self.over is None:
            self.over = fault
            self._rest = b""
            for stream in list(self.streams.values()):
                self._lose(stream, fault.code, untouched=False)
            self.sending.emit(frames.goaway(0, fault.code))

    def _frames(self, data: bytes) -> int:
        position, end = 0, len(data)
        read_head = frames.read_head
        while end - position >= frames.HEAD_BYTES:
            high, low, kind, flags, stream_id = read_head(data, position)
            length = high << 8 | low
            if length > FRAME_BYTES_MAX:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + frames.HEAD_BYTES
            if start + length > end:
                break
            position = start + length
            self._frame(kind, flags, stream_id & frames.STREAM_ID_MAX, data[start:position])
            if self.over is not None:
                break
        return position

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is not None and (
            kind != frames.CONTINUATION or stream_id != self._partial.stream_id
        ):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if not self._begun:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "what listens there does not speak HTTP/2")
            self._begun = True
        if kind == frames.DATA:
            self._data(flags, stream_id, payload)
        elif kind == frames.HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, stream_id, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self._acknowledge(frames.frame(frames.PING, frames.ACK, 0, payload[:8]))
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.RST_STREAM:
            self._rst_stream(stream_id, payload)
        elif kind == frames.GOAWAY:
            self._goaway(payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE though pushing is off")

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._credit < CONNECTION_CREDIT // 2:
            self.sending.emit(frames.window_update(0, CONNECTION_CREDIT - self._credit))
            self._credit = CONNECTION_CREDIT
        stream = self._stream(stream_id)
        ended = bool(flags & frames.END_STREAM)
        if not size and not ended:
            self._count_empty()
        if stream is None:
            return
        stream.credit -= size
        if stream.credit < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        if not ended and stream.credit < STREAM_CREDIT // 2:
            self.sending.emit(frames.window_update(stream_id, STREAM_CREDIT - stream.credit))
            stream.credit = STREAM_CREDIT
        if ended:
            self._close(stream)
        self.handler.data(stream, frames.unpadded(payload, flags), ended)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        payload = frames.unpadded(payload, flags)
        if flags & frames.HAS_PRIORITY:
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._block(flags, stream_id, payload)
        else:
            self._partial = PartialBlock(stream_id, flags, payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        partial = self._partial
        block = partial.add(payload, ends=bool(flags & frames.END_HEADERS))
        if block is not None:
            self._partial = None
            self._block(partial.flags, stream_id, block)

    def _block(self, flags: int, stream_id: int, block: bytes) -> None:
        # Read even if nobody waits for it: the table of header compression is the connection's.
        meaning = self._blocks.request(block)
        stream = self._stream(stream_id)
        if stream is None:
            return
        ended = bool(flags & frames.END_STREAM)
        if ended:
            self._close(stream)
        self.handler.headers(stream, meaning, ended)

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of another length")
        more = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if not stream_id:
            self.sending.open_window(more)
            return
        stream = self._stream(stream_id)
        if stream is not None:
            try:
                self.sending.open_stream_window(stream, more)
            except frames.StreamFault as fault:
                raise ConnectionFault(fault.code, fault.sentence) from None

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        window = self.sending.initial_window
        for key, value in struct.iter_unpack(">HL", payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                if value > frames.WINDOW_MAX:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window that can't be")
                window = value
            elif key == Setting.MAX_FRAME_SIZE:
                if not frames.FRAME_BYTES_MAX <= value <= frames.FRAME_BYTES_ALLOWED_MAX:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that can't be")
                self.sending.set_frame_bytes_max(value)
            elif key == Setting.MAX_CONCURRENT_STREAMS:
                self.streams_max = value
        if not self.settled:
            # Who says nothing of it takes any number.
            self.settled = True
            told = {key for key, _ in struct.iter_unpack(">HL", payload)}
            if Setting.MAX_CONCURRENT_STREAMS not in told:
                self.streams_max = frames.STREAM_ID_MAX
        self._acknowledge(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.sending.set_initial_window(window, list(self.streams.values()))

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        stream = self._stream(stream_id)
        if stream is None or len(payload) != 4:
            return
        number = int.from_bytes(payload, "big")
        code = ErrorCode(number) if number in list(ErrorCode) else ErrorCode.INTERNAL_ERROR
        self._lose(stream, code, untouched=code is ErrorCode.REFUSED_STREAM)

    def _goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        self.leaving = True
        last = int.from_bytes(payload[:4], "big") & frames.STREAM_ID_MAX
        for stream in [one for one in self.streams.values() if one.id > last]:
            self._lose(stream, ErrorCode.REFUSED_STREAM, untouched=True)

    def _stream(self, stream_id: int) -> Stream | None:
        """The stream, None if it is closed already.

        Raises:
            ConnectionFault: there never was one.
        """
        stream = self.streams.get(stream_id)
        if stream is None and (stream_id >= self._next_id or not stream_id & 1):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that was never opened")
        return stream

    def _acknowledge(self, frame: bytes) -> None:
        self._acks += 1
        if self._acks > ACKS_WAITING_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "acknowledgements that the peer does not read")
        self.sending.emit(frame)

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > EMPTY_FRAMES_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many empty frames")

    def _lose(self, stream: Stream, code: ErrorCode, *, untouched: bool) -> None:
        self._close(stream)
        self.handler.reset(stream, code, untouched=untouched)

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        self.streams.pop(stream.id, None)
        if stream.unsent is not None:
            # An answer before the request was out: the rest of it is not wanted (RFC 9113, 8.1).
            self.sending.drop(stream)
            self.sending.emit(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))

    def _too_much(self, stream: Stream) -> None:
        self._lose(stream, ErrorCode.ENHANCE_YOUR_CALM, untouched=True)


def _nothing(_: Stream) -> None:
    pass
