"""Completion callbacks of updates: whoever asked is told the update's outcome while the workflow goes on."""

import asyncio
import uuid
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import Link
from temporalio.api.update.v1 import Input, Meta, Request

from . import commands as c
from .nexus import NexusTask, answer, create_endpoint, links_text, poll_nexus, schedule, started
from .raw import Scenario
from .rendering import render
from .resets import reset
from .snapshots import expect
from .test_nexus_callbacks import callback_of, callbacks_text, until_called
from .test_reset_reapply import accept_admitted, reject_admitted
from .updates import ACCEPTED, COMPLETED, accept, at, reject, respond, sent, told


class Asked:
    """A caller, `wf`, whose operation (event 5) is an update of the workflow `target`, which waits."""

    def __init__(self, s: Scenario, task: NexusTask) -> None:
        self.s = s
        self.task = task
        self.target = s.id("target")
        self.queue = s.id("target-tq")

    def request(self, update_id: str = "u", **fields: Any) -> Request:
        """The update as a handler sends it: the operation's callback with it."""
        usual: dict[str, Any] = {
            "meta": Meta(update_id=update_id, identity="caller"),
            "input": Input(name="change", args=c.payloads("argument")),
            "request_id": str(uuid.uuid4()),
            "completion_callbacks": [callback_of(self.task)],
        }
        return Request(**(usual | fields))

    def update(
        self, update_id: str = "u", *, stage: int = ACCEPTED, **fields: Any
    ) -> "asyncio.Task[ws.UpdateWorkflowExecutionResponse]":
        """The update on its way: its caller waits."""
        return sent(
            self.s,
            update_id,
            stage=stage,
            workflow_id=self.target,
            request=self.request(update_id, **fields),
        )

    async def operation_started(self) -> None:
        """The caller's operation has started."""
        await answer(self.s, self.task, started("token"))
        await self.s.step()

    async def accepted(self, **fields: Any) -> ws.UpdateWorkflowExecutionResponse:
        """The update is accepted, and the operation has started."""
        call = self.update(**fields)
        task = await self.s.poll(self.queue)
        a = accept(task)
        await self.s.complete(task, at(a), messages=[a])
        reply = await call
        await self.operation_started()
        return reply

    async def completed(self, **fields: Any) -> None:
        """The update that was accepted completes."""
        await self.s.signal(workflow_id=self.target)
        r = respond(**fields)
        await self.s.complete(await self.s.poll(self.queue), at(r), messages=[r])

    async def end(self) -> str:
        """How the caller's operation ended."""
        task = await self.s.poll()
        lines = self.s.history_lines(task.history.events)
        return "\n".join(line for line in lines if "NexusOperation" in line)


async def asked(s: Scenario) -> Asked:
    """See `Asked`."""
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, "in"))
    found = Asked(s, await poll_nexus(s))
    for token in found.task.request.start_operation.callback_header.values():
        s.names.aliases[token] = "token"
    await s.start(workflow_id=found.target, task_queue={"name": found.queue})
    await s.complete(await s.poll(found.queue), c.timer("t", 600))
    return found


async def test_told_while_the_workflow_goes_on(s: Scenario) -> None:
    found = await asked(s)
    reply = await found.accepted()
    expect(
        render(reply.link, s.names, frozenset({"request_id"})),
        """
            workflow_event.namespace=default workflow_event.workflow_id=target workflow_event.run_id=run1
                  workflow_event.request_id_ref.request_id=<id>
                  workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_UPDATE_ACCEPTED
        """,
    )
    expect(
        await callbacks_text(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=STANDBY
        """,
    )
    await found.completed()
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run3
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationCompleted scheduled_event_id=5 result='changed' request_id=<id>
        """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    s.expect_events(
        await s.history(found.target),
        """
            1 WorkflowExecutionStarted task_queue=target-tq workflow_id=target
            2 WorkflowTaskScheduled task_queue=target-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowTaskScheduled task_queue=target-tq
            7 WorkflowTaskStarted
            8 WorkflowTaskCompleted
            9 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
                  accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=u
                  accepted_request.meta.identity=caller accepted_request.input.name=change
                  accepted_request.input.args=['argument'] accepted_request.request_id=<id>
                  accepted_request.completion_callbacks=[{nexus.url=temporal://system
                  nexus.header={temporal-callback-token: token}}]
            10 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            11 WorkflowTaskScheduled task_queue=target-tq
            12 WorkflowTaskStarted
            13 WorkflowTaskCompleted
            14 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed']
                  accepted_event_id=9
        """,
    )


async def test_links(s: Scenario) -> None:
    found = await asked(s)
    link = Link(
        workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="by", run_id=str(uuid.uuid4()))
    )
    other = Link(
        workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="too", run_id=str(uuid.uuid4()))
    )
    callback = callback_of(found.task)
    callback.links.append(link)
    await found.accepted(completion_callbacks=[callback], links=[link, other])
    await found.completed()
    await found.end()
    lines = [
        f"{event.event_id}: {links_text(event.links, s.names)}" for event in await s.history(found.target)
    ]
    expect(
        "\n".join(lines),
        """
            1:
            2:
            3:
            4:
            5:
            6:
            7:
            8:
            9: workflow_event.namespace=default workflow_event.workflow_id=by workflow_event.run_id=run3
            10:
            11:
            12:
            13:
            14:
        """,
    )
    events = await s.history(found.target)
    request = events[8].workflow_execution_update_accepted_event_attributes.accepted_request
    expect(
        links_text(request.links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=by workflow_event.run_id=run3
            workflow_event.namespace=default workflow_event.workflow_id=too workflow_event.run_id=run4
        """,
    )
    expect(
        links_text(request.completion_callbacks[0].links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=by workflow_event.run_id=run3
        """,
    )
    ended = (await s.history())[9]
    expect(links_text(ended.links, s.names), "")


async def test_completed_at_once(s: Scenario) -> None:
    found = await asked(s)
    call = found.update(stage=COMPLETED)
    task = await s.poll(found.queue)
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, call),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    await answer(s, found.task, started("token"))
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 request_id=<id>
                  links=[{workflow_event.namespace=default workflow_event.workflow_id=target
                  workflow_event.run_id=run3 workflow_event.request_id_ref.request_id=<id>
                  workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_UPDATE_ACCEPTED}]
            7 NexusOperationCompleted scheduled_event_id=5 result='changed' request_id=<id>
        """,
    )


async def test_failed(s: Scenario) -> None:
    found = await asked(s)
    await found.accepted()
    await found.completed(failed="no luck")
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="no luck"
                  failure.cause.application_failure_info.type=Boom
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_rejected(s: Scenario) -> None:
    found = await asked(s)
    call = found.update()
    task = await s.poll(found.queue)
    await s.complete(task, messages=[reject(task)])
    expect(
        await told(s, call),
        """
        COMPLETED: failed: no (Boom, )
    """,
    )
    reply = await call
    expect(
        render(reply.link, s.names),
        """
            workflow.namespace=default workflow.workflow_id=target workflow.run_id=run1
                  workflow.reason="Update rejected"
        """,
    )
    expect(await callbacks_text(s, found.target), "")


async def test_the_workflow_ends_before(s: Scenario) -> None:
    found = await asked(s)
    await found.accepted()
    await s.signal(workflow_id=found.target)
    await s.complete(await s.poll(found.queue), c.complete("out"))
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="Workflow Update failed because the Workflow completed
                  before the Update completed." failure.cause.source=Server
                  failure.cause.application_failure_info.type=AcceptedUpdateCompletedWorkflow
                  failure.cause.application_failure_info.non_retryable=true
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )


async def test_the_workflow_goes_on_in_another_run(s: Scenario) -> None:
    found = await asked(s)
    await found.accepted()
    run_id = (await s.describe(found.target)).workflow_execution_info.execution.run_id
    await s.signal(workflow_id=found.target)
    await s.complete(await s.poll(found.queue), c.continue_as_new())
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="Workflow Update failed because the Workflow completed
                  before the Update completed." failure.cause.source=Server
                  failure.cause.application_failure_info.type=AcceptedUpdateCompletedWorkflow
                  failure.cause.application_failure_info.non_retryable=true
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )
    expect(
        await callbacks_text(s, found.target, run_id),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    expect(await callbacks_text(s, found.target), "")


async def test_attached_to_an_accepted_update(s: Scenario) -> None:
    found = await asked(s)
    first = sent(s, stage=ACCEPTED, workflow_id=found.target)
    task = await s.poll(found.queue)
    a = accept(task)
    await s.complete(task, at(a), messages=[a])
    await first
    request_id = str(uuid.uuid4())
    for _ in range(2):  # once per request id
        expect(
            await told(s, found.update(request_id=request_id)),
            """
            ACCEPTED
        """,
        )
    await found.operation_started()
    expect(
        await callbacks_text(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=STANDBY
        """,
    )
    await found.completed()
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationCompleted scheduled_event_id=5 result='changed' request_id=<id>
        """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    s.expect_events(
        await s.history(found.target),
        """
            1 WorkflowExecutionStarted task_queue=target-tq workflow_id=target
            2 WorkflowTaskScheduled task_queue=target-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowTaskScheduled task_queue=target-tq
            7 WorkflowTaskStarted
            8 WorkflowTaskCompleted
            9 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
                  accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=u
                  accepted_request.meta.identity=caller accepted_request.input.name=change
                  accepted_request.input.args=['argument']
            10 WorkflowExecutionOptionsUpdated workflow_update_options=[{update_id=u attached_request_id=run4
                  attached_completion_callbacks=[{nexus.url=temporal://system
                  nexus.header={temporal-callback-token: token}}]}] identity=unset worker_may_ignore=true
            11 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            12 WorkflowTaskScheduled task_queue=target-tq
            13 WorkflowTaskStarted
            14 WorkflowTaskCompleted
            15 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed']
                  accepted_event_id=9
        """,
    )


async def test_attached_to_an_update_that_a_worker_has(s: Scenario) -> None:
    found = await asked(s)
    first = sent(s, stage=ACCEPTED, workflow_id=found.target)
    task = await s.poll(found.queue)
    second = found.update()
    await asyncio.sleep(0.3)
    a = accept(task)
    await s.complete(task, at(a), messages=[a])
    expect(
        f"{await told(s, first)}, {await told(s, second)}",
        """
        ACCEPTED, ACCEPTED
    """,
    )
    await found.operation_started()
    await found.completed()
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationCompleted scheduled_event_id=5 result='changed' request_id=<id>
        """,
    )
    s.expect_events(
        (await s.history(found.target))[7:10],
        """
            8 WorkflowTaskCompleted
            9 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
                  accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=u
                  accepted_request.meta.identity=caller accepted_request.input.name=change
                  accepted_request.input.args=['argument']
            10 WorkflowExecutionOptionsUpdated workflow_update_options=[{update_id=u attached_request_id=run3
                  attached_completion_callbacks=[{nexus.url=temporal://system
                  nexus.header={temporal-callback-token: token}}]}] identity=unset worker_may_ignore=true
        """,
    )


async def test_an_update_that_has_completed_is_told_at_once(s: Scenario) -> None:
    found = await asked(s)
    first = sent(s, workflow_id=found.target)
    task = await s.poll(found.queue)
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    await first
    expect(
        await told(s, found.update()),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(await callbacks_text(s, found.target), "")


async def test_without_a_request_id(s: Scenario) -> None:
    found = await asked(s)
    expect(
        await told(s, found.update(request_id="")),
        """
        INVALID_ARGUMENT: invalid *update.Request: request_id is required when completion_callbacks are set
    """,
    )


async def test_links_without_callbacks(s: Scenario) -> None:
    found = await asked(s)
    link = Link(
        workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="by", run_id=str(uuid.uuid4()))
    )
    await found.accepted(completion_callbacks=[], links=[link])
    event = (await s.history(found.target))[8]
    expect(links_text(event.links, s.names), "")
    request = event.workflow_execution_update_accepted_event_attributes.accepted_request
    expect(
        links_text(request.links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=by workflow_event.run_id=run1
        """,
    )


async def test_links_beside_callbacks(s: Scenario) -> None:
    found = await asked(s)
    link = Link(
        workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="by", run_id=str(uuid.uuid4()))
    )
    await found.accepted(links=[link])
    event = (await s.history(found.target))[8]
    expect(links_text(event.links, s.names), "")
    request = event.workflow_execution_update_accepted_event_attributes.accepted_request
    expect(
        links_text(request.links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=by workflow_event.run_id=run1
        """,
    )


async def test_comes_again_after_a_reset(s: Scenario) -> None:
    found = await asked(s)
    await found.accepted()
    await reset(s, 4, workflow_id=found.target)
    task = await s.poll(found.queue)
    s.expect_events(
        task.history.events[4:],
        """
            5 WorkflowExecutionUpdateAdmitted request.meta.update_id=u request.meta.identity=caller
                  request.input.name=change request.input.args=['argument'] request.request_id=<id>
                  request.completion_callbacks=[{nexus.url=temporal://system
                  nexus.header={temporal-callback-token: token}}] origin=REAPPLY
            6 WorkflowTaskScheduled task_queue=target-tq
            7 WorkflowTaskStarted
        """,
    )
    expect(
        await callbacks_text(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=STANDBY
        """,
    )
    admitted = next(e.event_id for e in task.history.events if "admitted" in str(e.WhichOneof("attributes")))
    a, r = accept_admitted("u", admitted), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationCompleted scheduled_event_id=5 result='changed' request_id=<id>
        """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )


async def test_rejected_after_a_reset(s: Scenario) -> None:
    found = await asked(s)
    await found.accepted()
    await reset(s, 4, workflow_id=found.target)
    task = await s.poll(found.queue)
    admitted = next(e.event_id for e in task.history.events if "admitted" in str(e.WhichOneof("attributes")))
    await s.complete(task, messages=[reject_admitted("u", admitted)])
    expect(
        await found.end(),
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message=no failure.cause.application_failure_info.type=Boom
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )
    expect(
        await until_called(s, found.target),
        """
            callback.nexus.url=temporal://system trigger.update_workflow_execution_completed.update_id=u
                  registration_time=<time> state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
