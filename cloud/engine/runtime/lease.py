"""Who may write to a cell's database: one process at a time, by a lease with a fencing epoch.

    free or expired ──take──▶ held (epoch n) ──renew──▶ held (epoch n)
                                  │ not renewed for its duration, or released
                                  ▼
                         another takes it: epoch n+1

Time only decides who may *take* the lease. What protects the data is the epoch: every batch reads it inside its own transaction
and holds that row, so a process whose epoch is over writes nothing, however its clock runs or however long it was paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
from collections.abc import Callable

import structlog

from cloud.engine.runtime.clock import Clock
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.writing import LeaseLost, renew_lease, take_lease

log = structlog.get_logger(__name__)

DURATION_NS = 3_000_000_000
RENEW_INTERVAL_S = 1.0
STANDBY_INTERVAL_S = 0.5

LOST = "another process took the cell's lease over; this one stops so that it writes nothing more"


class Lease:
    """This process's claim on one cell."""

    def __init__(
        self, database: Database, clock: Clock, on_lost: Callable[[str], None] = lambda _: None
    ) -> None:
        self._database = database
        self._clock = clock
        self.holder = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.epoch = 0
        self._on_lost = on_lost
        self._lost = False
        self._renewer: asyncio.Task[None] | None = None

    async def take(self) -> int:
        """Wait until the lease is ours, then keep it renewed. Returns the new epoch."""
        while True:
            now = self._clock.now()
            epoch, holder, _ = await self._database.write(
                lambda c, now=now: take_lease(  # type: ignore[misc]
                    c,
                    holder=self.holder,
                    now=now,
                    expires_at=now + DURATION_NS,
                    exclusive=self._database.exclusive,
                )
            )
            if holder == self.holder:
                self.epoch = epoch
                self._renewer = asyncio.create_task(self._renew(), name="lease")
                return epoch
            await asyncio.sleep(STANDBY_INTERVAL_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_INTERVAL_S)
            until = self._clock.now() + DURATION_NS
            try:
                await self._database.write(
                    lambda c, until=until: renew_lease(c, epoch=self.epoch, expires_at=until)  # type: ignore[misc]
                )
            except LeaseLost as error:
                log.error("lease_lost", reason=str(error))
                self._lost = True
                self._on_lost(LOST)
                return
            except StoreUnavailable:
                continue  # tried again; until then every batch fails by itself
            except Exception:
                log.exception("lease_not_renewed")  # the same: the epoch protects the data, not this task

    async def release(self) -> None:
        """Let another take it at once. Safe to call twice, and without having taken it."""
        if self._renewer is not None:
            self._renewer.cancel()
            self._renewer = None
        if self.epoch and not self._lost:
            with contextlib.suppress(LeaseLost, StoreUnavailable):  # not ours to give, or it ends by itself
                await self._database.write(lambda c: renew_lease(c, epoch=self.epoch, expires_at=1))
        self.epoch = 0
