"""Durations beyond what can be stored: capped, each where it is given."""

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect

HUGE_S = 300_000_000_000  # ten thousand years: a valid Duration, but no 64-bit count of nanoseconds


def _fields(event: object, *names: str) -> str:
    shown = []
    for name in names:
        value = getattr(event, name)
        shown.append(f"{name}={value.seconds}.{value.nanos}")
    return " ".join(shown)


async def test_of_a_start(s: Scenario) -> None:
    huge = Duration(seconds=HUGE_S)
    await s.start(
        workflow_execution_timeout=huge,
        workflow_run_timeout=huge,
        retry_policy=RetryPolicy(initial_interval=huge, maximum_interval=huge),
    )
    started = (await s.history())[0].workflow_execution_started_event_attributes
    shown = _fields(started, "workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout")
    policy = _fields(started.retry_policy, "initial_interval", "maximum_interval")
    expect(
        f"{shown}\n{policy}",
        """
        workflow_execution_timeout=3153600000.0 workflow_run_timeout=3153600000.0 workflow_task_timeout=10.0
        initial_interval=3153600000.0 maximum_interval=3153600000.0
    """,
    )


async def test_of_a_start_delay(s: Scenario) -> None:
    await s.start(workflow_start_delay=Duration(seconds=HUGE_S))
    started = (await s.history())[0].workflow_execution_started_event_attributes
    expect(
        _fields(started, "first_workflow_task_backoff"),
        """
        first_workflow_task_backoff=3153600000.0
    """,
    )


async def test_of_commands(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.timer("t", HUGE_S),
        c.activity(
            "a",
            s.tq,
            schedule_to_close_timeout=HUGE_S,
            schedule_to_start_timeout=HUGE_S,
            start_to_close_timeout=HUGE_S,
            heartbeat_timeout=HUGE_S,
        ),
        force_create_new_workflow_task=True,
    )
    lines = []
    for event in await s.history():
        if event.HasField("timer_started_event_attributes"):
            lines.append(_fields(event.timer_started_event_attributes, "start_to_fire_timeout"))
        if event.HasField("activity_task_scheduled_event_attributes"):
            lines.append(
                _fields(
                    event.activity_task_scheduled_event_attributes,
                    "schedule_to_close_timeout",
                    "schedule_to_start_timeout",
                    "start_to_close_timeout",
                    "heartbeat_timeout",
                )
            )
    expect(
        "\n".join(lines),
        """
        start_to_fire_timeout=3153600000.0
        schedule_to_close_timeout=3153600000.0 schedule_to_start_timeout=3153600000.0
              start_to_close_timeout=3153600000.0 heartbeat_timeout=3153600000.0
    """,
    )
    task = await s.poll()
    await s.complete(task, c.complete())


async def test_of_a_sticky_queue(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.timer("t", 0.1),
        sticky_attributes=StickyExecutionAttributes(
            worker_task_queue=TaskQueue(name=s.id("sticky"), kind=2, normal_name=s.tq),
            schedule_to_start_timeout=Duration(seconds=HUGE_S),
        ),
    )
    await s.signal("still", "there")
    assert (await s.describe()).workflow_execution_info.status == 1


async def test_of_mixed_signs(s: Scenario) -> None:
    mixed = Duration(seconds=5, nanos=-5)
    try:
        await s.start(workflow_run_timeout=mixed)
        answer = "accepted"
    except RPCError as caught:
        answer = error(caught, s.names)
    expect(
        answer,
        """
        INVALID_ARGUMENT: An invalid WorkflowRunTimeoutSeconds is set on request. cause: duration has seconds
              and nanos with different signs
    """,
    )
