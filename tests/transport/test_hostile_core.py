"""The sans-IO core against clients that cost it as much as they can."""

from __future__ import annotations

import pytest

from cloud.transport.http2 import frames
from cloud.transport.http2.connection import (
    BACKLOG_BYTES_KEPT_MAX,
    BACKLOG_BYTES_STRANGER_MAX,
    Connection,
)
from cloud.transport.http2.floods import Flood
from cloud.transport.http2.frames import ErrorCode, Setting, frame
from cloud.transport.http2.header_blocks import FIELDS_MAX, TABLE_CHANGES_MAX
from tests.transport.peer import CLOSING, OPENING, REQUEST, Peer

WORK_MAX = Flood.VAIN_HEADERS.per_interval_max


class TestHeaderBlocks:
    def test_many_headers_in_few_bytes(self) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("x", "1"))
        reference = peer.headers(("x", "1"))
        assert len(reference) == 1
        most = FIELDS_MAX - len(REQUEST)
        peer.say(frame(frames.HEADERS, 5, 3, peer.headers() + most * reference))
        assert len(peer.notes.seen[-1][2].fields) == FIELDS_MAX - 3
        peer.say(frame(frames.HEADERS, 5, 5, peer.headers() + (most + 1) * reference))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    @pytest.mark.parametrize("literal", [b"\x00\x01a\x01b", b"\x10\x01a\x01b", b"\x40\x01a\x01b"])
    def test_literals_count_as_well(self, literal: bytes) -> None:
        peer = Peer()
        peer.say(frame(frames.HEADERS, 5, 1, peer.headers() + FIELDS_MAX * literal))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    def test_changes_of_the_tables_size(self) -> None:
        peer = Peer()
        peer.say(frame(frames.HEADERS, 5, 1, TABLE_CHANGES_MAX * b"\x20" + peer.headers()))
        assert len(peer.notes.seen) == 1
        peer.say(frame(frames.HEADERS, 5, 3, (TABLE_CHANGES_MAX + 1) * b"\x20" + peer.headers()))
        assert peer.gone() is ErrorCode.COMPRESSION_ERROR

    @pytest.mark.parametrize("value", [" b", "b ", "\tb", "b\t", " "])
    @pytest.mark.parametrize("name", ["a", ":path"])
    def test_blanks_around_a_value(self, name: str, value: str) -> None:
        peer = Peer()
        others = [field for field in REQUEST if field[0] != name]
        peer.request(1, *sorted([*others, (name, value)], key=lambda field: field[0][0] != ":"))
        assert peer.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]

    def test_blanks_within_a_value(self) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("a", "b \t c"))
        assert peer.resets() == []

    def test_large_meanings_are_not_remembered(self) -> None:
        peer = Peer()
        peer.request(1, *REQUEST, ("x", "y" * 2_000))
        small = peer.headers(*REQUEST, ("x", "y" * 2_000))
        for block in (small, small + 2 * peer.headers(("x", "y" * 2_000))):
            for number in (0, 2):
                peer.say(frame(frames.HEADERS, 5, peer.core.last_id + 2 + number, block))
        assert [len(block) < 100 for block in peer.core._blocks._remembered] == [True]


class TestWork:
    def wasted(self, peer: Peer, *, ends: bool = True) -> int:
        """How many blocks, each new and of some 50 headers, it takes to end the connection."""
        for number in range(WORK_MAX):
            fields = tuple((f"x{n}", str(number)) for n in range(50))
            peer.request(2 * number + 1, *REQUEST, *fields, ends=ends)
            if peer.core.over is not None:
                assert Flood.VAIN_HEADERS.words in peer.core.over.sentence
                return number
        raise AssertionError

    def test_of_refusals(self) -> None:
        peer = Peer(streams_max=WORK_MAX)
        peer.core._is_vain = lambda _: True
        assert 20 < self.wasted(peer) < WORK_MAX // 50

    def test_of_what_is_malformed(self) -> None:
        peer = Peer()
        blocks = 0
        while peer.core.over is None:
            peer.request(2 * blocks + 1, *REQUEST, ("Bad", "1"), *((f"x{n}", str(blocks)) for n in range(50)))
            blocks += 1
        assert 20 < blocks < WORK_MAX // 50
        assert Flood.VAIN_HEADERS.words in peer.core.over.sentence

    def test_of_strangers(self) -> None:
        peer = Peer(streams_max=WORK_MAX)
        peer.core = Connection(peer.notes, lambda fields: fields, streams_max=WORK_MAX, trusted=False)
        peer.say(frames.PREFACE + frames.settings_frame({}))
        assert 20 < self.wasted(peer) < WORK_MAX // 50

    def test_who_is_trusted_may_go_on(self) -> None:
        peer = Peer(streams_max=WORK_MAX)
        with pytest.raises(AssertionError):
            self.wasted(peer)

    def test_of_late_trailers(self) -> None:
        peer = Peer(streams_max=2_000)
        for number in range(900):
            peer.request(2 * number + 1, ends=False)
            peer.core.reset(peer.notes.streams[2 * number + 1], ErrorCode.CANCEL)
        for number in range(900):
            peer.request(2 * number + 1, *((f"x{n}", str(number)) for n in range(50)))
            if peer.core.over is not None:
                break
        assert peer.core.over is not None
        assert Flood.VAIN_HEADERS.words in peer.core.over.sentence


class TestUnread:
    @pytest.mark.parametrize("trusted", [False, True])
    def test_what_nobody_reads_has_a_bound(self, trusted: bool) -> None:
        peer = Peer()
        if not trusted:
            peer.core = Connection(peer.notes, lambda fields: fields, streams_max=100, trusted=False)
            peer.say(frames.PREFACE + frames.settings_frame({}))
            peer.heard()
        most = BACKLOG_BYTES_KEPT_MAX if trusted else BACKLOG_BYTES_STRANGER_MAX
        for number in range(10):
            peer.request(2 * number + 1)
        for number in range(10):
            peer.core.sending.send(peer.notes.streams[2 * number + 1], OPENING, bytes(most // 8), CLOSING)
        assert peer.resets() == [(17, ErrorCode.ENHANCE_YOUR_CALM), (19, ErrorCode.ENHANCE_YOUR_CALM)]
        assert peer.notes.seen[-2:] == [("reset", 17), ("reset", 19)]
        assert most * 0.9 < peer.core.sending.backlog_bytes <= most
        peer.core.lost()
        assert peer.core.sending.backlog_bytes == 0

    def test_trust_raises_the_bound(self) -> None:
        peer = Peer()
        peer.core = Connection(peer.notes, lambda fields: fields, streams_max=1, trusted=False)
        peer.say(frames.PREFACE + frames.settings_frame({}))
        peer.heard()
        peer.core.trust(2)
        assert peer.heard() == [(frames.SETTINGS, 0, 0, b"\0\x03\0\0\0\x02")]
        peer.request(1)
        peer.request(3)
        peer.core.sending.send(peer.notes.streams[1], OPENING, bytes(BACKLOG_BYTES_STRANGER_MAX * 2), CLOSING)
        assert peer.resets() == []

    def test_streams_that_are_gone_leave_nothing_behind(self) -> None:
        peer = Peer()
        peer.core.sending.hold()
        for number in range(50):
            peer.request(2 * number + 1)
            peer.core.sending.send(peer.notes.streams[2 * number + 1], None, closing=CLOSING)
            peer.say(frames.rst_stream(2 * number + 1, ErrorCode.CANCEL))
        sending = peer.core.sending
        assert (len(sending._light), len(sending._ready), sending.backlog_bytes) == (0, 0, 0)

    def test_a_dribble_of_windows_is_a_flood(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        peer.request(1)
        peer.core.sending.send(peer.notes.streams[1], OPENING, bytes(100_000), CLOSING)
        for _ in range(Flood.WINDOW_UPDATE.per_interval_max + 1):
            peer.say(frames.window_update(1, 1))
        assert peer.gone() is ErrorCode.ENHANCE_YOUR_CALM

    def test_large_frames_allow_windows(self) -> None:
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        peer.say(frames.window_update(0, 2**30))
        peer.request(1)
        peer.core.sending.send(peer.notes.streams[1], OPENING, bytes(10_000_000), CLOSING)
        for _ in range(Flood.WINDOW_UPDATE.per_interval_max + 1):
            peer.say(frames.window_update(1, 1_024))
        assert peer.core.over is None
