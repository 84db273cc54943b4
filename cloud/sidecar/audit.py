"""One line for every message in which payloads were decoded: who read what, with which keys. Never any content.

Format: a JSON object a line, with these fields (more may come)::

    time, namespace, method, payloads, key_ids, identity, peer
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from codec import CodecError


class AuditFailed(CodecError):
    """Nobody would know that it was decoded."""


class AuditLog:
    """Writes lines to a file that it appends to (0600), or to a stream."""

    def __init__(self, out: TextIO | Path | None) -> None:
        """None writes nothing.

        Raises:
            OSError: the file can't be opened.
        """
        self._owned = isinstance(out, Path)
        if isinstance(out, Path):
            out.touch(mode=0o600)
            self._out: TextIO | None = out.open("a", encoding="utf-8", buffering=1)
        else:
            self._out = out

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
        if self._out is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "namespace": namespace,
            "method": method,
            "payloads": payloads,
            "key_ids": sorted(key_ids),
            "identity": identity,
            "peer": peer,
        }
        try:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()
        except (OSError, ValueError) as error:
            raise AuditFailed(
                f"What was decoded can't be written to the audit log, so it is held back: {error}."
            ) from None

    def close(self) -> None:
        """Close the file."""
        if self._owned and self._out is not None:
            self._out.close()
