"""Files that are too large for payloads, as small typed handles.

An activity puts a file and returns its handle; another, on any machine that has the profile's keys, opens it::

    from sdk import files

    @activity.defn
    async def render(order: str) -> files.FileHandle:
        film = await render_film(order)
        return await files.put(film, progress=lambda done, total: activity.heartbeat(done))

    @activity.defn
    async def publish(film: files.FileHandle) -> None:
        async with files.open(film) as stream:
            async for part in stream:
                ...

The content is in the profile's object store, encrypted in chunks under a key of its own that the profile's keys wrap; the
service has the handle alone, encrypted as all payloads are. A handle is a plain dataclass: workflows pass it on, by itself
or within their own dataclasses. It is not compressed: what is large enough for a file mostly is already.

Within activities of a worker whose client came from `sdk.connect`, the functions of this module know the profile. If an
attempt is cut off, the activity's next one goes on where it was: what is stored already of the same content is not sent
again. Elsewhere, `of(client)` and `open_files(profile)` give the same as methods. A synchronous activity calls
``asyncio.run(files.put(...))``.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temporalio import activity, workflow

# A module of workflows may import this one, and its libraries cannot be loaded twice.
with workflow.unsafe.imports_passed_through():
    import temporalio.client
    import temporalio.exceptions
    import temporalio.worker

    from codec import (
        FileContent,
        FileHandle,
        FileKeys,
        FileProgress,
        FileStore,
        FileStream,
        Scope,
        open_store,
    )
    from sdk.converter import DataConverterOptions, cache_of, keys_of, options_of
    from sdk.errors import FilesUnavailable
    from sdk.profile import Profile, load_profile, settings_file

__all__ = [
    "FileHandle",
    "FileStream",
    "Files",
    "FilesInterceptor",
    "delete",
    "download",
    "of",
    "open",
    "open_files",
    "put",
    "using",
]


class _NoFilesInActivity(FilesUnavailable, temporalio.exceptions.ApplicationError):
    """In an activity: another attempt would find no store either, and the SDK tries again whatever does not say so."""

    def __init__(self, message: str) -> None:
        temporalio.exceptions.ApplicationError.__init__(
            self, message, type=FilesUnavailable.__name__, non_retryable=True
        )


def _unavailable(message: str) -> FilesUnavailable:
    return _NoFilesInActivity(message) if activity.in_activity() else FilesUnavailable(message)


class Files:
    """Puts and opens files as one profile says. Safe to share between event loops and threads."""

    def __init__(self, options: DataConverterOptions) -> None:
        """Open the options' object store; nothing is sent yet.

        Raises:
            FilesUnavailable: the options name no object store.
            codec.KeyRingError: the key ring's file is not usable.
            codec.OffloadError: the object store is not.
        """
        if options.object_store is None:
            raise _unavailable(
                f"There is no object store for files of namespace {options.namespace!r}: set object-store in tacit.toml "
                "(or TACIT_CODEC_OBJECT_STORE)."
            )
        self._store = FileStore(
            open_store(options.object_store, options.object_store_options),
            namespace=options.namespace,
            readable_namespaces=options.readable_namespaces,
            keys=FileKeys(
                keys=keys_of(options), binding=options.binding, refuse_plaintext=options.refuse_plaintext
            ),
            cache=cache_of(options),
        )
        self._namespace = options.namespace

    def __repr__(self) -> str:
        return f"Files({self._store!r})"

    async def put(
        self,
        content: FileContent,
        *,
        name: str | None = None,
        content_type: str | None = None,
        upload: str | None = None,
        progress: FileProgress | None = None,
    ) -> FileHandle:
        """Store all of `content` and return its handle, once all of it is durable.

        `content` is a path, bytes, a binary file, a stream whose `read` is awaited, or an iterable of bytes of either kind.
        `name` and `content_type` (guessed from the name) are for whoever opens the file; a path has its own name.
        `upload` names the upload, so that the next attempt under this name goes on where one was cut off; within an
        activity it is named for that. `progress` is told the bytes done and, where it is known, of how many.

        Raises:
            codec.LocalFileFailed: the source cannot be read.
            codec.SourceChanged: it was written to meanwhile.
            codec.StoreFull: the store has no room.
            codec.OffloadError: the store refuses.
            codec.FileError: `content` is nothing that bytes can be read from, or too large (a tebibyte).
            codec.CodecError: the key cannot be had.
        """
        again = True
        if upload is None and activity.in_activity():
            upload, again = _upload_of_activity(name, content), activity.info().attempt > 1
        return await self._store.put(
            content,
            name=name,
            content_type=content_type,
            upload=upload,
            again=again,
            scope=self._scope(),
            progress=progress,
        )

    def open(self, handle: FileHandle, *, start: int = 0, stop: int | None = None) -> FileStream:
        """The file's content, or its bytes from `start` to `stop`, to be read within ``async with``.

        Only the chunks of what is read are fetched; each is authenticated before it is handed out, and at the end of a
        whole file its SHA-256 is compared with the handle's.

        Entering and reading raise:
            codec.ObjectMissing, codec.ObjectCorrupt, codec.OffloadError: the store has lost or altered it, or refuses.
            codec.InvalidFile: the handle is malformed, or not this file's.
            codec.MissingKey, codec.DisabledKey: the key that it is wrapped with cannot be used; the error names it.
        """
        return self._store.open(handle, start=start, stop=stop, scope=self._scope())

    async def download(
        self, handle: FileHandle, path: str | os.PathLike[str], *, progress: FileProgress | None = None
    ) -> None:
        """Write the file to `path`: there at once when all of it is proved, or not at all. Readable by its owner only.

        Raises:
            codec.LocalFileFailed: `path` cannot be written, or its disk is full.
            codec.CodecError: see `open`.
        """
        await self._store.download(handle, Path(path), scope=self._scope(), progress=progress)

    async def delete(self, handle: FileHandle) -> None:
        """Delete a file of the profile's own namespace before `tacit codec gc --files` would; nothing happens if it is gone.

        Raises:
            codec.InvalidFile: the handle is malformed.
            codec.OffloadError: it is another namespace's, or the store refuses.
        """
        await self._store.delete(handle)

    def _scope(self) -> Scope:
        if not activity.in_activity():
            return Scope(namespace=self._namespace)
        return Scope(namespace=self._namespace, workflow_id=activity.info().workflow_id)


class FilesInterceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Lets activities of a client's workers use this module's functions; `sdk.connect` adds it."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self.files = files

    def intercept_activity(
        self,
        next: temporalio.worker.ActivityInboundInterceptor,  # noqa: A002 - the SDK's name
    ) -> temporalio.worker.ActivityInboundInterceptor:
        """See the SDK's."""
        return _Inbound(next, self.files)


class _Inbound(temporalio.worker.ActivityInboundInterceptor):
    def __init__(self, following: temporalio.worker.ActivityInboundInterceptor, files: Files) -> None:
        super().__init__(following)
        self._files = files

    async def execute_activity(self, input: temporalio.worker.ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        with using(self._files):
            return await super().execute_activity(input)


_current: contextvars.ContextVar[Files] = contextvars.ContextVar("tacit_files")
_puts: contextvars.ContextVar[dict[str, int]] = contextvars.ContextVar("tacit_files_puts")
"""How often the running attempt of an activity has put a file under each name."""


async def put(
    content: FileContent,
    *,
    name: str | None = None,
    content_type: str | None = None,
    upload: str | None = None,
    progress: FileProgress | None = None,
) -> FileHandle:
    """See `Files.put`; within an activity."""
    return await _here().put(content, name=name, content_type=content_type, upload=upload, progress=progress)


def open(handle: FileHandle, *, start: int = 0, stop: int | None = None) -> FileStream:  # noqa: A001 - files.open
    """See `Files.open`; within an activity."""
    return _here().open(handle, start=start, stop=stop)


async def download(
    handle: FileHandle, path: str | os.PathLike[str], *, progress: FileProgress | None = None
) -> None:
    """See `Files.download`; within an activity."""
    await _here().download(handle, path, progress=progress)


async def delete(handle: FileHandle) -> None:
    """See `Files.delete`; within an activity."""
    await _here().delete(handle)


def of(client: temporalio.client.Client) -> Files:
    """The files of a client that came from `sdk.connect`.

    Raises:
        FilesUnavailable: it came from elsewhere, or its profile names no object store.
    """
    for interceptor in client.config(active_config=True)["interceptors"]:
        if isinstance(interceptor, FilesInterceptor):
            return interceptor.files
    raise _unavailable(
        "This client has no file store: connect by `sdk.connect` with a profile that names an object store "
        "(object-store in tacit.toml), or use `files.open_files(profile)`."
    )


def open_files(profile: str | Profile | None = None, *, config_file: Path | None = None) -> Files:
    """The files of a profile, without a connection: the named one, else TEMPORAL_PROFILE's, else `default`.

    Raises:
        ProfileError: the profile is not usable.
        FilesUnavailable: it names no object store.
        KeyRingError: its key ring is missing or not usable.
        codec.OffloadError: its object store is not.
    """
    chosen = profile if isinstance(profile, Profile) else load_profile(profile, config_file=config_file)
    options = options_of(chosen)
    if options.object_store is None:
        raise _unavailable(
            f"Profile {chosen.name!r} names no object store for files: set object-store in [profile.{chosen.name}] of "
            f"{settings_file(chosen.config_file)} (or TACIT_CODEC_OBJECT_STORE)."
        )
    return Files(options)


@contextmanager
def using(files: Files) -> Iterator[None]:
    """Let this module's functions use `files` inside; for tests of activities, and workers with clients of their own."""
    token, counts = _current.set(files), _puts.set({})
    try:
        yield
    finally:
        _current.reset(token)
        _puts.reset(counts)


def _here() -> Files:
    if workflow.in_workflow():
        raise FilesUnavailable(
            "A workflow has no files, only their handles: put and open files in activities, and pass the handles on."
        )
    try:
        return _current.get()
    except LookupError:
        raise _unavailable(
            "There is no file store here. In an activity: let the worker's client come from `sdk.connect`, with a profile "
            "that names an object store (object-store in tacit.toml); elsewhere: `files.of(client)` or "
            "`files.open_files(profile)`."
        ) from None


def _upload_of_activity(name: str | None, content: FileContent) -> str:
    """One name for all attempts of an activity, and for nothing else.

    What one activity puts is told apart by its names, and under one name by its order. Should two attempts differ in that,
    nothing is lost: an upload takes of an earlier one only what has the same content.
    """
    info = activity.info()
    called = name or (os.fspath(content) if isinstance(content, str | os.PathLike) else "")
    counts = _puts.get({})
    counts[called] = counts.get(called, 0) + 1
    # An id may be given to another activity of a run once the first has ended; the time tells them apart.
    parts = (
        info.workflow_id or "",
        info.workflow_run_id or info.activity_run_id or "",
        info.activity_id,
        info.scheduled_time.isoformat(),
        called,
        str(counts[called]),
    )
    return "activity\0" + "".join(f"{len(part)}:{part}" for part in parts)
