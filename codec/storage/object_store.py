"""Opening the customer's object store, and what all who work with it have in common.

A store is named by a URL: `file:///directory`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`. Its
requests retry by themselves (`obstore`'s own retries, on connection errors and 5xx) within bounds that are set here; what
then still fails is told in one sentence. Nothing here makes URLs that would let others read: whoever reads has rights of
their own.

A local directory acknowledges a write when the operating system has it, not the disk: `OpenStore.settle` sees to the disk
before a reference is promised.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from codec.ending import end_gently
from codec.errors import OffloadError, StoreFull, StoreRefused

CONNECT_TIMEOUT = timedelta(seconds=5)
STALL_TIMEOUT = timedelta(seconds=30)
"""How long a request may go without an answer, or its answer without a byte."""

REQUEST_TIMEOUT = timedelta(minutes=5)
"""How long one request may take in all, so that a store that answers a byte at a time holds nobody for ever."""

RETRIES_MAX = 10
"""With the backoff below it takes some 3 seconds: GCS takes one write a second to one name, and workers may store the same."""

RETRY_TIMEOUT = timedelta(seconds=20)
"""After it a request that failed is not tried again. A worker's task is: that is the better place for patience."""

BACKOFF_MAX = timedelta(seconds=4)

STORE_ERRORS = (BaseError, OSError, ValueError)
"""What `obstore` raises of a store that does not do as asked (`FileNotFoundError`, an OSError, of a missing object)."""

_REMOTE_SCHEMES = frozenset({"s3", "gs", "az"})
# How the options end that say where a store is: S3 and Azure have endpoints, GCS has a base URL.
_ADDRESSES = ("endpoint", "endpoint_url", "base_url")
_OF_CONNECTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_max_frame_size",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "timeout",
        "user_agent",
    }
)
"""What `obstore` panics at among a store's options: how its client connects, which is settled here."""
_PREFIXES = re.compile(r"^(aws|google|azure)_")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
# What the stores call it: S3-compatible servers, Azure, GCS, and the operating system by way of `obstore`.
_FULL = re.compile(
    r"os error 28\b|No space left|Disk quota|StorageFull|QuotaExceeded|XMinioStorageFull|InsufficientStorage|"
    r"NotEnoughSpace|EntityTooLarge|\b507\b",
    re.IGNORECASE,
)

# Listings, and the ends of uploads in parts, are refused without a type of their own.
_REFUSED = re.compile(r"status code: 40[13]\b")


_NO_PLACE = re.compile(r"NoSuchBucket|ContainerNotFound|The specified bucket does not exist", re.IGNORECASE)
# Where clouds tell their machines who they are: asked last, where nothing else says so.
_METADATA = re.compile(r"//(169\.254\.169\.254|169\.254\.170\.\d+|metadata\.google\.internal|metadata)\b")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")


@dataclasses.dataclass(frozen=True)
class OpenStore:
    """An object store that is open; safe to share between event loops and threads.

    `raw` is `obstore`'s own, for calls that need more than is here. `place` is the URL without secrets, for people.
    """

    raw: ObjectStore = dataclasses.field(repr=False)
    place: str

    @property
    def directory(self) -> Path | None:
        """The directory of a local store; None of any other."""
        return (
            Path(self.raw.prefix)
            if isinstance(self.raw, LocalStore) and self.raw.prefix is not None
            else None
        )

    async def settle(self, path: str) -> None:
        """See an object that was just written onto the disk, if the store is a directory; others have it already.

        Raises:
            OSError: the disk refuses.
        """
        if (root := self.directory) is not None:
            await asyncio.to_thread(_make_durable, root, path)

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, all of them, whether or not some are gone already.

        Raises:
            BaseError, OSError: the store refuses (`STORE_ERRORS`).
        """
        try:
            await obstore.delete_async(self.raw, list(paths))
        except FileNotFoundError:
            # GCS and Azure say so of what somebody else has just deleted, or a try before this one whose answer was lost. What
            # has become of the others is unknown.
            for path in paths:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self.raw, path)

    def failure(self, path: str, what: str, error: BaseException) -> OffloadError:
        """The error to raise when `what` ("written to", "read from") could not be done with the object at `path` (empty: with all).

        It says what to do where the store's own words tell the kind of fault.
        """
        whose = f"Object {path}" if path else "What there is"
        if _METADATA.search(str(error)):
            return OffloadError(
                f"{whose} could not be {what} {self.place}: there are no credentials for it, and this machine has no role "
                "that would give some. Set them in object-store-options (for S3: access_key_id, secret_access_key) or by the "
                "provider's usual variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
            )
        said = f"{whose} could not be {what} {self.place}: {brief(error)}"
        if is_refusal(error):
            return StoreRefused(
                f"{said} Give this client's credentials the right to do so (object-store-options, or the provider's usual "
                "variables), or name the right store."
            )
        if is_full(error):
            return StoreFull(f"{said} The store is full: make room (`tacit codec gc`), or raise its quota.")
        if isinstance(error, FileNotFoundError) or _NO_PLACE.search(str(error)):
            return OffloadError(
                f"{said} The bucket or container is not there: make it, or correct object-store."
            )
        if isinstance(error, TimeoutError):
            return OffloadError(f"{said} It is too slow or not reachable from here.")
        if "builder error" in said:
            return OffloadError(
                f"{said} If it is to be reached by plain HTTP, give its address in object-store-options: endpoint, for GCS "
                "base_url."
            )
        return OffloadError(said)


def open_store(url: str, options: Mapping[str, str] | None = None) -> OpenStore:
    """Open a store by URL: `file:///directory` (made if missing), `s3://bucket/prefix`, `gs://`, `az://`.

    `options` go to the store (for S3: region, endpoint, access_key_id …; for GCS: service_account, base_url …; for Azure:
    account_name, endpoint …); what they lack comes from the provider's usual environment variables and instance credentials.
    Plain HTTP is spoken only where an option names such an endpoint or base URL. Nothing is sent yet.

    Raises:
        OffloadError: no such kind of store, or an unknown option.
    """
    end_gently()
    options = options or {}
    place = without_secrets(url)
    scheme = urlsplit(url).scheme
    _refuse_options_of_connections(options)
    try:
        if scheme == "file" and not options:
            return OpenStore(from_url(url, mkdir=True), place)
        if scheme in _REMOTE_SCHEMES:
            # A server of one's own on a trusted network may speak plain HTTP; what travels is ciphertext.
            plain = any(
                key.lower().endswith(_ADDRESSES) and value.lower().startswith("http:")
                for key, value in options.items()
            )
            store = from_url(
                url,
                # The options' names differ by store and are checked by it.
                config=cast("Any", dict(options)),
                client_options={
                    "allow_http": plain,
                    "connect_timeout": CONNECT_TIMEOUT,
                    "read_timeout": STALL_TIMEOUT,
                    "timeout": REQUEST_TIMEOUT,
                },
                retry_config={
                    "max_retries": RETRIES_MAX,
                    "retry_timeout": RETRY_TIMEOUT,
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": BACKOFF_MAX,
                        "base": 2,
                    },
                },
            )
            return OpenStore(store, place)
    except (*STORE_ERRORS, TypeError) as error:
        raise OffloadError(f"The object store {place} cannot be opened: {brief(error)}") from None
    except BaseException as error:
        # `obstore` is native code, and a panic of it is no Exception, so that no caller would expect it.
        if type(error).__name__ != "PanicException":
            raise
        named = ", ".join(sorted(options)) or "none"
        raise OffloadError(
            f"The object store {place} cannot be opened: {brief(error)} Correct object-store-options (there: {named})."
        ) from None
    raise OffloadError(
        f"{place!r} is no object store. Use file:///directory (without options), s3://bucket/prefix, "
        "gs://bucket/prefix or az://container/prefix."
    )


def _refuse_options_of_connections(options: Mapping[str, str]) -> None:
    for name in options:
        if _PREFIXES.sub("", name.lower()) not in _OF_CONNECTIONS:
            continue
        instead = (
            'plain HTTP is spoken with an endpoint that says so (endpoint, for GCS base_url, = "http://…")'
            if "allow_http" in name.lower()
            else "how to connect is settled, and a proxy comes from HTTPS_PROXY"
        )
        raise OffloadError(f"object-store-options has no {name!r}: leave it out; {instead}.")


def namespace_prefix(namespace: str) -> str:
    """Below which all objects of a namespace are, whatever their kind; ends without a slash.

    Raises:
        OffloadError: the namespace has no safe path.
    """
    if not is_namespace(namespace):
        raise OffloadError(
            f"{namespace[:80]!r} cannot name a prefix in the object store: use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit."
        )
    return f"v1/ns/{namespace}"


def is_namespace(text: str) -> bool:
    """Whether `text` can be a namespace's part of a path."""
    return _NAMESPACE.fullmatch(text) is not None


def is_refusal(error: BaseException) -> bool:
    """Whether a store's error says that the client lacks a right, or that its credentials are wrong."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return True
    return isinstance(error, GenericError) and _REFUSED.search(brief(error)) is not None


def is_full(error: BaseException) -> bool:
    """Whether a store's error says that there is no room."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return _FULL.search(str(error)) is not None


def without_secrets(url: str) -> str:
    """A store's URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def brief(error: BaseException) -> str:
    """The first line of a store's error; the rest is a dump of its internals. Of a document in it, the code is told."""
    text = str(error).strip()
    lines = text.partition("<?xml")[0].strip().splitlines()
    said = lines[0].rstrip(".: ") if lines else type(error).__name__
    code = _CODE.search(text) if "<?xml" in text else None
    return f"{said} ({code[1]})." if code is not None else f"{said}."


def _make_durable(root: Path, path: str) -> None:
    place = root / path
    for one in (place, *place.parents):
        descriptor = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if one == root:
            break
