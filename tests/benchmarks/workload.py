"""The workflows that the figures are taken with, written as an application would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import activity, workflow

ACTIVITY_TIMEOUT = timedelta(seconds=60)


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class OneActivity:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=ACTIVITY_TIMEOUT)


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, seconds: int) -> str:
        await asyncio.sleep(seconds)
        return "awake"


class Tick:
    """An activity that tells `on_tick` its number: the load takes its samples there."""

    def __init__(self) -> None:
        self.on_tick: Callable[[int], None] = _ignore

    @activity.defn
    async def tick(self, number: int) -> int:
        self.on_tick(number)
        return number


def _ignore(_number: int) -> None:
    pass


@workflow.defn
class Bursts:
    """Each `go` runs that many activities one after another, six events each; `finish` ends it."""

    def __init__(self) -> None:
        self._wanted = 0
        self._done = 0
        self._finished = False

    @workflow.run
    async def run(self) -> None:
        while not self._finished:
            while self._done < self._wanted:
                await workflow.execute_activity_method(
                    Tick.tick, self._done, start_to_close_timeout=ACTIVITY_TIMEOUT
                )
                self._done += 1
            await workflow.wait_condition(lambda: self._finished or self._wanted > self._done)

    @workflow.signal
    def go(self, count: int) -> None:
        self._wanted += count

    @workflow.signal
    def finish(self) -> None:
        self._finished = True


@workflow.defn
class FanOut:
    """Runs `count` activities at once."""

    @workflow.run
    async def run(self, count: int) -> int:
        numbers = [
            workflow.execute_activity_method(Tick.tick, number, start_to_close_timeout=ACTIVITY_TIMEOUT)
            for number in range(count)
        ]
        return sum(await asyncio.gather(*numbers))


@workflow.defn
class Listener:
    """Takes signals until it is ended."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def say(self, _word: str) -> None:
        """Nothing: the signal's way is what is measured."""
