"""A clean-up's side of the object store: what lies there, what time it is there, the marks, and deleting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import obstore

from codec.errors import InvalidFile, OffloadError
from codec.files.handle import FileAddress
from codec.files.inventory import delete_file, list_files
from codec.storage.gc import Memory, Stored
from codec.storage.object_store import STORE_ERRORS, OpenStore, namespace_prefix
from codec.storage.references import objects_prefix, read_path

CLOCKS_APART_MAX = timedelta(minutes=15)
"""S3 refuses clients whose clock is farther off."""

DELETED_AT_A_TIME = 500


class GcStore:
    """The objects of one namespace in one store. With `files`, files of handles too."""

    def __init__(self, store: OpenStore, namespace: str, *, files: bool) -> None:
        self.store = store
        self.namespace = namespace
        self.files = files
        self._folder = f"{namespace_prefix(namespace)}/gc"

    async def stored(self) -> AsyncIterator[Stored]:
        """All that may be collected; what is not named as our objects are is passed over.

        Raises:
            OffloadError: the store refuses, or can't be reached.
        """
        prefix = objects_prefix(self.namespace)
        try:
            async for page in obstore.list(self.store.raw, prefix):
                for one in page:
                    if read_path(one["path"]) is not None:
                        yield Stored(key=one["path"], size=one["size"], modified=one["last_modified"])
        except STORE_ERRORS as error:
            raise self.store.failure(prefix, "listed in", error) from error
        if self.files:
            async for file in list_files(self.store, self.namespace):
                yield Stored(
                    key=file.address.uri, size=file.size, modified=file.modified, objects=file.objects
                )

    async def now(self) -> datetime:
        """The store's time, which objects' dates are in: a small object is written to learn it.

        Raises:
            OffloadError: the store refuses, or this machine's clock is far from its.
        """
        path = f"{self._folder}/clock"
        try:
            await obstore.put_async(self.store.raw, path, b"")
            there: datetime = (await obstore.head_async(self.store.raw, path))["last_modified"]
        except STORE_ERRORS as error:
            raise self.store.failure(path, "written to", error) from error
        here = datetime.now(UTC)
        if abs(there - here) > CLOCKS_APART_MAX:
            raise OffloadError(
                f"This machine's clock says {here:%Y-%m-%d %H:%M} UTC, and {self.store.place} says {there:%Y-%m-%d %H:%M} UTC: "
                "set the clock. Nothing is deleted."
            )
        return there

    async def remembered(self) -> Memory:
        """What the last collection left.

        Raises:
            OffloadError: the store refuses, or can't be reached.
        """
        path = self._marks_path
        try:
            found = await obstore.get_async(self.store.raw, path)
            return Memory.of(bytes(await found.bytes_async()))
        except FileNotFoundError:
            return Memory()
        except STORE_ERRORS as error:
            raise self.store.failure(path, "read from", error) from error

    async def remember(self, memory: Memory) -> None:
        """Leave `memory` for the next collection.

        Raises:
            OffloadError: the store refuses, or can't be reached.
        """
        path = self._marks_path
        try:
            await obstore.put_async(self.store.raw, path, memory.to_bytes())
            await self.store.settle(path)
        except STORE_ERRORS as error:
            raise self.store.failure(path, "written to", error) from error

    async def delete(self, due: Sequence[Stored]) -> AsyncIterator[Stored]:
        """Delete what is due, each given back once it is gone; a file only if nobody has written to it since.

        Raises:
            OffloadError: the store refuses; what is left is deleted by the next collection.
        """
        objects = [one for one in due if read_path(one.key) is not None]
        for start in range(0, len(objects), DELETED_AT_A_TIME):
            some = objects[start : start + DELETED_AT_A_TIME]
            await self._delete_objects([one.key for one in some])
            for one in some:
                yield one
        for one in due:
            if read_path(one.key) is None and await self._delete_file(one):
                yield one

    async def _delete_objects(self, paths: list[str]) -> None:
        try:
            await self.store.delete(paths)
        except STORE_ERRORS as error:
            raise self.store.failure(paths[0], "deleted from", error) from error

    async def _delete_file(self, one: Stored) -> bool:
        try:
            address = FileAddress.parse(one.key)
        except InvalidFile as error:
            raise OffloadError(f"A mark names no file: {error}") from error
        try:
            modified = [
                meta["last_modified"]
                async for page in obstore.list(self.store.raw, address.prefix)
                for meta in page
            ]
        except STORE_ERRORS as error:
            raise self.store.failure(address.prefix, "listed in", error) from error
        if modified and max(modified) != one.modified:
            return False
        await delete_file(self.store, address)
        return True

    @property
    def _marks_path(self) -> str:
        return f"{self._folder}/marks"
