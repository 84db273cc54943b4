"""A database that can't grow: refused with a sentence, nothing acknowledged lost, and well again once there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from cloud.engine.store.database import open_database
from cloud.rpc import Unavailable
from tests.engine.runtime.harness import engine

ROOM_FOR_EVER = 2**30


def _limit_pages(count: int | None) -> Callable[[Connection], None]:
    def limit(connection: Connection) -> None:
        pages = count
        if pages is None:
            pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one()) + 20
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one()

    return limit


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "cell.db"))
    try:
        async with engine(database) as found:
            await found.start("wf")
            await found.signal("wf", "before")
            await database.write(_limit_pages(None))
            acknowledged = ["before"]

            async def fill_the_disk() -> None:
                for number in range(200):
                    name = f"{number}-{'x' * 900}"
                    await found.signal("wf", name)
                    acknowledged.append(name)

            with pytest.raises(Unavailable, match="could not be made durable"):
                await fill_the_disk()
            assert await found.signals("wf") == acknowledged
            await database.write(_limit_pages(ROOM_FOR_EVER))
            async with asyncio.timeout(10):
                await found.signal("wf", "after")
            assert await found.signals("wf") == [*acknowledged, "after"]
    finally:
        await database.close()
