"""Standalone activities: starts, attempts, outcomes, time-outs, cancellation, termination, deletion."""

import asyncio
import contextlib
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import ActivityType, Header, Link, OnConflictOptions, Priority, SearchAttributes
from temporalio.api.enums.v1 import ActivityIdConflictPolicy, ActivityIdReusePolicy
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect, grouped
from .standalone import HIDDEN, Standalone

ABSENT = "00000000-0000-4000-8000-000000000000"
FAST = c.retry(initial_interval=c.seconds(0.05), backoff_coefficient=1, maximum_attempts=2)
SLOW = c.retry(initial_interval=c.seconds(60), backoff_coefficient=2)
ONCE = c.retry(maximum_attempts=1)


@pytest.fixture
def act(s: Scenario) -> Standalone:
    return Standalone(s)


async def test_complete(s: Scenario, act: Standalone) -> None:
    reply = await act.start(
        input=c.payloads("in"),
        header=Header(fields={"h": c.payload("x")}),
        user_metadata=UserMetadata(summary=c.payload("sum"), details=c.payload("det")),
        priority=Priority(priority_key=2),
        search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("k")}),
        heartbeat_timeout=20,
    )
    s.expect_message(
        reply,
        """
            run_id=run1 started=true link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=SCHEDULED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=20s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s info.attempt=1
              info.schedule_time=<time> info.priority.priority_key=2 info.state_transition_count=<set>
              info.search_attributes.indexed_fields={ScenarioKeyword: 'k'{type: Keyword}}
              info.header.fields={h: 'x'} info.user_metadata.summary='sum' info.user_metadata.details='det'
              info.execution_time=<time> input=['in']
    """)
    task = await s.poll_activity()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_namespace=default workflow_execution={} activity_type.name=act
                  activity_id=act header.fields={h: 'x'} input=['in'] scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=1
                  schedule_to_close_timeout=0s start_to_close_timeout=60s heartbeat_timeout=20s
                  retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s priority.priority_key=2 activity_run_id=run1
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=20s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.last_started_time=<time> info.attempt=1 info.schedule_time=<time>
              info.priority.priority_key=2 info.state_transition_count=<set>
              info.search_attributes.indexed_fields={ScenarioKeyword: 'k'{type: Keyword}}
              info.header.fields={h: 'x'} info.user_metadata.summary='sum' info.user_metadata.details='det'
              info.execution_time=<time> input=['in']
    """)
    s.expect_message(
        await s.heartbeat(task, "beat"),
        """
    """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=20s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.heartbeat_details=['beat'] info.last_heartbeat_time=<time> info.last_started_time=<time>
              info.attempt=1 info.schedule_time=<time> info.priority.priority_key=2
              info.state_transition_count=<set> info.search_attributes.indexed_fields={ScenarioKeyword:
              'k'{type: Keyword}} info.header.fields={h: 'x'} info.user_metadata.summary='sum'
              info.user_metadata.details='det' info.total_heartbeat_count=1 info.execution_time=<time>
              input=['in']
    """)
    await s.complete_activity(task, "out")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.result=['out']
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=COMPLETED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=20s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.heartbeat_details=['beat'] info.last_heartbeat_time=<time> info.last_started_time=<time>
              info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.priority.priority_key=2
              info.state_transition_count=<set> info.search_attributes.indexed_fields={ScenarioKeyword:
              'k'{type: Keyword}} info.header.fields={h: 'x'} info.user_metadata.summary='sum'
              info.user_metadata.details='det' info.total_heartbeat_count=1 info.execution_time=<time>
              input=['in'] outcome.result=['out']
    """)
    await s.expect_refusal(
        s.complete_activity(task, "again"),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        act.cancel(),
        """
            FAILED_PRECONDITION: activity is in terminal state Completed
        """,
    )
    await s.expect_refusal(
        act.terminate(),
        """
            FAILED_PRECONDITION: invalid transition from Completed
        """,
    )


async def test_description_leaves_out_what_was_not_asked_for(s: Scenario, act: Standalone) -> None:
    await act.start(input=c.payloads("in"), retry_policy=FAST)
    await s.fail_activity(await s.poll_activity())
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    s.expect_message(
        await act.describe(),
        """
            info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
                  info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
                  info.start_to_close_timeout=60s info.heartbeat_timeout=0s
                  info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
                  info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
                  info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=2
                  info.schedule_time=<time> info.last_attempt_complete_time=<time>
                  info.state_transition_count=<set> info.search_attributes={} info.total_heartbeat_count=1
                  info.execution_time=<time>
        """,
        hide=HIDDEN,
    )
    await s.complete_activity(task, "out")
    s.expect_message(
        await act.describe(),
        """
            info.activity_id=act info.activity_type.name=act info.status=COMPLETED info.task_queue=tq
                  info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
                  info.start_to_close_timeout=60s info.heartbeat_timeout=0s
                  info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
                  info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
                  info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=2
                  info.schedule_time=<time> info.close_time=<time> info.last_attempt_complete_time=<time>
                  info.state_transition_count=<set> info.search_attributes={} info.total_heartbeat_count=1
                  info.execution_time=<time>
        """,
        hide=HIDDEN,
    )


async def test_retry_and_fail(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=FAST)
    task = await s.poll_activity()
    await s.fail_activity(task, last_heartbeat_details=c.payloads("last"))
    await s.expect_refusal(
        s.fail_activity(task),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    task = await s.poll_activity()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_namespace=default workflow_execution={} activity_type.name=act
                  activity_id=act heartbeat_details=['last'] scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=2
                  schedule_to_close_timeout=0s start_to_close_timeout=60s heartbeat_timeout=0s
                  retry_policy.initial_interval=0.05s retry_policy.backoff_coefficient=1.0
                  retry_policy.maximum_interval=5s retry_policy.maximum_attempts=2 activity_run_id=run1
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s
              info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
              info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
              info.heartbeat_details=['last'] info.last_heartbeat_time=<time> info.last_started_time=<time>
              info.attempt=2 info.schedule_time=<time> info.last_failure.message=boom
              info.last_failure.application_failure_info.type=Boom info.last_attempt_complete_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.total_heartbeat_count=1
              info.execution_time=<time>
    """)
    await s.fail_activity(task, c.failure("worse"))
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message=worse outcome.failure.application_failure_info.type=Boom
                  outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=FAILED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s
              info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
              info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
              info.heartbeat_details=['last'] info.last_heartbeat_time=<time> info.last_started_time=<time>
              info.attempt=2 info.schedule_time=<time> info.close_time=<time> info.last_failure.message=worse
              info.last_failure.application_failure_info.type=Boom info.last_attempt_complete_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.total_heartbeat_count=1
              info.execution_time=<time> outcome.failure.message=worse
              outcome.failure.application_failure_info.type=Boom outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
    """)


async def test_waits_for_its_next_attempt(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW)
    await s.fail_activity(await s.poll_activity())
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=SCHEDULED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=60s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=6000s
              info.last_started_time=<time> info.attempt=2 info.schedule_time=<time>
              info.last_failure.message=boom info.last_failure.application_failure_info.type=Boom
              info.current_retry_interval=60s info.last_attempt_complete_time=<time>
              info.next_attempt_schedule_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.execution_time=<time>
    """)


async def test_next_retry_delay_of_the_worker(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW)
    why = c.failure("later")
    why.application_failure_info.next_retry_delay.FromMilliseconds(100)
    await s.fail_activity(await s.poll_activity(), why)
    await s.complete_activity(await s.poll_activity())
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.result=[]
        """,
    )


async def test_failures_that_are_not_retried(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=c.retry(non_retryable_error_types=["Boom"]))
    await s.fail_activity(await s.poll_activity())
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message=boom outcome.failure.application_failure_info.type=Boom
                  outcome.retry_state=NON_RETRYABLE_FAILURE
        """,
    )
    other = Standalone(s)
    other.id = s.id("other")
    await other.start()
    await s.fail_activity(await s.poll_activity(), c.failure("no", non_retryable=True))
    s.expect_message(
        await other.outcome(),
        """
            run_id=run2 outcome.failure.message=no outcome.failure.application_failure_info.type=Boom
                  outcome.failure.application_failure_info.non_retryable=true
                  outcome.retry_state=NON_RETRYABLE_FAILURE
        """,
    )
    third = Standalone(s)
    third.id = s.id("third")
    await third.start(schedule_to_close_timeout=5, retry_policy=SLOW)
    await s.fail_activity(await s.poll_activity())
    s.expect_message(
        await third.outcome(),
        """
            run_id=run3 outcome.failure.message=boom outcome.failure.application_failure_info.type=Boom
                  outcome.retry_state=TIMEOUT
        """,
    )


async def test_a_failure_without_a_failure(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=ONCE)
    task = await s.poll_activity()
    await s.service.respond_activity_task_failed(
        ws.RespondActivityTaskFailedRequest(namespace=s.namespace, task_token=task.task_token)
    )
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="activity task failed without failure details"
                  outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )


async def test_schedule_to_start_timeout(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=ONCE, schedule_to_start_timeout=1)
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="activity ScheduleToStart timeout"
                  outcome.failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START
                  outcome.retry_state=TIMEOUT
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TIMED_OUT info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=1s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.retry_policy.maximum_attempts=1 info.attempt=1 info.schedule_time=<time>
              info.close_time=<time> info.state_transition_count=<set> info.search_attributes={}
              info.execution_time=<time> outcome.failure.message="activity ScheduleToStart timeout"
              outcome.failure.timeout_failure_info.timeout_type=SCHEDULE_TO_START outcome.retry_state=TIMEOUT
    """)


async def test_schedule_to_close_timeout(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=ONCE, schedule_to_close_timeout=1)
    await s.heartbeat(await s.poll_activity(), "alive")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="activity ScheduleToClose timeout"
                  outcome.failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
                  outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
                  outcome.retry_state=TIMEOUT
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TIMED_OUT info.task_queue=tq
              info.schedule_to_close_timeout=1s info.schedule_to_start_timeout=1s
              info.start_to_close_timeout=1s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.retry_policy.maximum_attempts=1 info.heartbeat_details=['alive']
              info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=1
              info.schedule_time=<time> info.expiration_time=<time> info.close_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.total_heartbeat_count=1
              info.execution_time=<time> outcome.failure.message="activity ScheduleToClose timeout"
              outcome.failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
              outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
              outcome.retry_state=TIMEOUT
    """)


async def test_start_to_close_timeout(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=ONCE, start_to_close_timeout=1)
    await s.heartbeat(await s.poll_activity(), "alive")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="activity StartToClose timeout"
                  outcome.failure.timeout_failure_info.timeout_type=START_TO_CLOSE
                  outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
                  outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TIMED_OUT info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=1s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.retry_policy.maximum_attempts=1 info.heartbeat_details=['alive']
              info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=1
              info.schedule_time=<time> info.close_time=<time> info.last_failure.message="activity
              StartToClose timeout" info.last_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              info.last_failure.timeout_failure_info.last_heartbeat_details=['alive']
              info.last_attempt_complete_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.total_heartbeat_count=1 info.execution_time=<time>
              outcome.failure.message="activity StartToClose timeout"
              outcome.failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
              outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
    """)


async def test_heartbeat_timeout(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=ONCE, heartbeat_timeout=1)
    await s.heartbeat(await s.poll_activity(), "alive")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="activity Heartbeat timeout"
                  outcome.failure.timeout_failure_info.timeout_type=HEARTBEAT
                  outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
                  outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TIMED_OUT info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=1s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.retry_policy.maximum_attempts=1 info.heartbeat_details=['alive']
              info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=1
              info.schedule_time=<time> info.close_time=<time> info.last_failure.message="activity Heartbeat
              timeout" info.last_failure.timeout_failure_info.timeout_type=HEARTBEAT
              info.last_failure.timeout_failure_info.last_heartbeat_details=['alive']
              info.last_attempt_complete_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.total_heartbeat_count=1 info.execution_time=<time>
              outcome.failure.message="activity Heartbeat timeout"
              outcome.failure.timeout_failure_info.timeout_type=HEARTBEAT
              outcome.failure.timeout_failure_info.last_heartbeat_details=['alive']
              outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
    """)


async def test_timeouts_are_retried(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=FAST, start_to_close_timeout=1)
    await s.poll_activity()
    task = await s.poll_activity()
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=1s info.heartbeat_timeout=0s
              info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
              info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
              info.last_started_time=<time> info.attempt=2 info.schedule_time=<time>
              info.last_failure.message="activity StartToClose timeout"
              info.last_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              info.last_attempt_complete_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.execution_time=<time>
    """)
    assert task.attempt == 2
    await act.outcome()
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TIMED_OUT info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=1s info.heartbeat_timeout=0s
              info.retry_policy.initial_interval=0.05s info.retry_policy.backoff_coefficient=1.0
              info.retry_policy.maximum_interval=5s info.retry_policy.maximum_attempts=2
              info.last_started_time=<time> info.attempt=2 info.schedule_time=<time> info.close_time=<time>
              info.last_failure.message="activity StartToClose timeout"
              info.last_failure.cause.message="activity StartToClose timeout"
              info.last_failure.cause.timeout_failure_info.timeout_type=START_TO_CLOSE
              info.last_failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              info.last_attempt_complete_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.execution_time=<time> outcome.failure.message="activity
              StartToClose timeout" outcome.failure.cause.message="activity StartToClose timeout"
              outcome.failure.cause.timeout_failure_info.timeout_type=START_TO_CLOSE
              outcome.failure.timeout_failure_info.timeout_type=START_TO_CLOSE
              outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
    """)


async def test_no_time_is_left_for_a_retry(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW, start_to_close_timeout=1, schedule_to_close_timeout=30)
    await s.poll_activity()
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="Not enough time to schedule next retry before activity
                  ScheduleToClose timeout, giving up retrying"
                  outcome.failure.timeout_failure_info.timeout_type=SCHEDULE_TO_CLOSE
                  outcome.retry_state=TIMEOUT
        """,
    )


async def test_start_delay(s: Scenario, act: Standalone) -> None:
    await act.start(start_delay=Duration(seconds=3600))
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=SCHEDULED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s info.attempt=1
              info.schedule_time=<time> info.next_attempt_schedule_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.start_delay=3600s
              info.execution_time=<time>
    """)
    other = Standalone(s)
    other.id = s.id("other")
    await other.start(start_delay=Duration(nanos=300_000_000))
    task = await s.poll_activity()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_namespace=default workflow_execution={} activity_type.name=act
                  activity_id=other scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=60s
                  heartbeat_timeout=0s retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s activity_run_id=run1
        """,
    )
    await s.expect_refusal(
        other.start(activity_id=s.id("n"), start_delay=Duration(seconds=-1)),
        """
            INVALID_ARGUMENT: invalid StartDelay: negative duration
        """,
    )


async def test_cancel_before_and_while_a_worker_holds_it(s: Scenario, act: Standalone) -> None:
    await act.start()
    await act.cancel(reason="why", request_id="r1")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="Activity canceled"
                  outcome.failure.canceled_failure_info.details=['why']
                  outcome.failure.canceled_failure_info.identity=me
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=CANCELED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s info.attempt=1
              info.schedule_time=<time> info.close_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.canceled_reason=why info.execution_time=<time>
              outcome.failure.message="Activity canceled"
              outcome.failure.canceled_failure_info.details=['why']
              outcome.failure.canceled_failure_info.identity=me
    """)
    await s.expect_refusal(
        act.cancel(reason="why", request_id="r1"),
        """
            accepted
        """,
    )
    held = Standalone(s)
    held.id = s.id("held")
    await held.start()
    task = await s.poll_activity()
    await s.expect_refusal(
        s.cancel_activity(task),
        """
            INVALID_ARGUMENT: unable to mark activity as canceled without activity being request canceled
                  first
        """,
    )
    await held.cancel(reason="why", request_id="r1")
    await s.expect_refusal(
        held.cancel(reason="why", request_id="r1"),
        """
            accepted
        """,
    )
    await s.expect_refusal(
        held.cancel(reason="why", request_id="r2"),
        """
            FAILED_PRECONDITION: cancellation already requested with request ID r1
        """,
    )
    await held.expect("""
        info.activity_id=held info.activity_type.name=act info.status=RUNNING info.run_state=CANCEL_REQUESTED
              info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.last_started_time=<time> info.attempt=1 info.schedule_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.canceled_reason=why
              info.execution_time=<time>
    """)
    s.expect_message(
        await s.heartbeat(task),
        """
            cancel_requested=true
        """,
    )
    await s.cancel_activity(task, "bye")
    s.expect_message(
        await held.outcome(),
        """
            run_id=run2 outcome.failure.message="Activity canceled"
                  outcome.failure.canceled_failure_info.details=['bye']
                  outcome.failure.canceled_failure_info.identity=me
        """,
    )
    await held.expect("""
        info.activity_id=held info.activity_type.name=act info.status=CANCELED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.last_heartbeat_time=<time> info.last_started_time=<time> info.attempt=1
              info.schedule_time=<time> info.close_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.canceled_reason=why info.total_heartbeat_count=1
              info.execution_time=<time> outcome.failure.message="Activity canceled"
              outcome.failure.canceled_failure_info.details=['bye']
              outcome.failure.canceled_failure_info.identity=me
    """)


async def test_completion_and_failure_after_a_cancel_request(s: Scenario, act: Standalone) -> None:
    await act.start()
    task = await s.poll_activity()
    await act.cancel()
    await s.complete_activity(task, "done")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.result=['done']
        """,
    )
    other = Standalone(s)
    other.id = s.id("other")
    await other.start()
    task = await s.poll_activity()
    await other.cancel()
    await s.fail_activity(task)
    s.expect_message(
        await other.outcome(),
        """
            run_id=run2 outcome.failure.message=boom outcome.failure.application_failure_info.type=Boom
                  outcome.retry_state=CANCEL_REQUESTED
        """,
    )


async def test_terminate(s: Scenario, act: Standalone) -> None:
    await act.start()
    task = await s.poll_activity()
    await act.terminate(reason="enough", request_id="t1")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message=enough outcome.failure.terminated_failure_info.identity=me
        """,
    )
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=TERMINATED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.last_started_time=<time> info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.state_transition_count=<set> info.search_attributes={} info.execution_time=<time>
              outcome.failure.message=enough outcome.failure.terminated_failure_info.identity=me
    """)
    await s.expect_refusal(
        act.terminate(request_id="t1"),
        """
            accepted
        """,
    )
    await s.expect_refusal(
        act.terminate(request_id="t2"),
        """
            FAILED_PRECONDITION: already terminated with request ID t1
        """,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        act.cancel(),
        """
            FAILED_PRECONDITION: activity is in terminal state Terminated
        """,
    )


async def test_delete(s: Scenario, act: Standalone) -> None:
    await act.start()
    task = await s.poll_activity()
    await act.delete()
    for _ in range(100):
        with contextlib.suppress(RPCError):
            await act.describe()
            await asyncio.sleep(0.1)
            continue
        break
    await s.expect_refusal(
        act.describe(),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.complete_activity(task),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )


async def test_id_policies(s: Scenario, act: Standalone) -> None:
    fail, use = (
        ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_FAIL,
        ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING,
    )
    reject, failed_only = (
        ActivityIdReusePolicy.ACTIVITY_ID_REUSE_POLICY_REJECT_DUPLICATE,
        ActivityIdReusePolicy.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
    )
    s.expect_message(
        await act.start(request_id="r1"),
        """
            run_id=run1 started=true link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    s.expect_message(
        await act.start(request_id="r1"),
        """
            run_id=run1 link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    await s.expect_refusal(
        act.start(request_id="r2", id_conflict_policy=fail),
        """
            ALREADY_EXISTS: activity execution already started
              ActivityExecutionAlreadyStartedFailure run_id=run1
        """,
    )
    s.expect_message(
        await act.start(request_id="r3", id_conflict_policy=use),
        """
            run_id=run1 link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    s.expect_message(
        await act.start(request_id="r4", id_conflict_policy=use, id_reuse_policy=reject),
        """
            run_id=run1 link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    await s.expect_refusal(
        act.start(id_conflict_policy=9),
        """
            INVALID_ARGUMENT: unsupported ID conflict policy: 9
        """,
    )
    await s.complete_activity(await s.poll_activity())
    s.expect_message(
        await act.start(request_id="r1"),
        """
            run_id=run1 link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run1
        """,
    )
    await s.expect_refusal(
        act.start(request_id="r5", id_reuse_policy=reject),
        """
            ALREADY_EXISTS: activity execution already started
              ActivityExecutionAlreadyStartedFailure run_id=run1
        """,
    )
    await s.expect_refusal(
        act.start(request_id="r6", id_reuse_policy=failed_only),
        """
            ALREADY_EXISTS: activity execution already started
              ActivityExecutionAlreadyStartedFailure run_id=run1
        """,
    )
    s.expect_message(
        await act.start(request_id="r7", id_reuse_policy=0),
        """
            run_id=run2 started=true link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run2
        """,
    )
    await act.terminate()
    s.expect_message(
        await act.start(request_id="r8", id_reuse_policy=failed_only),
        """
            run_id=run3 started=true link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run3
        """,
    )
    await act.cancel()
    s.expect_message(
        await act.start(request_id="r9", id_reuse_policy=failed_only),
        """
            run_id=run4 started=true link.activity.namespace=default link.activity.activity_id=act
                  link.activity.run_id=run4
        """,
    )
    await s.expect_refusal(
        act.start(request_id="r9", id_reuse_policy=9),
        """
            INVALID_ARGUMENT: unsupported ID reuse policy: 9
        """,
    )


async def test_conflict_options(s: Scenario, act: Standalone) -> None:
    use = ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING
    link = Link(workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="w", run_id=ABSENT))
    await act.start(request_id="r1", links=[link])
    await s.expect_refusal(
        act.start(
            id_conflict_policy=use, on_conflict_options=OnConflictOptions(attach_completion_callbacks=True)
        ),
        """
            INVALID_ARGUMENT: on_conflict_options: attach_completion_callbacks requires attach_request_id to
                  be set
        """,
    )
    await s.expect_refusal(
        act.start(id_conflict_policy=use, on_conflict_options=OnConflictOptions(attach_request_id=True)),
        """
            INVALID_ARGUMENT: on_conflict_options: attach_request_id requires at least one completion callback
                  or link
        """,
    )
    second = Link(workflow_event=Link.WorkflowEvent(namespace=s.namespace, workflow_id="v", run_id=ABSENT))
    for _ in range(2):
        await act.start(
            request_id="r2",
            links=[second],
            id_conflict_policy=use,
            on_conflict_options=OnConflictOptions(attach_links=True),
        )
    links = (await act.describe()).info.links
    assert sorted(link.workflow_event.workflow_id for link in links) == ["v", "w"]


async def test_refused_starts(s: Scenario, act: Standalone) -> None:
    long = "x" * 1001
    cases: dict[str, dict[str, Any]] = {
        "no namespace": {"namespace": ""},
        "unknown namespace": {"namespace": "nowhere"},
        "no id": {"activity_id": ""},
        "long id": {"activity_id": long},
        "no type": {"activity_type": None},
        "long type": {"activity_type": ActivityType(name=long)},
        "no queue": {"task_queue": None},
        "empty queue": {"task_queue": TaskQueue()},
        "long queue": {"task_queue": TaskQueue(name=long)},
        "reserved queue": {"task_queue": TaskQueue(name="/_sys/x")},
        "no timeout": {"start_to_close_timeout": None},
        "negative timeout": {"schedule_to_close_timeout": -1},
        "negative start": {"schedule_to_start_timeout": -1},
        "negative heartbeat": {"heartbeat_timeout": -1},
        "negative to close": {"start_to_close_timeout": -1},
        "bad retry": {"retry_policy": c.retry(maximum_attempts=-1)},
        "bad interval": {"retry_policy": c.retry(initial_interval=c.seconds(-1))},
        "bad priority": {"priority": Priority(priority_key=-1)},
        "long request id": {"request_id": long},
        "long identity": {"identity": long},
        "large input": {"input": c.payloads("x" * (2 * 1024 * 1024))},
        "large summary": {"user_metadata": UserMetadata(summary=c.payload("x" * 1000))},
        "large details": {"user_metadata": UserMetadata(details=c.payload("x" * 30_000))},
        "unknown attribute": {
            "search_attributes": SearchAttributes(indexed_fields={"Nowhere": c.payload("x")})
        },
    }
    outcomes: dict[str, str] = {}
    for name, fields in cases.items():
        try:
            await act.start(**fields)
            outcomes[name] = "accepted"
        except RPCError as caught:
            outcomes[name] = error(caught, s.names)
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: Namespace is empty.
              no namespace
            NOT_FOUND: Namespace nowhere is not found. | NamespaceNotFoundFailure namespace=nowhere
              unknown namespace
            INVALID_ARGUMENT: activityId is not set
              no id
            INVALID_ARGUMENT: activityId exceeds length limit. Length=1001 Limit=1000
              long id
            INVALID_ARGUMENT: activityType is not set
              no type
            INVALID_ARGUMENT: activityType exceeds length limit. Length=1001 Limit=1000
              long type
            INVALID_ARGUMENT: taskQueue is not set
              no queue
            INVALID_ARGUMENT: missing task queue name
              empty queue
            INVALID_ARGUMENT: taskQueue length exceeds limit
              long queue
            INVALID_ARGUMENT: task queue name cannot start with reserved prefix /_sys/
              reserved queue
            INVALID_ARGUMENT: a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the
                  activity. ActivityId=act ActivityType=act
              no timeout
            INVALID_ARGUMENT: invalid ScheduleToCloseTimeout: negative duration
              negative timeout
            INVALID_ARGUMENT: invalid ScheduleToStartTimeout: negative duration
              negative start
            INVALID_ARGUMENT: invalid HeartbeatTimeout: negative duration
              negative heartbeat
            INVALID_ARGUMENT: invalid StartToCloseTimeout: negative duration
              negative to close
            INVALID_ARGUMENT: MaximumAttempts cannot be negative on retry policy.
              bad retry
            INVALID_ARGUMENT: invalid InitialInterval set on retry policy: negative duration
              bad interval
            INVALID_ARGUMENT: invalid priorities: priority key can't be negative
              bad priority
            INVALID_ARGUMENT: request ID exceeds length limit. Length=1001 Limit=1000
              long request id
            INVALID_ARGUMENT: identity exceeds length limit. Length=1001 Limit=1000
              long identity
            INVALID_ARGUMENT: input exceeds length limit
              large input
            INVALID_ARGUMENT: user_metadata.summary exceeds size limit. Length=1029 Limit=400
              large summary
            INVALID_ARGUMENT: user_metadata.details exceeds size limit. Length=30030 Limit=20000
              large details
            INVALID_ARGUMENT: Namespace default has no mapping defined for search attribute Nowhere
              unknown attribute
        """,
    )


async def test_refused_calls(s: Scenario, act: Standalone) -> None:
    long = "x" * 1001
    cases: dict[str, Any] = {
        "describe without id": lambda: act.describe(activity_id=""),
        "describe long id": lambda: act.describe(activity_id=long),
        "describe bad run": lambda: act.describe(run_id="x"),
        "describe absent run": lambda: act.describe(run_id=ABSENT),
        "describe absent": lambda: act.describe(),
        "describe token without run": lambda: act.describe(long_poll_token=b"x"),
        "describe with a bad token": lambda: act.describe(long_poll_token=b"x", run_id=ABSENT),
        "poll without id": lambda: act.outcome(activity_id=""),
        "poll bad run": lambda: act.outcome(run_id="x"),
        "poll absent": lambda: act.outcome(),
        "poll absent run": lambda: act.outcome(run_id=ABSENT),
        "cancel without id": lambda: act.cancel(activity_id=""),
        "cancel absent": lambda: act.cancel(),
        "cancel bad run": lambda: act.cancel(run_id="x"),
        "cancel long request id": lambda: act.cancel(request_id=long),
        "cancel long identity": lambda: act.cancel(identity=long),
        "terminate without id": lambda: act.terminate(activity_id=""),
        "terminate absent": lambda: act.terminate(),
        "terminate bad run": lambda: act.terminate(run_id="x"),
        "terminate long request id": lambda: act.terminate(request_id=long),
        "delete without id": lambda: act.delete(activity_id=""),
        "delete absent": lambda: act.delete(),
        "delete bad run": lambda: act.delete(run_id="x"),
        "complete by id absent": lambda: act.complete_by_id(),
        "complete by id without id": lambda: act.complete_by_id(activity_id=""),
        "pause absent": lambda: act.pause(),
        "unpause absent": lambda: act.unpause(),
        "reset absent": lambda: act.reset(),
    }
    outcomes: dict[str, str] = {}
    for name, call in cases.items():
        try:
            await call()
            outcomes[name] = "accepted"
        except RPCError as caught:
            outcomes[name] = error(caught, s.names)
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: activity ID is required
              describe without id, poll without id, cancel without id, terminate without id, delete without id
            INVALID_ARGUMENT: activity ID exceeds length limit. Length=1001 Limit=1000
              describe long id
            INVALID_ARGUMENT: invalid run id: must be a valid UUID
              describe bad run, poll bad run, cancel bad run, terminate bad run, delete bad run
            NOT_FOUND: activity not found for ID: act | NotFoundFailure
              describe absent run, describe absent, describe with a bad token, poll absent, poll absent run,
                  cancel absent, terminate absent, delete absent, complete by id absent, pause absent, unpause
                  absent, reset absent
            INVALID_ARGUMENT: run id is required when long poll token is provided
              describe token without run
            INVALID_ARGUMENT: request ID exceeds length limit. Length=1001 Limit=1000
              cancel long request id, terminate long request id
            INVALID_ARGUMENT: identity exceeds length limit. Length=1001 Limit=1000
              cancel long identity
            INVALID_ARGUMENT: ActivityId is not set on request.
              complete by id without id
        """,
    )


async def test_answers_by_id(s: Scenario, act: Standalone) -> None:
    await act.start()
    await s.expect_refusal(
        s.service.record_activity_task_heartbeat_by_id(
            ws.RecordActivityTaskHeartbeatByIdRequest(namespace=s.namespace, activity_id=act.id)
        ),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.service.respond_activity_task_failed_by_id(
            ws.RespondActivityTaskFailedByIdRequest(
                namespace=s.namespace, activity_id=act.id, failure=c.failure()
            )
        ),
        """
            NOT_FOUND: activity not found for ID: act
              NotFoundFailure
        """,
    )
    task = await s.poll_activity()
    s.expect_message(
        await s.service.record_activity_task_heartbeat_by_id(
            ws.RecordActivityTaskHeartbeatByIdRequest(
                namespace=s.namespace, activity_id=act.id, run_id=task.activity_run_id
            )
        ),
        """
    """,
    )
    await act.complete_by_id("by id")
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.result=['by id']
        """,
    )
    failed = Standalone(s)
    failed.id = s.id("failed")
    await failed.start(retry_policy=ONCE)
    await s.poll_activity()
    await s.service.respond_activity_task_failed_by_id(
        ws.RespondActivityTaskFailedByIdRequest(
            namespace=s.namespace, activity_id=failed.id, failure=c.failure()
        )
    )
    s.expect_message(
        await failed.outcome(),
        """
            run_id=run2 outcome.failure.message=boom outcome.failure.application_failure_info.type=Boom
                  outcome.retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )
    cancelled = Standalone(s)
    cancelled.id = s.id("cancelled")
    await cancelled.start()
    await s.poll_activity()
    await cancelled.cancel()
    await s.service.respond_activity_task_canceled_by_id(
        ws.RespondActivityTaskCanceledByIdRequest(
            namespace=s.namespace, activity_id=cancelled.id, details=c.payloads("d")
        )
    )
    s.expect_message(
        await cancelled.outcome(),
        """
            run_id=run3 outcome.failure.message="Activity canceled"
                  outcome.failure.canceled_failure_info.details=['d']
                  outcome.failure.canceled_failure_info.identity=me
        """,
    )


async def test_completed_by_id_before_a_worker_took_it(s: Scenario, act: Standalone) -> None:
    await act.start()
    await act.complete_by_id("early")
    await act.expect("""
        info.activity_id=act info.activity_type.name=act info.status=COMPLETED info.task_queue=tq
              info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
              info.start_to_close_timeout=60s info.heartbeat_timeout=0s info.retry_policy.initial_interval=1s
              info.retry_policy.backoff_coefficient=2.0 info.retry_policy.maximum_interval=100s
              info.last_started_time=<time> info.attempt=1 info.schedule_time=<time> info.close_time=<time>
              info.last_attempt_complete_time=<time> info.state_transition_count=<set>
              info.search_attributes={} info.execution_time=<time> outcome.result=['early']
    """)


async def test_waiting_for_a_change(s: Scenario, act: Standalone) -> None:
    await act.start()
    first = await act.describe()
    waiting = asyncio.create_task(act.describe(run_id=first.run_id, long_poll_token=first.long_poll_token))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await s.poll_activity()
    s.expect_message(
        await waiting,
        """
            info.activity_id=act info.activity_type.name=act info.status=RUNNING info.run_state=STARTED
                  info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
                  info.start_to_close_timeout=60s info.heartbeat_timeout=0s
                  info.retry_policy.initial_interval=1s info.retry_policy.backoff_coefficient=2.0
                  info.retry_policy.maximum_interval=100s info.last_started_time=<time> info.attempt=1
                  info.schedule_time=<time> info.state_transition_count=<set> info.search_attributes={}
                  info.execution_time=<time>
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await act.outcome(timeout=2),
        """
    """,
    )
    token = (await waiting).long_poll_token
    s.expect_message(
        await act.describe(run_id=first.run_id, long_poll_token=token, timeout=2),
        """
    """,
    )


async def test_a_large_result_and_large_details(s: Scenario, act: Standalone) -> None:
    large = "x" * (2 * 1024 * 1024)
    await act.start()
    task = await s.poll_activity()
    await s.complete_activity(task, large)
    s.expect_message(
        await act.outcome(),
        """
            run_id=run1 outcome.failure.message="Complete result exceeds size limit."
                  outcome.failure.server_failure_info.non_retryable=true
                  outcome.retry_state=NON_RETRYABLE_FAILURE
        """,
    )
    other = Standalone(s)
    other.id = s.id("other")
    await other.start()
    task = await s.poll_activity()
    s.expect_message(
        await s.heartbeat(task, large),
        """
            cancel_requested=true
        """,
    )
    s.expect_message(
        await other.outcome(),
        """
            run_id=run2 outcome.failure.message="Heartbeat details exceed size limit."
                  outcome.failure.server_failure_info.non_retryable=true
                  outcome.retry_state=NON_RETRYABLE_FAILURE
        """,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
            NOT_FOUND: activity not found for ID: other
              NotFoundFailure
        """,
    )


async def test_a_workflow_and_an_activity_may_share_an_id(s: Scenario, act: Standalone) -> None:
    await act.start(activity_id=s.wf)
    await s.start()
    s.expect_message(
        await s.describe(),
        """
            pending_workflow_task.state=SCHEDULED pending_workflow_task.scheduled_time=<time>
                  pending_workflow_task.original_scheduled_time=<time> pending_workflow_task.attempt=1
                  workflow_extended_info.original_start_time=<time>
                  workflow_extended_info.request_id_infos={run1: {event_type=WORKFLOW_EXECUTION_STARTED
                  event_id=1}}
        """,
        hide=(
            "workflow_execution_info",
            "execution_config",
            "workflow_extended_info.run_expiration_time",  # in the year 1, there
        ),
    )
    await s.expect_refusal(
        s.terminate(),
        """
            accepted
        """,
    )
    s.expect_message(
        await act.describe(activity_id=s.wf),
        """
            info.activity_id=wf info.activity_type.name=act info.status=RUNNING info.run_state=SCHEDULED
                  info.task_queue=tq info.schedule_to_close_timeout=0s info.schedule_to_start_timeout=0s
                  info.start_to_close_timeout=60s info.heartbeat_timeout=0s
                  info.retry_policy.initial_interval=1s info.retry_policy.backoff_coefficient=2.0
                  info.retry_policy.maximum_interval=100s info.attempt=1 info.schedule_time=<time>
                  info.state_transition_count=<set> info.search_attributes={} info.execution_time=<time>
        """,
        hide=HIDDEN,
    )
    await act.terminate(activity_id=s.wf)


async def test_sdk_of_the_last_worker(s: Scenario, act: Standalone) -> None:
    await act.start()
    info = (await act.describe()).info
    assert (info.sdk_name, info.sdk_version) == ("", "")
    await s.poll_activity()
    info = (await act.describe()).info
    expect(
        f"{info.sdk_name} {'with a version' if info.sdk_version else 'without one'}",
        """
            temporal-python with a version
        """,
    )
