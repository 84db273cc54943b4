"""The two sides of an update as raw calls: the caller's, and the worker's protocol messages."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.failure.v1 import Failure
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import (
    Acceptance,
    Input,
    Meta,
    Outcome,
    Rejection,
    Request,
    Response,
    UpdateRef,
    WaitPolicy,
)
from temporalio.api.workflowservice import v1 as ws
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario, WorkflowTask
from .rendering import error

Stage = UpdateWorkflowExecutionLifecycleStage
ADMITTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def update_request(s: Scenario, update_id: str = "u", **fields: Any) -> ws.UpdateWorkflowExecutionRequest:
    """A valid request, with the given fields changed; `stage` is what its caller waits for."""
    stage = fields.pop("stage", COMPLETED)
    usual: dict[str, Any] = {
        "namespace": s.namespace,
        "workflow_execution": s.execution(fields.pop("workflow_id", ""), fields.pop("run_id", "")),
        "wait_policy": WaitPolicy(lifecycle_stage=stage),
        "request": Request(
            meta=Meta(update_id=update_id, identity="caller"),
            input=Input(name="change", args=c.payloads("argument")),
        ),
    }
    return ws.UpdateWorkflowExecutionRequest(**(usual | fields))


def sent(
    s: Scenario, update_id: str = "u", *, timeout: float = 15, **fields: Any
) -> "asyncio.Task[ws.UpdateWorkflowExecutionResponse]":
    """An update on its way: its caller waits."""
    request = update_request(s, update_id, **fields)
    return asyncio.create_task(
        s.service.update_workflow_execution(request, timeout=timedelta(seconds=timeout))  # type: ignore[arg-type]
    )


async def polled(
    s: Scenario, update_id: str = "u", *, stage: int = COMPLETED, timeout: float = 15, **execution: str
) -> ws.PollWorkflowExecutionUpdateResponse:
    """Wait for an update that was sent before."""
    request = ws.PollWorkflowExecutionUpdateRequest(
        namespace=s.namespace,
        update_ref=UpdateRef(workflow_execution=s.execution(**execution), update_id=update_id),
        wait_policy=WaitPolicy(lifecycle_stage=Stage.ValueType(stage)),
    )
    return await s.service.poll_workflow_execution_update(request, timeout=timedelta(seconds=timeout))


def message(update_id: str, kind: str, body: Acceptance | Rejection | Response) -> Message:
    """A protocol message of a worker."""
    made = Message(id=f"{update_id}/{kind}", protocol_instance_id=update_id)
    made.body.Pack(body)
    return made


def accept(task: WorkflowTask, update_id: str = "u", **fields: Any) -> Message:
    """The worker accepts an update that `task` brought."""
    brought = next(m for m in task.messages if m.protocol_instance_id == update_id)
    request = Request()
    brought.body.Unpack(request)
    usual: dict[str, Any] = {
        "accepted_request_message_id": brought.id,
        "accepted_request_sequencing_event_id": brought.event_id,
        "accepted_request": request,
    }
    return message(update_id, "accept", Acceptance(**(usual | fields)))


def reject(task: WorkflowTask, update_id: str = "u", text: str = "no") -> Message:
    """The worker rejects an update that `task` brought."""
    brought = next(m for m in task.messages if m.protocol_instance_id == update_id)
    request = Request()
    brought.body.Unpack(request)
    return message(
        update_id,
        "reject",
        Rejection(
            rejected_request_message_id=brought.id,
            rejected_request_sequencing_event_id=brought.event_id,
            rejected_request=request,
            failure=Failure(message=text, application_failure_info=c.failure(text).application_failure_info),
        ),
    )


def respond(update_id: str = "u", value: Any = "changed", *, failed: str = "") -> Message:
    """The worker's update handler came to its end."""
    outcome = Outcome(failure=c.failure(failed)) if failed else Outcome(success=c.payloads(value))
    return message(update_id, "complete", Response(meta=Meta(update_id=update_id), outcome=outcome))


def at(wanted: Message) -> Command:
    """The command that stands where `wanted` is to be carried out."""
    made = Command(command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
    made.protocol_message_command_attributes.message_id = wanted.id
    return made


def brought(s: Scenario, task: WorkflowTask) -> str:
    """The messages of a task, and the last event that came with it."""
    lines = [f"{m.id} of {m.protocol_instance_id} at {m.event_id}" for m in task.messages]
    return "\n".join([*lines, *s.history_lines(task.history.events)[-3:]])


async def told(
    s: Scenario,
    call: "asyncio.Task[ws.UpdateWorkflowExecutionResponse] | Any",
) -> str:
    """What a caller was told, as text."""
    try:
        reply = await call
    except RPCError as caught:
        return error(caught, s.names)
    stage = Stage.Name(reply.stage).removeprefix("UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_")
    if reply.outcome.HasField("success"):
        return f"{stage}: {[p.data.decode() for p in reply.outcome.success.payloads]}"
    if reply.outcome.HasField("failure"):
        failure = reply.outcome.failure
        return (
            f"{stage}: failed: {failure.message} ({failure.application_failure_info.type}, {failure.source})"
        )
    return stage
