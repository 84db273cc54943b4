"""One line for every message in which payloads were decoded (in parts: for every part): who read what, with which keys. Never any content.

Format: see `codec.audit_trail`; the fields are::

    v, time, namespace, method, payloads, key_ids, identity, peer
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from codec.audit_trail import Durability, FileSink, StreamSink, Trail, line_of


class AuditLog:
    """Keeps the lines in a file (0600, only appended to) or a stream; each is kept before what it tells of is handed out."""

    def __init__(self, out: TextIO | Path | None, *, durability: Durability = Durability.WRITTEN) -> None:
        """None keeps nothing.

        Raises:
            OSError: the file can't be opened, or is not this user's alone.
        """
        self._trail: Trail | None = None
        if out is not None:
            sink = FileSink(out) if isinstance(out, Path) else StreamSink(out)
            self._trail = Trail(sink, durability=durability)

    async def decoded(
        self,
        *,
        namespace: str,
        method: str,
        payloads: int,
        key_ids: Collection[str],
        identity: str,
        peer: str,
    ) -> None:
        """Tell of one batch, and return once that is kept.

        Raises:
            AuditFailed: it is not; then what was decoded must not be handed out.
        """
        if self._trail is None:
            return
        await self._trail.write(
            line_of(
                {
                    "namespace": namespace,
                    "method": method,
                    "payloads": payloads,
                    "key_ids": sorted(key_ids),
                    "identity": identity,
                    "peer": peer,
                }
            )
        )

    async def close(self) -> None:
        """See all lines onto the disk, and close the file.

        Raises:
            AuditFailed: they may not be there.
        """
        if self._trail is not None:
            await self._trail.close()
