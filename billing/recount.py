"""Counting usage again, from histories alone: the check on the ledger that shares no code with the engine.

:func:`recount_run` reads one run's whole history; :func:`comparable` brings its counts and a ledger's to the
kinds that both can know, so that the two must be equal. What a history shows, and how:

- A run's first event says what began it: one with `continued_execution_run_id` follows another run, and its
  `initiator` tells continue-as-new, retry and cron apart (the first run of a cron schedule has an initiator
  too, but follows none); a schedule's run carries `TemporalScheduledById`. Each run is counted where it
  begins; the closing event that announces it is not counted again.
- Signal-with-start has no mark of its own. Where it started the run, its signal is event 2, written in the
  transaction of event 1; then the pair is one `signal_workflow_with_start`. A plain signal can be event 2
  as well, where nothing else was written at the start: in a child, in a run that follows another, in a
  start that was delayed. The first two are told by their first event, the last by the transaction: one time
  for both events (our engine), or task ids that follow one another (a Temporal server). Where it met an
  open run, it looks like any signal, hence `comparable` takes both kinds for one.
- A signal that a workflow sent is counted in the sender (its intent), not in the receiver.
- Markers count once for each workflow task that recorded one, those of code versions aside.
- A reset run begins with copies: all before the reset's mark, and what was reapplied in the same
  transaction, is not counted again.

Histories cannot show queries, heartbeats of activities and of workflow tasks, rejected updates, calls on
schedules, standalone activities and Nexus operations (:data:`HIDDEN_KINDS`); nor anything of a deleted run. Retries
show only in an activity's started event, which is written when the activity ends: :attr:`Recount.at_least`
names kinds of which there may have been more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import ContinueAsNewInitiator, EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from billing import actions

FREE_MARKERS = frozenset({"Version", "core_patch"})
"""Markers of code versions: Go's and Java's, and those of the SDKs on the shared core."""
FREE_SEARCH_ATTRIBUTE = "TemporalChangeVersion"
LOCAL_RETRIES_MAX = 100
"""More retries of local activities in one workflow task are not counted."""

HIDDEN_KINDS = frozenset(
    {
        actions.CREATE_SCHEDULE,
        actions.DELETE_SCHEDULE,
        actions.PATCH_SCHEDULE,
        actions.PAUSE_STANDALONE_ACTIVITY,
        actions.QUERY_WORKFLOW,
        actions.RECORD_ACTIVITY_HEARTBEAT,
        actions.RECORD_STANDALONE_ACTIVITY_HEARTBEAT,
        actions.RECORD_WORKFLOW_HEARTBEAT,
        actions.REJECT_WORKFLOW_UPDATE,
        actions.REQUEST_STANDALONE_NEXUS_OPERATION_CANCELLATION,
        actions.RESET_STANDALONE_ACTIVITY,
        actions.RETRY_STANDALONE_ACTIVITY,
        actions.START_STANDALONE_ACTIVITY,
        actions.START_STANDALONE_NEXUS_OPERATION,
        actions.UPDATE_SCHEDULE,
        actions.UPDATE_STANDALONE_ACTIVITY_OPTIONS,
    }
)
"""Kinds of usage that leave no trace in a workflow's history."""

_E = EventType
_I = ContinueAsNewInitiator

_ALWAYS_ONE: Mapping[EventType.ValueType, str] = {
    _E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: actions.SCHEDULE_ACTIVITY,
    _E.EVENT_TYPE_TIMER_STARTED: actions.START_TIMER,
    _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: actions.START_CHILD_WORKFLOW,
    _E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: actions.SIGNAL_EXTERNAL_WORKFLOW,
    _E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: actions.MODIFY_WORKFLOW_PROPERTIES,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: actions.ACCEPT_WORKFLOW_UPDATE,
    _E.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED: actions.SCHEDULE_NEXUS_OPERATION,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED: actions.REQUEST_NEXUS_OPERATION_CANCELLATION,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED: actions.PAUSE_WORKFLOW,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED: actions.UNPAUSE_WORKFLOW,
}
_FOLLOWING_RUN: Mapping[ContinueAsNewInitiator.ValueType, str] = {
    _I.CONTINUE_AS_NEW_INITIATOR_WORKFLOW: actions.CONTINUE_AS_NEW_WORKFLOW,
    _I.CONTINUE_AS_NEW_INITIATOR_RETRY: actions.START_WORKFLOW_RETRY,
    _I.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE: actions.START_WORKFLOW_CRON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """What a history shows: `counts` by kind (no zeros), and the kinds of which there may have been more
    than it shows.
    """

    counts: Mapping[str, int]
    at_least: frozenset[str]


class BrokenHistory(ValueError):
    """The events are not one run's history from its first event on."""


def recount_run(events: Iterable[HistoryEvent]) -> Recount:
    """The usage that one run's whole history shows.

    Raises:
        BrokenHistory: an event is missing, doubled or out of order, or the first says not what began the run.
    """
    count = _Count()
    expected_id = 1
    for event in events:
        if event.event_id != expected_id:
            raise BrokenHistory(
                f"history: event {expected_id} should follow, but event {event.event_id} does; "
                "read all pages of one run's history, oldest first"
            )
        expected_id += 1
        count.add(event)
    if expected_id == 1:
        raise BrokenHistory("history: no events; read all pages of one run's history, oldest first")
    at_least = frozenset({actions.RETRY_ACTIVITY}) if count.unseen_attempts else frozenset[str]()
    return Recount(counts=dict(sorted((+count.counts).items())), at_least=at_least)


def recount_total(recounts: Iterable[Recount]) -> Recount:
    """The sum of several runs' recounts."""
    counts: Counter[str] = Counter()
    at_least: set[str] = set()
    for one in recounts:
        counts.update(one.counts)
        at_least |= one.at_least
    return Recount(counts=dict(sorted(counts.items())), at_least=frozenset(at_least))


def comparable(counts: Mapping[str, int]) -> dict[str, int]:
    """`counts` by the kinds that a ledger and histories must agree on: hidden ones dropped, both signal
    kinds as one.
    """
    merged: Counter[str] = Counter()
    for kind, count in counts.items():
        if kind not in HIDDEN_KINDS:
            merged[actions.SIGNAL_WORKFLOW if kind == actions.SIGNAL_WORKFLOW_WITH_START else kind] += count
    return dict(sorted((+merged).items()))


def differences(ledger: Mapping[str, int], histories: Recount) -> dict[str, tuple[int, int]]:
    """Where a ledger and all its histories disagree: kind -> (ledger's count, histories' count); empty if
    nowhere.

    Where the histories show only a lower bound, a ledger above it agrees.
    """
    left, right = comparable(ledger), comparable(histories.counts)
    return {
        kind: (left.get(kind, 0), right.get(kind, 0))
        for kind in sorted({*left, *right})
        if left.get(kind, 0) != right.get(kind, 0)
        and not (kind in histories.at_least and left.get(kind, 0) > right.get(kind, 0))
    }


@dataclass(slots=True)
class _Count:
    """A fold over one history."""

    counts: Counter[str] = field(default_factory=Counter)
    unseen_attempts: set[int] = field(default_factory=set)
    """Scheduled event ids of activities that may be retried and have no started event (yet)."""
    marked_tasks: set[int] = field(default_factory=set)
    """Completed workflow tasks that recorded a marker which counts."""
    first: HistoryEvent = field(default_factory=HistoryEvent)
    reapplying: bool = False

    def add(self, event: HistoryEvent) -> None:
        if event.event_type == _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            self.reapplying = False
        if self.reapplying:
            return
        if kind := _ALWAYS_ONE.get(event.event_type):
            self.counts[kind] += 1
        if handle := _HANDLERS.get(event.event_type):
            handle(self, event)

    def started(self, event: HistoryEvent) -> None:
        self.first = event
        attributes = event.workflow_execution_started_event_attributes
        if attributes.continued_execution_run_id:
            kind = _FOLLOWING_RUN.get(attributes.initiator)
            if kind is None:
                raise BrokenHistory(
                    f"history: the run follows run {attributes.continued_execution_run_id}, but its initiator "
                    f"{attributes.initiator} says not why; it cannot be counted"
                )
            self.counts[kind] += 1
            return
        self.counts[actions.START_WORKFLOW] += 1
        if "TemporalScheduledById" in attributes.search_attributes.indexed_fields:
            self.counts[actions.SCHEDULE_WORKFLOW] += 1

    def signaled(self, event: HistoryEvent) -> None:
        if event.workflow_execution_signaled_event_attributes.external_workflow_execution.workflow_id:
            return
        if event.event_id == 2 and _came_with_start(self.first, event):
            self.counts[actions.START_WORKFLOW] -= 1
            self.counts[actions.SIGNAL_WORKFLOW_WITH_START] += 1
        else:
            self.counts[actions.SIGNAL_WORKFLOW] += 1

    def activity_scheduled(self, event: HistoryEvent) -> None:
        attributes = event.activity_task_scheduled_event_attributes
        if attributes.HasField("retry_policy") and attributes.retry_policy.maximum_attempts != 1:
            self.unseen_attempts.add(event.event_id)

    def activity_started(self, event: HistoryEvent) -> None:
        attributes = event.activity_task_started_event_attributes
        self.unseen_attempts.discard(attributes.scheduled_event_id)
        self.counts[actions.RETRY_ACTIVITY] += max(0, attributes.attempt - 1)

    def marker(self, event: HistoryEvent) -> None:
        attributes = event.marker_recorded_event_attributes
        task = attributes.workflow_task_completed_event_id
        if attributes.marker_name in FREE_MARKERS or task in self.marked_tasks:
            return
        self.marked_tasks.add(task)
        self.counts[actions.RECORD_ACTIVITY_MARKERS] += 1

    def upserted(self, event: HistoryEvent) -> None:
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        if set(fields) != {FREE_SEARCH_ATTRIBUTE}:
            self.counts[actions.UPSERT_WORKFLOW_SEARCH_ATTRIBUTES] += 1

    def options_updated(self, event: HistoryEvent) -> None:
        attributes = event.workflow_execution_options_updated_event_attributes
        by_start = attributes.attached_request_id or attributes.attached_completion_callbacks
        self.counts[
            actions.UPDATE_WORKFLOW_OPTIONS_VIA_START if by_start else actions.UPDATE_WORKFLOW_OPTIONS
        ] += 1

    def task_completed(self, event: HistoryEvent) -> None:
        metering = event.workflow_task_completed_event_attributes.metering_metadata
        self.counts[actions.RETRY_ACTIVITY_LOCAL] += min(
            metering.nonfirst_local_activity_execution_attempts, LOCAL_RETRIES_MAX
        )

    def task_failed(self, event: HistoryEvent) -> None:
        cause = event.workflow_task_failed_event_attributes.cause
        if cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW:
            # All so far was copied from the run that was reset, where it is counted.
            self.counts = Counter({actions.RESET_WORKFLOW: 1})
            self.reapplying = True


def _came_with_start(first: HistoryEvent, signal: HistoryEvent) -> bool:
    """Whether the signal in event 2 is a signal-with-start's: see the module's head."""
    attributes: WorkflowExecutionStartedEventAttributes = first.workflow_execution_started_event_attributes
    if attributes.continued_execution_run_id or attributes.parent_workflow_execution.workflow_id:
        return False
    backoff = attributes.first_workflow_task_backoff
    if not (backoff.seconds or backoff.nanos):
        return True  # a plain start writes its first workflow task as event 2
    if signal.event_time == first.event_time:
        return True
    # Where task ids are but the events' own numbers, as our engine writes them, they tell nothing.
    return first.task_id != first.event_id and signal.task_id == first.task_id + 1 > 1


_HANDLERS: Mapping[EventType.ValueType, Callable[[_Count, HistoryEvent], None]] = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: _Count.started,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _Count.signaled,
    _E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: _Count.activity_scheduled,
    _E.EVENT_TYPE_ACTIVITY_TASK_STARTED: _Count.activity_started,
    _E.EVENT_TYPE_MARKER_RECORDED: _Count.marker,
    _E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: _Count.upserted,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED: _Count.options_updated,
    _E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: _Count.task_completed,
    _E.EVENT_TYPE_WORKFLOW_TASK_FAILED: _Count.task_failed,
}
