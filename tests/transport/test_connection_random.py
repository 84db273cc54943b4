"""Whatever a client sends, however it is cut: no exception but the protocol's own, bounded memory, windows that add up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.transport.http2 import frames
from cloud.transport.http2.connection import HELD_BYTES_MAX, LATE_STREAMS_MAX
from cloud.transport.http2.frames import ErrorCode, Setting, frame
from cloud.transport.http2.header_blocks import LIST_BYTES_READ_MAX, REMEMBERED_MAX
from tests.transport.peer import CLOSING, OPENING, REQUEST, Notes, Peer, split

STREAMS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 9, 2, 2**31 - 1])
FLAGS = st.sampled_from([0, 1, 4, 5, 5, 8, 0xC, 0x2D, 0xFF])
FIELD = st.sampled_from([*REQUEST, ("x", "1"), ("y", "2" * 500), ("content-length", "3"), ("Bad", "1")])


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """A header block that may be right: its entries are those of one encoder without a table."""
    peer = Peer(greet=False)
    fields = (*REQUEST, *draw(st.lists(FIELD, max_size=3))) if draw(st.booleans()) else draw(st.lists(FIELD))
    return bytes(peer.encoder.encode(fields))


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    blocks(),
    st.sampled_from(
        [b"", bytes(4), bytes(8), b"\0\0\0\x01", b"\x7f\xff\xff\xff", bytes(2_000), bytes(16_384)]
    ),
    st.builds(
        lambda key, value: key.to_bytes(2, "big") + value.to_bytes(4, "big"),
        st.integers(0, 8),
        st.sampled_from([0, 1, 100, 16_384, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1]),
    ),
)
FRAMES = st.builds(frame, st.integers(0, 11), FLAGS, STREAMS, PAYLOADS)
SENSIBLE = st.one_of(
    st.builds(
        lambda stream, flags, block: frame(frames.HEADERS, flags, stream, block),
        st.sampled_from([1, 3, 5, 7]),
        st.sampled_from([4, 5]),
        blocks(),
    ),
    st.builds(
        lambda stream, flags, data: frame(frames.DATA, flags, stream, data),
        st.sampled_from([1, 3, 5, 7]),
        st.sampled_from([0, 1]),
        st.binary(max_size=2_000),
    ),
    st.builds(frames.window_update, st.sampled_from([0, 1, 3, 5]), st.integers(1, 100_000)),
    st.builds(frames.rst_stream, st.sampled_from([1, 3, 5]), st.just(ErrorCode.CANCEL)),
    st.builds(
        lambda size: frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: size}), st.integers(0, 100_000)
    ),
)


class Answering(Notes):
    """Answers each request once it is whole."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body
        self.peer: Peer | None = None

    def answer(self, stream_id: int) -> None:
        assert self.peer is not None
        self.peer.core.sending.send(self.streams[stream_id], OPENING, self.body, CLOSING)

    def request(self, stream: object, meaning: object, ended: bool) -> None:
        super().request(stream, meaning, ended)  # type: ignore[arg-type]
        if ended:
            self.answer(stream.id)  # type: ignore[attr-defined]

    def data(self, stream: object, chunk: bytes, ended: bool) -> None:
        assert self.peer is not None
        super().data(stream, chunk, ended)  # type: ignore[arg-type]
        self.peer.core.consumed(stream, len(chunk))  # type: ignore[arg-type]
        if ended:
            self.answer(stream.id)  # type: ignore[attr-defined]


def talk(pieces: list[bytes], body: bytes) -> tuple[Peer, bytes]:
    peer = Peer(greet=False)
    peer.core.handler = peer.notes = Answering(body)
    peer.notes.peer = peer
    said = b""
    for piece in pieces:
        peer.say(piece)
        said += peer.core.take_output()
        peer.core.sending.pump()
        said += peer.core.take_output()
    return peer, said


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(FRAMES, SENSIBLE), max_size=30),
    st.lists(st.integers(0, 2**20), max_size=20),
    st.binary(max_size=40),
    st.sampled_from([0, 10, 100_000]),
)
def test_random_frames(said: list[bytes], places: list[int], garbage: bytes, body_bytes: int) -> None:
    data = frames.PREFACE + frames.settings_frame({}) + b"".join(said) + garbage
    body = bytes(body_bytes)
    peer, answered = talk(cut(data, places), body)
    whole, at_once = talk([data], body)
    # How the bytes are cut changes nothing but in which order frames that depend on nothing follow each other.
    assert [seen[:2] for seen in peer.notes.seen] == [seen[:2] for seen in whole.notes.seen]
    assert sorted(split(answered)) == sorted(split(at_once))
    core = peer.core
    assert (core.over is None) == (whole.core.over is None)
    assert len(core.late) <= LATE_STREAMS_MAX
    assert core.sending.held_bytes <= HELD_BYTES_MAX
    assert core.sending.backlog_bytes == sum(
        len(stream.unsent.body) - stream.unsent.sent for stream in core.streams.values() if stream.unsent
    )
    assert len(core._rest) < frames.FRAME_BYTES_MAX + frames.HEAD_BYTES
    assert core._partial is None or len(core._partial._content) <= LIST_BYTES_READ_MAX
    assert len(core._blocks._remembered) <= REMEMBERED_MAX
    for stream in core.streams.values():
        assert not stream.closed
        assert stream.unsent is None or core.over is None


@settings(max_examples=300, deadline=None)
@given(st.lists(SENSIBLE, max_size=40), st.integers(0, 200_000))
def test_no_more_is_sent_than_windows_allow(said: list[bytes], body_bytes: int) -> None:
    peer = Peer(greet=False)
    peer.core.handler = peer.notes = Answering(bytes(body_bytes))
    peer.notes.peer = peer
    peer.say(frames.PREFACE + frames.settings_frame({}))
    connection = initial = frames.WINDOW_BYTES
    windows: dict[int, int] = {}
    for one in said:
        peer.say(one)
        [(kind, _, stream, payload)] = split(one)
        if kind == frames.HEADERS:
            windows.setdefault(stream, initial)
        elif kind == frames.SETTINGS:
            change = int.from_bytes(payload[2:], "big") - initial
            initial += change
            windows = {stream: window + change for stream, window in windows.items()}
        elif kind == frames.WINDOW_UPDATE and stream:
            windows[stream] = windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == frames.WINDOW_UPDATE:
            connection += int.from_bytes(payload, "big")
        for sent, _, stream, payload in peer.heard():
            if sent == frames.DATA:
                connection -= len(payload)
                windows[stream] -= len(payload)
                assert windows[stream] >= 0
        assert connection >= 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    for before in (b"", frames.PREFACE, frames.PREFACE + frames.settings_frame({})):
        talk([before + data], b"x")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_random_header_blocks(data: list[bytes]) -> None:
    peer = Peer()
    for number, block in enumerate(data):
        peer.say(frame(frames.HEADERS, 5, 2 * number + 1, block))
    assert peer.gone() in (None, ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "2", "x" * 900])), max_size=4)
        ),
        max_size=20,
    ),
    st.lists(st.sampled_from([0, 64, 2_000, 4_096]), max_size=20),
)
def test_remembered_blocks_mean_what_they_say(
    requests: list[tuple[list[tuple[str, str]]]], sizes: list[int]
) -> None:
    peer = Peer()
    for number, (fields,) in enumerate(requests):
        if number < len(sizes):
            peer.encoder.header_table_size = sizes[number]
        peer.request(2 * number + 1, *REQUEST[:3], *fields)
    seen = [[(name.decode(), value.decode()) for name, value in one[2].fields] for one in peer.notes.seen]
    assert seen == [fields for (fields,) in requests]
