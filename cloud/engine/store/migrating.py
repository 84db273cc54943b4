"""Brings a cell's database to this release's schema, at start.

The migrations are Alembic's, in ``migrations/versions``. Alembic is imported only when there is something to do, so an ordinary
start asks the database one question. A standby migrates while another process of the release before still holds the lease:
each migration must leave the tables such that the release before can go on with them.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, inspect, select, text

from cloud.engine.store.database import Database, StoreUnavailable

HEAD = "0010"
"""The newest migration; a test holds it against the files."""

_LOCK = 0x7461636974
"""Postgres's advisory lock of those who migrate ("tacit"): of two processes that start at once, one waits for the other."""

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
    known = {path.name[:4] for path in (_FOLDER / "versions").glob("[0-9]*.py")}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"the database has schema {version}, this release knows schemas up to {HEAD}: "
            "start it with the release that wrote it, or a newer one"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
