"""A schedule: what is due when, and what happens when a time comes while the run before is still open.

Sans-IO. Who owns a schedule calls `elapse` when time has passed, then `plan`, starts what the plan says and reports each with
`started`; the ends of runs are reported with `closed`. `wake_at` says when to come back. Runs that may overlap (ALLOW_ALL) are
started without regard to others; of all others at most one is open, which `ScheduleState.running` names.

`ScheduleState` is stored as it stands here: it may only grow by fields with a default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType, ScheduleOverlapPolicy, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.schedule.v1 import Schedule as Definition
from temporalio.api.schedule.v1 import (
    ScheduleActionResult,
    ScheduleInfo,
    ScheduleListInfo,
    SchedulePatch,
)

from cloud.engine.core.clock import LATEST, MILLISECOND, SECOND, duration, timestamp, to_ns
from cloud.engine.core.close import STATUS_OF
from cloud.engine.core.schedule_spec import Spec, Time, TooManyExclusions, filled

_P = ScheduleOverlapPolicy
_S = WorkflowExecutionStatus

_DAY: Final = 86_400 * SECOND
CATCHUP_WINDOW_DEFAULT: Final = 365 * _DAY
CATCHUP_WINDOW_MIN: Final = 10 * SECOND
KEPT_WHEN_DONE: Final = 7 * _DAY
"""How long a schedule that will do nothing more is kept."""
WAITING_MAX: Final = 1_000
"""Starts that wait; what comes while so many do is dropped and counted. Of backfills half as many may wait."""
BACKFILLS_MAX: Final = 100
BACKFILLED_PER_PASS: Final = 10
BACKFILL_PACE: Final = SECOND
ELAPSED_PER_PASS: Final = 1_000
"""Times looked at in one go, so that a schedule that was held up for long does not hold up the cell."""
RECENT_SHOWN: Final = 10
RECENT_LISTED: Final = 5
FUTURE_SHOWN: Final = 10
FUTURE_LISTED: Final = 5
LISTED_OF_SPEC: Final = 10
REQUEST_IDS_KEPT: Final = 16


@dataclass(slots=True)
class Start:
    """A run that is to be started. `overlap_policy` 0: the schedule's, as it is when its turn comes; `manual` is the number
    of the request that asked for it, 0 if the spec did."""

    nominal: int
    actual: int
    overlap_policy: int = 0
    manual: int = 0


@dataclass(slots=True)
class Backfill:
    """A time range whose runs are still to be started, from `after` on."""

    after: int
    end: int
    overlap_policy: int
    manual: int


@dataclass(slots=True)
class Started:
    """A run that was started; `run_id` is the first of its chain, `due_at` its time in the spec with jitter."""

    due_at: int
    started_at: int
    workflow_id: str
    run_id: str
    status: int = _S.WORKFLOW_EXECUTION_STATUS_RUNNING


@dataclass(slots=True)
class ScheduleState:
    """All of a schedule but what its owner defined. Times in ns. `key` tells it from others that had its id before."""

    key: str
    created_at: int
    create_request_id: str
    processed_until: int
    updated_at: int = 0
    conflict_token: int = 1
    memo: bytes = b""
    search_attributes: bytes = b""
    action_count: int = 0
    missed_catchup_window: int = 0
    overlap_skipped: int = 0
    dropped: int = 0
    manual_count: int = 0
    waiting: list[Start] = field(default_factory=list)
    backfills: list[Backfill] = field(default_factory=list)
    running: list[Started] = field(default_factory=list)
    recent: list[Started] = field(default_factory=list)
    last_result: bytes = b""
    last_failure: bytes = b""
    request_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. After `starts` of which one could not be made, ask for another plan."""

    starts: list[Start]
    cancel: list[Started]
    terminate: list[Started]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a chain of runs ended."""

    status: int
    result: Payloads | None = None
    failure: Failure | None = None


def outcome_of(event: HistoryEvent) -> Outcome:
    """The outcome that a closing event tells."""
    result = failure = None
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        completed = event.workflow_execution_completed_event_attributes
        result = completed.result if completed.HasField("result") else None
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
        failure = event.workflow_execution_failed_event_attributes.failure
    return Outcome(STATUS_OF[event.event_type], result, failure)


class Schedule:
    """One schedule while it is in memory: what its owner `defined`, its `state`, its compiled `spec`."""

    def __init__(self, defined: Definition, state: ScheduleState, spec: Spec) -> None:
        self.defined = defined
        self.state = state
        self.spec = spec
        self.spec_error = ""
        _set_defaults(defined)

    # --- by its owner ---

    def update(self, defined: Definition, spec: Spec, now: int) -> None:
        """Replace what was defined. What was due before `now` is no more; what jitter moved behind it still is."""
        _set_defaults(defined)
        self.defined, self.spec = defined, spec
        state = self.state
        state.updated_at = now
        state.processed_until = max(state.processed_until, now - spec.jitter)
        state.conflict_token += 1

    def patch(self, patch: SchedulePatch, now: int) -> None:
        """Trigger, backfill, pause and unpause, whatever of these is asked for."""
        state = self.state
        if patch.HasField("trigger_immediately"):
            trigger = patch.trigger_immediately
            at = to_ns(trigger.scheduled_time) if trigger.HasField("scheduled_time") else now
            state.manual_count += 1
            self._enqueue(Start(at, at, trigger.overlap_policy, state.manual_count))
        for backfill in patch.backfill_request:
            state.manual_count += 1
            if len(state.backfills) >= BACKFILLS_MAX:
                state.dropped += 1
                continue
            state.backfills.append(
                Backfill(
                    # Its first moment counts too.
                    to_ns(backfill.start_time) - MILLISECOND,
                    to_ns(backfill.end_time),
                    backfill.overlap_policy,
                    state.manual_count,
                )
            )
        if patch.pause:
            self._pause(True, patch.pause)
        if patch.unpause:
            self._pause(False, patch.unpause)

    def knows_request(self, request_id: str) -> bool:
        """Whether this request was carried out before; it is noted. An empty id is never known."""
        known = self.state.request_ids
        if not request_id:
            return False
        if request_id in known:
            return True
        known.append(request_id)
        del known[:-REQUEST_IDS_KEPT]
        return False

    def _pause(self, paused: bool, notes: str) -> None:
        self.defined.state.paused = paused
        self.defined.state.notes = notes
        self.state.conflict_token += 1

    # --- by time ---

    def elapse(self, now: int) -> None:
        """Queue what has become due up to `now`, and a portion of what is to be backfilled."""
        state = self.state
        if not self._may_act():
            # Time spent paused is not made up for.
            state.processed_until = max(state.processed_until, now)
        else:
            for _ in range(ELAPSED_PER_PASS):
                time = self._next(state.processed_until)
                if time is None or time.actual > now:
                    break
                state.processed_until = time.actual
                if time.actual < state.updated_at:
                    continue
                if now - time.actual > self._catchup_window():
                    state.missed_catchup_window += 1
                    continue
                self._enqueue(Start(time.nominal, time.actual))
        self._backfill()

    def _backfill(self) -> None:
        state = self.state
        for _ in range(BACKFILLED_PER_PASS):
            if not self._may_backfill():
                return
            current = state.backfills[0]
            time = self._next(current.after)
            if time is None or time.actual > current.end:
                state.backfills.pop(0)
                continue
            current.after = time.actual
            self._enqueue(Start(time.nominal, time.actual, current.overlap_policy, current.manual))

    def _may_backfill(self) -> bool:
        return bool(self.state.backfills) and len(self.state.waiting) < WAITING_MAX // 2

    def _enqueue(self, start: Start) -> None:
        if len(self.state.waiting) >= WAITING_MAX:
            self.state.dropped += 1
        else:
            self.state.waiting.append(start)

    def _next(self, after: int) -> Time | None:
        try:
            return self.spec.next(after)
        except TooManyExclusions as error:
            self.spec_error = str(error)
            return None

    def wake_at(self, now: int) -> int:
        """When time alone will change something: the next action, the next portion of a backfill, or its end; 0 for never."""
        moments = [now + BACKFILL_PACE] if self._may_backfill() else []
        if self._may_act():
            moments += [time.actual for time in self._upcoming(1)]
        return min(min(moments, default=self._expires_at()), LATEST)

    def expired(self, now: int) -> bool:
        """Whether it has had nothing more to do for so long that it is to be removed."""
        return 0 < self._expires_at() <= now

    def _expires_at(self) -> int:
        state = self.state
        if self.defined.state.paused or state.waiting or state.backfills or state.running:
            return 0
        if self._may_act() and any(self._upcoming(1)):
            return 0
        return self._last_event() + KEPT_WHEN_DONE

    def _last_event(self) -> int:
        recent = self.state.recent
        return max(
            recent[-1].started_at if recent else 0,
            self.state.created_at,
            self.state.updated_at,
        )

    def _upcoming(self, count: int) -> Iterator[Time]:
        at = self.state.processed_until
        while count and (time := self._next(at)) is not None:
            at = time.actual
            if at >= self.state.updated_at:
                count -= 1
                yield time

    # --- what to do ---

    def policy_of(self, start: Start) -> int:
        """The overlap policy that counts for a start."""
        return start.overlap_policy or self.defined.policies.overlap_policy

    def plan(self) -> Plan:
        """Decide what can be decided now; the rest waits on for a run to close.

        What is to be started waits until it is reported as `started` or `declined`, so that a crash amid a plan loses nothing.
        """
        state = self.state
        busy = bool(state.running)
        overlapping: list[Start] = []
        chosen: Start | None = None
        left: list[Start] = []
        cancel = terminate = False
        for start in state.waiting:
            policy = self.policy_of(start)
            if policy == _P.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL:
                overlapping.append(start)
            elif not busy and chosen is None:
                chosen = start
            elif policy == _P.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL or (
                policy == _P.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE and not left
            ):
                left.append(start)
            elif policy in (
                _P.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
                _P.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER,
            ):
                if not busy:
                    chosen = start  # it supersedes one that has not even begun
                    continue
                left.append(start)
                terminate |= policy == _P.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER
                cancel |= policy == _P.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER
            else:
                state.overlap_skipped += 1
        starts = overlapping if chosen is None else [*overlapping, chosen]
        state.waiting = [*starts, *left]
        return Plan(
            starts=starts,
            cancel=list(state.running) if cancel and not terminate else [],
            terminate=list(state.running) if terminate else [],
        )

    def may_start(self, start: Start) -> bool:
        """Whether a planned start is still wanted: what the spec asked for is not, once paused or out of actions."""
        return bool(start.manual) or self._may_act()

    def workflow_id(self, start: Start) -> str:
        """The id of the run that a start makes."""
        base = self.defined.action.start_workflow.workflow_id
        if self.defined.policies.keep_original_workflow_id:
            return base
        moment = datetime.fromtimestamp(start.nominal // SECOND, UTC)
        return f"{base}-{moment:%Y-%m-%dT%H:%M:%SZ}"

    def request_id(self, start: Start) -> str:
        """The same for the same start, whoever carries it out and how often."""
        return f"{self.state.key}:{start.manual}:{start.nominal}"

    def started(self, start: Start, workflow_id: str, run_id: str, now: int) -> None:
        """A planned start was carried out."""
        state = self.state
        self.declined(start)
        if not start.manual and self.defined.state.limited_actions:
            self.defined.state.remaining_actions -= 1
            state.conflict_token += 1
        state.action_count += 1
        state.recent.append(Started(start.actual, now, workflow_id, run_id))
        del state.recent[:-RECENT_SHOWN]
        if self.hands_on(start):
            state.running.append(Started(start.actual, now, workflow_id, run_id))

    def hands_on(self, start: Start) -> bool:
        """Whether a run takes part in what one run hands to the next: overlapping ones do not."""
        return self.policy_of(start) != _P.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL

    def declined(self, start: Start) -> None:
        """A planned start is not made: its workflow id is not free, or nothing is to be started any more."""
        self.state.waiting = [each for each in self.state.waiting if each is not start]

    def knows_run(self, run_id: str) -> bool:
        """Whether `closed` wants to hear of the chain that begins with this run."""
        return bool(self._open(run_id))

    def _open(self, run_id: str) -> list[Started]:
        return [
            each
            for each in (*self.state.running, *self.state.recent)
            if each.run_id == run_id and each.status == _S.WORKFLOW_EXECUTION_STATUS_RUNNING
        ]

    def closed(self, run_id: str, outcome: Outcome) -> None:
        """The chain that begins with `run_id` ended, or (status 0) is gone without a trace."""
        state = self.state
        known = self._open(run_id)
        if not known:
            return
        awaited = any(each.run_id == run_id for each in state.running)
        workflow_id = known[0].workflow_id
        for each in known:
            each.status = outcome.status
        state.running = [each for each in state.running if each.run_id != run_id]
        if self.defined.policies.pause_on_failure and not self.defined.state.paused:
            if outcome.failure is not None:
                self._pause(True, f"paused due to workflow failure: {workflow_id}: {outcome.failure.message}")
            elif outcome.status == _S.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
                self._pause(True, f"paused due to workflow timeout: {workflow_id}")
        if not awaited:
            return  # runs that overlap hand nothing on
        if outcome.failure is not None:
            state.last_failure = outcome.failure.SerializeToString()
        elif outcome.status == _S.WORKFLOW_EXECUTION_STATUS_COMPLETED:
            state.last_failure = b""
            if outcome.result is not None:
                state.last_result = outcome.result.SerializeToString()

    def _may_act(self) -> bool:
        state = self.defined.state
        return not state.paused and (not state.limited_actions or state.remaining_actions > 0)

    def _catchup_window(self) -> int:
        return max(to_ns(self.defined.policies.catchup_window), CATCHUP_WINDOW_MIN)

    # --- what is told of it ---

    def info(self) -> ScheduleInfo:
        """Its past and its future, in full."""
        state = self.state
        # First, since the look into the future may find that there is none to be had.
        future = [timestamp(time.actual) for time in self._told_future(FUTURE_SHOWN)]
        return ScheduleInfo(
            action_count=state.action_count,
            missed_catchup_window=state.missed_catchup_window,
            overlap_skipped=state.overlap_skipped,
            buffer_dropped=state.dropped,
            buffer_size=len(state.waiting),
            running_workflows=[
                WorkflowExecution(workflow_id=each.workflow_id, run_id=each.run_id) for each in state.running
            ],
            recent_actions=[_result(each) for each in state.recent],
            future_action_times=future,
            create_time=timestamp(state.created_at),
            update_time=timestamp(state.updated_at) if state.updated_at else None,
            invalid_schedule_error=self.spec_error,
        )

    def list_info(self) -> ScheduleListInfo:
        """The same in short, as lists have it."""
        spec = filled(self.defined.spec)
        spec.ClearField("timezone_data")
        for ranges in (spec.structured_calendar, spec.exclude_structured_calendar, spec.interval):
            del ranges[LISTED_OF_SPEC:]
        return ScheduleListInfo(
            spec=spec,
            workflow_type=self.defined.action.start_workflow.workflow_type,
            notes=self.defined.state.notes,
            paused=self.defined.state.paused,
            recent_actions=[_result(each) for each in self.state.recent[-RECENT_LISTED:]],
            future_action_times=[timestamp(time.actual) for time in self._told_future(FUTURE_LISTED)],
        )

    def _told_future(self, count: int) -> Iterator[Time]:
        state = self.defined.state
        return self._upcoming(min(count, max(state.remaining_actions, 0)) if state.limited_actions else count)


def _set_defaults(defined: Definition) -> None:
    """Write down what a definition leaves open, so that descriptions tell it."""
    policies = defined.policies
    if not policies.overlap_policy:
        policies.overlap_policy = _P.SCHEDULE_OVERLAP_POLICY_SKIP
    if not policies.HasField("catchup_window"):
        policies.catchup_window.CopyFrom(duration(CATCHUP_WINDOW_DEFAULT))
    elif to_ns(policies.catchup_window) < CATCHUP_WINDOW_MIN:
        policies.catchup_window.CopyFrom(duration(CATCHUP_WINDOW_MIN))
    defined.state.SetInParent()
    defined.spec.SetInParent()


def _result(started: Started) -> ScheduleActionResult:
    return ScheduleActionResult(
        schedule_time=timestamp(started.due_at),
        actual_time=timestamp(started.started_at),
        start_workflow_result=WorkflowExecution(workflow_id=started.workflow_id, run_id=started.run_id),
        start_workflow_status=_S.ValueType(started.status),
    )
