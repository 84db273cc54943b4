"""The server's side of an HTTP/2 connection, without I/O: bytes in, calls of a `Handler`; answers in, bytes out.

The layer above is called directly rather than given a list of events: a call's two frames then cost two method calls.
All rules of RFC 9113 that a server must hold a client to are here and in the modules beside this one; what the peer
does wrong ends its stream or its connection, and nothing that it sends raises to the caller of `receive`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cloud.transport.http2 import control, frames
from cloud.transport.http2.floods import Flood, Floods
from cloud.transport.http2.frames import ConnectionFault, ErrorCode, Setting, StreamFault
from cloud.transport.http2.header_blocks import (
    LIST_BYTES_MAX,
    Field,
    HeaderBlocks,
    Malformed,
    PartialBlock,
    RequestFields,
    check_trailers,
    request_fields,
)
from cloud.transport.http2.sending import Sending
from cloud.transport.http2.streams import Handler, Stream

CONNECTION_CREDIT = 4 * 1024 * 1024
STREAM_CREDIT = 256 * 1024
"""What a peer may send ahead, on all streams together and on one."""
BACKLOG_BYTES_MAX = 64 * 1024 * 1024
"""Answers that wait for a slow reader: with more, its new calls are refused."""
BACKLOG_BYTES_KEPT_MAX = 2 * BACKLOG_BYTES_MAX
"""With more, those of calls that were under way are given up."""
BACKLOG_BYTES_STRANGER_MAX = 4 * 1024 * 1024
"""The same for a client that has not proved who it is: what it is answered is small."""
HELD_BYTES_MAX = 64 * 1024
"""The protocol's own answers to a peer that reads nothing: with more, the connection ends."""
LATE_STREAMS_MAX = 1_000
"""Streams that were closed while the peer was still sending; what it had sent by then is no fault."""

Meaning = TypeVar("Meaning")


class _Known(Generic[Meaning]):
    """What a header block means: malformed, or the layer above's word for it. `vain`: no call comes of it."""

    __slots__ = ("content_length", "malformed", "meaning", "vain")

    def __init__(
        self, malformed: str, content_length: int | None, meaning: Meaning | None, *, vain: bool
    ) -> None:
        self.vain = vain
        self.malformed = malformed
        self.content_length = content_length
        self.meaning = meaning


class Connection(Generic[Meaning]):
    """One connection. `interpret` turns a request's headers into what `Handler.request` is given; the same
    headers may be interpreted once for many requests. `is_vain` says of a meaning that it is a refusal.

    The peer is a stranger until `trust`, unless it is `trusted` from the start: all that it costs is then counted.
    """

    def __init__(
        self,
        handler: Handler[Meaning],
        interpret: Callable[[RequestFields], Meaning],
        *,
        streams_max: int,
        is_vain: Callable[[Meaning], bool] = lambda _: False,
        trusted: bool = True,
    ) -> None:
        self.handler = handler
        self._interpret = interpret
        self._is_vain = is_vain
        self._trusted = trusted
        self._streams_max = streams_max
        self._blocks: HeaderBlocks[_Known[Meaning]] = HeaderBlocks(self._known)
        self.floods = Floods()
        self.sending = Sending(
            self.floods,
            handler.output,
            self._sent_all,
            handler.drained,
            self._give_up,
            BACKLOG_BYTES_KEPT_MAX if trusted else BACKLOG_BYTES_STRANGER_MAX,
        )
        self.streams: dict[int, Stream] = {}
        self.late: OrderedDict[int, None] = OrderedDict()
        """Streams that were closed while the peer was still sending."""
        self.last_id = 0
        self._skipped: tuple[int, int] = (0, 0)  # of the last gap that the peer left between its stream ids
        self._credit = CONNECTION_CREDIT
        self._rest = b""
        self._preface_seen = self.greeted = False
        self._partial: PartialBlock | None = None
        self.over: ConnectionFault | None = None
        """Why nothing more is read; what is to be written then ends with GOAWAY."""
        self.sending.emit(
            frames.settings_frame(
                {
                    Setting.MAX_CONCURRENT_STREAMS: streams_max,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_CREDIT,
                    Setting.MAX_HEADER_LIST_SIZE: LIST_BYTES_MAX,
                }
            )
            + frames.window_update(0, CONNECTION_CREDIT - frames.WINDOW_BYTES)
        )

    def trust(self, streams_max: int) -> None:
        """The peer has proved who it is: it may do more at once."""
        self._trusted = True
        self._streams_max = streams_max
        self.sending.backlog_bytes_max = BACKLOG_BYTES_KEPT_MAX
        self.sending.emit(frames.settings_frame({Setting.MAX_CONCURRENT_STREAMS: streams_max}))

    def drain(self) -> None:
        """Have the peer make its next calls on another connection; those that it makes meanwhile are still taken in."""
        if self.over is None:
            self.sending.emit(
                frames.goaway(frames.STREAM_ID_MAX, ErrorCode.NO_ERROR, "the service is stopping")
            )

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

    def take_output(self) -> bytes:
        """What is to be written now."""
        return self.sending.take()

    def consumed(self, stream: Stream, size_bytes: int) -> None:
        """So much of the stream's DATA needs no room any more: the peer may send as much again."""
        stream.owed += size_bytes
        if stream.owed >= STREAM_CREDIT // 2 and stream.peer_is_sending and not stream.closed:
            stream.credit += stream.owed
            self.sending.emit(frames.window_update(stream.id, stream.owed))
            stream.owed = 0

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        if not stream.closed:
            self.close(stream)
            self.sending.emit(frames.rst_stream(stream.id, code))

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self.sending.emit(frames.frame(frames.PING, 0, 0, bytes(8)))

    def end(self, fault: ConnectionFault) -> None:
        """End the connection with GOAWAY; streams that are open are reset."""
        if self.over is None:
            self.over = fault
            self._rest = b""
            self.lost()
            self.sending.emit(frames.goaway(self.last_id, fault.code, fault.sentence))

    def lost(self) -> None:
        """The peer is gone: end all streams."""
        streams = list(self.streams.values())
        for stream in streams:
            self.close(stream)
            self.handler.reset(stream)

    def _frames(self, data: bytes) -> int:
        """Take in all whole frames; returns where the first one that is not whole begins."""
        position, end = 0, len(data)
        if not self._preface_seen:
            preface = data[: len(frames.PREFACE)]
            if not frames.PREFACE.startswith(preface):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 (gRPC) only")
            if len(preface) < len(frames.PREFACE):
                return 0
            self._preface_seen = True
            position = len(preface)
        read_head = frames.read_head
        while end - position >= frames.HEAD_BYTES:
            high, low, kind, flags, stream_id = read_head(data, position)
            length = high << 8 | low
            if length > frames.FRAME_BYTES_MAX:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + frames.HEAD_BYTES
            if start + length > end:
                break
            position = start + length
            try:
                self._frame(kind, flags, stream_id & frames.STREAM_ID_MAX, data[start:position])
            except StreamFault as fault:
                self._end_stream(fault)
        if self.sending.held_bytes > HELD_BYTES_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "what is answered here is not read")
        return position

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._partial is not None and (
            kind != frames.CONTINUATION or stream_id != self._partial.stream_id
        ):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == frames.DATA:
            self._data(flags, stream_id, payload)
        elif not self.greeted and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        elif kind == frames.HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, stream_id, payload)
        else:
            control.take(self, kind, flags, stream_id, payload)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._credit < CONNECTION_CREDIT // 2:
            self.sending.emit(frames.window_update(0, CONNECTION_CREDIT - self._credit))
            self._credit = CONNECTION_CREDIT
        ended = bool(flags & frames.END_STREAM)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._not_open(stream_id, ended)
            return
        if not stream.peer_is_sending:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "DATA behind the end")
        stream.credit -= size
        if stream.credit < 0:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        chunk = frames.unpadded(payload, flags) if flags & frames.PADDED else payload
        if not ended:
            if not chunk:
                self.floods.count(Flood.EMPTY_DATA)
            if size > len(chunk):
                self.consumed(stream, size - len(chunk))
        if stream.expected is not None:
            stream.expected -= len(chunk)
            if stream.expected < 0 or (ended and stream.expected):
                raise StreamFault(
                    stream_id, ErrorCode.PROTOCOL_ERROR, "content-length is not the body's length"
                )
        if ended:
            stream.peer_is_sending = False
        self.handler.data(stream, chunk, ended)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is not the client's")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload, flags)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority it tells of")
            if frames.depends_on(payload) == stream_id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
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
        ended = bool(flags & frames.END_STREAM)
        if stream_id <= self.last_id:
            self._trailers(stream_id, block, ended)
            return
        known = self._blocks.request(block)
        if not self._trusted or known.vain:
            self.floods.count(Flood.VAIN_HEADERS, 1 + self._blocks.work)
        if stream_id > self.last_id + 2:
            self._skipped = (self.last_id, stream_id)
        self.last_id = stream_id
        if known.meaning is None or (ended and known.content_length):
            self._remember_late(stream_id, ended)
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, known.malformed)
        if len(self.streams) >= self._streams_max or self.sending.backlog_bytes > BACKLOG_BYTES_MAX:
            self._remember_late(stream_id, ended)
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        stream = Stream(stream_id, self.sending.initial_window, STREAM_CREDIT, self.floods.interval)
        stream.expected = known.content_length
        stream.peer_is_sending = not ended
        self.streams[stream_id] = stream
        self.handler.request(stream, known.meaning, ended)

    def _trailers(self, stream_id: int, block: bytes, ended: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None and stream_id not in self.late:
            was_open = not self._skipped[0] < stream_id < self._skipped[1]
            raise ConnectionFault(
                ErrorCode.STREAM_CLOSED if was_open else ErrorCode.PROTOCOL_ERROR,
                "HEADERS on a stream that is closed",
            )
        fields = self._blocks.fields(block)
        # Trailers mean nothing to gRPC requests.
        self.floods.count(Flood.VAIN_HEADERS, 1 + self._blocks.work)
        if stream is None:
            self._not_open(stream_id, ended)
            return
        if not stream.peer_is_sending:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "HEADERS behind the end")
        try:
            check_trailers(fields)
        except Malformed as fault:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(fault)) from None
        if not ended or stream.expected:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "trailers that end nothing, or too early")
        stream.peer_is_sending = False
        self.handler.data(stream, b"", True)

    def never_opened(self, stream_id: int) -> None:
        """A frame is about a stream that is not open.

        Raises:
            ConnectionFault: it never was.
        """
        if stream_id > self.last_id or not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that was never opened")

    def _not_open(self, stream_id: int, ended: bool) -> None:
        """A frame on a stream that is not open."""
        self.never_opened(stream_id)
        if stream_id not in self.late:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "a frame on a closed stream")
        if ended:
            del self.late[stream_id]
        self.floods.count(Flood.CLOSED)

    def _known(self, fields: Sequence[Field]) -> _Known[Meaning]:
        try:
            request = request_fields(fields)
        except Malformed as fault:
            return _Known(str(fault), None, None, vain=True)
        meaning = self._interpret(request)
        return _Known(
            "content-length of a request without a body",
            request.content_length,
            meaning,
            vain=self._is_vain(meaning),
        )

    def _sent_all(self, stream: Stream) -> None:
        """The answer is out. A peer that is still sending is told that nobody reads it (RFC 9113, 8.1)."""
        was_sending = stream.peer_is_sending
        self.close(stream)
        if was_sending:
            self.sending.emit(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))

    def _give_up(self, stream: Stream) -> None:
        """Too much waits already: the stream's answer is not kept, and the client is told to come more slowly."""
        self.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
        self.handler.reset(stream)

    def _end_stream(self, fault: StreamFault) -> None:
        if fault.stream_id > self.last_id:
            raise ConnectionFault(fault.code, fault.sentence)  # nothing to reset: it was never opened
        refused = fault.code is ErrorCode.REFUSED_STREAM
        self.floods.count(Flood.REFUSED if refused else Flood.STREAM_FAULT)
        stream = self.streams.get(fault.stream_id)
        if stream is not None:
            self.close(stream)
            self.handler.reset(stream)
        self.sending.emit(frames.rst_stream(fault.stream_id, fault.code))

    def close(self, stream: Stream) -> None:
        """The stream is over on both sides; nothing is sent."""
        stream.closed = True
        if self.streams.pop(stream.id, None) is not None and stream.peer_is_sending:
            self._remember_late(stream.id, False)
        if stream.unsent is not None:
            self.sending.drop(stream)

    def _remember_late(self, stream_id: int, ended: bool) -> None:
        if not ended:
            self.late[stream_id] = None
            if len(self.late) > LATE_STREAMS_MAX:
                self.late.popitem(last=False)
