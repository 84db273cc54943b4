"""Reads by key: one run's rows, the current run of a workflow id, history by event ids, stored tasks, what is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, bindparam, func, literal_column, select, tuple_
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import History, HistoryEvent

from cloud.engine.core.callback import callback_of_key
from cloud.engine.core.state import ActivityProgress, CallbackProgress, NexusProgress, Volatile
from cloud.engine.store import schema as s
from cloud.engine.store.rows import (
    LEVEL_SHIFT,
    CurrentRun,
    HistoryRow,
    RunRow,
    ScheduleRow,
    TaskRow,
    decode_callback_progress,
    decode_nexus_progress,
    decode_progress,
    decode_volatile,
    pass_of,
    schedule_key,
)
from cloud.engine.store.statements import Statement

_OPEN_STATUSES = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)


HISTORY_ROWS_MAX = 1_000
"""Rows of a history in one page of `read_history`."""


@dataclass(slots=True)
class StoredHistory:
    """A part of a history: serialized batches of events, in order. `after`: ask again for what follows it, 0 if nothing does."""

    batches: list[bytes]
    after: int


@dataclass(slots=True)
class StoredRun:
    """All that is stored of a run, of its history the beginning."""

    row: RunRow
    history: StoredHistory
    volatile: Volatile
    progress: dict[int, ActivityProgress]
    buffered: list[HistoryEvent]


_RUN = select(s.runs).where(s.runs.c.run_id == bindparam("run_id"))
_HISTORY = (
    select(s.history.c.first_event_id, s.history.c.events)
    .where(s.history.c.run_id == bindparam("run_id"))
    .where(s.history.c.first_event_id > bindparam("after"))
    .order_by(s.history.c.first_event_id)
    .limit(HISTORY_ROWS_MAX)
)
_PROGRESS = select(s.activity_progress).where(s.activity_progress.c.run_id == bindparam("run_id"))
_NEXUS_PROGRESS = select(s.nexus_progress).where(s.nexus_progress.c.run_id == bindparam("run_id"))
_BUFFERED = (
    select(s.buffered_events.c.event)
    .where(s.buffered_events.c.run_id == bindparam("run_id"))
    .order_by(s.buffered_events.c.position)
)
_CURRENT = Statement(
    lambda _: (
        select(s.current_runs)
        .where(s.current_runs.c.namespace_id == bindparam("namespace_id"))
        .where(s.current_runs.c.workflow_id == bindparam("workflow_id"))
    )
)
_SCHEDULE = Statement(
    lambda _: (
        select(s.schedules)
        .where(s.schedules.c.namespace_id == bindparam("namespace_id"))
        .where(s.schedules.c.schedule_id == bindparam("schedule_id"))
    )
)
_FORWARD = (
    select(s.history.c.events)
    .where(s.history.c.run_id == bindparam("run_id"))
    .where(s.history.c.last_event_id >= bindparam("first"))
    .where(s.history.c.first_event_id <= bindparam("last"))
    .order_by(s.history.c.first_event_id)
)
_FORWARD_ROWS = (
    select(s.history)
    .where(s.history.c.run_id == bindparam("run_id"))
    .where(s.history.c.last_event_id >= bindparam("first"))
    .where(s.history.c.first_event_id <= bindparam("last"))
    .order_by(s.history.c.first_event_id)
)
_BACKWARD = _FORWARD.order_by(None).order_by(s.history.c.first_event_id.desc())


def read_history(connection: Connection, run_id: str, *, after: int, size_max: int) -> StoredHistory:
    """The batches of a history that begin after event `after`, until there are `size_max` bytes of them."""
    batches: list[bytes] = []
    size = 0
    with connection.execute(_HISTORY, {"run_id": run_id, "after": after}) as rows:
        for first_event_id, data in rows:
            batches.append(data)
            size += len(data)
            if size >= size_max or len(batches) == HISTORY_ROWS_MAX:
                return StoredHistory(batches, first_event_id)
    return StoredHistory(batches, 0)


def read_run(connection: Connection, run_id: str, *, size_max: int) -> StoredRun | None:
    """All rows of a run, but at most about `size_max` bytes of its history; None if there is none."""
    found = connection.execute(_RUN, {"run_id": run_id}).one_or_none()
    if found is None:
        return None
    return StoredRun(
        row=RunRow(*found),
        history=read_history(connection, run_id, after=0, size_max=size_max),
        volatile=decode_volatile(found.volatile),
        progress={
            row.scheduled_event_id: decode_progress(row.progress)
            for row in connection.execute(_PROGRESS, {"run_id": run_id})
        },
        buffered=[
            HistoryEvent.FromString(data) for (data,) in connection.execute(_BUFFERED, {"run_id": run_id})
        ],
    )


def makes_calls(events: Sequence[HistoryEvent]) -> bool:
    """Whether a part of a history tells of Nexus operations or completion callbacks: few runs have any."""
    return any(
        event.event_type == EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED
        or (
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
            and event.workflow_execution_started_event_attributes.completion_callbacks
        )
        or (
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
            and (
                event.workflow_execution_options_updated_event_attributes.attached_completion_callbacks
                or event.workflow_execution_options_updated_event_attributes.workflow_update_options
            )
        )
        or (
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED
            and event.workflow_execution_update_admitted_event_attributes.request.completion_callbacks
        )
        or (
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
            and event.workflow_execution_update_accepted_event_attributes.accepted_request.completion_callbacks
        )
        for event in events
    )


def read_calls(
    connection: Connection, run_id: str
) -> tuple[dict[int, NexusProgress], dict[int, CallbackProgress]]:
    """What is kept beside the history of a run's Nexus operations, by their scheduled events, and of its callbacks, by index."""
    calls = connection.execute(_NEXUS_PROGRESS, {"run_id": run_id}).all()
    return (
        {row.key: decode_nexus_progress(row.progress) for row in calls if row.key > 0},
        {callback_of_key(row.key): decode_callback_progress(row.progress) for row in calls if row.key < 0},
    )


def read_run_row(connection: Connection, run_id: str) -> RunRow | None:
    """The one row of ``runs``, None if there is none."""
    found = connection.execute(_RUN, {"run_id": run_id}).one_or_none()
    return None if found is None else RunRow._make(found)


def read_current(connection: Connection, namespace_id: str, workflow_id: str) -> CurrentRun | None:
    """The newest run of a workflow id, None if it has none."""
    found = _CURRENT.one(connection, namespace_id=namespace_id, workflow_id=workflow_id)
    return None if found is None else CurrentRun._make(found)


def read_events(
    connection: Connection, run_id: str, first: int, last: int, *, size_max: int, backward: bool = False
) -> list[HistoryEvent]:
    """Events `first` to `last`, in order (or in reverse); whole batches, stopping after `size_max` bytes."""
    events: list[HistoryEvent] = []
    size = 0
    statement = _BACKWARD if backward else _FORWARD
    for (data,) in connection.execute(statement, {"run_id": run_id, "first": first, "last": last}):
        batch = [event for event in History.FromString(data).events if first <= event.event_id <= last]
        events.extend(reversed(batch) if backward else batch)
        size += len(data)
        if size >= size_max:
            break
    return events


def read_history_rows(
    connection: Connection, run_id: str, first: int, last: int, *, size_max: int
) -> list[tuple[HistoryRow, list[HistoryEvent]]]:
    """The rows of events `first` to `last` and what they hold, in order, stopping after `size_max` bytes."""
    found: list[tuple[HistoryRow, list[HistoryEvent]]] = []
    size = 0
    for row in connection.execute(_FORWARD_ROWS, {"run_id": run_id, "first": first, "last": last}):
        found.append((HistoryRow._make(row), list(History.FromString(row.events).events)))
        size += len(row.events)
        if size >= size_max:
            break
    return found


def read_tasks(
    connection: Connection,
    namespace_id: str,
    queue: str,
    kind: int,
    version: str = "",
    *,
    after: tuple[int, int],
    count_max: int,
) -> list[TaskRow]:
    """Stored tasks of a queue (for `version` alone) as workers get them, behind the place `after` (order key, task id)."""
    t = s.tasks.c
    rows = connection.execute(
        select(s.tasks)
        .where(
            t.namespace_id == namespace_id,
            t.queue == queue,
            t.kind == kind,
            t.version == version,
            tuple_(t.order_key, t.task_id) > after,
        )
        .order_by(t.order_key, t.task_id)
        .limit(count_max)
    )
    return [TaskRow(*row) for row in rows]


_LEVEL = literal_column(f"order_key >> {LEVEL_SHIFT}", BigInteger)


def count_tasks(
    connection: Connection, namespace_id: str, queue: str, kind: int, version: str = ""
) -> dict[int, tuple[int, int]]:
    """How many tasks of a queue (those for `version` alone) are stored, by priority level, and when the oldest of each was made (ns)."""
    t = s.tasks.c
    of_queue = (t.namespace_id == namespace_id, t.queue == queue, t.kind == kind, t.version == version)
    level = _LEVEL.label("level")
    # Only the index is read for this: task ids grow with time, so the least is the oldest.
    counted = connection.execute(
        select(level, func.count(), func.min(t.task_id)).where(*of_queue).group_by(level)
    ).all()
    made = dict(
        connection.execute(
            select(t.task_id, t.created_at).where(t.task_id.in_([oldest for _, _, oldest in counted]))
        ).all()
    )
    return {int(found): (count, made.get(oldest, 0)) for found, count, oldest in counted}


def read_last_passes(
    connection: Connection, namespace_id: str, queue: str, kind: int, version: str, count_max: int
) -> list[tuple[int, str, int]]:
    """(priority level, fairness key, pass of its last stored task) of a queue; of too many keys those that are farthest."""
    t = s.tasks.c
    level = _LEVEL.label("level")
    last = func.max(t.order_key).label("last")
    rows = connection.execute(
        select(level, t.fairness_key, last)
        .where(t.namespace_id == namespace_id, t.queue == queue, t.kind == kind, t.version == version)
        .group_by(level, t.fairness_key)
        .order_by(last.desc())
        .limit(count_max)
    )
    return [(int(found), key, pass_of(at)) for found, key, at in rows]


def read_task_queue_configs(connection: Connection) -> list[tuple[str, str, int, bytes]]:
    """(namespace id, queue, type, serialized TaskQueueConfig) of all queues that have one."""
    return [(n, q, k, bytes(c)) for n, q, k, c in connection.execute(select(s.task_queue_configs))]


def read_due(connection: Connection, until: int, count_max: int) -> list[tuple[str, int]]:
    """(run id, wake time) of the runs that are due by `until`, earliest first."""
    rows = connection.execute(
        select(s.runs.c.run_id, s.runs.c.wake_at)
        .where(s.runs.c.wake_at > 0, s.runs.c.wake_at <= until)
        .order_by(s.runs.c.wake_at)
        .limit(count_max)
    )
    return [(run_id, wake_at) for run_id, wake_at in rows]


def read_next_due(connection: Connection) -> int:
    """The earliest wake time of an open run, 0 if none is due ever."""
    c = s.runs.c
    found = connection.execute(
        select(func.min(c.wake_at)).where(c.wake_at > 0, c.status.in_(_OPEN_STATUSES))
    ).scalar_one()
    return int(found or 0)


def read_next_due_schedule(connection: Connection) -> int:
    """The earliest wake time of a schedule, 0 if none is due ever."""
    c = s.schedules.c
    found = connection.execute(select(func.min(c.wake_at)).where(c.wake_at > 0)).scalar_one()
    return int(found or 0)


def read_schedule(connection: Connection, namespace_id: str, schedule_id: str) -> ScheduleRow | None:
    """The row of a schedule, None if there is none."""
    found = _SCHEDULE.one(connection, namespace_id=namespace_id, schedule_id=schedule_id)
    return None if found is None else ScheduleRow._make(found)


def read_schedules(
    connection: Connection, namespace_id: str, schedule_ids: Sequence[str]
) -> dict[str, ScheduleRow]:
    """The rows of a page of schedules, by their ids; what is not there any more is left out."""
    c = s.schedules.c
    rows = connection.execute(
        select(s.schedules).where(c.namespace_id == namespace_id, c.schedule_id.in_(schedule_ids))
    )
    return {row.schedule_id: ScheduleRow._make(row) for row in rows}


def read_due_schedules(connection: Connection, until: int, count_max: int) -> list[tuple[str, int]]:
    """(key, wake time) of the schedules that are due by `until`, earliest first."""
    c = s.schedules.c
    rows = connection.execute(
        select(c.namespace_id, c.schedule_id, c.wake_at)
        .where(c.wake_at > 0, c.wake_at <= until)
        .order_by(c.wake_at)
        .limit(count_max)
    )
    return [(schedule_key(namespace_id, schedule_id), wake_at) for namespace_id, schedule_id, wake_at in rows]


def read_usage(
    connection: Connection, namespace_ids: Sequence[str] | None, start: int, end: int
) -> list[tuple[str, int, str, str, int]]:
    """(namespace id, hour in ns, kind, workflow type, count) of usage in [start, end), summed by hour."""
    u = s.usage_records.c
    hour = (u.occurred_at - u.occurred_at % 3_600_000_000_000).label("hour")
    query = (
        select(u.namespace_id, hour, u.kind, u.workflow_type, func.sum(u.quantity))
        .where(u.occurred_at >= start, u.occurred_at < end)
        .group_by(u.namespace_id, hour, u.kind, u.workflow_type)
        .order_by(u.namespace_id, hour, u.kind, u.workflow_type)
    )
    if namespace_ids is not None:
        query = query.where(u.namespace_id.in_(namespace_ids))
    return [(n, int(h), k, w, int(c)) for n, h, k, w, c in connection.execute(query)]


def read_fact(connection: Connection, name: str) -> bytes | None:
    """A fact of the cell."""
    found = connection.execute(
        select(s.cell_facts.c.value).where(s.cell_facts.c.name == name)
    ).scalar_one_or_none()
    return None if found is None else bytes(found)
