"""The way up: content is read, hashed, sealed and sent, segment by segment, several at a time.

While one segment is read and hashed, those before are sealed and sent. All of it waits for a free buffer, so a
slow store slows the source, and memory is `BUFFERS` plus `SENDING_MAX` segments however large the file, and half of that
while many transfers run at one time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import mmap
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from codec.errors import FileError, ObjectCorrupt, ObjectMissing
from codec.files.buffers import Budget, Buffers
from codec.files.chunks import ChunkInvalid, FileCipher
from codec.files.handle import FILE_MAX_BYTES, FileAddress
from codec.files.layout import SEGMENTS_MAX, stored_bytes
from codec.files.manifest import segment_path
from codec.files.objects import Objects, in_thread
from codec.files.segment_cache import SegmentCache
from codec.files.sources import Source

BUFFERS = 3
"""One being read, one that waits to know whether it is the last, one being sealed."""

SENDING_MAX = 3
"""Segments on their way to the store at one time: more were no faster, and each takes its bytes of a worker's memory."""

Progress = Callable[[int, int | None], None]
"""Told how many bytes are done, and of how many where that is known."""


@dataclasses.dataclass(frozen=True)
class Uploaded:
    """What the content came to: its size in bytes, its SHA-256 and its segments' names."""

    size: int
    sha256: str
    salts: tuple[bytes, ...]


class Upload:
    """One upload. `present` has the segments that an earlier attempt has sent, by name, with their sizes."""

    def __init__(
        self,
        objects: Objects,
        address: FileAddress,
        cipher: FileCipher,
        *,
        present: Mapping[str, int],
        before_first: Callable[[], Awaitable[None]],
        progress: Progress | None,
        budget: Budget,
        cache: SegmentCache | None = None,
    ) -> None:
        self._objects = objects
        self._address = address
        self._cipher = cipher
        self._present = present
        self._before_first = before_first
        self._progress = progress
        self._cache = cache
        self._budget = budget
        self._done = 0
        self._written: asyncio.Queue[str | None] = asyncio.Queue()

    async def run(self, source: Source) -> Uploaded:
        """Send all that the source has.

        Raises:
            CodecError: the source cannot be read, or the store refuses; what was sent stays for the next attempt.
        """
        # A byte more than a small source has, so that one that grew meanwhile is seen to.
        shape = self._cipher.shape
        largest = shape.segment_bytes if source.size is None else min(shape.segment_bytes, source.size + 1)
        self._plain = Buffers(2, BUFFERS, largest, self._budget)
        self._sealed = Buffers(1, SENDING_MAX, stored_bytes(largest, shape), self._budget)
        try:
            async with asyncio.TaskGroup() as settling:
                settling.create_task(self._settle())
                async with asyncio.TaskGroup() as sending:
                    done = await self._run(source, sending)
                self._written.put_nowait(None)
        except ExceptionGroup as failures:
            # One cause is enough to act on, and callers branch on its type.
            raise _first(failures) from None
        finally:
            self._plain.close()
            self._sealed.close()
        return done

    async def _run(self, source: Source, group: asyncio.TaskGroup) -> Uploaded:
        shape = self._cipher.shape
        hasher = hashlib.sha256()
        salts: list[bytes] = []
        size = 0
        buffer = await self._plain.take()
        count = await source.take(memoryview(buffer), hasher.update)
        while True:
            size += count
            if size > FILE_MAX_BYTES or len(salts) == SEGMENTS_MAX:
                raise FileError(
                    f"A file has at most {min(FILE_MAX_BYTES, SEGMENTS_MAX * shape.segment_bytes)} bytes."
                )
            digest = hasher.digest()
            following, following_count = None, 0
            if count == shape.segment_bytes:
                following = await self._plain.take()
                following_count = await source.take(memoryview(following), hasher.update)
            last = following_count == 0
            if not salts and not last:
                await self._before_first()
            salt = self._cipher.salt(len(salts), digest, last=last)
            group.create_task(self._send(len(salts), salt, buffer, count, last=last, total=source.size))
            salts.append(salt)
            if last:
                return Uploaded(size, digest.hex(), tuple(salts))
            assert following is not None
            buffer, count = following, following_count

    async def _send(
        self, segment: int, salt: bytes, buffer: mmap.mmap, count: int, *, last: bool, total: int | None
    ) -> None:
        path = segment_path(self._address, segment, salt)
        if await self._is_there(segment, salt, path, count, last=last):
            self._plain.give(buffer)
        else:
            sealed = await self._sealed.take()
            plain = memoryview(buffer)[:count]
            written = await in_thread(
                partial(self._cipher.seal, segment, salt, plain, memoryview(sealed), last=last)
            )
            self._plain.give(buffer)
            await self._objects.put(path, memoryview(sealed)[:written], settled=False)
            if self._cache is not None and self._cache.keeps(total):
                await self._cache.put(path, memoryview(sealed)[:written])
            # A request that was given up and tried again may still be read from: what it sends must stay what it was.
            self._sealed.part_with(sealed)
        self._written.put_nowait(path)
        self._done += count
        if self._progress is not None:
            self._progress(self._done, total)

    async def _settle(self) -> None:
        """See one segment after the other onto the disk beside all else: a disk that syncs slowly holds up nothing but the end.

        Their names are there once the manifest is, which lies beside them.
        """
        while (path := await self._written.get()) is not None:
            await self._objects.settle(path)

    async def _is_there(self, segment: int, salt: bytes, path: str, count: int, *, last: bool) -> bool:
        """Whether an earlier attempt has sent just this; its name says that it has the same content."""
        shape = self._cipher.shape
        size = stored_bytes(count, shape)
        if self._present.get(path.rpartition("/")[2]) != size:
            return False
        if self._objects.survives_crashes:
            return True
        first = segment * shape.chunks_per_segment
        final = first + max(1, -(-count // shape.chunk_bytes)) - 1 if last else None
        unused = await self._sealed.take()
        try:
            stored = await self._objects.get(path, least=size, most=size)
            into = memoryview(unused)
            await in_thread(partial(self._cipher.open, segment, salt, first, stored, into, final_chunk=final))
        except (ObjectMissing, ObjectCorrupt, ChunkInvalid):
            return False
        finally:
            self._sealed.give(unused)
        return True


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
