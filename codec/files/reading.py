"""The way down: parts are fetched, authenticated and handed out in order, some ahead of who reads them.

At most `AHEAD_MAX` segments are held that were not asked for yet: who reads slowly stops the fetching.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
import mmap
from collections.abc import AsyncGenerator, Callable
from functools import partial

from codec.errors import InvalidFile, ObjectCorrupt
from codec.files.buffers import Budget, Buffers
from codec.files.chunks import ChunkInvalid, FileCipher
from codec.files.handle import Claims
from codec.files.layout import Piece
from codec.files.manifest import Manifest, segment_path
from codec.files.objects import Objects, in_thread
from codec.files.segment_cache import SegmentCache

AHEAD_MAX = 3
"""Segments that are fetched and decrypted at one time."""


@dataclasses.dataclass(frozen=True)
class OpenFile:
    """A file whose manifest was read and proved."""

    objects: Objects
    claims: Claims
    manifest: Manifest
    cipher: FileCipher
    budget: Budget
    cache: SegmentCache | None = None

    async def blocks(
        self, start: int, stop: int, *, sink: Callable[[memoryview], object] | None = None
    ) -> AsyncGenerator[memoryview, None]:
        """The content from `start` to `stop`, a segment's part at a time, each good only until the next is asked for.

        If that is the whole file, its SHA-256 is compared before the last block is handed out. `sink` is called with each block
        before that, in a thread.

        Raises:
            ObjectMissing: a part is gone.
            ObjectCorrupt: a part is not what was stored.
            InvalidFile: the whole is not what the handle says.
            OffloadError: the store refuses.
        """
        whole = (start, stop) == (0, self.claims.size)
        if start == stop and not whole:
            return
        hasher = hashlib.sha256()
        shape = self.manifest.layout.shape
        # What is read is held by one chunk more on either side.
        buffers = Buffers(
            1, AHEAD_MAX, min(shape.segment_bytes, stop - start + 2 * shape.chunk_bytes), self.budget
        )
        pieces = self.manifest.layout.pieces(start, stop)
        piece = next(pieces, None)
        ahead: collections.deque[asyncio.Task[tuple[mmap.mmap, memoryview]]] = collections.deque()
        try:
            while True:
                # Buffers are given out in the order of the pieces, so that the first of them is never the one that waits.
                while piece is not None and (buffer := buffers.take_ready()) is not None:
                    ahead.append(asyncio.create_task(self._fetch(piece, start, stop, buffer)))
                    piece = next(pieces, None)
                if not ahead:
                    return
                buffer, block = await ahead[0]
                ahead.popleft()
                if whole or sink is not None:
                    # One change of threads for both: on a busy machine these are what a transfer waits for.
                    await in_thread(_pass_on, block, hasher.update if whole else None, sink)
                if whole and not ahead and piece is None and hasher.hexdigest() != self.claims.sha256:
                    raise InvalidFile(
                        f"The content of {self.claims.address.uri} has another SHA-256 than its handle says: "
                        "the handle or the file was altered."
                    )
                yield block
                buffers.give(buffer)
        finally:
            for task in ahead:
                task.cancel()
            # Their faults are later ones than what ends this, or nobody asked for them.
            await asyncio.gather(*ahead, return_exceptions=True)
            buffers.close()

    async def _fetch(
        self, piece: Piece, start: int, stop: int, buffer: mmap.mmap
    ) -> tuple[mmap.mmap, memoryview]:
        """A buffer, and what of it is the content from `start` to `stop`."""
        layout, salt = self.manifest.layout, self.manifest.salts[piece.segment]
        path = segment_path(self.claims.address, piece.segment, salt)
        size = layout.stored_bytes(piece.segment)
        into = memoryview(buffer)
        final = layout.chunks - 1 if piece.segment == layout.segments - 1 else None

        async def opened(stored: memoryview) -> int:
            return await in_thread(
                partial(
                    self.cipher.open, piece.segment, salt, piece.first_chunk, stored, into, final_chunk=final
                )
            )

        count = None
        if self.cache is not None and (kept := await self.cache.get(path, size)) is not None:
            try:
                count = await opened(kept[piece.stored_start : piece.stored_end])
            except ChunkInvalid:
                await self.cache.discard(path)
        if count is None:
            whole = (piece.stored_start, piece.stored_end) == (0, size)
            if whole:
                stored = await self.objects.get(path, least=size, most=size)
            else:
                stored = await self.objects.get_range(path, piece.stored_start, piece.stored_end)
            try:
                count = await opened(stored)
            except ChunkInvalid as damage:
                at = damage.chunk * layout.shape.chunk_bytes
                raise ObjectCorrupt(
                    f"Object {path} in {self.objects.store.place} is damaged: the chunk that begins at byte {at} of the "
                    "file does not authenticate. Put the object back from a copy of the store."
                ) from None
            if whole and self.cache is not None and self.cache.keeps(self.claims.size):
                await self.cache.put(path, stored)
        at = piece.first_chunk * layout.shape.chunk_bytes
        return buffer, into[max(0, start - at) : min(count, stop - at)]


def _pass_on(block: memoryview, *sinks: Callable[[memoryview], object] | None) -> None:
    for sink in sinks:
        if sink is not None:
            sink(block)
