"""Standalone activities for clients: started, described, waited for, cancelled, terminated, deleted."""

from __future__ import annotations

import asyncio

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import (
    ActivityIdConflictPolicy,
    ActivityIdReusePolicy,
)
from temporalio.api.workflowservice.v1 import (
    DeleteActivityExecutionRequest,
    DeleteActivityExecutionResponse,
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
    TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.activity_operations import settle_timeouts
from cloud.engine.api.callbacks import check_callbacks
from cloud.engine.api.search_attributes import check_search_attributes
from cloud.engine.api.standalone_activity_info import activity_info, callback_infos, outcome
from cloud.engine.api.standalone_activity_starts import (
    check_conflict_options,
    check_links,
    check_room_for_links,
    resolve,
)
from cloud.engine.core import retry, standalone_activity, standalone_activity_callbacks
from cloud.engine.core.clock import fit
from cloud.engine.core.errors import Invalid
from cloud.engine.core.standalone_activity_state import original_options
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.runtime.dynamic_config import STANDALONE_ACTIVITIES, STANDALONE_ACTIVITY_CALLBACKS
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.polling import long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.tokens import ACTIVITY_STATE, ActivityStateToken, BadToken
from cloud.rpc import CallContext, InvalidArgument, Unimplemented

LONG_POLL_S = 20.0
"""The longest wait for an outcome or a change (the real server's history.longPollExpirationInterval)."""

DISABLED = "Standalone activity is disabled"

_Reuse = ActivityIdReusePolicy
_Conflict = ActivityIdConflictPolicy


class StandaloneActivityMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, activities: StandaloneActivities) -> None:
        self._runtime = runtime
        self._activities = activities

    # --- start ---

    async def start_activity_execution(
        self, request: StartActivityExecutionRequest, context: CallContext
    ) -> StartActivityExecutionResponse:
        """Start an activity, or refer to the one that holds its id."""
        namespace = self._namespace(request.namespace)
        request = self._settled(namespace, request)
        async with self._activities.lock(namespace, request.activity_id):
            newest = await self._activities.newest(namespace, request.activity_id)
            used = None if newest is None else resolve(newest, request)
            if used is None:
                hot = self._activities.begin(namespace, request)
            else:
                hot = used
                self._attach(hot, request)
        await self._activities.durable(hot)
        link = Link.Activity(namespace=namespace.name, activity_id=hot.activity_id, run_id=hot.run_id)
        return StartActivityExecutionResponse(
            run_id=hot.run_id, started=used is None, link=Link(activity=link)
        )

    def _settled(
        self, namespace: Namespace, given: StartActivityExecutionRequest
    ) -> StartActivityExecutionRequest:
        """A copy of a request with all that it leaves out filled in.

        Raises:
            InvalidArgument, FailedPrecondition: with the real server's sentence.
        """
        limits = self._runtime.limits
        checks.require_registered(namespace)
        request = StartActivityExecutionRequest()
        request.CopyFrom(given)
        request.request_id = request.request_id or self._runtime.ids.request_id()
        try:
            fit(request.start_delay)
        except Invalid as error:
            raise InvalidArgument(f"invalid StartDelay: {error}") from None
        checks.check_task_queue(request, limits)
        for what, value in (
            ("activityId", request.activity_id),
            ("activityType", request.activity_type.name),
        ):
            if not value:
                raise InvalidArgument(f"{what} is not set")
        retry.check(request.retry_policy)
        request.retry_policy.CopyFrom(retry.with_defaults(request.retry_policy, limits))
        for what, value in (
            ("activityId", request.activity_id),
            ("activityType", request.activity_type.name),
            ("request ID", request.request_id),
            ("identity", request.identity),
        ):
            checks.check_id(value, what, limits)
        try:
            checks.check_priority(request.priority)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid priorities: {error}") from None
        options = original_options(request)
        settle_timeouts(options, request.activity_id, request.activity_type.name)
        for name in (
            "schedule_to_close_timeout",
            "schedule_to_start_timeout",
            "start_to_close_timeout",
            "heartbeat_timeout",
        ):
            getattr(request, name).CopyFrom(getattr(options, name))
        request.id_reuse_policy = request.id_reuse_policy or _Reuse.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE
        request.id_conflict_policy = request.id_conflict_policy or _Conflict.ACTIVITY_ID_CONFLICT_POLICY_FAIL
        if request.input.ByteSize() > limits.blob_size_error:
            raise InvalidArgument("input exceeds length limit")
        checks.check_user_metadata(request.user_metadata)
        if request.header.ByteSize() > limits.blob_size_error:
            raise InvalidArgument("header exceeds length limit")
        check_search_attributes(namespace, request.search_attributes)
        if request.completion_callbacks:
            if not self._runtime.dynamic_config.on(STANDALONE_ACTIVITY_CALLBACKS):
                raise InvalidArgument("completion callbacks are not enabled for this namespace")
            check_callbacks(request.completion_callbacks, limits)
        check_links(request)
        check_conflict_options(request)
        if request.id_reuse_policy not in _Reuse.values():
            raise InvalidArgument(f"unsupported ID reuse policy: {request.id_reuse_policy}")
        if request.id_conflict_policy not in _Conflict.values():
            raise InvalidArgument(f"unsupported ID conflict policy: {request.id_conflict_policy}")
        return request

    def _attach(self, hot: HotActivity, request: StartActivityExecutionRequest) -> None:
        """Note on the activity that holds the id what the request asks to attach, once per request."""
        wanted, activity = request.on_conflict_options, hot.activity
        links = list(request.links) if wanted.attach_links else []
        callbacks = list(request.completion_callbacks) if wanted.attach_completion_callbacks else []
        state = activity.state
        if not (links or callbacks) or request.request_id in (
            state.start_request_id,
            *state.attached_request_ids,
        ):
            return
        if callbacks:
            standalone_activity_callbacks.check_room(activity, len(callbacks), self._runtime.limits.callbacks)
        if links:
            check_room_for_links(activity, len(links))
        with self._activities.step(hot) as step:
            standalone_activity_callbacks.attach(step, callbacks, links, request.request_id)

    # --- looks ---

    async def describe_activity_execution(
        self, request: DescribeActivityExecutionRequest, context: CallContext
    ) -> DescribeActivityExecutionResponse:
        """What it is now; with a token, once it is another than it was. Empty when the time is over."""
        namespace = self._namespace(request.namespace)
        self._check_ids(request)
        if request.long_poll_token and not request.run_id:
            raise InvalidArgument("run id is required when long poll token is provided")
        hot = await self._activities.find(namespace, request.activity_id, request.run_id)
        if request.long_poll_token:
            try:
                token: ActivityStateToken = self._runtime.tokens.read(
                    request.long_poll_token, ACTIVITY_STATE, namespace.namespace_id, ActivityStateToken
                )
            except BadToken:
                raise InvalidArgument("invalid long poll token") from None
            if token.run_id != hot.run_id:
                raise InvalidArgument("long poll token does not match execution")
            ends_at = _ends_at(context)
            while hot.activity.state.transitions <= token.transitions:
                if not await self._activities.changed(hot, ends_at - asyncio.get_running_loop().time()):
                    return DescribeActivityExecutionResponse()
                hot = await self._activities.find(namespace, request.activity_id, request.run_id)
        response = self._describe(hot, request)
        await self._activities.durable(hot)
        return response

    def _describe(
        self, hot: HotActivity, request: DescribeActivityExecutionRequest
    ) -> DescribeActivityExecutionResponse:
        activity, now = hot.activity, self._runtime.clock.now()
        token = ActivityStateToken(hot.run_id, activity.state.transitions)
        response = DescribeActivityExecutionResponse(
            run_id=hot.run_id,
            info=activity_info(hot, now),
            long_poll_token=self._runtime.tokens.make(ACTIVITY_STATE, hot.namespace.namespace_id, token),
        )
        response.callbacks.extend(callback_infos(activity))
        progress = activity.state.progress
        if request.include_heartbeat_details and progress.heartbeat_details:
            response.info.heartbeat_details.ParseFromString(progress.heartbeat_details)
        if request.include_last_failure and progress.last_failure:
            response.info.last_failure.ParseFromString(progress.last_failure)
        if request.include_input and activity.request.HasField("input"):
            response.input.CopyFrom(activity.request.input)
        if request.include_outcome and activity.closed:
            response.outcome.CopyFrom(outcome(hot))
        return response

    async def poll_activity_execution(
        self, request: PollActivityExecutionRequest, context: CallContext
    ) -> PollActivityExecutionResponse:
        """Its outcome, once it has one. Empty when the time is over."""
        namespace = self._namespace(request.namespace)
        self._check_ids(request)
        hot = await self._activities.find(namespace, request.activity_id, request.run_id)
        run_id, ends_at = hot.run_id, _ends_at(context)
        while not hot.activity.closed:
            if not await self._activities.changed(hot, ends_at - asyncio.get_running_loop().time()):
                return PollActivityExecutionResponse()
            hot = await self._activities.find(namespace, request.activity_id, run_id)
        response = PollActivityExecutionResponse(run_id=run_id, outcome=outcome(hot))
        if hot.activity.request.HasField("propagated_nexus_serialization_context"):
            response.propagated_nexus_serialization_context.CopyFrom(
                hot.activity.request.propagated_nexus_serialization_context
            )
        await self._activities.durable(hot)
        return response

    # --- ends from outside ---

    async def request_cancel_activity_execution(
        self, request: RequestCancelActivityExecutionRequest, context: CallContext
    ) -> RequestCancelActivityExecutionResponse:
        """Ask for its cancellation."""
        hot, asked = await self._asked(request)
        with self._activities.step(hot) as step:
            standalone_activity.request_cancel(step, asked)
        await self._activities.durable(hot)
        return RequestCancelActivityExecutionResponse()

    async def terminate_activity_execution(
        self, request: TerminateActivityExecutionRequest, context: CallContext
    ) -> TerminateActivityExecutionResponse:
        """End it, whatever its worker does."""
        hot, asked = await self._asked(request)
        with self._activities.step(hot) as step:
            standalone_activity.terminate(step, asked)
        await self._activities.durable(hot)
        return TerminateActivityExecutionResponse()

    async def delete_activity_execution(
        self, request: DeleteActivityExecutionRequest, context: CallContext
    ) -> DeleteActivityExecutionResponse:
        """Delete it; one that is open is terminated first."""
        namespace = self._namespace(request.namespace)
        self._check_ids(request)
        await self._activities.delete(
            await self._activities.find(namespace, request.activity_id, request.run_id)
        )
        return DeleteActivityExecutionResponse()

    async def _asked(
        self, request: RequestCancelActivityExecutionRequest | TerminateActivityExecutionRequest
    ) -> tuple[HotActivity, Asked]:
        namespace = self._namespace(request.namespace)
        self._check_ids(request)
        limits = self._runtime.limits
        if len(request.reason.encode()) > limits.blob_size_error:
            raise InvalidArgument("reason exceeds length limit")
        hot = await self._activities.find(namespace, request.activity_id, request.run_id)
        request_id = request.request_id or self._runtime.ids.request_id()
        return hot, Asked(self._runtime.clock.now(), request.identity, request.reason, request_id)

    # --- checks ---

    def _namespace(self, name: str) -> Namespace:
        namespace = checks.namespace_of(self._runtime, name)
        require_enabled(self._runtime)
        return namespace

    def _check_ids(self, request: Message) -> None:
        check_activity_ids(request, self._runtime)


def require_enabled(runtime: Runtime) -> None:
    """Raise Unimplemented if standalone activities are switched off."""
    if not runtime.dynamic_config.on(STANDALONE_ACTIVITIES):
        raise Unimplemented(DISABLED)


def check_activity_ids(request: Message, runtime: Runtime) -> None:
    """Check the ids that calls about one activity share.

    Raises:
        InvalidArgument: with the real server's sentence.
    """
    activity_id: str = request.activity_id  # type: ignore[attr-defined]
    run_id: str = request.run_id  # type: ignore[attr-defined]
    if not activity_id:
        raise InvalidArgument("activity ID is required")
    checks.check_id(activity_id, "activity ID", runtime.limits)
    for what, name in (("request ID", "request_id"), ("identity", "identity")):
        checks.check_id(getattr(request, name, ""), what, runtime.limits)
    if run_id and not checks.is_uuid(run_id):
        raise InvalidArgument("invalid run id: must be a valid UUID")


def _ends_at(context: CallContext) -> float:
    return asyncio.get_running_loop().time() + long_poll_timeout_s(context, LONG_POLL_S)
