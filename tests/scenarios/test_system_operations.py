"""Nexus operations of the service itself: a workflow signals another one, and starts it if it is not there."""

from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Link, Payload, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .nexus import links_text, schedule
from .raw import Scenario
from .rendering import IDENTITY, error, render
from .snapshots import expect

SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
OPERATION = "SignalWithStartWorkflowExecution"


def enveloped(message: Message) -> Payload:
    """A request of an operation of the service, as SDKs write it."""
    return Payload(
        metadata={
            "encoding": b"binary/protobuf",
            "messageType": message.DESCRIPTOR.full_name.encode(),
            "__temporal_system_payload": b"true",
        },
        data=message.SerializeToString(),
    )


def request(s: Scenario, **fields: Any) -> ws.SignalWithStartWorkflowExecutionRequest:
    """A valid request, with the given fields changed."""
    usual: dict[str, Any] = {
        "namespace": s.namespace,
        "workflow_id": s.id("target"),
        "workflow_type": WorkflowType(name="target"),
        "task_queue": TaskQueue(name=s.id("target-tq")),
        "identity": IDENTITY,
        "input": c.payloads("in"),
        "signal_name": "sig",
        "signal_input": c.payloads("signalled"),
    }
    return ws.SignalWithStartWorkflowExecutionRequest(**(usual | fields))


def operation(message: Message | Payload, **fields: Any) -> Command:
    """The command."""
    usual = {"service": SERVICE, "operation": OPERATION}
    made = schedule("__temporal_system", **(usual | fields))
    payload = message if isinstance(message, Payload) else enveloped(message)
    made.schedule_nexus_operation_command_attributes.input.CopyFrom(payload)
    return made


async def test_signals_and_starts(s: Scenario) -> None:
    await s.start()
    await s.step(operation(request(s)))
    task = await s.poll()
    hidden = task.history.events[5].nexus_operation_completed_event_attributes
    reply = ws.SignalWithStartWorkflowExecutionResponse.FromString(hidden.result.data)
    expect(
        str(sorted((key, value) for key, value in hidden.result.metadata.items())),
        """
        [('encoding', b'binary/protobuf'), ('messageType',
              b'temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionResponse')]
    """,
    )
    expect(
        s.names.clean(str(reply).replace("\n", " ")),
        """
        run_id: "run1" started: true signal_link { workflow_event { namespace: "default" workflow_id: "target"
              run_id: "run1" request_id_ref { request_id: "run2" event_type:
              EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED } } }
    """,
    )
    expect(
        links_text(task.history.events[5].links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=target workflow_event.run_id=run1
                  workflow_event.request_id_ref.request_id=<id>
                  workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_SIGNALED
        """,
    )
    lines = [
        f"{e.event_id} {e.WhichOneof('attributes')} {links_text(e.links, s.names)}"
        for e in await s.history(s.id("target"))
    ]
    expect(
        "\n".join(lines),
        """
            1 workflow_execution_started_event_attributes workflow_event.namespace=default
                  workflow_event.workflow_id=wf workflow_event.run_id=run3 workflow_event.event_ref.event_id=5
                  workflow_event.event_ref.event_type=NEXUS_OPERATION_SCHEDULED
            2 workflow_execution_signaled_event_attributes workflow_event.namespace=default
                  workflow_event.workflow_id=wf workflow_event.run_id=run3 workflow_event.event_ref.event_id=5
                  workflow_event.event_ref.event_type=NEXUS_OPERATION_SCHEDULED
            3 workflow_task_scheduled_event_attributes
        """,
    )
    first, second = (await s.history(s.id("target")))[:2]
    expect(
        render(second.workflow_execution_signaled_event_attributes, s.names),
        """
            signal_name=sig input=['signalled'] identity=tester request_id=<id>
        """,
    )
    expect(
        render(first.workflow_execution_started_event_attributes, s.names),
        """
            workflow_type.name=target task_queue=target-tq input=['in'] workflow_task_timeout=10s
                  original_execution_run_id=run1 identity=tester first_execution_run_id=run1 attempt=1
                  first_workflow_task_backoff=0s workflow_id=target
        """,
    )
    await s.complete(task, operation(request(s, signal_name="again")))
    task = await s.poll()
    result = next(
        e.nexus_operation_completed_event_attributes.result
        for e in reversed(task.history.events)
        if e.HasField("nexus_operation_completed_event_attributes")
    )
    reply = ws.SignalWithStartWorkflowExecutionResponse.FromString(result.data)
    expect(
        str(reply.started),
        """
        False
    """,
    )
    lines = [str(e.WhichOneof("attributes")) for e in await s.history(s.id("target"))]
    expect(
        "\n".join(lines),
        """
        workflow_execution_started_event_attributes
        workflow_execution_signaled_event_attributes
        workflow_task_scheduled_event_attributes
        workflow_execution_signaled_event_attributes
    """,
    )
    await s.complete(task, c.complete())
    events = s.history_lines(await s.history())
    expect(
        "\n".join(line.split(" input=")[0] for line in events[4:6]),
        """
            5 NexusOperationScheduled endpoint=__temporal_system
                  service=temporal.api.workflowservice.v1.WorkflowService
                  operation=SignalWithStartWorkflowExecution
            6 NexusOperationCompleted scheduled_event_id=5 result=<171 bytes>{messageType:
                  temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionResponse} request_id=<id>
                  links=[{workflow_event.namespace=default workflow_event.workflow_id=target
                  workflow_event.run_id=run1 workflow_event.request_id_ref.request_id=<id>
                  workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_SIGNALED}]
        """,
    )


async def test_refused_by_the_service(s: Scenario) -> None:
    await s.start(workflow_id=s.id("target"), task_queue={"name": s.id("target-tq")})
    await s.complete(await s.poll(s.id("target-tq")), c.complete())
    await s.start()
    reuse = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    await s.step(operation(request(s, workflow_id_reuse_policy=reuse), schedule_to_close_timeout=3))
    task = await s.poll()
    lines = [line for line in s.history_lines(task.history.events) if "NexusOperation" in line]
    expect(
        "\n".join(line.split(" input=")[0] for line in lines),
        """
            5 NexusOperationScheduled endpoint=__temporal_system
                  service=temporal.api.workflowservice.v1.WorkflowService
                  operation=SignalWithStartWorkflowExecution
            6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="WorkflowExecutionAlreadyStarted: Workflow execution
                  already finished. WorkflowId: target, RunId: run2. Workflow Id reuse policy: reject
                  duplicate workflow Id." failure.cause.server_failure_info.non_retryable=true
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=__temporal_system
                  failure.nexus_operation_execution_failure_info.service=temporal.api.workflowservice.v1.WorkflowService
                  failure.nexus_operation_execution_failure_info.operation=SignalWithStartWorkflowExecution
                  request_id=<id>
        """,
    )


BAD: dict[str, Any] = {
    "no id": {"workflow_id": ""},
    "no type": {"workflow_type": None},
    "no queue": {"task_queue": None},
    "no signal": {"signal_name": ""},
    "another namespace": {"namespace": "another"},
    "a request id": {"request_id": "mine"},
    "links": {"links": [Link(workflow_event=Link.WorkflowEvent(workflow_id="x"))]},
    "never": {"workflow_id_conflict_policy": WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL},
}


async def refusal(s: Scenario, command: Command, workflow_id: str = "") -> str:
    """What a worker is told that sends this command. Why an input can't be read is in each server's own words."""
    queue = f"{workflow_id or s.wf}-tq"
    await s.start(workflow_id=workflow_id or s.wf, task_queue={"name": queue})
    try:
        await s.complete(await s.poll(queue), command)
    except RPCError as caught:
        return error(caught, s.names).split("unable to decode")[0]
    return "taken"


async def test_bad_requests(s: Scenario) -> None:
    lines = [
        f"{case}: {await refusal(s, operation(request(s, **fields)), s.id(case))}"
        for case, fields in BAD.items()
    ]
    expect(
        "\n".join(lines),
        """
        no id: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: WorkflowId is not set on request.
        no type: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: workflow type not set
        no queue: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: taskQueue is not set
        no signal: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: signal not set
        another namespace: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: Namespace in request
              "another" does not match namespace in context "default"
        a request id: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: RequestID should not be set on
              the request
        links: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: Links should not be set on the request
        never: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: Invalid WorkflowIDConflictPolicy:
              WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.
    """,
    )


async def test_unknown_service(s: Scenario) -> None:
    expect(
        await refusal(s, operation(request(s), service="another")),
        """
        INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: service "another" not found
    """,
    )


async def test_unknown_operation(s: Scenario) -> None:
    expect(
        await refusal(s, operation(request(s), operation="another")),
        """
        INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: operation "another" not found
    """,
    )


async def test_a_header(s: Scenario) -> None:
    expect(
        await refusal(s, operation(request(s), header={"key": "value"})),
        """
        INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.NexusHeader must be empty when using __temporal_system
              endpoint
    """,
    )


async def test_no_input(s: Scenario) -> None:
    expect(
        await refusal(s, operation(Payload())),
        """
        INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: failed to decode input payload: payload item 0:
              metadata is not set
    """,
    )


async def test_of_another_encoding(s: Scenario) -> None:
    expect(
        await refusal(s, operation(Payload(metadata={"encoding": b"json/plain"}, data=b'"x"'))),
        """
            INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: failed to decode input payload: payload
                  item 0:
        """,
    )


async def test_not_a_message(s: Scenario) -> None:
    envelope = enveloped(request(s))
    envelope.data = b"\xff\xff"
    expect(
        await refusal(s, operation(envelope)),
        """
            INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: failed to decode input payload: payload
                  item 0:
        """,
    )


async def test_without_a_namespace(s: Scenario) -> None:
    expect(
        await refusal(s, operation(request(s, namespace=""))),
        """
        taken
    """,
    )
    assert (await s.poll(s.id("target-tq"))).workflow_type.name == "target"
