"""Pausing, unpausing and resetting standalone activities, and changing their options."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    ResetActivityExecutionRequest,
    UnpauseActivityExecutionRequest,
    UpdateActivityExecutionOptionsRequest,
)

from cloud.engine.api import checks
from cloud.engine.api.activity_operations import CHANGEABLE, merge, settle_timeouts, within
from cloud.engine.api.field_masks import paths_of
from cloud.engine.api.standalone_activities import check_activity_ids, require_enabled
from cloud.engine.core import retry, standalone_activity_operations
from cloud.engine.core.clock import fit
from cloud.engine.core.errors import Invalid
from cloud.engine.core.standalone_activity_state import StandaloneActivity
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.runtime.dynamic_config import STANDALONE_ACTIVITY_OPERATOR_COMMANDS
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.rpc import InvalidArgument, Unimplemented

_CHANGEABLE = CHANGEABLE | {"start_delay"}


class StandaloneOperations:
    """See the module's head. Requests that name a workflow are not for it."""

    def __init__(self, runtime: Runtime, activities: StandaloneActivities) -> None:
        self._runtime = runtime
        self._activities = activities

    async def pause(self, request: PauseActivityExecutionRequest) -> None:
        """Offer no further attempt to workers until it is unpaused."""
        if len(request.reason.encode()) > self._runtime.limits.blob_size_error:
            raise InvalidArgument("reason exceeds length limit")
        hot, request_id = await self._find(request)
        asked = Asked(self._runtime.clock.now(), request.identity, request.reason, request_id)
        with self._activities.step(hot) as step:
            standalone_activity_operations.pause(step, asked)
        await self._activities.durable(hot)

    async def unpause(self, request: UnpauseActivityExecutionRequest) -> None:
        """Go on with it."""
        _check_jitter(request.jitter)
        hot, request_id = await self._find(request)
        with self._activities.step(hot) as step:
            standalone_activity_operations.unpause(
                step, request_id=request_id, jitter=within(request.jitter)()
            )
        await self._activities.durable(hot)

    async def reset(self, request: ResetActivityExecutionRequest) -> None:
        """Begin it anew with the first attempt."""
        _check_jitter(request.jitter)
        hot, request_id = await self._find(request)
        with self._activities.step(hot) as step:
            standalone_activity_operations.reset(
                step,
                request_id=request_id,
                reset_heartbeat=request.reset_heartbeat,
                keep_paused=request.keep_paused,
                restore_options=request.restore_original_options,
                jitter=within(request.jitter)(),
            )
        await self._activities.durable(hot)

    async def update_options(self, request: UpdateActivityExecutionOptionsRequest) -> ActivityOptions:
        """Change its options. Returns all of them."""
        paths = paths_of(request.update_mask)
        if not request.restore_original:
            if not request.HasField("activity_options"):
                raise InvalidArgument("ActivityOptions are not provided")
            if not request.HasField("update_mask"):
                raise InvalidArgument("UpdateMask is not provided")
            if not paths:
                raise InvalidArgument("UpdateMask must specify at least one path")
        elif paths:
            raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
        unknown = sorted(paths - _CHANGEABLE)
        if unknown:
            raise InvalidArgument(f'unsupported update_mask path: "{unknown[0]}"')
        hot, request_id = await self._find(request)
        if hot.activity.state.update_request_id != request_id:
            wanted = None if request.restore_original else self._merged(hot.activity, request, paths)
            with self._activities.step(hot) as step:
                standalone_activity_operations.check_update(step, start_delay="start_delay" in paths)
                standalone_activity_operations.update(
                    step,
                    wanted,
                    request_id=request_id,
                    retry_changed=any(path.startswith("retry_policy") for path in paths),
                )
        options = ActivityOptions()
        options.CopyFrom(hot.activity.options)
        options.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        await self._activities.durable(hot)
        return options

    def _merged(
        self, activity: StandaloneActivity, request: UpdateActivityExecutionOptionsRequest, paths: set[str]
    ) -> ActivityOptions:
        """The activity's options with what is wanted of the request's, checked and settled.

        Raises:
            InvalidArgument: no activity can have them.
        """
        limits = self._runtime.limits
        given = ActivityOptions()
        given.CopyFrom(request.activity_options)
        if "retry_policy" in paths:
            given.retry_policy.CopyFrom(retry.with_defaults(given.retry_policy, limits))
        if "task_queue.name" in paths:
            checks.check_task_queue(given, limits)
        if any(path.startswith("priority") for path in paths):
            checks.check_priority(given.priority)
        options = ActivityOptions()
        options.CopyFrom(activity.options)
        merge(options, given, paths, _CHANGEABLE)
        if any(path.startswith("retry_policy") for path in paths):
            retry.check(options.retry_policy)
        try:
            fit(options.start_delay)
        except Invalid as error:
            raise InvalidArgument(f"invalid StartDelay: {error}") from None
        settle_timeouts(options, activity.request.activity_id, activity.request.activity_type.name)
        return options

    async def _find(self, request: Message) -> tuple[HotActivity, str]:
        namespace = checks.namespace_of(self._runtime, request.namespace)  # type: ignore[attr-defined]
        require_enabled(self._runtime)
        if not self._runtime.dynamic_config.on(STANDALONE_ACTIVITY_OPERATOR_COMMANDS):
            raise Unimplemented("Standalone activity operator commands are disabled")
        check_activity_ids(request, self._runtime)
        activity_id: str = request.activity_id  # type: ignore[attr-defined]
        hot = await self._activities.find(namespace, activity_id, request.run_id)  # type: ignore[attr-defined]
        return hot, request.request_id or self._runtime.ids.request_id()  # type: ignore[attr-defined]


def _check_jitter(jitter: Duration) -> None:
    try:
        fit(jitter)
    except Invalid as error:
        raise InvalidArgument(f"invalid jitter: {error}") from None
