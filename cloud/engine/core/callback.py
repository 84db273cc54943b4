"""Completion callbacks of a run: attached at its start or later → delivered when it closes for good → done, or given up.

A run that another one follows (continue-as-new, retry, cron, reset) leaves its callbacks to that one. Delivery is a call of something
outside the run, made again until it succeeds or is refused for good; the attempts are kept beside the history, as those of Nexus
operations are.

Those of an update come with the update, or are attached to it later. They are delivered when it has its outcome, or when its run ends
without one: an update goes on in another run only after a reset.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Callback
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Request

from cloud.engine.core import callback_calls
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.clock import to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import DeliverCallback
from cloud.engine.core.errors import NotNow
from cloud.engine.core.state import CompletionCallback, Execution, RequestEvent
from cloud.engine.core.turn import Turn


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


def begin_of_update(execution: Execution, event: HistoryEvent, update_id: str, request: Request) -> None:
    """`event` admits or accepts an update that was asked for so."""
    if request.request_id:
        execution.attached_request_ids[request.request_id] = RequestEvent(event.event_id, event.event_type)
    _attach_to_update(execution, event, update_id, request.request_id, request.completion_callbacks)


def attached_to_updates(execution: Execution, event: HistoryEvent) -> None:
    """Later requests for updates attached callbacks to them."""
    for wanted in event.workflow_execution_options_updated_event_attributes.workflow_update_options:
        request_id = wanted.attached_request_id
        if request_id:
            execution.attached_request_ids[request_id] = RequestEvent(event.event_id, event.event_type)
        _attach_to_update(
            execution, event, wanted.update_id, request_id, wanted.attached_completion_callbacks
        )


def _attach_to_update(
    execution: Execution,
    event: HistoryEvent,
    update_id: str,
    request_id: str,
    callbacks: Sequence[Callback],
) -> None:
    for callback in callbacks:
        execution.callbacks.append(
            CompletionCallback(callback, to_ns(event.event_time), request_id, update_id=update_id)
        )


def begin_anew(execution: Execution) -> None:
    """The run begins as a copy of another: the callbacks of updates that have ended there are that one's."""
    execution.callbacks = [
        callback for callback in execution.callbacks if not _update_settled(execution, callback.update_id)
    ]


def check_room(turn: Turn, count: int) -> None:
    """Check that `count` more callbacks may be attached.

    Raises:
        NotNow: there would be too many.
    """
    have, most = attached_count(turn.execution), turn.around.limits.callbacks
    if have + count > most:
        raise NotNow(no_room(have, most))


def attached_count(execution: Execution) -> int:
    """How many callbacks the run and its updates have, those included whose event waits in the buffer."""
    waiting = 0
    for event in execution.buffered:
        attributes = event.workflow_execution_options_updated_event_attributes
        waiting += len(attributes.attached_completion_callbacks)
        waiting += sum(
            len(wanted.attached_completion_callbacks) for wanted in attributes.workflow_update_options
        )
    return len(execution.callbacks) + waiting


def no_room(have: int, most: int) -> str:
    """The sentence for too many callbacks."""
    return f"cannot attach more than {most} callbacks to a workflow ({have} callbacks already attached)"


def _update_settled(execution: Execution, update_id: str) -> bool:
    """Whether the update has its outcome, be it that a worker rejected it."""
    if not update_id:
        return False
    update = execution.updates.get(update_id)
    return update_id in execution.volatile.rejections or (
        update is not None and update.completed_event_id > 0
    )


def triggered(execution: Execution, callback: CompletionCallback) -> bool:
    """Whether `callback` is to be called.

    One of the run is, when that is closed, and none follows it, nor is it gone on with by a reset; one of an update, when that has its
    outcome, or its run is closed.
    """
    if _update_settled(execution, callback.update_id):
        return True
    volatile = execution.volatile
    if execution.running or (volatile.ended_by_reset and volatile.reset_run_id):
        return False
    return bool(callback.update_id) or not execution.next_run_id


def awaits_delivery(execution: Execution, index: int) -> bool:
    """Whether callback `index` is to be called, now."""
    callback = execution.callbacks[index]
    return triggered(execution, callback) and not callback_calls.over(callback.progress)


# Each callback is asked for once: by what ends its update (`update_ended`), by its event if that comes later (`attached_late`), or by
# the end of its run (`closed`).


def closed(turn: Turn) -> None:
    """The run closed: call them, if no other run follows."""
    execution = turn.execution
    for index, callback in enumerate(execution.callbacks):
        if not _update_settled(execution, callback.update_id) and awaits_delivery(execution, index):
            turn.ask(DeliverCallback(index))


def update_ended(turn: Turn, update_id: str) -> None:
    """The update has its outcome: call who waits for it."""
    for index, callback in enumerate(turn.execution.callbacks):
        if callback.update_id == update_id and awaits_delivery(turn.execution, index):
            turn.ask(DeliverCallback(index))


def update_rejected(turn: Turn, update_id: str, failure: Failure) -> None:
    """A worker rejected an update that an event admits: no event tells of it, but its callbacks do."""
    execution = turn.execution
    if any(callback.update_id == update_id for callback in execution.callbacks):
        execution.volatile.rejections[update_id] = failure.SerializeToString()
        turn.dirty = True
        update_ended(turn, update_id)


def attached_late(turn: Turn) -> None:
    """Call what this turn's events attached to updates that had their outcome: their events had to wait in the buffer."""
    execution = turn.execution
    late: set[str] = set()
    for event in turn.events:
        for wanted in event.workflow_execution_options_updated_event_attributes.workflow_update_options:
            update = execution.updates.get(wanted.update_id)  # after a reset it may be only admitted
            if update is not None and 0 < update.completed_event_id < event.event_id:
                late.add(wanted.attached_request_id)
    for index, callback in enumerate(execution.callbacks if late else ()):
        if callback.update_id and callback.request_id in late:
            turn.ask(DeliverCallback(index))


def delivered(turn: Turn, index: int) -> None:
    """The callback was called, and took the news."""
    callback_calls.note_delivered(turn.execution.callbacks[index].progress, turn.now)
    turn.nexus_progress(progress_key(index))


def not_delivered(turn: Turn, index: int, reason: str, *, retryable: bool) -> None:
    """The callback could not be called, or refused: it is called again later, or given up."""
    progress = turn.execution.callbacks[index].progress
    seed = f"{turn.execution.key.run_id}/callback/{index}"
    callback_calls.note_not_delivered(progress, turn.now, reason, retryable=retryable, seed=seed)
    if progress.next_attempt_time:
        push(turn.execution, kinds.CALLBACK_DISPATCH, index, progress.next_attempt_time)
    turn.nexus_progress(progress_key(index))


def due_dispatch(execution: Execution, index: int | str) -> int:
    """When a callback of an update is to be called again (ns), 0 for never."""
    return execution.callbacks[int(index)].progress.next_attempt_time


def dispatch_due(turn: Turn, index: int | str) -> None:
    """Call it again."""
    _call_again(turn, int(index))


def due_at(execution: Execution) -> int:
    """When a callback of the closed run is to be called again (ns), 0 for never."""
    moments = (callback.progress.next_attempt_time for callback in execution.callbacks)
    return min((moment for moment in moments if moment), default=0)


def fire_due(turn: Turn) -> None:
    """Call again what is due by now."""
    for index, callback in enumerate(turn.execution.callbacks):
        if 0 < callback.progress.next_attempt_time <= turn.now:
            _call_again(turn, index)


def _call_again(turn: Turn, index: int) -> None:
    turn.execution.callbacks[index].progress.next_attempt_time = 0
    turn.nexus_progress(progress_key(index))
    turn.ask(DeliverCallback(index))
