"""One connection that writes, and connections that read, on SQLite or Postgres.

All SQL of the store is plain functions of a synchronous SQLAlchemy ``Connection``. On Postgres they run on asyncpg through
SQLAlchemy's bridge; on SQLite the writer has a thread of its own (a flush waits for the disk) and short reads run in place,
because a point read of a local file costs less than a change of thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

T = TypeVar("T")

_SQLITE_CACHE_KIB = 16 * 1024


class StoreUnavailable(Exception):
    """The database refused or can't be reached; what was to be written is not written."""


class Database(Protocol):
    """A place for a cell's rows. `exclusive`: having it open keeps others out."""

    exclusive: bool
    dialect: str

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run `function` in one transaction, which is durable (on disk) when this returns.

        Raises:
            StoreUnavailable: it is not written.
        """

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run a short read (a few rows by key)."""

    async def scan(self, function: Callable[[Connection], T]) -> T:
        """Run a read that may take long, without holding up others."""

    async def close(self) -> None:
        """Close all connections."""


def open_database(url: str) -> Database:
    """Open ``sqlite:///FILE`` (or a bare file name, or ``:memory:``) or ``postgresql://…``.

    Raises:
        StoreUnavailable: the file's folder is not there or not writable, or the file is not a database.
        ValueError: the URL is of no kind that this store knows.
    """
    if url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        return PostgresDatabase(url)
    if "://" in url and not url.startswith("sqlite:///"):
        raise ValueError(
            f"unknown database URL {url.split('://', 1)[0]}://…: use a file, sqlite:///FILE or postgresql://…"
        )
    return SqliteDatabase(url.removeprefix("sqlite:///"))


class SqliteDatabase:
    """An embedded database file in WAL mode, each commit synced to disk. A lock file beside it keeps others out."""

    exclusive = True
    dialect = "sqlite"

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock: IO[str] | None = None
        self._connections: dict[Engine, Connection] = {}
        if path != ":memory:":
            folder = Path(path).resolve().parent
            if not folder.is_dir():
                raise StoreUnavailable(
                    f"the folder {folder} of the database file {path} does not exist: create it"
                )
            self._lock = _lock_file(path)
        try:
            self._writer = self._engine(writes=True)
            # A memory database lives in one connection; a file gives each reader its own.
            self._inline = self._writer if path == ":memory:" else self._engine(writes=False)
            self._scanner = self._writer if path == ":memory:" else self._engine(writes=False)
            with self._writer.connect():
                pass
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StoreUnavailable(
                f"the database file {path} can't be opened: {cause}: check that it is a SQLite file and that it and its "
                "folder can be written"
            ) from error
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._scan_thread = self._thread if path == ":memory:" else ThreadPoolExecutor(1, "store-scan")

    def _engine(self, *, writes: bool) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}" if self._path != ":memory:" else "sqlite://",
            poolclass=StaticPool,
            hide_parameters=True,  # a failed statement must not print what tenants store
            connect_args={"check_same_thread": False, "timeout": 30, "isolation_level": None},
        )

        def configure(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                f"cache_size=-{_SQLITE_CACHE_KIB}",
                "temp_store=MEMORY",
                "mmap_size=0",
                "wal_autocheckpoint=4000",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            if not writes:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        def begin(connection: Connection) -> None:
            driver: Any = connection.connection.driver_connection
            driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

        event.listen(engine, "connect", configure)
        event.listen(engine, "begin", begin)
        return engine

    async def write(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._run, self._writer, function
        )

    async def read(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        if self._inline is self._writer:
            return await self.write(function)
        return self._run(self._inline, function)

    async def scan(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._scan_thread, self._run, self._scanner, function
        )

    def _run(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        connection = self._connections.get(engine)
        try:
            if connection is None:
                connection = self._connections[engine] = engine.connect()
            with connection.begin():
                return function(connection)
        except (OperationalError, sqlite3.OperationalError) as error:
            reason = error.orig if isinstance(error, OperationalError) else error
            raise StoreUnavailable(f"the database refused: {reason}") from error

    async def close(self) -> None:
        """See :class:`Database`."""
        self._thread.shutdown()
        self._scan_thread.shutdown()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._writer.dispose()
        self._inline.dispose()
        self._scanner.dispose()
        if self._lock is not None:
            self._lock.close()


def _lock_file(path: str) -> IO[str]:
    try:
        lock = Path(f"{path}.lock").open("a+")  # noqa: SIM115 - held for the database's life
    except OSError as error:
        raise StoreUnavailable(
            f"the lock file {path}.lock can't be written: {error.strerror}: make the folder writable for this user"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreUnavailable(
            f"the database file {path} is in use by another process: stop that one, or give this one another file"
        ) from error
    return lock


class PostgresDatabase:
    """A Postgres server (or what speaks its protocol), through asyncpg; commits wait for its log to be on disk."""

    exclusive = False
    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        parsed = make_url(url).set(drivername="postgresql+asyncpg")
        self._engine = create_async_engine(
            parsed,
            hide_parameters=True,  # a failed statement must not print what tenants store
            pool_size=4,
            max_overflow=4,
            pool_pre_ping=True,
            connect_args={"server_settings": {"synchronous_commit": "on", "jit": "off"}, "timeout": 10},
        )

    async def write(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(function)
        except (OperationalError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the database refused: {type(error).__name__}") from error
        except DBAPIError as error:
            if error.connection_invalidated or _sqlstate(error)[:2] in _TRANSIENT_CLASSES:
                raise StoreUnavailable(f"the database refused: SQLSTATE {_sqlstate(error)}") from error
            raise

    async def read(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self.write(function)

    async def scan(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self.write(function)

    async def close(self) -> None:
        """See :class:`Database`."""
        await self._engine.dispose()


# Connection trouble, resources, operator intervention, transaction rollback: by SQLSTATE class.
_TRANSIENT_CLASSES = frozenset({"08", "53", "57", "40"})


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
