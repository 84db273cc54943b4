"""Timeouts that nobody asked for are left out of events: SDKs tell none from zero."""

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from . import commands as c
from .commands import seconds
from .raw import Scenario
from .snapshots import expect

TIMEOUTS = ("workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout")


def told(attributes: WorkflowExecutionStartedEventAttributes) -> str:
    return ", ".join(
        f"{name}={getattr(attributes, name).seconds}" for name in TIMEOUTS if attributes.HasField(name)
    )


async def started(s: Scenario, workflow_id: str) -> str:
    events = await s.history(workflow_id)
    return told(events[0].workflow_execution_started_event_attributes)


async def test_of_starts(s: Scenario) -> None:
    asked = {
        "none": {},
        "zero": {"workflow_execution_timeout": seconds(0), "workflow_run_timeout": seconds(0)},
        "execution": {"workflow_execution_timeout": seconds(50)},
        "run": {"workflow_run_timeout": seconds(50)},
    }
    lines = []
    for label, fields in asked.items():
        await s.start(workflow_id=s.id(label), **fields)
        lines.append(f"{label}: {await started(s, s.id(label))}")
    expect(
        "\n".join(lines),
        """
        none: workflow_task_timeout=10
        zero: workflow_execution_timeout=0, workflow_run_timeout=0, workflow_task_timeout=10
        execution: workflow_execution_timeout=50, workflow_run_timeout=50, workflow_task_timeout=10
        run: workflow_run_timeout=50, workflow_task_timeout=10
    """,
    )


async def test_of_children_and_next_runs(s: Scenario) -> None:
    await s.start()
    await s.step(c.child(s.id("child"), s.id("child-tq"), parent_close_policy=2))
    task = await s.poll()  # the child has started
    lines = [f"child: {await started(s, s.id('child'))}"]
    await s.complete(task, c.continue_as_new())
    lines.append(f"next run: {await started(s, s.wf)}")
    expect(
        "\n".join(lines),
        """
        child: workflow_run_timeout=0, workflow_task_timeout=10
        next run: workflow_run_timeout=0, workflow_task_timeout=10
    """,
    )
