"""Brings a cell's database to this release's schema, at start.

The migrations are Alembic's, in ``migrations/versions``. Alembic is imported only for a database that an earlier release made: an
ordinary start asks one question, and an empty database gets its tables from ``schema.py`` at once (tests hold both ways to the
same tables), which is faster and keeps some 10 MiB of Alembic out of the process. A standby migrates while another process of the
release before still holds the lease: each migration must leave the tables such that the release before can go on with them.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
)

from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.schema import metadata

HEAD = "0011"
"""The newest migration; a test holds it against the files."""

_LOCK = 0x7461636974
"""Postgres's advisory lock of those who migrate ("tacit"): of two processes that start at once, one waits for the other."""

_ALEMBICS_OWN = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The table in which Alembic notes the version, as it makes it itself."""

_FOLDER = Path(__file__).parent / "migrations"


async def prepare(database: Database) -> None:
    """Migrate `database` to HEAD.

    Raises:
        StoreUnavailable: a newer release wrote it.
    """
    await database.write(migrate)


def migrate(connection: Connection) -> None:
    """Do what is left to do, in this transaction.

    Raises:
        StoreUnavailable: a newer release wrote the database.
    """
    if _version(connection) == HEAD:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    version = _version(connection)
    if version == HEAD:
        return
    if version is None:
        metadata.create_all(connection, checkfirst=False)
        _ALEMBICS_OWN.create(connection)
        connection.execute(insert(_ALEMBICS_OWN).values(version_num=HEAD))
        return
    known = {path.name[:4] for path in (_FOLDER / "versions").glob("[0-9]*.py")}
    if version not in known:
        raise StoreUnavailable(
            f"the database has schema {version}, this release knows schemas up to {HEAD}: "
            "start it with the release that wrote it, or a newer one"
        )
    upgrade(connection)


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Run the migrations that `connection`'s database lacks up to version `to`, in this transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
