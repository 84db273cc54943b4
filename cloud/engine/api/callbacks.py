"""Completion callbacks in requests and in descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import CallbackState
from temporalio.api.workflow.v1 import CallbackInfo, OnConflictOptions

from cloud.engine.core import callback as callbacks
from cloud.engine.core.clock import timestamp
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import CompletionCallback, Execution
from cloud.engine.runtime.nexus_breakers import OPEN, Breakers
from cloud.engine.runtime.nexus_delivery import SYSTEM_CALLBACK
from cloud.rpc import InvalidArgument, Unimplemented

_S = CallbackState


def check_callbacks(wanted: Sequence[Callback], limits: Limits) -> None:
    """Check the callbacks of a start, and put the names of their headers in lower case, in place.

    Raises:
        InvalidArgument: one has a URL that can't be called, or a header that is too large; or there are too many.
        Unimplemented: one is of a kind that is not served.
    """
    if len(wanted) > limits.callbacks:
        raise InvalidArgument(f"cannot attach more than {limits.callbacks} callbacks to an execution")
    for callback in wanted:
        if callback.WhichOneof("variant") != "nexus":
            kind = callback.WhichOneof("variant") or "<nil>"
            raise Unimplemented(f"unknown callback variant: {kind}")
        _check_url(callback.nexus.url, limits)
        header = dict(callback.nexus.header)
        if sum(len(key.encode()) + len(text.encode()) for key, text in header.items()) > (
            limits.callback_header_size
        ):
            raise InvalidArgument(
                f"invalid header: header size longer than max allowed size of {limits.callback_header_size}"
            )
        callback.nexus.header.clear()
        for key, text in header.items():
            callback.nexus.header[key.lower()] = text


def _check_url(url: str, limits: Limits) -> None:
    if url == SYSTEM_CALLBACK:
        return
    if len(url.encode()) > limits.callback_url_length:
        raise InvalidArgument(
            f"invalid url: url length longer than max length allowed of {limits.callback_url_length}"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise InvalidArgument(f"invalid callback url: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"invalid url: unknown scheme: {url}")
    if not host:
        raise InvalidArgument("invalid url: missing host")


def own_links(links: Sequence[Link], wanted: Sequence[Callback]) -> list[Link]:
    """The links of a start without those that its callbacks have too: those are told with them."""
    told = [link for callback in wanted for link in callback.links]
    return [link for link in links if link not in told]


def check_conflict_options(options: OnConflictOptions) -> None:
    """Check what a start wants to attach to the run that is there already.

    Raises:
        InvalidArgument: callbacks without the request id by which they are attached once.
    """
    if options.attach_completion_callbacks and not options.attach_request_id:
        raise InvalidArgument("attaching request ID is required for attaching completion callbacks")


def described(execution: Execution, breakers: Breakers) -> list[CallbackInfo]:
    """What Describe says of a run's callbacks."""
    namespace_id = execution.key.namespace_id
    return [
        _described(execution, callback, breakers.is_open((namespace_id, callback.callback.nexus.url)))
        for callback in execution.callbacks
    ]


def _described(execution: Execution, callback: CompletionCallback, blocked: bool) -> CallbackInfo:
    progress = callback.progress
    state = _S.CALLBACK_STATE_STANDBY
    if progress.succeeded:
        state = _S.CALLBACK_STATE_SUCCEEDED
    elif progress.failed:
        state = _S.CALLBACK_STATE_FAILED
    elif progress.next_attempt_time:
        state = _S.CALLBACK_STATE_BACKING_OFF
    elif callbacks.triggered(execution, callback):
        state = _S.CALLBACK_STATE_BLOCKED if blocked else _S.CALLBACK_STATE_SCHEDULED
    info = CallbackInfo(
        callback=callback.callback,
        registration_time=timestamp(callback.registered_at),
        state=state,
        attempt=progress.attempt,
    )
    if callback.update_id:
        info.trigger.update_workflow_execution_completed.update_id = callback.update_id
    else:
        info.trigger.workflow_closed.SetInParent()
    if state == _S.CALLBACK_STATE_BLOCKED:
        info.blocked_reason = OPEN
    if progress.last_attempt_complete_time:
        info.last_attempt_complete_time.CopyFrom(timestamp(progress.last_attempt_complete_time))
    if progress.last_failure:
        info.last_attempt_failure.ParseFromString(progress.last_failure)
    if progress.next_attempt_time:
        info.next_attempt_schedule_time.CopyFrom(timestamp(progress.next_attempt_time))
    return info
