import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect

CAUSE = enums.WorkflowTaskFailedCause
LARGE = "x" * (1024 * 1024 + 512 * 1024)


async def test_poll_reply(s: Scenario) -> None:
    await s.start(input=c.payloads(1))
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=3 attempt=1 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted input=[1]
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )
    await s.complete(task, c.complete())


async def test_reply_to_completion_is_empty(s: Scenario) -> None:
    await s.start()
    s.expect_message(await s.complete(await s.poll()), "")


async def test_second_completion_is_refused(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.complete(task)
    await s.expect_refusal(
        s.complete(task),
        """
            NOT_FOUND: Workflow task not found.
              NotFoundFailure
        """,
    )


async def test_completion_after_close_is_refused(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.terminate()
    await s.expect_refusal(
        s.complete(task, c.complete()),
        """
            NOT_FOUND: Workflow task not found.
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.fail_task(task),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_bad_tokens(s: Scenario) -> None:
    await s.expect_refusal(
        s.complete(b""),
        """
            INVALID_ARGUMENT: Task token not set on request.
        """,
    )
    await s.expect_refusal(
        s.complete(b"garbage"),
        """
            INVALID_ARGUMENT: Error deserializing task token.
        """,
    )


async def test_unknown_namespace(s: Scenario) -> None:
    request = ws.PollWorkflowTaskQueueRequest(namespace="nowhere", task_queue={"name": s.tq})
    await s.expect_refusal(
        s.service.poll_workflow_task_queue(request),
        """
            NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
        """,
    )


async def test_events_that_arrive_while_started_are_buffered(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.timer("t", 0.1))
    held = await s.poll()
    activity = await s.poll_activity()
    await s.signal("one")
    await s.complete_activity(activity, "result")
    await s.signal("two")
    await s.request_cancel()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 TimerStarted timer_id=t start_to_fire_timeout=0.1s workflow_task_completed_event_id=4
        7 TimerFired timer_id=t started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
    """)
    await s.complete(held)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 TimerStarted timer_id=t start_to_fire_timeout=0.1s workflow_task_completed_event_id=4
        7 TimerFired timer_id=t started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionSignaled signal_name=one request_id=<id>
        12 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        13 WorkflowExecutionSignaled signal_name=two request_id=<id>
        14 WorkflowExecutionCancelRequested
        15 ActivityTaskCompleted result=['result'] scheduled_event_id=5 started_event_id=12
        16 WorkflowTaskScheduled
    """)
    await s.poll()


async def test_buffered_events_are_flushed_with_activities_last(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq), force_create_new_workflow_task=True)
    held = await s.poll()
    first, second = await s.poll_activity(), await s.poll_activity()
    by_id = {first.activity_id: first, second.activity_id: second}
    await s.complete_activity(by_id["b"], "B")
    await s.signal("one")
    await s.fail_activity(by_id["a"], c.failure(non_retryable=True))
    await s.signal("two")
    await s.complete(held, c.timer("t", 60))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=b schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=9
        11 ActivityTaskStarted scheduled_event_id=6 request_id=<id>
        12 WorkflowExecutionSignaled signal_name=one request_id=<id>
        13 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        14 WorkflowExecutionSignaled signal_name=two request_id=<id>
        15 ActivityTaskCompleted result=['B'] scheduled_event_id=6 started_event_id=11
        16 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              failure.application_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=13
              retry_state=NON_RETRYABLE_FAILURE
        17 WorkflowTaskScheduled
    """)


async def test_closing_command_with_buffered_event_is_unhandled(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.signal("late")
    await s.expect_refusal(
        s.complete(task, c.timer("t", 60), c.complete("no")),
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
        5 WorkflowExecutionSignaled signal_name=late request_id=<id>
        6 WorkflowTaskScheduled
    """)
    again = await s.poll()
    s.expect_message(
        again,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=7 attempt=1 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    await s.complete(again, c.complete("yes"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=UNHANDLED_COMMAND failure.message=UnhandledCommand
              failure.server_failure_info={}
        5 WorkflowExecutionSignaled signal_name=late request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionCompleted result=['yes'] workflow_task_completed_event_id=8
    """)


async def test_unhandled_command_for_each_closing_command(s: Scenario) -> None:
    lines = []
    for name, command in {"fail": c.fail(), "cancel": c.cancel(), "continue": c.continue_as_new()}.items():
        workflow_id = s.id(name)
        await s.start(workflow_id=workflow_id)
        task = await s.poll()
        await s.signal("late", workflow_id=workflow_id)
        try:
            await s.complete(task, command)
            lines.append(f"{name}: accepted")
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
        await s.terminate(workflow_id)
    expect(
        "\n".join(lines),
        """
            fail: INVALID_ARGUMENT: UnhandledCommand
            cancel: INVALID_ARGUMENT: UnhandledCommand
            continue: INVALID_ARGUMENT: UnhandledCommand
        """,
    )


async def test_failed_task_is_tried_again_without_new_events(s: Scenario) -> None:
    await s.start()
    first = await s.poll()
    await s.fail_task(first, cause=CAUSE.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=NON_DETERMINISTIC_ERROR failure.message="broken task"
              failure.application_failure_info.type=Boom
        5 WorkflowTaskScheduled attempt=2
    """)
    second = await s.poll()
    s.expect_message(
        second,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=6 attempt=2 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        second.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=NON_DETERMINISTIC_ERROR failure.message="broken task"
                  failure.application_failure_info.type=Boom
            5 WorkflowTaskScheduled attempt=2
            6 WorkflowTaskStarted
        """,
    )
    await s.fail_task(second)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=NON_DETERMINISTIC_ERROR failure.message="broken task"
              failure.application_failure_info.type=Boom
        5 WorkflowTaskScheduled attempt=3
    """)
    third = await s.poll()
    s.expect_message(
        third,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=6 attempt=3 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    pending = (await s.describe()).pending_workflow_task
    s.expect_message(
        pending,
        """
            state=STARTED scheduled_time=<time> original_scheduled_time=<time> started_time=<time> attempt=3
        """,
    )
    await s.complete(third, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=NON_DETERMINISTIC_ERROR failure.message="broken task"
              failure.application_failure_info.type=Boom
        5 WorkflowTaskScheduled attempt=3
        6 WorkflowTaskStarted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionCompleted workflow_task_completed_event_id=7
    """)


async def test_signal_during_transient_attempt(s: Scenario) -> None:
    await s.start()
    await s.fail_task(await s.poll())
    await s.fail_task(await s.poll())
    await s.signal("between")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionSignaled signal_name=between request_id=<id>
    """)
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=7 attempt=1 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
            5 WorkflowExecutionSignaled signal_name=between request_id=<id>
            6 WorkflowTaskScheduled
            7 WorkflowTaskStarted
        """,
    )
    await s.complete(task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionSignaled signal_name=between request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionCompleted workflow_task_completed_event_id=8
    """)


async def test_signal_while_transient_attempt_is_started(s: Scenario) -> None:
    await s.start()
    await s.fail_task(await s.poll())
    task = await s.poll()
    await s.signal("during")
    await s.complete(task)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowTaskScheduled attempt=2
        6 WorkflowTaskStarted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionSignaled signal_name=during request_id=<id>
        9 WorkflowTaskScheduled
    """)


async def test_fail_while_events_are_buffered(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.signal("during")
    await s.fail_task(task)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        5 WorkflowExecutionSignaled signal_name=during request_id=<id>
        6 WorkflowTaskScheduled
    """)
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=7 attempt=1 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )


async def test_timeout(s: Scenario) -> None:
    await s.start(workflow_task_timeout=1)
    await s.poll()
    second = await s.poll()
    s.expect_message(
        second,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=6 attempt=2 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        second.history.events,
        """
            1 WorkflowExecutionStarted workflow_task_timeout=1s
            2 WorkflowTaskScheduled start_to_close_timeout=1s
            3 WorkflowTaskStarted
            4 WorkflowTaskTimedOut timeout_type=START_TO_CLOSE
            5 WorkflowTaskScheduled start_to_close_timeout=1s attempt=2
            6 WorkflowTaskStarted
        """,
    )
    await s.complete(second, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_task_timeout=1s
        2 WorkflowTaskScheduled start_to_close_timeout=1s
        3 WorkflowTaskStarted
        4 WorkflowTaskTimedOut timeout_type=START_TO_CLOSE
        5 WorkflowTaskScheduled start_to_close_timeout=1s attempt=2
        6 WorkflowTaskStarted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionCompleted workflow_task_completed_event_id=7
    """)


async def test_late_completion_after_timeout_is_refused(s: Scenario) -> None:
    await s.start(workflow_task_timeout=1)
    first = await s.poll()
    await s.poll()
    await s.expect_refusal(
        s.complete(first, c.complete()),
        """
            NOT_FOUND: Workflow task not found.
              NotFoundFailure
        """,
    )


async def test_force_new_task(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    reply = await s.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert reply.workflow_task.task_token
    s.expect_message(
        reply.workflow_task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 started_event_id=6 attempt=1
                  workflow_execution_task_queue=tq scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        reply.workflow_task.history.events,
        """
            4 WorkflowTaskCompleted
            5 WorkflowTaskScheduled
            6 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        """,
    )
    reply = await s.complete(reply.workflow_task, c.complete(), return_new_workflow_task=True)
    s.expect_message(reply, "")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionCompleted workflow_task_completed_event_id=7
    """)


async def test_return_new_task_with_buffered_event(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.signal("during")
    reply = await s.complete(task, return_new_workflow_task=True)
    s.expect_message(
        reply.workflow_task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 started_event_id=7 attempt=1
                  workflow_execution_task_queue=tq scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        reply.workflow_task.history.events,
        """
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=during request_id=<id>
            6 WorkflowTaskScheduled
            7 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        """,
    )


async def test_commands_after_a_closing_command_are_refused(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.complete(), c.timer("t", 60)),
        """
            INVALID_ARGUMENT: invalid command sequence: [CompleteWorkflowExecution, StartTimer], command
                  CompleteWorkflowExecution must be the last command.
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
    """)


async def test_two_closing_commands(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.complete(1), c.fail()),
        """
            INVALID_ARGUMENT: invalid command sequence: [CompleteWorkflowExecution, FailWorkflowExecution],
                  command CompleteWorkflowExecution must be the last command.
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
    """)


async def test_bad_commands(s: Scenario) -> None:
    """Each fails the task with its cause, and tells the worker the same."""
    queue = s.tq
    cases = {
        "activity without type": [c.activity("a", s.tq, activity_type=None)],
        "activity with empty type": [c.activity("a", s.tq, activity_type="")],
        "activity without id": [c.activity("", s.tq)],
        "activity without queue": [c.activity("a", "")],
        "activity twice": [c.activity("a", s.tq), c.activity("a", s.tq)],
        "activity without timeouts": [c.activity("a", s.tq, heartbeat_timeout=1, start_to_close_timeout=0)],
        "activity with negative timeout": [c.activity("a", s.tq, start_to_close_timeout=-1)],
        "activity with bad retry": [c.activity("a", s.tq, retry_policy=c.retry(backoff_coefficient=0.1))],
        "activity with long id": [c.activity("a" * 1001, s.tq)],
        "activity on a reserved queue": [c.activity("a", "/_sys/q")],
        "cancel of unknown activity": [c.cancel_activity(99)],
        "cancel of no activity": [c.cancel_activity(0)],
        "timer without id": [c.timer("")],
        "timer negative": [c.timer("t", -1)],
        "timer long id": [c.timer("t" * 1001)],
        "cancel of timer without id": [c.cancel_timer("")],
        "fail without failure": [_fail_without_failure()],
        "marker without name": [c.marker("")],
        "marker long name": [c.marker("m" * 1001)],
        "child without id": [c.child("", queue)],
        "child without type": [c.child("x", queue, workflow_type="")],
        "child with long id": [c.child("x" * 1001, queue)],
        "child with bad cron": [c.child("x", queue, cron_schedule="bad")],
        "child with negative timeout": [c.child("x", queue, workflow_run_timeout=-1)],
        "child with bad retry": [c.child("x", queue, retry_policy=c.retry(maximum_attempts=-1))],
        "child in unknown namespace": [c.child("x", queue, namespace="nowhere")],
        "continue with negative timeout": [c.continue_as_new(workflow_run_timeout=-1)],
        "continue with negative backoff": [c.continue_as_new(backoff_start_interval=-1)],
        "continue with long type": [c.continue_as_new("t" * 1001)],
        "signal without name": [c.signal_external("x", "")],
        "signal without id": [c.signal_external("")],
        "signal bad run id": [c.signal_external("x", run_id="not a uuid")],
        "signal in unknown namespace": [c.signal_external("x", namespace="nowhere")],
        "cancel external without id": [c.cancel_external("")],
        "cancel external bad run id": [c.cancel_external("x", run_id="not a uuid")],
        "unknown search attribute": [c.upsert_search_attributes({"Nonsense": c.keyword("x")})],
        "wrong type of search attribute": [c.upsert_search_attributes({"ScenarioInt": c.payload("text")})],
        "system search attribute": [c.upsert_search_attributes({"WorkflowId": c.keyword("x")})],
        "no search attributes": [c.upsert_search_attributes({})],
        "no memo": [c.upsert_memo()],
    }
    lines = []
    for name, commands in cases.items():
        workflow_id = s.id(name)
        await s.start(workflow_id=workflow_id)
        task = await s.poll()
        try:
            await s.complete(task, *commands)
            lines.append(f"{name}: accepted")
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
        causes = [
            event.workflow_task_failed_event_attributes.cause
            for event in await s.history(workflow_id)
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        told = [CAUSE.Name(cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_") for cause in causes]
        lines.append(f"  {', '.join(told) or 'no event'}")
        await s.terminate(workflow_id)
    expect(
        "\n".join(lines),
        """
            activity without type: INVALID_ARGUMENT: BadScheduleActivityAttributes: activityType is not set
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity with empty type: INVALID_ARGUMENT: BadScheduleActivityAttributes: activityType is not set
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity without id: INVALID_ARGUMENT: BadScheduleActivityAttributes: activityId is not set
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity without queue: INVALID_ARGUMENT: BadScheduleActivityAttributes: taskQueue is not set
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity twice: INVALID_ARGUMENT: ScheduleActivityDuplicateId: invalid history builder state for
                  action: add-activitytask-scheduled-event, ActivityID: a
              SCHEDULE_ACTIVITY_DUPLICATE_ID
            activity without timeouts: INVALID_ARGUMENT: BadScheduleActivityAttributes: a valid
                  StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. ActivityId=a
                  ActivityType=act
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity with negative timeout: INVALID_ARGUMENT: BadScheduleActivityAttributes: invalid
                  StartToCloseTimeout: negative duration
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity with bad retry: INVALID_ARGUMENT: BadScheduleActivityAttributes: BackoffCoefficient
                  cannot be less than 1 on retry policy.
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity with long id: INVALID_ARGUMENT: BadScheduleActivityAttributes: activityId exceeds length
                  limit. Length=1001 Limit=1000
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            activity on a reserved queue: INVALID_ARGUMENT: BadScheduleActivityAttributes: task queue name
                  cannot start with reserved prefix /_sys/
              BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
            cancel of unknown activity: INVALID_ARGUMENT: BadRequestCancelActivityAttributes: invalid history
                  builder state for action: add-activitytask-cancel-requested-event, ScheduledEventID: 99
              BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
            cancel of no activity: INVALID_ARGUMENT: BadRequestCancelActivityAttributes: ScheduledEventId is
                  not set on RequestCancelActivityTaskCommand.
              BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
            timer without id: INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on
                  StartTimerCommand.
              BAD_START_TIMER_ATTRIBUTES
            timer negative: INVALID_ARGUMENT: BadStartTimerAttributes: An invalid StartToFireTimeout is set on
                  StartTimerCommand: negative duration. TimerId=t
              BAD_START_TIMER_ATTRIBUTES
            timer long id: INVALID_ARGUMENT: BadStartTimerAttributes: TimerId on StartTimerCommand exceeds
                  length limit. TimerId=<1001 x t> Length=1001 Limit=1000
              BAD_START_TIMER_ATTRIBUTES
            cancel of timer without id: INVALID_ARGUMENT: BadCancelTimerAttributes: TimerId is not set on
                  CancelTimerCommand.
              BAD_CANCEL_TIMER_ATTRIBUTES
            fail without failure: INVALID_ARGUMENT: BadFailWorkflowExecutionAttributes: Failure is not set on
                  FailWorkflowExecutionCommand.
              BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
            marker without name: INVALID_ARGUMENT: BadRecordMarkerAttributes: MarkerName is not set on
                  RecordMarkerCommand.
              BAD_RECORD_MARKER_ATTRIBUTES
            marker long name: INVALID_ARGUMENT: BadRecordMarkerAttributes: MarkerName on RecordMarkerCommand
                  exceeds length limit. MarkerName=<1001 x m> Length=1001 Limit=1000
              BAD_RECORD_MARKER_ATTRIBUTES
            child without id: INVALID_ARGUMENT: BadStartChildExecutionAttributes: Required field WorkflowId is
                  not set on StartChildWorkflowExecutionCommand. WorkflowType=demo Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child without type: INVALID_ARGUMENT: BadStartChildExecutionAttributes: Required field
                  WorkflowType is not set on StartChildWorkflowExecutionCommand. WorkflowId=x
                  Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child with long id: INVALID_ARGUMENT: BadStartChildExecutionAttributes: WorkflowId on
                  StartChildWorkflowExecutionCommand exceeds length limit. WorkflowId=<1001 x x> Length=1001
                  Limit=1000 WorkflowType=demo Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child with bad cron: INVALID_ARGUMENT: BadStartChildExecutionAttributes: invalid CronSchedule on
                  StartChildWorkflowExecutionCommand: invalid CronSchedule.. WorkflowId=x WorkflowType=demo
                  Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child with negative timeout: INVALID_ARGUMENT: BadStartChildExecutionAttributes: Invalid
                  WorkflowRunTimeout on StartChildWorkflowExecutionCommand: negative duration. WorkflowId=x
                  WorkflowType=demo Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child with bad retry: INVALID_ARGUMENT: BadStartChildExecutionAttributes: invalid
                  WorkflowRetryPolicy on StartChildWorkflowExecutionCommand: MaximumAttempts cannot be
                  negative on retry policy.. WorkflowId=x WorkflowType=demo Namespace=default
              BAD_START_CHILD_EXECUTION_ATTRIBUTES
            child in unknown namespace: NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
              no event
            continue with negative timeout: INVALID_ARGUMENT: BadContinueAsNewAttributes: Invalid
                  WorkflowRunTimeout on ContinueAsNewWorkflowExecutionCommand: negative duration.
                  WorkflowType=demo TaskQueue=name:"tq" kind:TASK_QUEUE_KIND_NORMAL
              BAD_CONTINUE_AS_NEW_ATTRIBUTES
            continue with negative backoff: INVALID_ARGUMENT: BadContinueAsNewAttributes: Invalid
                  BackoffStartInterval on ContinueAsNewWorkflowExecutionCommand: negative duration.
                  WorkflowType=demo TaskQueue=name:"tq" kind:TASK_QUEUE_KIND_NORMAL
              BAD_CONTINUE_AS_NEW_ATTRIBUTES
            continue with long type: INVALID_ARGUMENT: BadContinueAsNewAttributes: WorkflowType on
                  ContinueAsNewWorkflowExecutionCommand exceeds length limit. WorkflowType=<1001 x t>
                  Length=1001 Limit=1000
              BAD_CONTINUE_AS_NEW_ATTRIBUTES
            signal without name: INVALID_ARGUMENT: BadSignalWorkflowExecutionAttributes: SignalName is not set
                  on SignalExternalWorkflowExecutionCommand. WorkflowId=x Namespace= RunId=
              BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
            signal without id: INVALID_ARGUMENT: BadSignalWorkflowExecutionAttributes: WorkflowId is not set
                  on SignalExternalWorkflowExecutionCommand. Namespace= RunId= SignalName=sig
              BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
            signal bad run id: INVALID_ARGUMENT: BadSignalWorkflowExecutionAttributes: Invalid RunId set on
                  SignalExternalWorkflowExecutionCommand. WorkflowId=x Namespace= RunId=not a uuid
                  SignalName=sig
              BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
            signal in unknown namespace: NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
              no event
            cancel external without id: INVALID_ARGUMENT: BadRequestCancelExternalWorkflowExecutionAttributes:
                  WorkflowId is not set on RequestCancelExternalWorkflowExecutionCommand. Namespace= RunId=
              BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
            cancel external bad run id: INVALID_ARGUMENT: BadRequestCancelExternalWorkflowExecutionAttributes:
                  Invalid RunId set on RequestCancelExternalWorkflowExecutionCommand. WorkflowId=x RunId=not a
                  uuid Namespace=
              BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
            unknown search attribute: INVALID_ARGUMENT: BadSearchAttributes: Namespace default has no mapping
                  defined for search attribute Nonsense
              BAD_SEARCH_ATTRIBUTES
            wrong type of search attribute: INVALID_ARGUMENT: BadSearchAttributes: invalid value for search
                  attribute ScenarioInt of type Int: text
              BAD_SEARCH_ATTRIBUTES
            system search attribute: INVALID_ARGUMENT: BadSearchAttributes: WorkflowId attribute can't be set
                  in SearchAttributes
              BAD_SEARCH_ATTRIBUTES
            no search attributes: INVALID_ARGUMENT: BadSearchAttributes: IndexedFields is not set on
                  UpsertWorkflowSearchAttributesCommand.
              BAD_SEARCH_ATTRIBUTES
            no memo: INVALID_ARGUMENT: BadModifyWorkflowPropertiesAttributes: UpsertedMemo.Fields is not set
                  on ModifyWorkflowPropertiesCommand.
              BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
        """,
    )


def _fail_without_failure() -> "object":
    command = c.fail()
    command.fail_workflow_execution_command_attributes.ClearField("failure")
    return command


async def test_bad_command_drops_the_good_ones_before_it(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.activity("a", s.tq), c.marker("kept?"), c.cancel_timer("none")),
        """
            INVALID_ARGUMENT: BadCancelTimerAttributes: invalid history builder state for action:
                  add-timer-canceled-event, TimerID: none
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=BAD_CANCEL_TIMER_ATTRIBUTES failure.message="BadCancelTimerAttributes:
              invalid history builder state for action: add-timer-canceled-event, TimerID: none"
              failure.server_failure_info={}
        5 WorkflowTaskScheduled attempt=2
    """)


async def test_failure_causes_of_workers_are_recorded(s: Scenario) -> None:
    await s.start()
    await s.fail_task(await s.poll(), cause=CAUSE.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
        5 WorkflowExecutionTerminated reason=GrpcMessageTooLarge identity=history-service
    """)


async def test_describe_of_a_scheduled_and_a_started_task(s: Scenario) -> None:
    await s.start()
    s.expect_message(
        (await s.describe()).pending_workflow_task,
        """
            state=SCHEDULED scheduled_time=<time> original_scheduled_time=<time> attempt=1
        """,
    )
    await s.poll()
    s.expect_message(
        (await s.describe()).pending_workflow_task,
        """
            state=STARTED scheduled_time=<time> original_scheduled_time=<time> started_time=<time> attempt=1
        """,
    )


async def test_unknown_execution_in_fail(s: Scenario) -> None:
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace=s.namespace, execution=WorkflowExecution(workflow_id=s.id("missing"))
    )
    await s.expect_refusal(
        s.service.get_workflow_execution_history(request),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )


def _without_attempt(s: Scenario, events: list[HistoryEvent]) -> str:
    # The real server numbers the task that follows as the next attempt; here it is a first one with events of its own.
    return "\n".join(s.history_lines(events)).replace(" attempt=2", "")


async def test_too_many_events_behind_a_task_take_it_from_its_worker(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    for n in range(101):
        await s.signal("s", n)
    events = await s.history()
    signals = [e for e in events if e.HasField("workflow_execution_signaled_event_attributes")]
    assert len(signals) == 101
    expect(
        _without_attempt(s, [e for e in events if e not in signals[1:]]),
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
            5 WorkflowExecutionSignaled signal_name=s input=[0] request_id=<id>
            106 WorkflowTaskScheduled
        """,
    )
    await s.expect_refusal(
        s.complete(task),
        """
        NOT_FOUND: Workflow task not found.
          NotFoundFailure
    """,
    )
    again = await s.poll()
    assert len(again.history.events) == len(events) + 1
    await s.complete(again, c.complete())


async def test_too_many_bytes_behind_a_task_take_it_from_its_worker(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.signal("s", LARGE)
    s.expect_events(
        await s.history(),
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
    """,
    )
    await s.signal("s", LARGE)
    expect(
        _without_attempt(s, await s.history()),
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
            5 WorkflowExecutionSignaled signal_name=s input=[<1572866 bytes>] request_id=<id>
            6 WorkflowExecutionSignaled signal_name=s input=[<1572866 bytes>] request_id=<id>
            7 WorkflowTaskScheduled
        """,
    )
    await s.expect_refusal(
        s.complete(task),
        """
        NOT_FOUND: Workflow task not found.
          NotFoundFailure
    """,
    )


async def test_what_fails_each_time_waits_for_the_task_time_out(s: Scenario) -> None:
    """The first failure is written and tried again at once; a later one only fails the call: the task stays taken."""
    bad = c.timer("", 1)
    await s.start(workflow_task_timeout=c.seconds(2))
    first = await s.poll()
    await s.expect_refusal(
        s.complete(first, bad),
        """
        INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on StartTimerCommand.
    """,
    )
    second = await s.poll()
    await s.expect_refusal(
        s.complete(second, bad),
        """
        INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on StartTimerCommand.
    """,
    )
    await s.expect_refusal(
        s.complete(second, bad),
        """
        INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on StartTimerCommand.
    """,
    )
    third = await s.poll()
    waited = third.started_time.ToNanoseconds() - second.started_time.ToNanoseconds()
    assert waited >= 1_900_000_000
    expect(
        str([first.attempt, second.attempt, third.attempt]),
        """
        [1, 2, 3]
    """,
    )
    await s.complete(third, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_task_timeout=2s
        2 WorkflowTaskScheduled start_to_close_timeout=2s
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=BAD_START_TIMER_ATTRIBUTES failure.message="BadStartTimerAttributes:
              TimerId is not set on StartTimerCommand." failure.server_failure_info={}
        5 WorkflowTaskScheduled start_to_close_timeout=2s attempt=3
        6 WorkflowTaskStarted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionCompleted workflow_task_completed_event_id=7
    """)
