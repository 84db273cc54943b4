"""The key ring's file: read, changed by one writer at a time, and followed while a worker runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from codec.errors import KeyRingError
from codec.keys.provider import RingBacked
from codec.keys.ring import KeyRing
from codec.keys.ring_document import ring_from_json, ring_to_json
from codec.secret_files import SecretFileError, read_secret_file, sole_writer, write_secret_file

REFRESH_SECONDS = 5.0
"""How soon a running worker encrypts with a key that was made active elsewhere on its machine."""

_WHAT = "key ring"
_log = logging.getLogger(__name__)


def load_key_ring(path: Path) -> KeyRing:
    """The key ring at `path`.

    Raises:
        KeyRingError: missing, open to other users, cut or damaged; the sentence names the file and the way
        out.
    """
    return ring_from_json(read_ring_bytes(path), source=f"the key ring {path}")


def read_ring_bytes(path: Path, *, mounted: bool = False) -> bytes:
    """What a key ring's file holds: secret. `mounted` is for files that a container's platform put there.

    Raises:
        KeyRingError: missing, or others could read it (change it, if `mounted`).
    """
    try:
        return read_secret_file(path, what=_WHAT, mounted=mounted)
    except SecretFileError as error:
        # The copy first: whoever follows the other advice has a worker that starts and can read nothing.
        hint = (
            ""
            if path.exists()
            else " Put your copy of it back there: a new key ring can't read what the old one encrypted. Only if "
            f"there never was one, make it with `tacit keys init --key-ring {path}`."
        )
        raise KeyRingError(f"{error}{hint}") from None


def create_key_ring(path: Path, ring: KeyRing) -> None:
    """Write a new key ring; an existing file is never overwritten, as its keys may be the only copy.

    Raises:
        KeyRingError: there is a file already, or it cannot be written.
    """
    try:
        write_secret_file(path, ring_to_json(ring), replace=False)
    except SecretFileError as error:
        raise KeyRingError(str(error)) from None


def update_key_ring(path: Path, change: Callable[[KeyRing], KeyRing], *, erase_old: bool = False) -> KeyRing:
    """Read the ring, change it and write it back, while no other writer does: no key is lost to a race.

    With `erase_old` what the file held before is overwritten on the disk, once the new one is safe there.

    Raises:
        KeyRingError: the ring cannot be read or written, or `change` refuses.
    """
    if not path.exists():
        return load_key_ring(path)  # raises, before a lock file is left beside nothing
    try:
        with sole_writer(path):
            ring = change(load_key_ring(path))
            write_secret_file(path, ring_to_json(ring), erase_old=erase_old)
            return ring
    except SecretFileError as error:
        raise KeyRingError(str(error)) from None


class KeyRingFile(RingBacked):
    """A key ring that follows its file, so that rotating needs no restart of the workers.

    The file is looked at every few seconds, and at once when a payload names a key that is not known. While
    the file is unusable the last good ring stays in use, with a warning in the log: a damaged file must not
    stop running workflows. Safe to share between threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        read: Callable[[Path], KeyRing] = load_key_ring,
    ) -> None:
        """Read the file now, by `read`.

        Raises:
            KeyRingError: it cannot be used.
        """
        self._path = path
        self._refresh_seconds = refresh_seconds
        self._lock = threading.Lock()
        self._stamp = self._stat()
        self._read = read
        self._ring = read(path)
        self._looked_at = time.monotonic()

    def __repr__(self) -> str:
        return f"KeyRingFile({str(self._path)!r})"

    @property
    def path(self) -> Path:
        """The file that is followed."""
        return self._path

    def current(self) -> KeyRing:
        """The ring as its file has it, at most the refresh interval ago."""
        if time.monotonic() - self._looked_at >= self._refresh_seconds:
            self._look()
        return self._ring

    def find_in(self, key_id: str) -> KeyRing:
        """The ring; if it lacks the key, its file is read again first."""
        ring = self.current()
        return self._ring if ring.find(key_id) is None and self._look() else ring

    def _look(self) -> bool:
        """Read the file if it changed; true if another ring is in use now."""
        with self._lock:
            self._looked_at = time.monotonic()
            stamp = self._stat()
            if stamp == self._stamp:
                return False
            # Taken before the read: a write in between is seen by the next look.
            self._stamp = stamp
            try:
                self._ring = self._read(self._path)
            except KeyRingError as error:
                _log.warning("key ring not read again, the last good one stays in use: %s", error)
                return False
            return True

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
