"""The audit trail: one JSON line for each request that was decoded, encoded or refused. Format, version 1::

    {"v": 1, "time": RFC 3339 in UTC, "who": {"kind", "subject", "issuer", "email"}, "remote": address,
     "operation": "decode" | "encode" | "download", "namespace", "payloads": count, "bytes_in", "bytes_out",
     "fetched": from the object store, "stored": into it, "key_ids": [as payloads name them],
     "outcome": "done" | "refused" | "failed", "reason": a word, "status": of the answer, "omitted": lines left out}

`codec.audit_trail` has what holds for all trails. An answer waits until its line is on disk: what was shown was written down
first. Whoever is refused often costs a few lines a second: the rest is counted (`omitted`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from codec.audit_trail import AuditFailed, Durability, Sink, Trail, line_of
from codec.server.allowances import Buckets

REFUSED_PER_SECOND_MAX = 10.0
REFUSED_BURST_MAX = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One request, as it is written down."""

    operation: str
    namespace: str | None
    who: Mapping[str, str]
    remote: str
    outcome: str
    status: int
    reason: str | None = None
    payloads: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    fetched: int = 0
    stored: int = 0
    key_ids: tuple[str, ...] = ()

    def content(self, now: datetime, omitted: int) -> bytes:
        """The line, with its end."""
        return line_of({**vars(self), "omitted": omitted or None}, now)


class AuditTrail:
    """Writes lines, and few for those who are refused often. Belongs to one event loop."""

    def __init__(
        self,
        sink: Sink,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._trail = Trail(sink, durability=Durability.SYNCED)
        self._now = now
        self._refused = Buckets(REFUSED_PER_SECOND_MAX, REFUSED_BURST_MAX, clock)
        self._omitted = 0

    async def write(self, line: Line) -> None:
        """Return once the line is on disk, with those of others.

        Raises:
            AuditFailed: it is not.
        """
        sender = f"{line.remote}\0{line.who.get('subject', '')}"
        if line.outcome == "refused" and self._refused.take(sender) > 0:
            self._omitted += 1
            return
        omitted, self._omitted = self._omitted, 0
        try:
            await self._trail.write(line.content(self._now(), omitted))
        except AuditFailed:
            self._omitted += omitted
            raise

    async def close(self) -> None:
        """Let go of the file.

        Raises:
            AuditFailed: the last lines may not be on disk.
        """
        await self._trail.close()
