"""One line for every message in which payloads were decoded: who read what, with which keys. Never any content.

Format: a JSON object a line, with these fields (more may come)::

    time, namespace, method, payloads, key_ids, identity, peer
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec

from codec import CodecError


class AuditFailed(CodecError):
    """Nobody would know that it was decoded."""


class AuditLog:
    """Writes lines to a file that it appends to (0600), or to a stream; each is out of this process before what it tells of is."""

    def __init__(self, out: TextIO | Path | None) -> None:
        """None writes nothing.

        Raises:
            OSError: the file can't be opened, or others may read it.
        """
        self._file: int | None = None
        self._stream: TextIO | None = None
        if isinstance(out, Path):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(out, flags, 0o600)
            if os.fstat(self._file).st_mode & 0o077:
                self.close()
                raise PermissionError(errno.EACCES, "it is no file of its owner alone (chmod 600)", str(out))
        else:
            self._stream = out

    def decoded(
        self,
        *,
        namespace: str,
        method: str,
        payloads: int,
        key_ids: Collection[str],
        identity: str,
        peer: str,
    ) -> None:
        """Tell of one batch.

        Raises:
            AuditFailed: it can't be written; then what was decoded must not be handed out.
        """
        if self._file is None and self._stream is None:
            return
        line = msgspec.json.encode(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "namespace": namespace,
                "method": method,
                "payloads": payloads,
                "key_ids": sorted(key_ids),
                "identity": identity,
                "peer": peer,
            }
        )
        try:
            if self._file is not None:
                _write(self._file, line + b"\n")
            elif self._stream is not None:
                self._stream.write(line.decode() + "\n")
                self._stream.flush()
        except (OSError, ValueError) as error:
            raise AuditFailed(
                f"What was decoded can't be written to the audit log, so it is held back: {error}."
            ) from None

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _write(file: int, line: bytes) -> None:
    written = os.write(file, line)
    while written < len(line):
        written += os.write(file, line[written:])
