import contextlib
import re

import pytest
from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect


def _without_figures(text: str) -> str:
    """Without what a server may add after the refusal itself: sizes, limits and advice."""
    text = text.replace("CommandAttributes. Input", "CommandAttributes.Input")
    return re.sub(r"(exceeds (?:size )?limit)[.:][^\n\"]*", r"\1", text)


TOO_LARGE = "x" * (2 * 1024 * 1024 + 1)
LARGE = "x" * (1024 * 1024)
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING


async def test_inputs_of_calls(s: Scenario) -> None:
    await s.start()
    calls = {
        "start": lambda: s.start(workflow_id=s.id("big"), input=c.payloads(TOO_LARGE)),
        "start memo": lambda: s.start(workflow_id=s.id("big"), memo=Memo(fields={"m": c.payload(TOO_LARGE)})),
        "signal": lambda: s.signal("sig", TOO_LARGE),
        "signal with start": lambda: s.signal_with_start(signal_input=c.payloads(TOO_LARGE)),
        "query": lambda: s.query("q", TOO_LARGE),
        "terminate": lambda: s.terminate(details=c.payloads(TOO_LARGE)),
        "search attribute": lambda: s.start(
            workflow_id=s.id("big"),
            search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("k" * 3000)}),
        ),
        "search attributes in all": lambda: s.start(
            workflow_id=s.id("big"),
            search_attributes=SearchAttributes(indexed_fields={"ScenarioText": c.payload("k" * 50_000)}),
        ),
    }
    lines = []
    for name, call in calls.items():
        try:
            await call()
            lines.append(f"{name}: accepted")
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
    expect(
        _without_figures("\n".join(lines)),
        """
            start: INVALID_ARGUMENT: Blob data size exceeds limit
            start memo: INVALID_ARGUMENT: Memo size exceeds limit
            signal: INVALID_ARGUMENT: Blob data size exceeds limit
            signal with start: INVALID_ARGUMENT: Blob data size exceeds limit
            query: INVALID_ARGUMENT: Blob data size exceeds limit
            terminate: accepted
            search attribute: INVALID_ARGUMENT: search attribute ScenarioKeyword value size 3002 exceeds size
                  limit 2048
            search attributes in all: INVALID_ARGUMENT: search attribute ScenarioText value size 50002 exceeds
                  size limit 2048
        """,
    )


async def test_just_below_the_limit(s: Scenario) -> None:
    await s.start(input=c.payloads(LARGE))
    task = await s.poll()
    assert (
        len(task.history.events[0].workflow_execution_started_event_attributes.input.payloads[0].data)
        > 1024 * 1024
    )
    await s.complete(task, c.complete(LARGE))
    assert (
        len((await s.closed()).workflow_execution_completed_event_attributes.result.payloads[0].data)
        > 1024 * 1024
    )


async def test_commands_too_large_end_the_workflow(s: Scenario) -> None:
    big = c.payloads(TOO_LARGE)
    commands = {
        "activity": c.activity("a", s.tq, input=big),
        "marker": c.marker("m", data=TOO_LARGE),
        "memo": c.upsert_memo(m=TOO_LARGE),
        "child": c.child(s.id("child"), s.tq, input=big),
        "continue": c.continue_as_new(input=big),
        "signal": c.signal_external(s.id("other"), input=big),
    }
    lines = []
    for name, command in commands.items():
        workflow_id = s.id(name)
        await s.start(workflow_id=workflow_id)
        try:
            await s.step(command)
            lines.append(f"{name}: accepted")
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
        lines += [f"  {line}" for line in s.history_lines(await s.history(workflow_id))[3:]]
    expect(
        _without_figures("\n".join(lines)),
        """
            activity: INVALID_ARGUMENT: BadScheduleActivityAttributes:
                  ScheduleActivityTaskCommandAttributes.Input exceeds size limit
              4 WorkflowTaskFailed cause=BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
                  failure.message="BadScheduleActivityAttributes: ScheduleActivityTaskCommandAttributes.Input
                  exceeds size limit" failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadScheduleActivityAttributes:
                  ScheduleActivityTaskCommandAttributes.Input exceeds size limit" identity=history-service
            marker: INVALID_ARGUMENT: BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds
                  size limit
              4 WorkflowTaskFailed cause=BAD_RECORD_MARKER_ATTRIBUTES
                  failure.message="BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds
                  size limit" failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadRecordMarkerAttributes:
                  RecordMarkerCommandAttributes.Details exceeds size limit" identity=history-service
            memo: INVALID_ARGUMENT: BadModifyWorkflowPropertiesAttributes:
                  ModifyWorkflowPropertiesCommandAttributes exceeds size limit
              4 WorkflowTaskFailed cause=BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
                  failure.message="BadModifyWorkflowPropertiesAttributes:
                  ModifyWorkflowPropertiesCommandAttributes exceeds size limit" failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadModifyWorkflowPropertiesAttributes:
                  ModifyWorkflowPropertiesCommandAttributes exceeds size limit" identity=history-service
            child: INVALID_ARGUMENT: BadStartChildExecutionAttributes:
                  StartChildWorkflowExecutionCommandAttributes.Input exceeds size limit
              4 WorkflowTaskFailed cause=BAD_START_CHILD_EXECUTION_ATTRIBUTES
                  failure.message="BadStartChildExecutionAttributes:
                  StartChildWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadStartChildExecutionAttributes:
                  StartChildWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  identity=history-service
            continue: INVALID_ARGUMENT: BadContinueAsNewAttributes:
                  ContinueAsNewWorkflowExecutionCommandAttributes.Input exceeds size limit
              4 WorkflowTaskFailed cause=BAD_CONTINUE_AS_NEW_ATTRIBUTES
                  failure.message="BadContinueAsNewAttributes:
                  ContinueAsNewWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadContinueAsNewAttributes:
                  ContinueAsNewWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  identity=history-service
            signal: INVALID_ARGUMENT: BadSignalWorkflowExecutionAttributes:
                  SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit
              4 WorkflowTaskFailed cause=BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
                  failure.message="BadSignalWorkflowExecutionAttributes:
                  SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  failure.server_failure_info={}
              5 WorkflowExecutionTerminated reason="BadSignalWorkflowExecutionAttributes:
                  SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit"
                  identity=history-service
        """,
    )


async def test_result_too_large_ends_the_workflow(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    with pytest.raises(RPCError, match="Result exceeds size limit") as caught:
        await s.complete(task, c.complete(TOO_LARGE))
    assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert (await s.closed()).HasField("workflow_execution_terminated_event_attributes")


async def test_activity_result_too_large_fails_the_activity(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.expect_refusal(
        s.complete_activity(task, TOO_LARGE),
        """
            accepted
        """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message="Complete result exceeds size limit."
              failure.server_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=6
              retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_activity_failure_too_large_is_truncated(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(maximum_attempts=1)))
    task = await s.poll_activity()
    await s.expect_refusal(
        s.fail_activity(task, c.failure("m" * (2 * 1024 * 1024 + 1))),
        """
            accepted
        """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.maximum_attempts=1
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message="Failure exceeds size limit." failure.cause.message="<524272 x
              m>" failure.cause.application_failure_info.type=Boom
              failure.server_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=6
              retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_heartbeat_too_large(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.expect_refusal(
        s.heartbeat(task, TOO_LARGE),
        """
            accepted
        """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message="Heartbeat details exceed size limit."
              failure.server_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=6
              retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_message_above_four_mebibytes(s: Scenario) -> None:
    with pytest.raises(RPCError, match="grpc: received message") as caught:
        await s.start(input=c.payloads("x" * (4 * 1024 * 1024 + 1)))
    assert caught.value.status == RPCStatusCode.RESOURCE_EXHAUSTED


async def test_failure_of_an_attempt_is_shortened(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, start_to_close_timeout=60, retry_policy=c.retry(initial=60)))
    task = await s.poll_activity()
    await s.fail_activity(task, c.failure("x" * 5000))
    (pending,) = (await s.describe()).pending_activities
    s.expect_message(
        pending.last_failure,
        """
        message="Failure exceeds size limit." cause.message="<4080 x x>"
              cause.application_failure_info.type=Boom server_failure_info={}
    """,
    )


async def test_heartbeats_of_a_run_are_bounded_in_all(s: Scenario) -> None:
    await s.start()
    names = [f"a{n}" for n in range(6)]
    await s.step(*(c.activity(name, s.tq, start_to_close_timeout=60) for name in names))
    while (await s.describe()).workflow_execution_info.status == RUNNING:
        task = await s.poll_activity()
        with contextlib.suppress(RPCError):  # who brings a run over the limit is told so by the real server
            await s.heartbeat(task, "x" * (1024 * 1024 + 800 * 1024))
    s.expect_message(
        (await s.history())[-1].workflow_execution_terminated_event_attributes,
        """
            reason="Workflow mutable state size exceeds limit." identity=history-service
        """,
    )
