import temporalio.api.workflowservice.v1 as ws

from . import commands as c
from .raw import Scenario


async def test_eager_start_gives_the_first_task_in_the_reply(s: Scenario) -> None:
    reply = await s.start(request_eager_execution=True, input=c.payloads(1))
    assert reply.eager_workflow_task.task_token
    s.expect_message(
        reply.eager_workflow_task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo started_event_id=3 attempt=1 workflow_execution_task_queue=tq
                  scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        reply.eager_workflow_task.history.events,
        """
            1 WorkflowExecutionStarted input=[1] eager_execution_accepted=true
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )
    await s.complete(reply.eager_workflow_task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted input=[1] eager_execution_accepted=true
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_eager_start_that_is_not_answered_times_out(s: Scenario) -> None:
    await s.start(request_eager_execution=True, workflow_task_timeout=1)
    await s.complete(await s.poll(), c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_task_timeout=1s eager_execution_accepted=true
        2 WorkflowTaskScheduled start_to_close_timeout=1s
        3 WorkflowTaskStarted
        4 WorkflowTaskTimedOut timeout_type=START_TO_CLOSE
        5 WorkflowTaskScheduled start_to_close_timeout=1s attempt=2
        6 WorkflowTaskStarted
        7 WorkflowTaskCompleted
        8 WorkflowExecutionCompleted workflow_task_completed_event_id=7
    """)


async def test_eager_start_of_a_delayed_workflow_has_no_task(s: Scenario) -> None:
    reply = await s.start(request_eager_execution=True, workflow_start_delay=c.seconds(60))
    assert not reply.HasField("eager_workflow_task")


async def test_eager_start_with_the_same_request_id(s: Scenario) -> None:
    request_id = "1b671a64-40d5-491e-99b0-da01ff1f3341"
    first = await s.start(request_eager_execution=True, request_id=request_id)
    again = await s.start(request_eager_execution=True, request_id=request_id)
    assert first.run_id == again.run_id
    assert again.HasField("eager_workflow_task")
    await s.complete(again.eager_workflow_task, c.complete())


async def test_eager_activity_comes_with_the_completion(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    reply = await s.complete(
        task, c.activity("a", s.tq, input=c.payloads("in"), request_eager_execution=True)
    )
    assert len(reply.activity_tasks) == 1
    s.expect_message(
        reply.activity_tasks[0],
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a input=['in'] scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a input=['in'] schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
              workflow_task_completed_event_id=4
    """)
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=STARTED last_started_time=<time> attempt=1
                  scheduled_time=<time> last_worker_identity=tester activity_options.task_queue=tq(unspecified
                  of tq) activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    answer = ws.PollActivityTaskQueueResponse(task_token=reply.activity_tasks[0].task_token)
    await s.complete_activity(answer, "out")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a input=['in'] schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
              workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskCompleted result=['out'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_eager_is_only_for_those_that_ask(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    reply = await s.complete(
        task,
        c.activity("eager", s.tq, request_eager_execution=True),
        c.activity("plain", s.tq),
    )
    assert [activity.activity_id for activity in reply.activity_tasks] == ["eager"]
    assert (await s.poll_activity()).activity_id == "plain"
