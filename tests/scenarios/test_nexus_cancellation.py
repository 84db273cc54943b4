"""Requests to cancel Nexus operations: before they started, after, and what handlers make of them."""

import asyncio

from . import commands as c
from .nexus import (
    answer,
    cancelling,
    create_endpoint,
    fail_nexus,
    handler_failure,
    pending,
    pending_until,
    poll_nexus,
    request_cancel,
    schedule,
    started,
    sync,
)
from .raw import Scenario
from .snapshots import expect

HIDDEN = ("request.header",)


async def started_operation(s: Scenario, **fields: float) -> None:
    """A run whose operation (event 5) has started, and whose worker has heard of it."""
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, header={"k": "v"}, **fields))
    await answer(s, await poll_nexus(s), started("token"))


async def test_delivered(s: Scenario) -> None:
    await started_operation(s)
    await s.step(request_cancel(5))
    task = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.cancel_operation.service=svc
                  request.cancel_operation.operation=op request.cancel_operation.operation_id=token
                  request.cancel_operation.operation_token=token request.endpoint=ep request.capabilities={}
        """,
        hide=HIDDEN,
    )
    assert task.request.header["k"] == "v"
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> cancellation_info.requested_time=<time>
                  cancellation_info.state=SCHEDULED scheduled_event_id=5 operation_token=token
        """,
    )
    await answer(s, task, cancelling())
    workflow_task = await s.poll()
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> cancellation_info.requested_time=<time>
                  cancellation_info.state=SUCCEEDED cancellation_info.attempt=1
                  cancellation_info.last_attempt_complete_time=<time> scheduled_event_id=5
                  operation_token=token
        """,
    )
    # It is being cancelled, not ended: a second request is a mistake.
    await s.expect_refusal(
        s.complete(workflow_task, request_cancel(5)),
        """
        INVALID_ARGUMENT: BadRequestCancelNexusOperationAttributes: cancelation was already requested for an
              operation with scheduled event ID 5
    """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op nexus_header={k: v}
              workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
        6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id> operation_token=token
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
        11 NexusOperationCancelRequestCompleted requested_event_id=10 scheduled_event_id=5
              worker_may_ignore=true
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskFailed cause=BAD_REQUEST_CANCEL_NEXUS_OPERATION_ATTRIBUTES
              failure.message="BadRequestCancelNexusOperationAttributes: cancelation was already requested for
              an operation with scheduled event ID 5" failure.server_failure_info={}
        15 WorkflowTaskScheduled attempt=2
        16 WorkflowTaskStarted
        17 WorkflowTaskCompleted
        18 WorkflowExecutionCompleted workflow_task_completed_event_id=17
    """)


async def test_before_it_started(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    start = await poll_nexus(s)
    await s.signal()
    await s.step(request_cancel(5))
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=SCHEDULED cancellation_info={}
                  scheduled_event_id=5
        """,
    )
    await answer(s, start, started("token"))
    task = await poll_nexus(s)
    assert task.request.cancel_operation.operation_token == "token"
    await answer(s, task, cancelling())
    await pending_until(s, "cancellation_info.state=SUCCEEDED")
    s.expect_events(
        (await s.history())[8:12],
        """
            9 WorkflowTaskCompleted
            10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
            11 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            12 WorkflowTaskScheduled
        """,
    )


async def test_refused_for_good(s: Scenario) -> None:
    await started_operation(s)
    await s.step(request_cancel(5))
    await fail_nexus(s, await poll_nexus(s), handler_failure("NOT_IMPLEMENTED", "can't"))
    await s.poll()
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> cancellation_info.requested_time=<time>
                  cancellation_info.state=FAILED cancellation_info.attempt=1
                  cancellation_info.last_attempt_complete_time=<time>
                  cancellation_info.last_attempt_failure.message="can't"
                  cancellation_info.last_attempt_failure.nexus_handler_failure_info.type=NOT_IMPLEMENTED
                  scheduled_event_id=5 operation_token=token
        """,
    )
    s.expect_events(
        (await s.history())[9:11],
        """
        10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
        11 NexusOperationCancelRequestFailed requested_event_id=10 failure.message="can't"
              failure.nexus_handler_failure_info.type=NOT_IMPLEMENTED scheduled_event_id=5
              worker_may_ignore=true
    """,
    )


async def test_tried_again(s: Scenario) -> None:
    await started_operation(s)
    await s.step(request_cancel(5))
    await fail_nexus(s, await poll_nexus(s), handler_failure("UNAVAILABLE"))
    expect(
        await pending_until(s, "BACKING_OFF"),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> cancellation_info.requested_time=<time>
                  cancellation_info.state=BACKING_OFF cancellation_info.attempt=1
                  cancellation_info.last_attempt_complete_time=<time>
                  cancellation_info.last_attempt_failure.message="not now"
                  cancellation_info.last_attempt_failure.nexus_handler_failure_info.type=UNAVAILABLE
                  cancellation_info.next_attempt_schedule_time=<time> scheduled_event_id=5
                  operation_token=token
        """,
    )
    await answer(s, await poll_nexus(s), cancelling())
    await s.poll()
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> cancellation_info.requested_time=<time>
                  cancellation_info.state=SUCCEEDED cancellation_info.attempt=2
                  cancellation_info.last_attempt_complete_time=<time> scheduled_event_id=5
                  operation_token=token
        """,
    )


async def test_too_little_time_left(s: Scenario) -> None:
    await started_operation(s, schedule_to_close_timeout=3)
    await asyncio.sleep(1.8)
    await s.step(request_cancel(5))
    await s.poll()
    s.expect_events(
        (await s.history())[9:11],
        """
        10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
        11 NexusOperationCancelRequestFailed requested_event_id=10 failure.message="not enough time to execute
              another request before ScheduleToClose timeout" failure.application_failure_info.type=CallError
              failure.application_failure_info.non_retryable=true scheduled_event_id=5 worker_may_ignore=true
    """,
    )


async def test_of_nothing(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, request_cancel(5)),
        """
        INVALID_ARGUMENT: BadRequestCancelNexusOperationAttributes: requested cancelation for a non-existing
              or already completed operation with scheduled event ID of 5
    """,
    )
    await s.step(schedule(endpoint))
    scheduled = (await s.history())[-1].event_id
    await answer(s, await poll_nexus(s), sync("x"))
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, request_cancel(scheduled)),
        """
        INVALID_ARGUMENT: BadRequestCancelNexusOperationAttributes: requested cancelation for a non-existing
              or already completed operation with scheduled event ID of 8
    """,
    )


async def test_of_what_has_ended_meanwhile(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    start = await poll_nexus(s)
    await s.signal()
    task = await s.poll()
    await answer(s, start, sync("out"))
    await asyncio.sleep(0.3)
    await s.complete(task, request_cancel(5))
    await s.poll()
    s.expect_events(
        (await s.history())[8:],
        """
            9 WorkflowTaskCompleted
            10 NexusOperationCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
            11 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
            12 WorkflowTaskScheduled
            13 WorkflowTaskStarted
        """,
    )


async def test_in_the_task_that_schedules(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint), request_cancel(5))
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=SCHEDULED cancellation_info={}
                  scheduled_event_id=5
        """,
    )
