"""What people do to a standalone activity that runs: pause, unpause, reset, change of options.

An attempt that a worker holds goes on through all of them: a pause or a reset counts once it has failed. One that waits is called
off and offered anew, under another stamp.
"""

from __future__ import annotations

from temporalio.api.activity.v1 import ActivityOptions

from cloud.engine.core import retry
from cloud.engine.core.errors import NotNow
from cloud.engine.core.standalone_activity import Step, not_before_first, offer_at, set_options
from cloud.engine.core.standalone_activity_state import Phase
from cloud.engine.core.standalone_asked import Asked


def pause(step: Step, asked: Asked) -> None:
    """Offer no further attempt until it is unpaused. Its time to close goes on.

    Raises:
        NotNow: it is over, or to be cancelled, paused or reset already.
    """
    state = step.state
    if state.pause is not None and state.pause.request_id == asked.request_id:
        return
    if state.phase not in (Phase.SCHEDULED, Phase.STARTED):
        raise NotNow(f"activity is in non-pausable state {state.phase.title}")
    state.pause = asked
    if state.phase == Phase.SCHEDULED:
        step.progress.stamp += 1
        step.progress.backing_off = False
        step.enter(Phase.PAUSED)
    else:
        step.enter(Phase.PAUSE_REQUESTED)
    step.meters.append("pause_standalone_activity")


def unpause(step: Step, *, request_id: str, jitter: int) -> None:
    """Go on, after a delay of `jitter` (ns), and not before the retry that waits was due.

    Raises:
        NotNow: it is over, or not paused.
    """
    state = step.state
    if state.unpause_request_id == request_id:
        return
    if state.phase.closed:
        raise NotNow(f"activity is in terminal state {state.phase.title}")
    if state.phase == Phase.PAUSED:
        step.progress.stamp += 1
        at = max(not_before_first(step, step.now + jitter), _retry_due(step))
        step.enter(Phase.SCHEDULED)
        offer_at(step, at)
    elif state.phase == Phase.PAUSE_REQUESTED:
        step.enter(Phase.STARTED)
    else:
        raise NotNow(f"activity is in non-unpausable state {state.phase.title}")
    state.unpause_request_id = request_id


def reset(
    step: Step,
    *,
    request_id: str,
    reset_heartbeat: bool,
    keep_paused: bool,
    restore_options: bool,
    jitter: int,
) -> None:
    """Begin it anew with attempt 1, after a delay of `jitter` (ns); while a worker holds it, once that attempt has failed.

    Raises:
        NotNow: it is over, or a cancellation or another reset is pending.
    """
    state, progress = step.state, step.progress
    if state.reset_request_id == request_id:
        return
    if state.phase == Phase.CANCEL_REQUESTED:
        raise NotNow("cannot reset an activity with a pending cancellation")
    if state.phase == Phase.RESET_REQUESTED:
        raise NotNow("cannot reset an activity with a pending reset")
    if state.phase.closed:
        raise NotNow("activity execution is not running")
    if state.phase.held:
        state.restore_options = restore_options
        state.pause_after_reset = keep_paused and state.phase == Phase.PAUSE_REQUESTED
        progress.reset = True
        progress.reset_heartbeat = reset_heartbeat
        step.enter(Phase.RESET_REQUESTED)
    else:
        if restore_options:
            set_options(step, None)
        progress.attempt = 1
        progress.stamp += 1
        state.retry_interval = 0
        if reset_heartbeat:
            progress.heartbeat_details = b""
            progress.last_heartbeat_time = 0
        if state.phase == Phase.PAUSED and keep_paused:
            step.enter(Phase.PAUSED)
        else:
            step.enter(Phase.SCHEDULED)
            offer_at(step, not_before_first(step, step.now + jitter))
    state.reset_request_id = request_id
    step.meters.append("reset_standalone_activity")


def check_update(step: Step, *, start_delay: bool) -> None:
    """Refuse where options can't be changed; `start_delay`: whether that one is to be.

    Raises:
        NotNow: it is over, about to be cancelled or reset, or its first attempt was dispatched.
    """
    state = step.state
    if state.phase.closed or state.phase in (Phase.CANCEL_REQUESTED, Phase.RESET_REQUESTED):
        raise NotNow(f"Cannot update options for activity in state {state.phase.title}")
    waits = step.activity.first_dispatch > step.now or (
        not state.first_started_time and state.phase == Phase.PAUSED
    )
    if start_delay and not waits:
        raise NotNow("cannot update start_delay: the first activity attempt has already been dispatched")


def update(step: Step, options: ActivityOptions | None, *, request_id: str, retry_changed: bool) -> None:
    """Give it these options, all of them; None: those that it was started with. `check_update` has let it pass."""
    state, progress = step.state, step.progress
    set_options(step, options)
    waits = state.phase in (Phase.SCHEDULED, Phase.PAUSED)
    if (
        waits
        and state.retry_interval
        and (options is None or retry_changed)
        and not state.retry_interval_given
    ):
        state.retry_interval = retry.backoff(step.activity.options.retry_policy, progress.attempt - 1)
    progress.stamp += 1
    if state.phase == Phase.SCHEDULED:
        offer_at(step, _retry_due(step) or not_before_first(step, step.now))
    state.update_request_id = request_id
    step.meters.append("update_standalone_activity_options")


def _retry_due(step: Step) -> int:
    """When the retry that waits is due (ns), 0 if none does."""
    interval = step.state.retry_interval
    return step.progress.last_attempt_complete_time + interval if interval else 0
