"""Many sleeping workflows in a database file, made from one that a server and a worker really ran.

The file's server must not run. Each copy has all the rows of the original under ids of its own, its times moved so that its timer
fires when the caller says: to the server it is a run like any other, and a worker can replay it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select
from temporalio.api.history.v1 import History

from cloud.engine.store import schema as s
from cloud.engine.store.database import open_database

ROWS_AT_ONCE = 2_000
SECOND = 1_000_000_000


async def copy(
    file: Path, workflow_id: str, copies: Iterator[tuple[str, int]], on_step: Callable[[int], None]
) -> None:
    """Copy the one run of `workflow_id` for each (workflow id, moment in ns at which its timer fires) of `copies`.

    Their ids are as long as `workflow_id`.
    """
    database = open_database(str(file))
    try:
        template = await database.scan(lambda c: _Template(c, workflow_id))
        number = 0
        while page := list(islice(copies, ROWS_AT_ONCE)):
            number += len(page)
            await database.write(lambda c, page=page: template.write(c, page))  # type: ignore[misc]
            on_step(number)
    finally:
        await database.close()


def count(file: Path) -> int:
    """Open runs in the file."""

    async def read() -> int:
        database = open_database(str(file))
        try:
            return await database.scan(
                lambda c: len(c.execute(select(s.runs.c.run_id).where(s.runs.c.status == 1)).all())
            )
        finally:
            await database.close()

    return asyncio.run(read())


class _Template:
    """The rows of the run that is copied. Ids are as long as those that take their place, so that they are exchanged as they are."""

    def __init__(self, connection: Connection, workflow_id: str) -> None:
        run = connection.execute(select(s.runs).where(s.runs.c.workflow_id == workflow_id)).mappings().one()
        self._run_id, self._workflow_id = run["run_id"], workflow_id
        self._fires_at = run["wake_at"]
        self._tables: list[tuple[Table, list[dict[str, Any]]]] = []
        for table in (s.runs, s.current_runs, s.history, s.metadata.tables["visibility"]):
            found = connection.execute(select(table).where(table.c.run_id == self._run_id)).mappings()
            self._tables.append((table, [dict(row) for row in found]))

    def write(self, connection: Connection, page: list[tuple[str, int]]) -> None:
        driver: Any = connection.connection.driver_connection
        for table, of_table in self._tables:
            names = [column.name for column in table.columns]
            places = ", ".join("?" * len(names))
            text = f"INSERT INTO {table.name} VALUES ({places})"  # noqa: S608 (the names are the schema's)
            for row in of_table:
                driver.executemany(text, self._copies(names, row, page))

    def _copies(
        self, names: list[str], row: dict[str, Any], page: list[tuple[str, int]]
    ) -> Iterator[list[Any]]:
        """`row` under other ids and at other times, for each of `page`."""
        texts = [index for index, name in enumerate(names) if row[name] in (self._run_id, self._workflow_id)]
        times = [index for index, name in enumerate(names) if name in _TIMES]
        events = names.index("events") if "events" in names else None
        values = [row[name] for name in names]
        for workflow_id, fires_at in page:
            run_id = self._run_id_of(workflow_id)
            copied = list(values)
            for index in texts:
                copied[index] = run_id if values[index] == self._run_id else workflow_id
            for index in times:
                copied[index] += fires_at - self._fires_at
            if events is not None:
                data = self._history(row["events"], fires_at - self._fires_at)
                data = data.replace(self._run_id.encode(), run_id.encode())
                copied[events] = data.replace(self._workflow_id.encode(), workflow_id.encode())
            yield copied

    def _run_id_of(self, workflow_id: str) -> str:
        """Ids of runs lie side by side by their time, as the service makes them."""
        number = int(workflow_id.rpartition("-")[2])
        kind = len(workflow_id.partition("-")[0])
        return f"{self._run_id[:19]}{kind:x}{self._run_id[20:24]}{number:012x}"

    @lru_cache(maxsize=10_000)  # noqa: B019 (one template lives as long as the copying)
    def _history(self, data: bytes, later: int) -> bytes:
        history = History.FromString(data)
        for event in history.events:
            event.event_time.FromNanoseconds(event.event_time.ToNanoseconds() + later)
        return history.SerializeToString()


_TIMES = frozenset({"wake_at", "start_time", "execution_time"})
