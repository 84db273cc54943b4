"""Standalone Nexus operations: starts, answers of all kinds, completions, cancellation, termination, time-outs, deletion."""

import asyncio
from typing import Any

import pytest
import temporalio.api.nexus.v1 as nexus
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Callback, Link, SearchAttributes
from temporalio.api.enums.v1 import (
    NexusOperationIdConflictPolicy,
    NexusOperationIdReusePolicy,
    NexusOperationWaitStage,
)
from temporalio.api.failure.v1 import CanceledFailureInfo, Failure
from temporalio.api.nexusoperation.v1 import OnConflictOptions
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.service import RPCError

from . import commands as c
from .nexus import (
    NexusTask,
    answer,
    cancelling,
    create_endpoint,
    delete_endpoint,
    fail_nexus,
    handler_failure,
    operation_failed,
    poll_nexus,
    started,
    sync,
)
from .nexus_operations import HIDDEN, Operation
from .raw import Scenario
from .rendering import error, render
from .snapshots import expect, grouped

ABSENT = "00000000-0000-4000-8000-000000000000"
STARTED = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED
_Reuse = NexusOperationIdReusePolicy
_Conflict = NexusOperationIdConflictPolicy


@pytest.fixture
async def op(s: Scenario) -> Operation:
    return Operation(s, await create_endpoint(s))


async def _complete(s: Scenario, task: NexusTask, *values: Any, workflow_id: str = "handler") -> None:
    """What a handler has started ends: by a workflow whose callback is the task's."""
    sent = task.request.start_operation
    await s.start(
        workflow_id=s.id(workflow_id),
        completion_callbacks=[
            Callback(nexus=Callback.Nexus(url=sent.callback, header=dict(sent.callback_header)))
        ],
    )
    await s.step(c.complete(*values))


async def test_done_at_once(s: Scenario, op: Operation) -> None:
    reply = await op.start(
        "in",
        nexus_header={"Some-Key": "some value"},
        user_metadata=UserMetadata(summary=c.payload("sum"), details=c.payload("det")),
        search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("k")}),
        schedule_to_close_timeout=60,
    )
    s.expect_message(
        reply,
        """
            run_id=run1 started=true
        """,
    )
    task = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.start_operation.service=svc
                  request.start_operation.operation=op request.start_operation.callback=temporal://system
                  request.start_operation.payload='in'
                  request.start_operation.links=[{url=temporal:///namespaces/default/nexus-operations/nop/run1/details
                  type=temporal.api.common.v1.Link.NexusOperation}] request.endpoint=ep
                  request.capabilities.temporal_failure_responses=true
        """,
        hide=(
            "request.header",
            "request.start_operation.request_id",
            "request.start_operation.callback_header",
        ),
    )
    header = task.request.header
    expect(
        "\n".join(
            f"{key}: {header[key]}"
            for key in sorted(header)
            if key in ("some-key", "Some-Key", "content-type")
        ),
        """
            some-key: some value
        """,
    )
    assert "operation-timeout" in header
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=SCHEDULED info.schedule_to_close_timeout=60s info.attempt=1 info.schedule_time=<time>
              info.expiration_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes.indexed_fields={ScenarioKeyword: 'k'{type: Keyword}}
              info.nexus_header={some-key: "some value"} info.user_metadata.summary='sum'
              info.user_metadata.details='det' info.identity=tester input='in'
    """)
    assert (await op.describe()).info.request_id == task.request.start_operation.request_id
    assert not (await op.describe()).HasField("input")
    await answer(s, task, sync("out"))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED result='out'
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.schedule_to_close_timeout=60s info.attempt=1 info.schedule_time=<time>
              info.expiration_time=<time> info.close_time=<time> info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes.indexed_fields={ScenarioKeyword:
              'k'{type: Keyword}} info.nexus_header={some-key: "some value"} info.user_metadata.summary='sum'
              info.user_metadata.details='det' info.identity=tester input='in' result='out'
    """)
    s.expect_message(
        await op.describe(),
        """
            info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
                  info.schedule_to_close_timeout=60s info.attempt=1 info.schedule_time=<time>
                  info.expiration_time=<time> info.close_time=<time> info.request_id=<id>
                  info.state_transition_count=<set> info.search_attributes.indexed_fields={ScenarioKeyword:
                  'k'{type: Keyword}} info.nexus_header={some-key: "some value"}
                  info.user_metadata.summary='sum' info.user_metadata.details='det' info.identity=tester
        """,
        hide=HIDDEN,
    )
    await s.expect_refusal(
        op.cancel(),
        """
            FAILED_PRECONDITION: operation already completed
        """,
    )
    await s.expect_refusal(
        op.terminate(),
        """
            FAILED_PRECONDITION: invalid transition from Succeeded
        """,
    )


async def test_done_at_once_without_a_result(s: Scenario, op: Operation) -> None:
    await op.start()
    await answer(
        s,
        await poll_nexus(s),
        nexus.Response(
            start_operation=nexus.StartOperationResponse(sync_success=nexus.StartOperationResponse.Sync())
        ),
    )
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED result=None
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time> info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester result=None
    """)


async def test_started_and_completed(s: Scenario, op: Operation) -> None:
    await op.start("in", start_to_close_timeout=60)
    task = await poll_nexus(s)
    await answer(
        s,
        task,
        started(
            "token",
            nexus.Link(
                url="temporal:///namespaces/default/workflows/target/run/history?eventID=1"
                "&eventType=WorkflowExecutionStarted&referenceType=EventReference",
                type="temporal.api.common.v1.Link.WorkflowEvent",
            ),
        ),
    )
    s.expect_message(
        await op.outcome(wait_stage=STARTED),
        """
            run_id=run1 wait_stage=STARTED operation_token=token
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.start_to_close_timeout=60s info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
              info.state_transition_count=<set> info.search_attributes={}
              info.links=[{workflow_event.namespace=default workflow_event.workflow_id=target
              workflow_event.run_id=run workflow_event.event_ref.event_id=1
              workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}] info.identity=tester input='in'
    """)
    await _complete(s, task, "result")
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED operation_token=token result='result'
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.start_to_close_timeout=60s info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
              info.state_transition_count=<set> info.search_attributes={}
              info.links=[{workflow_event.namespace=default workflow_event.workflow_id=target
              workflow_event.run_id=run workflow_event.event_ref.event_id=1
              workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}] info.identity=tester input='in'
              result='result'
    """)


async def test_completed_before_it_was_started(s: Scenario, op: Operation) -> None:
    await op.start("in")
    task = await poll_nexus(s)
    await _complete(s, task, "early")
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED result='early'
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes={} info.links=[{workflow_event.namespace=default
              workflow_event.workflow_id=handler workflow_event.run_id=run2
              workflow_event.event_ref.event_id=1
              workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}] info.identity=tester input='in'
              result='early'
    """)
    info = (await op.describe()).info
    expect(
        "\n".join(render(link, s.names) for link in info.links),
        """
            workflow_event.namespace=default workflow_event.workflow_id=handler workflow_event.run_id=run2
                  workflow_event.event_ref.event_id=1
                  workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED
        """,
    )
    await answer(s, task, started("late"))
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes={} info.links=[{workflow_event.namespace=default
              workflow_event.workflow_id=handler workflow_event.run_id=run2
              workflow_event.event_ref.event_id=1
              workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED}] info.identity=tester input='in'
              result='early'
    """)


async def test_ends_of_what_was_started(s: Scenario, op: Operation) -> None:
    outcomes: dict[str, str] = {}
    for case, command in {
        "failed": c.fail(c.failure("bad")),
        "cancelled": c.cancel("why"),
        "terminated": None,
    }.items():
        op.id = s.id(case)
        await op.start()
        task = await poll_nexus(s)
        await answer(s, task, started("token"))
        await op.outcome(wait_stage=STARTED)
        sent = task.request.start_operation
        handler = s.id(f"{case}-handler")
        await s.start(
            workflow_id=handler,
            completion_callbacks=[
                Callback(nexus=Callback.Nexus(url=sent.callback, header=dict(sent.callback_header)))
            ],
        )
        if command is None:
            await s.terminate(handler)
        else:
            await s.step(command)
        outcomes[case] = render(await op.outcome(), s.names)
        outcomes[f"{case} described"] = render(
            await op.describe(include_outcome=True), s.names, frozenset(HIDDEN)
        )
    expect(
        grouped(outcomes),
        """
            run_id=run1 wait_stage=CLOSED operation_token=token failure.message=bad
                  failure.application_failure_info.type=Boom
              failed
            info.operation_id=failed info.endpoint=ep info.service=svc info.operation=op info.status=FAILED
                  info.attempt=1 info.schedule_time=<time> info.close_time=<time>
                  info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
                  info.state_transition_count=<set> info.search_attributes={} info.identity=tester
                  failure.message=bad failure.application_failure_info.type=Boom
              failed described
            run_id=run2 wait_stage=CLOSED operation_token=token failure.message="operation canceled"
                  failure.canceled_failure_info.details=['why']
              cancelled
            info.operation_id=cancelled info.endpoint=ep info.service=svc info.operation=op
                  info.status=CANCELED info.attempt=1 info.schedule_time=<time> info.close_time=<time>
                  info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
                  info.state_transition_count=<set> info.search_attributes={} info.identity=tester
                  failure.message="operation canceled" failure.canceled_failure_info.details=['why']
              cancelled described
            run_id=run3 wait_stage=CLOSED operation_token=token failure.message="operation terminated"
                  failure.terminated_failure_info={}
              terminated
            info.operation_id=terminated info.endpoint=ep info.service=svc info.operation=op
                  info.status=FAILED info.attempt=1 info.schedule_time=<time> info.close_time=<time>
                  info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
                  info.state_transition_count=<set> info.search_attributes={} info.identity=tester
                  failure.message="operation terminated" failure.terminated_failure_info={}
              terminated described
        """,
    )


async def test_operation_fails_at_once(s: Scenario, op: Operation) -> None:
    await op.start()
    await answer(s, await poll_nexus(s), operation_failed(c.failure("bad")))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message=bad failure.application_failure_info.type=Boom
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=FAILED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message=bad
              info.last_attempt_failure.application_failure_info.type=Boom info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
              failure.message=bad failure.application_failure_info.type=Boom
    """)


async def test_operation_is_cancelled_at_once(s: Scenario, op: Operation) -> None:
    await op.start()
    canceled = Failure(message="canceled", canceled_failure_info=CanceledFailureInfo())
    await answer(s, await poll_nexus(s), operation_failed(canceled))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message=canceled failure.canceled_failure_info={}
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=CANCELED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message=canceled
              info.last_attempt_failure.canceled_failure_info={} info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
              failure.message=canceled failure.canceled_failure_info={}
    """)


async def test_handler_fails_for_good(s: Scenario, op: Operation) -> None:
    await op.start()
    await fail_nexus(s, await poll_nexus(s), handler_failure("BAD_REQUEST", cause=c.failure("cause")))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message="not now" failure.cause.message=cause
                  failure.cause.application_failure_info.type=Boom
                  failure.nexus_handler_failure_info.type=BAD_REQUEST
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=FAILED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message="not now"
              info.last_attempt_failure.cause.message=cause
              info.last_attempt_failure.cause.application_failure_info.type=Boom
              info.last_attempt_failure.nexus_handler_failure_info.type=BAD_REQUEST info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
              failure.message="not now" failure.cause.message=cause
              failure.cause.application_failure_info.type=Boom
              failure.nexus_handler_failure_info.type=BAD_REQUEST
    """)


async def test_handler_is_asked_again(s: Scenario, op: Operation) -> None:
    await op.start()
    first = await poll_nexus(s)
    await fail_nexus(s, first, handler_failure("INTERNAL"))
    for _ in range(50):
        found = await op.describe()
        if found.info.attempt == 1 and found.info.HasField("next_attempt_schedule_time"):
            break
        await asyncio.sleep(0.05)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=BACKING_OFF info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message="not now"
              info.last_attempt_failure.nexus_handler_failure_info.type=INTERNAL
              info.next_attempt_schedule_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester
    """)
    second = await poll_nexus(s)
    assert second.request.start_operation.request_id == first.request.start_operation.request_id
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=SCHEDULED info.attempt=2 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message="not now"
              info.last_attempt_failure.nexus_handler_failure_info.type=INTERNAL info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
    """)
    await answer(s, second, sync("out"))
    await op.outcome()
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.attempt=2 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.last_attempt_failure.message="not now"
              info.last_attempt_failure.nexus_handler_failure_info.type=INTERNAL info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester result='out'
    """)


async def test_nobody_takes_the_call(s: Scenario, op: Operation) -> None:
    await op.start(schedule_to_close_timeout=30)
    for _ in range(130):
        found = await op.describe()
        if found.info.HasField("last_attempt_failure"):
            break
        await asyncio.sleep(0.1)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=BACKING_OFF info.schedule_to_close_timeout=30s info.attempt=1
              info.schedule_time=<time> info.expiration_time=<time> info.last_attempt_complete_time=<time>
              info.last_attempt_failure.message="upstream timeout"
              info.last_attempt_failure.nexus_handler_failure_info.type=UPSTREAM_TIMEOUT
              info.next_attempt_schedule_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester
    """)


async def test_cancel_what_was_started(s: Scenario, op: Operation) -> None:
    await op.start("in", nexus_header={"k": "v"})
    task = await poll_nexus(s)
    await answer(s, task, started("token"))
    await op.outcome(wait_stage=STARTED)
    await op.cancel(request_id="one", reason="enough")
    await op.cancel(request_id="one", reason="enough")
    await s.expect_refusal(
        op.cancel(request_id="two"),
        """
            FAILED_PRECONDITION: cancellation already requested with request ID one
        """,
    )
    asked = await poll_nexus(s)
    s.expect_message(
        asked,
        """
            task_token=<set> request.scheduled_time=<time> request.cancel_operation.service=svc
                  request.cancel_operation.operation=op request.cancel_operation.operation_id=token
                  request.cancel_operation.operation_token=token request.endpoint=ep request.capabilities={}
        """,
        hide=("request.header",),
    )
    assert asked.request.header["k"] == "v"
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=SCHEDULED
              info.cancellation_info.attempt=1 info.cancellation_info.reason=enough info.request_id=<id>
              info.operation_token=token info.state_transition_count=<set> info.search_attributes={}
              info.nexus_header={k: v} info.identity=tester input='in'
    """)
    await answer(s, asked, cancelling())
    for _ in range(50):
        found = await op.describe()
        if found.info.cancellation_info.HasField("last_attempt_complete_time"):
            break
        await asyncio.sleep(0.05)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=SUCCEEDED
              info.cancellation_info.attempt=1 info.cancellation_info.last_attempt_complete_time=<time>
              info.cancellation_info.reason=enough info.request_id=<id> info.operation_token=token
              info.state_transition_count=<set> info.search_attributes={} info.nexus_header={k: v}
              info.identity=tester input='in'
    """)
    await _complete(s, task, "anyway")
    await op.outcome()
    await op.cancel(request_id="one")
    await s.expect_refusal(
        op.cancel(request_id="three"),
        """
            FAILED_PRECONDITION: operation already completed
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=COMPLETED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=SUCCEEDED
              info.cancellation_info.attempt=1 info.cancellation_info.last_attempt_complete_time=<time>
              info.cancellation_info.reason=enough info.request_id=<id> info.operation_token=token
              info.state_transition_count=<set> info.search_attributes={} info.nexus_header={k: v}
              info.identity=tester input='in' result='anyway'
    """)


async def test_cancel_before_it_was_started(s: Scenario, op: Operation) -> None:
    await op.start()
    task = await poll_nexus(s)
    await op.cancel(request_id="one")
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=SCHEDULED info.attempt=1 info.schedule_time=<time> info.cancellation_info={}
              info.request_id=<id> info.state_transition_count=<set> info.search_attributes={}
              info.identity=tester
    """)
    await answer(s, task, started("token"))
    asked = await poll_nexus(s)
    assert asked.request.cancel_operation.operation_token == "token"
    await fail_nexus(s, asked, handler_failure("NOT_FOUND", "no such operation"))
    for _ in range(50):
        found = await op.describe()
        if found.info.cancellation_info.HasField("last_attempt_complete_time"):
            break
        await asyncio.sleep(0.05)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=FAILED
              info.cancellation_info.attempt=1 info.cancellation_info.last_attempt_complete_time=<time>
              info.cancellation_info.last_attempt_failure.message="no such operation"
              info.cancellation_info.last_attempt_failure.nexus_handler_failure_info.type=NOT_FOUND
              info.request_id=<id> info.operation_token=token info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester
    """)


async def test_cancellation_is_asked_again(s: Scenario, op: Operation) -> None:
    await op.start()
    task = await poll_nexus(s)
    await answer(s, task, started("token"))
    await op.outcome(wait_stage=STARTED)
    await op.cancel()
    await fail_nexus(s, await poll_nexus(s), handler_failure("UNAVAILABLE"))
    for _ in range(50):
        found = await op.describe()
        if found.info.cancellation_info.HasField("next_attempt_schedule_time"):
            break
        await asyncio.sleep(0.05)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=BACKING_OFF
              info.cancellation_info.attempt=1 info.cancellation_info.last_attempt_complete_time=<time>
              info.cancellation_info.last_attempt_failure.message="not now"
              info.cancellation_info.last_attempt_failure.nexus_handler_failure_info.type=UNAVAILABLE
              info.cancellation_info.next_attempt_schedule_time=<time> info.request_id=<id>
              info.operation_token=token info.state_transition_count=<set> info.search_attributes={}
              info.identity=tester
    """)
    await answer(s, await poll_nexus(s), cancelling())
    for _ in range(50):
        found = await op.describe()
        if not found.info.cancellation_info.HasField("last_attempt_failure"):
            break
        await asyncio.sleep(0.05)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=STARTED info.attempt=1 info.schedule_time=<time>
              info.last_attempt_complete_time=<time> info.cancellation_info.state=SUCCEEDED
              info.cancellation_info.attempt=2 info.cancellation_info.last_attempt_complete_time=<time>
              info.request_id=<id> info.operation_token=token info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester
    """)


async def test_terminate(s: Scenario, op: Operation) -> None:
    await op.start("in")
    task = await poll_nexus(s)
    await op.terminate(request_id="one", reason="enough")
    await op.terminate(request_id="one", reason="enough")
    await s.expect_refusal(
        op.terminate(request_id="two"),
        """
            FAILED_PRECONDITION: already terminated with request ID one
        """,
    )
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message=enough failure.terminated_failure_info.identity=me
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=TERMINATED
              info.attempt=1 info.schedule_time=<time> info.close_time=<time> info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester input='in'
              failure.message=enough failure.terminated_failure_info.identity=me
    """)
    await answer(s, task, sync("late"))
    await asyncio.sleep(0.2)
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message=enough failure.terminated_failure_info.identity=me
        """,
    )


async def test_schedule_to_close_timeout(s: Scenario, op: Operation) -> None:
    await op.start(schedule_to_close_timeout=4)
    await answer(s, await poll_nexus(s), started("token"))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED operation_token=token failure.message="operation timed out"
                  failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=TIMED_OUT
              info.schedule_to_close_timeout=4s info.attempt=1 info.schedule_time=<time>
              info.expiration_time=<time> info.close_time=<time> info.last_attempt_complete_time=<time>
              info.request_id=<id> info.operation_token=token info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester failure.message="operation timed out"
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
    """)


async def test_too_little_time_for_a_call(s: Scenario, op: Operation) -> None:
    await op.start(schedule_to_close_timeout=1)
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message="operation timed out"
                  failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=TIMED_OUT
              info.schedule_to_close_timeout=1s info.attempt=1 info.schedule_time=<time>
              info.expiration_time=<time> info.close_time=<time> info.last_attempt_complete_time=<time>
              info.last_attempt_failure.message="operation timed out"
              info.last_attempt_failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
              info.request_id=<id> info.state_transition_count=<set> info.search_attributes={}
              info.identity=tester failure.message="operation timed out"
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
    """)


async def test_schedule_to_start_timeout(s: Scenario, op: Operation) -> None:
    await op.start(schedule_to_start_timeout=2.3)
    await fail_nexus(s, await poll_nexus(s), handler_failure("INTERNAL"))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message="operation timed out"
                  failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=TIMED_OUT
              info.schedule_to_start_timeout=2.3s info.attempt=2 info.schedule_time=<time>
              info.close_time=<time> info.last_attempt_complete_time=<time>
              info.last_attempt_failure.message="operation timed out"
              info.last_attempt_failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START
              info.request_id=<id> info.state_transition_count=<set> info.search_attributes={}
              info.identity=tester failure.message="operation timed out"
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START
    """)


async def test_start_to_close_timeout(s: Scenario, op: Operation) -> None:
    await op.start(start_to_close_timeout=1)
    await answer(s, await poll_nexus(s), started("token"))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED operation_token=token failure.message="operation timed out"
                  failure.timeout_failure_info.timeout_type=START_TO_CLOSE
        """,
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=TIMED_OUT
              info.start_to_close_timeout=1s info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.request_id=<id> info.operation_token=token
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
              failure.message="operation timed out" failure.timeout_failure_info.timeout_type=START_TO_CLOSE
    """)


async def test_timeouts_are_capped(s: Scenario, op: Operation) -> None:
    await op.start(schedule_to_close_timeout=10, schedule_to_start_timeout=20, start_to_close_timeout=30)
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=SCHEDULED info.schedule_to_close_timeout=10s info.schedule_to_start_timeout=10s
              info.start_to_close_timeout=10s info.attempt=1 info.schedule_time=<time>
              info.expiration_time=<time> info.request_id=<id> info.state_transition_count=<set>
              info.search_attributes={} info.identity=tester
    """)


async def test_ids(s: Scenario, op: Operation) -> None:
    first = await op.start(request_id="one")
    outcomes: dict[str, str] = {}

    async def tried(case: str, **fields: Any) -> None:
        try:
            reply = await op.start(**fields)
        except RPCError as caught:
            outcomes[case] = error(caught, s.names)
        else:
            same = "the same" if reply.run_id == first.run_id else "another"
            outcomes[case] = f"{same}, started={reply.started}"

    await tried("open, same request", request_id="one")
    await tried("open", request_id="two")
    await tried(
        "open, use existing", id_conflict_policy=_Conflict.NEXUS_OPERATION_ID_CONFLICT_POLICY_USE_EXISTING
    )
    await tried("open, reject", id_reuse_policy=_Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_REJECT_DUPLICATE)
    await tried("open, unknown conflict policy", id_conflict_policy=7)
    await answer(s, await poll_nexus(s), sync("out"))
    await op.outcome()
    await tried("completed, same request", request_id="one")
    await tried("completed, reject", id_reuse_policy=_Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_REJECT_DUPLICATE)
    await tried(
        "completed, failed only",
        id_reuse_policy=_Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
    )
    await tried(
        "completed, use existing",
        id_reuse_policy=_Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_REJECT_DUPLICATE,
        id_conflict_policy=_Conflict.NEXUS_OPERATION_ID_CONFLICT_POLICY_USE_EXISTING,
    )
    await tried("completed, unknown reuse policy", id_reuse_policy=7, request_id="seven")
    await op.terminate()
    await tried(
        "terminated, failed only",
        id_reuse_policy=_Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
    )
    expect(
        grouped(outcomes),
        """
            the same, started=False
              open, same request, open, use existing, completed, same request
            ALREADY_EXISTS: nexus operation execution already started: request_id=one, run_id=run1 |
                  NexusOperationExecutionAlreadyStartedFailure run_id=run1
              open, open, reject, open, unknown conflict policy, completed, reject, completed, failed only,
                  completed, use existing
            another, started=True
              completed, unknown reuse policy, terminated, failed only
        """,
    )


async def test_older_runs_are_found_by_their_ids(s: Scenario, op: Operation) -> None:
    first = await op.start()
    await answer(s, await poll_nexus(s), sync("first"))
    await op.outcome()
    second = await op.start()
    assert first.run_id != second.run_id
    outcomes = {
        "first": render(await op.outcome(run_id=first.run_id), s.names),
        "newest": render(await op.describe(), s.names, frozenset(HIDDEN)),
    }
    expect(
        grouped(outcomes),
        """
            run_id=run1 wait_stage=CLOSED result='first'
              first
            info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
                  info.state=SCHEDULED info.attempt=1 info.schedule_time=<time> info.request_id=<id>
                  info.state_transition_count=<set> info.search_attributes={} info.identity=tester
              newest
        """,
    )


async def test_long_polls(s: Scenario, op: Operation) -> None:
    await op.start()
    assert not (await op.outcome(timeout=3)).run_id
    found = await op.describe()
    waiting = asyncio.ensure_future(op.describe(run_id=found.run_id, long_poll_token=found.long_poll_token))
    assert not (
        await op.describe(timeout=3, run_id=found.run_id, long_poll_token=found.long_poll_token)
    ).run_id
    await answer(s, await poll_nexus(s), started("token"))
    assert (await waiting).info.operation_token == "token"
    again = await op.describe(run_id=found.run_id, long_poll_token=found.long_poll_token)
    assert again.info.operation_token == "token"


async def test_tokens_of_long_polls(s: Scenario, op: Operation) -> None:
    await op.start()
    token = (await op.describe()).long_poll_token
    run_id = (await op.describe()).run_id
    other = Operation(s, op.endpoint)
    other.id = s.id("other")
    other_run_id = (await other.start()).run_id
    outcomes: dict[str, str] = {}
    for case, call in {
        "without a run": op.describe(long_poll_token=token),
        "garbage": op.describe(long_poll_token=b"nonsense", run_id=run_id),
        "of another": other.describe(long_poll_token=token, run_id=other_run_id),
        "no uuid": op.describe(long_poll_token=token, run_id="no"),
    }.items():
        await s.expect_refusal_of(outcomes, case, call)
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: run_id is required when long_poll_token is provided
              without a run
            INVALID_ARGUMENT: invalid long poll token
              garbage
            INVALID_ARGUMENT: long poll token does not match execution
              of another
            INVALID_ARGUMENT: run_id is not a valid UUID
              no uuid
        """,
    )


async def test_bad_starts(s: Scenario, op: Operation) -> None:
    long = "x" * 1001
    big = c.payload("x" * (2 * 1024 * 1024 + 1))
    cases: dict[str, dict[str, Any]] = {
        "no id": {"operation_id": ""},
        "long id": {"operation_id": long},
        "no endpoint": {"endpoint": ""},
        "unknown endpoint": {"endpoint": "nobody"},
        "no service": {"service": ""},
        "long service": {"service": long},
        "no operation": {"operation": ""},
        "long operation": {"operation": long},
        "long identity": {"identity": long},
        "long request id": {"request_id": long},
        "large input": {"input": big},
        "large summary": {"user_metadata": UserMetadata(summary=c.payload("x" * 401))},
        "large details": {"user_metadata": UserMetadata(details=c.payload("x" * 20001))},
        "reserved header": {"nexus_header": {"Request-Timeout": "1s"}},
        "large header": {"nexus_header": {"k": "x" * 8192}},
        "unknown attribute": {
            "search_attributes": SearchAttributes(indexed_fields={"Nothing": c.keyword("x")})
        },
        "negative schedule-to-close": {"schedule_to_close_timeout": Duration(seconds=-1)},
        "negative schedule-to-start": {"schedule_to_start_timeout": Duration(seconds=-1)},
        "negative start-to-close": {"start_to_close_timeout": Duration(seconds=-1)},
        "another namespace": {"namespace": "nowhere"},
    }
    outcomes: dict[str, str] = {}
    for case, fields in cases.items():
        await s.expect_refusal_of(outcomes, case, op.start(**fields))
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: operation_id is required
              no id
            INVALID_ARGUMENT: operation_id exceeds length limit. Length=1001 Limit=1000
              long id
            INVALID_ARGUMENT: endpoint is required
              no endpoint
            NOT_FOUND: could not find Nexus endpoint by name: nobody | NotFoundFailure
              unknown endpoint
            INVALID_ARGUMENT: service is required
              no service
            INVALID_ARGUMENT: service exceeds length limit. Length=1001 Limit=1000
              long service
            INVALID_ARGUMENT: operation is required
              no operation
            INVALID_ARGUMENT: operation exceeds length limit. Length=1001 Limit=1000
              long operation
            INVALID_ARGUMENT: identity exceeds length limit. Length=1001 Limit=1000
              long identity
            INVALID_ARGUMENT: request_id exceeds length limit. Length=1001 Limit=1000
              long request id
            INVALID_ARGUMENT: input exceeds size limit. Length=2097184 Limit=2097152
              large input
            INVALID_ARGUMENT: user_metadata.summary exceeds size limit. Length=430 Limit=400
              large summary
            INVALID_ARGUMENT: user_metadata.details exceeds size limit. Length=20031 Limit=20000
              large details
            INVALID_ARGUMENT: nexus_header contains a disallowed key: "Request-Timeout"
              reserved header
            INVALID_ARGUMENT: nexus_header exceeds size limit
              large header
            INVALID_ARGUMENT: Namespace default has no mapping defined for search attribute Nothing
              unknown attribute
            INVALID_ARGUMENT: schedule_to_close_timeout is invalid: negative duration
              negative schedule-to-close
            INVALID_ARGUMENT: schedule_to_start_timeout is invalid: negative duration
              negative schedule-to-start
            INVALID_ARGUMENT: start_to_close_timeout is invalid: negative duration
              negative start-to-close
            NOT_FOUND: Namespace nowhere is not found. | NamespaceNotFoundFailure namespace=nowhere
              another namespace
        """,
    )


async def test_fields_that_are_not_used(s: Scenario, op: Operation) -> None:
    await op.start(
        links=[Link(workflow_event=Link.WorkflowEvent(namespace="default", workflow_id="w", run_id="r"))],
        completion_callbacks=[Callback(nexus=Callback.Nexus(url="http://localhost:1/x"))],
        on_conflict_options=OnConflictOptions(attach_links=True),
    )
    await op.expect("""
        info.operation_id=nop info.endpoint=ep info.service=svc info.operation=op info.status=RUNNING
              info.state=SCHEDULED info.attempt=1 info.schedule_time=<time> info.request_id=<id>
              info.state_transition_count=<set> info.search_attributes={} info.identity=tester
    """)


async def test_bad_calls(s: Scenario, op: Operation) -> None:
    await op.start()
    absent = Operation(s, op.endpoint)
    absent.id = s.id("absent")
    long = "x" * 1001
    outcomes: dict[str, str] = {}
    for case, call in {
        "describe": absent.describe(),
        "poll": absent.outcome(),
        "cancel": absent.cancel(),
        "terminate": absent.terminate(),
        "delete": absent.delete(),
        "describe, no id": absent.describe(operation_id=""),
        "poll, no id": absent.outcome(operation_id=""),
        "cancel, no id": absent.cancel(operation_id=""),
        "terminate, no id": absent.terminate(operation_id=""),
        "delete, no id": absent.delete(operation_id=""),
        "describe, long id": absent.describe(operation_id=long),
        "describe, bad run": op.describe(run_id="no"),
        "poll, bad run": op.outcome(run_id="no"),
        "cancel, bad run": op.cancel(run_id="no"),
        "terminate, bad run": op.terminate(run_id="no"),
        "delete, bad run": op.delete(run_id="no"),
        "describe, absent run": op.describe(run_id=ABSENT),
        "poll, absent run": op.outcome(run_id=ABSENT),
        "cancel, absent run": op.cancel(run_id=ABSENT),
        "terminate, absent run": op.terminate(run_id=ABSENT),
        "delete, absent run": op.delete(run_id=ABSENT),
        "poll, unknown stage": op.outcome(wait_stage=7),
        "cancel, long request id": op.cancel(request_id=long),
        "cancel, long identity": op.cancel(identity=long),
        "cancel, long reason": op.cancel(reason=long),
        "terminate, long reason": op.terminate(reason=long),
        "describe, nowhere": op.describe(namespace="nowhere"),
    }.items():
        await s.expect_refusal_of(outcomes, case, call)
    expect(
        grouped(outcomes),
        """
            NOT_FOUND: operation not found for ID: absent | NotFoundFailure
              describe, poll, cancel, terminate, delete
            INVALID_ARGUMENT: operation_id is required
              describe, no id, poll, no id, cancel, no id, terminate, no id, delete, no id
            INVALID_ARGUMENT: operation_id exceeds length limit. Length=1001 Limit=1000
              describe, long id
            INVALID_ARGUMENT: run_id is not a valid UUID
              describe, bad run, poll, bad run, cancel, bad run, terminate, bad run, delete, bad run
            NOT_FOUND: operation not found for ID: nop | NotFoundFailure
              describe, absent run, poll, absent run, cancel, absent run, terminate, absent run, delete,
                  absent run
            INVALID_ARGUMENT: unsupported wait_stage: 7
              poll, unknown stage
            INVALID_ARGUMENT: request_id exceeds length limit. Length=1001 Limit=1000
              cancel, long request id
            INVALID_ARGUMENT: identity exceeds length limit. Length=1001 Limit=1000
              cancel, long identity
            INVALID_ARGUMENT: reason exceeds length limit. Length=1001 Limit=1000
              cancel, long reason, terminate, long reason
            NOT_FOUND: Namespace nowhere is not found. | NamespaceNotFoundFailure namespace=nowhere
              describe, nowhere
        """,
    )


async def test_delete(s: Scenario, op: Operation) -> None:
    await op.start()
    await op.delete()
    outcomes: dict[str, str] = {}
    for _ in range(50):
        outcomes.clear()
        await s.expect_refusal_of(outcomes, "describe", op.describe())
        if "NOT_FOUND" in outcomes["describe"]:
            break
        await asyncio.sleep(0.1)
    expect(
        grouped(outcomes),
        """
            NOT_FOUND: operation not found for ID: nop | NotFoundFailure
              describe
        """,
    )


async def test_the_endpoint_is_gone(s: Scenario, op: Operation) -> None:
    await op.start()
    task = await poll_nexus(s)
    assert not isinstance(op.endpoint, str)
    await delete_endpoint(s, op.endpoint)
    await fail_nexus(s, task, handler_failure("INTERNAL"))
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED failure.message="endpoint not registered"
                  failure.nexus_handler_failure_info.type=NOT_FOUND
        """,
    )


async def test_without_a_namespace(s: Scenario) -> None:
    outcomes: dict[str, str] = {}
    for case, call in {
        "describe": s.service.describe_nexus_operation_execution(
            ws.DescribeNexusOperationExecutionRequest(operation_id="x")
        ),
        "list": s.service.list_nexus_operation_executions(ws.ListNexusOperationExecutionsRequest()),
    }.items():
        await s.expect_refusal_of(outcomes, case, call)
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: Namespace is empty.
              describe, list
        """,
    )
