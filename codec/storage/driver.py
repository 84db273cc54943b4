"""Large payloads in the customer's own object store, by the SDKs' external-storage interface.

The SDK runs codecs first and storage last, so what lies in the store is what the codecs made: ciphertext.
Temporal's history holds a reference instead, whose claim data is ours (version 1)::

    {"version": "1", "namespace": <whose prefix>, "sha256": <64 hex digits>, "size": <bytes, decimal>}

and the object is at `v1/ns/<namespace>/sha256/<first two digits>/<sha256>` below the store's URL: the
serialized Payload, addressed by the hash of exactly these bytes. Whoever can alter a reference (the service)
can at most name another object of a namespace that this driver may read; the path is built here out of
checked parts, never taken from the reference. It may grow by another `version`; a reader refuses those it
does not know.

The object is written before the reference leaves the process, so no reference points at nothing. A crash in
between leaves an object that nothing points at.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import obstore
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from codec.errors import ObjectCorrupt, ObjectMissing, OffloadError
from codec.storage.object_store import STORE_ERRORS, OpenStore, is_namespace, namespace_prefix, open_store

DRIVER_NAME = "tacit.objectstore"
"""Written into every reference and looked up on every read: never to be changed."""

THRESHOLD_BYTES = 256 * 1024
"""Payloads of at least this size, as encoded, go to the store: the SDKs' own default."""

OBJECT_MAX_BYTES = 80 * 1024 * 1024
"""The largest object that is written or read: the largest payload that compression accepts, with headroom."""

CONCURRENCY_MAX = 16
"""Transfers at one time, per driver: a fan-out of thousands must not open thousands of connections."""

_CLAIM_VERSION = "1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,12}")
_A = TypeVar("_A")
_T = TypeVar("_T")


class ObjectStoreDriver(StorageDriver):
    """Keeps payloads in one object store, each namespace under its own prefix.

    `namespace` is whose payloads are written; only its objects are read, and those of `readable_namespaces`
    (for Nexus operations and other calls between namespaces that share a key ring). Give the bucket's
    credentials the same bounds.
    """

    def __init__(
        self,
        store: str | OpenStore,
        *,
        namespace: str,
        readable_namespaces: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        name: str = DRIVER_NAME,
        concurrency_max: int = CONCURRENCY_MAX,
    ) -> None:
        """Open a store by URL, with options as `codec.storage.object_store.open_store` has them, or take one.

        Raises:
            OffloadError: no such kind of store, an unknown option, or a namespace that has no safe path.
        """
        for one in (namespace, *readable_namespaces):
            namespace_prefix(one)
        self._store = store if isinstance(store, OpenStore) else open_store(store, options)
        self._namespace = namespace
        self._readable = frozenset((namespace, *readable_namespaces))
        self._name = name
        self._concurrency_max = concurrency_max
        # A semaphore belongs to the event loop that first waits on it; a driver may outlive a loop.
        self._gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"ObjectStoreDriver({self._store.place!r}, namespace={self._namespace!r})"

    def name(self) -> str:
        """The name that references carry."""
        return self._name

    def type(self) -> str:
        """The kind of driver, the same for all its instances and in all languages."""
        return DRIVER_NAME

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        """Write each payload and return what its reference holds.

        Raises:
            OffloadError: a payload is too large, or the store refuses.
        """
        return await self._all(self._put, payloads)

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Read each payload back, checked against the hash in its reference.

        Raises:
            ObjectMissing: the object is gone; the error names it.
            ObjectCorrupt: the object is not what was stored.
            OffloadError: a malformed reference, another namespace's, or the store refuses.
        """
        return await self._all(self._get, claims)

    async def _all(self, call: Callable[[_A], Awaitable[_T]], arguments: Sequence[_A]) -> list[_T]:
        gate = self._gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._concurrency_max))

        async def gated(argument: _A) -> _T:
            async with gate:
                return await call(argument)

        tasks: list[asyncio.Task[_T]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(gated(argument)) for argument in arguments)
        except ExceptionGroup as failures:
            # One cause is enough to act on, and callers branch on its type.
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _put(self, payload: Payload) -> StorageDriverClaim:
        content = payload.SerializeToString()
        if len(content) > OBJECT_MAX_BYTES:
            raise OffloadError(
                f"A payload of {len(content)} bytes is larger than an object may be ({OBJECT_MAX_BYTES}). "
                "Split it, or pass a reference to a file."
            )
        digest = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()
        path = _path(self._namespace, digest)
        try:
            # Writing again what is there is harmless (the name is the content's hash) and heals a damaged
            # object.
            await obstore.put_async(self._store.raw, path, content)
            await self._store.settle(path)
        except STORE_ERRORS as error:
            raise self._store.failure(path, "written to", error) from error
        return StorageDriverClaim(
            claim_data={
                "version": _CLAIM_VERSION,
                "namespace": self._namespace,
                "sha256": digest,
                "size": str(len(content)),
            }
        )

    async def _get(self, claim: StorageDriverClaim) -> Payload:
        namespace, digest, size = self._checked(claim.claim_data)
        path = _path(namespace, digest)
        try:
            found = await obstore.get_async(self._store.raw, path)
            if found.meta["size"] != size:
                raise ObjectCorrupt(
                    f"Object {path} in {self._store.place} has {found.meta['size']} bytes, and {size} were stored. "
                    "Put it back from a copy of the store."
                )
            content = bytes(await found.bytes_async())
        except FileNotFoundError:
            raise ObjectMissing(
                f"Object {path} is not in {self._store.place}. It was deleted while its payload was still "
                "referred to, or "
                "this is another store than the one it was written to."
            ) from None
        except STORE_ERRORS as error:
            raise self._store.failure(path, "read from", error) from error
        if (await asyncio.to_thread(hashlib.sha256, content)).hexdigest() != digest:
            raise ObjectCorrupt(
                f"Object {path} in {self._store.place} is damaged: its content has another SHA-256 than its name. "
                "Put it back from a copy of the store."
            )
        try:
            return Payload.FromString(content)
        except DecodeError:
            raise ObjectCorrupt(f"Object {path} in {self._store.place} is no Temporal payload.") from None

    def _checked(self, claim: Mapping[str, str]) -> tuple[str, str, int]:
        """Namespace, hash and size of a claim, every part of which may come from an attacker."""
        if claim.get("version") != _CLAIM_VERSION:
            raise OffloadError(
                f"A payload's reference has the version {claim.get('version', '')[:20]!r}, and this Tacit "
                "follows "
                f"{_CLAIM_VERSION}: another program's, or a newer Tacit's."
            )
        namespace, digest, size = (claim.get(field, "") for field in ("namespace", "sha256", "size"))
        if not (is_namespace(namespace) and _SHA256.fullmatch(digest) and _SIZE.fullmatch(size)):
            raise OffloadError("A payload's reference is malformed: altered, or another program's.")
        if namespace not in self._readable:
            raise OffloadError(
                f"A payload's reference points into namespace {namespace!r}, which this client may not read "
                f"(it reads {', '.join(sorted(self._readable))}). If it should, add it to "
                "readable-namespaces."
            )
        if int(size) > OBJECT_MAX_BYTES:
            raise OffloadError(
                f"A payload's reference names an object of {size} bytes, above {OBJECT_MAX_BYTES}."
            )
        return namespace, digest, int(size)


def _path(namespace: str, digest: str) -> str:
    return f"{namespace_prefix(namespace)}/sha256/{digest[:2]}/{digest}"
