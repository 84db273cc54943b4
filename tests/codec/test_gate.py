"""Bounds on what goes on at one time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from codec.storage.gate import Gate

COUNT_MAX, BYTES_MAX = 4, 100


@given(
    work=st.lists(
        st.tuples(st.integers(0, 150), st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=30
    )
)
def test_bounds_hold_and_everyone_gets_in(work: list[tuple[int, int, int | None]]) -> None:
    """Each piece of work: its size, how many turns of the loop it takes, and after how many it is cancelled."""

    async def run() -> None:
        gate = Gate(COUNT_MAX, BYTES_MAX)
        inside: list[int] = []
        done = 0

        async def one(size: int, turns: int) -> None:
            nonlocal done
            async with gate.held(size):
                inside.append(min(size, BYTES_MAX))
                try:
                    assert len(inside) <= COUNT_MAX
                    assert sum(inside) <= BYTES_MAX
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    inside.remove(min(size, BYTES_MAX))
            done += 1

        async def cancel(task: asyncio.Task[None], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

        tasks = [asyncio.create_task(one(size, turns)) for size, turns, _ in work]
        cancels = [
            cancel(task, after) for task, (_, _, after) in zip(tasks, work, strict=True) if after is not None
        ]
        await asyncio.gather(*cancels)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert done == results.count(None)
        # Nothing that was cancelled has kept its place.
        await asyncio.wait_for(one(BYTES_MAX, 0), 1)

    asyncio.run(run())


async def test_first_come_first_served() -> None:
    gate, order = Gate(10, 100), []

    async def one(name: str, size: int) -> None:
        async with gate.held(size):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(one("a", 60), one("large", 90), one("small", 10))
    assert order == ["a", "large", "small"]
