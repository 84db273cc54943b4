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
import os
import re
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import obstore
from google.protobuf.message import DecodeError
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from codec.errors import ObjectCorrupt, ObjectMissing, OffloadError

DRIVER_NAME = "tacit.objectstore"
"""Written into every reference and looked up on every read: never to be changed."""

THRESHOLD_BYTES = 256 * 1024
"""Payloads of at least this size, as encoded, go to the store: the SDKs' own default."""

OBJECT_MAX_BYTES = 80 * 1024 * 1024
"""The largest object that is written or read: the largest payload that compression accepts, with headroom."""

CONCURRENCY_MAX = 16
"""Transfers at one time, per driver: a fan-out of thousands must not open thousands of connections."""

_CLAIM_VERSION = "1"
_REMOTE_SCHEMES = frozenset({"s3", "gs", "az"})
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
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
        url: str,
        *,
        namespace: str,
        readable_namespaces: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        name: str = DRIVER_NAME,
        concurrency_max: int = CONCURRENCY_MAX,
    ) -> None:
        """Open a store by URL: `file:///directory` (made if missing), `s3://bucket/prefix`, `gs://`, `az://`.

        `options` go to the store (for S3: region, endpoint, access_key_id …); what they lack comes from the
        provider's usual environment variables and instance credentials.

        Raises:
            OffloadError: no such kind of store, an unknown option, or a namespace that has no safe path.
        """
        for one in (namespace, *readable_namespaces):
            if not _NAMESPACE.fullmatch(one):
                raise OffloadError(
                    f"{one[:80]!r} cannot name a prefix in the object store: use letters, digits, '.', '_' "
                    "and '-', "
                    "beginning with a letter or digit."
                )
        self._store = _open(url, options or {})
        self._place = _without_secrets(url)
        self._namespace = namespace
        self._readable = frozenset((namespace, *readable_namespaces))
        self._name = name
        self._concurrency_max = concurrency_max
        # A semaphore belongs to the event loop that first waits on it; a driver may outlive a loop.
        self._gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"ObjectStoreDriver({self._place!r}, namespace={self._namespace!r})"

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
            await obstore.put_async(self._store, path, content)
            if isinstance(self._store, LocalStore) and self._store.prefix is not None:
                await asyncio.to_thread(_make_durable, Path(self._store.prefix), path)
        except (BaseError, OSError, ValueError) as error:
            raise OffloadError(
                f"Object {path} could not be written to {self._place}: {_brief(error)}"
            ) from error
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
            found = await obstore.get_async(self._store, path)
            if found.meta["size"] != size:
                raise ObjectCorrupt(
                    f"Object {path} in {self._place} has {found.meta['size']} bytes, and {size} were stored. "
                    "Put it back from a copy of the store."
                )
            content = bytes(await found.bytes_async())
        except FileNotFoundError:
            raise ObjectMissing(
                f"Object {path} is not in {self._place}. It was deleted while its payload was still "
                "referred to, or "
                "this is another store than the one it was written to."
            ) from None
        except (BaseError, OSError, ValueError) as error:
            raise OffloadError(
                f"Object {path} could not be read from {self._place}: {_brief(error)}"
            ) from error
        if (await asyncio.to_thread(hashlib.sha256, content)).hexdigest() != digest:
            raise ObjectCorrupt(
                f"Object {path} in {self._place} is damaged: its content has another SHA-256 than its name. "
                "Put it back from a copy of the store."
            )
        try:
            return Payload.FromString(content)
        except DecodeError:
            raise ObjectCorrupt(f"Object {path} in {self._place} is no Temporal payload.") from None

    def _checked(self, claim: Mapping[str, str]) -> tuple[str, str, int]:
        """Namespace, hash and size of a claim, every part of which may come from an attacker."""
        if claim.get("version") != _CLAIM_VERSION:
            raise OffloadError(
                f"A payload's reference has the version {claim.get('version', '')[:20]!r}, and this Tacit "
                "follows "
                f"{_CLAIM_VERSION}: another program's, or a newer Tacit's."
            )
        namespace, digest, size = (claim.get(field, "") for field in ("namespace", "sha256", "size"))
        if not (_NAMESPACE.fullmatch(namespace) and _SHA256.fullmatch(digest) and _SIZE.fullmatch(size)):
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
    return f"v1/ns/{namespace}/sha256/{digest[:2]}/{digest}"


def _open(url: str, options: Mapping[str, str]) -> ObjectStore:
    scheme = urlsplit(url).scheme
    try:
        if scheme == "file" and not options:
            return from_url(url, mkdir=True)
        if scheme in _REMOTE_SCHEMES:
            # An S3-compatible server on a trusted network may speak plain HTTP; what travels is ciphertext.
            plain = any(
                key.endswith("endpoint") and value.startswith("http:") for key, value in options.items()
            )
            # The options' names differ by store and are checked by it.
            return from_url(url, config=cast("Any", dict(options)), client_options={"allow_http": plain})
    except (BaseError, OSError, ValueError, TypeError) as error:
        raise OffloadError(
            f"The object store {_without_secrets(url)} cannot be opened: {_brief(error)}"
        ) from None
    raise OffloadError(
        f"{_without_secrets(url)!r} is no object store. Use file:///directory (without options), "
        "s3://bucket/prefix, "
        "gs://bucket/prefix or az://container/prefix."
    )


def _make_durable(root: Path, path: str) -> None:
    """See the object and the directories above it onto the disk, before its reference is promised."""
    place = root / path
    for one in (place, *place.parents):
        descriptor = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if one == root:
            break


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _brief(error: BaseException) -> str:
    """The first line of a store's error; the rest is a dump of its internals."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") + "." if lines else type(error).__name__ + "."
