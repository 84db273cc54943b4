"""Turns are fair: a tenant waits only behind its own, and gets no more than its places."""

from __future__ import annotations

import asyncio
import random

import pytest

from cloud.engine.store.turns import TooManyWaiting, Turns


class Holder:
    """Holds a place until it is told to leave."""

    def __init__(self, turns: Turns, tenant: str, order: list[str]) -> None:
        self.tenant = tenant
        self.leave = asyncio.Event()
        self.inside = False
        self._order = order
        self.task = asyncio.create_task(self._hold(turns))

    async def _hold(self, turns: Turns) -> None:
        async with turns.of(self.tenant):
            self.inside = True
            self._order.append(self.tenant)
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_tenant_leaves_places_to_others() -> None:
    turns, order = Turns(3, per_tenant=2, waiting_max=10), list[str]()
    greedy = [Holder(turns, "greedy", order) for _ in range(5)]
    await settle()
    assert [holder.inside for holder in greedy] == [True, True, False, False, False]
    other = Holder(turns, "other", order)
    await settle()
    assert other.inside
    for holder in (*greedy, other):
        holder.leave.set()
    await asyncio.gather(*(holder.task for holder in (*greedy, other)))


async def test_those_who_wait_take_turns() -> None:
    turns, order = Turns(1, per_tenant=1, waiting_max=10), list[str]()
    first = Holder(turns, "a", order)
    await settle()
    rest = [Holder(turns, tenant, order) for tenant in "aaabc"]
    await settle()
    for holder in (first, *rest):
        holder.leave.set()
    await asyncio.gather(*(holder.task for holder in (first, *rest)))
    assert "".join(order) == "aabcaa"


async def test_a_tenant_that_waits_too_often_is_refused_at_once() -> None:
    turns, order = Turns(1, per_tenant=1, waiting_max=2), list[str]()
    holders = [Holder(turns, "a", order) for _ in range(3)]
    await settle()
    with pytest.raises(TooManyWaiting):
        async with turns.of("a"):
            pass
    for holder in holders:
        holder.leave.set()
    await asyncio.gather(*(holder.task for holder in holders))


@pytest.mark.parametrize("seed", range(30))
async def test_no_place_is_lost_whoever_goes_away(seed: int) -> None:
    """Random arrivals, leavings and cancellations, also in the moment of being granted a place."""
    rng = random.Random(seed)
    turns, order = Turns(3, per_tenant=2, waiting_max=100), list[str]()
    holders: list[Holder] = []
    for _ in range(200):
        match rng.randrange(4):
            case 0 | 1:
                holders.append(Holder(turns, rng.choice("abc"), order))
            case 2 if holders:
                rng.choice(holders).leave.set()
            case 3 if holders:
                rng.choice(holders).task.cancel()
        if rng.random() < 0.7:
            await asyncio.sleep(0)
        inside = [holder.tenant for holder in holders if holder.inside]
        assert len(inside) <= 3
        assert all(inside.count(tenant) <= 2 for tenant in "abc")
    for holder in holders:
        holder.leave.set()
    await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)
    assert turns._free == 3
    assert not turns._taken
    assert not turns._waiting
