"""Completion callbacks of a standalone activity: from its start, or attached later → called when it has closed → done, or given up."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Callback, Link

from cloud.engine.core import callback_calls
from cloud.engine.core.errors import NotNow
from cloud.engine.core.standalone_activity import Step
from cloud.engine.core.standalone_activity_state import ActivityCallback, StandaloneActivity


def begin(step: Step) -> None:
    """It starts with the callbacks of its request, which stay there."""
    request = step.activity.request
    step.state.callbacks.extend(
        ActivityCallback(registered_at=step.now, request_id=request.request_id)
        for _ in request.completion_callbacks
    )


def check_room(activity: StandaloneActivity, count: int, most: int) -> None:
    """Check that `count` more callbacks may be attached.

    Raises:
        NotNow: it is over, or would have more than `most`.
    """
    if activity.closed:
        raise NotNow("cannot attach callbacks to a closed activity")
    have = len(activity.state.callbacks)
    if have + count > most:
        raise NotNow(
            f"cannot attach more than {most} callbacks to an activity ({have} callbacks already attached)"
        )


def attach(step: Step, callbacks: Sequence[Callback], links: Sequence[Link], request_id: str) -> None:
    """A later start attaches callbacks and links, which were checked."""
    step.state.callbacks.extend(
        ActivityCallback(callback.SerializeToString(), step.now, request_id) for callback in callbacks
    )
    step.state.links.extend(link.SerializeToString() for link in links)
    step.state.attached_request_ids.append(request_id)
    step.dirty = True


def callback_of(activity: StandaloneActivity, index: int) -> Callback:
    """Callback `index` as it was asked for."""
    attached = activity.state.callbacks[index].callback
    return Callback.FromString(attached) if attached else activity.request.completion_callbacks[index]


def awaiting(activity: StandaloneActivity) -> list[int]:
    """The callbacks that are to be called, now."""
    if not activity.closed:
        return []
    return [
        index
        for index, callback in enumerate(activity.state.callbacks)
        if not callback_calls.over(callback.progress)
    ]


def delivered(step: Step, index: int) -> None:
    """Callback `index` was called, and took the news."""
    callback_calls.note_delivered(step.state.callbacks[index].progress, step.now)
    step.dirty = True


def not_delivered(step: Step, index: int, reason: str, *, retryable: bool) -> None:
    """Callback `index` could not be called, or refused."""
    progress = step.state.callbacks[index].progress
    seed = f"{step.activity.run_id}/callback/{index}"
    callback_calls.note_not_delivered(progress, step.now, reason, retryable=retryable, seed=seed)
    step.dirty = True


def due_at(activity: StandaloneActivity) -> int:
    """When a callback of one that is over is to be called again (ns), 0 for never."""
    moments = (callback.progress.next_attempt_time for callback in activity.state.callbacks)
    return min((moment for moment in moments if moment), default=0)


def fire_due(step: Step) -> None:
    """Call again what is due by now."""
    for index, callback in enumerate(step.state.callbacks):
        if 0 < callback.progress.next_attempt_time <= step.now:
            callback.progress.next_attempt_time = 0
            step.dirty = True
            step.deliver.append(index)
