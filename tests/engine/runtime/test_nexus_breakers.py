"""Breakers: open after failures in a row, one tries whether the destination is back, and all that waited goes on."""

from __future__ import annotations

import asyncio

import pytest

from cloud.engine.runtime import nexus_breakers
from cloud.engine.runtime.nexus_breakers import FAILURES_MAX, Breakers, TooManyCalls

KEY = ("ns", "endpoint")


def fail(breakers: Breakers, times: int) -> None:
    for _ in range(times):
        breakers.note(KEY, down=True)


async def blocked(breakers: Breakers, key: tuple[str, str] = KEY) -> bool:
    try:
        async with asyncio.timeout(0.02):
            await breakers.passed(key)
    except TimeoutError:
        return True
    return False


async def test_failures_in_a_row_open_it_for_this_destination_only() -> None:
    breakers = Breakers()
    fail(breakers, FAILURES_MAX)
    assert not await blocked(breakers)
    breakers.note(KEY, down=False)  # they must be in a row
    fail(breakers, FAILURES_MAX)
    assert not breakers.is_open(KEY)
    fail(breakers, 1)
    assert breakers.is_open(KEY)
    assert await blocked(breakers)
    assert not await blocked(breakers, ("other", "endpoint"))
    assert not await blocked(breakers, ("ns", "other"))


async def test_one_tries_and_the_others_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_breakers, "OPEN_S", 0.05)
    breakers = Breakers()
    fail(breakers, FAILURES_MAX + 1)
    waiting = [asyncio.create_task(breakers.passed(KEY)) for _ in range(5)]
    done, rest = await asyncio.wait(waiting, timeout=0.3)
    assert (len(done), len(rest)) == (1, 4)
    breakers.note(KEY, down=True)  # it is still down
    done, rest = await asyncio.wait(rest, timeout=0.3)
    assert (len(done), len(rest)) == (1, 3)
    breakers.abandon(KEY)  # whoever tried went away
    done, rest = await asyncio.wait(rest, timeout=0.3)
    assert (len(done), len(rest)) == (1, 2)
    breakers.note(KEY, down=False)
    done, rest = await asyncio.wait(rest, timeout=0.3)
    assert (len(done), len(rest)) == (2, 0)
    assert not breakers.is_open(KEY)


async def test_breakers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_breakers, "BREAKERS_MAX", 3)
    breakers = Breakers()
    fail(breakers, FAILURES_MAX + 1)
    waiting = asyncio.create_task(breakers.passed(KEY))
    await asyncio.sleep(0)
    for name in "abc":
        breakers.note(("ns", name), down=True)
    await asyncio.wait_for(waiting, 1)
    assert len(breakers._breakers) == 3


async def test_calls_of_one_destination_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_breakers, "CALLS_MAX", 2)
    breakers = Breakers()
    with breakers.counted(KEY), breakers.counted(KEY):
        with pytest.raises(TooManyCalls), breakers.counted(KEY):
            pass
        with breakers.counted(("ns", "other")):
            pass
    with breakers.counted(KEY):
        pass
    assert not breakers._calls
