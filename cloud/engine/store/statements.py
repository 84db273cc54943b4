"""Statements rendered once per database, for the paths where SQLAlchemy's own work per call would show.

A statement is written with SQLAlchemy Core as everywhere, compiled on first use, and from then on sent as text with positional
parameters; types need no conversion there (text, integers and bytes only). On SQLite it goes straight to the driver's cursor: there
a statement costs less than SQLAlchemy's bookkeeping around it. On Postgres, where a statement is a round trip, SQLAlchemy keeps
watching over the connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Insert, Table, bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError


class Statement:
    """`build` (dialect name -> statement) is rendered when first used on a dialect."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self._rendered: dict[str, tuple[str, tuple[str, ...]]] = {}

    def _on(self, connection: Connection) -> tuple[str, tuple[str, ...]]:
        name = connection.dialect.name
        found = self._rendered.get(name)
        if found is None:
            statement: Executable = self._build(name)
            compiled = statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
            found = self._rendered[name] = (str(compiled), tuple(compiled.positiontup or ()))
        return found

    def one(self, connection: Connection, **parameters: Any) -> tuple[Any, ...] | None:
        """Run it once with named parameters. Returns its one row, None if there is none."""
        text, names = self._on(connection)
        values = tuple(parameters[name] for name in names)
        driver = _sqlite(connection)
        if driver is None:
            found = connection.exec_driver_sql(text, values).one_or_none()
            return None if found is None else tuple(found)
        try:
            row: tuple[Any, ...] | None = driver.execute(text, values).fetchone()
        except sqlite3.Error as error:
            raise _wrapped(error) from error
        return row

    def execute_many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it for each row; a row's values stand in the order of the statement's parameters."""
        if not rows:
            return
        text, _ = self._on(connection)
        driver = _sqlite(connection)
        if driver is None:
            connection.exec_driver_sql(text, list(rows))
            return
        try:
            driver.executemany(text, rows)
        except sqlite3.Error as error:
            raise _wrapped(error) from error


def upsert_into(table: Table) -> Statement:
    """Puts rows, as tuples in the order of the table's columns, in place of those of the same key."""
    keys = [column.name for column in table.primary_key.columns]
    others = [column.name for column in table.columns if column.name not in keys]

    def build(dialect: str) -> Insert:
        statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
        return statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in others}
        )

    return Statement(build)


def insert_into(table: Table) -> Statement:
    """Adds rows, as tuples in the order of the table's columns."""
    return Statement(lambda _: table.insert())


def delete_by(table: Table, column: str) -> Statement:
    """Deletes the rows that have a value in a column."""
    return Statement(lambda _: delete(table).where(table.c[column] == bindparam(f"{column}_")))


def _sqlite(connection: Connection) -> sqlite3.Connection | None:
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None


def _wrapped(error: sqlite3.Error) -> BaseException:
    """The error as SQLAlchemy would raise it, without the parameters: those are the tenants'."""
    return DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True)
