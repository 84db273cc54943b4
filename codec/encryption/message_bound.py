"""How many payloads a key has encrypted in the samples' format, and an end to it in time.

AES-GCM with nonces drawn at random must not encrypt more than 2**32 messages under one key (NIST SP 800-38D, section
8.3): beyond, two nonces may be equal, and then both payloads and the key's authentication are lost. The bound is on all
that encrypt with the key together, and no process knows the others. What is done about that:

- A machine counts in a file beside its key ring, for all processes of it that share the ring. Numbers are taken in
  blocks that are on disk before the first of them is used, so that a crash wastes some and reuses none.
- Each machine may have its share of the bound: 2**32 divided by `writers`, the number of machines that write with
  the key at most (64 unless the settings say otherwise: 67 million payloads each). Who has more machines must say so.
- From four fifths of its share on a machine warns, at the end of it refuses: rotate, and the new key starts anew.
- Where there is no file (a ring in memory or in the environment, a directory that can't be written) a process counts for
  itself, as if it were a machine; a restart begins from zero, which the log says once for each key. A key that wraps its
  own data keys (envelope encryption) ends those long before.
- Subjects' keys are never in the file, which would grow with every customer: each process counts for itself what it
  encrypts under them (the log says so once), and of more than `SUBJECTS_MAX` it forgets those that were used least. That
  one subject has so many payloads is not to be expected; whose might, needs `write-format = "tacit"`.

File (JSON, version 1; an unknown version or damage is an error: counting anew would be worse than stopping)::

    {"format": "tacit-message-counts", "version": 1, "counts": {"2026-11-24-9f2c6a01": 65536}}
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from codec.errors import KeyRingError, MessageBoundReached
from codec.secret_files import SecretFileError, read_secret_file, sole_writer, write_secret_file

MESSAGES_MAX = 2**32
"""Of one key, by all who write with it."""
WRITERS = 64
"""Machines that are reckoned with."""
BLOCK = 2**16
"""Numbers taken at once: a crash wastes at most so many, and a file is written once in so many payloads."""

SUBJECTS_MAX = 10_000
"""Of how many subjects' keys a process knows how often it used them; some 400 bytes each."""

_FORMAT = "tacit-message-counts"
_VERSION = 1
_WHAT = "count of messages"
_log = logging.getLogger(__name__)


class MessageBound:
    """Counts for one process, or with a file for a machine. Safe to share between threads."""

    def __init__(self, file: Path | None = None, *, writers: int = WRITERS) -> None:
        """`writers` machines share a key at most; `file` is made when the first block is taken."""
        self._file = file
        self._share = MESSAGES_MAX // writers
        self._block = max(1, min(BLOCK, self._share // 256))
        self._left: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._subjects: dict[str, int] = {}
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._uncounted: set[str] = set()

    def take(self, key_id: str) -> bool:
        """Use one number of the block at hand; false if there is none: then `reserve` first."""
        with self._lock:
            left = self._left.get(key_id, 0)
            if left:
                self._left[key_id] = left - 1
            return bool(left)

    def reserve(self, key_id: str, *, one_of_many: bool = False) -> None:
        """Take a block of numbers, on disk when this returns. It may wait for the disk and for other processes.

        `one_of_many` are subjects' keys, which are counted in memory alone.

        Raises:
            MessageBoundReached: this machine's share of the key is used up.
            KeyRingError: the file is there and can't be used.
        """
        used = self._reserve_in_file(key_id) if self._file is not None and not one_of_many else None
        if used is None:
            used = self._reserve_in_memory(key_id, one_of_many=one_of_many)
        with self._lock:
            self._left[key_id] = self._left.get(key_id, 0) + self._block
            warn = used > self._share * 4 // 5 and key_id not in self._warned
            if warn:
                self._warned.add(key_id)
        if warn:
            _log.warning(
                "key %s has encrypted %d of the %d payloads that the samples' format allows this machine: rotate it",
                key_id,
                used,
                self._share,
            )

    def _reserve_in_file(self, key_id: str) -> int | None:
        """The count with a block more; None if nothing can be written there."""
        assert self._file is not None
        try:
            with sole_writer(self._file):
                counts = self._read()
                used = self._counted(counts, key_id)
                document = {"format": _FORMAT, "version": _VERSION, "counts": counts}
                write_secret_file(self._file, json.dumps(document, indent=2).encode() + b"\n")
                return used
        except SecretFileError as error:
            if self._file.exists():
                raise KeyRingError(
                    f"{error} It counts what each key has encrypted in the samples' format; make it writable, or set "
                    'write-format = "tacit", which needs no count.'
                ) from None
            self._warn_of_memory(f"key {key_id}", str(error))
            return None

    def _reserve_in_memory(self, key_id: str, *, one_of_many: bool) -> int:
        if one_of_many:
            self._warn_of_memory("subjects' keys", "they are too many for a file.")
        elif self._file is None:
            self._warn_of_memory(f"key {key_id}", "there is no key ring's file to count beside.")
        with self._lock:
            if not one_of_many:
                return self._counted(self._counts, key_id)
            if key_id not in self._subjects and len(self._subjects) >= SUBJECTS_MAX:
                by_use = sorted(self._subjects, key=self._subjects.__getitem__)
                for least in by_use[: SUBJECTS_MAX // 2]:
                    del self._subjects[least]
                    self._left.pop(least, None)
            return self._counted(self._subjects, key_id)

    def _warn_of_memory(self, what: str, why: str) -> None:
        with self._lock:
            if what in self._uncounted:
                return
            self._uncounted.add(what)
        _log.warning(
            "%s: payloads in the samples' format are counted for this process alone, and from zero: %s",
            what,
            why,
        )

    def _counted(self, counts: dict[str, int], key_id: str) -> int:
        used = counts.get(key_id, 0) + self._block
        if used > self._share:
            raise MessageBoundReached(key_id, share=self._share)
        counts[key_id] = used
        return used

    def _read(self) -> dict[str, int]:
        assert self._file is not None
        if not self._file.exists():
            return {}
        try:
            document: Any = json.loads(read_secret_file(self._file, what=_WHAT))
            counts = document["counts"]
            known = document["format"] == _FORMAT and document["version"] == _VERSION
            if known and all(type(count) is int and count >= 0 for count in counts.values()):
                return dict(counts)
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        raise KeyRingError(
            f"The {_WHAT} {self._file} is damaged, or of a newer Tacit. Without it nobody knows how often the keys were "
            "used: rotate (`tacit keys rotate`), then remove it."
        )
