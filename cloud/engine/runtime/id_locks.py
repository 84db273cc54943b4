"""Locks by id: one at a time decides what becomes of a workflow id, or of any other name in a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _IdLock:
    """A lock, and how many hold it or wait for it: the last one takes it out of the table."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class IdLocks:
    """See the module's head. There is a lock only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], _IdLock] = {}

    @asynccontextmanager
    async def held(self, namespace_id: str, workflow_id: str) -> AsyncIterator[None]:
        """Held while it is decided what becomes of a workflow id, so that two starts do not both find it free."""
        key = (namespace_id, workflow_id)
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = _IdLock()
        found.users += 1
        try:
            async with found.lock:
                yield
        finally:
            found.users -= 1
            if not found.users:
                del self._locks[key]
