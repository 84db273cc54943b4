"""All that an execution is, as plain values. Behaviour is in the file of each subject.

Most of it is a fold of the history (``machine.rebuild``). What the history does not tell is small and kept apart, because
the store keeps it beside the history: :class:`Volatile` (one per run) and :class:`ActivityProgress` (one per pending
activity). Times are nanoseconds since the epoch, durations nanoseconds; 0 means "none".

Both kept forms may only grow by fields with a default: they are read back by older and newer releases alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Callback, Payload, TimeSkippingConfig
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    NexusOperationScheduledEventAttributes,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflow.v1 import ResetPointInfo, WorkflowExecutionOptions

from cloud.engine.core.deadlines import Deadlines

RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
PAUSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED


@dataclass(frozen=True, slots=True)
class RunKey:
    """The identity of a run. `run_id` alone is unique; the others place it."""

    namespace_id: str
    workflow_id: str
    run_id: str


@dataclass(slots=True)
class WorkflowTask:
    """The one workflow task, if `scheduled_event_id` is not 0; started, if `started_event_id` is not 0.

    Above attempt 1 the task is transient, and one that only brings updates is `speculative`: their scheduled and started
    events are not in the history, their ids are those that they would get.
    """

    scheduled_event_id: int = 0
    started_event_id: int = 0
    attempt: int = 1
    scheduled_time: int = 0
    original_scheduled_time: int = 0
    started_time: int = 0
    timeout: int = 0
    sticky: bool = False
    sticky_timeout: int = 0
    request_id: str = ""
    identity: str = ""
    build_id: str = ""
    history_size_at_start: int = 0
    suggest_continue_as_new: int = 0
    speculative: bool = False
    use_versioning: bool = False  # its worker's build id is one that the run is assigned to by rules
    redirects: int = 0  # of the run's build id, when the worker took it
    stamp: int = 0  # how often it was offered anew while it waited: earlier offers are stale

    @property
    def dispatch(self) -> int:
        """Names this attempt's latest offer to workers."""
        return self.attempt | self.stamp << 32

    @property
    def unwritten(self) -> bool:
        """Whether its events are not in the history."""
        return self.attempt > 1 or self.speculative


@dataclass(slots=True)
class Sticky:
    """The worker's own queue, on which it wants the next workflow tasks; none while `queue` is empty."""

    queue: str = ""
    timeout: int = 0


@dataclass(slots=True)
class VersionProgress:
    """What the history does not tell of a run's version of workers (see ``versioning``). Versions are texts of ``versions.version_of``.

    `transition` is the version that it is moving to, `revision` that of the routing which brought it where it is. `notified` is the
    target that its workers were told of while it is pinned to another, `declined` the one for which an earlier run did not move.
    """

    transition: str | None = None
    revision: int = 0
    notified: str | None = None
    notified_revision: int = 0
    declined: str | None = None
    declined_revision: int = 0


@dataclass(slots=True)
class BuildProgress:
    """By which build id the older forms of worker versioning give the run's tasks to workers (see ``older_versioning``).

    It is `assigned` by rules, and has changed for another `redirects` times. `stamp` is that of the worker that completed the last
    workflow task, "" if that one did not use versioning. `before` are build ids that it was assigned to, and of which no event tells.
    """

    assigned: str = ""
    redirects: int = 0
    stamp: str = ""
    before: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Problems:
    """How many workflow tasks have failed in a row, why the last one that is in the history did, and what lists show of it."""

    count: int = 0
    last: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Volatile:
    """What the history does not tell of a run."""

    workflow_task: WorkflowTask = field(default_factory=WorkflowTask)
    sticky: Sticky = field(default_factory=Sticky)
    transitions: int = 0
    close_propagated: bool = False
    had_workflow_task: bool = False
    start_request_id: str = ""
    last_workflow_task_failure: bytes = b""
    reset_run_id: str = ""  # the run that it was reset to last
    ended_by_reset: bool = False  # it was open, and made way for a reset of its workflow id
    reset_request_id: str = ""  # of the request whose reset made it
    rejected_updates: list[str] = field(default_factory=list)  # of those that its history admits
    rejections: dict[str, bytes] = field(
        default_factory=dict
    )  # why, of those of them that have callbacks (Failure)
    settled_updates: int = 0  # all that events up to this one admit are answered
    version_progress: VersionProgress | None = None
    problems: Problems | None = None  # while workflow tasks fail
    builds: BuildProgress | None = None  # none: its workers never used the older forms of versioning


@dataclass(slots=True)
class ActivityPause:
    """Who paused an activity, and why."""

    at: int = 0
    identity: str = ""
    reason: str = ""
    request_id: str = ""
    rule_id: str = ""  # of the rule that paused it; empty: people did


@dataclass(slots=True)
class ActivityProgress:
    """What the history does not tell of a pending activity: its attempts, until the last one closes it.

    Failures, payloads and options are serialized protos.
    """

    attempt: int = 1
    scheduled_time: int = 0  # of this attempt; in the future while it backs off
    started_time: int = 0  # 0: this attempt waits for a worker
    request_id: str = ""
    identity: str = ""
    build_id: str = ""
    version: str = ""  # of the worker that has, or had last, an attempt
    use_versioning: bool = (
        False  # `build_id` is one that rules of its queue, or its run's, gave the attempt to
    )
    redirects: int = 0  # of the run's build id, when that worker took it
    sdk_name: str = ""  # of the worker that has, or had last, an attempt of a standalone activity
    sdk_version: str = ""
    assigned_build: str = ""  # by rules of its own queue: it is not bound to its run's
    last_heartbeat_time: int = 0
    last_started_time: int = 0
    last_attempt_complete_time: int = 0
    heartbeat_details: bytes = b""
    last_failure: bytes = b""
    backing_off: bool = False  # this attempt is not offered before `scheduled_time`
    stamp: int = 0  # names this attempt's dispatch: a task of another stamp is stale
    options: bytes = b""  # instead of those that were scheduled
    pause: ActivityPause | None = None
    reset: bool = False  # while a worker held it: the worker is told with its heartbeats
    reset_heartbeat: bool = False  # the next attempt is to begin without heartbeat details


@dataclass(slots=True)
class Activity:
    """A pending activity. `closing` while its closing event waits in the buffer."""

    scheduled_event_id: int
    scheduled: ActivityTaskScheduledEventAttributes
    scheduled_time: int
    started_event_id: int = 0
    cancel_requested_event_id: int = 0
    closing: bool = False
    progress: ActivityProgress = field(default_factory=ActivityProgress)
    changed_options: ActivityOptions | None = None  # `progress.options`, decoded
    progress_size: int = 0  # bytes of `progress`, when it was weighed last

    @property
    def options(self) -> ActivityTaskScheduledEventAttributes | ActivityOptions:
        """Its queue, timeouts, retry policy and priority as they are now."""
        return self.scheduled if self.changed_options is None else self.changed_options


@dataclass(slots=True)
class Timer:
    """A pending timer. `closing` while its fired event waits in the buffer."""

    timer_id: str
    started_event_id: int
    fires_at: int
    closing: bool = False


@dataclass(slots=True)
class Child:
    """A child from its intent to its end; running once `run_id` is set."""

    initiated_event_id: int
    initiated: StartChildWorkflowExecutionInitiatedEventAttributes
    user_metadata: bytes = b""
    run_id: str = ""
    started_event_id: int = 0
    closing: bool = False


@dataclass(slots=True)
class ExternalSignal:
    """A signal on its way to another workflow. `closing` while its outcome waits in the buffer."""

    initiated_event_id: int
    initiated: SignalExternalWorkflowExecutionInitiatedEventAttributes
    closing: bool = False


@dataclass(slots=True)
class ExternalCancel:
    """A cancel request on its way to another workflow. `closing` while its outcome waits in the buffer."""

    initiated_event_id: int
    initiated: RequestCancelExternalWorkflowExecutionInitiatedEventAttributes
    closing: bool = False


@dataclass(slots=True)
class Update:
    """An update that a worker accepted; completed once `completed_event_id` is set, its outcome is in that event."""

    update_id: str
    accepted_event_id: int
    completed_event_id: int = 0


@dataclass(slots=True)
class NexusProgress:
    """What the history does not tell of a pending Nexus operation: the calls to its handler. Failures are serialized protos.

    Attempts count the calls that are over. While a next attempt time is set, the call after it waits for that moment.
    """

    attempt: int = 0
    last_attempt_complete_time: int = 0
    last_failure: bytes = b""
    next_attempt_time: int = 0
    cancel_attempt: int = 0
    last_cancel_attempt_complete_time: int = 0
    last_cancel_failure: bytes = b""
    next_cancel_attempt_time: int = 0


@dataclass(slots=True)
class NexusOperation:
    """A pending Nexus operation; started once `started_time` is set. `closing` while its end waits in the buffer."""

    scheduled_event_id: int
    scheduled: NexusOperationScheduledEventAttributes
    scheduled_time: int
    started_time: int = 0
    token: str = ""
    cancel_requested_event_id: int = 0
    cancel_requested_time: int = 0
    cancel_delivered: bool = False
    cancel_failed: bool = False
    closing: bool = False
    progress: NexusProgress = field(default_factory=NexusProgress)


@dataclass(slots=True)
class CallbackProgress:
    """What the history does not tell of a completion callback: its calls. `last_failure` is a serialized proto."""

    attempt: int = 0
    last_attempt_complete_time: int = 0
    last_failure: bytes = b""
    next_attempt_time: int = 0
    succeeded: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """The event by which a request to the open run is known again; id 0 while it waits in the buffer."""

    event_id: int
    event_type: EventType.ValueType


@dataclass(slots=True)
class CompletionCallback:
    """A callback of a run, or, with `update_id`, of one of its updates. `request_id` is that of the request that attached it to
    the open run, empty for the run's own."""

    callback: Callback
    registered_at: int
    request_id: str = ""
    update_id: str = ""
    progress: CallbackProgress = field(default_factory=CallbackProgress)


@dataclass(slots=True)
class WorkflowPause:
    """Who paused a run, when and why."""

    at: int
    identity: str
    reason: str
    request_id: str


@dataclass(slots=True)
class RunClock:
    """The run's own time: `skipped` ns ahead of its cell's. `config` is what is in effect of what people asked for."""

    config: TimeSkippingConfig | None
    skipped: int = 0
    skip_count: int = 0
    fast_forward_target: int = 0
    fast_forward_reached: bool = False


@dataclass(slots=True)
class Execution:
    """One run. Fields up to `volatile` are the fold of its history; `buffered` are events that have no id yet."""

    key: RunKey
    started: WorkflowExecutionStartedEventAttributes = field(
        default_factory=WorkflowExecutionStartedEventAttributes
    )
    start_time: int = 0
    close_time: int = 0
    status: int = RUNNING
    next_event_id: int = 1
    history_size: int = 0
    close_event_id: int = 0
    next_run_id: str = ""
    cancel_requested: bool = False
    paused: WorkflowPause | None = None
    previous_started_event_id: int = 0
    completed_workflow_tasks: int = 0
    first_completed_workflow_task_event_id: int = 0
    last_workflow_task_completed_event_id: int = 0
    signal_count: int = 0
    build_ids: list[str] = field(default_factory=list)
    versioned_build_ids: list[str] = field(
        default_factory=list
    )  # of workers that used an older form of versioning
    activities: dict[int, Activity] = field(default_factory=dict)
    activity_ids: dict[str, int] = field(default_factory=dict)
    timers: dict[str, Timer] = field(default_factory=dict)
    children: dict[int, Child] = field(default_factory=dict)
    external_signals: dict[int, ExternalSignal] = field(default_factory=dict)
    external_cancels: dict[int, ExternalCancel] = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)
    nexus_operations: dict[int, NexusOperation] = field(default_factory=dict)
    callbacks: list[CompletionCallback] = field(default_factory=list)
    admitted_updates: dict[str, int] = field(default_factory=dict)  # unanswered: id -> event
    reset_points: dict[tuple[str, str], ResetPointInfo] = field(default_factory=dict)
    reset_event_id: int = 0  # the reset that made this run; 0 for none
    original_start_time: int = 0
    signal_request_ids: set[str] = field(default_factory=set)
    attached_request_ids: dict[str, RequestEvent] = field(default_factory=dict)
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    user_metadata: bytes = b""
    options: WorkflowExecutionOptions = field(default_factory=WorkflowExecutionOptions)
    clock: RunClock | None = None  # none: its cell's
    was_overridden: bool = False  # it has, or had, a versioning override
    behavior: int = 0  # the VersioningBehavior that its workers gave it
    version: str = ""  # of the workers that gave it
    deployment_name: str = ""
    used_versions: list[str] = field(default_factory=list)
    initial_behavior: int = 0  # a ContinueAsNewVersioningBehavior, until the first workflow task is completed
    volatile: Volatile = field(default_factory=Volatile)
    buffered: list[HistoryEvent] = field(default_factory=list)
    buffered_size: int = 0  # bytes of `buffered`
    progress_size: int = 0  # bytes of the progress of all activities
    intent_sizes: dict[int, int] = field(
        default_factory=dict
    )  # bytes of the events that made what is pending
    intents_size: int = 0  # their sum
    # Derived from the above: never compared, never stored.
    deadlines: Deadlines = field(default_factory=Deadlines, compare=False, repr=False)

    def keep_intent(self, event_id: int, size: int) -> None:
        """The event is kept as long as what it made is pending."""
        self.intent_sizes[event_id] = size
        self.intents_size += size

    def drop_intent(self, event_id: int) -> None:
        """What the event made is not pending any more."""
        self.intents_size -= self.intent_sizes.pop(event_id, 0)

    @property
    def size(self) -> int:
        """About how many bytes the run holds in memory, beside the newest events of its history."""
        return self.intents_size + self.progress_size + self.buffered_size

    @property
    def running(self) -> bool:
        """Whether the run is open."""
        return self.status == RUNNING

    @property
    def shown_status(self) -> int:
        """The status as it is told: an open run may be paused."""
        return PAUSED if self.running and self.paused is not None else self.status

    @property
    def workflow_task(self) -> WorkflowTask:
        """The workflow task, pending or not."""
        return self.volatile.workflow_task

    @property
    def workflow_task_in_flight(self) -> bool:
        """Whether a worker has the workflow task: then new events are buffered."""
        return self.volatile.workflow_task.started_event_id != 0

    @property
    def has_pending_workflow_task(self) -> bool:
        """Whether a workflow task is scheduled or started."""
        return self.volatile.workflow_task.scheduled_event_id != 0
