"""Attempts of an activity, whoever waits for it (a workflow, or nobody): how one begins, beats, ends, and what becomes due in it.

All of it is in :class:`ActivityProgress` and the activity's options as they are now; who the activity belongs to decides what its
end means.
"""

from __future__ import annotations

from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure

from cloud.engine.core.clock import to_ns
from cloud.engine.core.state import ActivityProgress

NO_TIME_LEFT = (
    "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
)


class Timeouts(Protocol):
    """The timeouts of an activity, wherever they are written."""

    @property
    def schedule_to_start_timeout(self) -> Duration:
        """Until a worker takes an attempt that is offered."""

    @property
    def start_to_close_timeout(self) -> Duration:
        """Until an attempt that a worker holds ends."""

    @property
    def heartbeat_timeout(self) -> Duration:
        """Until a worker that holds an attempt says something."""


def begin(
    progress: ActivityProgress, now: int, *, request_id: str, identity: str, build_id: str = ""
) -> None:
    """A worker takes the attempt."""
    progress.started_time = now
    progress.request_id = request_id
    progress.identity = identity
    progress.build_id = build_id
    progress.last_heartbeat_time = 0


def held(progress: ActivityProgress, attempt: int, started_time: int) -> bool:
    """Whether a worker holds attempt `attempt`, which it took at `started_time`."""
    return progress.started_time != 0 and (progress.attempt, progress.started_time) == (attempt, started_time)


def beat(progress: ActivityProgress, now: int, details: Payloads | None) -> None:
    """A worker says that it is alive, with what the next attempt should know."""
    progress.last_heartbeat_time = now
    if details is not None:
        progress.heartbeat_details = details.SerializeToString()


def end(progress: ActivityProgress, now: int, failure: Failure) -> None:
    """The attempt that a worker held is over; who waits for it now is not yet decided."""
    progress.attempt += 1
    progress.stamp += 1
    progress.started_time = 0
    progress.request_id = ""
    progress.last_attempt_complete_time = now
    progress.last_failure = failure.SerializeToString()


def back_off(progress: ActivityProgress, at: int) -> None:
    """The next attempt is to be offered at `at` (ns)."""
    progress.scheduled_time = at
    progress.backing_off = True
    forget_reset(progress)


def forget_reset(progress: ActivityProgress) -> None:
    """A new attempt is on its way: what a reset left to do when the last one ended is done."""
    if progress.reset_heartbeat:
        progress.heartbeat_details = b""
        progress.last_heartbeat_time = 0
    progress.reset = progress.reset_heartbeat = False


def due_schedule_to_start(progress: ActivityProgress, timeouts: Timeouts) -> int:
    """When the waiting attempt times out (ns), 0 for never."""
    if progress.started_time:
        return 0
    timeout = to_ns(timeouts.schedule_to_start_timeout)
    return progress.scheduled_time + timeout if timeout else 0


def due_start_to_close(progress: ActivityProgress, timeouts: Timeouts) -> int:
    """When the attempt that a worker holds times out (ns), 0 for never."""
    if not progress.started_time:
        return 0
    timeout = to_ns(timeouts.start_to_close_timeout)
    return progress.started_time + timeout if timeout else 0


def due_heartbeat(progress: ActivityProgress, timeouts: Timeouts) -> int:
    """When the worker that holds the attempt has been silent for too long (ns), 0 for never."""
    if not progress.started_time:
        return 0
    timeout = to_ns(timeouts.heartbeat_timeout)
    return max(progress.started_time, progress.last_heartbeat_time) + timeout if timeout else 0


def timeout_failure(timeout_type: TimeoutType.ValueType) -> Failure:
    """What an attempt that timed out failed with."""
    name = TimeoutType.Name(timeout_type).removeprefix("TIMEOUT_TYPE_").title().replace("_", "")
    failure = Failure(message=f"activity {name} timeout")
    failure.timeout_failure_info.timeout_type = timeout_type
    return failure
