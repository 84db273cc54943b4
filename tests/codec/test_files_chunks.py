"""The chunks' cryptography: what was not sealed just there, in just that file, does not open."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import InvalidFile
from codec.files.chunks import ChunkInvalid, FileCipher
from codec.files.handle import FILE_MAX_BYTES, FileAddress
from codec.files.layout import TAG_BYTES, Layout, Shape, stored_bytes
from codec.keys.ring import KeyMaterial

KEY = KeyMaterial(bytes(range(32)))
ADDRESS = FileAddress("orders.acme", "0123456789abcdef" * 2)
SHAPE = Shape(segment_bytes=256, chunk_bytes=64)


def sealed_of(cipher: FileCipher, content: bytes) -> list[tuple[bytes, bytes]]:
    """Salt and stored bytes of each segment."""
    layout = Layout(len(content), cipher.shape)
    hasher = hashlib.sha256()
    segments = []
    for index in range(layout.segments):
        part = content[index * 256 : (index + 1) * 256]
        hasher.update(part)
        last = index == layout.segments - 1
        salt = cipher.salt(index, hasher.digest(), last=last)
        into = bytearray(layout.stored_bytes(index))
        assert cipher.seal(index, salt, memoryview(part), memoryview(into), last=last) == len(into)
        segments.append((salt, bytes(into)))
    return segments


def opened(cipher: FileCipher, layout: Layout, index: int, salt: bytes, stored: bytes) -> bytes:
    final = layout.chunks - 1 if index == layout.segments - 1 else None
    return opened_at(cipher, index, salt, stored, final)


def opened_at(cipher: FileCipher, index: int, salt: bytes, stored: bytes, final: int | None) -> bytes:
    into = bytearray(len(stored) + TAG_BYTES)
    first = index * cipher.shape.chunks_per_segment
    count = cipher.open(index, salt, first, memoryview(stored), memoryview(into), final_chunk=final)
    return bytes(into[:count])


@settings(deadline=None)
@given(content=st.binary(max_size=900))
def test_round_trip_and_the_same_again(content: bytes) -> None:
    cipher, layout = FileCipher(KEY, ADDRESS, SHAPE), Layout(len(content), SHAPE)
    segments = sealed_of(cipher, content)
    assert segments == sealed_of(FileCipher(KEY, ADDRESS, SHAPE), content)
    assert b"".join(opened(cipher, layout, index, *one) for index, one in enumerate(segments)) == content
    assert sum(len(stored) for _, stored in segments) == len(content) + layout.chunks * TAG_BYTES


def test_bytes_never_change() -> None:
    """The format: what is stored today must be read for ever."""
    content = bytes(range(250)) * 2
    digest = hashlib.sha256(
        b"".join(salt + part for salt, part in sealed_of(FileCipher(KEY, ADDRESS, SHAPE), content))
    )
    assert digest.hexdigest() == "b7baf42bb6be941b5a59e395f3d6f8b54c3a41b5371f2927eb76320589355fc9"


@settings(deadline=None)
@given(content=st.binary(min_size=1, max_size=900), data=st.data())
def test_any_change_of_a_segment_is_an_error(content: bytes, data: st.DataObject) -> None:
    cipher, layout = FileCipher(KEY, ADDRESS, SHAPE), Layout(len(content), SHAPE)
    segments = sealed_of(cipher, content)
    index = data.draw(st.integers(0, len(segments) - 1))
    salt, stored = segments[index]
    kind = data.draw(st.sampled_from(["flip", "cut", "extend", "salt", "place", "end", "swap", "repeat"]))
    step = SHAPE.chunk_bytes + TAG_BYTES
    match kind:
        case "flip":
            at = data.draw(st.integers(0, len(stored) * 8 - 1))
            changed = bytearray(stored)
            changed[at // 8] ^= 1 << at % 8
            stored = bytes(changed)
        case "cut":
            stored = stored[: data.draw(st.integers(0, len(stored) - 1))]
            if stored and len(stored) % step == 0 and index < layout.segments - 1:
                return  # whole chunks less: the object's size tells it, see test_files_store
        case "extend":
            stored += data.draw(st.binary(min_size=1, max_size=200))
        case "salt":
            at = data.draw(st.integers(0, 127))
            salt = (int.from_bytes(salt, "big") ^ 1 << at).to_bytes(16, "big")
        case "place":
            wrong = data.draw(st.integers(0, 5).filter(lambda place: place != index))
            with pytest.raises(ChunkInvalid):
                opened_at(cipher, wrong, salt, stored, None)
            return
        case "end":
            chunks = len(stored) // step + (len(stored) % step > 0)
            last = index * 4 + chunks - 1
            claimed = None if index == layout.segments - 1 else last
            with pytest.raises(ChunkInvalid):
                opened_at(cipher, index, salt, stored, claimed)
            return
        case "swap" | "repeat":
            parts = [stored[at : at + step] for at in range(0, len(stored), step)]
            first = data.draw(st.integers(0, len(parts) - 1))
            second = data.draw(st.integers(0, len(parts) - 1))
            if first == second:
                return
            if kind == "swap":
                parts[first], parts[second] = parts[second], parts[first]
            else:
                parts[first] = parts[second]
            stored = b"".join(parts)
    with pytest.raises(ChunkInvalid):
        opened(cipher, layout, index, salt, stored)


@pytest.mark.parametrize(
    "other",
    [
        FileCipher(KeyMaterial(bytes(32)), ADDRESS, SHAPE),
        FileCipher(KEY, FileAddress("orders.evil", ADDRESS.id), SHAPE),
        FileCipher(KEY, FileAddress("orders.acme", "f" * 32), SHAPE),
        FileCipher(KEY, ADDRESS, Shape(segment_bytes=512, chunk_bytes=64)),
    ],
)
def test_another_key_file_or_shape_opens_nothing(other: FileCipher) -> None:
    cipher = FileCipher(KEY, ADDRESS, SHAPE)
    [(salt, stored)] = sealed_of(cipher, b"content")
    with pytest.raises(ChunkInvalid):
        opened_at(other, 0, salt, stored, 0)


def test_a_segment_gets_another_key_with_any_other_content_before_its_end_or_another_end() -> None:
    """So that counting nonces never meet twice, whatever a source does between two attempts."""
    cipher = FileCipher(KEY, ADDRESS, SHAPE)
    one, two = bytes(600), bytes(255) + b"\1" + bytes(344)
    salts = {salt for content in (one, two, one[:256], one[:512]) for salt, _ in sealed_of(cipher, content)}
    # Of `one`: three segments, and as ends: those of 256 and 512 bytes, whose first is that of `one`.
    assert len(salts) == 3 + 3 + 1 + 1


class TestLayout:
    @given(
        size=st.integers(0, 3000),
        start=st.integers(0, 3000),
        length=st.integers(0, 3000),
        chunks=st.integers(1, 5),
    )
    def test_pieces_cover_a_range_and_no_more_chunks_than_it_touches(
        self, size: int, start: int, length: int, chunks: int
    ) -> None:
        layout = Layout(size, Shape(segment_bytes=64 * chunks, chunk_bytes=64))
        start, stop = min(start, size), min(start + length, size)
        pieces = list(layout.pieces(start, stop))
        covered = [
            number
            for piece in pieces
            for number in range(piece.first_chunk, piece.first_chunk + piece.chunks)
        ]
        assert covered == sorted(set(covered))
        touched = range(start // 64, -(-stop // 64))
        assert set(touched) <= set(covered)
        assert len(covered) <= max(1, len(touched))
        for piece in pieces:
            assert 0 <= piece.stored_start < piece.stored_end <= layout.stored_bytes(piece.segment)
            assert piece.first_chunk // chunks == piece.segment

    def test_sizes_of_segments_add_up(self) -> None:
        for size in (0, 1, 63, 64, 65, 255, 256, 257, 1024):
            layout = Layout(size, SHAPE)
            assert sum(layout.plain_bytes(index) for index in range(layout.segments)) == size
            assert layout.stored_bytes(0) == stored_bytes(min(size, 256), SHAPE)

    @pytest.mark.parametrize(
        ("segment", "chunk"),
        [(0, 0), (64, 0), (64, 63), (100, 64), (64, 128), (2**40, 64), (2**40, 2**30), (-64, 64)],
    )
    def test_shapes_out_of_bounds_are_refused(self, segment: int, chunk: int) -> None:
        with pytest.raises(InvalidFile):
            Shape(segment, chunk)

    def test_sizes_out_of_bounds_are_refused(self) -> None:
        Layout(FILE_MAX_BYTES, Shape())
        for size, shape in ((-1, Shape()), (FILE_MAX_BYTES + 1, Shape()), (2**30, SHAPE)):
            with pytest.raises(InvalidFile):
                Layout(size, shape)
