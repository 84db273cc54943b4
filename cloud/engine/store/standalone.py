"""The tables of executions that are no workflows (standalone activities, standalone Nexus operations), which are alike.

Each kind has a row per execution, which changes, and one for its request, which is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, Table, bindparam, literal_column, select

from cloud.engine.store import schema as s
from cloud.engine.store.rows import StandaloneKind, StandaloneRow, StandaloneRows
from cloud.engine.store.statements import Statement, delete_by, insert_into, upsert_into


class StandaloneTables:
    """Reads and writes one kind. `id_column` is that of the id which a client gave it."""

    def __init__(self, table: Table, requests: Table, id_column: str) -> None:
        self.table = table
        c = table.c
        self._put = upsert_into(table)
        self._add_requests = insert_into(requests)
        self._deletes = tuple(delete_by(each, "run_id") for each in (table, requests))
        self._one = Statement(
            lambda _: (
                select(*c, requests.c.request)
                .join(requests, requests.c.run_id == c.run_id)
                .where(c.run_id == bindparam("run_id"))
            )
        )
        self._newest = Statement(
            lambda _: (
                select(c.run_id)
                .where(c.namespace_id == bindparam("namespace_id"))
                .where(c[id_column] == bindparam("id"))
                .order_by(c.number.desc())
                .limit(literal_column("1"))
                .offset(literal_column("0"))  # else a bound one is added
            )
        )

    def write(self, connection: Connection, rows: StandaloneRows) -> None:
        """Write what a batch has of this kind."""
        self._put.execute_many(connection, rows.rows)
        self._add_requests.execute_many(connection, list(rows.requests.items()))
        if rows.deleted:
            self.delete(connection, rows.deleted)

    def delete(self, connection: Connection, run_ids: Sequence[str]) -> None:
        """Delete executions with all that is stored of them but their usage."""
        for statement in self._deletes:
            statement.execute_many(connection, [(run_id,) for run_id in run_ids])
        s.visibility.delete(connection, run_ids)

    def read(self, connection: Connection, run_id: str) -> tuple[StandaloneRow, bytes] | None:
        """An execution and its serialized request, None if there is none."""
        found = self._one.one(connection, run_id=run_id)
        return None if found is None else (StandaloneRow._make(found[:-1]), found[-1])

    def newest(self, connection: Connection, namespace_id: str, id_: str) -> str | None:
        """The run id of the newest execution of an id, None if there is none."""
        found = self._newest.one(connection, namespace_id=namespace_id, id=id_)
        return None if found is None else str(found[0])

    def due(self, connection: Connection, until: int, count_max: int) -> list[tuple[str, int]]:
        """(run id, wake time) of the executions that are due by `until`, earliest first."""
        c = self.table.c
        rows = connection.execute(
            select(c.run_id, c.wake_at)
            .where(c.wake_at > 0, c.wake_at <= until)
            .order_by(c.wake_at)
            .limit(count_max)
        )
        return [(run_id, wake_at) for run_id, wake_at in rows]


STANDALONE: Final[Mapping[StandaloneKind, StandaloneTables]] = MappingProxyType(
    {
        StandaloneKind.ACTIVITY: StandaloneTables(
            s.standalone_activities, s.standalone_activity_requests, "activity_id"
        ),
        StandaloneKind.NEXUS_OPERATION: StandaloneTables(
            s.standalone_nexus_operations, s.standalone_nexus_requests, "operation_id"
        ),
    }
)
"""The tables of each kind."""
