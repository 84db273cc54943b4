"""All migrations in turn make the tables of ``schema.py``, on both databases, once, whole or not at all."""

from __future__ import annotations

import asyncio
import sys
import tomllib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from cloud.engine.store import migrating
from cloud.engine.store.database import Database, PostgresDatabase, StoreUnavailable, open_database
from cloud.engine.store.migrating import HEAD, migrate, prepare, upgrade
from cloud.engine.store.schema import metadata

ROOT = Path(__file__).parents[3]

# Everything that makes a table what it is, in words of the database itself: Alembic's comparison leaves much out.
POSTGRES_TABLES = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default, collation_name
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
POSTGRES_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
SQLITE_TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"


@asynccontextmanager
async def empty_postgres(url: str) -> AsyncIterator[str]:
    """The URL of a new database in the Postgres at `url`, which goes with it."""
    name = f"migrations_{uuid.uuid4().hex[:12]}"
    admin = PostgresDatabase(url)
    async with admin._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
        yield url.replace("/postgres?", f"/{name}?")
        await connection.execute(text(f"DROP DATABASE {name}"))
    await admin.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def cell(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with AsyncExitStack() as stack:
        url = str(tmp_path / "cell.db")
        if request.param == "postgres":
            url = await stack.enter_async_context(empty_postgres(request.getfixturevalue("postgres_url")))
        database = open_database(url)
        stack.push_async_callback(database.close)
        yield database


def described(connection: Connection) -> list[tuple[object, ...]]:
    """What the database says of its tables and indexes, Alembic's own among them."""
    if connection.dialect.name == "sqlite":
        rows = [
            (*row[:3], " ".join(row[3].split()) if row[3] else None)
            for row in connection.execute(text(SQLITE_TABLES))
        ]
    else:
        rows = [
            tuple(row)
            for query in (POSTGRES_TABLES, POSTGRES_INDEXES)
            for row in connection.execute(text(query))
        ]
    return rows


async def test_migrations_make_what_a_new_database_gets(cell: Database) -> None:
    await cell.write(upgrade)
    migrated = await cell.write(described)

    def anew(connection: Connection) -> None:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))

    await cell.write(anew)
    await prepare(cell)
    assert migrated == await cell.write(described)
    assert {row[1] if cell.dialect == "sqlite" else row[0] for row in migrated} >= set(metadata.tables)


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
async def test_alembic_finds_nothing_left_to_do(cell: Database) -> None:
    await cell.write(upgrade)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[object] = compare_metadata(context, metadata)
        return found

    assert await cell.write(differences) == []


async def test_a_second_time_changes_nothing_and_does_without_alembic(
    cell: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(cell)
    before = await cell.write(described)
    monkeypatch.setitem(sys.modules, "alembic", None)  # importing it would fail
    await prepare(cell)
    assert await cell.write(described) == before


async def test_a_newer_database_is_refused(cell: Database) -> None:
    await prepare(cell)
    await cell.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreUnavailable, match=f"schema 9999, this release knows schemas up to {HEAD}"):
        await prepare(cell)


@pytest.mark.parametrize("way", [migrate, upgrade])
async def test_a_migration_that_fails_leaves_nothing(
    cell: Database, way: Callable[[Connection], None]
) -> None:
    last = "visibility"
    await cell.write(lambda c: c.execute(text(f"CREATE TABLE {last} (mine INTEGER)")))
    with pytest.raises((DBAPIError, StoreUnavailable)):
        await cell.write(way)
    assert await cell.write(lambda c: inspect(c).get_table_names()) == [last]


@pytest.mark.postgres
async def test_processes_that_start_at_once_migrate_once(postgres_url: str) -> None:
    async with empty_postgres(postgres_url) as url, AsyncExitStack() as stack:
        processes = [open_database(url) for _ in range(4)]
        for process in processes:
            stack.push_async_callback(process.close)
        async with asyncio.timeout(30):
            await asyncio.gather(*(prepare(process) for process in processes))
        versions = await processes[0].write(
            lambda c: list(c.execute(text("SELECT version_num FROM alembic_version")).scalars())
        )
        assert versions == [HEAD]


async def test_an_older_database_is_brought_up(cell: Database) -> None:
    await prepare(cell)
    whole = await cell.write(described)

    def older(connection: Connection) -> None:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        upgrade(connection, "0001")

    await cell.write(older)
    assert await cell.write(migrating._version) == "0001"
    await prepare(cell)
    assert await cell.write(described) == whole


async def test_migrating_goes_from_version_to_version(cell: Database) -> None:
    assert await cell.write(migrating._version) is None
    await cell.write(migrate)
    assert await cell.write(migrating._version) == HEAD


def test_head_is_the_newest_file_and_files_are_named_for_their_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrating._FOLDER))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [HEAD]
    for revision in scripts.walk_revisions():
        assert Path(revision.path).name.startswith(f"{revision.revision}_")


def test_the_wheel_has_the_migrations() -> None:
    """Their folders have no ``__init__.py``: the build takes them because it looks for namespace packages too."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert find.get("namespaces", True)
    package = ".".join((migrating._FOLDER / "versions").relative_to(ROOT).parts)
    assert any(fnmatchcase(package, pattern) for pattern in find["include"])
