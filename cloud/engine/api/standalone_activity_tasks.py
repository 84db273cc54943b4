"""Tasks of standalone activities: what a worker gets, and its answers."""

from __future__ import annotations

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from cloud.engine.core import standalone_activity
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import NoSuchTask
from cloud.engine.core.standalone_activity_state import Phase
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.started_tasks import STANDALONE, StartedStandaloneActivity
from cloud.engine.runtime.tokens import ACTIVITY_TASK, ActivityTaskToken


class StandaloneTasks:
    """See the module's head."""

    def __init__(self, runtime: Runtime, activities: StandaloneActivities) -> None:
        self._runtime = runtime
        self._activities = activities

    def describe_task(self, given: StartedStandaloneActivity) -> PollActivityTaskQueueResponse:
        """What a worker gets with an attempt."""
        hot = given.hot
        activity, request, options = hot.activity, hot.activity.request, hot.activity.options
        token = ActivityTaskToken(
            hot.run_id, "", STANDALONE, given.attempt, hot.activity_id, given.started_time
        )
        response = PollActivityTaskQueueResponse(
            task_token=self._runtime.tokens.make(ACTIVITY_TASK, hot.namespace.namespace_id, token),
            workflow_namespace=hot.namespace.name,
            workflow_execution=WorkflowExecution(),
            activity_type=request.activity_type,
            activity_id=hot.activity_id,
            activity_run_id=hot.run_id,
            scheduled_time=timestamp(activity.state.scheduled_time),
            current_attempt_scheduled_time=timestamp(given.scheduled_time),
            started_time=timestamp(given.started_time),
            attempt=given.attempt,
            schedule_to_close_timeout=options.schedule_to_close_timeout,
            start_to_close_timeout=options.start_to_close_timeout,
            heartbeat_timeout=options.heartbeat_timeout,
            retry_policy=options.retry_policy,
        )
        for name in ("header", "input", "propagated_nexus_serialization_context"):
            if request.HasField(name):
                getattr(response, name).CopyFrom(getattr(request, name))
        if options.HasField("priority"):
            response.priority.CopyFrom(options.priority)
        if given.scaling:
            response.poller_scaling_decision.poll_request_delta_suggestion = given.scaling
        if given.heartbeat_details:
            response.heartbeat_details.ParseFromString(given.heartbeat_details)
        return response

    # --- which one is meant; no await between finding it and changing it ---

    async def held(
        self, namespace: Namespace, activity_id: str, run_id: str, attempt: int = 0, started_time: int = 0
    ) -> HotActivity:
        """The activity whose attempt a worker holds; attempt 0 stands for any.

        Raises:
            NoSuchActivity, NoSuchTask: there is none, or nobody holds it.
        """
        hot = await self._activities.find(namespace, activity_id, run_id)
        standalone_activity.require_held(hot.activity, attempt, started_time)
        return hot

    async def open(self, namespace: Namespace, activity_id: str, run_id: str) -> HotActivity:
        """The open activity of these ids.

        Raises:
            NoSuchActivity, NoSuchTask: there is none, or it is over.
        """
        hot = await self._activities.find(namespace, activity_id, run_id)
        if hot.activity.closed:
            raise NoSuchTask(f"activity not found for ID: {activity_id}")
        return hot

    # --- answers ---

    async def heartbeat(self, hot: HotActivity, details: Payloads | None) -> dict[str, bool]:
        """A worker is alive. Returns what the reply tells it, by the names of the reply's fields."""
        with self._activities.step(hot) as step:
            too_large = details is not None and self._too_large(details)
            if too_large:
                standalone_activity.fail(step, final_failure("Heartbeat details exceed size limit."), "")
            else:
                standalone_activity.heartbeat(step, details)
        phase = hot.activity.state.phase
        await self._activities.durable(hot)
        return {
            "cancel_requested": too_large or phase == Phase.CANCEL_REQUESTED,
            "activity_paused": phase == Phase.PAUSE_REQUESTED,
            "activity_reset": phase == Phase.RESET_REQUESTED,
        }

    async def complete(self, hot: HotActivity, result: Payloads | None, identity: str) -> None:
        """It succeeded; with a result that is too large it has failed."""
        with self._activities.step(hot) as step:
            if result is not None and self._too_large(result):
                standalone_activity.fail(step, final_failure("Complete result exceeds size limit."), identity)
            else:
                standalone_activity.complete(step, result, identity)
        await self._activities.durable(hot)

    async def fail(self, hot: HotActivity, failure: Failure, identity: str, details: Payloads | None) -> None:
        """An attempt failed."""
        with self._activities.step(hot) as step:
            if details is not None and self._too_large(details):
                failure, details = final_failure("Heartbeat details exceed size limit."), None
            standalone_activity.fail(step, failure, identity, details)
        await self._activities.durable(hot)

    async def confirm_cancel(self, hot: HotActivity, details: Payloads | None) -> None:
        """The worker confirms the cancellation."""
        with self._activities.step(hot) as step:
            standalone_activity.confirm_cancel(step, details)
        await self._activities.durable(hot)

    def _too_large(self, payloads: Payloads) -> bool:
        return payloads.ByteSize() > self._runtime.limits.blob_size_error


def final_failure(message: str) -> Failure:
    """A failure of the service's own that is not retried."""
    failure = Failure(message=message)
    failure.server_failure_info.non_retryable = True
    return failure
