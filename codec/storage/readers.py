"""Says in the store which namespaces read the objects of which others, so that a clean-up knows whose histories to ask.

A client of namespace A that may read the objects of B (readable-namespaces) puts an empty object at
`v1/ns/<A>/reads/<B>` before its first transfer: under its own prefix, as it may have no rights to write elsewhere. From then
on nobody deletes objects of B without having looked through A's histories. The object stays; whoever knows that A reads B no
more removes it by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import obstore

from codec.errors import StoreRefused
from codec.storage.object_store import STORE_ERRORS, OpenStore, is_namespace, namespace_prefix

_log = logging.getLogger(__name__)


class Announcement:
    """What one client says of itself, once."""

    def __init__(self, store: OpenStore, namespace: str, others: Collection[str]) -> None:
        self._store = store
        self._paths = [reads_path(namespace, other) for other in sorted(others)]
        self._made = not self._paths

    async def made(self) -> None:
        """Make it, unless it was made already.

        A client that may only read keeps no references of its own, so its silence does no harm: it is logged.

        Raises:
            OffloadError: the store can't be reached or fails.
        """
        if self._made:
            return
        for path in self._paths:
            await self._announce(path)
        self._made = True

    async def _announce(self, path: str) -> None:
        try:
            try:
                await obstore.head_async(self._store.raw, path)
            except FileNotFoundError:
                await obstore.put_async(self._store.raw, path, b"")
                await self._store.settle(path)
        except STORE_ERRORS as error:
            failure = self._store.failure(path, "written to", error)
            if not isinstance(failure, StoreRefused):
                raise failure from error
            _log.warning(
                "%s A clean-up will not know of this reader unless one that may write there says so.", failure
            )


def reads_path(reader: str, owner: str) -> str:
    """Where it is said that the namespace `reader` reads objects of the namespace `owner`."""
    return f"{namespace_prefix(reader)}/reads/{owner}"


async def readers_of(store: OpenStore, owner: str) -> list[str]:
    """The other namespaces that have said that they read the objects of `owner`.

    Raises:
        OffloadError: the store refuses to list them, or can't be reached.
    """
    folder = "v1/ns"
    try:
        found = await obstore.list_with_delimiter_async(store.raw, folder)
        namespaces = [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
        others = [one for one in namespaces if one != owner and is_namespace(one)]
        return [reader for reader in others if await _reads(store, reader, owner)]
    except STORE_ERRORS as error:
        raise store.failure(folder, "listed in", error) from error


async def _reads(store: OpenStore, reader: str, owner: str) -> bool:
    try:
        await obstore.head_async(store.raw, reads_path(reader, owner))
    except FileNotFoundError:
        return False
    return True
