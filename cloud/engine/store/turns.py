"""Turns at something scarce, fair between tenants: each gets at most some of the places, and waits only behind its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooManyWaiting(Exception):
    """So many of a tenant's wait already that one more is not taken."""


class Turns:
    """`places` in all, at most `per_tenant` of them for one, and at most `waiting_max` of one that wait."""

    def __init__(self, places: int, *, per_tenant: int, waiting_max: int) -> None:
        self._free = places
        self._per_tenant = per_tenant
        self._waiting_max = waiting_max
        self._taken: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = (
            OrderedDict()
        )  # whose turn is next, first

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place of `tenant`.

        Raises:
            TooManyWaiting: at once.
        """
        await self._take(tenant)
        try:
            yield
        finally:
            self._give_back(tenant)

    async def _take(self, tenant: str) -> None:
        # Who waits while a place is free waits for a place of its own tenant.
        if self._free and self._taken.get(tenant, 0) < self._per_tenant:
            self._grant(tenant)
            return
        waiting = self._waiting.setdefault(tenant, deque())
        if len(waiting) >= self._waiting_max:
            raise TooManyWaiting(f"{len(waiting)} wait")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(tenant)  # granted in the moment that its caller went away
            else:
                self._leave(tenant, turn)
            raise

    def _grant(self, tenant: str) -> None:
        self._free -= 1
        self._taken[tenant] = self._taken.get(tenant, 0) + 1

    def _give_back(self, tenant: str) -> None:
        self._free += 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        self._go_on()

    def _leave(self, tenant: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(tenant)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[tenant]

    def _go_on(self) -> None:
        for tenant in list(self._waiting):
            if not self._free:
                return
            if self._taken.get(tenant, 0) >= self._per_tenant:
                continue
            turn = self._waiting[tenant].popleft()
            if self._waiting[tenant]:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if turn.done():  # its caller goes away in this moment
                self._go_on()
                return
            self._grant(tenant)
            turn.set_result(None)
