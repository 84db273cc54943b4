"""When something becomes due in an activity: its next attempt, or one of its four timeouts.

Each answers for a deadline of its kind (ns since the epoch; 0 when nothing is due any more), from the state as it is.
"""

from __future__ import annotations

from cloud.engine.core import attempts
from cloud.engine.core.clock import to_ns
from cloud.engine.core.state import Activity, Execution


def _open(execution: Execution, key: int | str) -> Activity | None:
    """The activity if something may become due in it; in a paused one nothing does, even while a worker holds it."""
    activity = execution.activities.get(key) if isinstance(key, int) else None
    if activity is None or activity.closing or activity.progress.pause is not None:
        return None
    return activity


def due_dispatch(execution: Execution, key: int | str) -> int:
    """When the next attempt is to be offered; 0 if it was, or is the first."""
    activity = _open(execution, key)
    return activity.progress.scheduled_time if activity is not None and activity.progress.backing_off else 0


def due_schedule_to_start(execution: Execution, key: int | str) -> int:
    """When the waiting attempt times out."""
    activity = _open(execution, key)
    return 0 if activity is None else attempts.due_schedule_to_start(activity.progress, activity.options)


def due_schedule_to_close(execution: Execution, key: int | str) -> int:
    """When the activity times out whatever its attempts do."""
    activity = _open(execution, key)
    if activity is None:
        return 0
    timeout = to_ns(activity.options.schedule_to_close_timeout)
    return activity.scheduled_time + timeout if timeout else 0


def due_start_to_close(execution: Execution, key: int | str) -> int:
    """When the attempt that a worker holds times out."""
    activity = _open(execution, key)
    return 0 if activity is None else attempts.due_start_to_close(activity.progress, activity.options)


def due_heartbeat(execution: Execution, key: int | str) -> int:
    """When the worker that holds the attempt has been silent for too long."""
    activity = _open(execution, key)
    return 0 if activity is None else attempts.due_heartbeat(activity.progress, activity.options)
