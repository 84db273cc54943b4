"""Pausing, unpausing and resetting activities that a workflow waits for, and changing their options."""

from __future__ import annotations

import random
from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.field_masks import paths_of
from cloud.engine.core import activity_operations as operations
from cloud.engine.core import retry
from cloud.engine.core.activity import settled_timeouts
from cloud.engine.core.activity_operations import Selection
from cloud.engine.core.clock import duration, fit, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import Activity
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, InvalidArgument

_TIMEOUTS = (
    ("schedule_to_close_timeout", "ScheduleToCloseTimeout"),
    ("schedule_to_start_timeout", "ScheduleToStartTimeout"),
    ("start_to_close_timeout", "StartToCloseTimeout"),
    ("heartbeat_timeout", "HeartbeatTimeout"),
)
_TITLES = {"task_queue": "TaskQueue", "retry_policy": "RetryPolicy", "priority": "Priority"}
CHANGEABLE = frozenset(
    {
        "task_queue.name",
        *(name for name, _ in _TIMEOUTS),
        "retry_policy",
        "retry_policy.initial_interval",
        "retry_policy.backoff_coefficient",
        "retry_policy.maximum_interval",
        "retry_policy.maximum_attempts",
        "priority",
        "priority.priority_key",
        "priority.fairness_key",
        "priority.fairness_weight",
    }
)
"""The paths of what may be changed."""


class ActivityOperations:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def pause_activity(
        self, request: PauseActivityRequest, context: CallContext
    ) -> PauseActivityResponse:
        """Offer no further attempt to workers until it is unpaused; one that a worker holds goes on."""
        hot, selection = await self._find(request)
        with self._runtime.transition(hot) as turn:
            operations.pause(
                turn,
                operations.select(hot.execution, selection),
                identity=request.identity,
                reason=request.reason,
                request_id=request.request_id,
            )
        await self._runtime.durable(hot)
        return PauseActivityResponse()

    async def unpause_activity(
        self, request: UnpauseActivityRequest, context: CallContext
    ) -> UnpauseActivityResponse:
        """Go on with what was paused; what was not stays as it is."""
        hot, selection = await self._find(request)
        with self._runtime.transition(hot) as turn:
            operations.unpause(
                turn,
                operations.select(hot.execution, selection),
                reset_attempts=request.reset_attempts,
                reset_heartbeat=request.reset_heartbeat,
                delay=within(request.jitter),
            )
        await self._runtime.durable(hot)
        return UnpauseActivityResponse()

    async def reset_activity(
        self, request: ResetActivityRequest, context: CallContext
    ) -> ResetActivityResponse:
        """Begin anew with the first attempt."""
        hot, selection = await self._find(request)
        with self._runtime.transition(hot) as turn:
            operations.reset(
                turn,
                operations.select(hot.execution, selection),
                reset_heartbeat=request.reset_heartbeat,
                keep_paused=request.keep_paused,
                restore_options=request.restore_original_options,
                delay=within(request.jitter),
            )
        await self._runtime.durable(hot)
        return ResetActivityResponse()

    async def update_activity_options(
        self, request: UpdateActivityOptionsRequest, context: CallContext
    ) -> UpdateActivityOptionsResponse:
        """Change options, or put back those that the workflow asked for. The reply tells those of the last activity meant."""
        if request.restore_original:
            if request.update_mask.paths:
                raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
        elif not request.HasField("activity_options"):
            raise InvalidArgument("ActivityOptions are not provided")
        elif not request.HasField("update_mask"):
            raise InvalidArgument("UpdateMask is not provided")
        hot, selection = await self._find(request)
        checks.check_priority(request.activity_options.priority)
        options = change_options(
            self._runtime,
            hot,
            selection,
            request.activity_options if request.HasField("activity_options") else None,
            request.update_mask if request.HasField("update_mask") else None,
            restore_original=request.restore_original,
        )
        await self._runtime.durable(hot)
        return UpdateActivityOptionsResponse(activity_options=options)

    async def _find(self, request: Message) -> tuple[HotRun, Selection]:
        namespace = checks.namespace_of(self._runtime, request.namespace)  # type: ignore[attr-defined]
        execution = request.execution  # type: ignore[attr-defined]
        checks.require(execution.workflow_id, "WorkflowId")
        which = request.WhichOneof("activity")
        if which is None:
            raise InvalidArgument("Either Activity.Id or Activity.Type should be set on request.")
        if execution.run_id and not checks.is_uuid(execution.run_id):
            raise InvalidArgument("RunId is not valid UUID.")
        hot = await self._runtime.find(namespace, execution.workflow_id, execution.run_id)
        if which == "id":
            return hot, Selection(activity_id=request.id)  # type: ignore[attr-defined]
        if which == "type":
            return hot, Selection(activity_type=request.type)  # type: ignore[attr-defined]
        return hot, Selection(everything=True)


def change_options(
    runtime: Runtime,
    hot: HotRun,
    selection: Selection,
    wanted: ActivityOptions | None,
    mask: FieldMask | None,
    *,
    restore_original: bool,
) -> ActivityOptions:
    """Change the options of the activities that are meant. Returns those of the last one; they are not yet durable.

    Raises:
        InvalidArgument: no activity can have them; then none has.
    """
    if restore_original and mask is not None and mask.paths:
        raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
    meant = operations.select(hot.execution, selection)
    changes: list[tuple[Activity, ActivityOptions | None]] = []
    shown = operations.options_of(meant[-1], original=True)
    if restore_original:
        changes = [(pending, None) for pending in meant]
    else:
        if wanted is None:
            raise InvalidArgument("ActivityOptions are not provided")
        if mask is None:
            raise InvalidArgument("UpdateMask is not provided")
        paths = paths_of(mask)
        for pending in meant:
            shown = operations.options_of(pending)
            shown.retry_policy.ClearField("non_retryable_error_types")
            merge(shown, wanted, paths)
            _check(shown, pending, runtime.limits)
            changes.append((pending, _kept(shown, pending)))
        shown.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    with runtime.transition(hot) as turn:
        for pending, options in changes:
            operations.set_options(turn, pending, options)
    return shown


def within(jitter: Duration) -> Callable[[], int]:
    """Makes delays (ns) below `jitter`, so that what is offered anew at once does not start at once."""
    longest = to_ns(jitter)
    return lambda: random.randrange(longest) if longest > 0 else 0  # noqa: S311 - spreads load, hides nothing


def merge(
    options: ActivityOptions,
    wanted: ActivityOptions,
    paths: set[str],
    changeable: frozenset[str] = CHANGEABLE,
) -> None:
    """Put into `options` what `paths` name of `wanted`. Paths that name nothing of it do nothing.

    Raises:
        InvalidArgument: a path leads into what `wanted` does not have.
    """
    known = sorted(paths & changeable)
    for path in known:
        part = path.partition(".")[0]
        if part in _TITLES and path != "priority" and not wanted.HasField(part):  # type: ignore[arg-type]
            raise InvalidArgument(f"{_TITLES[part]} is not provided")
    FieldMask(paths=known).MergeMessage(wanted, options, True, True)


def settle_timeouts(options: ActivityOptions, activity_id: str, activity_type: str) -> None:
    """Check an activity's timeouts, and fill in those that are left out.

    Raises:
        InvalidArgument: no activity can have them.
    """
    check_timeouts(options)
    if not to_ns(options.start_to_close_timeout) and not to_ns(options.schedule_to_close_timeout):
        raise InvalidArgument(
            "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. "
            f"ActivityId={activity_id} ActivityType={activity_type}"
        )
    settled = settled_timeouts(*(to_ns(getattr(options, name)) for name, _ in _TIMEOUTS), run_timeout=0)
    for (name, _), timeout in zip(_TIMEOUTS, settled, strict=True):
        getattr(options, name).CopyFrom(duration(timeout))


def _check(options: ActivityOptions, pending: Activity, limits: Limits) -> None:
    """Check merged options, and settle their timeouts, as those of a new activity.

    Raises:
        InvalidArgument: no activity can have them.
    """
    policy = options.retry_policy
    filled = retry.with_defaults(policy, limits)
    if not to_ns(policy.initial_interval):
        policy.initial_interval.CopyFrom(filled.initial_interval)
    policy.backoff_coefficient = filled.backoff_coefficient
    try:
        retry.check(policy)
    except Invalid as error:
        raise InvalidArgument(str(error)) from None
    checks.check_task_queue(options, limits)
    settle_timeouts(options, pending.scheduled.activity_id, pending.scheduled.activity_type.name)


def _kept(options: ActivityOptions, pending: Activity) -> ActivityOptions:
    """What counts of `options`: which errors are not retried stays as it was scheduled (the real server's way)."""
    kept = ActivityOptions()
    kept.CopyFrom(options)
    types = kept.retry_policy.non_retryable_error_types
    del types[:]
    types.extend(pending.scheduled.retry_policy.non_retryable_error_types)
    return kept


def check_timeouts(options: ActivityOptions, paths: set[str] | None = None) -> None:
    """Cap timeouts in place, all or those that `paths` name. Raise InvalidArgument for one that is no duration."""
    for name, title in _TIMEOUTS:
        if paths is not None and name not in paths:
            continue
        try:
            fit(getattr(options, name))
        except Invalid as error:
            raise InvalidArgument(f"invalid {title}: {error}") from None
