"""One tenant's long list holds up nobody else, and a damaged database is nobody's fault."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Connection, text
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest

from cloud.engine.api import lists
from cloud.engine.store import database as databases
from cloud.engine.store.database import (
    Database,
    ListRefused,
    PostgresDatabase,
    SqliteDatabase,
    StoreUnavailable,
    TooManyLists,
)
from cloud.rpc import DeadlineExceeded, ResourceExhausted
from tests.engine.runtime.harness import NAMESPACE, FaultyDatabase, engine

_LONG = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT count(*) FROM n"
)


def for_ever(connection: Connection) -> None:
    """A statement that takes minutes."""
    connection.execute(_LONG)


def one(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT 1")).scalar_one()
    return found


async def test_a_long_list_holds_up_nobody_else(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(database, SqliteDatabase):  # Postgres was told when the database was opened
        monkeypatch.setattr(databases, "LIST_S", 3.0)
    greedy = [asyncio.create_task(database.list("greedy", for_ever)) for _ in range(6)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    async with asyncio.timeout(2):
        assert await database.list("other", one) == 1
        assert await database.scan(one) == 1
        assert await database.read(one) == 1
        assert await database.write(one) == 1
    assert time.monotonic() - began < 2
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    async with asyncio.timeout(2):  # and each left its place, and its statement
        assert await database.list("greedy", one) == 1


async def test_an_engine_serves_others_beside_a_long_list(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lists.visibility), "count", lambda connection, *_: for_ever(connection))
    async with engine(database) as found:
        request = CountWorkflowExecutionsRequest(namespace=NAMESPACE)
        running = [
            asyncio.create_task(found.call("CountWorkflowExecutions", request, timeout_s=30))
            for _ in range(5)
        ]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await found.start("wf")
            found.runtime.queues.forget()
            found.runtime.runs.forget()
            task = await found.poll()
            await found.complete(task)
            await asyncio.sleep(1.5)  # the lease is renewed meanwhile
            await found.signal("wf", "through")
        for task_ in running:
            task_.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_list_that_takes_too_long_is_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LIST_S", 0.5)
    if isinstance(database, PostgresDatabase):
        database._listers = database._pool(1, statement_timeout="500ms")
    began = time.monotonic()
    with pytest.raises(ListRefused, match="narrow its query"):
        await database.list("tenant", for_ever)
    assert time.monotonic() - began < 5
    assert await database.list("tenant", one) == 1


async def test_what_a_refused_list_is_to_its_caller(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        request = CountWorkflowExecutionsRequest(namespace=NAMESPACE)
        faulty.fail_lists = [ListRefused("too long")]
        with pytest.raises(DeadlineExceeded, match="too long"):
            await found.call("CountWorkflowExecutions", request)
        faulty.fail_lists = [TooManyLists("too many")]
        with pytest.raises(ResourceExhausted, match="too many"):
            await found.call("CountWorkflowExecutions", request)


async def test_lists_that_wait_are_counted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [
        asyncio.create_task(database.list("tenant", for_ever)) for _ in range(databases.LISTS_WAITING_MAX + 2)
    ]
    await asyncio.sleep(0.2)
    with pytest.raises(TooManyLists, match="100 wait"):
        await database.list("tenant", one)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.postgres
async def test_a_wait_for_a_connection_ends(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_POOL_WAIT_S", 0.3)
    monkeypatch.setattr(databases, "_SCANNERS", 1)
    database = PostgresDatabase(postgres_url)
    held = asyncio.create_task(database.scan(lambda c: c.execute(text("SELECT pg_sleep(2)"))))
    await asyncio.sleep(0.2)
    with pytest.raises(StoreUnavailable, match="no connection became free"):
        await database.scan(one)
    assert await database.write(one) == 1
    await held
    await database.close()


async def test_a_damaged_file_ends_the_process_with_a_sentence_and_blames_nobody(tmp_path: Path) -> None:
    path = tmp_path / "cell.db"
    database = SqliteDatabase(str(path))
    ended: list[str] = []
    with structlog.testing.capture_logs() as logs:
        async with engine(database, ended.append) as found:
            for n in range(30):
                await found.start(f"wf-{n}")
            await asyncio.sleep(0.1)
            with sqlite3.connect(path) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.close()
            data = path.read_bytes()
            path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
            await database.write(lambda c: c.exec_driver_sql("PRAGMA shrink_memory"))
            with pytest.raises(Exception, match="could not be made durable"):
                await found.signal("wf-1", "x")
            await asyncio.sleep(0.05)
            assert len(ended) == 1
            assert "is damaged" in ended[0]
            assert "restore it from a backup" in ended[0]
            assert not found.runtime._held_up
    assert "batch_can_not_be_stored" not in {line["event"] for line in logs}
    await database.close()
