"""A run's own clock: as far ahead of its cell's as the run has skipped time.

A run with an enabled TimeSkippingConfig skips whatever there is to wait for, once nothing is under way in it: at the end of a transition
its clock is set to the next moment at which something becomes due, with an event that says so. All moments of a run, in its
events and its deadlines, are of its own clock; ``machine.due_at`` tells them in the cell's. A fast-forward is such skipping up to a
moment, at which it ends. How often time is skipped is bounded, so that endless retries do not spin.
"""

from __future__ import annotations

from temporalio.api.common.v1 import TimeSkippingConfig
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    HistoryEvent,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTimeSkippingTransitionedEventAttributes,
)

from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.clock import LATEST, SECOND, duration, timestamp, to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.state import Activity, Execution, RunClock
from cloud.engine.core.turn import Turn

_E = EventType

FURTHEST = LATEST - 101 * 366 * 24 * 3600 * SECOND
"""Time is not skipped beyond this (the year 2161): what follows it by as long as may be must still be storable."""


def ahead(execution: Execution) -> int:
    """By how much the run's clock is ahead of its cell's (ns)."""
    return 0 if execution.clock is None else execution.clock.skipped


def enabled(execution: Execution) -> bool:
    """Whether the run skips time."""
    clock = execution.clock
    return clock is not None and clock.config is not None and clock.config.enabled


# --- folding events ---------------------------------------------------------------------------------------------


def begin(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, now: int) -> None:
    """The run begins at `now` of its clock, with what an earlier run or its parent passed on."""
    inherited = attributes.time_skipping_state_propagation
    skipped = to_ns(inherited.initial_skipped_duration)
    if not attributes.HasField("time_skipping_config") and not skipped:
        return
    config = _copy(attributes.time_skipping_config) if attributes.HasField("time_skipping_config") else None
    execution.clock = RunClock(config, skipped, inherited.initial_skip_count)
    _aim(execution.clock, to_ns(inherited.fast_forward_target_time), now)


def change(execution: Execution, config: TimeSkippingConfig | None, now: int) -> None:
    """People give the run this configuration, or none: a new session of skipping begins."""
    if execution.clock is None:
        if config is None:
            return
        execution.clock = RunClock(None)
    clock = execution.clock
    clock.config = None if config is None else _copy(config)
    clock.skip_count = 0
    _aim(clock, 0, now)


def _copy(config: TimeSkippingConfig) -> TimeSkippingConfig:
    copy = TimeSkippingConfig()  # it changes; the event that brought it does not
    copy.CopyFrom(config)
    return copy


def _aim(clock: RunClock, inherited_target: int, now: int) -> None:
    """Where the fast-forward ends, if there is one: counted from now, unless an earlier run began it."""
    clock.fast_forward_target, clock.fast_forward_reached = 0, False
    if clock.config is None or not clock.config.HasField("fast_forward_config"):
        return
    clock.fast_forward_target = inherited_target or now + to_ns(clock.config.fast_forward_config.duration)
    if inherited_target and inherited_target <= now:
        _reach(clock)


def _reach(clock: RunClock) -> None:
    if clock.fast_forward_target:
        clock.fast_forward_reached = True
        if clock.config is not None:
            clock.config.enabled = False


def _apply_transitioned(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_time_skipping_transitioned_event_attributes
    clock = execution.clock
    if clock is None:
        clock = execution.clock = RunClock(None)
    if attributes.HasField("target_time"):
        clock.skipped += to_ns(attributes.target_time) - to_ns(event.event_time)
    if attributes.disabled_after_fast_forward:
        _reach(clock)
    clock.skip_count += 1
    if clock.config is not None and clock.skip_count >= clock.config.max_session_skip_count:
        clock.config.enabled = False


APPLY = {_E.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED: _apply_transitioned}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """A fast-forward whose end waits in the buffer does not end again."""
    if event.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED and execution.clock:
        _reach(execution.clock)


# --- passing it on ----------------------------------------------------------------------------------------------


def pass_on_to_next_run(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """The next run of the chain goes on with all of it."""
    attributes.ClearField("time_skipping_config")
    attributes.ClearField("time_skipping_state_propagation")
    clock = execution.clock
    if clock is None:
        return
    if clock.config is not None:
        attributes.time_skipping_config.CopyFrom(clock.config)
    passed = attributes.time_skipping_state_propagation
    passed.initial_skipped_duration.CopyFrom(duration(clock.skipped))
    passed.initial_skip_count = clock.skip_count
    if clock.fast_forward_target:
        passed.fast_forward_target_time.CopyFrom(timestamp(clock.fast_forward_target))


def pass_on_to_child(
    execution: Execution, attributes: StartChildWorkflowExecutionInitiatedEventAttributes
) -> None:
    """A child has its parent's time, and skips if its parent does and lets it; a fast-forward is the parent's alone."""
    clock = execution.clock
    if clock is None:
        return
    if clock.skipped:
        attributes.time_skipping_state_propagation.initial_skipped_duration.CopyFrom(duration(clock.skipped))
    if clock.config is not None and not clock.config.disable_propagation:
        attributes.time_skipping_config.CopyFrom(clock.config)
        attributes.time_skipping_config.ClearField("fast_forward_config")


# --- skipping ---------------------------------------------------------------------------------------------------


def may_skip(execution: Execution) -> bool:
    """Whether the run skips time and waits for nothing else."""
    return (
        enabled(execution)
        and execution.running
        and execution.paused is None
        and not execution.has_pending_workflow_task
        and not execution.children
        and not execution.external_signals
        and not execution.external_cancels
        and not execution.nexus_operations
        and all(map(_waits_for_its_retry, execution.activities.values()))
    )


def _waits_for_its_retry(activity: Activity) -> bool:
    return activity.progress.backing_off and activity.progress.attempt > 1


def skip(turn: Turn, moment: int) -> None:
    """Set the run's clock to `moment`, at which the next thing becomes due (0: nothing does)."""
    clock = turn.execution.clock
    if clock is None or not turn.now < moment <= FURTHEST:
        return  # what is due by now is served at once
    pending = clock.fast_forward_target and not clock.fast_forward_reached
    _write(turn, moment, ends=bool(pending) and moment >= clock.fast_forward_target)


def _write(turn: Turn, moment: int, *, ends: bool) -> None:
    attributes = WorkflowExecutionTimeSkippingTransitionedEventAttributes(
        disabled_after_fast_forward=ends, wall_clock_time=timestamp(turn.wall)
    )
    if moment:
        attributes.target_time.CopyFrom(timestamp(moment))
    turn.add(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED,
            workflow_execution_time_skipping_transitioned_event_attributes=attributes,
            worker_may_ignore=True,
        )
    )


def note(execution: Execution) -> None:
    """The run's configuration changed: its fast-forward may end."""
    push(execution, kinds.FAST_FORWARD, 0, due_fast_forward(execution, 0))


def due_fast_forward(execution: Execution, _: int | str) -> int:
    """When the fast-forward ends by itself; 0 if there is none."""
    clock = execution.clock
    if clock is None or not execution.running or not enabled(execution) or clock.fast_forward_reached:
        return 0
    return clock.fast_forward_target


def fast_forward_due(turn: Turn, _: int | str) -> None:
    """The run's clock came to the end of its fast-forward as time went by."""
    _write(turn, 0, ends=True)
