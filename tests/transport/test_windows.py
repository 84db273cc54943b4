"""The sans-IO HTTP/2 core: what windows and sockets let through, both ways."""

from __future__ import annotations

from cloud.transport.http2 import frames
from cloud.transport.http2.connection import (
    BACKLOG_BYTES_MAX,
    CONNECTION_CREDIT,
    STREAM_CREDIT,
)
from cloud.transport.http2.frames import ErrorCode, Setting
from cloud.transport.http2.sending import BATCH_BYTES
from tests.transport.peer import CLOSING, OPENING, Peer


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
