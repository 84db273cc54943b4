"""What of a run holds time: while a worker has its work, or is to take it, time must not be skipped."""

from __future__ import annotations

from cloud.engine.core.state import Activity, Execution


def work_count(execution: Execution) -> int:
    """How many tasks of the run a worker has, or is to take."""
    if not execution.running:
        return 0
    return execution.has_pending_workflow_task + sum(map(_is_at_work, execution.activities.values()))


def _is_at_work(activity: Activity) -> bool:
    progress = activity.progress
    return not (progress.backing_off or (progress.pause is not None and not progress.started_time))
