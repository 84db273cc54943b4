"""Nexus as an application sees it: the official SDK's service handlers and clients in workflows, unmodified."""

import asyncio
import uuid
from datetime import timedelta

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import nexus, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError, NexusOperationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from .nexus import create_endpoint, delete_endpoint
from .raw import Scenario
from .workers import sdk_worker


@nexusrpc.service
class Greeting:
    greet: nexusrpc.Operation[str, str]
    refuse: nexusrpc.Operation[str, str]
    stumble: nexusrpc.Operation[str, str]
    work: nexusrpc.Operation[str, str]


@workflow.defn
class Work:
    @workflow.run
    async def run(self, what: str) -> str:
        if what == "fail":
            raise ApplicationError("no luck", type="NoLuck", non_retryable=True)
        if what == "wait":
            await asyncio.sleep(3600)
        return f"did {what}"


STUMBLED: dict[str, int] = {}


@service_handler(service=Greeting)
class GreetingHandler:
    @sync_operation
    async def greet(self, ctx: StartOperationContext, name: str) -> str:
        return f"hello {name}"

    @sync_operation
    async def refuse(self, ctx: StartOperationContext, name: str) -> str:
        raise nexusrpc.OperationError(f"not {name}", state=nexusrpc.OperationErrorState.FAILED)

    @sync_operation
    async def stumble(self, ctx: StartOperationContext, name: str) -> str:
        STUMBLED[name] = STUMBLED.get(name, 0) + 1
        if STUMBLED[name] == 1:
            raise nexusrpc.HandlerError("not now", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        return f"hello {name}, at last"

    @nexus.workflow_run_operation
    async def work(self, ctx: nexus.WorkflowRunOperationContext, what: str) -> nexus.WorkflowHandle[str]:
        return await ctx.start_workflow(Work.run, what, id=f"work-{ctx.request_id}")


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, endpoint: str, operation: str, value: str) -> str:
        client = workflow.create_nexus_client(service=Greeting, endpoint=endpoint)
        return await client.execute_operation(
            operation, value, schedule_to_close_timeout=timedelta(seconds=60), output_type=str
        )


@workflow.defn
class Canceller:
    @workflow.run
    async def run(self, endpoint: str) -> str:
        client = workflow.create_nexus_client(service=Greeting, endpoint=endpoint)
        handle = await client.start_operation(Greeting.work, "wait")
        assert handle.operation_token
        handle.cancel()
        try:
            return await handle
        except NexusOperationError as error:
            return type(error.cause).__name__


def worker(s: Scenario):  # type: ignore[no-untyped-def]
    return sdk_worker(s, workflows=[Caller, Canceller, Work], nexus_service_handlers=[GreetingHandler()])


async def call(s: Scenario, endpoint: str, operation: str, value: str) -> str:
    return await s.client.execute_workflow(
        Caller.run, args=[endpoint, operation, value], id=s.id(str(uuid.uuid4())), task_queue=s.tq
    )


async def test_operations(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    async with worker(s):
        assert await call(s, endpoint.spec.name, "greet", "you") == "hello you"
        assert await call(s, endpoint.spec.name, "stumble", s.prefix) == f"hello {s.prefix}, at last"
        assert await call(s, endpoint.spec.name, "work", "much") == "did much"
        with pytest.raises(WorkflowFailureError) as refused:
            await call(s, endpoint.spec.name, "refuse", "you")
        assert isinstance(refused.value.cause, NexusOperationError)
        assert "not you" in str(refused.value.cause.cause)
        with pytest.raises(WorkflowFailureError) as failed:
            await call(s, endpoint.spec.name, "work", "fail")
        assert isinstance(failed.value.cause, NexusOperationError)
        cause = failed.value.cause.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.message) == ("NoLuck", "no luck")
    await delete_endpoint(s, endpoint)


async def test_workflow_run_operation_is_linked_both_ways(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    async with worker(s):
        caller = await s.client.start_workflow(
            Caller.run, args=[endpoint.spec.name, "work", "much"], id=s.wf, task_queue=s.tq
        )
        assert await caller.result() == "did much"
        history = await caller.fetch_history()
        by_type = {event.event_type: event for event in history.events}
        begun = by_type[EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED]
        scheduled = by_type[EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED]
        (there,) = begun.links
        target = s.client.get_workflow_handle(
            there.workflow_event.workflow_id, run_id=there.workflow_event.run_id
        )
        (back,) = [
            link
            async for event in target.fetch_history_events()
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
            for link in (
                list(event.links)
                or [
                    link
                    for callback in event.workflow_execution_started_event_attributes.completion_callbacks
                    for link in callback.links
                ]
            )
        ]
        assert back.workflow_event.workflow_id == s.wf
        assert back.workflow_event.run_id == caller.first_execution_run_id
        assert back.workflow_event.event_ref.event_id == scheduled.event_id
    replayer = Replayer(workflows=[Caller], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(history)


async def test_cancellation_reaches_the_workflow_behind(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    async with worker(s):
        caller = await s.client.start_workflow(Canceller.run, endpoint.spec.name, id=s.wf, task_queue=s.tq)
        assert await caller.result() == CancelledError.__name__
        begun = next(
            event
            for event in (await caller.fetch_history()).events
            if event.event_type == EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED
        )
        link = begun.links[0].workflow_event
        target = s.client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        assert (await target.describe()).status == WorkflowExecutionStatus.CANCELED
