"""Brings a cell's database to this release's schema, at start.

The migrations are Alembic's, in ``migrations/versions``. Alembic is imported only when there is something to do, so an ordinary
start asks the database one question.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from cloud.engine.store.database import Database, StoreUnavailable

HEAD = "0001"
"""The newest migration; a test holds it against the files."""

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
