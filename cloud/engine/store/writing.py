"""How a batch becomes rows: a constant number of statements per batch, each over all its rows at once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, literal_column, select, update

from cloud.engine.store import schema as s
from cloud.engine.store.rows import HistoryRow, Rows, schedule_of_key
from cloud.engine.store.standalone import STANDALONE
from cloud.engine.store.statements import Statement, delete_by, insert_into, upsert_into


class LeaseLost(Exception):
    """Another process holds the cell now: this one may write nothing more."""


def write_rows(connection: Connection, rows: Rows, epoch: int) -> None:
    """Write a batch under lease `epoch`.

    Raises:
        LeaseLost: the lease is another's; nothing of the batch is written.
    """
    check_epoch(connection, epoch)
    # Clears come first: what is cleared may be written anew in the same batch.
    _CLEAR_BUFFERED.execute_many(connection, [(run_id,) for run_id in rows.buffer_cleared])
    _CLEAR_PROGRESS.execute_many(connection, [(run_id,) for run_id in rows.progress_cleared])
    _CLEAR_NEXUS_PROGRESS.execute_many(connection, [(run_id,) for run_id in rows.nexus_progress_cleared])
    _PUT_RUNS.execute_many(connection, rows.runs)
    _PUT_CURRENT.execute_many(connection, list(rows.current_runs.values()))
    _ADD_HISTORY.execute_many(connection, rows.history)
    _FINISH_COPIES.execute_many(connection, [(run_id,) for run_id in rows.copies_done])
    _PUT_PROGRESS.execute_many(connection, [(*key, data) for key, data in rows.progress.items()])
    _PUT_NEXUS_PROGRESS.execute_many(connection, [(*key, data) for key, data in rows.nexus_progress.items()])
    _ADD_BUFFERED.execute_many(connection, rows.buffered)
    _ADD_TASKS.execute_many(connection, list(rows.tasks.values()))
    _FINISH_TASKS.execute_many(connection, [(task_id,) for task_id in rows.tasks_done])
    _ADD_USAGE.execute_many(connection, rows.usage)
    if rows.visibility:
        s.visibility.upsert(connection, rows.visibility)
    if rows.deleted_runs:
        _delete_runs(connection, rows.deleted_runs)
    _ADD_BATCH_OPERATIONS.execute_many(connection, rows.batch_operations)
    _STEP_BATCH_OPERATIONS.execute_many(connection, list(rows.batch_steps.values()))
    _PUT_SCHEDULES.execute_many(connection, list(rows.schedules.values()))
    for kind, standalone in rows.standalone.items():
        STANDALONE[kind].write(connection, standalone)
    if rows.deleted_schedules:
        _DELETE_SCHEDULE.execute_many(connection, [schedule_of_key(key) for key in rows.deleted_schedules])
        s.visibility.delete(connection, rows.deleted_schedules)


# Rows are tuples in the order of their table's columns.
_PUT_RUNS = upsert_into(s.runs)
_PUT_CURRENT = upsert_into(s.current_runs)
_PUT_PROGRESS = upsert_into(s.activity_progress)
_PUT_NEXUS_PROGRESS = upsert_into(s.nexus_progress)
_ADD_BATCH_OPERATIONS = insert_into(s.batch_operations)
_STEP_BATCH_OPERATIONS = Statement(
    lambda _: (
        update(s.batch_operations)
        .values(
            state=bindparam("state_"), close_time=bindparam("close_time_"), progress=bindparam("progress_")
        )
        .where(s.batch_operations.c.namespace_id == bindparam("namespace_"))
        .where(s.batch_operations.c.job_id == bindparam("job_"))
    )
)
_PUT_SCHEDULES = upsert_into(s.schedules)
_ADD_HISTORY = insert_into(s.history)
_ADD_BUFFERED = insert_into(s.buffered_events)
_ADD_TASKS = insert_into(s.tasks)
_ADD_USAGE = insert_into(s.usage_records)
_FINISH_COPIES = delete_by(s.copied_runs, "run_id")
_FINISH_TASKS = delete_by(s.tasks, "task_id")
_CLEAR_BUFFERED = delete_by(s.buffered_events, "run_id")
_CLEAR_PROGRESS = delete_by(s.activity_progress, "run_id")
_CLEAR_NEXUS_PROGRESS = delete_by(s.nexus_progress, "run_id")
_DELETE_RUN = tuple(
    delete_by(table, "run_id")
    for table in (s.history, s.activity_progress, s.nexus_progress, s.buffered_events, s.runs)
)
_DELETE_CURRENT = Statement(
    lambda _: (
        delete(s.current_runs)
        .where(s.current_runs.c.namespace_id == bindparam("namespace_"))
        .where(s.current_runs.c.workflow_id == bindparam("workflow_"))
        .where(s.current_runs.c.run_id == bindparam("run_"))
    )
)
_DELETE_SCHEDULE = Statement(
    lambda _: (
        delete(s.schedules)
        .where(s.schedules.c.namespace_id == bindparam("namespace_"))
        .where(s.schedules.c.schedule_id == bindparam("schedule_"))
    )
)
_EPOCH = Statement(
    lambda _: select(s.lease.c.epoch).where(s.lease.c.id == literal_column("1")).with_for_update(read=True)
)


def _delete_runs(connection: Connection, deleted: Sequence[tuple[str, str, str]]) -> None:
    """`deleted`: (namespace id, workflow id, run id)."""
    for statement in _DELETE_RUN:
        statement.execute_many(connection, [(run_id,) for _, _, run_id in deleted])
    s.visibility.delete(connection, [run_id for _, _, run_id in deleted])
    _DELETE_CURRENT.execute_many(connection, deleted)


def copy_ahead(
    connection: Connection, run_id: str, rows: Sequence[HistoryRow], *, first: bool, epoch: int
) -> None:
    """Write history of a run that will be there once its copy is done; `first` for its first page.

    Raises:
        LeaseLost: the lease is another's.
    """
    check_epoch(connection, epoch)
    if first:
        connection.execute(s.copied_runs.insert().values(run_id=run_id))
    _ADD_HISTORY.execute_many(connection, rows)


def undo_copies(connection: Connection, epoch: int, run_id: str | None = None) -> None:
    """Remove what was copied ahead for runs that never came to be: one of them, or all.

    Raises:
        LeaseLost: the lease is another's.
    """
    check_epoch(connection, epoch)
    c = s.copied_runs.c.run_id
    undone = select(c) if run_id is None else select(c).where(c == run_id)
    for (found,) in connection.execute(undone).all():
        connection.execute(delete(s.history).where(s.history.c.run_id == found))
        connection.execute(delete(s.copied_runs).where(c == found))


def check_epoch(connection: Connection, epoch: int) -> None:
    """Hold the lease's row for this transaction, so that nobody takes the lease before it ends.

    Raises:
        LeaseLost: its epoch is not `epoch`.
    """
    found = _EPOCH.one(connection)
    held = None if found is None else found[0]
    if held != epoch:
        raise LeaseLost(f"this process holds epoch {epoch} of the cell's lease, the database says {held}")


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
