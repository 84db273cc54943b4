"""Deletes what is stored of a namespace, in pages, so that no transaction holds up the cell's writer for long."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from cloud.engine.core.state import RUNNING
from cloud.engine.store import schema as s
from cloud.engine.store.deployments import remove_of_namespace
from cloud.engine.store.rows import schedule_key
from cloud.engine.store.standalone import STANDALONE
from cloud.engine.store.writing import check_epoch

PAGE_RUNS = 100
"""Runs of one transaction: a run may have a history of many megabytes."""

PAGE_ROWS = 5_000
"""Small rows of one transaction."""


def runs_of_namespace(connection: Connection, namespace_id: str) -> list[str]:
    """Ids of some runs of a namespace, none once it has none.

    Found by the index of lists, since each run has a row there; what could be without one is looked for in the end.
    """
    for table in (s.metadata.tables["visibility"], s.runs):
        found = connection.execute(
            select(table.c.run_id).where(table.c.namespace_id == namespace_id).limit(PAGE_RUNS)
        ).scalars()
        run_ids = list(found)
        if run_ids:
            return run_ids
    return []


def delete_runs(connection: Connection, run_ids: Sequence[str], epoch: int) -> None:
    """Delete runs with all that is stored of them but their usage.

    Raises:
        LeaseLost: the lease is another's; nothing is deleted.
    """
    check_epoch(connection, epoch)
    for table in (s.history, s.activity_progress, s.nexus_progress, s.buffered_events, s.runs):
        connection.execute(delete(table).where(table.c.run_id.in_(run_ids)))
    s.visibility.delete(connection, run_ids)


def delete_rest(connection: Connection, namespace_id: str, epoch: int) -> int:
    """Delete a page of a namespace's rows that belong to no run. Returns how many; 0 when none are left.

    Raises:
        LeaseLost: the lease is another's; nothing is deleted.
    """
    check_epoch(connection, epoch)
    remove_of_namespace(connection, namespace_id)
    count = 0
    for table, key in (
        (s.current_runs, s.current_runs.c.workflow_id),
        (s.tasks, s.tasks.c.task_id),
        (s.batch_operations, s.batch_operations.c.job_id),
        (s.task_queue_configs, s.task_queue_configs.c.queue),
    ):
        of_namespace = table.c.namespace_id == namespace_id
        page = list(connection.execute(select(key).where(of_namespace).limit(PAGE_ROWS)).scalars())
        if page:
            connection.execute(delete(table).where(of_namespace, key.in_(page)))
        count += len(page)
    page = list(
        connection.execute(
            select(s.schedules.c.schedule_id)
            .where(s.schedules.c.namespace_id == namespace_id)
            .limit(PAGE_RUNS)
        ).scalars()
    )
    if page:
        connection.execute(
            delete(s.schedules).where(
                s.schedules.c.namespace_id == namespace_id, s.schedules.c.schedule_id.in_(page)
            )
        )
        s.visibility.delete(connection, [schedule_key(namespace_id, schedule_id) for schedule_id in page])
    count += len(page)
    for tables in STANDALONE.values():
        c = tables.table.c
        page = list(
            connection.execute(
                select(c.run_id).where(c.namespace_id == namespace_id).limit(PAGE_RUNS)
            ).scalars()
        )
        if page:
            tables.delete(connection, page)
        count += len(page)
    return count


def delete_dead_tasks(connection: Connection, after: int, epoch: int) -> int:
    """Delete, of a page of the tasks behind id `after`, those whose run (or standalone activity) is closed or gone.

    Returns the last id of the page, 0 if it was the last page.

    Raises:
        LeaseLost: the lease is another's; nothing is deleted.
    """
    check_epoch(connection, epoch)
    activities = s.standalone_activities
    page = connection.execute(
        select(s.tasks.c.task_id, func.coalesce(s.runs.c.status, activities.c.status).label("status"))
        .outerjoin(s.runs, s.runs.c.run_id == s.tasks.c.run_id)
        .outerjoin(activities, activities.c.run_id == s.tasks.c.run_id)
        .where(s.tasks.c.task_id > after)
        .order_by(s.tasks.c.task_id)
        .limit(PAGE_ROWS)
    ).all()
    dead = [task_id for task_id, status in page if status != RUNNING]
    if dead:
        connection.execute(delete(s.tasks).where(s.tasks.c.task_id.in_(dead)))
    return page[-1].task_id if len(page) == PAGE_ROWS else 0
