"""One suite, two databases: each test that takes `database` runs on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from cloud.engine.store.visibility import Visibility
from cloud.engine.store.visibility_schema import values_table, visibility_table

Result = TypeVar("Result")
Work = Callable[[Connection], Any]


class VisibilityDatabase:
    """A database with an empty visibility table; it records the statements it is sent."""

    def __init__(self, engine: Engine, run: Callable[[Work], Any]) -> None:
        self.dialect = engine.dialect.name
        self.sent: list[tuple[str, Any]] = []
        self.metadata = MetaData()
        self.table = visibility_table(self.metadata)
        self.visibility = Visibility(self.table, values_table(self.metadata))
        self._run = run
        event.listen(engine, "before_cursor_execute", self._record)

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, done in a transaction of its own."""
        result: Result = self._run(work)
        return result

    def _record(
        self, _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        self.sent.append((statement, parameters))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VisibilityDatabase]:
    """An empty visibility table, on each database in turn."""
    if request.param == "sqlite":
        yield from _on_sqlite(tmp_path / "cell.db")
    else:
        yield from _on_postgres(
            request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+asyncpg://", 1)
        )


def _on_sqlite(path: Path) -> Iterator[VisibilityDatabase]:
    engine = create_engine(f"sqlite:///{path}")

    def run(work: Work) -> Any:
        with engine.begin() as connection:
            return work(connection)

    yield from _with_table(VisibilityDatabase(engine, run))
    engine.dispose()


def _on_postgres(url: str) -> Iterator[VisibilityDatabase]:
    engine = create_async_engine(url, poolclass=NullPool)
    with asyncio.Runner() as runner:
        connection = runner.run(engine.connect().start())

        async def transact(work: Work) -> Any:
            async with connection.begin():
                return await connection.run_sync(work)

        yield from _with_table(
            VisibilityDatabase(engine.sync_engine, lambda work: runner.run(transact(work)))
        )
        runner.run(connection.close())
        runner.run(engine.dispose())


def _with_table(database: VisibilityDatabase) -> Iterator[VisibilityDatabase]:
    database.run(database.metadata.create_all)
    database.sent.clear()
    yield database
    database.run(database.metadata.drop_all)
