"""A file written to a local path: whole and proved, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from codec.errors import LocalFileFailed
from codec.files.objects import in_thread
from codec.files.reading import OpenFile
from codec.files.uploading import Progress

FILE_MODE = 0o600
"""What was encrypted in the store is its owner's alone on the disk."""


async def download(file: OpenFile, path: Path, progress: Progress | None) -> None:
    """See `FileStore.download`."""
    target = _Target(path)
    await in_thread(target.open)
    done, size = 0, file.claims.size
    try:
        async with contextlib.aclosing(file.blocks(0, size, sink=target.write)) as blocks:
            async for block in blocks:
                done += len(block)
                if progress is not None:
                    progress(done, size)
        await in_thread(target.keep)
    finally:
        await in_thread(target.close)


class _Target:
    """A file beside the one that is meant, until it takes its place. All errors are told with its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        self._descriptor = -1

    def open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with self._faults():
            self._descriptor = os.open(self._temporary, flags, FILE_MODE)

    def write(self, block: memoryview) -> None:
        with self._faults():
            left = block
            while left:
                left = left[os.write(self._descriptor, left) :]

    def keep(self) -> None:
        with self._faults():
            os.fsync(self._descriptor)
            self._temporary.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LocalFileFailed(f"{self._path} cannot be written: {error.strerror}.") from error
