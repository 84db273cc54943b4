"""Objects on this machine's own disk, so that a second read costs no request.

A directory of files, each named by the SHA-256 of its content and holding the object's bytes as they are in the store:
encrypted as stored. Any number of processes share it:

- a file comes into being whole, by a rename; a reader sees all of it or none;
- what is read is checked against its name; what does not match (a disk's fault, somebody's meddling) is removed and read from
  the store again;
- a read renews a file's time, and whoever finds the cache too large removes those of the oldest times, one process at a time
  (a lock on the directory). A file that vanishes under a reader stays readable to it.

The bound: a process looks at the whole directory each time it has added a sixteenth of `bytes_max`, so with n processes at
work the cache has at most (1 + n/16) times `bytes_max` for a moment. Nothing here is needed: a cache that can't be written
(a full disk) or read is the same as an empty one, said once in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from codec.errors import OffloadError

CACHE_BYTES = 1024 * 1024 * 1024
"""How much a cache keeps unless it is told otherwise."""

CACHE_BYTES_MIN = 1024 * 1024
_RENEWAL_S = 60.0
"""A file's time is renewed at most this often: it orders evictions, and need not be exact."""

_LEFTOVER_S = 3600.0
"""Files that were begun longer ago than this have no writer any more."""

_THREAD_FROM_BYTES = 256 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


class ObjectCache:
    """A bounded cache of objects by the hash of their content. Safe for threads and processes."""

    def __init__(self, directory: Path, *, bytes_max: int = CACHE_BYTES) -> None:
        """Use `directory`, which is made at the first write, for this user's eyes only.

        Raises:
            OffloadError: `bytes_max` is too small to be of use.
        """
        if bytes_max < CACHE_BYTES_MIN:
            raise OffloadError(
                f"A cache of {bytes_max} bytes is of no use: set object-store-cache-bytes to {CACHE_BYTES_MIN} at least, "
                "or remove object-store-cache."
            )
        self._directory = directory
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        # So that the first write looks at what other processes have left.
        self._added = bytes_max
        self._complained = False

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._directory

    @property
    def bytes_max(self) -> int:
        """How much it keeps."""
        return self._bytes_max

    async def get(self, sha256: str, size: int) -> bytes | None:
        """The object with this hash and size, None if it is not here."""
        # A stat is microseconds, and most objects are large: what is here at all is read in a thread.
        path = self._path(sha256)
        try:
            if path.stat().st_size != size:
                await asyncio.to_thread(self._discard, path)
                return None
        except OSError:
            return None
        return await asyncio.to_thread(self.read, sha256)

    async def put(self, sha256: str, content: bytes | memoryview) -> None:
        """Keep an object, unless it is here already or larger than a quarter of the cache."""
        await asyncio.to_thread(self.write, sha256, content)

    def read(self, sha256: str, *, checked: bool = True) -> bytes | None:
        """As `get`, for threads. Unless `checked`, the name is not the content's hash: who reads has another proof of it."""
        path = self._path(sha256)
        try:
            with path.open("rb") as file:
                content = file.read()
                status = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain("read", error)
            return None
        if checked and hashlib.sha256(content).hexdigest() != sha256:
            self._discard(path)
            return None
        if time.time() - status.st_mtime > _RENEWAL_S:
            # Evicted by another process meanwhile, or another user's: its time matters no more.
            with contextlib.suppress(OSError):
                os.utime(path)
        return content

    def write(self, sha256: str, content: bytes | memoryview) -> None:
        """As `put`, for threads."""
        size = len(content)
        path = self._path(sha256)
        if size > self._bytes_max // 4:
            return
        temporary = path.with_name(f".{sha256}.{secrets.token_hex(6)}.tmp")
        try:
            if path.exists():
                return
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                    file.write(content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._count(size)
        except OSError as error:
            self._complain("written", error)

    def discard(self, sha256: str) -> None:
        """Remove what is not what it should be; for threads."""
        self._discard(self._path(sha256))

    def trim(self) -> int:
        """Remove what was not used longest until nine tenths of the bound are left, if it is passed; returns the bytes."""
        with self._sole_trimmer() as alone:
            if not alone:
                return 0
            files, total = [], 0
            for path, status in self._files():
                if path.name.startswith("."):
                    if time.time() - status.st_mtime > _LEFTOVER_S:
                        path.unlink(missing_ok=True)
                    continue
                files.append((status.st_mtime_ns, status.st_size, path))
                total += status.st_size
            if total <= self._bytes_max:
                return total
            for _, size, path in sorted(files, key=lambda file: file[0]):
                path.unlink(missing_ok=True)
                total -= size
                if total <= self._bytes_max * 9 // 10:
                    break
            return total

    def _count(self, size: int) -> None:
        with self._lock:
            self._added += size
            due = self._added > self._bytes_max // 16
            if due:
                self._added = 0
        if due:
            self.trim()

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in os.scandir(self._directory):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for entry in os.scandir(folder.path):
                # Another process may have removed it since it was listed.
                with contextlib.suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)

    @contextlib.contextmanager
    def _sole_trimmer(self) -> Iterator[bool]:
        """Whether nobody else trims now: two at a time would remove twice as much as is needed."""
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def _path(self, sha256: str) -> Path:
        assert _SHA256.fullmatch(sha256), "objects are cached by the SHA-256 of their content"
        return self._directory / sha256[:2] / sha256

    def _discard(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._complain("mended", error)

    def _complain(self, what: str, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "The object cache %s can't be %s (%s): objects are read from the store each time.",
                self._directory,
                what,
                error.strerror,
            )
