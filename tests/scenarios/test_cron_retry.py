from . import commands as c
from .raw import Scenario


async def test_cron_runs_again_after_completion(s: Scenario) -> None:
    first = await s.start(cron_schedule="@every 1s", input=c.payloads("in"))
    await s.step(c.complete("result 1"))
    second = await s.poll()
    await s.complete(second, c.complete("result 2"))
    await s.expect_history(
        """
            1 WorkflowExecutionStarted input=['in'] initiator=CRON_SCHEDULE cron_schedule="@every 1s"
                  first_workflow_task_backoff=up to 1s
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCompleted result=['result 1'] workflow_task_completed_event_id=4
                  new_execution_run_id=run2
        """,
        run_id=first.run_id,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted input=['in'] continued_execution_run_id=run1 initiator=CRON_SCHEDULE
                  last_completion_result=['result 1'] original_execution_run_id=run2
                  first_execution_run_id=run1 cron_schedule="@every 1s" first_workflow_task_backoff=up to 1s
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true}] identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCompleted result=['result 2'] workflow_task_completed_event_id=4
                  new_execution_run_id=run3
        """,
        run_id=second.workflow_execution.run_id,
    )
    await s.terminate()


async def test_cron_runs_again_after_failure(s: Scenario) -> None:
    first = await s.start(cron_schedule="@every 1s")
    await s.step(c.complete("good"))
    second = await s.poll()
    await s.complete(second, c.fail())
    third = await s.poll()
    await s.expect_history(
        """
            1 WorkflowExecutionStarted continued_execution_run_id=run1 initiator=CRON_SCHEDULE
                  last_completion_result=['good'] original_execution_run_id=run2 first_execution_run_id=run1
                  cron_schedule="@every 1s" first_workflow_task_backoff=up to 1s
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true}] identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  retry_state=RETRY_POLICY_NOT_SET workflow_task_completed_event_id=4
                  new_execution_run_id=run3
        """,
        run_id=second.workflow_execution.run_id,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted continued_execution_run_id=run2 initiator=CRON_SCHEDULE
                  continued_failure.message=boom continued_failure.application_failure_info.type=Boom
                  last_completion_result=['good'] original_execution_run_id=run3 first_execution_run_id=run1
                  cron_schedule="@every 1s" first_workflow_task_backoff=up to 1s
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true}] identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
        run_id=third.workflow_execution.run_id,
    )
    assert first.run_id
    await s.terminate()


async def test_cron_ends_when_cancelled(s: Scenario) -> None:
    await s.start(cron_schedule="@every 1s")
    task = await s.poll()
    await s.complete(task, c.cancel())
    s.expect_events(
        [await s.closed(run_id=task.workflow_execution.run_id)],
        """
            5 WorkflowExecutionCanceled workflow_task_completed_event_id=4
        """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> close_time=<time>
                  status=CANCELED history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  resettable=true}] task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
        """,
        hide=["execution_duration"],
    )


async def test_cron_first_task_waits_for_its_time(s: Scenario) -> None:
    await s.start(cron_schedule="0 0 1 1 *")
    events = await s.history()
    assert len(events) == 1
    assert events[0].workflow_execution_started_event_attributes.first_workflow_task_backoff.seconds > 0


async def test_cron_continues_after_a_run_timeout(s: Scenario) -> None:
    first = await s.start(cron_schedule="@every 1s", workflow_run_timeout=1)
    await s.closed(run_id=first.run_id)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted workflow_run_timeout=1s workflow_task_timeout=1s
                  initiator=CRON_SCHEDULE cron_schedule="@every 1s" first_workflow_task_backoff=up to 1s
            2 WorkflowTaskScheduled start_to_close_timeout=1s
            3 WorkflowExecutionTimedOut retry_state=RETRY_POLICY_NOT_SET new_execution_run_id=run2
        """,
        run_id=first.run_id,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=1s workflow_task_timeout=1s
              continued_execution_run_id=run1 initiator=CRON_SCHEDULE continued_failure.message="workflow
              timeout" continued_failure.source=Server
              continued_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              original_execution_run_id=run2 first_execution_run_id=run1 cron_schedule="@every 1s"
              first_workflow_task_backoff=up to 1s prev_auto_reset_points={} identity=unset
    """)
    await s.terminate()


async def test_retry_chain(s: Scenario) -> None:
    first = await s.start(retry_policy=c.retry(initial=0.1, maximum_attempts=2), input=c.payloads("in"))
    await s.step(c.fail(c.failure("one")))
    second = await s.poll()
    await s.expect_history(
        """
            1 WorkflowExecutionStarted input=['in'] retry_policy.initial_interval=0.1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=10s
                  retry_policy.maximum_attempts=2
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionFailed failure.message=one failure.application_failure_info.type=Boom
                  retry_state=IN_PROGRESS workflow_task_completed_event_id=4 new_execution_run_id=run2
        """,
        run_id=first.run_id,
    )
    await s.complete(second, c.fail(c.failure("two")))
    await s.expect_history(
        """
            1 WorkflowExecutionStarted input=['in'] continued_execution_run_id=run1 initiator=RETRY
                  continued_failure.message=one continued_failure.application_failure_info.type=Boom
                  original_execution_run_id=run2 first_execution_run_id=run1
                  retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s retry_policy.maximum_attempts=2 attempt=2
                  first_workflow_task_backoff=up to 1s prev_auto_reset_points.points=[{run_id=run1
                  first_workflow_task_completed_id=4 create_time=<time> expire_time=<time> resettable=true}]
                  identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionFailed failure.message=two failure.application_failure_info.type=Boom
                  retry_state=MAXIMUM_ATTEMPTS_REACHED workflow_task_completed_event_id=4
        """,
        run_id=second.workflow_execution.run_id,
    )


async def test_retry_completes(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=0.1))
    await s.step(c.fail())
    await s.step(c.complete("ok"))
    await s.expect_history("""
        1 WorkflowExecutionStarted continued_execution_run_id=run1 initiator=RETRY
              continued_failure.message=boom continued_failure.application_failure_info.type=Boom
              original_execution_run_id=run2 first_execution_run_id=run1 retry_policy.initial_interval=0.1s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=10s attempt=2
              first_workflow_task_backoff=up to 1s prev_auto_reset_points.points=[{run_id=run1
              first_workflow_task_completed_id=4 create_time=<time> expire_time=<time> resettable=true}]
              identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted result=['ok'] workflow_task_completed_event_id=4
    """)
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run2 type.name=demo start_time=<time> close_time=<time>
                  status=COMPLETED history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  expire_time=<time> resettable=true}] task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run2
                  first_run_id=run1
        """,
        hide=["execution_duration"],
    )


async def test_retry_ends_at_non_retryable_failure(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=0.1))
    await s.step(c.fail(c.failure(non_retryable=True)))
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  failure.application_failure_info.non_retryable=true retry_state=NON_RETRYABLE_FAILURE
                  workflow_task_completed_event_id=4
        """,
    )


async def test_retry_ends_at_non_retryable_type(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=0.1, non_retryable_error_types=["Boom"]))
    await s.step(c.fail())
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  retry_state=NON_RETRYABLE_FAILURE workflow_task_completed_event_id=4
        """,
    )


async def test_retry_ends_when_the_execution_timeout_would_pass(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=60), workflow_execution_timeout=10)
    await s.step(c.fail())
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  retry_state=TIMEOUT workflow_task_completed_event_id=4
        """,
    )


async def test_retry_uses_the_failures_delay(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=60))
    await s.step(c.fail(c.failure(next_retry=0.1)))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted continued_execution_run_id=run1 initiator=RETRY
              continued_failure.message=boom continued_failure.application_failure_info.type=Boom
              continued_failure.application_failure_info.next_retry_delay=0.1s original_execution_run_id=run2
              first_execution_run_id=run1 retry_policy.initial_interval=60s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=6000s attempt=2
              first_workflow_task_backoff=up to 1s prev_auto_reset_points.points=[{run_id=run1
              first_workflow_task_completed_id=4 create_time=<time> expire_time=<time> resettable=true}]
              identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_retry_after_a_run_timeout(s: Scenario) -> None:
    first = await s.start(retry_policy=c.retry(initial=60), workflow_run_timeout=1)
    await s.closed(run_id=first.run_id)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted workflow_run_timeout=1s workflow_task_timeout=1s
                  retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
            2 WorkflowTaskScheduled start_to_close_timeout=1s
            3 WorkflowExecutionTimedOut retry_state=IN_PROGRESS new_execution_run_id=run2
        """,
        run_id=first.run_id,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=1s workflow_task_timeout=1s
              continued_execution_run_id=run1 initiator=RETRY continued_failure.message="workflow timeout"
              continued_failure.source=Server
              continued_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              original_execution_run_id=run2 first_execution_run_id=run1 retry_policy.initial_interval=60s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=6000s attempt=2
              first_workflow_task_backoff=60s prev_auto_reset_points={} identity=unset
    """)


async def test_cancelled_and_terminated_runs_are_not_retried(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=0.1))
    await s.request_cancel()
    await s.step(c.cancel())
    s.expect_events(
        [await s.closed()],
        """
            6 WorkflowExecutionCanceled workflow_task_completed_event_id=5
        """,
    )


async def test_one_attempt_means_no_retry(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(maximum_attempts=1))
    await s.step(c.fail())
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  retry_state=MAXIMUM_ATTEMPTS_REACHED workflow_task_completed_event_id=4
        """,
    )


async def test_wait_for_the_close_of_a_chained_run_tells_of_the_continuation(s: Scenario) -> None:
    """Clients that do not say that they follow runs get the closing event as a continuation."""
    cron = await s.start(cron_schedule="@every 1s", workflow_id=s.id("cron"))
    await s.step(c.complete("one"))
    s.expect_events(
        [await s.closed(s.id("cron"), cron.run_id)],
        """
            5 WorkflowExecutionContinuedAsNew new_execution_run_id=run1 last_completion_result=['one']
                  task_queue=unset workflow_type.name=unset
        """,
    )
    retried = await s.start(retry_policy=c.retry(initial=60))
    await s.step(c.fail())
    s.expect_events(
        [await s.closed(run_id=retried.run_id)],
        """
            5 WorkflowExecutionContinuedAsNew new_execution_run_id=run2 failure.message=boom
                  failure.application_failure_info.type=Boom task_queue=unset workflow_type.name=unset
        """,
    )


async def test_failure_without_policy(s: Scenario) -> None:
    await s.start()
    await s.step(c.fail())
    s.expect_events(
        [await s.closed()],
        """
            5 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  retry_state=RETRY_POLICY_NOT_SET workflow_task_completed_event_id=4
        """,
    )
