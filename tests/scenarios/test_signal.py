import asyncio
import uuid

from . import commands as c
from .raw import Scenario


async def test_wakes_the_workflow(s: Scenario) -> None:
    await s.start()
    await s.step()
    await s.signal("sig", 1, "two")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionSignaled signal_name=sig input=[1, 'two'] request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionCompleted workflow_task_completed_event_id=8
    """)


async def test_two_signals_share_one_task(s: Scenario) -> None:
    await s.start()
    await s.step()
    await s.signal("one")
    await s.signal("two")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionSignaled signal_name=one request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowExecutionSignaled signal_name=two request_id=<id>
    """)


async def test_before_the_first_task(s: Scenario) -> None:
    await s.start()
    await s.signal("early")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionSignaled signal_name=early request_id=<id>
        4 WorkflowTaskStarted scheduled_event_id=2
        5 WorkflowTaskCompleted scheduled_event_id=2
        6 WorkflowExecutionCompleted workflow_task_completed_event_id=5
    """)


async def test_request_id_is_deduplicated(s: Scenario) -> None:
    request_id = str(uuid.uuid4())
    await s.start()
    await s.signal("once", request_id=request_id)
    await s.signal("once", request_id=request_id)
    task = await s.poll()
    await s.signal("once", request_id=request_id)
    await s.complete(task)
    await s.signal("other")
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionSignaled signal_name=once request_id=<id>
        4 WorkflowTaskStarted scheduled_event_id=2
        5 WorkflowTaskCompleted scheduled_event_id=2
        6 WorkflowExecutionSignaled signal_name=other request_id=<id>
        7 WorkflowTaskScheduled
    """)


async def test_request_id_is_deduplicated_while_buffered(s: Scenario) -> None:
    request_id = str(uuid.uuid4())
    await s.start()
    task = await s.poll()
    await s.signal("once", request_id=request_id)
    await s.signal("once", request_id=request_id)
    await s.complete(task)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionSignaled signal_name=once request_id=<id>
        6 WorkflowTaskScheduled
    """)


async def test_by_run_id(s: Scenario) -> None:
    run_id = (await s.start()).run_id
    await s.signal(run_id=run_id)
    await s.expect_refusal(
        s.signal(run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.signal(run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )


async def test_refusals(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        s.signal(workflow_id=s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.signal(""),
        """
            INVALID_ARGUMENT: SignalName is not set on request.
        """,
    )
    await s.expect_refusal(
        s.signal("n" * 1001),
        """
            INVALID_ARGUMENT: SignalName length exceeds limit.
        """,
    )
    await s.expect_refusal(
        s.signal(workflow_id="w" * 1001),
        """
            NOT_FOUND: workflow not found for ID: <1001 x w>
              NotFoundFailure
        """,
    )
    await s.terminate()
    await s.expect_refusal(
        s.signal(),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_many_signals_at_once_are_all_kept(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await asyncio.gather(*(s.signal("n", number) for number in range(50)))
    await s.complete(task)
    events = [
        event for event in await s.history() if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    values = {event.workflow_execution_signaled_event_attributes.input.payloads[0].data for event in events}
    assert values == {str(number).encode() for number in range(50)}
