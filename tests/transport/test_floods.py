"""The sans-IO HTTP/2 core: header blocks that are remembered, and floods."""

from __future__ import annotations

import pytest

from cloud.transport.http2 import frames
from cloud.transport.http2.floods import Flood
from cloud.transport.http2.frames import ErrorCode, frame
from cloud.transport.http2.header_blocks import CONTINUATIONS_MAX, LIST_BYTES_MAX, LIST_BYTES_READ_MAX
from tests.transport.peer import CLOSING, OPENING, REQUEST, Peer


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
