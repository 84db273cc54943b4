"""Completion callbacks: a workflow that tells what became of it, and the operations that end so."""

import asyncio
import uuid

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.workflow.v1 import OnConflictOptions

from . import commands as c
from .nexus import (
    NexusTask,
    answer,
    create_endpoint,
    links_text,
    poll_nexus,
    schedule,
    started,
)
from .raw import Scenario
from .rendering import render
from .snapshots import expect


def callback_of(task: NexusTask) -> Callback:
    """What a handler attaches to the workflow that does the operation's work."""
    request = task.request.start_operation
    return Callback(nexus=Callback.Nexus(url=request.callback, header=dict(request.callback_header)))


async def callbacks_text(s: Scenario, workflow_id: str, run_id: str = "") -> str:
    """What Describe says of a workflow's callbacks, a line each."""
    found = (await s.describe(workflow_id, run_id)).callbacks
    hidden = frozenset({"callback.nexus.header", "callback.nexus_handler.token"})
    return "\n".join(render(callback, s.names, hidden) for callback in found)


async def until_called(s: Scenario, workflow_id: str, text: str = "SUCCEEDED") -> str:
    """The same, once it says `text`."""
    for _ in range(100):
        found = await callbacks_text(s, workflow_id)
        if text in found:
            return found
        await asyncio.sleep(0.05)
    return found


async def start_target(s: Scenario, task: NexusTask, workflow_id: str, queue: str, **fields: object) -> str:
    """Start the workflow that does the work of an operation."""
    response = await s.start(
        workflow_id=workflow_id,
        task_queue={"name": queue},
        completion_callbacks=[callback_of(task)],
        **fields,
    )
    return response.run_id


async def workflow_run(s: Scenario, **fields: object) -> tuple[str, str, str]:
    """A caller, `wf`, whose operation (event 5) has started as a workflow: (its id, its queue, its run)."""
    target, queue = s.id("target"), s.id("target-tq")
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, "in"))
    task = await poll_nexus(s)
    run_id = await start_target(s, task, target, queue, **fields)
    await answer(s, task, started("token"))
    await s.step()
    return target, queue, run_id


async def test_completed(s: Scenario) -> None:
    target, queue, _ = await workflow_run(s)
    expect(
        await callbacks_text(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=STANDBY
        """,
    )
    task = await s.poll(queue)
    await s.complete(task, c.complete("out", "second"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
              workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
        6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id> operation_token=token
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)
    expect(
        await until_called(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    first = (await s.history(target))[0].workflow_execution_started_event_attributes
    assert [callback.nexus.url for callback in first.completion_callbacks] == ["temporal://system"]


async def test_failed(s: Scenario) -> None:
    _, queue, _ = await workflow_run(s)
    await s.complete(await s.poll(queue), c.fail(c.failure("no luck")))
    task = await s.poll()
    s.expect_events(
        task.history.events[9:10],
        """
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


async def test_canceled(s: Scenario) -> None:
    target, queue, _ = await workflow_run(s)
    await s.request_cancel(target)
    await s.complete(await s.poll(queue), c.cancel("detail"))
    task = await s.poll()
    s.expect_events(
        task.history.events[9:10],
        """
            10 NexusOperationCanceled scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation canceled"
                  failure.cause.canceled_failure_info.details=['detail']
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_terminated(s: Scenario) -> None:
    target, _, _ = await workflow_run(s)
    await s.terminate(target, reason="a secret")
    task = await s.poll()
    s.expect_events(
        task.history.events[9:10],
        """
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation terminated"
                  failure.cause.terminated_failure_info={}
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_timed_out(s: Scenario) -> None:
    await workflow_run(s, workflow_run_timeout=1)
    task = await s.poll()
    s.expect_events(
        task.history.events[9:10],
        """
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation exceeded internal timeout"
                  failure.cause.timeout_failure_info={}
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_before_the_handler_answered(s: Scenario) -> None:
    target, queue = s.id("target"), s.id("target-tq")
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    await start_target(s, task, target, queue)
    await s.complete(await s.poll(queue), c.complete("out"))
    await s.step()
    events = (await s.history())[5:]
    s.expect_events(
        events,
        """
            6 NexusOperationStarted scheduled_event_id=5 request_id=<id>
                  links=[{workflow_event.namespace=default workflow_event.workflow_id=target
                  workflow_event.run_id=run1 workflow_event.event_ref.event_id=1
                  workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}]
            7 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
            10 WorkflowTaskCompleted
        """,
    )
    expect(
        links_text(events[0].links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=target workflow_event.run_id=run1
                  workflow_event.event_ref.event_id=1
                  workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED
        """,
    )
    await answer(s, task, started("token"))  # too late
    await asyncio.sleep(0.2)
    assert len(await s.history()) == 5 + len(events)


async def test_across_continue_as_new_and_retry(s: Scenario) -> None:
    target, queue, first_run_id = await workflow_run(s, retry_policy=c.retry(initial=0.1, maximum_attempts=2))
    task = await s.poll(queue)
    await s.complete(
        task, c.continue_as_new(queue=queue, retry_policy=c.retry(initial=0.1, maximum_attempts=2))
    )
    expect(
        await callbacks_text(s, target, first_run_id),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=STANDBY
        """,
    )
    await s.complete(await s.poll(queue), c.fail())
    await s.complete(await s.poll(queue), c.complete("out"))
    await s.poll()
    s.expect_events(
        (await s.history())[9:10],
        """
            10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )
    expect(
        await until_called(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )


async def test_attached_to_what_runs(s: Scenario) -> None:
    target, queue = s.id("target"), s.id("target-tq")
    await s.start(workflow_id=target, task_queue={"name": queue})
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    again = {
        "workflow_id_conflict_policy": WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        "on_conflict_options": OnConflictOptions(
            attach_request_id=True, attach_completion_callbacks=True, attach_links=True
        ),
        "request_id": str(uuid.uuid4()),
    }
    for _ in range(2):  # once per request id
        await start_target(s, task, target, queue, **again)
    await answer(s, task, started("token"))
    await s.step()
    expect(
        await callbacks_text(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=STANDBY
        """,
    )
    await s.complete(await s.poll(queue), c.complete("out"))
    await s.poll()
    s.expect_events(
        (await s.history())[9:10],
        """
            10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )
    expect(
        await until_called(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )


async def test_nobody_waits_any_more(s: Scenario) -> None:
    target, queue, _ = await workflow_run(s)
    await s.terminate()
    await s.complete(await s.poll(queue), c.complete("out"))
    expect(
        await until_called(s, target, "FAILED"),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=FAILED attempt=1 last_attempt_complete_time=<time>
                  last_attempt_failure.message="handler error (NOT_FOUND): workflow execution already
                  completed" last_attempt_failure.application_failure_info.non_retryable=true
        """,
    )


async def test_operation_has_ended(s: Scenario) -> None:
    target, queue = s.id("target"), s.id("target-tq")
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, start_to_close_timeout=1))
    task = await poll_nexus(s)
    await start_target(s, task, target, queue)
    await answer(s, task, started("token"))
    await s.step()
    await s.step()  # it has timed out
    await s.complete(await s.poll(queue), c.complete("out"))
    expect(
        await until_called(s, target, "FAILED"),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=FAILED attempt=1 last_attempt_complete_time=<time>
                  last_attempt_failure.message="handler error (NOT_FOUND): operation not found"
                  last_attempt_failure.application_failure_info.non_retryable=true
        """,
    )


async def test_forged_token(s: Scenario) -> None:
    callback = Callback(
        nexus=Callback.Nexus(url="temporal://system", header={"Temporal-Callback-Token": "forged"})
    )
    await s.start(completion_callbacks=[callback])
    await s.step(c.complete())
    expect(
        await until_called(s, s.wf, "FAILED"),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=FAILED attempt=1 last_attempt_complete_time=<time>
                  last_attempt_failure.message="handler error (BAD_REQUEST): invalid callback token"
                  last_attempt_failure.application_failure_info.non_retryable=true
        """,
    )


async def test_bad_callbacks(s: Scenario) -> None:
    outcomes: dict[str, str] = {}
    for case, callbacks in {
        "unknown scheme": [Callback(nexus=Callback.Nexus(url="ftp://host/x"))],
        "no host": [Callback(nexus=Callback.Nexus(url="http:///x"))],
        "other system URL": [Callback(nexus=Callback.Nexus(url="temporal://other"))],
        "long URL": [Callback(nexus=Callback.Nexus(url="http://host/" + "x" * 1000))],
        "large header": [Callback(nexus=Callback.Nexus(url="temporal://system", header={"k": "x" * 8192}))],
        "no variant": [Callback()],
    }.items():
        call = s.start(workflow_id=s.id(str(uuid.uuid4())), completion_callbacks=callbacks)
        await s.expect_refusal_of(outcomes, case, call)
    expect(
        "\n".join(f"{case}: {outcome}" for case, outcome in outcomes.items()),
        """
        unknown scheme: INVALID_ARGUMENT: invalid url: unknown scheme: ftp://host/x
        no host: INVALID_ARGUMENT: invalid url: missing host
        other system URL: INVALID_ARGUMENT: invalid url: unknown scheme: temporal://other
        long URL: INVALID_ARGUMENT: invalid url: url length longer than max length allowed of 1000
        large header: INVALID_ARGUMENT: invalid header: header size longer than max allowed size of 8192
        no variant: UNIMPLEMENTED: unknown callback variant: <nil>
    """,
    )


async def test_attaching_needs_a_request_id(s: Scenario) -> None:
    callback = Callback(nexus=Callback.Nexus(url="temporal://system"))
    await s.start()
    await s.expect_refusal(
        s.start(
            completion_callbacks=[callback],
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=OnConflictOptions(attach_completion_callbacks=True),
        ),
        """
            INVALID_ARGUMENT: attaching request ID is required for attaching completion callbacks
        """,
    )


async def test_links_are_told_once(s: Scenario) -> None:
    """Those of a callback stand with it; the first event has the others."""
    links = [
        Link(
            workflow_event=Link.WorkflowEvent(
                namespace=s.namespace,
                workflow_id=name,
                run_id="run",
                event_ref=Link.WorkflowEvent.EventReference(event_id=5, event_type="EVENT_TYPE_TIMER_FIRED"),
            )
        )
        for name in ("a", "b")
    ]
    callback = Callback(nexus=Callback.Nexus(url="temporal://system"), links=links[:1])
    await s.start(completion_callbacks=[callback], links=links)
    first = (await s.history())[0]
    expect(
        links_text(first.links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=b workflow_event.run_id=run
                  workflow_event.event_ref.event_id=5 workflow_event.event_ref.event_type=TIMER_FIRED
        """,
    )
