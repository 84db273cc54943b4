"""Workflows and activities that move payloads in every way that Temporal knows, each marked with the way's name."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import nexusrpc
from nexusrpc.handler import service_handler, sync_operation
from temporalio import activity, nexus, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, NexusOperationError

SOON = timedelta(milliseconds=50)
LONG = timedelta(seconds=30)
ENDPOINT = "moves"


@activity.defn
async def act(text: str) -> str:
    """Does what `text` says; the marks are its input and what it gives back."""
    info = activity.info()
    if "fail" in text:
        message = {"mover": "<activity-failure>", None: "<standalone-failure>"}.get(
            info.workflow_id, "failed"
        )
        raise ApplicationError(message, message, non_retryable=True)
    if "heartbeat" in text:
        if "timeout" in text:
            activity.heartbeat("<activity-timeout-heartbeat>")
            await asyncio.sleep(30)
        if info.attempt == 1:
            activity.heartbeat("<activity-heartbeat>")
            # Core sends the first heartbeat of an attempt at once; give it the time to.
            await asyncio.sleep(0.2)
            raise ApplicationError("once more")
        return f"{list(info.heartbeat_details)}"
    if "async" in text:
        activity.raise_complete_async()
    if info.workflow_id is None:
        return "<standalone-result>"
    return "<reset-activity-result>" if "reset" in text else "<activity-result>"


@activity.defn
async def local(_text: str) -> str:
    """For local execution."""
    return "<local-activity-result>"


def has(error: BaseException, mark: str) -> None:
    """Check what came back of a failure."""
    assert mark in str(error.__cause__)


@workflow.defn
class Echo:
    """Gives back what it is told to, from a signal if it is told to wait for one."""

    def __init__(self) -> None:
        self.signalled: str | None = None

    @workflow.run
    async def run(self, text: str) -> str:
        info = workflow.info()
        if "wait" in text:
            await workflow.wait_condition(lambda: self.signalled is not None)
        if "child-fails" in text:
            raise ApplicationError("<child-failure>", "<child-failure>")
        if text == "continue":
            workflow.continue_as_new("<continued-input>", memo={"memo": "<continued-memo>"})
        if "cron" in text:
            last: str | None = workflow.get_last_completion_result(type_hint=str)
            return "<cron-result>" if last is None else "second"
        if "schedule" in text:
            return "<schedule-result>"
        if "again" in text:
            if info.attempt == 1:
                raise ApplicationError("<retry-failure>", "<retry-failure>")
            assert "<retry-failure>" in str(workflow.get_last_failure())
        if "reset" in text:
            await workflow.execute_activity(act, "reset", start_to_close_timeout=LONG)
        if "child" in text:
            return "<child-result>"
        return "<nexus-async-result>" if "nexus" in text else "done"

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signalled = text

    @workflow.update
    async def change(self, text: str) -> str:
        return text.upper()


@nexusrpc.service
class Service:
    """Operations of both kinds."""

    at_once: nexusrpc.Operation[str, str]
    by_workflow: nexusrpc.Operation[str, str]


@service_handler(service=Service)
class Handler:
    """Answers itself, or has a workflow answer."""

    @sync_operation
    async def at_once(self, _ctx: nexusrpc.handler.StartOperationContext, text: str) -> str:
        if "fail" in text:
            raise nexusrpc.OperationError("<nexus-failure>", state=nexusrpc.OperationErrorState.FAILED)
        return "<client-nexus-result>" if "client" in text else "<nexus-sync-result>"

    @nexus.workflow_run_operation
    async def by_workflow(
        self, ctx: nexus.WorkflowRunOperationContext, _text: str
    ) -> nexus.WorkflowHandle[str]:
        return await ctx.start_workflow(Echo.run, "nexus", id="nexus-handler")


@workflow.defn
class Mover:
    """Uses everything that a workflow can use."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, _text: str) -> str:
        for text in ("<activity-input>", "heartbeat"):
            await workflow.execute_activity(
                act,
                text,
                start_to_close_timeout=LONG,
                summary="<activity-summary>",
                retry_policy=RetryPolicy(initial_interval=SOON),
            )
        await workflow.execute_local_activity(local, "<local-activity-input>", start_to_close_timeout=LONG)
        await self.fails()
        await self.children()
        await self.nexus()
        workflow.upsert_memo({"upserted": "<memo-upserted>"})
        for name in ("async-1", "async-2"):
            await workflow.execute_activity(act, "async", activity_id=name, start_to_close_timeout=LONG)
        await workflow.wait_condition(lambda: self.done)
        return "<workflow-result>"

    async def fails(self) -> None:
        once = RetryPolicy(maximum_attempts=1)
        for text in ("fail", "timeout heartbeat"):
            try:
                await workflow.execute_activity(
                    act, text, start_to_close_timeout=timedelta(seconds=1), retry_policy=once
                )
            except ActivityError as error:
                has(error, "<activity-failure>" if text == "fail" else "")

    async def children(self) -> None:
        child = await workflow.start_child_workflow(
            Echo.run,
            "<child-input> wait child",
            id="child",
            memo={"memo": "<child-memo>"},
            static_summary="<child-summary>",
            static_details="<child-summary>",
        )
        await child.signal(Echo.tell, "<child-signal>")
        await child
        failing = await workflow.start_child_workflow(Echo.run, "wait child-fails", id="failing-child")
        other: workflow.ExternalWorkflowHandle[Echo] = workflow.get_external_workflow_handle("failing-child")
        await other.signal(Echo.tell, "<external-signal>")
        try:
            await failing
        except ChildWorkflowError as error:
            has(error, "<child-failure>")

    async def nexus(self) -> None:
        await workflow.signal_with_start_workflow(
            Echo.run,
            "<workflow-signal-with-start-input> wait",
            id="started-by-signal",
            task_queue=workflow.info().task_queue,
            signal=Echo.tell,
            signal_args=["<workflow-signal-with-start-signal>"],
        )
        client = workflow.create_nexus_client(service=Service, endpoint=ENDPOINT)
        await client.execute_operation(Service.at_once, "<nexus-input>")
        try:
            await client.execute_operation(Service.at_once, "fail")
        except NexusOperationError as error:
            has(error, "<nexus-failure>")
        assert await client.execute_operation(Service.by_workflow, "go") == "<nexus-async-result>"

    @workflow.signal
    def finish(self, _text: str) -> None:
        self.done = True

    @workflow.query
    def ask(self, _text: str) -> str:
        return "<query-result>"

    @workflow.update
    async def change(self, text: str) -> str:
        if "refuse" in text:
            raise ApplicationError("<update-failure>", "<update-failure>")
        return "<update-result>"


@workflow.defn
class Failing:
    """Fails with a failure that has a cause."""

    @workflow.run
    async def run(self, _text: str) -> None:
        try:
            await workflow.execute_activity(act, "fail", start_to_close_timeout=LONG)
        except ActivityError as error:
            raise ApplicationError("<workflow-failure>", "<workflow-failure>") from error


WORKFLOWS = [Echo, Mover, Failing]
ACTIVITIES = [act, local]
