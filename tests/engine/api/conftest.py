"""Engines for the methods' tests: `api` in memory; those whose answer hangs on the database take `database`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloud.engine.store.database import open_database
from tests.engine.api.calling import Api, started
from tests.engine.runtime.conftest import database

__all__ = ["api", "database"]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An engine in memory, with the namespace ``ns``."""
    memory = open_database(":memory:")
    async with started(memory) as found:
        yield found
    await memory.close()
