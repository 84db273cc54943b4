"""Nexus operations that are done, or fail, with the handler's first answer; and what a handler is sent."""

import asyncio
import uuid

import temporalio.api.nexus.v1 as nexus
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import ApplicationFailureInfo, CanceledFailureInfo, Failure

from . import commands as c
from .nexus import (
    answer,
    create_endpoint,
    delete_endpoint,
    fail_nexus,
    handler_failure,
    links_text,
    operation_failed,
    pending,
    pending_until,
    poll_nexus,
    schedule,
    started,
    sync,
)
from .raw import Scenario
from .rendering import render
from .snapshots import expect


class _R:
    RETRYABLE = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE
    NON_RETRYABLE = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE


_WAY = ("nexus-", "user-agent", "request-timeout")
"""Headers that tell of the way that a request came, not of the operation."""

HIDDEN = ("request.header", "request.start_operation.request_id", "request.start_operation.callback_header")


async def test_done_at_once(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, "in", header={"Some-Key": "some value"}))
    task = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.start_operation.service=svc
                  request.start_operation.operation=op request.start_operation.callback=temporal://system
                  request.start_operation.payload='in'
                  request.start_operation.links=[{url="temporal:///namespaces/default/workflows/wf/run1/history?eventID=5&eventType=NexusOperationScheduled&referenceType=EventReference"
                  type=temporal.api.common.v1.Link.WorkflowEvent}] request.endpoint=ep
                  request.capabilities.temporal_failure_responses=true
        """,
        hide=HIDDEN,
    )
    shown = {key: value for key, value in task.request.header.items() if not key.lower().startswith(_WAY)}
    expect(
        "\n".join(f"{key}: {value}" for key, value in sorted(shown.items())),
        """
        some-key: some value
    """,
    )
    expect(
        "\n".join(sorted(key for key in task.request.header if "timeout" in key.lower())),
        """
        Request-Timeout
        request-timeout
    """,
    )
    scheduled = (await s.history())[4]
    attributes = scheduled.nexus_operation_scheduled_event_attributes
    assert task.request.start_operation.request_id == attributes.request_id
    assert attributes.endpoint_id == endpoint.id
    await answer(s, task, sync("out"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in' nexus_header={some-key:
              "some value"} workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
        6 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)
    await delete_endpoint(s, endpoint)


async def test_handler_links(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    link = task.request.start_operation.links[0]
    await answer(s, task, sync("out", link, nexus.Link(url="http://elsewhere/x", type="some.Type")))
    await s.poll()
    completed = (await s.history())[5]
    expect(
        links_text(completed.links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=wf workflow_event.run_id=run1
                  workflow_event.event_ref.event_id=5
                  workflow_event.event_ref.event_type=NEXUS_OPERATION_SCHEDULED
        """,
    )


async def test_operation_fails(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    why = Failure(
        message="no luck",
        source="here",
        stack_trace="a line",
        application_failure_info=ApplicationFailureInfo(type="Bad", details=c.payloads("detail")),
        cause=Failure(message="deeper", application_failure_info=ApplicationFailureInfo(type="Deep")),
    )
    await answer(s, await poll_nexus(s), operation_failed(why))
    task = await s.poll()
    s.expect_events(
        task.history.events[5:6],
        """
            6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="no luck" failure.cause.source=here
                  failure.cause.cause.message=deeper failure.cause.cause.application_failure_info.type=Deep
                  failure.cause.application_failure_info.type=Bad
                  failure.cause.application_failure_info.details=['detail']
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )
    await s.complete(task, schedule(endpoint))
    stopped = Failure(message="stopped", canceled_failure_info=CanceledFailureInfo(details=c.payloads("d")))
    await answer(s, await poll_nexus(s), operation_failed(stopped))
    task = await s.poll()
    s.expect_events(
        task.history.events[10:11],
        """
            11 NexusOperationCanceled scheduled_event_id=10 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message=stopped
                  failure.cause.canceled_failure_info.details=['d']
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=10
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )


async def test_older_form_of_failures(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    error = nexus.UnsuccessfulOperationError(
        operation_state="failed",
        failure=nexus.Failure(message="no luck", metadata={"k": "v"}, details=b'"d"'),
    )
    await answer(
        s,
        await poll_nexus(s),
        nexus.Response(start_operation=nexus.StartOperationResponse(operation_error=error)),
    )
    task = await s.poll()
    s.expect_events(
        task.history.events[5:6],
        """
            6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="no luck"
                  failure.cause.application_failure_info.type=NexusFailure
                  failure.cause.application_failure_info.details=[{'metadata': {'k': 'v'}, 'details': 'd'}]
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )
    await s.complete(task, schedule(endpoint))
    error = nexus.UnsuccessfulOperationError(operation_state="canceled", failure=nexus.Failure(message="no"))
    await answer(
        s,
        await poll_nexus(s),
        nexus.Response(start_operation=nexus.StartOperationResponse(operation_error=error)),
    )
    task = await s.poll()
    s.expect_events(
        task.history.events[10:11],
        """
            11 NexusOperationCanceled scheduled_event_id=10 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message=no failure.cause.canceled_failure_info={}
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=10
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )
    await s.complete(task, schedule(endpoint))
    await fail_nexus(
        s,
        await poll_nexus(s),
        error=nexus.HandlerError(error_type="BAD_REQUEST", failure=nexus.Failure(message="what?")),
    )
    task = await s.poll()
    s.expect_events(
        task.history.events[15:16],
        """
            16 NexusOperationFailed scheduled_event_id=15 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.cause.message="what?"
                  failure.cause.nexus_handler_failure_info.type=BAD_REQUEST
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=15
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )


async def test_handler_refuses_for_good(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, schedule_to_close_timeout=60))
    cause = Failure(message="deeper", application_failure_info=ApplicationFailureInfo(type="Deep"))
    await fail_nexus(s, await poll_nexus(s), handler_failure("NOT_FOUND", "no such operation", cause=cause))
    task = await s.poll()
    await s.complete(task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op schedule_to_close_timeout=60s
              workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run2
        6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed unsuccessfully"
              failure.cause.message="no such operation" failure.cause.cause.message=deeper
              failure.cause.cause.application_failure_info.type=Deep
              failure.cause.nexus_handler_failure_info.type=NOT_FOUND
              failure.nexus_operation_execution_failure_info.scheduled_event_id=5
              failure.nexus_operation_execution_failure_info.endpoint=ep
              failure.nexus_operation_execution_failure_info.service=svc
              failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_which_handler_failures_are_tried_again(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    outcomes = {}
    for kind in [
        "BAD_REQUEST",
        "UNAUTHENTICATED",
        "UNAUTHORIZED",
        "NOT_FOUND",
        "CONFLICT",
        "NOT_IMPLEMENTED",
        "RESOURCE_EXHAUSTED",
        "REQUEST_TIMEOUT",
        "INTERNAL",
        "UNAVAILABLE",
        "UPSTREAM_TIMEOUT",
        "SOMETHING_ELSE",
    ]:
        workflow_id = s.id(kind)
        await s.start(workflow_id=workflow_id)
        await s.step(schedule(endpoint))
        await fail_nexus(s, await poll_nexus(s), handler_failure(kind))
        await asyncio.sleep(0.2)
        found = (await s.describe(workflow_id)).pending_nexus_operations
        outcomes[kind] = "tried again" if found else "failed"
        await s.terminate(workflow_id)
    expect(
        "\n".join(f"{kind}: {outcome}" for kind, outcome in outcomes.items()),
        """
        BAD_REQUEST: failed
        UNAUTHENTICATED: failed
        UNAUTHORIZED: failed
        NOT_FOUND: failed
        CONFLICT: failed
        NOT_IMPLEMENTED: failed
        RESOURCE_EXHAUSTED: tried again
        REQUEST_TIMEOUT: tried again
        INTERNAL: tried again
        UNAVAILABLE: tried again
        UPSTREAM_TIMEOUT: tried again
        SOMETHING_ELSE: tried again
    """,
    )


async def test_handler_says_whether_to_try_again(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    outcomes = {}
    for kind, behavior in (("INTERNAL", _R.NON_RETRYABLE), ("BAD_REQUEST", _R.RETRYABLE)):
        workflow_id = s.id(kind)
        await s.start(workflow_id=workflow_id)
        await s.step(schedule(endpoint))
        failure = handler_failure(kind)
        failure.nexus_handler_failure_info.retry_behavior = behavior
        await fail_nexus(s, await poll_nexus(s), failure)
        await asyncio.sleep(0.5)
        found = (await s.describe(workflow_id)).pending_nexus_operations
        outcomes[kind] = render(found[0].last_attempt_failure, s.names) if found else "failed"
        await s.terminate(workflow_id)
    expect(
        "\n".join(f"{kind}: {outcome}" for kind, outcome in outcomes.items()),
        """
            INTERNAL: failed
            BAD_REQUEST: message="not now" nexus_handler_failure_info.type=BAD_REQUEST
                  nexus_handler_failure_info.retry_behavior=RETRYABLE
        """,
    )


async def test_handler_fails_and_is_tried_again(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, "in"))
    first = await poll_nexus(s)
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=SCHEDULED scheduled_event_id=5
        """,
    )
    await fail_nexus(s, first, handler_failure("INTERNAL", "not now"))
    expect(
        await pending_until(s, "BACKING_OFF"),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=BACKING_OFF attempt=1
                  last_attempt_complete_time=<time> last_attempt_failure.message="not now"
                  last_attempt_failure.nexus_handler_failure_info.type=INTERNAL
                  next_attempt_schedule_time=<time> scheduled_event_id=5
        """,
    )
    second = await poll_nexus(s)
    assert second.request.start_operation.request_id == first.request.start_operation.request_id
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=SCHEDULED attempt=1
                  last_attempt_complete_time=<time> last_attempt_failure.message="not now"
                  last_attempt_failure.nexus_handler_failure_info.type=INTERNAL scheduled_event_id=5
        """,
    )
    await answer(s, second, sync("out"))
    await s.poll()
    s.expect_events(
        (await s.history())[4:6],
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
            6 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )


async def test_empty_answers_are_tried_again(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    await answer(s, await poll_nexus(s), nexus.Response())
    expect(
        await pending_until(s, "BACKING_OFF"),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=BACKING_OFF attempt=1
                  last_attempt_complete_time=<time> last_attempt_failure.message="empty outcome"
                  last_attempt_failure.nexus_handler_failure_info.type=INTERNAL
                  next_attempt_schedule_time=<time> scheduled_event_id=5
        """,
    )


async def test_nobody_takes_it(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    expect(
        await pending_until(s, "BACKING_OFF", seconds=12),
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=BACKING_OFF attempt=1
                  last_attempt_complete_time=<time> last_attempt_failure.message="upstream timeout"
                  last_attempt_failure.nexus_handler_failure_info.type=UPSTREAM_TIMEOUT
                  next_attempt_schedule_time=<time> scheduled_event_id=5
        """,
    )


async def test_started(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, "in", schedule_to_close_timeout=60))
    task = await poll_nexus(s)
    await answer(s, task, started("the token", task.request.start_operation.links[0]))
    workflow_task = await s.poll()
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id="the token" schedule_to_close_timeout=60s
                  scheduled_time=<time> state=STARTED attempt=1 last_attempt_complete_time=<time>
                  scheduled_event_id=5 operation_token="the token"
        """,
    )
    await s.complete(workflow_task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
              schedule_to_close_timeout=60s workflow_task_completed_event_id=4 request_id=<id>
              endpoint_id=run2
        6 NexusOperationStarted scheduled_event_id=5 operation_id="the token" request_id=<id>
              operation_token="the token" links=[{workflow_event.namespace=default
              workflow_event.workflow_id=wf workflow_event.run_id=run1 workflow_event.event_ref.event_id=5
              workflow_event.event_ref.event_type=NEXUS_OPERATION_SCHEDULED}]
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)
    expect(
        links_text((await s.history())[5].links, s.names),
        """
            workflow_event.namespace=default workflow_event.workflow_id=wf workflow_event.run_id=run1
                  workflow_event.event_ref.event_id=5
                  workflow_event.event_ref.event_type=NEXUS_OPERATION_SCHEDULED
        """,
    )


async def test_bad_answers(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    await s.expect_refusal(
        answer(s, task, started("")),
        """
        INVALID_ARGUMENT: missing opration token in response
    """,
    )
    await s.expect_refusal(
        answer(s, task, started("t" * 4097)),
        """
        INVALID_ARGUMENT: operation token length exceeds allowed limit (4097/4096)
    """,
    )
    await s.expect_refusal(
        fail_nexus(s, task),
        """
        INVALID_ARGUMENT: request must contain error or failure
    """,
    )
    await s.expect_refusal(
        fail_nexus(s, task, Failure(message="plain")),
        """
        INVALID_ARGUMENT: request Failure must contain error or failure with NexusHandlerFailureInfo
    """,
    )
    bad = nexus.HandlerError(error_type="INTERNAL", failure=nexus.Failure(details=b"no json"))
    await s.expect_refusal(
        fail_nexus(s, task, error=bad),
        """
        INVALID_ARGUMENT: failure details must be JSON serializable
    """,
    )
    await s.expect_refusal(
        answer(s, b"no token", sync("x")),
        """
        INVALID_ARGUMENT: Error deserializing task token.
    """,
    )
    await answer(s, task, sync("x"))
    await s.expect_refusal(
        answer(s, task, sync("x")),
        """
        NOT_FOUND: Nexus task not found or already expired
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        fail_nexus(s, task, handler_failure("INTERNAL")),
        """
        NOT_FOUND: Nexus task not found or already expired
          NotFoundFailure
    """,
    )


async def test_outcome_while_a_task_is_in_flight(s: Scenario) -> None:
    """Events wait for the end of the workflow task, and one that is being cancelled may have ended meanwhile."""
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    nexus_task = await poll_nexus(s)
    await s.signal()
    task = await s.poll()
    await answer(s, nexus_task, started("token"))
    expect(
        await pending_until(s, "STARTED"),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> scheduled_event_id=5 operation_token=token
        """,
    )
    await s.complete(task)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op workflow_task_completed_event_id=4
              request_id=<id> endpoint_id=run2
        6 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id> operation_token=token
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_closed_workflow_forgets_its_operations(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint), c.timer(after=60))
    task = await poll_nexus(s)
    await s.terminate()
    await answer(s, task, sync("late"))
    await asyncio.sleep(0.2)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 NexusOperationScheduled endpoint=ep service=svc operation=op workflow_task_completed_event_id=4
              request_id=<id> endpoint_id=run2
        6 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=4
        7 WorkflowExecutionTerminated reason="terminated by user via frontend"
    """)


async def test_endpoint_is_gone(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    await fail_nexus(s, await poll_nexus(s), handler_failure("INTERNAL"))
    await delete_endpoint(s, endpoint)
    task = await s.poll()
    s.expect_events(
        task.history.events[5:6],
        """
            6 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="endpoint not registered"
                  failure.cause.nexus_handler_failure_info.type=NOT_FOUND
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )


async def test_timeouts_are_settled(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start(workflow_run_timeout=50)
    await s.step(
        schedule(endpoint, operation="none"),
        schedule(endpoint, operation="long", schedule_to_close_timeout=100),
        schedule(
            endpoint,
            operation="all",
            schedule_to_close_timeout=20,
            schedule_to_start_timeout=30,
            start_to_close_timeout=40,
        ),
        schedule(endpoint, operation="start", schedule_to_start_timeout=8, start_to_close_timeout=9),
    )
    s.expect_events(
        (await s.history())[4:],
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=none schedule_to_close_timeout=50s
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
            6 NexusOperationScheduled endpoint=ep service=svc operation=long schedule_to_close_timeout=50s
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
            7 NexusOperationScheduled endpoint=ep service=svc operation=all schedule_to_close_timeout=20s
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
                  schedule_to_start_timeout=20s start_to_close_timeout=20s
            8 NexusOperationScheduled endpoint=ep service=svc operation=start schedule_to_close_timeout=50s
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
                  schedule_to_start_timeout=8s start_to_close_timeout=9s
        """,
    )


async def test_schedule_to_close_timeout(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, schedule_to_close_timeout=3))
    await answer(s, await poll_nexus(s), started("token"))
    await s.step()
    await s.poll()
    s.expect_events(
        (await s.history())[5:],
        """
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskCompleted
            10 NexusOperationTimedOut scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation timed out"
                  failure.cause.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
            11 WorkflowTaskScheduled
            12 WorkflowTaskStarted
        """,
    )


async def test_start_to_close_timeout(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, start_to_close_timeout=1))
    await answer(s, await poll_nexus(s), started("token"))
    await s.step()
    await s.poll()
    s.expect_events(
        (await s.history())[9:10],
        """
            10 NexusOperationTimedOut scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation timed out"
                  failure.cause.timeout_failure_info.timeout_type=START_TO_CLOSE
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_schedule_to_start_timeout(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, schedule_to_start_timeout=2.5))
    await s.poll()
    s.expect_events(
        (await s.history())[5:6],
        """
            6 NexusOperationTimedOut scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation timed out"
                  failure.cause.timeout_failure_info.timeout_type=SCHEDULE_TO_START
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )


async def test_too_little_time_for_a_call(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint, schedule_to_close_timeout=1))
    await s.poll()
    s.expect_events(
        (await s.history())[4:6],
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op schedule_to_close_timeout=1s
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
            6 NexusOperationTimedOut scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="operation timed out"
                  failure.cause.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op request_id=<id>
        """,
    )


async def test_bad_commands(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    outcomes = {}
    for case, command in {
        "unknown endpoint": schedule("nowhere"),
        "long service": schedule(endpoint, service="s" * 1001),
        "long operation": schedule(endpoint, operation="o" * 1001),
        "negative timeout": schedule(endpoint, schedule_to_close_timeout=-1),
        "negative schedule-to-start": schedule(endpoint, schedule_to_start_timeout=-1),
        "negative start-to-close": schedule(endpoint, start_to_close_timeout=-1),
        "header of the protocol": schedule(endpoint, header={"Request-Timeout": "1s"}),
        "large header": schedule(endpoint, header={"a": "x" * 8192}),
    }.items():
        workflow_id = s.id(str(uuid.uuid4()))
        await s.start(workflow_id=workflow_id)
        await s.expect_refusal_of(outcomes, case, s.step(command))
        await s.terminate(workflow_id)
    expect(
        "\n".join(f"{case}: {outcome}" for case, outcome in outcomes.items()),
        """
        unknown endpoint: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: endpoint "nowhere" not found
        long service: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.Service exceeds length limit of 1000
        long operation: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.Operation exceeds length limit of 1000
        negative timeout: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.ScheduleToCloseTimeout is invalid: negative duration
        negative schedule-to-start: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.ScheduleToStartTimeout is invalid: negative duration
        negative start-to-close: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.StartToCloseTimeout is invalid: negative duration
        header of the protocol: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.NexusHeader contains a disallowed header key:
              "Request-Timeout"
        large header: INVALID_ARGUMENT: BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.NexusHeader exceeds size limit
    """,
    )


async def test_too_many_operations(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    commands = [schedule(endpoint) for _ in range(31)]
    await s.expect_refusal(
        s.step(*commands),
        """
        INVALID_ARGUMENT: PendingNexusOperationsLimitExceeded: workflow has reached the pending nexus
              operation limit of 30 for this namespace
    """,
    )
    s.expect_events(
        (await s.history())[3:4],
        """
        4 WorkflowTaskFailed cause=PENDING_NEXUS_OPERATIONS_LIMIT_EXCEEDED
              failure.message="PendingNexusOperationsLimitExceeded: workflow has reached the pending nexus
              operation limit of 30 for this namespace" failure.server_failure_info={}
    """,
    )


async def test_input_too_large(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.expect_refusal(
        s.step(schedule(endpoint, "x" * (2 * 1024 * 1024 + 1))),
        """
        INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: ScheduleNexusOperationCommandAttributes.Input
              exceeds size limit
    """,
    )
    s.expect_events(
        (await s.history())[3:],
        """
        4 WorkflowTaskFailed cause=BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES
              failure.message="BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.Input exceeds size limit" failure.server_failure_info={}
        5 WorkflowExecutionTerminated reason="BadScheduleNexusOperationAttributes:
              ScheduleNexusOperationCommandAttributes.Input exceeds size limit" identity=history-service
    """,
    )


async def test_an_endpoint_that_is_down_is_left_alone(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(*(schedule(endpoint) for _ in range(6)))
    for task in [await poll_nexus(s) for _ in range(6)]:
        await fail_nexus(s, task, handler_failure("UNAVAILABLE"))
    deadline = asyncio.get_running_loop().time() + 5
    while asyncio.get_running_loop().time() < deadline:
        found = (await s.describe()).pending_nexus_operations
        if all(operation.blocked_reason for operation in found):
            break
        await asyncio.sleep(0.1)
    s.expect_message(
        found[0],
        """
            endpoint=ep service=svc operation=op scheduled_time=<time> state=BLOCKED attempt=1
                  last_attempt_complete_time=<time> last_attempt_failure.message="not now"
                  last_attempt_failure.nexus_handler_failure_info.type=UNAVAILABLE blocked_reason="The
                  circuit breaker is open."
        """,
        hide=["scheduled_event_id"],
    )
