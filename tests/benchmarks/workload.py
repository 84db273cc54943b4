"""The workflows that the figures are taken with, written as an application would."""

from __future__ import annotations

import asyncio
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


class Tick:
    """An activity that tells `on_tick` its number: the load takes its samples there."""

    def __init__(self) -> None:
        self.on_tick = _ignore

    @activity.defn
    async def tick(self, number: int) -> int:
        self.on_tick(number)
        return number


def _ignore(_number: int) -> None:
    pass


@workflow.defn
class InTurn:
    """Runs `count` activities one after another: six events each."""

    @workflow.run
    async def run(self, count: int) -> int:
        total = 0
        for number in range(count):
            total += await workflow.execute_activity_method(
                Tick.tick, number, start_to_close_timeout=ACTIVITY_TIMEOUT
            )
        return total


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
    """Takes signals until it is told how many there were."""

    def __init__(self) -> None:
        self.heard = 0
        self.sent: int | None = None

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.sent is not None and self.heard >= self.sent)
        return self.heard

    @workflow.signal
    def say(self, _word: str) -> None:
        self.heard += 1

    @workflow.signal
    def finish(self, sent: int) -> None:
        self.sent = sent
