"""The sans-IO HTTP/2 core: what RFC 9113 has it say to right and wrong clients."""

from __future__ import annotations

import pytest

from cloud.gateway.transport.http2 import frames
from cloud.gateway.transport.http2.connection import (
    BACKLOG_BYTES_MAX,
    CONNECTION_CREDIT,
    CONTINUATIONS_MAX,
    LATE_STREAMS_MAX,
    STREAM_CREDIT,
)
from cloud.gateway.transport.http2.floods import Flood
from cloud.gateway.transport.http2.frames import ErrorCode, Setting, frame
from cloud.gateway.transport.http2.header_blocks import LIST_BYTES_MAX, LIST_BYTES_READ_MAX
from cloud.gateway.transport.http2.sending import BATCH_BYTES
from tests.gateway.http2.peer import CLOSING, OPENING, REQUEST, Peer


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


class TestReceiving:
    def test_windows_are_given_back_as_data_is_consumed(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        chunk = bytes(frames.FRAME_BYTES_MAX)
        for _ in range(STREAM_CREDIT // len(chunk)):
            peer.data(1, chunk)
        assert peer.heard() == []
        peer.core.consumed(peer.notes.streams[1], STREAM_CREDIT)
        assert peer.heard() == [(frames.WINDOW_UPDATE, 0, 1, STREAM_CREDIT.to_bytes(4, "big"))]
        peer.data(1, chunk)
        assert peer.heard() == []

    def test_more_than_a_streams_window(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        chunk = bytes(frames.FRAME_BYTES_MAX)
        for _ in range(STREAM_CREDIT // len(chunk) + 1):
            peer.data(1, chunk)
        assert peer.resets() == [(1, ErrorCode.FLOW_CONTROL_ERROR)]

    def test_padding_counts_and_is_given_back(self) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        padded = b"\xff" + b"x" + bytes(255)
        for _ in range(2 * STREAM_CREDIT // len(padded)):
            peer.data(1, padded, flags=frames.PADDED)
            peer.core.consumed(peer.notes.streams[1], 1)
        assert all(kind == frames.WINDOW_UPDATE for kind, *_ in peer.heard())
        assert peer.core.over is None

    def test_the_connections_window_is_given_back_whatever_becomes_of_streams(self) -> None:
        peer = Peer()
        chunk = bytes(frames.FRAME_BYTES_MAX)
        for number in range(3 * CONNECTION_CREDIT // len(chunk)):
            peer.request(2 * number + 1, ends=False)
            peer.data(2 * number + 1, chunk, ends=True)
            peer.say(frames.rst_stream(2 * number + 1, ErrorCode.CANCEL))
        given = [payload for kind, _, stream, payload in peer.heard() if kind == frames.WINDOW_UPDATE]
        assert sum(int.from_bytes(payload, "big") for payload in given) >= 2 * CONNECTION_CREDIT


class TestSending:
    def answer(self, peer: Peer, body: bytes, stream: int = 1) -> None:
        peer.core.sending.send(peer.notes.streams[stream], OPENING, body, CLOSING)

    def test_answers(self) -> None:
        peer = Peer()
        for stream in (1, 3):
            peer.request(stream)
            self.answer(peer, b"hello", stream)
        frames_heard = peer.heard()
        for stream, heard in ((1, frames_heard[:3]), (3, frames_heard[3:])):
            (kind, flags, on, block), data, (end, end_flags, _, trailers) = heard
            assert (kind, flags, on) == (frames.HEADERS, frames.END_HEADERS, stream)
            assert data == (frames.DATA, 0, stream, b"hello")
            assert (end, end_flags) == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
            assert peer.decoded(block) == [(":status", "200"), ("x", "y")]
            assert peer.decoded(trailers) == [("grpc-status", "0")]
        assert peer.core.streams == {}

    def test_a_client_may_forbid_the_table(self) -> None:
        peer = Peer(settings={Setting.HEADER_TABLE_SIZE: 0})
        peer.decoder.max_allowed_table_size = 0
        peer.request(1)
        self.answer(peer, b"")
        assert peer.decoded(peer.heard()[0][3]) == [(":status", "200"), ("x", "y")]

    def test_windows_bound_what_is_sent(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 3})
        peer.request(1)
        peer.request(3)
        self.answer(peer, b"abcdefgh")
        assert [f[3] for f in peer.heard() if f[0] == frames.DATA] == [b"abc"]
        self.answer(peer, b"xy", stream=3)
        assert [f[2:] for f in peer.heard() if f[0] == frames.DATA] == [(3, b"xy")]
        peer.say(frames.window_update(1, 2))
        assert peer.heard() == [(frames.DATA, 0, 1, b"de")]
        peer.say(frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 4}))
        assert peer.heard() == [(frames.SETTINGS, frames.ACK, 0, b""), (frames.DATA, 0, 1, b"f")]
        peer.say(frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}) + frames.window_update(1, 4))
        assert [f[0] for f in peer.heard()] == [frames.SETTINGS]  # the window was 4 below nothing
        peer.say(frames.window_update(1, 9))
        data, trailers = peer.heard()
        assert data == (frames.DATA, 0, 1, b"gh")
        assert trailers[:3] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1)
        assert peer.core.sending.backlog_bytes == 0

    def test_trailers_need_no_window(self) -> None:
        peer = Peer()
        peer.request(1)
        peer.core.sending.send(peer.notes.streams[1], OPENING, bytes(100))
        peer.say(frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))  # 100 below nothing
        peer.core.sending.send(peer.notes.streams[1], None, closing=CLOSING)
        assert peer.heard()[-1][:3] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1)

    def test_the_connections_window_is_shared_in_turns(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 2**20})
        body = bytes(100_000)
        for stream in (1, 3):
            peer.request(stream)
            self.answer(peer, body, stream)
        first = [f[2] for f in peer.heard() if f[0] == frames.DATA]
        assert first == [1, 1, 1, 1]  # 65,535 bytes are gone before the second asks
        peer.say(frames.window_update(0, 2**20))
        turns = [f[2] for f in peer.heard() if f[0] == frames.DATA]
        assert turns[:6] == [1, 3, 1, 3, 1, 3]
        assert peer.core.streams == {}

    def test_a_window_that_overflows_by_settings(self) -> None:
        peer = Peer()
        peer.request(1)
        peer.say(frames.window_update(1, 2**31 - 1 - frames.WINDOW_BYTES))
        peer.say(frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: frames.WINDOW_BYTES + 1}))
        assert peer.gone() is ErrorCode.FLOW_CONTROL_ERROR

    def test_frames_are_as_large_as_the_client_allows(self) -> None:
        peer = Peer(settings={Setting.MAX_FRAME_SIZE: 20_000, Setting.INITIAL_WINDOW_SIZE: 2**20})
        peer.request(1)
        self.answer(peer, bytes(45_000))
        assert [len(f[3]) for f in peer.heard() if f[0] == frames.DATA] == [20_000, 20_000, 5_000]

    def test_a_body_may_end_without_trailers(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 2})
        peer.request(1)
        peer.core.sending.send(peer.notes.streams[1], OPENING, b"abc", ends=True)
        peer.say(frames.window_update(1, 1))
        assert [f[1:] for f in peer.heard() if f[0] == frames.DATA] == [
            (0, 1, b"ab"),
            (frames.END_STREAM, 1, b"c"),
        ]

    def test_while_the_socket_is_full_no_answers_are_made(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 2**30})
        peer.say(frames.window_update(0, 2**30))
        for stream in (1, 3, 5):
            peer.request(stream)
        peer.core.sending.hold()
        self.answer(peer, bytes(3 * BATCH_BYTES))
        self.answer(peer, b"small", stream=3)
        peer.core.sending.send(peer.notes.streams[5], None, closing=CLOSING)
        assert peer.heard() == []
        peer.core.sending.release()
        heard = peer.heard()
        assert heard[0][2] == 5  # has no body that could have to wait
        assert {f[2] for f in heard} == {1, 3, 5}
        assert sum(len(f[3]) for f in heard) < BATCH_BYTES + 2 * frames.FRAME_BYTES_MAX
        for _ in range(3):
            peer.core.sending.pump()
        assert sum(len(f[3]) for f in peer.heard() if f[0] == frames.DATA) > BATCH_BYTES
        assert peer.core.streams == {}

    def test_new_calls_are_refused_while_too_much_waits(self) -> None:
        peer = Peer()
        body = bytes(BACKLOG_BYTES_MAX // 4)
        for stream in (1, 3, 5, 7, 9):
            peer.request(stream)
            self.answer(peer, body, stream)
        peer.heard()
        peer.request(11)
        assert peer.resets() == [(11, ErrorCode.REFUSED_STREAM)]
        peer.say(frames.rst_stream(1, ErrorCode.CANCEL) + frames.rst_stream(3, ErrorCode.CANCEL))
        peer.request(13)
        assert peer.resets() == []

    def test_messages_of_a_stream_follow_each_other(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 4})
        peer.request(1)
        send, stream = peer.core.sending.send, peer.notes.streams[1]
        send(stream, OPENING, b"abc")
        assert peer.notes.seen[-1] == ("drained", 1)
        send(stream, None, b"defg")
        send(stream, None, closing=CLOSING)
        peer.say(frames.window_update(1, 9))
        assert [f[3] for f in peer.heard() if f[0] == frames.DATA] == [b"abc", b"d", b"efg"]
        assert peer.core.streams == {}

    def test_an_answer_to_nobody(self) -> None:
        peer = Peer()
        peer.request(1)
        peer.say(frames.rst_stream(1, ErrorCode.CANCEL))
        self.answer(peer, b"x")
        assert peer.heard() == []

    def test_streams_beyond_the_most(self) -> None:
        peer = Peer(streams_max=2)
        for stream in (1, 3, 5):
            peer.request(stream)
        assert peer.resets() == [(5, ErrorCode.REFUSED_STREAM)]
        self.answer(peer, b"x")
        peer.request(7)
        assert peer.resets() == []


class TestHeaderBlocks:
    def test_repeated_blocks_mean_the_same(self) -> None:
        peer = Peer()
        for stream in (1, 3, 5):
            peer.request(stream)
        first, second, third = (seen[2] for seen in peer.notes.seen)
        assert first == second == third
        assert second is third  # remembered: by the second, the table was as it is

    def test_a_change_of_the_table_forgets_them(self) -> None:
        peer = Peer()
        fields = (*REQUEST, ("x", "1"))
        peer.request(1, *fields)
        indexed = peer.headers(*fields)
        for stream in (3, 5):
            peer.say(frame(frames.HEADERS, 5, stream, indexed))
        # A header that is new moves all entries of the table by one: the same bytes mean another thing.
        peer.request(7, *fields, ("z", "9"))
        peer.say(frame(frames.HEADERS, 5, 9, indexed))
        meanings = [dict(seen[2].fields) for seen in peer.notes.seen]
        assert meanings[1] == meanings[2] == meanings[0]
        assert len(meanings) == 4
        assert peer.resets() == [(9, ErrorCode.PROTOCOL_ERROR)]  # it has no path any more

    def test_table_sizes_change(self) -> None:
        peer = Peer()
        for number, size in enumerate((4096, 0, 100, 4096)):
            peer.encoder.header_table_size = size
            peer.request(2 * number + 1, *REQUEST, ("x", str(number)))
        assert [dict(seen[2].fields)[b"x"] for seen in peer.notes.seen] == [b"0", b"1", b"2", b"3"]
        peer.encoder.header_table_size = 4097
        peer.request(9)
        assert peer.gone() is ErrorCode.COMPRESSION_ERROR

    def test_a_large_list_is_told(self) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("x", "y" * LIST_BYTES_MAX))
        assert peer.notes.seen[0][2].too_large

    def test_a_bomb_of_references(self) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("x", "y" * 4_000))
        reference = peer.headers(("x", "y" * 4_000))
        assert len(reference) == 1
        peer.say(frame(frames.HEADERS, 5, 3, reference * (LIST_BYTES_READ_MAX // 4_000 + 1)))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM


class TestFloods:
    @pytest.mark.parametrize(
        ("said", "flood"),
        [
            (frames.settings_frame({}), Flood.SETTINGS),
            (frame(frames.SETTINGS, frames.ACK, 0), Flood.SETTINGS),
            (frame(frames.PING, 0, 0, bytes(8)), Flood.PING),
            (frame(frames.PRIORITY, 0, 9, bytes(5)), Flood.PRIORITY),
            (frames.window_update(0, 1), Flood.WINDOW_UPDATE),
            (frame(frames.DATA, 0, 1), Flood.EMPTY_DATA),
            (frame(frames.DATA, frames.PADDED, 1, bytes(1)), Flood.EMPTY_DATA),
            (frame(frames.GOAWAY, 0, 0, bytes(8)), Flood.UNKNOWN),
            (frame(200, 0, 0), Flood.UNKNOWN),
            (frame(frames.DATA, 0, 3), Flood.CLOSED),
        ],
    )
    def test_each_has_its_bound(self, said: bytes, flood: Flood) -> None:
        peer = Peer()
        peer.request(1, ends=False)
        peer.request(3, ends=False)
        peer.core.reset(peer.notes.streams[3], ErrorCode.CANCEL)
        peer.core.floods.calm()
        for _ in range(2):
            peer.say(said * flood.per_interval_max)
            assert peer.core.over is None
            peer.core.floods.calm()
        peer.say(said * (flood.per_interval_max + 1))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM
        assert peer.core.over is not None
        assert flood.words in peer.core.over.sentence

    def test_rapid_resets(self) -> None:
        peer = Peer()
        for number in range(Flood.RST_STREAM.per_interval_max + 1):
            peer.request(2 * number + 1)
            peer.say(frames.rst_stream(2 * number + 1, ErrorCode.CANCEL))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    def test_resets_of_old_streams_are_no_flood(self) -> None:
        count = Flood.RST_STREAM.per_interval_max + 1
        peer = Peer(streams_max=count)
        for number in range(count):
            peer.request(2 * number + 1)
        peer.core.floods.calm()
        peer.core.floods.calm()
        for number in range(count):
            peer.say(frames.rst_stream(2 * number + 1, ErrorCode.CANCEL))
        assert peer.core.over is None

    def test_faults_that_make_the_server_reset(self) -> None:
        peer = Peer()
        for number in range(Flood.STREAM_FAULT.per_interval_max + 1):
            peer.request(2 * number + 1)
            peer.say(frames.window_update(2 * number + 1, 0))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    def test_pings_in_proportion_to_answers(self) -> None:
        peer = Peer()
        for number in range(Flood.PING.per_interval_max):
            peer.request(2 * number + 1)
            peer.core.sending.send(peer.notes.streams[2 * number + 1], OPENING, b"", CLOSING)
            peer.say(2 * frame(frames.PING, 0, 0, bytes(8)))
        assert peer.core.over is None

    def test_continuations_without_end(self) -> None:
        peer = Peer()
        peer.say(frame(frames.HEADERS, 0, 1) + (CONTINUATIONS_MAX + 1) * frame(frames.CONTINUATION, 0, 1))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM
        peer = Peer()
        peer.say(frame(frames.HEADERS, 0, 1) + 5 * frame(frames.CONTINUATION, 0, 1, bytes(16_384)))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    def test_who_asks_and_never_reads(self) -> None:
        peer = Peer()
        peer.core.sending.hold()
        for _ in range(10):
            peer.say(500 * frame(frames.PING, 0, 0, bytes(8)))
            peer.core.floods.calm()
        assert peer.core.over is not None
        assert peer.core.over.code is ErrorCode.ENHANCE_YOUR_CALM
