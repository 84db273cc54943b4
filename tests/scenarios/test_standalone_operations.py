"""Pausing, unpausing, resetting and changing standalone activities."""

# The real server serves these calls only with history.enableStandaloneActivityOperatorCommands.

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, RetryPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error, fields
from .snapshots import expect, grouped
from .standalone import Standalone

SLOW = c.retry(initial_interval=c.seconds(60), backoff_coefficient=2)
FAST = c.retry(initial_interval=c.seconds(0.05), backoff_coefficient=1)


@pytest.fixture
def act(s: Scenario) -> Standalone:
    return Standalone(s)


async def stands(act: Standalone) -> str:
    """Where it stands, in short."""
    found = await act.describe(include_last_failure=True, include_heartbeat_details=True)
    shown = fields(found.info, act.s.names)
    kept = (
        "status",
        "run_state",
        "attempt",
        "current_retry_interval",
        "last_failure.message",
        "heartbeat_details",
    )
    return " ".join(f"{key}={shown[key]}" for key in kept if key in shown)


async def tried(s: Scenario, call: Any) -> str:
    try:
        await call
    except RPCError as caught:
        return error(caught, s.names)
    return "accepted"


async def test_pause_one_that_waits(s: Scenario, act: Standalone) -> None:
    await act.start()
    told = [await tried(s, act.pause(reason="why", request_id="p1")), await stands(act)]
    told += [await tried(s, act.pause(request_id="p1")), await tried(s, act.pause(request_id="p2"))]
    told += [await tried(s, act.unpause(request_id="u1")), await stands(act)]
    told += [await tried(s, act.unpause(request_id="u1")), await tried(s, act.unpause(request_id="u2"))]
    told.append(await tried(s, act.pause(request_id="p1")))
    task = await s.poll_activity()
    await s.complete_activity(task)
    told += [await tried(s, act.pause(request_id="p3")), await tried(s, act.unpause(request_id="u3"))]
    expect(
        "\n".join(told),
        """
            accepted
            status=PAUSED run_state=PAUSED attempt=1
            accepted
            FAILED_PRECONDITION: activity is in non-pausable state Paused
            accepted
            status=RUNNING run_state=SCHEDULED attempt=1
            accepted
            FAILED_PRECONDITION: activity is in non-unpausable state Scheduled
            accepted
            FAILED_PRECONDITION: activity is in non-pausable state Completed
            FAILED_PRECONDITION: activity is in terminal state Completed
        """,
    )


async def test_pause_one_that_a_worker_holds(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=FAST)
    task = await s.poll_activity()
    told = [await tried(s, act.pause(request_id="p1")), await stands(act)]
    s.expect_message(
        await s.heartbeat(task, "beat"),
        """
            activity_paused=true
        """,
    )
    await s.fail_activity(task)
    await asyncio.sleep(0.1)  # the next attempt's time has come
    told += [await stands(act), await tried(s, act.unpause()), await stands(act)]
    task = await s.poll_activity()
    told += [await tried(s, act.pause()), await tried(s, act.unpause()), await stands(act)]
    told.append(await tried(s, act.pause()))
    await s.complete_activity(task)
    told.append(await stands(act))
    expect(
        "\n".join(told),
        """
            accepted
            status=RUNNING run_state=PAUSE_REQUESTED attempt=1
            status=PAUSED run_state=PAUSED attempt=2 last_failure.message=boom heartbeat_details=['beat']
            accepted
            status=RUNNING run_state=SCHEDULED attempt=2 last_failure.message=boom heartbeat_details=['beat']
            accepted
            accepted
            status=RUNNING run_state=STARTED attempt=2 last_failure.message=boom heartbeat_details=['beat']
            accepted
            status=COMPLETED attempt=2 last_failure.message=boom heartbeat_details=['beat']
        """,
    )


async def test_pause_while_it_backs_off(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW)
    await s.fail_activity(await s.poll_activity())
    told = [await tried(s, act.pause()), await stands(act)]
    told += [await tried(s, act.unpause()), await stands(act)]
    expect(
        "\n".join(told),
        """
            accepted
            status=PAUSED run_state=PAUSED attempt=2 last_failure.message=boom
            accepted
            status=RUNNING run_state=SCHEDULED attempt=2 current_retry_interval=60s last_failure.message=boom
        """,
    )


async def test_cancel_and_terminate_what_is_paused(s: Scenario, act: Standalone) -> None:
    await act.start()
    told = [await tried(s, act.pause()), await tried(s, act.cancel()), await stands(act)]
    other = Standalone(s)
    other.id = s.id("other")
    await other.start()
    told += [await tried(s, other.pause()), await tried(s, other.terminate()), await stands(other)]
    held = Standalone(s)
    held.id = s.id("held")
    await held.start()
    task = await s.poll_activity()
    told += [await tried(s, held.pause()), await tried(s, held.cancel()), await stands(held)]
    told += [
        await tried(s, held.pause(request_id="p")),
        await tried(s, held.unpause()),
        await tried(s, held.reset()),
    ]
    s.expect_message(
        await s.heartbeat(task),
        """
            cancel_requested=true
        """,
    )
    timed = Standalone(s)
    timed.id = s.id("timed")
    await timed.start(schedule_to_close_timeout=1)
    await timed.pause()
    await timed.outcome()
    told.append(await stands(timed))
    expect(
        "\n".join(told),
        """
            accepted
            accepted
            status=CANCELED attempt=1
            accepted
            accepted
            status=TERMINATED attempt=1
            accepted
            accepted
            status=RUNNING run_state=CANCEL_REQUESTED attempt=1
            FAILED_PRECONDITION: activity is in non-pausable state CancelRequested
            FAILED_PRECONDITION: activity is in non-unpausable state CancelRequested
            FAILED_PRECONDITION: cannot reset an activity with a pending cancellation
            status=TIMED_OUT attempt=1
        """,
    )


async def test_reset_one_that_waits(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW)
    await s.fail_activity(await s.poll_activity())
    told = [await stands(act), await tried(s, act.reset(request_id="r1")), await stands(act)]
    told += [await tried(s, act.reset(request_id="r1"))]
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await s.fail_activity(task)
    told += [await stands(act), await tried(s, act.reset(reset_heartbeat=True)), await stands(act)]
    told += [await tried(s, act.pause()), await tried(s, act.reset(keep_paused=True)), await stands(act)]
    told += [await tried(s, act.reset()), await stands(act)]
    await act.terminate()
    told.append(await tried(s, act.reset()))
    expect(
        "\n".join(told),
        """
            status=RUNNING run_state=SCHEDULED attempt=2 current_retry_interval=60s last_failure.message=boom
            accepted
            status=RUNNING run_state=SCHEDULED attempt=1 last_failure.message=boom
            accepted
            status=RUNNING run_state=SCHEDULED attempt=2 current_retry_interval=60s last_failure.message=boom
                  heartbeat_details=['beat']
            accepted
            status=RUNNING run_state=SCHEDULED attempt=1 last_failure.message=boom
            accepted
            accepted
            status=PAUSED run_state=PAUSED attempt=1 last_failure.message=boom
            accepted
            status=RUNNING run_state=SCHEDULED attempt=1 last_failure.message=boom
            FAILED_PRECONDITION: activity execution is not running
        """,
    )


async def test_reset_one_that_a_worker_holds(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW)
    await s.fail_activity(await s.poll_activity())
    await act.reset()
    task = await s.poll_activity()
    await s.fail_activity(task)
    told = [await stands(act)]
    await act.reset()
    task = await s.poll_activity()
    told += [await tried(s, act.reset(request_id="r2")), await stands(act)]
    told += [await tried(s, act.reset(request_id="r2")), await tried(s, act.reset(request_id="r3"))]
    told += [await tried(s, act.pause()), await tried(s, act.unpause())]
    s.expect_message(
        await s.heartbeat(task, "beat"),
        """
            activity_reset=true
        """,
    )
    await s.fail_activity(task)
    task = await s.poll_activity()
    told.append(await stands(act))
    told += [await tried(s, act.pause()), await tried(s, act.reset(keep_paused=True)), await stands(act)]
    await s.fail_activity(task)
    told.append(await stands(act))
    expect(
        "\n".join(told),
        """
            status=RUNNING run_state=SCHEDULED attempt=2 current_retry_interval=60s last_failure.message=boom
            accepted
            status=RUNNING run_state=STARTED attempt=1 last_failure.message=boom
            accepted
            FAILED_PRECONDITION: cannot reset an activity with a pending reset
            FAILED_PRECONDITION: activity is in non-pausable state ResetRequested
            FAILED_PRECONDITION: activity is in non-unpausable state ResetRequested
            status=RUNNING run_state=STARTED attempt=1 last_failure.message=boom heartbeat_details=['beat']
            accepted
            accepted
            status=RUNNING run_state=PAUSE_REQUESTED attempt=1 last_failure.message=boom
                  heartbeat_details=['beat']
            status=PAUSED run_state=PAUSED attempt=1 last_failure.message=boom heartbeat_details=['beat']
        """,
    )


async def test_change_options(s: Scenario, act: Standalone) -> None:
    await act.start(retry_policy=SLOW, schedule_to_close_timeout=500)
    await s.fail_activity(await s.poll_activity())
    reply = await act.update(
        ActivityOptions(retry_policy=RetryPolicy(initial_interval=c.seconds(90))),
        "retry_policy.initial_interval",
        request_id="u1",
    )
    s.expect_message(
        reply,
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=500s
                  activity_options.schedule_to_start_timeout=500s activity_options.start_to_close_timeout=60s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=90s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=6000s
        """,
    )
    told = [await stands(act)]
    reply = await act.update(
        ActivityOptions(retry_policy=RetryPolicy(initial_interval=c.seconds(70))),
        "retry_policy.initial_interval",
        request_id="u1",
    )
    s.expect_message(
        reply,
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=500s
                  activity_options.schedule_to_start_timeout=500s activity_options.start_to_close_timeout=60s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=90s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=6000s
        """,
    )
    reply = await act.update(
        ActivityOptions(
            task_queue=TaskQueue(name=s.id("other")),
            priority=Priority(priority_key=4),
            heartbeat_timeout=c.seconds(1000),
            start_to_close_timeout=c.seconds(50),
            retry_policy=RetryPolicy(initial_interval=c.seconds(0.05), backoff_coefficient=1),
        ),
        "task_queue.name",
        "priority",
        "heartbeat_timeout",
        "start_to_close_timeout",
        "retry_policy",
    )
    s.expect_message(
        reply,
        """
            activity_options.task_queue=other activity_options.schedule_to_close_timeout=500s
                  activity_options.schedule_to_start_timeout=500s activity_options.start_to_close_timeout=50s
                  activity_options.heartbeat_timeout=50s activity_options.retry_policy.initial_interval=0.05s
                  activity_options.retry_policy.backoff_coefficient=1.0
                  activity_options.retry_policy.maximum_interval=5s activity_options.priority.priority_key=4
        """,
    )
    task = await s.poll_activity(s.id("other"))
    told.append(await stands(act))
    s.expect_message(
        await act.update(None, restore_original=True),
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=500s
                  activity_options.schedule_to_start_timeout=500s activity_options.start_to_close_timeout=60s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=60s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=6000s
        """,
    )
    await s.fail_activity(task)
    told.append(await stands(act))
    expect(
        "\n".join(told),
        """
            status=RUNNING run_state=SCHEDULED attempt=2 current_retry_interval=90s last_failure.message=boom
            status=RUNNING run_state=STARTED attempt=2 last_failure.message=boom
            status=RUNNING run_state=SCHEDULED attempt=3 current_retry_interval=120s last_failure.message=boom
        """,
    )


async def test_refused_changes_of_options(s: Scenario, act: Standalone) -> None:
    await act.start()
    options = ActivityOptions(start_to_close_timeout=c.seconds(5))
    cases: dict[str, Any] = {
        "no options": lambda: act.update(None, "start_to_close_timeout"),
        "no mask": lambda: act.update(options),
        "unknown path": lambda: act.update(options, "start_to_close"),
        "both": lambda: act.update(options, "start_to_close_timeout", restore_original=True),
        "negative": lambda: act.update(ActivityOptions(heartbeat_timeout=c.seconds(-1)), "heartbeat_timeout"),
        "no timeout left": lambda: act.update(ActivityOptions(), "start_to_close_timeout"),
        "no queue": lambda: act.update(ActivityOptions(), "task_queue.name"),
        "attempts": lambda: act.update(
            ActivityOptions(retry_policy=RetryPolicy(maximum_attempts=-1)), "retry_policy.maximum_attempts"
        ),
        "coefficient": lambda: act.update(
            ActivityOptions(retry_policy=RetryPolicy(backoff_coefficient=0.5)),
            "retry_policy.backoff_coefficient",
        ),
        "interval": lambda: act.update(
            ActivityOptions(retry_policy=RetryPolicy(initial_interval=c.seconds(-1))),
            "retry_policy.initial_interval",
        ),
        "priority": lambda: act.update(ActivityOptions(priority=Priority(priority_key=-1)), "priority"),
        "start delay": lambda: act.update(ActivityOptions(start_delay=Duration(seconds=9)), "start_delay"),
        "no priority": lambda: act.update(ActivityOptions(), "priority.priority_key"),
        "no policy": lambda: act.update(ActivityOptions(), "retry_policy.maximum_attempts"),
        "jitter": lambda: act.reset(jitter=Duration(seconds=-1)),
        "jitter of unpause": lambda: act.unpause(jitter=Duration(seconds=-1)),
    }
    outcomes = {name: await tried(s, call()) for name, call in cases.items()}
    await act.terminate()
    outcomes["over"] = await tried(s, act.update(options, "start_to_close_timeout"))
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: ActivityOptions are not provided
              no options
            INVALID_ARGUMENT: UpdateMask is not provided
              no mask
            INVALID_ARGUMENT: unsupported update_mask path: "start_to_close"
              unknown path
            INVALID_ARGUMENT: Both UpdateMask and RestoreOriginal are provided
              both
            INVALID_ARGUMENT: invalid HeartbeatTimeout: negative duration
              negative
            INVALID_ARGUMENT: a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the
                  activity. ActivityId=act ActivityType=act
              no timeout left
            INVALID_ARGUMENT: taskQueue is not set
              no queue
            INVALID_ARGUMENT: MaximumAttempts cannot be negative on retry policy.
              attempts
            INVALID_ARGUMENT: BackoffCoefficient cannot be less than 1 on retry policy.
              coefficient
            INVALID_ARGUMENT: invalid InitialInterval set on retry policy: negative duration
              interval
            INVALID_ARGUMENT: priority key can't be negative
              priority
            FAILED_PRECONDITION: cannot update start_delay: the first activity attempt has already been
                  dispatched
              start delay
            INVALID_ARGUMENT: Priority is not provided
              no priority
            INVALID_ARGUMENT: RetryPolicy is not provided
              no policy
            INVALID_ARGUMENT: invalid jitter: negative duration
              jitter, jitter of unpause
            FAILED_PRECONDITION: Cannot update options for activity in state Terminated
              over
        """,
    )


async def test_start_delay_may_change_before_the_first_attempt(s: Scenario, act: Standalone) -> None:
    await act.start(start_delay=Duration(seconds=3600))
    s.expect_message(
        await act.update(ActivityOptions(start_delay=Duration(seconds=1800)), "start_delay"),
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=60s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s activity_options.start_delay=1800s
        """,
    )
    told = [await tried(s, act.pause()), await tried(s, act.unpause()), await stands(act)]
    await act.update(ActivityOptions(), "start_delay")
    await s.poll_activity()
    told.append(await stands(act))
    expect(
        "\n".join(told),
        """
            accepted
            accepted
            status=RUNNING run_state=SCHEDULED attempt=1
            status=RUNNING run_state=STARTED attempt=1
        """,
    )
