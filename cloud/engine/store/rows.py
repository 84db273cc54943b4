"""The rows of a batch, as tuples in the order of their columns, and how state becomes bytes and comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import msgspec

from cloud.engine.core.schedule import ScheduleState
from cloud.engine.core.standalone_activity_state import StandaloneState
from cloud.engine.core.standalone_nexus_state import OperationState
from cloud.engine.core.state import ActivityProgress, CallbackProgress, NexusProgress, Volatile
from cloud.engine.store.visibility import VisibilityRow

WORKFLOW_TASK = 1
ACTIVITY_TASK = 2


USUAL_LEVEL = 3
"""The priority level of tasks that an older release stored."""

LEVEL_SHIFT = 60
"""Above these bits of an order key stands the level, in them the pass."""

_PASS_MAX = (1 << LEVEL_SHIFT) - 1


class RunRow(NamedTuple):
    """A row of ``runs``."""

    run_id: str
    namespace_id: str
    workflow_id: str
    status: int
    next_event_id: int
    wake_at: int
    volatile: bytes


class CurrentRun(NamedTuple):
    """A row of ``current_runs``: the newest run of a workflow id."""

    namespace_id: str
    workflow_id: str
    run_id: str
    first_run_id: str
    status: int
    request_id: str
    start_time: int


class HistoryRow(NamedTuple):
    """A row of ``history``."""

    run_id: str
    first_event_id: int
    last_event_id: int
    events: bytes


class TaskRow(NamedTuple):
    """A row of ``tasks``."""

    task_id: int
    namespace_id: str
    queue: str
    kind: int
    run_id: str
    scheduled_event_id: int
    stamp: int
    created_at: int
    order_key: int = USUAL_LEVEL << LEVEL_SHIFT
    fairness_key: str = ""
    stride: int = 1_000
    version: str = ""


def order_key(level: int, fair_pass: int) -> int:
    """Where a task of a priority level and a pass stands among its queue's: the least comes first."""
    return level << LEVEL_SHIFT | min(fair_pass, _PASS_MAX)


def level_of(order_key: int) -> int:
    """The priority level that is in an order key."""
    return order_key >> LEVEL_SHIFT


def pass_of(order_key: int) -> int:
    """The pass that is in an order key."""
    return order_key & _PASS_MAX


class BatchOperationRow(NamedTuple):
    """A row of ``batch_operations``."""

    namespace_id: str
    job_id: str
    run_id: str
    state: int
    start_time: int
    close_time: int
    definition: bytes
    progress: bytes


class BatchStepRow(NamedTuple):
    """What of a row of ``batch_operations`` each step changes, and which row that is."""

    state: int
    close_time: int
    progress: bytes
    namespace_id: str
    job_id: str


class UsageRow(NamedTuple):
    """A row of ``usage_records``."""

    record_id: int
    namespace_id: str
    occurred_at: int
    kind: str
    quantity: int
    workflow_type: str
    workflow_id: str
    run_id: str


class ScheduleRow(NamedTuple):
    """A row of ``schedules``."""

    namespace_id: str
    schedule_id: str
    wake_at: int
    definition: bytes
    state: bytes

    @property
    def key(self) -> str:
        """The one text that stands for a schedule where runs have their id."""
        return schedule_key(self.namespace_id, self.schedule_id)


class StandaloneKind(Enum):
    """What an execution is that is no workflow."""

    ACTIVITY = "activity"
    NEXUS_OPERATION = "nexus operation"


class StandaloneRow(NamedTuple):
    """A row of ``standalone_activities``, or of ``standalone_nexus_operations``. `id` is the one that a client gave it."""

    run_id: str
    namespace_id: str
    id: str
    number: int
    status: int
    wake_at: int
    state: bytes


@dataclass(slots=True)
class StandaloneRows:
    """What a batch writes of one kind of executions that are no workflows."""

    rows: list[StandaloneRow] = field(default_factory=list)
    requests: dict[str, bytes] = field(default_factory=dict)  # serialized, by run id
    deleted: list[str] = field(default_factory=list)  # their run ids

    def of_run(self, run_id: str) -> StandaloneRows:
        """What is written of one of them."""
        return StandaloneRows(
            [row for row in self.rows if row.run_id == run_id],
            {key: data for key, data in self.requests.items() if key == run_id},
        )


def schedule_key(namespace_id: str, schedule_id: str) -> str:
    """See `ScheduleRow.key`."""
    return f"{namespace_id}/{schedule_id}"


def schedule_of_key(key: str) -> tuple[str, str]:
    """(namespace id, schedule id) of what `schedule_key` made."""
    namespace_id, _, schedule_id = key.partition("/")
    return namespace_id, schedule_id


@dataclass(slots=True)
class Rows:
    """All that one transaction writes. Dictionaries hold the last state of what a batch changed more than once."""

    runs: list[RunRow] = field(default_factory=list)
    current_runs: dict[tuple[str, str], CurrentRun] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    progress: dict[tuple[str, int], bytes] = field(default_factory=dict)
    progress_cleared: set[str] = field(default_factory=set)
    nexus_progress: dict[tuple[str, int], bytes] = field(default_factory=dict)
    nexus_progress_cleared: set[str] = field(default_factory=set)
    buffer_cleared: set[str] = field(default_factory=set)
    buffered: list[tuple[str, int, bytes]] = field(default_factory=list)
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    tasks_done: list[int] = field(default_factory=list)
    usage: list[UsageRow] = field(default_factory=list)
    visibility: list[VisibilityRow] = field(default_factory=list)
    deleted_runs: list[tuple[str, str, str]] = field(
        default_factory=list
    )  # (namespace id, workflow id, run id)
    schedules: dict[str, ScheduleRow] = field(default_factory=dict)  # by their keys
    deleted_schedules: list[str] = field(default_factory=list)
    copies_done: list[str] = field(default_factory=list)  # run ids

    standalone: dict[StandaloneKind, StandaloneRows] = field(default_factory=dict)

    batch_operations: list[BatchOperationRow] = field(default_factory=list)
    batch_steps: dict[tuple[str, str], BatchStepRow] = field(default_factory=dict)

    def run_ids(self) -> list[str]:
        """The runs, standalone executions and keys of schedules that have rows of their own here."""
        return list(
            {row.run_id for row in self.runs}
            | {row.run_id for written in self.standalone.values() for row in written.rows}
            | {row.run_id for row in self.usage}
            | self.schedules.keys()
        )

    def of_run(self, run_id: str) -> Rows:
        """What is written of one run, or schedule, alone."""
        return Rows(
            runs=[row for row in self.runs if row.run_id == run_id],
            current_runs={key: row for key, row in self.current_runs.items() if row.run_id == run_id},
            history=[row for row in self.history if row.run_id == run_id],
            progress={key: data for key, data in self.progress.items() if key[0] == run_id},
            progress_cleared=self.progress_cleared & {run_id},
            nexus_progress={key: data for key, data in self.nexus_progress.items() if key[0] == run_id},
            nexus_progress_cleared=self.nexus_progress_cleared & {run_id},
            buffer_cleared=self.buffer_cleared & {run_id},
            buffered=[row for row in self.buffered if row[0] == run_id],
            tasks={key: row for key, row in self.tasks.items() if row.run_id == run_id},
            usage=[row for row in self.usage if row.run_id == run_id],
            visibility=[row for row in self.visibility if row.run_id == run_id],
            deleted_runs=[row for row in self.deleted_runs if row[2] == run_id],
            schedules={key: row for key, row in self.schedules.items() if key == run_id},
            copies_done=[done for done in self.copies_done if done == run_id],
            standalone={kind: written.of_run(run_id) for kind, written in self.standalone.items()},
        )


_encoder = msgspec.msgpack.Encoder()
_volatile = msgspec.msgpack.Decoder(Volatile)
_progress = msgspec.msgpack.Decoder(ActivityProgress)
_callback_progress = msgspec.msgpack.Decoder(CallbackProgress)
_nexus_progress = msgspec.msgpack.Decoder(NexusProgress)
_standalone = msgspec.msgpack.Decoder(StandaloneState)
_operation = msgspec.msgpack.Decoder(OperationState)
_schedule = msgspec.msgpack.Decoder(ScheduleState)


def encode(
    state: (
        Volatile
        | ActivityProgress
        | NexusProgress
        | CallbackProgress
        | ScheduleState
        | StandaloneState
        | OperationState
    ),
) -> bytes:
    """State as MessagePack: a map by field names, so that fields can be added with a default."""
    return _encoder.encode(state)


def decode_volatile(data: bytes) -> Volatile:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _volatile.decode(data)


def decode_progress(data: bytes) -> ActivityProgress:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _progress.decode(data)


def decode_nexus_progress(data: bytes) -> NexusProgress:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _nexus_progress.decode(data)


def decode_callback_progress(data: bytes) -> CallbackProgress:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _callback_progress.decode(data)


def decode_schedule(data: bytes) -> ScheduleState:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _schedule.decode(data)


def decode_standalone(data: bytes) -> StandaloneState:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _standalone.decode(data)


def decode_operation(data: bytes) -> OperationState:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _operation.decode(data)
