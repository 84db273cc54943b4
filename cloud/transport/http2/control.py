"""Frames that carry no request: settings, windows, pings, resets, priorities (RFC 9113, 6.3 to 6.9)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from cloud.transport.http2 import frames
from cloud.transport.http2.floods import Flood
from cloud.transport.http2.frames import ConnectionFault, ErrorCode, Setting, StreamFault

if TYPE_CHECKING:
    from cloud.transport.http2.connection import Connection


def take(connection: Connection[Any], kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    """Take in a frame that is neither DATA nor part of a header block.

    Raises:
        ConnectionFault, StreamFault: it breaks a rule.
    """
    taken = _TAKE.get(kind)
    if taken is None:
        connection.floods.count(Flood.UNKNOWN)
    else:
        taken(connection, flags, stream_id, payload)


def _priority(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY without a stream")
    connection.floods.count(Flood.PRIORITY)
    if len(payload) != 5:
        raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
    if frames.depends_on(payload) == stream_id:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")


def _rst_stream(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
    stream = connection.streams.get(stream_id)
    if stream is None:
        connection.never_opened(stream_id)
        connection.late.pop(stream_id, None)
        connection.floods.count(Flood.CLOSED)
        return
    stream.peer_is_sending = False
    connection.close(stream)
    connection.handler.reset(stream)
    if stream.born >= connection.floods.interval - 1:
        connection.floods.count(Flood.RST_STREAM)


def _settings(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
    connection.floods.count(Flood.SETTINGS)
    if flags & frames.ACK:
        if payload or not connection.greeted:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings, or of none")
        return
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    connection.greeted = True
    sending = connection.sending
    window = sending.initial_window
    for key, value in struct.iter_unpack(">HL", payload):
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an initial window that can't be")
            window = value
        elif key == Setting.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_MAX <= value <= frames.FRAME_BYTES_ALLOWED_MAX:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame size that can't be")
            sending.set_frame_bytes_max(value)
        elif key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        # HEADER_TABLE_SIZE: answers use no table. MAX_HEADER_LIST_SIZE: they are small whatever it is.
    sending.emit(frames.frame(frames.SETTINGS, frames.ACK, 0))
    if window != sending.initial_window:
        sending.set_initial_window(window, list(connection.streams.values()))


def _push_promise(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients push nothing")


def _ping(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
    connection.floods.count(Flood.PING)
    if not flags & frames.ACK:
        connection.sending.emit(frames.frame(frames.PING, frames.ACK, 0, payload))


def _goaway(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    connection.floods.count(Flood.UNKNOWN)  # the peer opens no more streams; those that are open go on


def _window_update(connection: Connection[Any], flags: int, stream_id: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
    connection.floods.count(Flood.WINDOW_UPDATE)
    bytes_more = int.from_bytes(payload, "big") & frames.WINDOW_MAX
    if not stream_id:
        if not bytes_more:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        connection.sending.open_window(bytes_more)
        return
    stream = connection.streams.get(stream_id)
    if stream is None:
        connection.never_opened(stream_id)
    elif not bytes_more:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
    else:
        connection.sending.open_stream_window(stream, bytes_more)


_TAKE = {
    frames.PRIORITY: _priority,
    frames.RST_STREAM: _rst_stream,
    frames.SETTINGS: _settings,
    frames.PUSH_PROMISE: _push_promise,
    frames.PING: _ping,
    frames.GOAWAY: _goaway,
    frames.WINDOW_UPDATE: _window_update,
}
