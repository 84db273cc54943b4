"""One scenario's view of a server: hand-made calls under ids of its own, and a worker that is driven by hand."""

import uuid
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import HistoryEventFilterType, QueryResultType, TaskQueueKind
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from .commands import failure, payloads, seconds, with_durations
from .histories import history_text
from .rendering import IDENTITY, Names, error, render
from .snapshots import expect

POLL_SECONDS = 30.0
"""How long a poll waits for the task that the scenario knows to come."""

CLOSE_SECONDS = 15.0
"""How long a scenario waits for the close that it knows to come."""

CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT

WorkflowTask = ws.PollWorkflowTaskQueueResponse
ActivityTask = ws.PollActivityTaskQueueResponse


class Scenario:
    """Raw calls about the workflow `wf` on the task queue `tq`, both unique to this test."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.namespace = client.namespace
        self.service = client.workflow_service
        self.names = Names(prefix, client.namespace)
        self.prefix = prefix
        self.wf = self.id("wf")
        self.tq = self.id("tq")
        self.started: list[str] = [self.wf]

    def id(self, role: str) -> str:
        """A unique id that is shown as its role."""
        return f"{self.prefix}:{role}"

    # Clients

    def start_request(self, **fields: Any) -> ws.StartWorkflowExecutionRequest:
        """A valid start request, with the given fields changed (timeouts in seconds)."""
        fields = with_durations(fields)
        usual: dict[str, Any] = {
            "namespace": self.namespace,
            "workflow_id": self.wf,
            "workflow_type": WorkflowType(name="demo"),
            "task_queue": TaskQueue(name=self.tq),
            "identity": IDENTITY,
            "request_id": str(uuid.uuid4()),
        }
        self.started.append(fields.get("workflow_id", self.wf))
        return ws.StartWorkflowExecutionRequest(**(usual | fields))

    async def start(self, **fields: Any) -> ws.StartWorkflowExecutionResponse:
        """Start a workflow."""
        return await self.service.start_workflow_execution(self.start_request(**fields))

    async def signal(
        self, name: str = "sig", *values: Any, workflow_id: str = "", run_id: str = "", request_id: str = ""
    ) -> None:
        """Signal a workflow."""
        await self.service.signal_workflow_execution(
            ws.SignalWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(workflow_id, run_id),
                signal_name=name,
                input=payloads(*values) if values else None,
                identity=IDENTITY,
                request_id=request_id or str(uuid.uuid4()),
            )
        )

    async def signal_with_start(self, **fields: Any) -> ws.SignalWithStartWorkflowExecutionResponse:
        """Signal a workflow, starting it where it is not running."""
        usual: dict[str, Any] = {
            "namespace": self.namespace,
            "workflow_id": self.wf,
            "workflow_type": WorkflowType(name="demo"),
            "task_queue": TaskQueue(name=self.tq),
            "identity": IDENTITY,
            "request_id": str(uuid.uuid4()),
            "signal_name": "sig",
        }
        return await self.service.signal_with_start_workflow_execution(
            ws.SignalWithStartWorkflowExecutionRequest(**(usual | with_durations(fields)))
        )

    async def request_cancel(self, workflow_id: str = "", run_id: str = "", **fields: Any) -> None:
        """Ask a workflow to cancel."""
        fields.setdefault("request_id", str(uuid.uuid4()))
        await self.service.request_cancel_workflow_execution(
            ws.RequestCancelWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(workflow_id, run_id),
                identity=IDENTITY,
                **fields,
            )
        )

    async def terminate(self, workflow_id: str = "", run_id: str = "", **fields: Any) -> None:
        """Terminate a workflow."""
        await self.service.terminate_workflow_execution(
            ws.TerminateWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(workflow_id, run_id),
                identity=IDENTITY,
                **fields,
            )
        )

    async def delete(self, workflow_id: str = "", run_id: str = "") -> None:
        """Delete a workflow."""
        await self.service.delete_workflow_execution(
            ws.DeleteWorkflowExecutionRequest(
                namespace=self.namespace, workflow_execution=self.execution(workflow_id, run_id)
            )
        )

    async def describe(self, workflow_id: str = "", run_id: str = "") -> ws.DescribeWorkflowExecutionResponse:
        """Describe a workflow."""
        return await self.service.describe_workflow_execution(
            ws.DescribeWorkflowExecutionRequest(
                namespace=self.namespace, execution=self.execution(workflow_id, run_id)
            )
        )

    async def query(
        self,
        kind: str = "q",
        *values: Any,
        workflow_id: str = "",
        run_id: str = "",
        timeout: float = 15,
        **fields: Any,
    ) -> ws.QueryWorkflowResponse:
        """Query a workflow."""
        return await self.service.query_workflow(
            ws.QueryWorkflowRequest(
                namespace=self.namespace,
                execution=self.execution(workflow_id, run_id),
                query=WorkflowQuery(query_type=kind, query_args=payloads(*values) if values else None),
                **fields,
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def history(self, workflow_id: str = "", run_id: str = "", **fields: Any) -> list[HistoryEvent]:
        """The whole history of a run, page by page."""
        events: list[HistoryEvent] = []
        token = b""
        while True:
            page = await self.history_page(workflow_id, run_id, next_page_token=token, **fields)
            events += page.history.events
            token = page.next_page_token
            if not token:
                return events

    async def history_page(
        self, workflow_id: str = "", run_id: str = "", *, timeout: float = 20, **fields: Any
    ) -> ws.GetWorkflowExecutionHistoryResponse:
        """One page of a history."""
        return await self.service.get_workflow_execution_history(
            ws.GetWorkflowExecutionHistoryRequest(
                namespace=self.namespace, execution=self.execution(workflow_id, run_id), **fields
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def closed(self, workflow_id: str = "", run_id: str = "") -> HistoryEvent:
        """Wait until a run is closed; its closing event. Fails when it stays open."""
        page = await self.history_page(
            workflow_id,
            run_id,
            wait_new_event=True,
            history_event_filter_type=CLOSE_EVENT,
            timeout=CLOSE_SECONDS,
        )
        assert page.history.events, "the workflow did not close"
        return page.history.events[-1]

    # The worker

    async def poll(
        self, queue: str = "", *, sticky_of: str = "", timeout: float = POLL_SECONDS
    ) -> WorkflowTask:
        """The next workflow task of a queue; fails when none comes."""
        task = await self.poll_once(queue, sticky_of=sticky_of, timeout=timeout)
        assert task.task_token, "no workflow task came"
        return task

    async def poll_once(
        self, queue: str = "", *, sticky_of: str = "", timeout: float = POLL_SECONDS
    ) -> WorkflowTask:
        """One poll, which may come back empty."""
        kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY if sticky_of else TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        return await self.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(
                namespace=self.namespace,
                task_queue=TaskQueue(name=queue or self.tq, kind=kind, normal_name=sticky_of),
                identity=IDENTITY,
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def complete(
        self,
        task: WorkflowTask | bytes,
        *commands: Command,
        sticky: str = "",
        sticky_timeout: float = 10,
        **fields: Any,
    ) -> ws.RespondWorkflowTaskCompletedResponse:
        """Answer a workflow task with commands."""
        if sticky:
            queue = TaskQueue(name=sticky, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=self.tq)
            fields["sticky_attributes"] = StickyExecutionAttributes(
                worker_task_queue=queue, schedule_to_start_timeout=seconds(sticky_timeout)
            )
        return await self.service.respond_workflow_task_completed(
            ws.RespondWorkflowTaskCompletedRequest(
                namespace=self.namespace,
                task_token=task if isinstance(task, bytes) else task.task_token,
                commands=commands,
                identity=IDENTITY,
                **fields,
            )
        )

    async def step(self, *commands: Command, **fields: Any) -> WorkflowTask:
        """Take the next workflow task and answer it."""
        task = await self.poll()
        await self.complete(task, *commands, **fields)
        return task

    async def fail_task(self, task: WorkflowTask, **fields: Any) -> None:
        """Fail a workflow task."""
        fields.setdefault("failure", failure("broken task"))
        await self.service.respond_workflow_task_failed(
            ws.RespondWorkflowTaskFailedRequest(
                namespace=self.namespace, task_token=task.task_token, identity=IDENTITY, **fields
            )
        )

    async def answer_query(self, task: WorkflowTask, *values: Any, error: str = "", **fields: Any) -> None:
        """Answer a task that carries only a query."""
        answered, failed = (
            QueryResultType.QUERY_RESULT_TYPE_ANSWERED,
            QueryResultType.QUERY_RESULT_TYPE_FAILED,
        )
        await self.service.respond_query_task_completed(
            ws.RespondQueryTaskCompletedRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                completed_type=failed if error else answered,
                query_result=payloads(*values) if values else None,
                error_message=error,
                **fields,
            )
        )

    async def poll_activity(self, queue: str = "", *, timeout: float = POLL_SECONDS) -> ActivityTask:
        """The next activity task of a queue; fails when none comes."""
        task = await self.service.poll_activity_task_queue(
            ws.PollActivityTaskQueueRequest(
                namespace=self.namespace, task_queue=TaskQueue(name=queue or self.tq), identity=IDENTITY
            ),
            timeout=timedelta(seconds=timeout),
        )
        assert task.task_token, "no activity task came"
        return task

    async def complete_activity(self, task: ActivityTask | bytes, *values: Any) -> None:
        """Complete an activity."""
        await self.service.respond_activity_task_completed(
            ws.RespondActivityTaskCompletedRequest(
                namespace=self.namespace,
                task_token=task if isinstance(task, bytes) else task.task_token,
                result=payloads(*values) if values else None,
                identity=IDENTITY,
            )
        )

    async def fail_activity(self, task: ActivityTask, why: Failure | None = None, **fields: Any) -> None:
        """Fail an activity."""
        await self.service.respond_activity_task_failed(
            ws.RespondActivityTaskFailedRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                failure=why or failure(),
                identity=IDENTITY,
                **fields,
            )
        )

    async def cancel_activity(self, task: ActivityTask, *details: Any) -> None:
        """Report an activity as cancelled."""
        await self.service.respond_activity_task_canceled(
            ws.RespondActivityTaskCanceledRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                details=payloads(*details) if details else None,
                identity=IDENTITY,
            )
        )

    async def heartbeat(self, task: ActivityTask, *details: Any) -> ws.RecordActivityTaskHeartbeatResponse:
        """Heartbeat an activity."""
        return await self.service.record_activity_task_heartbeat(
            ws.RecordActivityTaskHeartbeatRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                details=payloads(*details) if details else None,
                identity=IDENTITY,
            )
        )

    # Expectations

    def execution(self, workflow_id: str = "", run_id: str = "") -> WorkflowExecution:
        """The named execution, `wf` unless told."""
        return WorkflowExecution(workflow_id=workflow_id or self.wf, run_id=run_id)

    async def expect_history(self, text: str, *, workflow_id: str = "", run_id: str = "") -> None:
        """A run's history is this."""
        expect(history_text(await self.history(workflow_id, run_id), self.names), text)

    def history_lines(self, events: Sequence[HistoryEvent]) -> list[str]:
        """The events as they stand in expectations, a line each."""
        return history_text(events, self.names).splitlines()

    def expect_events(self, events: Sequence[HistoryEvent], text: str) -> None:
        """These events are these."""
        expect(history_text(events, self.names), text)

    def expect_message(self, message: Any, text: str, *, hide: Sequence[str] = ()) -> None:
        """A reply is this, volatile fields aside."""
        expect(render(message, self.names, frozenset(hide)), text)

    async def expect_refusal(self, call: Awaitable[Any], text: str) -> None:
        """A call is refused with this status, message and detail."""
        try:
            await call
        except RPCError as caught:
            expect(error(caught, self.names), text)
            return
        expect("accepted", text)

    async def expect_refusal_of(self, outcomes: dict[str, str], case: str, call: Awaitable[Any]) -> None:
        """Note how a call is refused, for an expectation of many cases."""
        try:
            await call
        except RPCError as caught:
            outcomes[case] = error(caught, self.names).replace("\n", " |")
            return
        outcomes[case] = "accepted"

    async def clean_up(self) -> None:
        """End what the scenario left running, so that no task of it is retried for ever."""
        for workflow_id in dict.fromkeys(self.started):
            try:
                await self.terminate(workflow_id)
            except RPCError as caught:
                if caught.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                    raise
