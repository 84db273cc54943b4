"""Many sleeping workflows in a database file, made from one that a server and a worker really ran.

The file's server must not run. Each copy has all the rows of the original under ids of its own, its times moved so that its timer
fires when the caller says: to the server it is a run like any other, and a worker can replay it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
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
    """Copy the one run of `workflow_id` for each (workflow id, moment in ns at which its timer fires) of `copies`."""
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
    def __init__(self, connection: Connection, workflow_id: str) -> None:
        run = connection.execute(select(s.runs).where(s.runs.c.workflow_id == workflow_id)).mappings().one()
        self._run_id, self._workflow_id = run["run_id"], workflow_id
        self._fires_at = run["wake_at"]
        self._rows: list[tuple[Table, dict[str, Any]]] = []
        for table in (s.runs, s.current_runs, s.history, s.metadata.tables["visibility"]):
            found = connection.execute(select(table).where(table.c.run_id == self._run_id)).mappings()
            self._rows += [(table, dict(row)) for row in found]

    def write(self, connection: Connection, page: list[tuple[str, int]]) -> None:
        rows: dict[Table, list[dict[str, Any]]] = {}
        for workflow_id, fires_at in page:
            ids = {self._run_id: str(uuid.uuid4()), self._workflow_id: workflow_id}
            later = fires_at - self._fires_at
            for table, row in self._rows:
                copied = {name: self._copied(name, value, ids, later) for name, value in row.items()}
                rows.setdefault(table, []).append(copied)
        for table, of_table in rows.items():
            connection.execute(table.insert(), of_table)

    def _copied(self, name: str, value: Any, ids: dict[str, str], later: int) -> Any:
        if isinstance(value, str):
            return ids.get(value, value)
        if name in {"wake_at", "start_time", "execution_time"}:
            return value + later
        if name == "events":
            return self._history(value, ids, later)
        return value

    def _history(self, data: bytes, ids: dict[str, str], later: int) -> bytes:
        history = History.FromString(data)
        for event in history.events:
            event.event_time.FromNanoseconds(event.event_time.ToNanoseconds() + later)
            if event.HasField("workflow_execution_started_event_attributes"):
                started = event.workflow_execution_started_event_attributes
                for name in ("original_execution_run_id", "first_execution_run_id", "workflow_id"):
                    setattr(started, name, ids.get(getattr(started, name), getattr(started, name)))
        return history.SerializeToString()
