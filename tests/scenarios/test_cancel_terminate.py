import uuid

from . import commands as c
from .raw import Scenario


async def test_cancel(s: Scenario) -> None:
    await s.start()
    await s.step()
    await s.request_cancel(reason="enough")
    await s.step(c.cancel("tidied"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCancelRequested cause=enough
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionCanceled workflow_task_completed_event_id=8 details=['tidied']
    """)


async def test_second_cancel_request(s: Scenario) -> None:
    await s.start()
    request_id = str(uuid.uuid4())
    await s.request_cancel(request_id=request_id)
    await s.request_cancel(request_id=request_id)
    await s.expect_refusal(
        s.request_cancel(),
        """
            accepted
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionCancelRequested
    """)


async def test_workflow_may_complete_in_spite_of_it(s: Scenario) -> None:
    await s.start()
    await s.request_cancel()
    await s.step(c.complete("anyway"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionCancelRequested
        4 WorkflowTaskStarted scheduled_event_id=2
        5 WorkflowTaskCompleted scheduled_event_id=2
        6 WorkflowExecutionCompleted result=['anyway'] workflow_task_completed_event_id=5
    """)


async def test_cancel_command_without_request(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        s.step(c.cancel()),
        """
            accepted
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCanceled workflow_task_completed_event_id=4
    """)


async def test_cancel_of_missing_and_closed(s: Scenario) -> None:
    await s.expect_refusal(
        s.request_cancel(s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.request_cancel("", run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )
    run = await s.start()
    await s.terminate()
    await s.expect_refusal(
        s.request_cancel(),
        """
            accepted
        """,
    )
    await s.expect_refusal(
        s.request_cancel(run_id=run.run_id),
        """
            accepted
        """,
    )


async def test_cancel_with_first_execution_run_id(s: Scenario) -> None:
    first = await s.start()
    await s.step(c.continue_as_new())
    await s.expect_refusal(
        s.request_cancel(first_execution_run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found
              NotFoundFailure
        """,
    )
    await s.request_cancel(first_execution_run_id=first.run_id)
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
        2 WorkflowExecutionCancelRequested
        3 WorkflowTaskScheduled
    """)


async def test_terminate(s: Scenario) -> None:
    await s.start()
    await s.terminate(reason="because", details=c.payloads("detail", 2))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated reason=because details=['detail', 2]
    """)


async def test_terminate_while_a_task_is_started(s: Scenario) -> None:
    await s.start()
    await s.poll()
    await s.signal("buffered")
    await s.terminate(reason="because")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
        5 WorkflowExecutionSignaled signal_name=buffered request_id=<id>
        6 WorkflowExecutionTerminated reason=because
    """)


async def test_terminate_during_a_transient_attempt(s: Scenario) -> None:
    await s.start()
    await s.fail_task(await s.poll())
    await s.poll()
    await s.terminate()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionTerminated reason="terminated by user via frontend"
    """)


async def test_terminate_with_pending_activity_and_timer(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.timer("t", 60))
    await s.poll_activity()
    await s.terminate()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=4
        7 WorkflowExecutionTerminated reason="terminated by user via frontend"
    """)


async def test_terminate_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        s.terminate(s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    run = await s.start()
    await s.expect_refusal(
        s.terminate(run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.terminate(run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )
    await s.expect_refusal(
        s.terminate(first_execution_run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found
              NotFoundFailure
        """,
    )
    await s.terminate(first_execution_run_id=run.run_id)
    await s.expect_refusal(
        s.terminate(),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_terminate_reaches_the_current_run_by_first_run_id(s: Scenario) -> None:
    first = await s.start()
    await s.step(c.continue_as_new())
    await s.terminate(first_execution_run_id=first.run_id)
    s.expect_events(
        [await s.closed()],
        """
            2 WorkflowExecutionTerminated reason="terminated by user via frontend"
        """,
    )
