"""The sans-IO HTTP/2 core: what RFC 9113 has it say to right and wrong clients."""

from __future__ import annotations

import pytest

from cloud.transport.http2 import frames
from cloud.transport.http2.connection import (
    CONNECTION_CREDIT,
    LATE_STREAMS_MAX,
)
from cloud.transport.http2.frames import ErrorCode, Setting, frame
from tests.transport.peer import CLOSING, OPENING, REQUEST, Peer


class TestGreeting:
    def test_the_server_tells_its_settings_first(self) -> None:
        peer = Peer(greet=False)
        (kind, _, _, payload), (update, _, stream, more) = peer.heard()
        assert kind == frames.SETTINGS
        assert payload[:6] == b"\x00\x03" + (100).to_bytes(4, "big")
        assert (update, stream) == (frames.WINDOW_UPDATE, 0)
        assert int.from_bytes(more, "big") == CONNECTION_CREDIT - frames.WINDOW_BYTES

    def test_a_preface_in_pieces(self) -> None:
        peer = Peer(greet=False)
        for byte in frames.PREFACE + frames.settings_frame({}):
            peer.say(bytes((byte,)))
        assert peer.core.greeted
        assert peer.heard()[-1] == (frames.SETTINGS, frames.ACK, 0, b"")

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/1"])
    def test_another_protocol(self, said: bytes) -> None:
        peer = Peer(greet=False)
        peer.say(said)
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    @pytest.mark.parametrize("kind", [0, 1, 2, 3, 5, 6, 7, 8, 9, 77])
    def test_the_first_frame_is_settings(self, kind: int) -> None:
        peer = Peer(greet=False)
        peer.say(frames.PREFACE + frame(kind, 4, 1, bytes(8)))
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    def test_nothing_is_read_after_the_end(self) -> None:
        peer = Peer()
        peer.say(frame(frames.PUSH_PROMISE, 0, 1, bytes(4)))
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR
        peer.request(1)
        assert peer.heard() == []
        assert peer.notes.seen == []


class TestRequests:
    def test_headers_and_data(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.data(1, b"he")
        peer.data(1, b"llo", ends=True)
        (_, _, meaning, ended), *data = peer.notes.seen
        assert (meaning.method, meaning.path, ended) == (b"POST", b"/a/b", False)
        assert data == [("data", 1, b"he", False), ("data", 1, b"llo", True)]

    def test_padding_and_priority_are_skipped(self) -> None:
        peer = Peer()
        block = b"\x03" + (0).to_bytes(4, "big") + b"\x10" + peer.headers() + bytes(3)
        flags = frames.END_HEADERS | frames.PADDED | frames.HAS_PRIORITY
        peer.say(frame(frames.HEADERS, flags, 1, block))
        peer.data(1, b"\x02hi\0\0", ends=True, flags=frames.PADDED)
        assert peer.notes.seen[-1] == ("data", 1, b"hi", True)

    @pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abcd"])
    @pytest.mark.parametrize("kind", [frames.DATA, frames.HEADERS])
    def test_more_padding_than_frame(self, kind: int, payload: bytes) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        stream = 1 if kind == frames.DATA else 3
        peer.say(frame(kind, frames.PADDED | frames.END_HEADERS, stream, payload))
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    def test_a_header_block_in_pieces(self) -> None:
        peer = Peer()
        block = peer.headers()
        peer.say(frame(frames.HEADERS, frames.END_STREAM, 1, block[:1]))
        peer.say(frame(frames.CONTINUATION, 0, 1, block[1:3]))
        peer.say(frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[3:]))
        assert peer.notes.seen[0][3] is True

    @pytest.mark.parametrize(
        "between",
        [
            frame(frames.PING, 0, 0, bytes(8)),
            frame(frames.DATA, 0, 1),
            frame(frames.CONTINUATION, 0, 3),
            frame(99, 0, 1),
        ],
    )
    def test_a_header_block_is_not_interrupted(self, between: bytes) -> None:
        peer = Peer()
        peer.say(frame(frames.HEADERS, 0, 1, peer.headers()) + between)
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    def test_a_continuation_of_nothing(self) -> None:
        peer = Peer()
        peer.say(frame(frames.CONTINUATION, frames.END_HEADERS, 1, peer.headers()))
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    def test_trailers_end_a_request(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.request(1, ("x", "1"))
        assert peer.notes.seen[-1] == ("data", 1, b"", True)

    @pytest.mark.parametrize("fields", [((":path", "/"),), (("Upper", "1"),), (("connection", "close"),)])
    def test_bad_trailers(self, fields: tuple[tuple[str, str], ...]) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.request(1, *fields)
        assert peer.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]

    def test_trailers_that_end_nothing(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.request(1, ("x", "1"), ends=False)
        assert peer.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
        assert peer.notes.seen[-1] == ("reset", 1)

    @pytest.mark.parametrize("length", ["5", "3"])
    def test_content_length_is_kept(self, length: str) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("content-length", length), ends=False)
        peer.data(1, b"abcd", ends=True)
        assert peer.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
        peer.request(3, *REQUEST, ("content-length", "4"), ends=False)
        peer.data(3, b"abcd", ends=True)
        assert peer.resets() == []
        peer.request(5, *REQUEST, ("content-length", "4"))
        assert peer.resets() == [(5, ErrorCode.PROTOCOL_ERROR)]


MALFORMED = {
    "no method": ((":scheme", "http"), (":path", "/")),
    "no scheme": ((":method", "POST"), (":path", "/")),
    "no path": ((":method", "POST"), (":scheme", "http")),
    "an empty path": ((":method", "POST"), (":scheme", "http"), (":path", "")),
    "twice a path": (*REQUEST[:3], (":path", "/")),
    "an unknown pseudo-header": (*REQUEST[:3], (":test", "1")),
    "a pseudo-header of answers": (*REQUEST[:3], (":status", "200")),
    "a late pseudo-header": (REQUEST[0], REQUEST[1], ("a", "b"), REQUEST[2]),
    "upper case": (*REQUEST, ("X-Y", "1")),
    "an empty name": (*REQUEST, ("", "1")),
    "a name with a blank": (*REQUEST, ("a b", "1")),
    "line ends": (*REQUEST, ("a", "b\r\nc: d")),
    "nul": (*REQUEST, ("a", "b\0")),
    "connection": (*REQUEST, ("connection", "keep-alive")),
    "transfer-encoding": (*REQUEST, ("transfer-encoding", "chunked")),
    "te": (*REQUEST[:3], ("te", "gzip")),
    "content-length": (*REQUEST, ("content-length", "-1")),
    "two content-lengths": (*REQUEST, ("content-length", "1"), ("content-length", "2")),
}


class TestFaults:
    @pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
    def test_malformed_headers_end_their_stream_alone(self, fields: tuple[tuple[str, str], ...]) -> None:
        peer = Peer()
        peer.request(1)
        for stream in (3, 5):  # the second time it is remembered
            peer.request(stream, *fields, ends=False)
            assert peer.resets() == [(stream, ErrorCode.PROTOCOL_ERROR)]
            peer.data(stream, b"on its way", ends=True)
        assert peer.resets() == []
        assert [seen[:2] for seen in peer.notes.seen] == [("request", 1)]

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (frame(frames.HEADERS, 5, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.HEADERS, 5, 0, b"\x82"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.HEADERS, 5, 3, b"\xff\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
            (frame(frames.HEADERS, 5, 3, b"\xfe"), ErrorCode.COMPRESSION_ERROR),
            (frame(frames.HEADERS, 0x25, 3, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.HEADERS, 0x25, 3, b"\0\0\0\x03\0\x82"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.DATA, 0, 9, b"x"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.DATA, 0, 2, b"x"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.PRIORITY, 0, 9, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.PRIORITY, 0, 9, b"\0\0\0\x09\0"), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.RST_STREAM, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
            (frames.settings_frame({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
            (frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
            (frames.settings_frame({Setting.MAX_FRAME_SIZE: 16_383}), ErrorCode.PROTOCOL_ERROR),
            (frames.settings_frame({Setting.MAX_FRAME_SIZE: 2**24}), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.PUSH_PROMISE, 4, 1, bytes(5)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
            (frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
            (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
            (frames.window_update(9, 1), ErrorCode.PROTOCOL_ERROR),
            (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
            (frame(frames.WINDOW_UPDATE, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
            (b"\x00\x40\x01" + frame(frames.DATA, 0, 1)[3:], ErrorCode.FRAME_SIZE_ERROR),
        ],
    )
    def test_faults_that_end_the_connection(self, said: bytes, code: ErrorCode) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.say(said)
        assert peer.gone() is code
        assert peer.notes.seen[-1] == ("reset", 1)

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (frame(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
            (frame(frames.PRIORITY, 0, 1, b"\0\0\0\x01\0"), ErrorCode.PROTOCOL_ERROR),
            (frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
            (frames.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
            (frame(frames.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
            (frame(frames.HEADERS, 5, 1, b"\x82"), ErrorCode.STREAM_CLOSED),
        ],
    )
    def test_faults_that_end_one_stream(self, said: bytes, code: ErrorCode) -> None:
        peer = Peer()
        peer.request(1)
        peer.request(3)
        peer.say(said)
        assert peer.resets() == [(1, code)]
        assert peer.notes.seen[-1] == ("reset", 1)
        assert list(peer.core.streams) == [3]

    def test_priority_alone_does_nothing(self) -> None:
        peer = Peer()
        peer.say(frame(frames.PRIORITY, 0, 9, b"\0\0\0\x01\x10"))
        assert (peer.heard(), peer.core.over) == ([], None)

    def test_closed_streams(self) -> None:
        peer = Peer()
        peer.request(1)
        peer.core.sending.send(peer.notes.streams[1], OPENING, b"", CLOSING)
        peer.heard()
        peer.say(frames.window_update(1, 5) + frames.rst_stream(1, ErrorCode.CANCEL))
        assert peer.heard() == []
        peer.data(1, b"x")
        assert peer.resets() == [(1, ErrorCode.STREAM_CLOSED)]
        peer.request(1)
        assert peer.gone() is ErrorCode.STREAM_CLOSED

    def test_a_stream_id_that_was_skipped(self) -> None:
        peer = Peer()
        peer.request(5)
        peer.request(3)
        assert peer.gone() is ErrorCode.PROTOCOL_ERROR

    def test_what_was_on_its_way_when_the_answer_came_is_no_fault(self) -> None:
        peer = Peer()
        for stream in (1, 3):
            peer.request(stream, ends=False)
        peer.core.sending.send(peer.notes.streams[1], None, closing=CLOSING)
        peer.core.reset(peer.notes.streams[3], ErrorCode.CANCEL)
        assert peer.resets() == [(1, ErrorCode.NO_ERROR), (3, ErrorCode.CANCEL)]
        for stream in (1, 3):
            peer.data(stream, b"late")
            peer.request(stream, ("late", "trailers"))
        assert peer.heard() == []
        peer.data(1, b"after the end")
        assert peer.resets() == [(1, ErrorCode.STREAM_CLOSED)]

    def test_streams_that_end_early_are_remembered_up_to_a_bound(self) -> None:
        peer = Peer()
        for number in range(LATE_STREAMS_MAX + 10):
            peer.request(2 * number + 1, ends=False)
            peer.core.sending.send(peer.notes.streams[2 * number + 1], None, closing=CLOSING)
        assert len(peer.core.late) == LATE_STREAMS_MAX
