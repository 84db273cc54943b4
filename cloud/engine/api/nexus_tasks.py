"""Nexus tasks: polled and answered by workers."""

from __future__ import annotations

import asyncio
import json

from google.protobuf.message import Message
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.workflowservice.v1 import (
    PollNexusTaskQueueRequest,
    PollNexusTaskQueueResponse,
    RespondNexusTaskCompletedRequest,
    RespondNexusTaskCompletedResponse,
    RespondNexusTaskFailedRequest,
    RespondNexusTaskFailedResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.versioned_workers import VersionedWorkers, capabilities_of
from cloud.engine.api.workers import record_heartbeats
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_tasks import NEXUS_TASK, NexusTask
from cloud.engine.runtime.polling import long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.runtime.tokens import NEXUS_TASK as NEXUS_TASK_TOKEN
from cloud.engine.runtime.tokens import NexusTaskToken
from cloud.rpc import CallContext, InvalidArgument, NotFound


class NexusTaskMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, workers: VersionedWorkers) -> None:
        self._runtime = runtime
        self._workers = workers

    async def poll_nexus_task_queue(
        self, request: PollNexusTaskQueueRequest, context: CallContext
    ) -> PollNexusTaskQueueResponse:
        """Wait for a call of an operation; empty when the time is over."""
        runtime = self._runtime
        checks.check_poll_time(context)
        namespace = checks.namespace_of(runtime, request.namespace)
        checks.check_polled_queue(request, runtime.limits)
        checks.check_length(request.identity, "identity", runtime.limits)
        if request.worker_heartbeat:
            record_heartbeats(runtime, namespace, list(request.worker_heartbeat))
        lane_of = self._workers.lane_of_poll(namespace, request)
        version = await self._workers.version_of_poll(namespace, request, NEXUS_TASK)
        task = await runtime.nexus_tasks.poll(
            QueueKey(namespace.namespace_id, request.task_queue.name, NEXUS_TASK),
            request.identity,
            request.deployment_options.build_id or request.worker_version_capabilities.build_id,
            long_poll_timeout_s(context),
            version=version,
            options=request.deployment_options if request.HasField("deployment_options") else None,
            capabilities=capabilities_of(request),
            lane_of=lane_of,
            worker=request.worker_instance_key,
        )
        if task is None:
            return PollNexusTaskQueueResponse()
        token = runtime.tokens.make(
            NEXUS_TASK_TOKEN, namespace.namespace_id, NexusTaskToken(task_id=task.task_id)
        )
        response = PollNexusTaskQueueResponse(task_token=token, request=task.request)
        left_ms = max(int((task.deadline - asyncio.get_running_loop().time()) * 1_000), 0)
        if task.scaling:
            response.poller_scaling_decision.poll_request_delta_suggestion = task.scaling
        # In both forms: older SDKs look for the one with capitals.
        response.request.header["request-timeout"] = f"{left_ms}ms"
        response.request.header["Request-Timeout"] = f"{left_ms}ms"
        return response

    async def respond_nexus_task_completed(
        self, request: RespondNexusTaskCompletedRequest, context: CallContext
    ) -> RespondNexusTaskCompletedResponse:
        """A worker answers a call."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        start = request.response.start_operation
        if start.HasField("async_success"):
            token = start.async_success.operation_token or start.async_success.operation_id
            length_max = self._runtime.limits.nexus_token_length
            if not token:
                raise InvalidArgument("missing opration token in response")
            if len(token.encode()) > length_max:
                raise InvalidArgument(
                    f"operation token length exceeds allowed limit ({len(token.encode())}/{length_max})"
                )
        if start.HasField("operation_error"):
            _check_details(start.operation_error.failure)
        self._take(namespace, request.task_token).answer.set_result(request.response)
        return RespondNexusTaskCompletedResponse()

    async def respond_nexus_task_failed(
        self, request: RespondNexusTaskFailedRequest, context: CallContext
    ) -> RespondNexusTaskFailedResponse:
        """A worker's handler failed."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.HasField("error") and not request.HasField("failure"):
            raise InvalidArgument("request must contain error or failure")
        if request.HasField("error"):
            _check_details(request.error.failure)
        if request.HasField("failure") and not request.failure.HasField("nexus_handler_failure_info"):
            raise InvalidArgument(
                "request Failure must contain error or failure with NexusHandlerFailureInfo"
            )
        task = self._take(namespace, request.task_token)
        task.answer.set_result(request.error if request.HasField("error") else request.failure)
        return RespondNexusTaskFailedResponse()

    def _take(self, namespace: Namespace, task_token: bytes) -> NexusTask:
        token: NexusTaskToken = self._runtime.tokens.read(
            task_token, NEXUS_TASK_TOKEN, namespace.namespace_id, NexusTaskToken
        )
        task = self._runtime.nexus_tasks.take(token.task_id)
        if task is None:
            raise NotFound("Nexus task not found or already expired", NotFoundFailure())
        return task


def _check_details(failure: Message) -> None:
    details: bytes = failure.details  # type: ignore[attr-defined]
    if not details:
        return
    try:
        json.loads(details)
    except (ValueError, RecursionError):
        raise InvalidArgument("failure details must be JSON serializable") from None
