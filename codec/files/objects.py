"""A file's objects in the store: written, read and listed, with each fault told as what it is."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import obstore

from codec.errors import ObjectCorrupt, ObjectMissing, StoreFull, StoreRefused
from codec.storage.object_store import STORE_ERRORS, OpenStore

TRIES = 3
"""How often a part is fetched before its fault is told: a connection may break in the middle of an answer, which the store's
own retries do not mend."""

BACKOFF_SECONDS = 0.2
THREADS = 4
"""Reading, hashing and the cipher have threads of their own, so that neither a busy default executor holds up transfers nor
they others' work. More would not be faster: they wait for each other, and for the disk."""

_R = TypeVar("_R")
_executor = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="tacit-files")


async def in_thread(work: Callable[..., _R], *arguments: object) -> _R:
    """Do what takes long, or may, outside of the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_executor, work, *arguments)


class Objects:
    """One store, for the objects of files. Safe to share between event loops and threads."""

    def __init__(self, store: OpenStore) -> None:
        self.store = store

    @property
    def survives_crashes(self) -> bool:
        """Whether an object that is listed is whole: not so in a directory after the machine has crashed."""
        return self.store.directory is None

    async def put(self, path: str, content: bytes | memoryview, *, settled: bool = True) -> None:
        """Write an object, and return once it is durable; unless `settled`, only `settle` sees to that.

        Raises:
            OffloadError: the store refuses, or is full.
        """
        try:
            # One request for each object: what is here is no larger than a part of a multipart upload would be.
            await obstore.put_async(self.store.raw, path, content, use_multipart=False)
            if settled:
                await self.store.settle(path)
        except STORE_ERRORS as error:
            raise self.store.failure(path, "written to", error) from error

    async def settle(self, path: str) -> None:
        """See the content of an object in a directory onto the disk; its name is, once another beside it is put settled.

        Raises:
            OffloadError: the disk refuses.
        """
        if (root := self.store.directory) is None:
            return
        try:
            await asyncio.to_thread(_sync, root / path)
        except OSError as error:
            raise self.store.failure(path, "written to", error) from error

    async def get(self, path: str, *, least: int, most: int) -> memoryview:
        """A whole object, whose size is looked at before anything is allocated.

        Raises:
            ObjectMissing: it is gone.
            ObjectCorrupt: its size is not between `least` and `most`.
            OffloadError: the store refuses.
        """

        async def once() -> memoryview:
            found = await obstore.get_async(self.store.raw, path)
            if not least <= (size := found.meta["size"]) <= most:
                expected = f"{least} were" if least == most else f"at most {most} can have been"
                raise ObjectCorrupt(
                    f"Object {path} in {self.store.place} has {size} bytes, and {expected} stored. "
                    "Put it back from a copy of the store."
                )
            return memoryview(await found.bytes_async())

        return await self._retried(once, path)

    async def get_range(self, path: str, start: int, end: int) -> memoryview:
        """The bytes of an object from `start` to `end`.

        Raises:
            ObjectMissing: it is gone.
            ObjectCorrupt: it is shorter.
            OffloadError: the store refuses.
        """

        async def once() -> memoryview:
            return memoryview(await obstore.get_range_async(self.store.raw, path, start=start, end=end))

        content = await self._retried(once, path)
        if len(content) != end - start:
            raise ObjectCorrupt(
                f"Object {path} in {self.store.place} ends before byte {end}: it was cut. "
                "Put it back from a copy of the store."
            )
        return content

    async def sizes(self, prefix: str) -> dict[str, int]:
        """The objects right below `prefix`: the last part of each path, and its size in bytes.

        Raises:
            OffloadError: the store refuses.
        """
        found = {}
        try:
            async for page in obstore.list(self.store.raw, prefix):
                found.update({one["path"].rpartition("/")[2]: one["size"] for one in page})
        except STORE_ERRORS as error:
            raise self.store.failure(prefix, "listed in", error) from error
        return found

    async def _retried(self, once: Callable[[], Awaitable[memoryview]], path: str) -> memoryview:
        for attempt in range(1, TRIES + 1):
            try:
                return await once()
            except FileNotFoundError:
                raise ObjectMissing(
                    f"Object {path} is not in {self.store.place}. It was deleted while its file was still referred to, or "
                    "this is another store than the one it was written to."
                ) from None
            except STORE_ERRORS as error:
                failure = self.store.failure(path, "read from", error)
                if attempt == TRIES or isinstance(failure, StoreRefused | StoreFull):
                    raise failure from error
            await asyncio.sleep(BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the last try returns or raises")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
