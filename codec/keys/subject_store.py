"""Where the keys of subjects lie: a directory or an object store of the customer's, shared by all workers.

Below the store's URL::

    v1/store.json                       made once: {"format": "tacit-subject-store", "version": 1, "salt": "<64 hex digits>"}
    v1/subjects/<2 digits>/<index>.json     one record per subject (`subject_records.py`)

`index` is the first 16 bytes of HMAC-SHA256(salt, binding and subject, each with its length before it), in hex: payloads carry
it, and without the salt nobody tells from it who the subject is.

What must be done by one of several at once is done so by the store: a record is made only if there is none, and exchanged only
if it is still the one that was read (on a directory: under a lock).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from codec.errors import KeyRingError, KeyServiceDenied, KeyServiceUnavailable, StoreRefused
from codec.keys.subject_records import (
    INDEX,
    RECORD_MAX_BYTES,
    ForgottenRecord,
    Record,
    record_from_json,
)
from codec.secret_files import sole_writer
from codec.storage.object_store import STORE_ERRORS, OpenStore, open_store

_STORE = "v1/store.json"
_SUBJECTS = "v1/subjects/"
_STORE_FORMAT = "tacit-subject-store"
_STORE_VERSION = 1
_SALT_BYTES = 32


@dataclass(frozen=True)
class Found:
    """A record, and what tells it from a later one in its place."""

    record: Record
    version: Any


class SubjectStore:
    """Records of subjects' keys, by index. Safe to share between event loops, threads, processes and machines.

    All calls raise:
        KeyServiceUnavailable: the store can't be reached, or does not do as asked.
        KeyServiceDenied: it refuses these credentials.
        KeyRingError: what lies there is not what should.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        """Open the store; nothing is sent yet.

        Raises:
            OffloadError: no such kind of store, or an unknown option.
        """
        self._store: OpenStore = open_store(url, options)
        self._salt: bytes | None = None

    def __repr__(self) -> str:
        return f"SubjectStore({self._store.place!r})"

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        return self._store.place

    async def index(self, binding: str, subject: str) -> str:
        """What payloads call the subject."""
        if self._salt is None:
            self._salt = await self._fetch_salt()
        return _index(self._salt, binding, subject)

    def known_index(self, binding: str, subject: str) -> str | None:
        """The same, if the salt was read before."""
        return None if self._salt is None else _index(self._salt, binding, subject)

    async def read(self, index: str) -> Found | None:
        """The record, if there is one. It is on the disk: whoever uses its key may rely on it."""
        content = await self._get(_path(index))
        if content is None:
            return None
        body, version = content
        return Found(record_from_json(body, index=index, place=f"{_path(index)} in {self.place}"), version)

    async def create(self, record: Record) -> bool:
        """Write a record where there is none; false if there is one."""
        return await self._create(_path(record.index), record.to_json())

    async def exchange(self, found: Found, record: Record) -> bool:
        """Write a record in the place of the one that was found; false if another has come there meanwhile.

        On a directory a record that makes a subject forgotten overwrites, on the disk, the bytes that were there. Other
        records don't: who just reads the older one would take it for damaged.
        """
        path = _path(record.index)
        if self._store.directory is None:
            try:
                await obstore.put_async(self._store.raw, path, record.to_json(), mode=found.version)
            except PreconditionError:
                return False
            except STORE_ERRORS as error:
                raise self._fault(path, "written to", error) from None
            return True
        async with self._alone():
            now = await self._get(path)
            if now is None or now[1] != found.version:
                return False
            forgets = isinstance(record, ForgottenRecord)
            with _erased_afterwards(self._store.directory / path) if forgets else contextlib.nullcontext():
                await self._overwrite(path, record.to_json())
            return True

    async def indexes(self) -> AsyncIterator[str]:
        """All records' indexes, in no order."""
        try:
            async for batch in obstore.list(self._store.raw, prefix=_SUBJECTS):
                for one in batch:
                    name = one["path"].rpartition("/")[2].removesuffix(".json")
                    if INDEX.fullmatch(name):
                        yield name
        except STORE_ERRORS as error:
            raise self._fault(_SUBJECTS, "listed in", error) from None

    async def _fetch_salt(self) -> bytes:
        for _ in range(3):
            content = await self._get(_STORE)
            if content is not None:
                return self._salt_in(content[0])
            document = {
                "format": _STORE_FORMAT,
                "version": _STORE_VERSION,
                "salt": secrets.token_bytes(_SALT_BYTES).hex(),
            }
            # Whoever comes second reads what the first has written.
            await self._create(_STORE, json.dumps(document).encode())
        raise KeyRingError(f"{_STORE} in {self.place} comes and goes: something removes it.")

    def _salt_in(self, content: bytes) -> bytes:
        try:
            document: Any = json.loads(content)
            if document["format"] == _STORE_FORMAT and document["version"] == _STORE_VERSION:
                salt = bytes.fromhex(document["salt"])
                if len(salt) == _SALT_BYTES:
                    return salt
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise KeyRingError(
            f"{_STORE} in {self.place} is cut, damaged or of a newer Tacit. Put it back from a copy of the store."
        )

    async def _get(self, path: str) -> tuple[bytes, Any] | None:
        try:
            found = await obstore.get_async(self._store.raw, path)
            if found.meta["size"] > RECORD_MAX_BYTES:
                raise KeyRingError(f"{path} in {self.place} has {found.meta['size']} bytes: it is no record.")
            version = {
                name: found.meta[name] for name in ("e_tag", "version") if found.meta[name] is not None
            }
            content = bytes(await found.bytes_async())
            await self._store.settle(path)
        except FileNotFoundError:
            return None
        except STORE_ERRORS as error:
            raise self._fault(path, "read from", error) from None
        return content, version

    async def _create(self, path: str, content: bytes) -> bool:
        try:
            await obstore.put_async(self._store.raw, path, content, mode="create")
            await self._store.settle(path)
        except AlreadyExistsError:
            return False
        except STORE_ERRORS as error:
            raise self._fault(path, "written to", error) from None
        return True

    async def _overwrite(self, path: str, content: bytes) -> None:
        try:
            await obstore.put_async(self._store.raw, path, content)
            await self._store.settle(path)
        except STORE_ERRORS as error:
            raise self._fault(path, "written to", error) from None

    def _fault(self, path: str, what: str, error: BaseException) -> KeyServiceUnavailable | KeyServiceDenied:
        failure = self._store.failure(path, what, error)
        if isinstance(failure, StoreRefused):
            return KeyServiceDenied(self.place, f"{path} can't be {what} it with these credentials")
        return KeyServiceUnavailable(
            self.place, f"fails: {path} could not be {what} it ({type(error).__name__})"
        )

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other writers of the same directory out."""
        assert self._store.directory is not None
        lock = sole_writer(self._store.directory / "subjects")
        # Entering may wait for another process.
        await asyncio.to_thread(lock.__enter__)
        try:
            yield
        finally:
            lock.__exit__(None, None, None)


@contextlib.contextmanager
def _erased_afterwards(path: Path) -> Iterator[None]:
    """Overwrite the bytes of a file that is replaced meanwhile."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        yield
        if os.fstat(descriptor).st_nlink == 0:
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _path(index: str) -> str:
    return f"{_SUBJECTS}{index[:2]}/{index}.json"


def _index(salt: bytes, binding: str, subject: str) -> str:
    parts = (binding.encode(), subject.encode())
    named = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hmac.new(salt, named, hashlib.sha256).digest()[:16].hex()
