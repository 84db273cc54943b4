"""Workflows that skip time: `time_skipping_config` of starts and of changed options, fast-forwards, what is passed on."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import workflow
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig
from temporalio.testing import TimeSkipper

from . import commands as c
from .raw import Scenario
from .skipping import HOUR, ON, expect_hours, expect_skipping, forward, poll_forward, update
from .workers import sdk_worker


async def test_what_no_workflow_can_have(s: Scenario) -> None:
    config = TimeSkippingConfig(enabled=True, fast_forward_config=FastForwardConfig(id="ff"))
    await s.expect_refusal(
        s.start(time_skipping_config=config),
        """
            INVALID_ARGUMENT: Time skipping config invalid: fast_forward duration must be positive
        """,
    )
    config.fast_forward_config.duration.seconds = -1
    await s.expect_refusal(
        s.start(time_skipping_config=config),
        """
            INVALID_ARGUMENT: Time skipping config invalid: fast_forward duration must be positive
        """,
    )
    config.fast_forward_config.duration.seconds = 1
    config.fast_forward_config.id = " "
    await s.expect_refusal(
        s.start(time_skipping_config=config),
        """
            INVALID_ARGUMENT: Time skipping config invalid: fast_forward_id must be set
        """,
    )
    config.fast_forward_config.id = "ff"
    config.enabled = False
    await s.expect_refusal(
        s.start(time_skipping_config=config),
        """
            INVALID_ARGUMENT: time_skipping_config: cannot set fast_forward when enabled is false
        """,
    )
    await s.start()
    await s.expect_refusal(
        update(s, config),
        """
            INVALID_ARGUMENT: time_skipping_config: cannot set fast_forward when enabled is false
        """,
    )
    await s.expect_refusal(
        poll_forward(s, ""),
        """
            INVALID_ARGUMENT: Time skipping config invalid: fast_forward_id must be set
        """,
    )
    await s.expect_refusal(
        poll_forward(s, "ff", run_id="nonsense"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )


async def test_timers_are_skipped_over(s: Scenario) -> None:
    await s.start(time_skipping_config=ON)
    await s.step(c.timer("a", HOUR), c.timer("b", 3 * HOUR))
    await s.step()
    await expect_skipping(
        s,
        """
            now=+3h current_time=<time> effective_config.enabled=true
                  effective_config.max_session_skip_count=200
        """,
    )
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
            6 TimerStarted timer_id=b start_to_fire_timeout=10800s workflow_task_completed_event_id=4 at=+0h
            7 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+1h
            8 TimerFired timer_id=a started_event_id=5 at=+1h
            9 WorkflowTaskScheduled at=+1h
            10 WorkflowTaskStarted at=+1h
            11 WorkflowTaskCompleted at=+1h
            12 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+3h
            13 TimerFired timer_id=b started_event_id=6 at=+3h
            14 WorkflowTaskScheduled at=+3h
            15 WorkflowTaskStarted at=+3h
            16 WorkflowTaskCompleted at=+3h
            17 WorkflowExecutionCompleted workflow_task_completed_event_id=16 at=+3h
        """,
    )
    await expect_skipping(
        s,
        """
            now=+3h current_time=<time> effective_config.enabled=true
                  effective_config.max_session_skip_count=200
        """,
    )


async def test_a_start_delay_is_skipped_over(s: Scenario) -> None:
    await s.start(time_skipping_config=ON, workflow_start_delay=c.seconds(5 * HOUR))
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted first_workflow_task_backoff=long time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+5h
            3 WorkflowTaskScheduled at=+5h
            4 WorkflowTaskStarted at=+5h
            5 WorkflowTaskCompleted at=+5h
            6 WorkflowExecutionCompleted workflow_task_completed_event_id=5 at=+5h
        """,
    )


async def test_a_run_timeout_is_skipped_to(s: Scenario) -> None:
    await s.start(time_skipping_config=ON, workflow_run_timeout=4 * HOUR)
    await s.step()
    await s.closed()
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted workflow_run_timeout=14400s time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+4h
            6 WorkflowExecutionTimedOut retry_state=RETRY_POLICY_NOT_SET at=+4h
        """,
    )


async def test_an_activity_holds_time_but_its_backoff_does_not(s: Scenario) -> None:
    await s.start(time_skipping_config=ON)
    policy = c.retry(initial_interval=c.seconds(2 * HOUR), maximum_interval=c.seconds(2 * HOUR))
    await s.step(c.activity("a", s.tq, retry_policy=policy, start_to_close_timeout=60), c.timer("t", HOUR))
    await asyncio.sleep(1.5)
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=60s heartbeat_timeout=0s workflow_task_completed_event_id=4
                  retry_policy.initial_interval=7200s retry_policy.maximum_interval=7200s at=+0h
            6 TimerStarted timer_id=t start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
        """,
    )
    await s.fail_activity(await s.poll_activity())
    await s.step()
    await s.complete_activity(await s.poll_activity())
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=60s heartbeat_timeout=0s workflow_task_completed_event_id=4
                  retry_policy.initial_interval=7200s retry_policy.maximum_interval=7200s at=+0h
            6 TimerStarted timer_id=t start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
            7 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+1h
            8 TimerFired timer_id=t started_event_id=6 at=+1h
            9 WorkflowTaskScheduled at=+1h
            10 WorkflowTaskStarted at=+1h
            11 WorkflowTaskCompleted at=+1h
            12 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+2h
            13 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message=boom
                  last_failure.application_failure_info.type=Boom at=+2h
            14 ActivityTaskCompleted scheduled_event_id=5 started_event_id=13 at=+2h
            15 WorkflowTaskScheduled at=+2h
            16 WorkflowTaskStarted at=+2h
            17 WorkflowTaskCompleted at=+2h
            18 WorkflowExecutionCompleted workflow_task_completed_event_id=17 at=+2h
        """,
    )


async def test_skips_are_counted(s: Scenario) -> None:
    await s.start(time_skipping_config=TimeSkippingConfig(enabled=True, max_session_skip_count=1))
    await s.step(c.timer("a", HOUR), c.timer("b", 3 * HOUR))
    await s.step()
    await expect_skipping(
        s,
        """
            now=+1h current_time=<time> effective_config.max_session_skip_count=1
        """,
    )
    await update(s, TimeSkippingConfig(enabled=True, max_session_skip_count=1))
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=1 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
            6 TimerStarted timer_id=b start_to_fire_timeout=10800s workflow_task_completed_event_id=4 at=+0h
            7 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+1h
            8 TimerFired timer_id=a started_event_id=5 at=+1h
            9 WorkflowTaskScheduled at=+1h
            10 WorkflowTaskStarted at=+1h
            11 WorkflowTaskCompleted at=+1h
            12 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me
                  time_skipping_config.max_session_skip_count=1 time_skipping_config_updated=true
                  worker_may_ignore=true at=+1h
            13 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+3h
            14 TimerFired timer_id=b started_event_id=6 at=+3h
            15 WorkflowTaskScheduled at=+3h
            16 WorkflowTaskStarted at=+3h
            17 WorkflowTaskCompleted at=+3h
            18 WorkflowExecutionCompleted workflow_task_completed_event_id=17 at=+3h
        """,
    )


async def test_a_fast_forward_ends_before_what_is_later(s: Scenario) -> None:
    await s.start(time_skipping_config=forward(2))
    await s.step(c.timer("a", HOUR), c.timer("b", 5 * HOUR))
    await s.step()
    s.expect_message(
        await poll_forward(s),
        """
            fast_forward_polling_result=FAST_FORWARD_COMPLETED fast_forward_info.fast_forward_duration=7200s
                  fast_forward_info.fast_forward_id=ff fast_forward_info.target_time=<time>
                  fast_forward_info.has_completed=true
        """,
    )
    await expect_skipping(
        s,
        """
            now=+2h current_time=<time> effective_config.fast_forward_config.id=ff
                  effective_config.fast_forward_config.duration=7200s
                  effective_config.max_session_skip_count=200
        """,
    )
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.fast_forward_config.id=ff
                  time_skipping_config.fast_forward_config.duration=7200s
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
            6 TimerStarted timer_id=b start_to_fire_timeout=18000s workflow_task_completed_event_id=4 at=+0h
            7 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+1h
            8 TimerFired timer_id=a started_event_id=5 at=+1h
            9 WorkflowTaskScheduled at=+1h
            10 WorkflowTaskStarted at=+1h
            11 WorkflowTaskCompleted at=+1h
            12 WorkflowExecutionTimeSkippingTransitioned target_time=<time> disabled_after_fast_forward=true
                  wall_clock_time=<time> worker_may_ignore=true at=+1h skips_to=+2h
        """,
    )
    s.expect_message(
        await poll_forward(s, "another"),
        """
            fast_forward_polling_result=FAST_FORWARD_FAILED failed_reason="the requested fast_forward_id does
                  not match the execution's current fast-forward"
                  fast_forward_info.fast_forward_duration=7200s fast_forward_info.fast_forward_id=ff
                  fast_forward_info.target_time=<time> fast_forward_info.has_completed=true
        """,
    )


async def test_a_fast_forward_of_an_open_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("a", 5 * HOUR))
    await expect_skipping(
        s,
        """
    """,
    )
    s.expect_message(
        await update(s, forward(1)),
        """
            workflow_execution_options.time_skipping_config.fast_forward_config.id=ff
                  workflow_execution_options.time_skipping_config.fast_forward_config.duration=3600s
                  workflow_execution_options.time_skipping_config.max_session_skip_count=200
        """,
    )
    s.expect_message(
        await poll_forward(s),
        """
            fast_forward_polling_result=FAST_FORWARD_COMPLETED fast_forward_info.fast_forward_duration=3600s
                  fast_forward_info.fast_forward_id=ff fast_forward_info.target_time=<time>
                  fast_forward_info.has_completed=true
        """,
    )
    await update(s, forward(1, "again"))
    s.expect_message(
        await poll_forward(s, "again"),
        """
            fast_forward_polling_result=FAST_FORWARD_COMPLETED fast_forward_info.fast_forward_duration=3600s
                  fast_forward_info.fast_forward_id=again fast_forward_info.target_time=<time>
                  fast_forward_info.has_completed=true
        """,
    )
    await update(s, ON)
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=18000s workflow_task_completed_event_id=4 at=+0h
            6 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me
                  time_skipping_config.fast_forward_config.id=ff
                  time_skipping_config.fast_forward_config.duration=3600s
                  time_skipping_config.max_session_skip_count=200 time_skipping_config_updated=true
                  worker_may_ignore=true at=+0h
            7 WorkflowExecutionTimeSkippingTransitioned target_time=<time> disabled_after_fast_forward=true
                  wall_clock_time=<time> worker_may_ignore=true at=+0h skips_to=+1h
            8 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me
                  time_skipping_config.fast_forward_config.id=again
                  time_skipping_config.fast_forward_config.duration=3600s
                  time_skipping_config.max_session_skip_count=200 time_skipping_config_updated=true
                  worker_may_ignore=true at=+1h
            9 WorkflowExecutionTimeSkippingTransitioned target_time=<time> disabled_after_fast_forward=true
                  wall_clock_time=<time> worker_may_ignore=true at=+1h skips_to=+2h
            10 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me
                  time_skipping_config.max_session_skip_count=200 time_skipping_config_updated=true
                  worker_may_ignore=true at=+2h
            11 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+2h skips_to=+5h
            12 TimerFired timer_id=a started_event_id=5 at=+5h
            13 WorkflowTaskScheduled at=+5h
            14 WorkflowTaskStarted at=+5h
            15 WorkflowTaskCompleted at=+5h
            16 WorkflowExecutionCompleted workflow_task_completed_event_id=15 at=+5h
        """,
    )


async def test_a_configuration_is_taken_away(s: Scenario) -> None:
    await s.start(time_skipping_config=ON)
    task = await s.poll()
    s.expect_message(
        await update(s, None),
        """
            workflow_execution_options={}
        """,
    )
    await s.complete(task, c.timer("a", 5 * HOUR))
    await asyncio.sleep(1.5)
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=18000s workflow_task_completed_event_id=4 at=+0h
            6 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me
                  time_skipping_config={} time_skipping_config_updated=true worker_may_ignore=true at=+0h
            7 WorkflowTaskScheduled at=+0h
        """,
    )
    await expect_skipping(
        s,
        """
            now=+0h current_time=<time>
        """,
    )


async def test_the_end_of_a_workflow_ends_its_fast_forward(s: Scenario) -> None:
    await s.start(time_skipping_config=forward(2))
    task = await s.poll()
    polling = asyncio.create_task(poll_forward(s))
    await asyncio.sleep(0.5)
    await s.complete(task, c.complete())
    s.expect_message(
        await polling,
        """
            fast_forward_polling_result=FAST_FORWARD_FAILED failed_reason="the execution ended before the
                  fast-forward completed" fast_forward_info.fast_forward_duration=7200s
                  fast_forward_info.fast_forward_id=ff fast_forward_info.target_time=<time>
        """,
    )


async def test_a_fast_forward_that_is_set_anew_or_switched_off(s: Scenario) -> None:
    await s.start(time_skipping_config=forward(2))
    await s.poll()
    polling = asyncio.create_task(poll_forward(s))
    await asyncio.sleep(0.5)
    await update(s, forward(3))
    s.expect_message(
        await polling,
        """
            fast_forward_polling_result=FAST_FORWARD_FAILED failed_reason="the fast-forward was reset"
                  fast_forward_info.fast_forward_duration=10800s fast_forward_info.fast_forward_id=ff
                  fast_forward_info.target_time=<time>
        """,
    )
    polling = asyncio.create_task(poll_forward(s))
    await asyncio.sleep(0.5)
    await update(s, TimeSkippingConfig(enabled=False))
    s.expect_message(
        await polling,
        """
            fast_forward_polling_result=FAST_FORWARD_FAILED failed_reason="the requested fast_forward_id does
                  not match the execution's current fast-forward"
        """,
    )


async def test_children_have_their_parents_time_and_skip_too(s: Scenario) -> None:
    await s.start(time_skipping_config=ON)
    child, queue = s.id("child"), s.id("cq")
    s.started.append(child)
    await s.step(c.timer("a", HOUR))
    first = (await s.history())[0]
    await s.step(c.child(child, queue), c.timer("b", 10 * HOUR))
    await s.step()
    task = await s.poll(queue)
    await s.complete(task, c.timer("c", 2 * HOUR))
    await s.complete(await s.poll(queue), c.complete())
    await s.step()
    await s.step(c.complete())
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200 at=+0h
            2 WorkflowTaskScheduled at=+0h
            3 WorkflowTaskStarted at=+0h
            4 WorkflowTaskCompleted at=+0h
            5 TimerStarted timer_id=a start_to_fire_timeout=3600s workflow_task_completed_event_id=4 at=+0h
            6 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+0h skips_to=+1h
            7 TimerFired timer_id=a started_event_id=5 at=+1h
            8 WorkflowTaskScheduled at=+1h
            9 WorkflowTaskStarted at=+1h
            10 WorkflowTaskCompleted at=+1h
            11 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child
                  workflow_type.name=demo task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=10
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id> time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200
                  time_skipping_state_propagation.initial_skipped_duration=3600s at=+1h
            12 TimerStarted timer_id=b start_to_fire_timeout=36000s workflow_task_completed_event_id=10 at=+1h
            13 ChildWorkflowExecutionStarted namespace=default initiated_event_id=11
                  workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
                  namespace_id=<id> at=+1h
            14 WorkflowTaskScheduled at=+1h
            15 WorkflowTaskStarted at=+1h
            16 WorkflowTaskCompleted at=+1h
            17 ChildWorkflowExecutionCompleted namespace=default workflow_execution.workflow_id=child
                  workflow_execution.run_id=run2 workflow_type.name=demo initiated_event_id=11
                  started_event_id=13 namespace_id=<id> at=+1h
            18 WorkflowTaskScheduled at=+1h
            19 WorkflowTaskStarted at=+1h
            20 WorkflowTaskCompleted at=+1h
            21 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+11h
            22 TimerFired timer_id=b started_event_id=12 at=+11h
            23 WorkflowTaskScheduled at=+11h
            24 WorkflowTaskStarted at=+11h
            25 WorkflowTaskCompleted at=+11h
            26 WorkflowExecutionCompleted workflow_task_completed_event_id=25 at=+11h
        """,
    )
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=11 task_queue=cq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 time_skipping_config.enabled=true
                  time_skipping_config.max_session_skip_count=200
                  time_skipping_state_propagation.initial_skipped_duration=3600s identity=unset
            2 WorkflowTaskScheduled task_queue=cq at=+1h
            3 WorkflowTaskStarted at=+1h
            4 WorkflowTaskCompleted at=+1h
            5 TimerStarted timer_id=c start_to_fire_timeout=7200s workflow_task_completed_event_id=4 at=+1h
            6 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+3h
            7 TimerFired timer_id=c started_event_id=5 at=+3h
            8 WorkflowTaskScheduled task_queue=cq at=+3h
            9 WorkflowTaskStarted at=+3h
            10 WorkflowTaskCompleted at=+3h
            11 WorkflowExecutionCompleted workflow_task_completed_event_id=10 at=+3h
        """,
        workflow_id=child,
        since=first,
    )


async def test_children_need_not_skip(s: Scenario) -> None:
    await s.start(time_skipping_config=TimeSkippingConfig(enabled=True, disable_propagation=True))
    child, queue = s.id("child"), s.id("cq")
    s.started.append(child)
    await s.step(c.timer("a", HOUR))
    first = (await s.history())[0]
    await s.step(c.child(child, queue))
    await s.step()
    await s.complete(await s.poll(queue), c.timer("c", 2 * HOUR))
    await asyncio.sleep(1.5)
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=11 task_queue=cq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1
                  time_skipping_state_propagation.initial_skipped_duration=3600s identity=unset
            2 WorkflowTaskScheduled task_queue=cq at=+1h
            3 WorkflowTaskStarted at=+1h
            4 WorkflowTaskCompleted at=+1h
            5 TimerStarted timer_id=c start_to_fire_timeout=7200s workflow_task_completed_event_id=4 at=+1h
        """,
        workflow_id=child,
        since=first,
    )


async def test_the_next_run_goes_on_with_it(s: Scenario) -> None:
    await s.start(time_skipping_config=forward(6))
    await s.step(c.timer("a", HOUR))
    first = (await s.history())[0]
    await s.step(c.continue_as_new())
    await s.step(c.timer("b", 2 * HOUR))
    await s.step(c.timer("c", 20 * HOUR))
    s.expect_message(
        await poll_forward(s),
        """
            fast_forward_polling_result=FAST_FORWARD_COMPLETED fast_forward_info.fast_forward_duration=21600s
                  fast_forward_info.fast_forward_id=ff fast_forward_info.target_time=<time>
                  fast_forward_info.has_completed=true
        """,
    )
    await expect_hours(
        s,
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true}] time_skipping_config.enabled=true
                  time_skipping_config.fast_forward_config.id=ff
                  time_skipping_config.fast_forward_config.duration=21600s
                  time_skipping_config.max_session_skip_count=200
                  time_skipping_state_propagation.initial_skipped_duration=3600s
                  time_skipping_state_propagation.fast_forward_target_time=<time>
                  time_skipping_state_propagation.initial_skip_count=1 identity=unset at=+1h
            2 WorkflowTaskScheduled at=+1h
            3 WorkflowTaskStarted at=+1h
            4 WorkflowTaskCompleted at=+1h
            5 TimerStarted timer_id=b start_to_fire_timeout=7200s workflow_task_completed_event_id=4 at=+1h
            6 WorkflowExecutionTimeSkippingTransitioned target_time=<time> wall_clock_time=<time>
                  worker_may_ignore=true at=+1h skips_to=+3h
            7 TimerFired timer_id=b started_event_id=5 at=+3h
            8 WorkflowTaskScheduled at=+3h
            9 WorkflowTaskStarted at=+3h
            10 WorkflowTaskCompleted at=+3h
            11 TimerStarted timer_id=c start_to_fire_timeout=72000s workflow_task_completed_event_id=10 at=+3h
            12 WorkflowExecutionTimeSkippingTransitioned target_time=<time> disabled_after_fast_forward=true
                  wall_clock_time=<time> worker_may_ignore=true at=+3h skips_to=+6h
        """,
        since=first,
    )


@workflow.defn
class SleepsLong:
    """Sleeps for the days that it is told of, calls a child that sleeps too, and tells by how much its time went on."""

    @workflow.run
    async def run(self, days: int, with_child: bool) -> int:
        began = workflow.now()
        await asyncio.sleep(days * 24 * HOUR)
        if with_child:
            await workflow.execute_child_workflow(SleepsLong.run, args=[days, False])
        return (workflow.now() - began).days


async def test_the_sdk_skips_time(s: Scenario) -> None:
    skipper = TimeSkipper(s.client)
    async with sdk_worker(s, workflows=[SleepsLong]):
        handle = await skipper.client.start_workflow(
            SleepsLong.run, args=[30, False], id=s.wf, task_queue=s.tq
        )
        assert await asyncio.wait_for(handle.result(), 30) == 30
        with skipper.with_time_skipping_disabled():
            handle = await skipper.client.start_workflow(
                SleepsLong.run, args=[10, True], id=s.wf, task_queue=s.tq
            )
        assert await skipper.fast_forward(handle, timedelta(days=3))
        info = await skipper.get_time_skipping_info(handle)
        assert info is not None
        assert not info.effective_config.enabled
        ahead = await skipper.get_current_time(handle) - datetime.now(UTC)
        assert abs(ahead - timedelta(days=3)) < timedelta(minutes=1)
        assert await skipper.fast_forward(handle) is False  # to its end
        # The child's ten days pass in the child alone: the parent's own clock stands still meanwhile.
        assert await asyncio.wait_for(handle.result(), 30) == 10
