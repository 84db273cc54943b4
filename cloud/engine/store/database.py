"""One connection that writes, and connections that read, on SQLite or Postgres.

Four lanes, so that what may take long holds nobody up: writes (the commit loop, the lease), short reads by key (loads), the service's own
longer reads (tasks, what is due, history), and tenants' lists. A list is bounded in time, and its tenant in how many run at once.

All SQL of the store is plain functions of a synchronous SQLAlchemy ``Connection``. On Postgres they run on asyncpg through
SQLAlchemy's bridge; on SQLite the writer has a thread of its own (a flush waits for the disk) and short reads run in place,
because a point read of a local file costs less than a change of thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from cloud.engine.store.turns import TooManyWaiting, Turns

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

_SQLITE_CACHE_KIB = 16 * 1024
_SQLITE_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock: some hundred microseconds."""
_SQLITE_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

LIST_S = 10.0
"""How long a tenant's list may run in the database."""
LISTS_MAX = 3
LISTS_PER_TENANT_MAX = 2
LISTS_WAITING_MAX = 100
"""Tenants' lists that run at once, those of one tenant, and those of one tenant that wait."""

_POOL_WAIT_S = 10.0
_WRITERS, _READERS, _SCANNERS = 6, 4, 3
"""Connections to Postgres, beside LISTS_MAX: writers are the commit loop, the lease, and what is deleted."""


class StoreUnavailable(Exception):
    """The database refused or can't be reached; what was to be written is not written."""


class _Disconnected(StoreUnavailable):
    """The connection is gone; the next one may work."""


class StoreBroken(StoreUnavailable):
    """The database's own data is damaged: no write to it can be trusted, and no run is to blame."""


class ListRefused(Exception):
    """A tenant's list was stopped or not begun; the sentence says why, and what to do."""


class TooManyLists(ListRefused):
    """So many lists of the tenant wait already that one more is not taken."""


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
        """Run a read of the service's own that may take a while, without holding up writes and short reads."""

    async def list(self, tenant: str, function: Callable[[Connection], T]) -> T:
        """Run a read whose cost is in the hands of `tenant`, without holding up anything but the tenant's own lists.

        Raises:
            ListRefused: it took longer than LIST_S, or too many of the tenant's wait.
        """

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
        self._turns = _list_turns()
        # Readers of a file do not wait for one another: each place of a list has a connection and a thread.
        self._listers: list[tuple[Engine, ThreadPoolExecutor]] = (
            [(self._writer, self._thread)] * LISTS_MAX
            if path == ":memory:"
            else [
                (self._engine(writes=False), ThreadPoolExecutor(1, f"store-list-{n}"))
                for n in range(LISTS_MAX)
            ]
        )

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

    async def list(self, tenant: str, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        async with _turn(self._turns, tenant):
            engine, thread = self._listers.pop()
            gone = threading.Event()
            done = asyncio.get_running_loop().run_in_executor(
                thread, self._run_bounded, engine, function, gone
            )
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                gone.set()
                # The place is free when the thread is.
                while not done.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([done])
                done.exception()
                raise
            finally:
                self._listers.append((engine, thread))

    def _run_bounded(self, engine: Engine, function: Callable[[Connection], T], gone: threading.Event) -> T:
        ends_at = time.monotonic() + LIST_S

        def bounded(connection: Connection) -> T:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda: gone.is_set() or time.monotonic() > ends_at, _SQLITE_STEPS)
            try:
                return function(connection)
            finally:
                driver.set_progress_handler(None, 0)

        try:
            return self._run(engine, bounded)
        except StoreUnavailable:
            if time.monotonic() > ends_at:
                raise _took_too_long() from None
            raise

    def _connection(self, engine: Engine) -> Connection:
        connection = self._connections.get(engine)
        if connection is None:
            connection = self._connections[engine] = engine.connect()
        return connection

    def _run(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        try:
            connection = self._connection(engine)
            with connection.begin():
                return function(connection)
        except (DatabaseError, sqlite3.DatabaseError) as error:
            reason = error.orig if isinstance(error, DatabaseError) else error
            if getattr(reason, "sqlite_errorcode", 0) & 0xFF in _SQLITE_BROKEN:
                raise StoreBroken(
                    f"the database file {self._path} is damaged ({reason}): nothing more is written to it; restore it from "
                    "a backup, or salvage what can be read with sqlite3's .recover"
                ) from error
            if isinstance(reason, sqlite3.OperationalError):
                raise StoreUnavailable(f"the database refused: {reason}") from error
            raise

    async def close(self) -> None:
        """See :class:`Database`."""
        self._thread.shutdown()
        self._scan_thread.shutdown()
        for _, thread in self._listers:
            thread.shutdown()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._writer.dispose()
        self._inline.dispose()
        self._scanner.dispose()
        for engine, _ in self._listers:
            engine.dispose()
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
        self._url = make_url(url).set(drivername="postgresql+asyncpg")
        self._engine = self._pool(_WRITERS)
        self._readers = self._pool(_READERS)
        self._scanners = self._pool(_SCANNERS)
        self._listers = self._pool(LISTS_MAX, statement_timeout=f"{int(LIST_S * 1000)}ms")
        self._turns = _list_turns()

    def _pool(self, size: int, **settings: str) -> AsyncEngine:
        """A lane: so many connections, made when they are needed first."""
        from sqlalchemy.ext.asyncio import create_async_engine  # brings the whole ORM: not for SQLite

        return create_async_engine(
            self._url,
            hide_parameters=True,  # a failed statement must not print what tenants store
            pool_size=size,
            max_overflow=0,
            pool_timeout=_POOL_WAIT_S,
            # No ping before each use: it costs three round trips, as much as all else in a small flush. Once a connection is
            # found dead all of its pool are made anew: a read goes on, a write is told to try again.
            connect_args={
                "server_settings": {"synchronous_commit": "on", "jit": "off"} | settings,
                "timeout": 10,
            },
        )

    async def write(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self._run(self._engine, function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self._look(self._readers, function)

    async def scan(self, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self._look(self._scanners, function)

    async def list(self, tenant: str, function: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        async with _turn(self._turns, tenant):
            try:
                return await self._look(self._listers, function)
            except StoreUnavailable as error:
                if isinstance(error.__cause__, DBAPIError) and _sqlstate(error.__cause__) == _QUERY_CANCELED:
                    raise _took_too_long() from error
                raise

    async def _look(self, pool: AsyncEngine, function: Callable[[Connection], T]) -> T:
        """Run what only reads; once more if the connection turned out to be dead."""
        try:
            return await self._run(pool, function)
        except _Disconnected:
            return await self._run(pool, function)

    async def _run(self, pool: AsyncEngine, function: Callable[[Connection], T]) -> T:
        try:
            async with pool.begin() as connection:
                return await connection.run_sync(function)
        except PoolTimeout as error:
            raise StoreUnavailable(
                f"the database refused: no connection became free within {_POOL_WAIT_S:g} s"
            ) from error
        except (OperationalError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the database refused: {type(error).__name__}") from error
        except DBAPIError as error:
            state = _sqlstate(error)
            if state in _DAMAGED:
                raise StoreBroken(
                    f"the database is damaged (SQLSTATE {state}): nothing more is written to it; its server's log says "
                    "what is wrong"
                ) from error
            if error.connection_invalidated:
                raise _Disconnected("the connection to the database broke") from error
            if state[:2] in _TRANSIENT_CLASSES:
                raise StoreUnavailable(f"the database refused: SQLSTATE {state}") from error
            raise

    async def close(self) -> None:
        """See :class:`Database`."""
        for pool in (self._engine, self._readers, self._scanners, self._listers):
            await pool.dispose()


def _list_turns() -> Turns:
    return Turns(LISTS_MAX, per_tenant=LISTS_PER_TENANT_MAX, waiting_max=LISTS_WAITING_MAX)


@asynccontextmanager
async def _turn(turns: Turns, tenant: str) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turns.of(tenant))
        except TooManyWaiting as error:
            raise TooManyLists(
                f"{error} for the lists and counts of this namespace that run: ask again when they are done"
            ) from None
        yield


def _took_too_long() -> ListRefused:
    return ListRefused(
        f"the list or count took longer than {LIST_S:g} s in the database and was stopped: narrow its query, by a time or by "
        "an attribute that few executions share"
    )


# Connection trouble, resources, operator intervention, transaction rollback: by SQLSTATE class.
_TRANSIENT_CLASSES = frozenset({"08", "53", "57", "40"})
_QUERY_CANCELED = "57014"
_DAMAGED = frozenset({"XX001", "XX002"})


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
