"""Completion callbacks of a run: attached at its start or later → delivered when it closes for good → done, or given up.

A run that another one follows (continue-as-new, retry, cron, reset) leaves its callbacks to that one. Delivery is a call of something
outside the run, made again until it succeeds or is refused for good; the attempts are kept beside the history, as those of Nexus
operations are.
"""

from __future__ import annotations

from zlib import crc32

from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core.clock import SECOND, to_ns
from cloud.engine.core.effects import DeliverCallback
from cloud.engine.core.errors import NotNow
from cloud.engine.core.state import CompletionCallback, Execution
from cloud.engine.core.turn import Turn

RETRY_INTERVAL = SECOND
RETRY_INTERVAL_MAX = 3_600 * SECOND
JITTER = 0.2


def progress_key(index: int) -> int:
    """Where the progress of callback `index` is kept, beside that of operations, whose keys are event ids."""
    return -1 - index


def callback_of_key(key: int) -> int:
    """The inverse of `progress_key`."""
    return -1 - key


def begin(execution: Execution, event: HistoryEvent) -> None:
    """The run starts with these callbacks."""
    attributes = event.workflow_execution_started_event_attributes
    for callback in attributes.completion_callbacks:
        execution.callbacks.append(CompletionCallback(callback, to_ns(event.event_time)))


def attached(execution: Execution, event: HistoryEvent) -> None:
    """A second start attached callbacks to the open run."""
    attributes = event.workflow_execution_options_updated_event_attributes
    for callback in attributes.attached_completion_callbacks:
        execution.callbacks.append(
            CompletionCallback(callback, to_ns(event.event_time), attributes.attached_request_id)
        )


def check_room(turn: Turn, count: int) -> None:
    """Check that `count` more callbacks may be attached.

    Raises:
        NotNow: there would be too many.
    """
    waiting = sum(
        len(event.workflow_execution_options_updated_event_attributes.attached_completion_callbacks)
        for event in turn.execution.buffered
    )
    have, most = len(turn.execution.callbacks) + waiting, turn.around.limits.callbacks
    if have + count > most:
        raise NotNow(
            f"cannot attach more than {most} callbacks to a workflow ({have} callbacks already attached)"
        )


def triggered(execution: Execution) -> bool:
    """Whether the callbacks are to be called: the run is closed, and none follows it, nor is it gone on with by a reset."""
    volatile = execution.volatile
    if volatile.ended_by_reset and volatile.reset_run_id:
        return False
    return not execution.running and not execution.next_run_id


def awaits_delivery(execution: Execution, index: int) -> bool:
    """Whether callback `index` is to be called, now."""
    progress = execution.callbacks[index].progress
    return triggered(execution) and not (progress.succeeded or progress.failed or progress.next_attempt_time)


def closed(turn: Turn) -> None:
    """The run closed: call them, if no other run follows."""
    for index in range(len(turn.execution.callbacks)):
        if awaits_delivery(turn.execution, index):
            turn.ask(DeliverCallback(index))


def delivered(turn: Turn, index: int) -> None:
    """The callback was called, and took the news."""
    progress = turn.execution.callbacks[index].progress
    progress.attempt += 1
    progress.last_attempt_complete_time = turn.now
    progress.last_failure = b""
    progress.succeeded = True
    turn.nexus_progress(progress_key(index))


def not_delivered(turn: Turn, index: int, reason: str, *, retryable: bool) -> None:
    """The callback could not be called, or refused: it is called again later, or given up."""
    progress = turn.execution.callbacks[index].progress
    progress.attempt += 1
    progress.last_attempt_complete_time = turn.now
    failure = Failure(message=reason)
    failure.application_failure_info.non_retryable = not retryable
    progress.last_failure = failure.SerializeToString()
    if retryable:
        interval = min(RETRY_INTERVAL << min(progress.attempt - 1, 32), RETRY_INTERVAL_MAX)
        seed = f"{turn.execution.key.run_id}/callback/{index}/{progress.attempt}"
        delay = interval - int(interval * JITTER * crc32(seed.encode()) / 2**32)
        progress.next_attempt_time = turn.now + delay
    else:
        progress.failed = True
    turn.nexus_progress(progress_key(index))


def due_at(execution: Execution) -> int:
    """When a callback of the closed run is to be called again (ns), 0 for never."""
    moments = (callback.progress.next_attempt_time for callback in execution.callbacks)
    return min((moment for moment in moments if moment), default=0)


def fire_due(turn: Turn) -> None:
    """Call again what is due by now."""
    for index, callback in enumerate(turn.execution.callbacks):
        progress = callback.progress
        if progress.next_attempt_time and progress.next_attempt_time <= turn.now:
            progress.next_attempt_time = 0
            turn.nexus_progress(progress_key(index))
            turn.ask(DeliverCallback(index))
