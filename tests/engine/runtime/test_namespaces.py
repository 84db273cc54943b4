"""A namespace is changed in store and memory, or in neither, whoever goes away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from cloud.engine.runtime.namespaces import Namespace, Namespaces, NoSuchNamespace
from cloud.engine.store.database import Database, StoreUnavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

NEW = Namespace(namespace_id="new-id", name="new")


async def stored(found: Engine, database: Database) -> dict[str, Namespace]:
    """What another process would load."""
    other = Namespaces(database, found.runtime.limits)
    await other.load()
    return {namespace.name: namespace for namespace in other.all()}


def in_memory(found: Engine) -> dict[str, Namespace]:
    return {namespace.name: namespace for namespace in found.runtime.namespaces.all()}


def create(namespaces: Namespaces, epoch: int) -> Awaitable[None]:
    return namespaces.create(NEW, epoch)


def update(namespaces: Namespaces, epoch: int) -> Awaitable[None]:
    return namespaces.update(replace(namespaces.by_name(NAMESPACE), description="changed"), epoch)


def rename(namespaces: Namespaces, epoch: int) -> Awaitable[None]:
    old = namespaces.by_name(NAMESPACE)
    return namespaces.rename(old, replace(old, name="renamed"), epoch)


def delete(namespaces: Namespaces, epoch: int) -> Awaitable[None]:
    return namespaces.delete(namespaces.by_name(NAMESPACE), epoch)


CHANGES = (create, update, rename, delete)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_caller_that_goes_away_leaves_no_half(
    database: Database, change: Callable[[Namespaces, int], Awaitable[None]], cancels: int
) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        before = in_memory(found)
        faulty.writing.close()
        task = asyncio.ensure_future(change(found.runtime.namespaces, found.runtime.lease.epoch))
        await faulty.writing.reached.wait()
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.02)
        assert not task.done(), "the lock that its caller holds would be free before the change is made"
        faulty.writing.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = in_memory(found)
        assert after == await stored(found, database)
        assert after != before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_fails_is_in_neither(
    database: Database, change: Callable[[Namespaces, int], Awaitable[None]]
) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        before = in_memory(found)
        faulty.fail_next = 1
        with pytest.raises(StoreUnavailable):
            await change(found.runtime.namespaces, found.runtime.lease.epoch)
        assert in_memory(found) == before == await stored(found, database)
        with pytest.raises(NoSuchNamespace):
            found.runtime.namespaces.by_name("new")
