"""The tables of a native cell. Times are nanoseconds since the epoch, 0 for none; ids are text.

Each row that a transition writes is new or small: history is appended, and of a run only its one row is overwritten.
Changes go through ``migrations/``; a test holds those and this file against each other.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

from cloud.engine.store.visibility import Visibility
from cloud.engine.store.visibility_schema import values_table, visibility_table

metadata = MetaData()

# Facts of the cell itself (its id, the key that authenticates its tokens).
cell_facts = Table(
    "cell_facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# One row, id 1: who may write. Every batch checks `epoch` inside its transaction.
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String(200), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

namespaces = Table(
    "namespaces",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("record", LargeBinary, nullable=False),
)

# One row per run. `volatile` is what the history does not tell (core.state.Volatile as MessagePack).
# `wake_at` is the earliest moment at which something is due, for closed runs their deletion; 0 for never.
runs = Table(
    "runs",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("namespace_id", String(36), nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("next_event_id", BigInteger, nullable=False),
    Column("wake_at", BigInteger, nullable=False),
    Column("volatile", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
Index("runs_wake_at", runs.c.wake_at, sqlite_where=runs.c.wake_at > 0, postgresql_where=runs.c.wake_at > 0)

# The newest run of each workflow id: at most one open run per id.
current_runs = Table(
    "current_runs",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("workflow_id", Text, primary_key=True),
    Column("run_id", String(36), nullable=False),
    Column("first_run_id", String(36), nullable=False),
    Column("status", Integer, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Append-only. `events` is a serialized temporal.api.history.v1.History of the events of one batch.
history = Table(
    "history",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("first_event_id", BigInteger, primary_key=True),
    Column("last_event_id", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What the history does not tell of a pending activity (core.state.ActivityProgress as MessagePack).
activity_progress = Table(
    "activity_progress",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("scheduled_event_id", BigInteger, primary_key=True),
    Column("progress", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Events that wait for the workflow task in flight to end. `event` is a serialized HistoryEvent without an id.
buffered_events = Table(
    "buffered_events",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("event", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Tasks that found no waiting worker. `kind`: 1 workflow task, 2 activity. `stamp`: the attempt or dispatch it stands for.
# `version`: the workers' version that alone may have it, empty for those that the queue's routing gives to one.
# `order_key` is the place in the queue: priority level, then pass (store.rows.order_key); `stride` the inverse of its key's weight.
tasks = Table(
    "tasks",
    metadata,
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace_id", String(36), nullable=False),
    Column("queue", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("run_id", String(36), nullable=False),
    Column("scheduled_event_id", BigInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("order_key", BigInteger, nullable=False, server_default=text(str(3 << 60))),
    Column("fairness_key", Text, nullable=False, server_default=text("''")),
    Column("stride", BigInteger, nullable=False, server_default=text("1000")),
    Column("version", Text, nullable=False, server_default=text("''")),
)
Index(
    "tasks_by_order",
    tasks.c.namespace_id,
    tasks.c.queue,
    tasks.c.kind,
    tasks.c.version,
    tasks.c.order_key,
    tasks.c.task_id,
)

# What is configured of a task queue. `config` is a serialized temporal.api.taskqueue.v1.TaskQueueConfig.
task_queue_configs = Table(
    "task_queue_configs",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("queue_type", Integer, primary_key=True),
    Column("config", LargeBinary, nullable=False),
)

# The usage ledger: neutral facts, appended in the transaction of the transition that they count.
usage_records = Table(
    "usage_records",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace_id", String(36), nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("workflow_type", Text, nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("run_id", String(36), nullable=False),
)
Index("usage_records_by_time", usage_records.c.namespace_id, usage_records.c.occurred_at)

# One row per schedule. `definition` is a serialized temporal.api.schedule.v1.Schedule, `state` the rest
# (core.schedule.ScheduleState as MessagePack). `wake_at` is the next moment at which something is due, 0 for never.
schedules = Table(
    "schedules",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("schedule_id", Text, primary_key=True),
    Column("wake_at", BigInteger, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
Index(
    "schedules_wake_at",
    schedules.c.wake_at,
    sqlite_where=schedules.c.wake_at > 0,
    postgresql_where=schedules.c.wake_at > 0,
)

# One row per batch operation, kept as long as a closed run. `state` is a BatchOperationState, `definition` the serialized
# StartBatchOperationRequest, `progress` how far it is (store.batch_operations.BatchProgress as MessagePack).
batch_operations = Table(
    "batch_operations",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("run_id", String(36), nullable=False),
    Column("state", Integer, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("close_time", BigInteger, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("progress", LargeBinary, nullable=False),
)
Index(
    "batch_operations_running",
    batch_operations.c.state,
    sqlite_where=batch_operations.c.state == 1,
    postgresql_where=batch_operations.c.state == 1,
)

# Where Nexus operations are sent, by name. `record` is runtime.nexus_endpoints.NexusEndpoint as MessagePack.
nexus_endpoints = Table(
    "nexus_endpoints",
    metadata,
    Column("endpoint_id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("record", LargeBinary, nullable=False),
)

# What the history does not tell of a pending Nexus operation (key: its scheduled event's id; core.state.NexusProgress) or of a
# completion callback (key: -1 - its place among the run's callbacks; core.state.CallbackProgress), as MessagePack.
nexus_progress = Table(
    "nexus_progress",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("key", BigInteger, primary_key=True),
    Column("progress", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Runs whose history is being copied ahead, page by page, and that are not there yet: what a crash leaves of them is removed.
copied_runs = Table("copied_runs", metadata, Column("run_id", String(36), primary_key=True))
# Worker deployments and their versions, all of which are in memory. `state` is core.deployment's as MessagePack.
worker_deployments = Table(
    "worker_deployments",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)
worker_deployment_versions = Table(
    "worker_deployment_versions",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("build_id", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

# Build ids of a task queue, for the older forms of worker versioning. `state` is core.build_ids' as MessagePack.
build_ids = Table(
    "build_ids",
    metadata,
    Column("namespace_id", String(36), primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

# One row per standalone activity; the newest of an id has the highest `number`. `state` is what changes
# (core.standalone_activity.StandaloneState as MessagePack). `status` is 1 as long as it is open, `wake_at` as in `runs`.
standalone_activities = Table(
    "standalone_activities",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("namespace_id", String(36), nullable=False),
    Column("activity_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("wake_at", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
Index(
    "standalone_activities_by_id",
    standalone_activities.c.namespace_id,
    standalone_activities.c.activity_id,
    standalone_activities.c.number,
)
Index(
    "standalone_activities_wake_at",
    standalone_activities.c.wake_at,
    sqlite_where=standalone_activities.c.wake_at > 0,
    postgresql_where=standalone_activities.c.wake_at > 0,
)

# What they were started with, which may be large and is written once: a serialized StartActivityExecutionRequest.
standalone_activity_requests = Table(
    "standalone_activity_requests",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("request", LargeBinary, nullable=False),
)

# Standalone Nexus operations, as standalone activities are kept: `state` is core.standalone_nexus_state.OperationState.
standalone_nexus_operations = Table(
    "standalone_nexus_operations",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("namespace_id", String(36), nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("wake_at", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
Index(
    "standalone_nexus_operations_by_id",
    standalone_nexus_operations.c.namespace_id,
    standalone_nexus_operations.c.operation_id,
    standalone_nexus_operations.c.number,
)
Index(
    "standalone_nexus_operations_wake_at",
    standalone_nexus_operations.c.wake_at,
    sqlite_where=standalone_nexus_operations.c.wake_at > 0,
    postgresql_where=standalone_nexus_operations.c.wake_at > 0,
)

# What they were started with: a serialized StartNexusOperationExecutionRequest.
standalone_nexus_requests = Table(
    "standalone_nexus_requests",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("request", LargeBinary, nullable=False),
)

visibility = Visibility(visibility_table(metadata), values_table(metadata))
