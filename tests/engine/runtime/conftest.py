"""Each test on SQLite and on Postgres."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from cloud.engine.store.database import Database, PostgresDatabase, open_database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        found = open_database(str(tmp_path / "cell.db"))
        yield found
        await found.close()
        return
    url = request.getfixturevalue("postgres_url")
    name = f"cell_{uuid.uuid4().hex[:12]}"
    admin = PostgresDatabase(url)
    async with admin._engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await admin.close()
    found = open_database(url.replace("/postgres?", f"/{name}?"))
    yield found
    await found.close()
