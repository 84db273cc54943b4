"""Segments on this machine's own disk, so that a second read on the same host costs no request.

They lie in the cache of offloaded payloads, encrypted as in the store, under the SHA-256 of their paths: a path names one
content for ever, and each chunk is authenticated when it is opened, so nothing else is looked at. What does not
authenticate is removed, and read from the store again.

A file larger than half of the cache is not kept: it would drive out all else, and its own beginning before it is read again.
"""

from __future__ import annotations

import hashlib

from codec.files.objects import in_thread
from codec.storage.cache import ObjectCache


class SegmentCache:
    """What of files is kept on this machine. Safe for threads and processes."""

    def __init__(self, objects: ObjectCache) -> None:
        self._objects = objects

    def keeps(self, file_bytes: int | None) -> bool:
        """Whether segments of a file of that size (None: not known yet) are worth to be kept."""
        return file_bytes is not None and file_bytes <= self._objects.bytes_max // 2

    async def get(self, path: str, size: int) -> memoryview | None:
        """The segment's object, None if it is not here."""
        content = await in_thread(lambda: self._objects.read(_key(path), checked=False))
        if content is None or len(content) == size:
            return None if content is None else memoryview(content)
        await self.discard(path)
        return None

    async def put(self, path: str, content: memoryview) -> None:
        """Keep a segment's object."""
        await in_thread(self._objects.write, _key(path), content)

    async def discard(self, path: str) -> None:
        """Remove what did not authenticate."""
        await in_thread(self._objects.discard, _key(path))


def _key(path: str) -> str:
    return hashlib.sha256(f"tacit file segment\0{path}".encode()).hexdigest()
