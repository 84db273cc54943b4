import asyncio
import time
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.taskqueue.v1 import TaskQueue

from . import commands as c
from .raw import POLL_SECONDS, Scenario, WorkflowTask
from .rendering import IDENTITY


async def _waiting(s: Scenario, sticky: str) -> "asyncio.Task[WorkflowTask]":
    """A sticky poll that the server knows of: a sticky queue that nobody polls is passed over."""
    polling = asyncio.create_task(s.poll(sticky, sticky_of=s.tq))
    await asyncio.sleep(0.1)
    return polling


async def test_sticky_poll_gets_the_new_events_only(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    await s.step(sticky=sticky)
    polling = await _waiting(s, sticky)
    await s.signal("one")
    task = await polling
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 started_event_id=7 attempt=1
                  workflow_execution_task_queue=tq scheduled_time=<time> started_time=<time>
        """,
        hide=["history"],
    )
    s.expect_events(
        task.history.events,
        """
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            7 WorkflowTaskStarted
        """,
    )
    await s.complete(task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionSignaled signal_name=one request_id=<id>
        6 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionCompleted workflow_task_completed_event_id=8
    """)


async def test_sticky_schedule_to_start_timeout_falls_back(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    polling = await _waiting(s, sticky)
    await s.step(c.timer("t", 0.05), sticky=sticky, sticky_timeout=1)
    await s.complete(await polling, sticky=sticky, sticky_timeout=1)
    await s.signal("nobody polls the sticky queue")
    task = await s.poll(timeout=20)
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=0.05s workflow_task_completed_event_id=4
            6 TimerFired timer_id=t started_event_id=5
            7 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            8 WorkflowTaskStarted
            9 WorkflowTaskCompleted
            10 WorkflowExecutionSignaled signal_name="nobody polls the sticky queue" request_id=<id>
            11 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            12 WorkflowTaskTimedOut scheduled_event_id=11 timeout_type=SCHEDULE_TO_START
                  started_event_id=unset
            13 WorkflowTaskScheduled
            14 WorkflowTaskStarted
        """,
    )
    await s.complete(task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=0.05s workflow_task_completed_event_id=4
        6 TimerFired timer_id=t started_event_id=5
        7 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionSignaled signal_name="nobody polls the sticky queue" request_id=<id>
        11 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        12 WorkflowTaskTimedOut scheduled_event_id=11 timeout_type=SCHEDULE_TO_START started_event_id=unset
        13 WorkflowTaskScheduled
        14 WorkflowTaskStarted
        15 WorkflowTaskCompleted
        16 WorkflowExecutionCompleted workflow_task_completed_event_id=15
    """)


async def test_sticky_queue_without_poller_is_left_at_once(s: Scenario) -> None:
    await s.start()
    await s.step(sticky=s.id("never-polled"))
    await s.signal()
    task = await s.poll()
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            6 WorkflowTaskScheduled task_queue=never-polled(sticky of tq)
            7 WorkflowTaskStarted
        """,
    )


async def test_reset_sticky_queue(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    await s.step(sticky=sticky)
    reply = await s.service.reset_sticky_task_queue(
        ws.ResetStickyTaskQueueRequest(namespace=s.namespace, execution=s.execution())
    )
    s.expect_message(reply, "")
    await s.signal()
    task = await s.poll()
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            6 WorkflowTaskScheduled
            7 WorkflowTaskStarted
        """,
    )
    await s.expect_refusal(
        s.service.reset_sticky_task_queue(
            ws.ResetStickyTaskQueueRequest(namespace=s.namespace, execution=s.execution(s.id("missing")))
        ),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )


async def test_failed_task_leaves_the_sticky_queue(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    polling = await _waiting(s, sticky)
    await s.step(sticky=sticky, force_create_new_workflow_task=True)
    await s.fail_task(await polling)
    task = await s.poll()
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            6 WorkflowTaskStarted
            7 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
        """,
    )


async def test_completion_without_sticky_attributes_leaves_the_sticky_queue(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    polling = await _waiting(s, sticky)
    await s.step(sticky=sticky, force_create_new_workflow_task=True)
    await s.complete(await polling, force_create_new_workflow_task=True)
    task = await s.poll()
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            6 WorkflowTaskStarted
            7 WorkflowTaskCompleted
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
        """,
    )


async def test_query_goes_to_the_sticky_queue(s: Scenario) -> None:
    sticky = s.id("sticky")
    await s.start()
    polling = await _waiting(s, sticky)
    await s.step(sticky=sticky, force_create_new_workflow_task=True)
    await s.complete(await polling, sticky=sticky)
    polling = await _waiting(s, sticky)
    asked = asyncio.create_task(s.query("q"))
    task = await polling
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=6 attempt=1 history={} query.query_type=q
                  workflow_execution_task_queue=tq
        """,
    )
    await s.answer_query(task, 1)
    await asked


async def test_empty_poll_ends_with_an_empty_reply(s: Scenario) -> None:
    s.expect_message(await s.poll_once(timeout=3), "")
    reply = await s.service.poll_activity_task_queue(
        ws.PollActivityTaskQueueRequest(namespace=s.namespace, task_queue=TaskQueue(name=s.tq)),
        timeout=timedelta(seconds=3),
    )
    s.expect_message(reply, "")


async def test_poll_with_a_short_deadline_is_refused(s: Scenario) -> None:
    await s.expect_refusal(
        s.poll_once(timeout=1),
        """
            FAILED_PRECONDITION: Context timeout is too short.
        """,
    )


async def test_waiting_poll_gets_the_task_when_it_comes(s: Scenario) -> None:
    polling = asyncio.create_task(s.poll())
    await asyncio.sleep(0.05)
    await s.start()
    assert (await polling).workflow_execution.workflow_id == s.wf


async def test_abandoned_poll_takes_no_task(s: Scenario) -> None:
    polling = asyncio.create_task(s.poll())
    await asyncio.sleep(0.2)
    polling.cancel()
    await asyncio.sleep(0.2)
    await s.start()
    assert (await s.poll()).attempt == 1


async def test_every_task_comes_once(s: Scenario) -> None:
    for number in range(5):
        await s.start(workflow_id=s.id(str(number)))
    polled = [(await s.poll()).workflow_execution.workflow_id for _ in range(5)]
    assert sorted(polled) == [s.id(str(number)) for number in range(5)]


async def test_terminated_workflows_task_is_not_given_out(s: Scenario) -> None:
    await s.start()
    await s.terminate()
    await s.start(workflow_id=s.id("second"))
    assert (await s.poll()).workflow_execution.workflow_id == s.id("second")


async def test_poll_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        s.service.poll_workflow_task_queue(ws.PollWorkflowTaskQueueRequest(namespace=s.namespace)),
        """
            INVALID_ARGUMENT: taskQueue is not set
        """,
    )
    await s.expect_refusal(
        s.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(namespace=s.namespace, task_queue=TaskQueue(name=""))
        ),
        """
            INVALID_ARGUMENT: missing task queue name
        """,
    )
    await s.expect_refusal(
        s.poll("q" * 1001),
        """
            INVALID_ARGUMENT: taskQueue length exceeds limit
        """,
    )
    await s.expect_refusal(
        s.service.poll_activity_task_queue(ws.PollActivityTaskQueueRequest(namespace=s.namespace)),
        """
            INVALID_ARGUMENT: taskQueue is not set
        """,
    )


async def test_large_history_is_paged(s: Scenario) -> None:
    """A poll gives the first page; the rest comes by its token from GetWorkflowExecutionHistory."""
    await s.start()
    task = await s.poll()
    for _ in range(3):
        await s.complete(
            task, *(c.marker("m", data=number) for number in range(100)), force_create_new_workflow_task=True
        )
        task = await s.poll()
    events = list(task.history.events)
    token = task.next_page_token
    while token:
        page = await s.history_page(next_page_token=token)
        events += page.history.events
        token = page.next_page_token
    assert [event.event_id for event in events] == list(range(1, task.started_event_id + 1))


async def _poll_as(s: Scenario, worker: str, *, activities: bool = False, queue: str = "") -> bool:
    """One poll by a worker's process; whether it brought a task."""
    fields: dict[str, Any] = {
        "namespace": s.namespace,
        "task_queue": TaskQueue(name=queue or s.tq),
        "identity": IDENTITY,
        "worker_instance_key": s.id(worker),
    }
    timeout = timedelta(seconds=POLL_SECONDS)
    if activities:
        request = ws.PollActivityTaskQueueRequest(**fields)
        return bool((await s.service.poll_activity_task_queue(request, timeout=timeout)).task_token)
    task = await s.service.poll_workflow_task_queue(
        ws.PollWorkflowTaskQueueRequest(**fields), timeout=timeout
    )
    if task.task_token:
        await s.complete(task, c.complete())
    return bool(task.task_token)


async def test_polls_of_a_worker_that_stops_come_back_empty(s: Scenario) -> None:
    described = await s.service.describe_namespace(ws.DescribeNamespaceRequest(namespace=s.namespace))
    assert described.namespace_info.capabilities.worker_poll_complete_on_shutdown
    began = time.monotonic()
    ended = [
        asyncio.create_task(_poll_as(s, "w1")),
        asyncio.create_task(_poll_as(s, "w1", activities=True)),
    ]
    other = asyncio.create_task(_poll_as(s, "w2"))
    elsewhere = asyncio.create_task(_poll_as(s, "w1", queue=s.id("other")))
    await asyncio.sleep(1)
    await s.service.shutdown_worker(
        ws.ShutdownWorkerRequest(
            namespace=s.namespace,
            identity=IDENTITY,
            sticky_task_queue=s.id("sticky"),
            worker_instance_key=s.id("w1"),
            task_queue=s.tq,
        )
    )
    assert await asyncio.gather(*ended) == [False, False]
    assert not await _poll_as(s, "w1")
    assert time.monotonic() - began < POLL_SECONDS / 2
    assert not other.done()
    await s.start()
    assert await other
    elsewhere.cancel()
