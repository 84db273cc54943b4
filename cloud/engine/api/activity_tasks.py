"""Activity tasks: polled, kept alive, answered by token or by id."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.standalone_activity_tasks import StandaloneTasks, final_failure
from cloud.engine.api.versioned_workers import VersionedWorkers, capabilities_of
from cloud.engine.core import activity, activity_ends, priority
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.state import Activity
from cloud.engine.core.turn import Turn
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.matching import Matching
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.polling import long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.started_tasks import STANDALONE, StartedActivity, StartedStandaloneActivity
from cloud.engine.runtime.tokens import ACTIVITY_TASK, ActivityTaskToken
from cloud.engine.store import rows
from cloud.rpc import CallContext, InvalidArgument

FAILURE_MESSAGE_MAX = 512 * 1024 - 16
"""What is kept of the message of a failure that is too large (observed on the real server)."""

_Found = tuple[HotRun, Activity] | HotActivity
"""An activity of a workflow, or one without."""

_GONE = "invalid activityID or activity already timed out or invoking workflow is completed"


SDK_LENGTH_MAX = 255
"""Characters of an SDK's name, and of its version, that are kept of what a worker says."""


class ActivityTasks:
    """See the module's head."""

    def __init__(
        self,
        runtime: Runtime,
        matching: Matching,
        workers: VersionedWorkers,
        standalone: StandaloneTasks,
    ) -> None:
        self._runtime = runtime
        self._matching = matching
        self._workers = workers
        self._standalone = standalone

    # --- poll ---

    async def poll_activity_task_queue(
        self, request: PollActivityTaskQueueRequest, context: CallContext
    ) -> PollActivityTaskQueueResponse:
        """Wait for an activity task; empty when the time is over."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_polled_queue(request, self._runtime.limits)
        checks.check_identity(request.identity, self._runtime.limits)
        checks.check_poll_time(context)
        lane_of = self._workers.lane_of_poll(namespace, request)
        version = await self._workers.version_of_poll(namespace, request, rows.ACTIVITY_TASK)
        given = await self._matching.poll(
            namespace,
            request.task_queue.name,
            rows.ACTIVITY_TASK,
            identity=request.identity,
            build_id=request.worker_version_capabilities.build_id,
            timeout_s=long_poll_timeout_s(context),
            tasks_per_second=_tasks_per_second(request),
            version=version,
            options=request.deployment_options if request.HasField("deployment_options") else None,
            capabilities=capabilities_of(request),
            lane_of=lane_of,
            sdk=_sdk_of(context),
            worker=request.worker_instance_key,
        )
        if given is None:
            return PollActivityTaskQueueResponse()
        if isinstance(given, StartedStandaloneActivity):
            return self._standalone.describe_task(given)
        assert isinstance(given, StartedActivity)
        return self.describe_task(given)

    def describe_task(self, given: StartedActivity) -> PollActivityTaskQueueResponse:
        """What a worker gets with an activity attempt."""
        hot, pending = given.hot, given.activity
        key, scheduled = hot.execution.key, pending.scheduled
        response = PollActivityTaskQueueResponse(
            task_token=self._runtime.tokens.make(
                ACTIVITY_TASK,
                key.namespace_id,
                ActivityTaskToken(
                    key.run_id,
                    key.workflow_id,
                    pending.scheduled_event_id,
                    given.attempt,
                    scheduled.activity_id,
                    given.started_time,
                ),
            ),
            workflow_namespace=hot.namespace.name,
            workflow_type=hot.execution.started.workflow_type,
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id),
            activity_type=scheduled.activity_type,
            activity_id=scheduled.activity_id,
            scheduled_time=timestamp(pending.scheduled_time),
            current_attempt_scheduled_time=timestamp(given.scheduled_time),
            started_time=timestamp(given.started_time),
            attempt=given.attempt,
            schedule_to_close_timeout=scheduled.schedule_to_close_timeout,
            start_to_close_timeout=scheduled.start_to_close_timeout,
            heartbeat_timeout=scheduled.heartbeat_timeout,
            retry_policy=pending.options.retry_policy,
        )
        for name in ("header", "input"):
            if scheduled.HasField(name):
                getattr(response, name).CopyFrom(getattr(scheduled, name))
        of_run = hot.execution.options
        if of_run.HasField("priority") or pending.options.HasField("priority"):
            response.priority.CopyFrom(priority.merged(of_run.priority, pending.options.priority))
        if given.scaling:
            response.poller_scaling_decision.poll_request_delta_suggestion = given.scaling
        if given.heartbeat_details:
            response.heartbeat_details.ParseFromString(given.heartbeat_details)
        return response

    # --- heartbeats ---

    async def record_activity_task_heartbeat(
        self, request: RecordActivityTaskHeartbeatRequest, context: CallContext
    ) -> RecordActivityTaskHeartbeatResponse:
        """A worker is alive; the reply says whether the activity is to be cancelled, is paused, or begins anew."""
        found = await self._by_token(request)
        if isinstance(found, HotActivity):
            return RecordActivityTaskHeartbeatResponse(
                **await self._standalone.heartbeat(found, _payloads(request, "details"))
            )
        hot, pending = found
        await self._heartbeat(hot, pending, _payloads(request, "details"), request.identity)
        return RecordActivityTaskHeartbeatResponse(
            cancel_requested=pending.cancel_requested_event_id != 0,
            activity_paused=pending.progress.pause is not None,
            activity_reset=pending.progress.reset,
        )

    async def record_activity_task_heartbeat_by_id(
        self, request: RecordActivityTaskHeartbeatByIdRequest, context: CallContext
    ) -> RecordActivityTaskHeartbeatByIdResponse:
        """The same, by ids."""
        found = await self._by_id(request)
        if isinstance(found, HotActivity):
            return RecordActivityTaskHeartbeatByIdResponse(
                **await self._standalone.heartbeat(found, _payloads(request, "details"))
            )
        hot, pending = found
        await self._heartbeat(hot, pending, _payloads(request, "details"), request.identity)
        return RecordActivityTaskHeartbeatByIdResponse(
            cancel_requested=pending.cancel_requested_event_id != 0,
            activity_paused=pending.progress.pause is not None,
            activity_reset=pending.progress.reset,
        )

    async def _heartbeat(
        self, hot: HotRun, pending: Activity, details: Payloads | None, identity: str
    ) -> None:
        with self._runtime.transition(hot) as turn:
            if details is not None and details.ByteSize() > self._runtime.limits.blob_size_error:
                _give_up(turn, pending, "Heartbeat details exceed size limit.", identity)
            else:
                activity.heartbeat(turn, pending, details)
        await self._runtime.durable(hot)

    # --- completed ---

    async def respond_activity_task_completed(
        self, request: RespondActivityTaskCompletedRequest, context: CallContext
    ) -> RespondActivityTaskCompletedResponse:
        """An activity succeeded."""
        await self._completed(await self._by_token(request), request)
        return RespondActivityTaskCompletedResponse()

    async def respond_activity_task_completed_by_id(
        self, request: RespondActivityTaskCompletedByIdRequest, context: CallContext
    ) -> RespondActivityTaskCompletedByIdResponse:
        """The same, by ids."""
        await self._completed(await self._by_id(request, held=False), request)
        return RespondActivityTaskCompletedByIdResponse()

    async def _completed(
        self,
        found: _Found,
        request: RespondActivityTaskCompletedRequest | RespondActivityTaskCompletedByIdRequest,
    ) -> None:
        if isinstance(found, HotActivity):
            await self._standalone.complete(found, _payloads(request, "result"), request.identity)
            return
        hot, pending = found
        await self._end(hot, lambda turn: self._complete(turn, pending, request))

    # --- failed ---

    async def respond_activity_task_failed(
        self, request: RespondActivityTaskFailedRequest, context: CallContext
    ) -> RespondActivityTaskFailedResponse:
        """An attempt failed."""
        await self._failed(await self._by_token(request), request)
        return RespondActivityTaskFailedResponse()

    async def respond_activity_task_failed_by_id(
        self, request: RespondActivityTaskFailedByIdRequest, context: CallContext
    ) -> RespondActivityTaskFailedByIdResponse:
        """The same, by ids."""
        await self._failed(await self._by_id(request), request)
        return RespondActivityTaskFailedByIdResponse()

    async def _failed(
        self,
        found: _Found,
        request: RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest,
    ) -> None:
        failure = self._bounded(request.failure)
        if isinstance(found, HotActivity):
            details = _payloads(request, "last_heartbeat_details")
            await self._standalone.fail(found, failure, request.identity, details)
            return
        hot, pending = found
        await self._end(hot, lambda turn: _fail(turn, pending, request, failure))

    def _complete(
        self,
        turn: Turn,
        pending: Activity,
        request: RespondActivityTaskCompletedRequest | RespondActivityTaskCompletedByIdRequest,
    ) -> None:
        activity.assume_started(turn, pending, request.identity)
        if request.result.ByteSize() > self._runtime.limits.blob_size_error:
            _give_up(turn, pending, "Complete result exceeds size limit.", request.identity)
        else:
            activity_ends.complete(
                turn, pending, result=_payloads(request, "result"), identity=request.identity
            )

    def _bounded(self, failure: Failure) -> Failure:
        """A failure too large to keep is replaced by one that says so: the attempt failed all the same."""
        limit = self._runtime.limits.blob_size_error
        if failure.ByteSize() <= limit:
            return failure
        replaced = final_failure("Failure exceeds size limit.")
        replaced.cause.message = failure.message[:FAILURE_MESSAGE_MAX]
        if failure.HasField("application_failure_info"):
            replaced.cause.application_failure_info.type = failure.application_failure_info.type
        return replaced

    # --- cancelled ---

    async def respond_activity_task_canceled(
        self, request: RespondActivityTaskCanceledRequest, context: CallContext
    ) -> RespondActivityTaskCanceledResponse:
        """A worker confirms a cancellation."""
        await self._canceled(await self._by_token(request), request)
        return RespondActivityTaskCanceledResponse()

    async def respond_activity_task_canceled_by_id(
        self, request: RespondActivityTaskCanceledByIdRequest, context: CallContext
    ) -> RespondActivityTaskCanceledByIdResponse:
        """The same, by ids."""
        await self._canceled(await self._by_id(request), request)
        return RespondActivityTaskCanceledByIdResponse()

    async def _canceled(
        self,
        found: _Found,
        request: RespondActivityTaskCanceledRequest | RespondActivityTaskCanceledByIdRequest,
    ) -> None:
        checks.check_blob(request.details, "details", self._runtime.limits)
        if isinstance(found, HotActivity):
            await self._standalone.confirm_cancel(found, _payloads(request, "details"))
            return
        hot, pending = found
        await self._end(hot, lambda turn: _cancel(turn, pending, request))

    async def _end(self, hot: HotRun, change: Callable[[Turn], None]) -> None:
        with self._runtime.transition(hot) as turn:
            change(turn)
        await self._runtime.durable(hot)

    # --- which activity is meant; no await between finding it and changing it ---

    async def _by_token(self, request: Message) -> _Found:
        namespace = checks.namespace_of(self._runtime, request.namespace)  # type: ignore[attr-defined]
        task_token: bytes = request.task_token  # type: ignore[attr-defined]
        if not task_token:
            raise InvalidArgument("Task token not set on request.")
        self._check_sender(request)
        token: ActivityTaskToken = self._runtime.tokens.read(
            task_token, ACTIVITY_TASK, namespace.namespace_id, ActivityTaskToken
        )
        if token.scheduled_event_id == STANDALONE:
            return await self._standalone.held(
                namespace, token.activity_id, token.run_id, token.attempt, token.started_time
            )
        hot = await self._find(namespace, token.workflow_id, token.run_id)
        pending = activity.require_started(
            hot.execution, token.scheduled_event_id, token.attempt, token.started_time
        )
        return hot, pending

    async def _by_id(self, request: Message, *, held: bool = True) -> _Found:
        """`held`: an activity without a workflow must be held by a worker, it is not enough that it is open."""
        namespace = checks.namespace_of(self._runtime, request.namespace)  # type: ignore[attr-defined]
        workflow_id: str = request.workflow_id  # type: ignore[attr-defined]
        activity_id: str = request.activity_id  # type: ignore[attr-defined]
        if not activity_id:
            raise InvalidArgument("ActivityId is not set on request.")
        self._check_sender(request)
        run_id: str = request.run_id  # type: ignore[attr-defined]
        if run_id and not checks.is_uuid(run_id):
            raise InvalidArgument("RunId is not valid UUID.")
        if not workflow_id:
            return await (self._standalone.held if held else self._standalone.open)(
                namespace, activity_id, run_id
            )
        hot = await self._runtime.find(namespace, workflow_id, run_id)
        if not hot.execution.running:
            raise RunClosed("workflow execution already completed")
        scheduled_event_id = hot.execution.activity_ids.get(activity_id, 0)
        if not scheduled_event_id:
            raise NoSuchTask(
                f"cannot find pending activity with ActivityID {activity_id}, "
                "check workflow execution history for more details"
            )
        return hot, activity.require_open(hot.execution, scheduled_event_id)

    def _check_sender(self, request: Message) -> None:
        if isinstance(request, RecordActivityTaskHeartbeatRequest | RecordActivityTaskHeartbeatByIdRequest):
            return  # nothing keeps who sent it
        checks.check_identity(request.identity, self._runtime.limits)  # type: ignore[attr-defined]
        failed = isinstance(request, RespondActivityTaskFailedRequest) and request.HasField("failure")
        if failed and not request.failure.HasField("application_failure_info"):  # type: ignore[attr-defined]
            raise InvalidArgument("Failure must have ApplicationFailureInfo.")

    async def _find(self, namespace: Namespace, workflow_id: str, run_id: str) -> HotRun:
        try:
            return await self._runtime.find(namespace, workflow_id, run_id)
        except NoSuchRun:
            raise NoSuchTask(_GONE) from None


def _sdk_of(context: CallContext) -> tuple[str, str]:
    """Name and version of the SDK that calls, as it says in its headers."""
    told = context.metadata
    return told.get("client-name", "")[:SDK_LENGTH_MAX], told.get("client-version", "")[:SDK_LENGTH_MAX]


def _tasks_per_second(request: PollActivityTaskQueueRequest) -> float | None:
    """How fast the worker wants the queue's tasks to go, to all workers together; None if it says nothing."""
    if not request.HasField("task_queue_metadata"):
        return None
    metadata = request.task_queue_metadata
    if not metadata.HasField("max_tasks_per_second"):
        return None
    rate = metadata.max_tasks_per_second.value
    if not rate >= 0:  # NaN is no rate either
        raise InvalidArgument(f"MaxTasksPerSecond can't be {rate}")
    return rate


def _payloads(request: Message, name: str) -> Payloads | None:
    return getattr(request, name) if request.HasField(name) else None


def _give_up(turn: Turn, pending: Activity, message: str, identity: str) -> None:
    """What a worker sends is too large to keep: the activity fails, and is not tried again."""
    activity_ends.fail(turn, pending, failure=final_failure(message), identity=identity)


def _fail(
    turn: Turn,
    pending: Activity,
    request: RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest,
    failure: Failure,
) -> None:
    activity.assume_started(turn, pending, request.identity)
    activity_ends.fail(
        turn,
        pending,
        failure=failure,
        identity=request.identity,
        last_heartbeat_details=_payloads(request, "last_heartbeat_details"),
    )


def _cancel(
    turn: Turn,
    pending: Activity,
    request: RespondActivityTaskCanceledRequest | RespondActivityTaskCanceledByIdRequest,
) -> None:
    activity_ends.cancel(turn, pending, details=_payloads(request, "details"), identity=request.identity)
