"""Carries what the gateway's guard counted into the store, every few seconds and at the end.

A crash loses the counts of the last seconds: they are figures to decide by, nobody pays by them, and no call waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import date, datetime

import sqlalchemy as sa
import structlog

from cloud.gateway.guard_counts import GuardCounts
from tenancy.guard_counts import GuardCount, GuardCountStore

_log = structlog.get_logger(__name__)

EVERY_S = 10.0


class GuardCounting:
    """Takes, keeps and reads counts."""

    def __init__(self, counts: GuardCounts, store: GuardCountStore, clock: Callable[[], datetime]) -> None:
        self._counts = counts
        self._store = store
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._keeping = asyncio.Lock()

    def start(self) -> None:
        """Begin; starting twice is harmless."""
        if self._task is None:
            self._stopping.clear()
            self._task = asyncio.create_task(self._keep_on(), name="guard-counts")

    async def stop(self) -> None:
        """Keep what is left, and end. Stopping twice, or before starting, is harmless."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()  # not cancelled: it may be in the middle of a write
            await task

    async def keep(self) -> None:
        """Store what was counted since the last time; what can't be stored waits for the next."""
        async with self._keeping:
            taken = self._counts.take()
            if not taken:
                return
            rows = [(one.namespace, one.field, one.outcome.value, count) for one, count in taken.items()]
            try:
                await self._store.add(rows, self._clock())
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._counts.put_back(taken)
                _log.warning("guard_counts.not_kept", error=type(error).__name__)

    async def read(self, namespaces: Sequence[str], since: date) -> list[GuardCount]:
        """What was counted, up to this moment, on `since` and later."""
        await self.keep()
        return await self._store.read(namespaces, since)

    async def _keep_on(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._stopping.wait()
            await self.keep()
