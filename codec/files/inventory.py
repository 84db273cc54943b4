"""Which files a store holds, and how one is deleted: for who collects what nothing points to any more.

Nothing is decrypted: names, sizes and dates are enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime

import obstore

from codec.errors import InvalidFile
from codec.files.handle import FileAddress, files_prefix
from codec.storage.object_store import STORE_ERRORS, OpenStore

_MANIFEST = "manifest-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFile:
    """All objects of one file, whole or still in the making.

    `size` is what they take in bytes; `modified` is when the newest was written. An upload that goes on writes again, so
    a file is left alone while that is not long ago.
    """

    address: FileAddress
    objects: int
    size: int
    modified: datetime
    complete: bool


async def list_files(store: OpenStore, namespace: str) -> AsyncIterator[StoredFile]:
    """Every file of a namespace in the store, complete or not, in the order of their ids.

    What lies between them and is not named as files are is passed over.

    Raises:
        OffloadError: the store refuses, or the namespace has no safe path.
    """
    for shard in range(256):
        # The objects of a file are below one of 256 prefixes: what is held of a large store is one of them.
        for found in sorted(
            (await _list_shard(store, namespace, f"{shard:02x}")).values(), key=lambda one: one.address
        ):
            yield found


async def _list_shard(store: OpenStore, namespace: str, shard: str) -> dict[FileAddress, StoredFile]:
    prefix = f"{files_prefix(namespace)}/{shard}"
    found: dict[FileAddress, StoredFile] = {}
    try:
        async for page in obstore.list(store.raw, prefix):
            for one in page:
                address = _address_of(namespace, shard, one["path"].removeprefix(f"{prefix}/"))
                if address is None:
                    continue
                before = found.get(address)
                found[address] = StoredFile(
                    address=address,
                    objects=1 + (before.objects if before else 0),
                    size=one["size"] + (before.size if before else 0),
                    modified=max(one["last_modified"], before.modified if before else one["last_modified"]),
                    complete=_MANIFEST in one["path"] or (before is not None and before.complete),
                )
    except STORE_ERRORS as error:
        raise store.failure(prefix, "listed in", error) from error
    return found


async def delete_file(store: OpenStore, address: FileAddress) -> int:
    """Delete all objects of a file, its manifests first, so that what is left of it after a crash is no file. How many.

    Raises:
        OffloadError: the store refuses; deleting again goes on.
    """
    try:
        paths = [one["path"] async for page in obstore.list(store.raw, address.prefix) for one in page]
        manifests = [path for path in paths if path.rpartition("/")[2].startswith(_MANIFEST)]
        others = [path for path in paths if path not in set(manifests)]
        for some in (manifests, others):
            if some:
                await store.delete(some)
    except STORE_ERRORS as error:
        raise store.failure(address.prefix, "deleted from", error) from error
    return len(paths)


def _address_of(namespace: str, shard: str, path: str) -> FileAddress | None:
    file_id, _, name = path.partition("/")
    if not name or "/" in name or file_id[:2] != shard:
        return None
    try:
        return FileAddress(namespace, file_id)
    except InvalidFile:
        return None
