"""Standalone activities: started by a client, without a workflow and without a history.

Scheduled → attempts → completed, failed, cancelled, terminated or timed out. All that one is, is its request, which never changes,
and a small state that is stored whole after each step. Attempts are those of :mod:`cloud.engine.core.attempts`, the phases and
their transitions the real server's. Each attempt's dispatch has a stamp of its own, as with activities of workflows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core import attempts, retry
from cloud.engine.core.clock import to_ns
from cloud.engine.core.errors import Invalid, NoSuchTask, NotNow
from cloud.engine.core.failures import shortened
from cloud.engine.core.limits import Limits
from cloud.engine.core.payloads import json_payloads
from cloud.engine.core.standalone_activity_state import (
    Phase,
    StandaloneActivity,
    StandaloneState,
    original_options,
)
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.state import ActivityProgress

_T = TimeoutType
_FAILURE_BYTES = Limits().activity_failure_size


@dataclass(slots=True, eq=False)
class Step:
    """One change of an activity at `now` (ns), and what it asks the runtime for. Functions check first and change after."""

    activity: StandaloneActivity
    now: int
    failure_size: int = _FAILURE_BYTES  # of a failure that is kept while it is tried again, at most
    dirty: bool = False
    offer: bool = False  # the attempt that waits, to workers
    relist: bool = False  # what lists show changed
    deliver: list[int] = field(default_factory=list)  # the callbacks to call
    meters: list[str] = field(default_factory=list)

    @property
    def state(self) -> StandaloneState:
        """The activity's state."""
        return self.activity.state

    @property
    def progress(self) -> ActivityProgress:
        """Its attempts."""
        return self.activity.state.progress

    def enter(self, phase: Phase) -> None:
        """It is in `phase` from now on."""
        before = self.activity.status
        self.state.phase = phase
        self.dirty = True
        if phase.closed:
            self.state.close_time = self.now
            self.relist = True
            self.deliver.extend(range(len(self.state.callbacks)))
        elif self.activity.status != before:
            self.relist = True


# --- life -------------------------------------------------------------------------------------------------------


def begin(run_id: str, request: StartActivityExecutionRequest, now: int) -> Step:
    """A new one, with the step that schedules it. `request` is checked and settled, and is its own from now on."""
    state = StandaloneState(scheduled_time=now, start_request_id=request.request_id)
    activity = StandaloneActivity(run_id, request, state, original_options(request))
    step = Step(activity, now, dirty=True, relist=True, meters=["start_standalone_activity"])
    state.progress.stamp = 1
    offer_at(step, activity.first_dispatch)
    return step


def offer_at(step: Step, at: int) -> None:
    """The attempt that waits is to be offered to workers at `at` (ns)."""
    step.dirty = True
    step.progress.scheduled_time = at
    step.progress.backing_off = at > step.now
    step.offer = not step.progress.backing_off


def start(step: Step, *, stamp: int, request_id: str, identity: str, build_id: str) -> None:
    """A worker takes the attempt that waits.

    Raises:
        NoSuchTask: it is over, taken already, or was called off.
    """
    progress, state = step.progress, step.state
    if state.phase != Phase.SCHEDULED or progress.stamp != stamp:
        raise NoSuchTask("activity task already started or stale")
    told_last = progress.last_heartbeat_time  # descriptions keep it until the next one
    attempts.begin(progress, step.now, request_id=request_id, identity=identity, build_id=build_id)
    progress.last_heartbeat_time = told_last
    progress.last_started_time = step.now
    state.first_started_time = state.first_started_time or step.now
    step.enter(Phase.STARTED)
    if progress.attempt > 1:
        step.meters.append("retry_standalone_activity")


def with_workers(state: StandaloneState) -> bool:
    """Whether a worker holds it, or is to take it now."""
    return state.phase.held or (state.phase == Phase.SCHEDULED and not state.progress.backing_off)


def require_held(activity: StandaloneActivity, attempt: int, started_time: int) -> None:
    """Refuse unless a worker holds that attempt; attempt 0 stands for any.

    Raises:
        NoSuchTask: nobody does.
    """
    state = activity.state
    if not state.phase.held or (attempt and not attempts.held(state.progress, attempt, started_time)):
        raise NoSuchTask(f"activity not found for ID: {activity.request.activity_id}")


def heartbeat(step: Step, details: Payloads | None) -> None:
    """The worker that holds it is alive."""
    attempts.beat(step.progress, step.now, details or Payloads())
    step.state.heartbeats += 1
    step.dirty = True
    step.meters.append("record_standalone_activity_heartbeat")


def complete(step: Step, result: Payloads | None, identity: str) -> None:
    """It succeeded. Who answers by id need not have polled."""
    state, progress = step.state, step.progress
    if not state.phase.held:
        progress.started_time = progress.last_started_time = step.now
        state.first_started_time = state.first_started_time or step.now
    progress.last_attempt_complete_time = step.now
    progress.identity = identity
    state.has_result = True
    state.result = b"" if result is None else result.SerializeToString()
    step.enter(Phase.COMPLETED)


def fail(step: Step, failure: Failure, identity: str, last_heartbeat_details: Payloads | None = None) -> None:
    """An attempt failed: the next one follows, or it has failed."""
    progress = step.progress
    if last_heartbeat_details is not None:
        attempts.beat(progress, step.now, last_heartbeat_details)
        step.state.heartbeats += 1
    refused = _try_again(step, failure)
    if refused is None:
        return
    progress.identity = identity
    if not failure.ByteSize():  # the outcome is told as it is: a client must be able to see that there is one
        failure = Failure(message="activity task failed without failure details")
    progress.last_failure = failure.SerializeToString()
    progress.last_attempt_complete_time = step.now
    step.state.retry_state = refused
    step.enter(Phase.FAILED)


def confirm_cancel(step: Step, details: Payloads | None) -> None:
    """The worker confirms the cancellation that was requested.

    Raises:
        Invalid: none was.
    """
    state = step.state
    if state.phase != Phase.CANCEL_REQUESTED or state.cancel is None:
        raise Invalid("unable to mark activity as canceled without activity being request canceled first")
    _cancelled(step, details, state.cancel)


def _cancelled(step: Step, details: Payloads | None, asked: Asked) -> None:
    failure = Failure(message="Activity canceled")
    failure.canceled_failure_info.identity = asked.identity
    if details is not None:
        failure.canceled_failure_info.details.CopyFrom(details)
    step.state.failure = failure.SerializeToString()
    step.enter(Phase.CANCELED)


def request_cancel(step: Step, asked: Asked) -> None:
    """It is to be cancelled: at once if no worker holds it, else the worker is told with its next heartbeat.

    Raises:
        NotNow: it is over, or another request asked for it.
    """
    state = step.state
    if state.cancel is not None and state.cancel.request_id == asked.request_id:
        return
    if state.phase.closed:
        raise NotNow(f"activity is in terminal state {state.phase.title}")
    if state.phase == Phase.CANCEL_REQUESTED:
        raise NotNow(
            f"cancellation already requested with request ID {state.cancel.request_id if state.cancel else ''}"
        )
    state.cancel = asked
    state.restore_options = state.pause_after_reset = False
    step.progress.reset_heartbeat = False
    if state.phase.held:
        step.enter(Phase.CANCEL_REQUESTED)
    else:
        _cancelled(step, json_payloads(asked.reason), asked)


def terminate(step: Step, asked: Asked) -> None:
    """It ends now, whatever a worker does.

    Raises:
        NotNow: it is over.
    """
    state = step.state
    if state.phase == Phase.TERMINATED:
        if state.terminate_request_id != asked.request_id:
            raise NotNow(f"already terminated with request ID {state.terminate_request_id}")
        return
    if state.phase.closed:
        raise NotNow(f"invalid transition from {state.phase.title}")
    failure = Failure(message=asked.reason)
    failure.terminated_failure_info.identity = asked.identity
    state.terminate_request_id = asked.request_id
    state.failure = failure.SerializeToString()
    step.enter(Phase.TERMINATED)


# --- attempts ---------------------------------------------------------------------------------------------------


def _try_again(step: Step, failure: Failure) -> RetryState.ValueType | None:
    """Prepare the next attempt; None if there will be one, else why not."""
    activity, state, progress = step.activity, step.state, step.progress
    if state.phase == Phase.RESET_REQUESTED:
        _begin_anew(step, failure)
        return None
    if state.phase == Phase.CANCEL_REQUESTED:
        return RetryState.RETRY_STATE_CANCEL_REQUESTED
    delay, refused = retry.next_delay(
        activity.options.retry_policy,
        attempt=progress.attempt,
        now=step.now,
        expires_at=activity.expires_at,
        failure=failure,
    )
    if delay < 0:
        return refused
    attempts.end(progress, step.now, shortened(failure, step.failure_size))
    state.retry_interval = delay
    info = failure.application_failure_info
    state.retry_interval_given = to_ns(info.next_retry_delay) > 0
    if state.phase == Phase.PAUSE_REQUESTED:
        step.enter(Phase.PAUSED)
    else:
        step.enter(Phase.SCHEDULED)
        attempts.back_off(progress, step.now + delay)
    return None


def _begin_anew(step: Step, failure: Failure) -> None:
    """The attempt that was held while a reset was asked for has failed: attempt 1 follows, without a pause."""
    state, progress = step.state, step.progress
    attempts.end(progress, step.now, shortened(failure, step.failure_size))
    progress.attempt = 1
    attempts.forget_reset(progress)
    state.retry_interval = 0
    if state.restore_options:
        state.restore_options = False
        set_options(step, None)
    if state.pause_after_reset:
        state.pause_after_reset = False
        step.enter(Phase.PAUSED)
    else:
        step.enter(Phase.SCHEDULED)
        offer_at(step, not_before_first(step, step.now))


def not_before_first(step: Step, at: int) -> int:
    """`at` (ns), or later while the start delay of one that never began is not over."""
    return at if step.state.first_started_time else max(at, step.activity.first_dispatch)


def set_options(step: Step, options: ActivityOptions | None) -> None:
    """It has these options from now on; None: those that it was started with, the start delay only while that still counts."""
    activity = step.activity
    step.dirty = step.relist = True  # lists tell its queue
    if options is not None:
        activity.options = options
        step.progress.options = options.SerializeToString()
        return
    original = original_options(activity.request)
    if step.state.first_started_time:
        original.ClearField("start_delay")
        if activity.options.HasField("start_delay"):
            original.start_delay.CopyFrom(activity.options.start_delay)
    activity.options = original
    step.progress.options = original.SerializeToString() if step.state.first_started_time else b""


# --- what becomes due -------------------------------------------------------------------------------------------


def _dues(activity: StandaloneActivity) -> Iterator[tuple[int, Callable[[Step], None]]]:
    state = activity.state
    progress, phase = state.progress, state.phase
    if phase.closed:
        return
    yield activity.expires_at, _out_of_time
    if phase == Phase.SCHEDULED:
        yield progress.scheduled_time if progress.backing_off else 0, _offer_due
        yield attempts.due_schedule_to_start(progress, activity.options), _not_taken
    elif phase.held:
        yield attempts.due_start_to_close(progress, activity.options), _attempt_out_of_time
        yield attempts.due_heartbeat(progress, activity.options), _silent


def due_at(activity: StandaloneActivity) -> int:
    """When it next needs to be woken (ns), 0 for never."""
    return min((due for due, _ in _dues(activity) if due), default=0)


def fire_due(step: Step) -> None:
    """Do all that is due by now, earliest first."""
    while True:
        due = [entry for entry in _dues(step.activity) if 0 < entry[0] <= step.now]
        if not due:
            return
        min(due, key=lambda entry: entry[0])[1](step)


def _offer_due(step: Step) -> None:
    step.progress.backing_off = False
    step.dirty = step.offer = True


def _out_of_time(step: Step) -> None:
    requested = step.state.phase == Phase.CANCEL_REQUESTED
    state = RetryState.RETRY_STATE_CANCEL_REQUESTED if requested else RetryState.RETRY_STATE_TIMEOUT
    _timed_out(step, attempts.timeout_failure(_T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE), state)


def _not_taken(step: Step) -> None:
    failure = attempts.timeout_failure(_T.TIMEOUT_TYPE_SCHEDULE_TO_START)
    _timed_out(step, failure, RetryState.RETRY_STATE_TIMEOUT)


def _attempt_out_of_time(step: Step) -> None:
    _attempt_timed_out(step, _T.TIMEOUT_TYPE_START_TO_CLOSE)


def _silent(step: Step) -> None:
    _attempt_timed_out(step, _T.TIMEOUT_TYPE_HEARTBEAT)


def _attempt_timed_out(step: Step, timeout_type: TimeoutType.ValueType) -> None:
    failure = attempts.timeout_failure(timeout_type)
    refused = _try_again(step, failure)
    if refused is None:
        return
    _explain(step, failure)
    if refused == RetryState.RETRY_STATE_TIMEOUT:
        late = attempts.timeout_failure(_T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE)
        late.message = attempts.NO_TIME_LEFT
        _timed_out(step, late, refused)
    else:
        step.state.retry_state = refused
        step.enter(Phase.TIMED_OUT)
    step.progress.last_failure = failure.SerializeToString()
    step.progress.last_attempt_complete_time = step.now


def _timed_out(step: Step, failure: Failure, retry_state: RetryState.ValueType) -> None:
    _explain(step, failure)
    step.state.failure = failure.SerializeToString()
    step.state.retry_state = retry_state
    step.enter(Phase.TIMED_OUT)


def _explain(step: Step, failure: Failure) -> None:
    """What a time-out tells of the attempts before it."""
    progress = step.progress
    if progress.heartbeat_details:
        failure.timeout_failure_info.last_heartbeat_details.ParseFromString(progress.heartbeat_details)
    if progress.last_failure:
        failure.cause.ParseFromString(progress.last_failure)
