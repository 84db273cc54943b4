"""What people do to pending activities from outside: pause, unpause, reset, change of options.

None of it is in the history; it is told with an activity's progress. An attempt that a worker holds goes on through all of them
(only a reset that sets its number back makes it stale); one that waits is called off and offered anew, under another stamp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from temporalio.api.activity.v1 import ActivityOptions

from cloud.engine.core import activity as activities
from cloud.engine.core import activity_deadlines, attempts, retry
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import NoSuchTask, NotNow, RunClosed
from cloud.engine.core.state import Activity, ActivityPause, Execution
from cloud.engine.core.turn import Turn


@dataclass(frozen=True, slots=True)
class Selection:
    """Which pending activities are meant: the one of this id, those of this type, or all."""

    activity_id: str = ""
    activity_type: str = ""
    everything: bool = False


def select(execution: Execution, selection: Selection) -> list[Activity]:
    """The activities that are meant, at least one.

    Raises:
        RunClosed: the workflow is closed.
        NoSuchTask: there is none.
    """
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    found = [
        pending
        for pending in execution.activities.values()
        if not pending.closing
        and (
            selection.everything
            or pending.scheduled.activity_id == selection.activity_id
            or (selection.activity_type and pending.scheduled.activity_type.name == selection.activity_type)
        )
    ]
    if not found:
        raise NoSuchTask(
            "Can't find pending activity with such ID. Invalid activityID or activity already completed"
        )
    return found


def pause(turn: Turn, meant: Sequence[Activity], *, identity: str, reason: str, request_id: str) -> None:
    """Offer no further attempt of these to workers, and let nothing time out in them, until they are unpaused.

    Raises:
        NotNow: one was paused by another request.
    """
    running = [pending for pending in meant if pending.progress.pause is None]
    for pending in meant:
        paused = pending.progress.pause
        if paused is not None and paused.request_id != request_id:
            raise NotNow("activity is already paused")
    for pending in running:
        progress = pending.progress
        if not progress.started_time:
            progress.stamp += 1
            progress.backing_off = False
        progress.pause = ActivityPause(turn.now, identity, reason, request_id)
        turn.progress(pending.scheduled_event_id)
    if running:
        turn.ask(UpdateVisibility())


def unpause(
    turn: Turn,
    meant: Sequence[Activity],
    *,
    reset_attempts: bool,
    reset_heartbeat: bool,
    delay: Callable[[], int],
) -> None:
    """Offer those of these that are paused to workers again, each after a `delay` (ns) of its own."""
    for pending in meant:
        progress = pending.progress
        if progress.pause is None:
            continue
        if reset_attempts:
            progress.attempt = 1
        if reset_heartbeat:
            progress.heartbeat_details = b""
            progress.last_heartbeat_time = 0  # before the deadlines are looked at anew: one may come earlier
        _end_pause(turn, pending)
        if not progress.started_time:
            _offer_anew(turn, pending, turn.now + delay())


def reset(
    turn: Turn,
    meant: Sequence[Activity],
    *,
    reset_heartbeat: bool,
    keep_paused: bool,
    restore_options: bool,
    delay: Callable[[], int],
) -> None:
    """Begin these anew with attempt 1, each after a `delay` (ns) of its own; one that a worker holds, once that attempt failed."""
    for pending in meant:
        progress = pending.progress
        progress.attempt = 1
        progress.reset = True
        progress.reset_heartbeat = progress.reset_heartbeat or reset_heartbeat
        if restore_options:
            _restore_options(pending)
        if progress.pause is not None and not keep_paused:
            _end_pause(turn, pending)
        if not progress.started_time and progress.pause is None:
            _offer_anew(turn, pending, turn.now + delay())
        _changed(turn, pending)


def set_options(turn: Turn, pending: Activity, options: ActivityOptions | None) -> None:
    """`pending` has these options from now on; None: those that it was scheduled with."""
    progress = pending.progress
    pending.changed_options = options
    progress.options = b"" if options is None else options.SerializeToString()
    if not progress.started_time:
        _offer_anew(turn, pending, _next_time(pending))
    _changed(turn, pending)


def _next_time(pending: Activity) -> int:
    """When the waiting attempt is to be offered under the retry policy as it is now.

    The interval is that behind the waiting attempt, not the one before it: the real server counts so.
    """
    progress, options = pending.progress, pending.options
    if progress.attempt == 1 or not options.HasField("retry_policy"):
        return progress.scheduled_time
    return progress.last_attempt_complete_time + retry.backoff(options.retry_policy, progress.attempt)


def _restore_options(pending: Activity) -> None:
    """The scheduled options but for the priority, which a reset leaves as it is (the real server's way)."""
    changed = pending.changed_options
    if changed is None:
        return
    if changed.priority == pending.scheduled.priority:
        pending.changed_options = None
        pending.progress.options = b""
        return
    restored = options_of(pending, original=True)
    restored.priority.CopyFrom(changed.priority)
    pending.changed_options = restored
    pending.progress.options = restored.SerializeToString()


def options_of(pending: Activity, *, original: bool = False) -> ActivityOptions:
    """A copy of an activity's options: as they are now, or as they were scheduled."""
    now = pending.scheduled if original else pending.options
    options = ActivityOptions(
        schedule_to_close_timeout=now.schedule_to_close_timeout,
        schedule_to_start_timeout=now.schedule_to_start_timeout,
        start_to_close_timeout=now.start_to_close_timeout,
        heartbeat_timeout=now.heartbeat_timeout,
    )
    options.task_queue.name = now.task_queue.name
    if now.HasField("retry_policy"):
        options.retry_policy.CopyFrom(now.retry_policy)
    if now.HasField("priority"):
        options.priority.CopyFrom(now.priority)
    return options


def _end_pause(turn: Turn, pending: Activity) -> None:
    pending.progress.pause = None
    turn.ask(UpdateVisibility())
    _changed(turn, pending)


def _offer_anew(turn: Turn, pending: Activity, at: int) -> None:
    """Offer the waiting attempt at `at` (ns), or when it is unpaused; where it was offered before it is stale."""
    progress = pending.progress
    progress.stamp += 1
    progress.scheduled_time = at
    progress.last_failure = b""
    attempts.forget_reset(progress)
    progress.backing_off = progress.pause is None and at > turn.now
    if progress.pause is None and not progress.backing_off:
        activities.offer(turn, pending)
    _changed(turn, pending)


def _changed(turn: Turn, pending: Activity) -> None:
    """What becomes due in `pending` may do so at another moment from now on."""
    turn.progress(pending.scheduled_event_id)
    for kind, due in (
        (kinds.ACTIVITY_DISPATCH, activity_deadlines.due_dispatch),
        (kinds.ACTIVITY_SCHEDULE_TO_START, activity_deadlines.due_schedule_to_start),
        (kinds.ACTIVITY_SCHEDULE_TO_CLOSE, activity_deadlines.due_schedule_to_close),
        (kinds.ACTIVITY_START_TO_CLOSE, activity_deadlines.due_start_to_close),
        (kinds.ACTIVITY_HEARTBEAT, activity_deadlines.due_heartbeat),
    ):
        push(
            turn.execution, kind, pending.scheduled_event_id, due(turn.execution, pending.scheduled_event_id)
        )
