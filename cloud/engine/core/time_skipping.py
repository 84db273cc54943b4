"""What of a run holds time: while a worker has its work, or is to take it, time must not be skipped."""

from __future__ import annotations

from cloud.engine.core import nexus_operation
from cloud.engine.core.state import Activity, Execution, NexusOperation


def work_count(execution: Execution) -> int:
    """How many tasks of the run a worker has, or is to take; calls to handlers of Nexus operations count too."""
    if not execution.running:
        return 0
    paused = execution.paused is not None
    return (
        execution.has_pending_workflow_task
        + sum(_is_at_work(pending, paused) for pending in execution.activities.values())
        + sum(map(_is_called, execution.nexus_operations.values()))
    )


def _is_called(operation: NexusOperation) -> bool:
    return nexus_operation.awaits_start(operation) or nexus_operation.awaits_cancel(operation)


def _is_at_work(activity: Activity, run_is_paused: bool) -> bool:
    progress = activity.progress
    paused = run_is_paused or progress.pause is not None
    return not (progress.backing_off or (paused and not progress.started_time))
