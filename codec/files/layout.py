"""How a file's bytes lie in its objects: arithmetic alone.

A file is cut into segments of `segment_bytes`, one object each, and a segment into chunks of `chunk_bytes`, each stored with
its tag. The last of both may be shorter; an empty file is one segment of one empty chunk, so that there is always an end
that is authenticated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from codec.errors import InvalidFile
from codec.files.handle import FILE_MAX_BYTES

TAG_BYTES = 16
CHUNK_BYTES = 256 * 1024
"""What a read costs at least. Smaller ones make more of the interpreter's lock, larger ones of a small read."""

SEGMENT_BYTES = 8 * 1024 * 1024
"""A worker holds nine of them at a time, and a store is asked once for each."""

CHUNK_MIN_BYTES, CHUNK_MAX_BYTES = 64, 4 * 1024 * 1024
SEGMENT_MAX_BYTES = 32 * 1024 * 1024
SEGMENTS_MAX = FILE_MAX_BYTES // SEGMENT_BYTES


@dataclasses.dataclass(frozen=True)
class Piece:
    """A run of whole chunks within one segment; offsets are those of the segment's object."""

    segment: int
    first_chunk: int
    chunks: int
    stored_start: int
    stored_end: int


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large segments and chunks are: fixed for a file when its upload begins."""

    segment_bytes: int = SEGMENT_BYTES
    chunk_bytes: int = CHUNK_BYTES

    def __post_init__(self) -> None:
        if not (
            CHUNK_MIN_BYTES <= self.chunk_bytes <= CHUNK_MAX_BYTES
            and self.chunk_bytes <= self.segment_bytes <= SEGMENT_MAX_BYTES
            and self.segment_bytes % self.chunk_bytes == 0
        ):
            raise InvalidFile(
                "A file's segments or chunks have sizes out of bounds: altered, or a newer Tacit's."
            )

    @property
    def chunks_per_segment(self) -> int:
        """How many chunks a whole segment has."""
        return self.segment_bytes // self.chunk_bytes


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything is of a file of `size` bytes."""

    size: int
    shape: Shape

    def __post_init__(self) -> None:
        if not 0 <= self.size <= FILE_MAX_BYTES or self.segments > SEGMENTS_MAX:
            raise InvalidFile(f"A file has at most {FILE_MAX_BYTES} bytes and {SEGMENTS_MAX} segments.")

    @property
    def segments(self) -> int:
        """How many objects hold the content."""
        return max(1, -(-self.size // self.shape.segment_bytes))

    @property
    def chunks(self) -> int:
        """How many chunks the whole file has."""
        return max(1, -(-self.size // self.shape.chunk_bytes))

    def plain_bytes(self, segment: int) -> int:
        """How much content a segment holds."""
        return min(self.shape.segment_bytes, self.size - segment * self.shape.segment_bytes)

    def stored_bytes(self, segment: int) -> int:
        """How large a segment's object is."""
        return stored_bytes(self.plain_bytes(segment), self.shape)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """What to read of which segment for the content from `start` to `stop`; at least one chunk."""
        chunk_bytes, per_segment = self.shape.chunk_bytes, self.shape.chunks_per_segment
        first = min(start // chunk_bytes, self.chunks - 1)
        end = max(first + 1, -(-stop // chunk_bytes))
        while first < end:
            segment, within = divmod(first, per_segment)
            count = min(end - first, per_segment - within)
            stored_start = within * (chunk_bytes + TAG_BYTES)
            stored_end = min(stored_start + count * (chunk_bytes + TAG_BYTES), self.stored_bytes(segment))
            yield Piece(segment, first, count, stored_start, stored_end)
            first += count


def stored_bytes(plain_bytes: int, shape: Shape) -> int:
    """How large the object of a segment with `plain_bytes` of content is."""
    return plain_bytes + max(1, -(-plain_bytes // shape.chunk_bytes)) * TAG_BYTES
