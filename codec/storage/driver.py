"""Large payloads in the customer's own object store, by the SDKs' external-storage interface.

The SDK runs codecs first and storage last, so what lies in the store is what the codecs made: ciphertext. Temporal's history
holds a reference instead; what it says and where its object lies is in `codec.storage.references`.

The object is written before the reference leaves the process, so no reference points at nothing. A crash in between leaves
an object that nothing points at; `tacit codec gc` finds it.

What is there already, with its size, is not sent again, where that may be: an encrypted payload has a nonce of its own, so
looking for a small one would only cost a request. A damaged object is healed by whoever stores the same content again on
the same day, and at once by a driver that has seen the damage.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
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

from codec.decode_bound import DECODE_BYTES_MAX, decode_bound
from codec.encryption.codec import is_encrypted
from codec.errors import ObjectCorrupt, ObjectMissing, OffloadError
from codec.parsing import payload_of
from codec.storage.cache import ObjectCache
from codec.storage.gate import Gate
from codec.storage.object_store import STORE_ERRORS, OpenStore, namespace_prefix, open_store
from codec.storage.readers import Announcement
from codec.storage.references import OBJECT_MAX_BYTES, Reference, read_claim, today

DRIVER_NAME = "tacit.objectstore"
"""Written into every reference and looked up on every read: never to be changed."""

THRESHOLD_BYTES = 256 * 1024
"""Payloads of at least this size, as encoded, go to the store: the SDKs' own default."""

CONCURRENCY_MAX = 16
"""Transfers at one time, per driver: a fan-out of thousands must not open thousands of connections."""

TRANSFER_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of all transfers at one time, per driver: what bounds the memory that they take."""

PART_BYTES = 8 * 1024 * 1024
"""Larger objects go up in parts of this size, several at a time, each tried again by itself."""

PARTS_AT_A_TIME = 4

TRANSFER_TIMEOUT = timedelta(seconds=90)
"""How long one object may take in all, its retries included. What then fails is tried again by whoever asked."""

CHECK_FROM_BYTES = 1024 * 1024
"""From this size on it is worth a request to ask whether an encrypted payload is in the store already."""

_THREAD_FROM_BYTES = 1024 * 1024
"""Above it, copying and hashing would hold up the event loop for a millisecond and more."""

_DAMAGED_MAX = 1024
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
        cache: ObjectCache | None = None,
        transfer_timeout: timedelta = TRANSFER_TIMEOUT,
        decode_bytes_max: int = DECODE_BYTES_MAX,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open a store by URL, with options as `codec.storage.object_store.open_store` has them, or take one.

        `cache` is asked first on reads, and told of all that is read and written. What is read at once may have
        `decode_bytes_max` in all.

        Raises:
            OffloadError: no such kind of store, an unknown option, or a namespace that has no safe path.
        """
        for one in (namespace, *readable_namespaces):
            namespace_prefix(one)
        self._store = store if isinstance(store, OpenStore) else open_store(store, options)
        self._namespace = namespace
        self._readable = frozenset((namespace, *readable_namespaces))
        self._name = name
        self._gate = Gate(concurrency_max, TRANSFER_BYTES_MAX)
        self._cache = cache
        self._timeout_s = transfer_timeout.total_seconds()
        self._decode_bytes_max = decode_bytes_max
        self._clock = clock
        self._announcement = Announcement(self._store, namespace, self._readable - {namespace})
        # Names of objects that were found damaged, to be written anew although they are there.
        self._damaged: OrderedDict[str, None] = OrderedDict()

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
            StoreRefused: this client has no right to write there.
            StoreFull: there is no room.
            OffloadError: a payload is too large, or the store can't be reached, is too slow or fails.
        """
        return await self._all(self._put, [(payload.ByteSize(), payload) for payload in payloads])

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Read each payload back, checked against the hash in its reference.

        Raises:
            ObjectMissing: the object is gone; the error names it.
            ObjectCorrupt: the object is not what was stored.
            InvalidPayload: it has more fields than payloads have.
            StoreRefused: this client has no right to read there.
            OffloadError: a malformed reference, another namespace's, or the store can't be reached, is too slow or fails.
            DecodeBoundReached: the objects are larger together than one decode may hold.
        """
        references = [self._permitted(read_claim(claim.claim_data)) for claim in claims]
        decode_bound(self._decode_bytes_max).take(sum(reference.size for reference in references))
        return await self._all(self._get, [(reference.size, reference) for reference in references])

    async def _all(self, call: Callable[[_A], Awaitable[_T]], work: Sequence[tuple[int, _A]]) -> list[_T]:
        if work:
            await self._announcement.made()

        async def gated(size: int, argument: _A) -> _T:
            async with self._gate.held(size):
                return await call(argument)

        tasks: list[asyncio.Task[_T]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(gated(size, argument)) for size, argument in work)
        except ExceptionGroup as failures:
            # One cause is enough to act on, and callers branch on its type.
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _put(self, payload: Payload) -> StorageDriverClaim:
        size = payload.ByteSize()
        if size > OBJECT_MAX_BYTES:
            raise OffloadError(
                f"A payload of {size} bytes is larger than an object may be ({OBJECT_MAX_BYTES}). "
                "Split it, or pass a file handle (sdk.files)."
            )
        content, digest = await _worked(size, _content_of, payload)
        reference = Reference(self._namespace, today(self._clock()), digest, len(content))
        path = reference.path
        try:
            async with asyncio.timeout(self._timeout_s):
                if not await self._is_there(reference, payload):
                    await obstore.put_async(
                        self._store.raw,
                        path,
                        content,
                        use_multipart=len(content) > PART_BYTES,
                        chunk_size=PART_BYTES,
                        max_concurrency=PARTS_AT_A_TIME,
                    )
                    self._damaged.pop(path, None)
                # What another process has just written may not be on the disk yet.
                await self._store.settle(path)
        except STORE_ERRORS as error:
            raise self._store.failure(path, "written to", error) from error
        if self._cache is not None:
            await self._cache.put(digest, content)
        return StorageDriverClaim(claim_data=reference.claim())

    async def _is_there(self, reference: Reference, payload: Payload) -> bool:
        if is_encrypted(payload) and reference.size < CHECK_FROM_BYTES:
            return False
        if reference.path in self._damaged:
            return False
        try:
            found = await obstore.head_async(self._store.raw, reference.path)
        except FileNotFoundError:
            return False
        return found["size"] == reference.size

    async def _get(self, reference: Reference) -> Payload:
        cached = None
        if self._cache is not None:
            cached = await self._cache.get(reference.sha256, reference.size)
        content = await self._read(reference) if cached is None else cached
        try:
            return await _worked(len(content), payload_of, content)
        except DecodeError:
            raise ObjectCorrupt(
                f"Object {reference.path} in {self._store.place} is no Temporal payload."
            ) from None

    async def _read(self, reference: Reference) -> memoryview:
        path = reference.path
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await obstore.get_async(self._store.raw, path)
                if found.meta["size"] != reference.size:
                    self._remember_damage(path)
                    raise ObjectCorrupt(
                        f"Object {path} in {self._store.place} has {found.meta['size']} bytes, and {reference.size} were "
                        "stored. Put it back from a copy of the store."
                    )
                content = memoryview(await found.bytes_async())
        except FileNotFoundError:
            raise ObjectMissing(
                f"Object {path} is not in {self._store.place}. It was deleted while its payload was still "
                "referred to, or this is another store than the one it was written to."
            ) from None
        except STORE_ERRORS as error:
            raise self._store.failure(path, "read from", error) from error
        digest = await _worked(len(content), _sha256, content)
        if digest != reference.sha256:
            self._remember_damage(path)
            raise ObjectCorrupt(
                f"Object {path} in {self._store.place} is damaged: its content has another SHA-256 than its name. "
                "Put it back from a copy of the store."
            )
        if self._cache is not None:
            await self._cache.put(digest, content)
        return content

    def _permitted(self, reference: Reference) -> Reference:
        if reference.namespace not in self._readable:
            raise OffloadError(
                f"A payload's reference points into namespace {reference.namespace!r}, which this client may not read "
                f"(it reads {', '.join(sorted(self._readable))}). If it should, add it to readable-namespaces."
            )
        return reference

    def _remember_damage(self, path: str) -> None:
        self._damaged[path] = None
        while len(self._damaged) > _DAMAGED_MAX:
            self._damaged.popitem(last=False)


async def _worked(size: int, work: Callable[[_A], _T], argument: _A) -> _T:
    """`work`'s result, from a thread if there is much to do."""
    return work(argument) if size < _THREAD_FROM_BYTES else await asyncio.to_thread(work, argument)


def _content_of(payload: Payload) -> tuple[bytes, str]:
    content = payload.SerializeToString()
    return content, _sha256(content)


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
