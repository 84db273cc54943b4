"""How a batch becomes rows: a constant number of statements per batch, each over all its rows at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cloud.engine.store import schema as s
from cloud.engine.store.rows import Rows


class LeaseLost(Exception):
    """Another process holds the cell now: this one may write nothing more."""


def write_rows(connection: Connection, rows: Rows, epoch: int) -> None:
    """Write a batch under lease `epoch`.

    Raises:
        LeaseLost: the lease is another's; nothing of the batch is written.
    """
    check_epoch(connection, epoch)
    dialect = connection.dialect.name
    if rows.buffer_cleared:
        _many(connection, _delete(s.buffered_events, "run_id"), ({"run_id_": r} for r in rows.buffer_cleared))
    if rows.progress_cleared:
        _many(
            connection,
            _delete(s.activity_progress, "run_id"),
            ({"run_id_": r} for r in rows.progress_cleared),
        )
    if rows.runs:
        _many(connection, _upsert(dialect, s.runs), (row._asdict() for row in rows.runs))
    if rows.current_runs:
        _many(
            connection,
            _upsert(dialect, s.current_runs),
            (row._asdict() for row in rows.current_runs.values()),
        )
    if rows.history:
        _many(connection, _insert(s.history), (row._asdict() for row in rows.history))
    if rows.progress:
        _many(
            connection,
            _upsert(dialect, s.activity_progress),
            (
                {"run_id": run_id, "scheduled_event_id": event_id, "progress": data}
                for (run_id, event_id), data in rows.progress.items()
            ),
        )
    if rows.buffered:
        _many(
            connection,
            _insert(s.buffered_events),
            ({"run_id": r, "position": p, "event": e} for r, p, e in rows.buffered),
        )
    if rows.tasks:
        _many(connection, _insert(s.tasks), (row._asdict() for row in rows.tasks.values()))
    if rows.tasks_done:
        _many(connection, _delete(s.tasks, "task_id"), ({"task_id_": t} for t in rows.tasks_done))
    if rows.usage:
        _many(connection, _insert(s.usage_records), (row._asdict() for row in rows.usage))
    if rows.visibility:
        s.visibility.upsert(connection, rows.visibility)
    if rows.deleted_runs:
        _delete_runs(connection, rows.deleted_runs)


def check_epoch(connection: Connection, epoch: int) -> None:
    """Hold the lease's row for this transaction, so that nobody takes the lease before it ends.

    Raises:
        LeaseLost: its epoch is not `epoch`.
    """
    held = connection.execute(_EPOCH).scalar_one_or_none()
    if held != epoch:
        raise LeaseLost(f"this process holds epoch {epoch} of the cell's lease, the database says {held}")


_EPOCH = select(s.lease.c.epoch).where(s.lease.c.id == 1).with_for_update(read=True)


def _many(connection: Connection, statement: Any, parameters: Iterable[dict[str, Any]]) -> None:
    connection.execute(statement, list(parameters))


@cache
def _insert(table: Table) -> Insert:
    return table.insert()


@cache
def _delete(table: Table, column: str) -> Delete:
    return delete(table).where(table.c[column] == bindparam(f"{column}_"))


@cache
def _upsert(dialect: str, table: Table) -> Insert:
    keys = [column.name for column in table.primary_key.columns]
    others = [column.name for column in table.columns if column.name not in keys]
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in others}
    )


def _delete_runs(connection: Connection, deleted: Sequence[tuple[str, str, str]]) -> None:
    run_ids = [{"run_id_": run_id} for _, _, run_id in deleted]
    for table in (s.history, s.activity_progress, s.buffered_events, s.runs):
        _many(connection, _delete(table, "run_id"), run_ids)
    s.visibility.delete(connection, [run_id for _, _, run_id in deleted])
    connection.execute(_DELETE_CURRENT, [{"namespace_": n, "workflow_": w, "run_": r} for n, w, r in deleted])


_DELETE_CURRENT = (
    delete(s.current_runs)
    .where(s.current_runs.c.namespace_id == bindparam("namespace_"))
    .where(s.current_runs.c.workflow_id == bindparam("workflow_"))
    .where(s.current_runs.c.run_id == bindparam("run_"))
)


def take_lease(
    connection: Connection, *, holder: str, now: int, expires_at: int, exclusive: bool
) -> tuple[int, str, int]:
    """Take the lease if it is free, expired or this holder's own; each taking begins a new epoch.

    With `exclusive` the caller knows that no other process has the database open, so an old holder must be dead.
    Returns (epoch, holder, expires_at): the new lease if ours now, the other's if not.
    """
    row = connection.execute(select(s.lease).where(s.lease.c.id == 1).with_for_update()).one_or_none()
    if row is None:
        connection.execute(s.lease.insert().values(id=1, epoch=1, holder=holder, expires_at=expires_at))
        return 1, holder, expires_at
    if not exclusive and row.holder != holder and row.expires_at > now:
        return row.epoch, row.holder, row.expires_at
    epoch = row.epoch + 1
    connection.execute(
        update(s.lease).where(s.lease.c.id == 1).values(epoch=epoch, holder=holder, expires_at=expires_at)
    )
    return epoch, holder, expires_at


def renew_lease(connection: Connection, *, epoch: int, expires_at: int) -> None:
    """Move the lease's end.

    Raises:
        LeaseLost: it is another's.
    """
    result = connection.execute(
        update(s.lease).where(s.lease.c.id == 1).where(s.lease.c.epoch == epoch).values(expires_at=expires_at)
    )
    if result.rowcount != 1:
        raise LeaseLost(f"epoch {epoch} of the cell's lease is over")
