"""What scenarios of resets share."""

import uuid
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus

from .raw import Scenario


async def reset(s: Scenario, event_id: int, *, workflow_id: str = "", run_id: str = "", **fields: Any) -> str:
    """Reset a workflow so that the task which event `event_id` ended is done anew. The new run's id."""
    usual: dict[str, Any] = {
        "namespace": s.namespace,
        "workflow_execution": s.execution(workflow_id, run_id),
        "reason": "why",
        "workflow_task_finish_event_id": event_id,
        "request_id": str(uuid.uuid4()),
        "identity": "resetter",
    }
    reply = await s.service.reset_workflow_execution(ws.ResetWorkflowExecutionRequest(**(usual | fields)))
    return reply.run_id


async def newest(s: Scenario, workflow_id: str = "") -> str:
    """The id of the newest run."""
    return (await s.describe(workflow_id)).workflow_execution_info.execution.run_id


async def state(s: Scenario, run_id: str, workflow_id: str = "") -> str:
    """A run's status, and what it has to do with resets."""
    described = await s.describe(workflow_id, run_id)
    info, extended = described.workflow_execution_info, described.workflow_extended_info
    status = WorkflowExecutionStatus.Name(info.status).removeprefix("WORKFLOW_EXECUTION_STATUS_")
    return s.names.clean(
        f"{status} first_run={info.first_run_id} reset_to={extended.reset_run_id or None} "
        f"by_reset={extended.HasField('last_reset_time')}"
    )


async def completed_tasks(s: Scenario, run_id: str = "") -> list[int]:
    """The events of a run that end its workflow tasks well."""
    return [
        event.event_id
        for event in await s.history(run_id=run_id)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
