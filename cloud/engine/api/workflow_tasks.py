"""Workflow tasks: polled, completed, failed."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    CommandType,
    QueryResultType,
    TaskQueueKind,
    WorkflowTaskFailedCause,
)
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.history.v1 import History
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.activity_tasks import ActivityTasks
from cloud.engine.api.histories import Histories
from cloud.engine.api.search_attributes import check_search_attributes
from cloud.engine.api.versioned_workers import (
    VersionedWorkers,
    capabilities_of,
    check_behavior,
    check_continued,
    check_options,
)
from cloud.engine.core import (
    close,
    command_attributes,
    command_checks,
    completion,
    enum_names,
    older_versioning,
    versioning,
    workflow_task,
)
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import BadCommand, RunClosed
from cloud.engine.core.state import Sticky
from cloud.engine.core.versioning import Taker
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.matching import Matching
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.polling import long_poll_timeout_s
from cloud.engine.runtime.queries import PendingQuery
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.started_tasks import StartedWorkflowTask, as_started
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.runtime.task_starts import TaskStarts
from cloud.engine.runtime.tokens import QUERY_TASK, WORKFLOW_TASK, QueryTaskToken, WorkflowTaskToken
from cloud.engine.store import rows
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument, NotFound

_Cause = WorkflowTaskFailedCause
WITH_A_REPLY = "request-from-RespondWorkflowTaskCompleted"
"""What stands for the id of a poll where a task was given without one; as on the real server."""


class WorkflowTasks:
    """See the module's head."""

    def __init__(
        self,
        runtime: Runtime,
        matching: Matching,
        task_starts: TaskStarts,
        histories: Histories,
        activity_tasks: ActivityTasks,
        workers: VersionedWorkers,
    ) -> None:
        self._runtime = runtime
        self._matching = matching
        self._task_starts = task_starts
        self._workers = workers
        self._histories = histories
        self._activity_tasks = activity_tasks

    # --- poll ---

    async def poll_workflow_task_queue(
        self, request: PollWorkflowTaskQueueRequest, context: CallContext
    ) -> PollWorkflowTaskQueueResponse:
        """Wait for a workflow task or a query; empty when the time is over."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_polled_queue(request, self._runtime.limits)
        checks.check_identity(request.identity, self._runtime.limits)
        checks.check_poll_time(context)
        lane_of = self._workers.lane_of_poll(namespace, request)
        version = await self._workers.version_of_poll(namespace, request, rows.WORKFLOW_TASK)
        given = await self._matching.poll(
            namespace,
            request.task_queue.name,
            rows.WORKFLOW_TASK,
            identity=request.identity,
            build_id=request.worker_version_capabilities.build_id,
            timeout_s=long_poll_timeout_s(context),
            version=version,
            options=request.deployment_options if request.HasField("deployment_options") else None,
            capabilities=capabilities_of(request),
            lane_of=lane_of,
            worker=request.worker_instance_key,
            sticky=request.task_queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY,
        )
        if given is None:
            return PollWorkflowTaskQueueResponse()
        if isinstance(given, PendingQuery):
            response = await self._describe_query(given)
        else:
            assert isinstance(given, StartedWorkflowTask)
            response = await self.describe_task(given)
        if given.scaling:
            response.poller_scaling_decision.poll_request_delta_suggestion = given.scaling
        return response

    async def describe_task(self, task: StartedWorkflowTask) -> PollWorkflowTaskQueueResponse:
        """What a worker gets with a workflow task."""
        hot = task.hot
        execution = hot.execution
        namespace_id = execution.key.namespace_id
        response = PollWorkflowTaskQueueResponse(
            task_token=self._runtime.tokens.make(
                WORKFLOW_TASK,
                namespace_id,
                WorkflowTaskToken(
                    hot.run_id,
                    execution.key.workflow_id,
                    task.scheduled_event_id,
                    task.started_event_id,
                    task.attempt,
                    task.started_time,
                ),
            ),
            workflow_execution=_ids(hot),
            workflow_type=execution.started.workflow_type,
            previous_started_event_id=task.previous_started_event_id,
            started_event_id=task.started_event_id,
            attempt=task.attempt,
            workflow_execution_task_queue=TaskQueue(
                name=execution.started.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL
            ),
            scheduled_time=timestamp(task.scheduled_time),
            started_time=timestamp(task.started_time),
            queries=task.queries,
            messages=task.messages,
        )
        first = task.previous_started_event_id + 1 if task.sticky else 1
        events, token = await self._histories.page_for_worker(
            hot, first, task.last_event_id, task.tail, task.suffix
        )
        response.history.SetInParent()
        response.history.events.extend(events)
        response.next_page_token = token
        return response

    async def _describe_query(self, query: PendingQuery) -> PollWorkflowTaskQueueResponse:
        hot = query.hot
        execution = hot.execution
        response = PollWorkflowTaskQueueResponse(
            task_token=self._runtime.tokens.make(
                QUERY_TASK, execution.key.namespace_id, QueryTaskToken(query.query_id)
            ),
            workflow_execution=_ids(hot),
            workflow_type=execution.started.workflow_type,
            previous_started_event_id=execution.previous_started_event_id,
            attempt=1,
            query=query.query,
            workflow_execution_task_queue=TaskQueue(
                name=execution.started.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL
            ),
        )
        if query.sticky:
            response.history.CopyFrom(History())
            return response
        last = execution.next_event_id - 1
        events, token = await self._histories.page_for_worker(hot, 1, last, hot.tail_from(1, last), [])
        response.history.SetInParent()
        response.history.events.extend(events)
        response.next_page_token = token
        return response

    # --- completed ---

    async def respond_workflow_task_completed(
        self, request: RespondWorkflowTaskCompletedRequest, context: CallContext
    ) -> RespondWorkflowTaskCompletedResponse:
        """Carry out a worker's commands; the reply may bring the next task and eager activities."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        _check_sequence(request)
        if not all(message.HasField("body") for message in request.messages):
            raise InvalidArgument("nil message body")
        checks.check_identity(request.identity, self._runtime.limits)
        checks.check_length(
            request.sticky_attributes.worker_task_queue.name, "TaskQueue", self._runtime.limits
        )
        check_options(request.deployment_options)
        self._workers.check_stamp(request.worker_version_stamp)
        hot, token = await self._in_flight(namespace, request.task_token)
        with self._runtime.transition(hot) as turn:
            workflow_task.require_in_flight(
                hot.execution,
                token.scheduled_event_id,
                token.started_event_id,
                token.attempt,
                token.started_time,
            )
            check_behavior(request)
            check_continued(hot.execution, request)
            if request.intermediate_page or request.page_number > 0:
                raise FailedPrecondition(
                    f"workflow task completion pagination is disabled for this namespace {namespace.name}"
                )
            unknown = next((c for c in request.commands if not command_attributes.known(c)), None)
            if unknown is not None:
                raise InvalidArgument(f"unknown command type: {unknown.command_type or 'Unspecified'}")
            if hot.execution.paused is not None and request.force_create_new_workflow_task:
                raise FailedPrecondition(
                    "Workflow is paused and force create new workflow task is not allowed."
                )
            try:
                completed = completion.complete(
                    turn,
                    request,
                    check_search_attributes=lambda attributes: check_search_attributes(namespace, attributes),
                    eager=_eager(hot),
                    sent_updates=hot.updates.sent(),
                    attachments=hot.updates.attachments(),
                    new_updates=hot.updates.unsent,
                )
            except BadCommand as error:
                raise InvalidArgument(completion.refusal_message(error)) from None
        hot.updates.answered(completed.updates)
        self._answer_queries(hot, request)
        response = RespondWorkflowTaskCompletedResponse(reset_history_event_id=completed.reset_to_event_id)
        if completed.refusal is not None:
            await self._runtime.durable(hot)
            raise InvalidArgument(completion.refusal_message(completed.refusal))
        eager = [
            self._task_starts.start_activity(
                hot, event_id, 0, request.identity, _build_id(hot, request), _eager_taker(hot)
            )
            for event_id in sorted(completed.eager_activities & hot.execution.activities.keys())
            if hot.execution.running
        ]
        next_task = self._take_next(hot, request, completed.new_task)
        await self._runtime.durable(hot)
        for given in eager:
            response.activity_tasks.append(self._activity_tasks.describe_task(given))
        if next_task is not None:
            response.workflow_task.CopyFrom(await self.describe_task(next_task))
        return response

    def _take_next(
        self, hot: HotRun, request: RespondWorkflowTaskCompletedRequest, new_task: bool
    ) -> StartedWorkflowTask | None:
        """The next task, if the worker asked to have it with the reply and no one else took it."""
        task = hot.execution.workflow_task
        if not (request.return_new_workflow_task and new_task) or not task.scheduled_event_id:
            return None
        if task.started_event_id:
            return None
        if versioning.transition_of(hot.execution) is not None:
            return None  # the next task is another version's
        assigned = older_versioning.assigned_to(hot.execution)
        stamp = request.worker_version_stamp
        if stamp.use_versioning and assigned not in ("", stamp.build_id):
            return None  # or another build id's
        return self._start(hot, request.identity, _build_id(hot, request), as_sticky=True)

    def _start(self, hot: HotRun, identity: str, build_id: str, *, as_sticky: bool) -> StartedWorkflowTask:
        task = hot.execution.workflow_task
        started = self._task_starts.start_workflow_task(
            hot,
            task.scheduled_event_id,
            task.dispatch,
            identity,
            build_id,
            Taker(
                versioning.effective_version(hot.execution),
                target_revision=-1,
                build=older_versioning.assigned_to(hot.execution),
            ),
            WITH_A_REPLY if as_sticky else "",
        )
        if as_sticky:
            started.sticky = True
            started.tail = hot.tail_from(started.previous_started_event_id + 1, started.last_event_id)
        return started

    def start_eagerly(self, hot: HotRun, identity: str) -> StartedWorkflowTask | None:
        """Give the first workflow task to the client that starts the workflow, unless a poller has it."""
        task = hot.execution.workflow_task
        if not task.scheduled_event_id or task.started_event_id:
            return None
        return self._start(hot, identity, "", as_sticky=False)

    def eager_again(self, hot: HotRun) -> StartedWorkflowTask | None:
        """The first workflow task once more, if the client that it was given to has not answered it."""
        execution = hot.execution
        if execution.completed_workflow_tasks or not execution.started.eager_execution_accepted:
            return None
        if not execution.workflow_task_in_flight or execution.workflow_task.attempt > 1:
            return None
        return as_started(hot)

    def _answer_queries(self, hot: HotRun, request: RespondWorkflowTaskCompletedRequest) -> None:
        for query in list(hot.queries):
            result = request.query_results.get(query.query_id)
            if result is not None:
                self._runtime.queries.answer(query, result)
                hot.queries.remove(query)
        if hot.execution.has_pending_workflow_task:
            return
        # No task is coming that could carry the others: each becomes a task of its own.
        waiting, hot.queries = hot.queries, []
        for query in waiting:
            query.taken.clear()
            self.offer_query(query)

    def offer_query(self, query: PendingQuery) -> None:
        """Send a query to a worker: the sticky one if it lives."""
        sticky = query.hot.execution.volatile.sticky
        key_namespace = query.hot.execution.key.namespace_id
        query.sticky = bool(sticky.queue) and self._runtime.queues.has_live_worker(
            _queue_key(key_namespace, sticky.queue)
        )
        self._matching.offer_query(
            query, sticky.queue if query.sticky else workflow_task.normal_queue(query.hot.execution)
        )

    def offer_query_to_normal(self, query: PendingQuery) -> None:
        """Send a query to any worker of the run's normal queue."""
        self._matching.offer_query(query, workflow_task.normal_queue(query.hot.execution))

    # --- failed ---

    async def respond_workflow_task_failed(
        self, request: RespondWorkflowTaskFailedRequest, context: CallContext
    ) -> RespondWorkflowTaskFailedResponse:
        """A worker could not carry its task out."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_identity(request.identity, self._runtime.limits)
        hot, token = await self._in_flight(namespace, request.task_token)
        if not hot.execution.running:
            raise RunClosed("workflow execution already completed")
        with self._runtime.transition(hot) as turn:
            workflow_task.require_in_flight(
                hot.execution,
                token.scheduled_event_id,
                token.started_event_id,
                token.attempt,
                token.started_time,
            )
            if request.cause == _Cause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE:
                close.terminate(turn, reason="GrpcMessageTooLarge", details=None, identity="history-service")
            else:
                workflow_task.fail(
                    turn,
                    cause=request.cause,
                    failure=request.failure if request.HasField("failure") else None,
                    identity=request.identity,
                    binary_checksum=request.binary_checksum,
                    worker_version=request.worker_version if request.HasField("worker_version") else None,
                )
        await self._runtime.durable(hot)
        return RespondWorkflowTaskFailedResponse()

    async def reset_sticky_task_queue(
        self, request: ResetStickyTaskQueueRequest, context: CallContext
    ) -> ResetStickyTaskQueueResponse:
        """Send the run's next workflow tasks to its normal queue."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.execution)
        hot = await self._runtime.find(namespace, request.execution.workflow_id, request.execution.run_id)
        if not hot.execution.running:
            raise RunClosed("workflow execution already completed")
        with self._runtime.transition(hot) as turn:
            hot.execution.volatile.sticky = Sticky()
            turn.dirty = True
        await self._runtime.durable(hot)
        return ResetStickyTaskQueueResponse()

    # --- answers to queries ---

    async def respond_query_task_completed(
        self, request: RespondQueryTaskCompletedRequest, context: CallContext
    ) -> RespondQueryTaskCompletedResponse:
        """A worker answers a query."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.task_token:
            raise InvalidArgument("Task token not set on request.")
        token = self._runtime.tokens.read(
            request.task_token, QUERY_TASK, namespace.namespace_id, QueryTaskToken
        )
        query = self._runtime.queries.find(token.query_id)
        if query is None:
            raise NotFound("query task not found, or already expired", NotFoundFailure())
        result = WorkflowQueryResult(result_type=request.completed_type, error_message=request.error_message)
        if request.HasField("query_result"):
            result.answer.CopyFrom(request.query_result)
        if request.HasField("failure"):
            result.failure.CopyFrom(request.failure)
        if result.result_type == QueryResultType.QUERY_RESULT_TYPE_UNSPECIFIED:
            raise InvalidArgument("Invalid query result type.")
        self._runtime.queries.answer(query, result)
        return RespondQueryTaskCompletedResponse()

    # --- shared ---

    async def _in_flight(self, namespace: Namespace, task_token: bytes) -> tuple[HotRun, WorkflowTaskToken]:
        if not task_token:
            raise InvalidArgument("Task token not set on request.")
        token: WorkflowTaskToken = self._runtime.tokens.read(
            task_token, WORKFLOW_TASK, namespace.namespace_id, WorkflowTaskToken
        )
        return await self._runtime.find(namespace, token.workflow_id, token.run_id), token


def _queue_key(namespace_id: str, name: str) -> QueueKey:
    return QueueKey(namespace_id, name, rows.WORKFLOW_TASK)


def _ids(hot: HotRun) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=hot.execution.key.workflow_id, run_id=hot.run_id)


def _build_id(hot: HotRun, request: RespondWorkflowTaskCompletedRequest) -> str:
    """What events say of the worker's build; nothing, where it is in a set or a deployment."""
    if request.worker_version_stamp.use_versioning and not request.HasField("deployment_options"):
        return older_versioning.assigned_to(hot.execution)
    return request.worker_version_stamp.build_id


def _eager_taker(hot: HotRun) -> Taker:
    """Activities that a worker gets with the reply are its run's version's."""
    return Taker(
        versioning.effective_version(hot.execution), build=older_versioning.assigned_to(hot.execution)
    )


def _check_sequence(request: RespondWorkflowTaskCompletedRequest) -> None:
    """A command that closes the run must be the last one."""
    for index, command in enumerate(request.commands):
        if command.command_type in command_checks.CLOSING and index != len(request.commands) - 1:
            names = [_command_name(c.command_type) for c in request.commands]
            raise InvalidArgument(
                f"invalid command sequence: [{', '.join(names)}], command {names[index]} must be the last command."
            )


def _command_name(command_type: CommandType.ValueType) -> str:
    return enum_names.camel(CommandType, command_type, "COMMAND_TYPE_")


def _eager(hot: HotRun) -> Callable[[ScheduleActivityTaskCommandAttributes], bool]:
    """Which activities the worker gets with the reply: those it asked for, on its own queue."""
    own = hot.execution.started.task_queue.name

    def decide(attributes: ScheduleActivityTaskCommandAttributes) -> bool:
        if older_versioning.is_used(hot.execution) and not attributes.use_workflow_build_id:
            return False
        return attributes.request_eager_execution and attributes.task_queue.name in ("", own)

    return decide
