"""The sending half of a connection: frames that wait to be written, windows, answers that wait for either.

An answer that fits goes out as one piece. What does not fit waits at its stream and takes turns, a frame each time, as
windows open and the socket has room; what waits is counted (`backlog_bytes`). The connection takes no new calls while
it is too much, and an answer that would make it `backlog_bytes_max` is given up with its stream.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from cloud.transport.http2.floods import Floods
from cloud.transport.http2.frames import (
    DATA,
    END_STREAM,
    FRAME_BYTES_MAX,
    WINDOW_BYTES,
    WINDOW_MAX,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    frame,
)
from cloud.transport.http2.header_blocks import NO_TABLE, Block
from cloud.transport.http2.streams import Stream, Unsent

BATCH_BYTES = 262_144
"""So much of waiting answers is put into frames at once; then the socket is asked whether it keeps up."""
FRAME_BYTES_SENT_MAX = 65_536
"""Larger frames would let one answer hold up others, whatever the peer allows."""

LARGE_BYTES = 1_024
"""A DATA frame from this size on is an answer's own, whatever windows the peer opens."""

_PLAIN_DATA = bytes((DATA, 0))
_LAST_DATA = bytes((DATA, END_STREAM))


class Sending:
    """`on_output` is called when there is something to write where nothing was, `on_ended` when a stream's last frame is
    out, `on_drained` when all is out of a stream that has more to come, `on_too_much` when a stream's answer can't be kept."""

    __slots__ = (
        "_floods",
        "_frame_bytes_max",
        "_held",
        "_light",
        "_on_drained",
        "_on_ended",
        "_on_output",
        "_on_too_much",
        "_out",
        "_ready",
        "_table_told",
        "backlog_bytes",
        "backlog_bytes_max",
        "held_bytes",
        "initial_window",
        "moved_bytes",
        "taken_bytes",
        "window",
    )

    def __init__(
        self,
        floods: Floods,
        on_output: Callable[[], None],
        on_ended: Callable[[Stream], None],
        on_drained: Callable[[Stream], None],
        on_too_much: Callable[[Stream], None],
        backlog_bytes_max: int,
    ) -> None:
        self._floods = floods
        self._on_output = on_output
        self._on_ended = on_ended
        self._on_drained = on_drained
        self._on_too_much = on_too_much
        self._out: list[bytes] = []
        self._held = False
        self._table_told = False
        self._frame_bytes_max = FRAME_BYTES_MAX
        self._ready: OrderedDict[int, Stream] = OrderedDict()  # have DATA to send, and a window
        self._light: dict[int, Stream] = {}  # have headers alone to send, which need no window
        self.window = WINDOW_BYTES
        self.initial_window = WINDOW_BYTES
        self.backlog_bytes = 0
        self.backlog_bytes_max = backlog_bytes_max
        self.moved_bytes = 0
        """What has left of answers that had to wait, ever."""
        self.taken_bytes = 0
        """What was written to the socket, ever."""
        self.held_bytes = 0
        """Frames that wait in spite of `hold`: the protocol's own answers."""

    def emit(self, data: bytes) -> None:
        """Put frames behind those that wait to be written."""
        out = self._out
        if self._held:
            self.held_bytes += len(data)
        out.append(data)
        if len(out) == 1:
            self._on_output()

    def take(self) -> bytes:
        """All frames that wait to be written, as one piece."""
        out, self._out = self._out, []
        self.held_bytes = 0
        data = b"".join(out)
        self.taken_bytes += len(data)
        return data

    def send(
        self,
        stream: Stream,
        opening: Block | None,
        body: bytes = b"",
        closing: Block | None = None,
        *,
        ends: bool = False,
    ) -> None:
        """Send headers, then DATA, then trailers; with `ends` the last DATA frame ends the stream.

        Dropped if it is closed, or if too much waits already: then the stream is reset.
        """
        if stream.closed:
            return
        size = len(body)
        if (
            opening is not None
            and (ends or closing is not None)
            and size <= self.window
            and size <= stream.window
            and size <= self._frame_bytes_max
            and self._table_told
            and not self._held
            and stream.unsent is None
        ):
            # The common case, an answer or a request that fits, in one go.
            self.window -= size
            self._floods.answers += 1
            id_bytes = stream.id.to_bytes(4, "big")
            data = _LAST_DATA if closing is None else _PLAIN_DATA
            parts = [opening.opens, id_bytes, opening.data, size.to_bytes(3, "big"), data, id_bytes, body]
            if closing is not None:
                parts += (closing.ends, id_bytes, closing.data)
            self.emit(b"".join(parts))
            self._on_ended(stream)
            return
        if size and self.backlog_bytes + size > self.backlog_bytes_max:
            self._on_too_much(stream)
            return
        self.backlog_bytes += size
        waiting = stream.unsent
        if waiting is None:
            waiting = stream.unsent = Unsent(opening, body, closing, ends)
        else:
            waiting.body = waiting.body[waiting.sent :] + body
            waiting.sent = 0
            waiting.closing = closing
            waiting.ends = ends
        if waiting.body:
            self._ready[stream.id] = stream
        else:
            self._light[stream.id] = stream
        self.pump()

    def drop(self, stream: Stream) -> None:
        """Forget what waits of a stream that is closed."""
        waiting, stream.unsent = stream.unsent, None
        if waiting is not None:
            self.backlog_bytes -= len(waiting.body) - waiting.sent
            self._ready.pop(stream.id, None)
            self._light.pop(stream.id, None)

    def hold(self) -> None:
        """The socket has no room: make no frames of answers until `release`."""
        self._held = True

    def release(self) -> None:
        """The socket has room again."""
        self._held = False
        self.held_bytes = 0
        self.pump()

    @property
    def held(self) -> bool:
        """Whether the socket has no room."""
        return self._held

    def pump(self) -> None:
        """Make frames of what waits, up to BATCH_BYTES, as far as windows allow."""
        if self._held:
            return
        if self._light:
            light, self._light = self._light, {}
            for stream in light.values():
                if stream.unsent is not None and not stream.unsent.body:
                    self._advance(stream, stream.unsent)
        ready = self._ready
        room = BATCH_BYTES
        while ready and room > 0 and self.window > 0:
            _, stream = ready.popitem(last=False)
            if stream.unsent is not None:
                room -= self._advance(stream, stream.unsent)

    def _advance(self, stream: Stream, waiting: Unsent) -> int:
        """Send the next of a stream: its headers if they are not out, one DATA frame, the end if that was all."""
        if waiting.opening is not None:
            self._headers(stream, waiting.opening, ends=False)
            waiting.opening = None
        body, sent = waiting.body, waiting.sent
        left = len(body) - sent
        # Windows may be below nothing, after settings.
        size = max(0, min(left, self.window, stream.window, self._frame_bytes_max))
        if left and not size:
            return 0  # until the stream's window opens
        ends_here = waiting.ends and size == left
        if size > 0 or ends_here:
            self.window -= size
            stream.window -= size
            self.backlog_bytes -= size
            self.moved_bytes += size
            if size >= LARGE_BYTES or (size == left and (waiting.ends or waiting.closing is not None)):
                self._floods.answers += 1
            self.emit(frame(DATA, END_STREAM if ends_here else 0, stream.id, body[sent : sent + size]))
            waiting.sent = sent + size
        if size < left:
            if stream.window > 0:
                self._ready[stream.id] = stream
            return size
        stream.unsent = None
        if waiting.closing is not None:
            self._headers(stream, waiting.closing, ends=True)
        if ends_here or waiting.closing is not None:
            self._on_ended(stream)
        else:
            self._on_drained(stream)
        return size

    def _headers(self, stream: Stream, block: Block, *, ends: bool) -> None:
        id_bytes = stream.id.to_bytes(4, "big")
        if self._table_told:
            self.emit((block.ends if ends else block.opens) + id_bytes + block.data)
            return
        self._table_told = True
        start = block.ends if ends else block.opens
        length = (len(block.data) + len(NO_TABLE)).to_bytes(3, "big")
        self.emit(length + start[3:] + id_bytes + NO_TABLE + block.data)

    def open_window(self, bytes_more: int) -> None:
        """The peer lets more be sent on the connection.

        Raises:
            ConnectionFault: more than there can be.
        """
        self.window += bytes_more
        if self.window > WINDOW_MAX:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self.pump()

    def open_stream_window(self, stream: Stream, bytes_more: int) -> None:
        """The peer lets more be sent on a stream.

        Raises:
            StreamFault: more than there can be.
        """
        stream.window += bytes_more
        if stream.window > WINDOW_MAX:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window is too large")
        if stream.unsent is not None and stream.unsent.body:
            self._ready[stream.id] = stream
            self.pump()

    def set_initial_window(self, size_bytes: int, streams: list[Stream]) -> None:
        """The peer changes the window that streams begin with, which concerns open ones too.

        Raises:
            ConnectionFault: a stream's window gets larger than it can be.
        """
        change = size_bytes - self.initial_window
        self.initial_window = size_bytes
        for stream in streams:
            stream.window += change
            if stream.window > WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
            if change > 0 and stream.unsent is not None and stream.unsent.body:
                self._ready[stream.id] = stream
        self.pump()

    def set_frame_bytes_max(self, size_bytes: int) -> None:
        """The peer sets the payload that a frame to it may have."""
        self._frame_bytes_max = min(size_bytes, FRAME_BYTES_SENT_MAX)
