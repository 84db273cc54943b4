"""Paused workflows: what goes on, what waits, and what other calls are told.

The real server needs `--dynamic-config-value frontend.WorkflowPauseEnabled=true`.
"""

import asyncio
import uuid
from collections.abc import Awaitable
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionOptions

from . import commands as c
from .raw import CLOSE_EVENT, Scenario
from .resets import reset
from .snapshots import expect
from .updates import sent, told


def _request(s: Scenario, who: str, fields: dict[str, Any]) -> dict[str, Any]:
    usual = {
        "namespace": s.namespace,
        "workflow_id": s.wf,
        "identity": who,
        "reason": "why",
        "request_id": str(uuid.uuid4()),
    }
    return usual | fields


def pause(s: Scenario, **fields: Any) -> Awaitable[ws.PauseWorkflowExecutionResponse]:
    """Pause a workflow."""
    request = ws.PauseWorkflowExecutionRequest(**_request(s, "pauser", fields))
    return s.service.pause_workflow_execution(request)


def unpause(s: Scenario, **fields: Any) -> Awaitable[ws.UnpauseWorkflowExecutionResponse]:
    """Let a paused workflow go on."""
    request = ws.UnpauseWorkflowExecutionRequest(**_request(s, "unpauser", fields))
    return s.service.unpause_workflow_execution(request)


async def status(s: Scenario, workflow_id: str = "") -> str:
    info = (await s.describe(workflow_id)).workflow_execution_info
    return WorkflowExecutionStatus.Name(info.status).removeprefix("WORKFLOW_EXECUTION_STATUS_")


async def nothing_waits(s: Scenario) -> bool:
    return not (await s.poll_once(timeout=2.5)).task_token


async def test_task_that_waits(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await s.signal("before")
    await pause(s)
    await s.signal("while")
    assert await nothing_waits(s)
    s.expect_message(
        await s.describe(),
        """
            execution_config.task_queue=tq execution_config.default_workflow_task_timeout=10s
                  workflow_execution_info.execution.workflow_id=wf
                  workflow_execution_info.execution.run_id=run1 workflow_execution_info.type.name=demo
                  workflow_execution_info.start_time=<time> workflow_execution_info.status=PAUSED
                  workflow_execution_info.history_length=10 workflow_execution_info.execution_time=<time>
                  workflow_execution_info.memo={}
                  workflow_execution_info.search_attributes.indexed_fields={BuildIds: ['unversioned']{type:
                  KeywordList}, TemporalPauseInfo: ['Workflow:wf', 'Reason:why']{type: KeywordList}}
                  workflow_execution_info.auto_reset_points.points=[{run_id=run1
                  first_workflow_task_completed_id=4 create_time=<time> resettable=true}]
                  workflow_execution_info.task_queue=tq workflow_execution_info.state_transition_count=<set>
                  workflow_execution_info.history_size_bytes=<set>
                  workflow_execution_info.root_execution.workflow_id=wf
                  workflow_execution_info.root_execution.run_id=run1 workflow_execution_info.first_run_id=run1
                  workflow_extended_info.original_start_time=<time>
                  workflow_extended_info.pause_info.identity=pauser
                  workflow_extended_info.pause_info.paused_time=<time>
                  workflow_extended_info.pause_info.reason=why
        """,
        hide=["workflow_extended_info.request_id_infos", "workflow_extended_info.run_expiration_time"],
    )
    await unpause(s)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowExecutionSignaled signal_name=before request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskFailed scheduled_event_id=7 cause=WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
              identity=history-service started_event_id=unset
        9 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        10 WorkflowExecutionSignaled signal_name=while request_id=<id>
        11 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
        12 WorkflowTaskScheduled
    """)
    task = await s.poll()
    assert task.attempt == 1
    await s.complete(task, c.complete())
    await s.closed()


async def test_task_in_flight(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await pause(s)
    await s.signal("while")
    await s.complete(
        task, c.timer("t", 1), c.activity("a", s.tq), c.activity("e", s.tq, request_eager_execution=True)
    )
    await asyncio.sleep(1.5)
    assert await nothing_waits(s)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=1s workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        7 ActivityTaskScheduled activity_id=e schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        8 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        9 WorkflowExecutionSignaled signal_name=while request_id=<id>
        10 TimerFired timer_id=t started_event_id=5
    """)
    await unpause(s)
    given = {(await s.poll_activity()).activity_id, (await s.poll_activity()).activity_id}
    assert given == {"a", "e"}
    await s.poll()


async def test_run_is_not_closed_while_paused(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await pause(s)
    await s.expect_refusal(
        s.complete(task, c.complete("x")),
        """
        INVALID_ARGUMENT: UnhandledCommand
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=UNHANDLED_COMMAND failure.message=UnhandledCommand
              failure.server_failure_info={}
        5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
    """)
    await unpause(s)
    await s.step(c.complete("x"))
    await s.closed()


async def test_task_that_fails_while_paused(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await pause(s)
    await s.fail_task(task)
    assert await nothing_waits(s)
    await unpause(s)
    assert (await s.poll()).attempt == 1
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        6 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
    """)


async def test_task_that_times_out_while_paused(s: Scenario) -> None:
    await s.start(workflow_task_timeout=2)
    await s.poll()
    await pause(s)
    await asyncio.sleep(2.5)
    await unpause(s)
    assert (await s.poll()).attempt == 1
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_task_timeout=2s
        2 WorkflowTaskScheduled start_to_close_timeout=2s
        3 WorkflowTaskStarted
        4 WorkflowTaskTimedOut timeout_type=START_TO_CLOSE
        5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        6 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
        7 WorkflowTaskScheduled start_to_close_timeout=2s
        8 WorkflowTaskStarted
    """)


async def test_next_attempt_of_a_task(s: Scenario) -> None:
    await s.start()
    await s.fail_task(await s.poll())
    await pause(s)
    await unpause(s)
    assert (await s.poll()).attempt == 1
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        6 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
    """)


async def test_heartbeat_of_a_task(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await pause(s)
    await s.expect_refusal(
        s.complete(task, force_create_new_workflow_task=True),
        """
        FAILED_PRECONDITION: Workflow is paused and force create new workflow task is not allowed.
    """,
    )
    await s.complete(task)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
    """)


async def test_activities(s: Scenario) -> None:
    queues = {name: s.id(name) for name in ("held", "retried", "waiting")}
    await s.start()
    await s.step(
        c.activity("held", queues["held"]),
        c.activity("retried", queues["retried"], retry_policy=c.retry(initial=1)),
        c.activity("waiting", queues["waiting"]),
    )
    held = await s.poll_activity(queues["held"])
    await s.fail_activity(await s.poll_activity(queues["retried"]))
    await pause(s)
    answer = await s.heartbeat(held)
    assert not answer.activity_paused
    assert not answer.cancel_requested
    await asyncio.sleep(1.5)
    pending = (await s.describe()).pending_activities
    expect(
        "\n".join(
            sorted(
                f"{each.activity_id} state {each.state} attempt {each.attempt} {each.paused}"
                for each in pending
            )
        ),
        """
            held state 2 attempt 1 False
            retried state 1 attempt 2 False
            waiting state 1 attempt 1 False
        """,
    )
    await s.complete_activity(held, "done")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=held task_queue=held schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
              workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=retried task_queue=retried schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
              workflow_task_completed_event_id=4
        7 ActivityTaskScheduled activity_id=waiting task_queue=waiting schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
              workflow_task_completed_event_id=4
        8 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        9 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        10 ActivityTaskCompleted result=['done'] scheduled_event_id=5 started_event_id=9
    """)
    await unpause(s)
    given = [await s.poll_activity(queues["retried"]), await s.poll_activity(queues["waiting"])]
    expect(
        str([(each.activity_id, each.attempt) for each in given]),
        """
        [('retried', 2), ('waiting', 1)]
    """,
    )


async def test_activities_time_out_all_the_same(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, schedule_to_start_timeout=2))
    await pause(s)
    await asyncio.sleep(3)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=2s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        7 ActivityTaskTimedOut failure.message="activity ScheduleToStart timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START scheduled_event_id=5
              retry_state=TIMEOUT
    """)


async def test_calls_to_a_paused_run(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    request_id = str(uuid.uuid4())
    await pause(s, request_id=request_id)
    await pause(s, request_id=request_id)
    await s.expect_refusal(
        pause(s),
        """
        FAILED_PRECONDITION: workflow is already paused.
    """,
    )
    await s.expect_refusal(
        pause(s, request_id=""),
        """
        FAILED_PRECONDITION: workflow is already paused.
    """,
    )
    s.expect_message(
        await s.query(),
        """
        query_rejected.status=PAUSED
    """,
    )
    expect(
        await told(s, sent(s)),
        """
        FAILED_PRECONDITION: Workflow is paused. Cannot update the workflow.
    """,
    )
    await s.expect_refusal(
        s.start(),
        """
        ALREADY_EXISTS: Workflow execution is already running. WorkflowId: wf, RunId: run1.
          WorkflowExecutionAlreadyStartedFailure run_id=run1 first_execution_run_id=run1
    """,
    )
    await s.signal("one")
    await s.signal_with_start(signal_name="two")
    await s.service.update_workflow_execution_options(
        ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=s.namespace,
            workflow_execution=s.execution(),
            workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=3)),
            update_mask=FieldMask(paths=["priority"]),
        )
    )
    await s.request_cancel()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        7 WorkflowExecutionSignaled signal_name=one request_id=<id>
        8 WorkflowExecutionSignaled signal_name=two request_id=<id>
        9 WorkflowExecutionOptionsUpdated unset_versioning_override=true priority.priority_key=3
              identity=unset worker_may_ignore=true
        10 WorkflowExecutionCancelRequested
    """)


async def test_lists(s: Scenario) -> None:
    await s.start()
    await pause(s)
    await asyncio.sleep(2)  # until the real server lists it
    lines = []
    for query in (
        "ExecutionStatus = 'Paused'",
        "ExecutionStatus = 'Running'",
        f"TemporalPauseInfo = 'Workflow:{s.wf}'",
        "TemporalPauseInfo = 'Reason:why'",
        "CloseTime IS NULL",
    ):
        found = await s.service.list_workflow_executions(
            ws.ListWorkflowExecutionsRequest(
                namespace=s.namespace, query=f"WorkflowId = '{s.wf}' AND {query}"
            )
        )
        lines.append(f"{s.names.clean(query)}: {[each.status for each in found.executions]}")
    expect(
        "\n".join(lines),
        """
        ExecutionStatus = 'Paused': [8]
        ExecutionStatus = 'Running': []
        TemporalPauseInfo = 'Workflow:wf': [8]
        TemporalPauseInfo = 'Reason:why': [8]
        CloseTime IS NULL: [8]
    """,
    )
    s.expect_message(
        await s.service.count_workflow_executions(
            ws.CountWorkflowExecutionsRequest(
                namespace=s.namespace, query=f"WorkflowId = '{s.wf}' GROUP BY ExecutionStatus"
            )
        ),
        """
            count=1 groups=[{group_values=['Paused'{type: Keyword}] count=1}]
        """,
    )
    await unpause(s)
    assert await status(s) == "RUNNING"


async def test_last_event_of_a_paused_run(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await pause(s)
    page = await s.history_page(history_event_filter_type=CLOSE_EVENT)
    s.expect_events(
        page.history.events,
        """
            6 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        """,
    )


async def test_reset(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await pause(s)
    await unpause(s)
    await s.step(c.timer("t2", 600))
    await pause(s)
    await s.signal("while")
    made = await reset(s, 10)
    assert await status(s) == "RUNNING"
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
            7 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
            10 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            11 WorkflowExecutionSignaled signal_name=while request_id=<id>
            12 WorkflowTaskScheduled
        """,
        run_id=made,
    )


async def test_time_out(s: Scenario) -> None:
    await s.start(workflow_run_timeout=3)
    await s.step(c.timer("t", 600))
    await pause(s)
    await asyncio.sleep(4.5)
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=3s workflow_task_timeout=3s
        2 WorkflowTaskScheduled start_to_close_timeout=3s
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        7 WorkflowExecutionTimedOut retry_state=RETRY_POLICY_NOT_SET
    """)
    await s.expect_refusal(
        pause(s),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        unpause(s),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_terminated_while_paused(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        unpause(s),
        """
        FAILED_PRECONDITION: workflow is not paused.
    """,
    )
    await pause(s)
    await unpause(s)
    await pause(s)
    await s.terminate()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskFailed scheduled_event_id=2 cause=WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
              identity=history-service started_event_id=unset
        4 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        5 WorkflowExecutionUnpaused identity=unpauser reason=why request_id=<id> worker_may_ignore=true
        6 WorkflowTaskScheduled
        7 WorkflowTaskFailed scheduled_event_id=6 cause=WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
              identity=history-service started_event_id=unset
        8 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        9 WorkflowExecutionTerminated reason="terminated by user via frontend"
    """)
    assert (await s.describe()).workflow_extended_info.pause_info.identity == "pauser"
    assert await status(s) == "TERMINATED"


async def test_parent_and_child(s: Scenario) -> None:
    queue = s.id("cq")
    s.started.append(s.id("c1"))
    await s.start()
    await s.step(c.child(s.id("c1"), queue))
    child = await s.poll(queue)
    await s.step()
    await pause(s)
    await s.complete(child, c.complete("x"))
    await asyncio.sleep(0.5)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c1 workflow_type.name=demo
              task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s parent_close_policy=TERMINATE
              workflow_task_completed_event_id=4 workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=c1 workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
        11 ChildWorkflowExecutionCompleted result=['x'] namespace=default workflow_execution.workflow_id=c1
              workflow_execution.run_id=run2 workflow_type.name=demo initiated_event_id=5 started_event_id=6
              namespace_id=<id>
    """)


async def test_child_of_a_closed_parent(s: Scenario) -> None:
    queue = s.id("cq")
    s.started.append(s.id("c1"))
    await s.start()
    await s.step(c.child(s.id("c1"), queue))
    await s.complete(await s.poll(queue))
    await pause(s, workflow_id=s.id("c1"))
    await s.step(c.complete())
    await s.closed(s.id("c1"))
    await s.closed(s.id("c1"))
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=cq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=c1 root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=cq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionPaused identity=pauser reason=why request_id=<id> worker_may_ignore=true
            6 WorkflowExecutionTerminated reason="by parent close policy" identity=history-service
        """,
        workflow_id=s.id("c1"),
    )


async def test_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        pause(s),
        """
        NOT_FOUND: workflow not found for ID: wf
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        unpause(s),
        """
        NOT_FOUND: workflow not found for ID: wf
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        pause(s, workflow_id=""),
        """
        INVALID_ARGUMENT: Can't load workflow execution. WorkflowId not set.
    """,
    )
    await s.expect_refusal(
        pause(s, namespace=""),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        pause(s, namespace="nowhere"),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
    await s.expect_refusal(
        unpause(s, namespace=""),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        pause(s, run_id="bogus"),
        """
        INVALID_ARGUMENT: RunId is not valid UUID.
    """,
    )
    await s.expect_refusal(
        pause(s, run_id=str(uuid.uuid4())),
        """
        NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        pause(s, reason="x" * 1001),
        """
        INVALID_ARGUMENT: reason is too long.
    """,
    )
    await s.expect_refusal(
        pause(s, identity="x" * 1001),
        """
        INVALID_ARGUMENT: identity is too long.
    """,
    )
    await s.expect_refusal(
        unpause(s, request_id="x" * 1001),
        """
        INVALID_ARGUMENT: request id is too long.
    """,
    )
