"""Files in one object store: put, opened, downloaded, listed and deleted.

The order of writing makes a crash harmless: first how the upload began (where it has more than a segment), then the
segments, then the manifest, each durable before the next; the handle leaves the process last.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import secrets
from collections.abc import Sequence
from pathlib import Path

from codec.errors import CodecError, InvalidFile, OffloadError
from codec.files.buffers import Budget
from codec.files.chunks import FileCipher
from codec.files.downloading import download
from codec.files.file_key import FileKeys
from codec.files.handle import ID_HEX_DIGITS, Claims, FileAddress, FileHandle, checked_text
from codec.files.inventory import delete_file
from codec.files.layout import Layout, Shape
from codec.files.manifest import (
    HEAD_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    Manifest,
    Start,
    fresh_start_path,
    is_start,
    manifest_digest,
    manifest_path,
)
from codec.files.objects import Objects, in_thread
from codec.files.reading import OpenFile
from codec.files.segment_cache import SegmentCache
from codec.files.sources import Content, source_of
from codec.files.stream import FileStream
from codec.files.uploading import Progress, Upload
from codec.keys.provider import ANYONE, Scope
from codec.keys.ring import KeyMaterial
from codec.storage.cache import ObjectCache
from codec.storage.object_store import OpenStore, namespace_prefix

DEFAULT_CONTENT_TYPE = "application/octet-stream"
STARTS_MAX = 16
"""Attempts at one upload that are looked at for a beginning to go on from."""

_log = logging.getLogger(__name__)


class FileStore:
    """Puts files of one namespace into an object store, and opens its and those of `readable_namespaces`.

    Safe to share between event loops and threads. Give the bucket's credentials the same bounds.
    """

    def __init__(
        self,
        store: OpenStore,
        *,
        namespace: str,
        keys: FileKeys,
        readable_namespaces: Sequence[str] = (),
        shape: Shape | None = None,
        cache: ObjectCache | None = None,
    ) -> None:
        """`shape` is how new files are cut; the default is the fastest that was measured. `cache` keeps what was put and
        read on this machine; a store that is a directory needs none.

        Raises:
            OffloadError: a namespace has no safe path.
        """
        for one in (namespace, *readable_namespaces):
            namespace_prefix(one)
        self._objects = Objects(store)
        self._namespace = namespace
        self._readable = frozenset((namespace, *readable_namespaces))
        self._keys = keys
        self._shape = shape or Shape()
        self._budget = Budget()
        self._cache = SegmentCache(cache) if cache is not None and store.directory is None else None

    def __repr__(self) -> str:
        return f"FileStore({self._objects.store.place!r}, namespace={self._namespace!r})"

    async def put(
        self,
        content: Content,
        *,
        name: str | None = None,
        content_type: str | None = None,
        upload: str | None = None,
        again: bool = True,
        scope: Scope = ANYONE,
        progress: Progress | None = None,
    ) -> FileHandle:
        """Encrypt and store all of `content`, a path, bytes or a stream, and return what stands for it in payloads.

        `upload` names the upload, so that another attempt under the same name goes on where one was cut off: what is
        stored already of the same content is not sent again. `again` is false where it is known that this is the first, so
        that none is looked for. `progress` is told bytes done and, if known, in all.

        Raises:
            LocalFileFailed: the source cannot be read.
            SourceChanged: it was written to meanwhile.
            StoreFull: the store has no room.
            OffloadError: it refuses.
            CodecError: the key cannot be had, or the content is too large.
        """
        source = await source_of(content)
        try:
            name = checked_text(source.name if name is None else name, what="name")
            kind = checked_text(
                content_type or mimetypes.guess_type(name)[0] or DEFAULT_CONTENT_TYPE, what="content type"
            )
            address = FileAddress(self._namespace, _file_id(self._namespace, upload))
            begun = await self._begun(address, scope) if upload is not None and again else None
            if begun is None:
                material, stored = await self._keys.make(address, scope)
                start, start_path = Start(address, self._shape, stored), fresh_start_path(address)
                present: dict[str, int] = {}
            else:
                start, start_path, material = begun
                # Written again, so that whoever collects what is old leaves this alone while the upload goes on.
                await self._objects.put(start_path, start.to_bytes())
                present = await self._objects.sizes(address.prefix)
            cipher = FileCipher(material, address, start.shape)

            async def before_first() -> None:
                if begun is None and upload is not None:
                    await self._objects.put(start_path, start.to_bytes())

            done = await Upload(
                self._objects,
                address,
                cipher,
                present=present,
                before_first=before_first,
                progress=progress,
                budget=self._budget,
                cache=self._cache,
            ).run(source)
            await source.finish()
        finally:
            await source.close()
        manifest = Manifest(address, Layout(done.size, start.shape), start.key, done.salts).to_bytes(cipher)
        digest = manifest_digest(manifest)
        await self._objects.put(manifest_path(address, digest), manifest)
        return FileHandle(
            uri=address.uri,
            size=done.size,
            sha256=done.sha256,
            manifest=digest,
            name=name,
            content_type=kind,
        )

    def open(
        self, handle: FileHandle, *, start: int = 0, stop: int | None = None, scope: Scope = ANYONE
    ) -> FileStream:
        """The file, or its bytes from `start` to `stop`, to be read within ``async with``."""
        return FileStream(handle, lambda: self._open(handle, scope), start, stop)

    async def download(
        self,
        handle: FileHandle,
        path: Path,
        *,
        scope: Scope = ANYONE,
        progress: Progress | None = None,
    ) -> None:
        """Write a file's whole content to `path`, which is replaced at once when all is there and proved, or not at all.

        The file is readable by its owner only.

        Raises:
            LocalFileFailed: `path` cannot be written, or its disk is full.
            CodecError: see `FileStream.read`.
        """
        await download(await self._open(handle, scope), path, progress)

    async def delete(self, handle: FileHandle) -> None:
        """Delete all of a file of this store's own namespace; nothing happens if it is gone already.

        Raises:
            InvalidFile: the handle is malformed.
            OffloadError: it is another namespace's, or the store refuses.
        """
        address = Claims.of(handle).address
        if address.namespace != self._namespace:
            raise OffloadError(
                f"{address.uri} is a file of namespace {address.namespace!r}, and this client deletes those of "
                f"{self._namespace!r} only."
            )
        await delete_file(self._objects.store, address)

    async def _open(self, handle: FileHandle, scope: Scope) -> OpenFile:
        claims = Claims.of(handle)
        address = claims.address
        if address.namespace not in self._readable:
            raise OffloadError(
                f"{address.uri} is a file of namespace {address.namespace!r}, which this client may not read "
                f"(it reads {', '.join(sorted(self._readable))}). If it should, add it to readable-namespaces."
            )
        path = manifest_path(address, claims.manifest)
        content = bytes(await self._objects.get(path, least=1, most=MANIFEST_MAX_BYTES))
        if await in_thread(manifest_digest, content) != claims.manifest:
            raise InvalidFile(f"The manifest of {address.uri} is damaged: its SHA-256 is not its name.")
        # That of a tebibyte has three megabytes.
        manifest = await in_thread(Manifest.from_bytes, content, address)
        if manifest.layout.size != claims.size:
            raise InvalidFile(f"{address.uri} has another size than its handle says: the handle was altered.")
        material = await self._keys.open(manifest.key, address, scope)
        cipher = FileCipher(material, address, manifest.layout.shape)
        await in_thread(manifest.verify, content, cipher)
        return OpenFile(self._objects, claims, manifest, cipher, self._budget, self._cache)

    async def _begun(self, address: FileAddress, scope: Scope) -> tuple[Start, str, KeyMaterial] | None:
        """What an earlier attempt of the upload has begun with, if it can be gone on from."""
        names = sorted(name for name in await self._objects.sizes(address.prefix) if is_start(name))
        for name in names[:STARTS_MAX]:
            path = f"{address.prefix}/{name}"
            try:
                content = await self._objects.get(path, least=1, most=HEAD_MAX_BYTES)
                start = Start.from_bytes(bytes(content), address)
                if await self._keys.may_continue(start.key, scope):
                    return start, path, await self._keys.open(start.key, address, scope)
            except CodecError as error:
                # Whatever is wrong with it, an upload can begin anew.
                _log.info("upload begins anew: %s", error)
        return None


def _file_id(namespace: str, upload: str | None) -> str:
    if upload is None:
        return secrets.token_hex(ID_HEX_DIGITS // 2)
    named = hashlib.sha256(f"tacit file id\0{namespace}\0{upload}".encode())
    return named.hexdigest()[:ID_HEX_DIGITS]
