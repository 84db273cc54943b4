"""One database, SQLite or Postgres, reached from asyncio by the same plain statements.

A unit of work is a synchronous function of a connection: one transaction, all or nothing. On SQLite it runs
in the one thread that owns the file's connection, on Postgres through SQLAlchemy's bridge over asyncpg. A
unit must not wait for anything but the database, and may be run only once per call: nothing here retries.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

# The ASCII of "tena": processes that start at once migrate one after the other.
_MIGRATION_LOCK = 0x74656E61


class Database(Protocol):
    """Runs units of work."""

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction that is durable once this returns.

        On an exception nothing is written.
        """

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which must not write, on one consistent view."""

    async def close(self) -> None:
        """Let go of the database; closing twice is harmless."""


async def open_database(url: str) -> Database:
    """Open the database at `url` and bring its tables up to date.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host/name``.

    Raises:
        ValueError: a URL of another kind.
        sqlalchemy.exc.SQLAlchemyError: the database can't be reached or written.
    """
    parsed = sa.make_url(url)
    kind = parsed.get_backend_name()
    database: _Sqlite | _Postgres
    if kind == "sqlite":
        database = _Sqlite(parsed)
    elif kind == "postgresql":
        database = _Postgres(parsed)
    else:
        raise ValueError(f"a {kind} database can't be used; give sqlite:///FILE or postgresql://HOST/NAME")
    try:
        await database.write(_migrate)
    except BaseException:
        await database.close()
        raise
    return database


class _Sqlite:
    """A file with one connection and one thread: SQLite has one writer anyway, and its calls block."""

    def __init__(self, url: sa.URL) -> None:
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._engine = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=StaticPool,
            # autocommit: transactions begin by the statements below, not by the driver's guesses.
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 10.0},
        )
        sa.event.listen(self._engine, "connect", _prepare_sqlite)
        sa.event.listen(self._engine, "begin", _begin_immediate)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tenancy-sqlite")

    async def write(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    # Another process may write the file too; a transaction of one's own shows one state of it.
    read = write

    def _run(self, work: Work[T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._engine.dispose()


class _Postgres:
    def __init__(self, url: sa.URL) -> None:
        self._engine: AsyncEngine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=5,
            max_overflow=5,
            pool_pre_ping=True,
        )
        self._snapshot = self._engine.execution_options(isolation_level="REPEATABLE READ")

    async def write(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: Work[T]) -> T:
        async with self._snapshot.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at the start, so that a transaction never fails half-way for want of it.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
