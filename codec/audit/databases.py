"""Databases: every value of every table, so that rows that lie across pages are seen whole, and the file's pages too.

Nothing is known of the tables: any service's database of any version is read. Of text columns some values are kept as
examples of what is readable by design (ids, names of types and queues); blobs are looked into.
"""

from __future__ import annotations

import asyncio
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from codec.audit.looking import Looker, Pages
from codec.audit.needles import AuditError
from codec.audit.unpacking import Budget

SQLITE_MAGIC = b"SQLite format 3\0"
_WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
POSTGRES_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_FIELD_BYTES_MAX = 1024 * 1024 * 1024
_COPY_HEAD = 19
_TEXT_TYPES = frozenset({"text", "character varying", "character", "name", "uuid", "json", "jsonb", "citext"})


def pages_of(head: bytes) -> Pages | None:
    """How an SQLite database, or its write-ahead log, is cut, by the file's first 100 bytes; None of another file."""
    if head.startswith(SQLITE_MAGIC):
        size = int.from_bytes(head[16:18], "big")
        return Pages(65536 if size == 1 else max(size, 1))
    if head.startswith(_WAL_MAGICS):
        return Pages(max(int.from_bytes(head[8:12], "big"), 1), head=24, lead=32)
    return None


def look_at_sqlite(looker: Looker, path: Path) -> None:
    """All rows of an SQLite database, as a reader beside its service sees them. (Its pages are looked at as a file.)

    Raises:
        AuditError: it can't be read.
    """
    source = f"{path} (rows)"
    budget = looker.begin(source)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise AuditError(f"The database {path} can't be opened: {error}.") from None
    try:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        tables = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
        ).fetchall()
        for table, made_by in tables:
            # The contents of a virtual table are in ordinary ones beside it.
            if str(made_by).upper().startswith("CREATE VIRTUAL"):
                continue
            quoted = table.replace('"', '""')
            rows = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name of the database's own, quoted
            columns = [f"{table}.{column[0]}" for column in rows.description]
            for number, row in enumerate(rows, start=1):
                for column, value in zip(columns, row, strict=True):
                    _look_at_value(looker, source, column, number, value, budget)
    except sqlite3.Error as error:
        raise AuditError(f"The database {path} can't be read: {error}.") from None
    finally:
        connection.close()


def look_at_postgres(looker: Looker, url: str) -> None:
    """All rows of all tables of a Postgres database, in one transaction.

    Raises:
        AuditError: it can't be reached or read.
    """
    asyncio.run(_look_at_postgres(looker, url))


async def _look_at_postgres(looker: Looker, url: str) -> None:
    import asyncpg

    parts = urlsplit(url)
    shown = f"postgresql://{parts.hostname or ''}{parts.path}"
    plain = urlunsplit(("postgresql", parts.netloc, parts.path, parts.query, ""))
    source = f"{shown} (rows)"
    budget = looker.begin(source)
    try:
        connection = await asyncpg.connect(plain, timeout=30)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise AuditError(f"The database {shown} can't be reached: {error}.") from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await connection.fetch(
                "SELECT c.table_schema, c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
                "JOIN information_schema.tables t USING (table_schema, table_name) WHERE t.table_type = 'BASE TABLE' "
                "AND c.table_schema NOT IN ('pg_catalog', 'information_schema') "
                "ORDER BY c.table_schema, c.table_name, c.ordinal_position"
            )
            tables: dict[tuple[str, str], list[tuple[str, str]]] = {}
            for schema, table, column, kind in found:
                tables.setdefault((schema, table), []).append((column, kind))
            for (schema, table), columns in tables.items():
                reader = _CopyReader(looker, source, table, columns, budget)
                await connection.copy_from_table(
                    table, schema_name=schema, output=reader.feed, format="binary"
                )
    except (OSError, asyncpg.PostgresError) as error:
        raise AuditError(f"The database {shown} can't be read: {error}.") from None
    finally:
        await connection.close()


class _CopyReader:
    """Postgres's binary form of a table, in pieces: a head of 19 bytes, then rows of fields with their lengths."""

    def __init__(
        self, looker: Looker, source: str, table: str, columns: list[tuple[str, str]], budget: Budget
    ) -> None:
        self._looker = looker
        self._source = source
        self._columns = [(f"{table}.{column}", kind in _TEXT_TYPES) for column, kind in columns]
        self._budget = budget
        self._held = bytearray()
        self._head_seen = False
        self._row = 0

    async def feed(self, piece: bytes) -> None:
        """The next bytes."""
        self._held += piece
        if not self._head_seen:
            if len(self._held) < _COPY_HEAD:
                return
            del self._held[: _COPY_HEAD + struct.unpack_from("!I", self._held, _COPY_HEAD - 4)[0]]
            self._head_seen = True
        while (row := self._whole_row()) is not None:
            self._row += 1
            for (column, is_text), value in zip(self._columns, row, strict=False):
                shown = value.decode(errors="replace") if is_text and value is not None else value
                _look_at_value(self._looker, self._source, column, self._row, shown, self._budget)

    def _whole_row(self) -> list[bytes | None] | None:
        if len(self._held) < 2:
            return None
        (count,) = struct.unpack_from("!h", self._held)
        position = 2
        values: list[bytes | None] = []
        for _ in range(max(count, 0)):
            if len(self._held) < position + 4:
                return None
            (size,) = struct.unpack_from("!i", self._held, position)
            position += 4
            if size < 0:
                values.append(None)
                continue
            if size > _FIELD_BYTES_MAX:
                raise AuditError(
                    f"A value of {size} bytes is larger than Postgres has them: not its binary form."
                )
            if len(self._held) < position + size:
                return None
            values.append(bytes(self._held[position : position + size]))
            position += size
        del self._held[:position]
        return values if count >= 0 else None


def _look_at_value(looker: Looker, source: str, column: str, row: int, value: Any, budget: Budget) -> None:
    if isinstance(value, str):
        data: bytes = value.encode()
        if value:
            looker.readable(f"column {column}", value)
    elif isinstance(value, bytes):
        data = value
    else:
        return
    looker.look(data, source, f"{column}, row {row}", budget)
    looker.advance(source, len(data))


def is_postgres(url: str) -> bool:
    """Whether a URL names a Postgres database."""
    return "://" in url and urlsplit(url).scheme in POSTGRES_SCHEMES


def sqlite_companions(path: Path) -> Iterator[Path]:
    """The files beside an SQLite database that hold parts of it. (Its `-shm` has numbers of pages alone.)"""
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.is_file():
            yield beside
