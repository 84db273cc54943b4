import temporalio.api.workflowservice.v1 as ws

from . import commands as c
from .raw import Scenario


async def test_completes(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, input=c.payloads("in"), heartbeat_timeout=30))
    task = await s.poll_activity()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a input=['in'] scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=10s retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s
        """,
    )
    await s.complete_activity(task, "out")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a input=['in'] schedule_to_close_timeout=0s
              schedule_to_start_timeout=0s start_to_close_timeout=10s heartbeat_timeout=10s
              workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskCompleted result=['out'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_default_options_and_timeouts(s: Scenario) -> None:
    await s.start(workflow_run_timeout=50)
    await s.step(
        c.activity("start", s.tq, start_to_close_timeout=100),
        c.activity("close", s.tq, schedule_to_close_timeout=20),
        c.activity(
            "all",
            s.tq,
            schedule_to_close_timeout=9,
            schedule_to_start_timeout=30,
            start_to_close_timeout=30,
            heartbeat_timeout=60,
        ),
        c.activity(
            "retry",
            s.tq,
            retry_policy=c.retry(initial=2, maximum_attempts=4, non_retryable_error_types=["Bad"]),
        ),
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=50s
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=start schedule_to_close_timeout=50s schedule_to_start_timeout=50s
              start_to_close_timeout=50s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=close schedule_to_close_timeout=20s schedule_to_start_timeout=20s
              start_to_close_timeout=20s heartbeat_timeout=0s workflow_task_completed_event_id=4
        7 ActivityTaskScheduled activity_id=all schedule_to_close_timeout=9s schedule_to_start_timeout=9s
              start_to_close_timeout=9s heartbeat_timeout=9s workflow_task_completed_event_id=4
        8 ActivityTaskScheduled activity_id=retry schedule_to_close_timeout=50s schedule_to_start_timeout=50s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=2s retry_policy.maximum_interval=200s
              retry_policy.maximum_attempts=4 retry_policy.non_retryable_error_types=[Bad]
    """)


async def test_started_is_written_only_when_it_ends(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
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
    await s.heartbeat(task, "beat")
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=STARTED heartbeat_details=['beat']
                  last_heartbeat_time=<time> last_started_time=<time> attempt=1 scheduled_time=<time>
                  last_worker_identity=tester activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )


async def test_describe_of_a_scheduled_activity(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=SCHEDULED attempt=1 scheduled_time=<time>
                  activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )


async def test_non_retryable_failure(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    await s.fail_activity(await s.poll_activity(), c.failure(non_retryable=True))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              failure.application_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=6
              retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_non_retryable_type(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(non_retryable_error_types=["Boom"])))
    await s.fail_activity(await s.poll_activity())
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.non_retryable_error_types=[Boom]
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              scheduled_event_id=5 started_event_id=6 retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_retries_until_the_attempts_are_used_up(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=0.1, maximum_attempts=2)))
    await s.fail_activity(await s.poll_activity(), c.failure("first"))
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=SCHEDULED attempt=2 maximum_attempts=2
                  scheduled_time=<time> last_failure.message=first
                  last_failure.application_failure_info.type=Boom last_worker_identity=tester
                  current_retry_interval=0.1s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=0.1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=10s
                  activity_options.retry_policy.maximum_attempts=2
        """,
    )
    second = await s.poll_activity()
    s.expect_message(
        second,
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s retry_policy.maximum_attempts=2
        """,
    )
    await s.fail_activity(second, c.failure("second"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
              retry_policy.maximum_attempts=2
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message=first
              last_failure.application_failure_info.type=Boom
        7 ActivityTaskFailed failure.message=second failure.application_failure_info.type=Boom
              scheduled_event_id=5 started_event_id=6 retry_state=MAXIMUM_ATTEMPTS_REACHED
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_success_on_the_second_attempt_keeps_the_last_failure(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=0.1)))
    await s.fail_activity(await s.poll_activity(), c.failure("first"))
    await s.complete_activity(await s.poll_activity(), "ok")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message=first
              last_failure.application_failure_info.type=Boom
        7 ActivityTaskCompleted result=['ok'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_next_retry_delay_of_the_failure_is_used(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=60)))
    await s.fail_activity(await s.poll_activity(), c.failure(next_retry=0.1))
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=SCHEDULED attempt=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_failure.application_failure_info.next_retry_delay=0.1s last_worker_identity=tester
                  current_retry_interval=0.1s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=60s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=6000s
        """,
    )
    await s.complete_activity(await s.poll_activity())
    await s.step(c.complete())


async def test_no_retry_when_the_deadline_would_pass(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, schedule_to_close_timeout=5, retry_policy=c.retry(initial=60)))
    await s.fail_activity(await s.poll_activity(), c.failure("first"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=5s schedule_to_start_timeout=5s
              start_to_close_timeout=5s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=60s retry_policy.maximum_interval=6000s
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message=first failure.application_failure_info.type=Boom
              scheduled_event_id=5 started_event_id=6 retry_state=TIMEOUT
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_heartbeat_details_reach_the_next_attempt(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=0.1)))
    first = await s.poll_activity()
    s.expect_message(await s.heartbeat(first, "half", 50), "")
    await s.fail_activity(first)
    second = await s.poll_activity()
    s.expect_message(
        second,
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a heartbeat_details=['half', 50] scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=2
                  schedule_to_close_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
                  retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s
        """,
    )
    await s.fail_activity(second, last_heartbeat_details=c.payloads("from the failure"))
    third = await s.poll_activity()
    s.expect_message(
        third.heartbeat_details,
        """
            payloads=['from the failure']
        """,
    )
    await s.complete_activity(third)


async def test_schedule_to_start_timeout(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, schedule_to_start_timeout=1, start_to_close_timeout=10))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=1s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskTimedOut failure.message="activity ScheduleToStart timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START scheduled_event_id=5
              retry_state=TIMEOUT
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_schedule_to_close_timeout(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, schedule_to_close_timeout=1))
    task = await s.poll_activity()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=1s schedule_to_start_timeout=1s
              start_to_close_timeout=1s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskTimedOut failure.message="Not enough time to schedule next retry before activity
              ScheduleToClose timeout, giving up retrying" failure.source=Server
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE scheduled_event_id=5
              started_event_id=6 retry_state=TIMEOUT
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)
    await s.expect_refusal(
        s.complete_activity(task),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_schedule_to_close_timeout_before_start(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, schedule_to_close_timeout=1))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=1s schedule_to_start_timeout=1s
              start_to_close_timeout=1s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskTimedOut failure.message="activity ScheduleToStart timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START scheduled_event_id=5
              retry_state=TIMEOUT
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_start_to_close_timeout_without_retry(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, start_to_close_timeout=1, retry_policy=c.retry(maximum_attempts=1)))
    await s.poll_activity()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=1s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.maximum_attempts=1
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskTimedOut failure.message="activity StartToClose timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=START_TO_CLOSE scheduled_event_id=5 started_event_id=6
              retry_state=MAXIMUM_ATTEMPTS_REACHED
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_start_to_close_timeout_is_retried(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, start_to_close_timeout=1, retry_policy=c.retry(initial=0.1)))
    first = await s.poll_activity()
    second = await s.poll_activity()
    await s.expect_refusal(
        s.complete_activity(first),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.heartbeat(first),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=STARTED last_started_time=<time> attempt=2
                  scheduled_time=<time> last_failure.message="activity StartToClose timeout"
                  last_failure.source=Server last_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
                  last_worker_identity=tester activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=1s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=0.1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=10s
        """,
        hide=["last_attempt_complete_time"],  # not told there, where an attempt timed out
    )
    await s.complete_activity(second)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=1s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message="activity
              StartToClose timeout" last_failure.source=Server
              last_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
        7 ActivityTaskCompleted scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_heartbeat_timeout(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.activity(
            "a",
            s.tq,
            start_to_close_timeout=30,
            heartbeat_timeout=1,
            retry_policy=c.retry(maximum_attempts=1),
        )
    )
    await s.heartbeat(await s.poll_activity(), "last words")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=30s heartbeat_timeout=1s workflow_task_completed_event_id=4
              retry_policy.maximum_attempts=1
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskTimedOut failure.message="activity Heartbeat timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=HEARTBEAT
              failure.timeout_failure_info.last_heartbeat_details=['last words'] scheduled_event_id=5
              started_event_id=6 retry_state=MAXIMUM_ATTEMPTS_REACHED
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_heartbeat_timeout_is_retried_with_details(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.activity(
            "a", s.tq, start_to_close_timeout=30, heartbeat_timeout=1, retry_policy=c.retry(initial=0.1)
        )
    )
    await s.heartbeat(await s.poll_activity(), "last words")
    second = await s.poll_activity()
    s.expect_message(
        second.heartbeat_details,
        """
            payloads=['last words']
        """,
    )
    await s.complete_activity(second)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=30s heartbeat_timeout=1s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message="activity
              Heartbeat timeout" last_failure.source=Server
              last_failure.timeout_failure_info.timeout_type=HEARTBEAT
        7 ActivityTaskCompleted scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_cancel_before_start(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), force_create_new_workflow_task=True)
    await s.step(c.cancel_activity(5))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=8
        10 ActivityTaskCanceled details=['ACTIVITY_ID_NOT_STARTED'] latest_cancel_requested_event_id=9
              scheduled_event_id=5
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_cancel_in_the_same_turn(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.cancel_activity(5))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=4
        7 ActivityTaskCanceled details=['ACTIVITY_ID_NOT_STARTED'] latest_cancel_requested_event_id=6
              scheduled_event_id=5
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_cancel_is_told_by_heartbeat(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), force_create_new_workflow_task=True)
    task = await s.poll_activity()
    await s.step(c.cancel_activity(5))
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=CANCEL_REQUESTED last_started_time=<time> attempt=1
                  scheduled_time=<time> last_worker_identity=tester activity_options.task_queue=tq(unspecified
                  of tq) activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        await s.heartbeat(task),
        """
            cancel_requested=true
        """,
    )
    await s.cancel_activity(task, "tidied up")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=8
        10 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        11 ActivityTaskCanceled details=['tidied up'] latest_cancel_requested_event_id=9 scheduled_event_id=5
              started_event_id=10
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_completion_after_cancel_request_still_counts(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), force_create_new_workflow_task=True)
    task = await s.poll_activity()
    await s.step(c.cancel_activity(5))
    await s.complete_activity(task, "finished anyway")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=8
        10 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        11 ActivityTaskCompleted result=['finished anyway'] scheduled_event_id=5 started_event_id=10
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_failure_after_cancel_request_is_not_retried(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), force_create_new_workflow_task=True)
    task = await s.poll_activity()
    await s.step(c.cancel_activity(5))
    await s.fail_activity(task)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=8
        10 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        11 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              scheduled_event_id=5 started_event_id=10 retry_state=CANCEL_REQUESTED
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_cancel_while_waiting_for_a_retry(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=60)))
    await s.fail_activity(await s.poll_activity())
    await s.signal()
    await s.step(c.cancel_activity(5))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=60s retry_policy.maximum_interval=6000s
        6 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
        11 ActivityTaskCanceled details=['ACTIVITY_ID_NOT_STARTED'] latest_cancel_requested_event_id=10
              scheduled_event_id=5
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_cancel_twice(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), force_create_new_workflow_task=True)
    await s.poll_activity()
    await s.step(c.cancel_activity(5), force_create_new_workflow_task=True)
    await s.expect_refusal(
        s.complete(await s.poll(), c.cancel_activity(5)),
        """
            INVALID_ARGUMENT: BadRequestCancelActivityAttributes: invalid history builder state for action:
                  add-activitytask-cancel-requested-event, ScheduledEventID: 5
        """,
    )


async def test_cancelled_without_request_is_refused(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.expect_refusal(
        s.cancel_activity(task),
        """
            INVALID_ARGUMENT: unable to mark activity as canceled without activity being request canceled
                  first
        """,
    )


async def test_answers_after_the_end_are_refused(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.complete_activity(task)
    await s.expect_refusal(
        s.complete_activity(task),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.fail_activity(task),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.cancel_activity(task),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
            NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
              NotFoundFailure
        """,
    )


async def test_answers_after_the_workflow_closed(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    task = await s.poll_activity()
    await s.terminate()
    await s.expect_refusal(
        s.complete_activity(task),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_bad_tokens(s: Scenario) -> None:
    await s.expect_refusal(
        s.complete_activity(b""),
        """
            INVALID_ARGUMENT: Task token not set on request.
        """,
    )
    await s.expect_refusal(
        s.complete_activity(b"garbage"),
        """
            INVALID_ARGUMENT: Error deserializing task token.
        """,
    )


async def test_by_id(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq), c.activity("c", s.tq))
    for _ in "abc":
        await s.poll_activity()
    where = {"namespace": s.namespace, "workflow_id": s.wf, "identity": "tester"}
    beat = await s.service.record_activity_task_heartbeat_by_id(
        ws.RecordActivityTaskHeartbeatByIdRequest(**where, activity_id="a", details=c.payloads(1))
    )
    s.expect_message(beat, "")
    await s.service.respond_activity_task_completed_by_id(
        ws.RespondActivityTaskCompletedByIdRequest(**where, activity_id="a", result=c.payloads("by id"))
    )
    await s.service.respond_activity_task_failed_by_id(
        ws.RespondActivityTaskFailedByIdRequest(
            **where, activity_id="b", failure=c.failure(non_retryable=True)
        )
    )
    await s.expect_refusal(
        s.service.respond_activity_task_canceled_by_id(
            ws.RespondActivityTaskCanceledByIdRequest(**where, activity_id="c")
        ),
        """
            INVALID_ARGUMENT: unable to mark activity as canceled without activity being request canceled
                  first
        """,
    )
    await s.expect_refusal(
        s.service.respond_activity_task_completed_by_id(
            ws.RespondActivityTaskCompletedByIdRequest(**where, activity_id="none")
        ),
        """
            NOT_FOUND: cannot find pending activity with ActivityID none, check workflow execution history for
                  more details
              NotFoundFailure
        """,
    )
    where["workflow_id"] = s.id("missing")
    await s.expect_refusal(
        s.service.respond_activity_task_completed_by_id(
            ws.RespondActivityTaskCompletedByIdRequest(**where, activity_id="a")
        ),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    where["workflow_id"] = ""
    await s.expect_refusal(
        s.service.respond_activity_task_completed_by_id(
            ws.RespondActivityTaskCompletedByIdRequest(**where, activity_id="a")
        ),
        """
            NOT_FOUND: activity not found for ID: a
              NotFoundFailure
        """,
    )
    await s.step()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=b schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        7 ActivityTaskScheduled activity_id=c schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        8 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        9 ActivityTaskCompleted result=['by id'] scheduled_event_id=5 started_event_id=8
        10 WorkflowTaskScheduled
        11 ActivityTaskStarted scheduled_event_id=6 request_id=<id>
        12 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              failure.application_failure_info.non_retryable=true scheduled_event_id=6 started_event_id=11
              retry_state=NON_RETRYABLE_FAILURE
        13 WorkflowTaskStarted scheduled_event_id=10
        14 WorkflowTaskCompleted scheduled_event_id=10
    """)


async def test_completion_by_id_of_a_not_started_activity(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    await s.expect_refusal(
        s.service.respond_activity_task_completed_by_id(
            ws.RespondActivityTaskCompletedByIdRequest(
                namespace=s.namespace, workflow_id=s.wf, activity_id="a"
            )
        ),
        """
            accepted
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 identity=unset
        7 ActivityTaskCompleted scheduled_event_id=5 started_event_id=6 identity=unset
        8 WorkflowTaskScheduled
    """)


async def test_several_pending_activities_end_in_order_of_completion(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq))
    tasks = {task.activity_id: task for task in [await s.poll_activity(), await s.poll_activity()]}
    await s.complete_activity(tasks["b"], "B")
    await s.complete_activity(tasks["a"], "A")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskScheduled activity_id=b schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        7 ActivityTaskStarted scheduled_event_id=6 request_id=<id>
        8 ActivityTaskCompleted result=['B'] scheduled_event_id=6 started_event_id=7
        9 WorkflowTaskScheduled
        10 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        11 ActivityTaskCompleted result=['A'] scheduled_event_id=5 started_event_id=10
        12 WorkflowTaskStarted scheduled_event_id=9
        13 WorkflowTaskCompleted scheduled_event_id=9
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_activity_id_can_be_used_again_after_its_end(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    await s.complete_activity(await s.poll_activity())
    await s.step(c.activity("a", s.tq))
    await s.complete_activity(await s.poll_activity())
    await s.step(c.complete())


async def test_run_ends_with_activities_open(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.timer("t", 60), c.complete("early"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=4
        7 WorkflowExecutionCompleted result=['early'] workflow_task_completed_event_id=4
    """)
