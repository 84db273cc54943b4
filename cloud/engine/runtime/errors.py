"""What the runtime answers instead of a result (the core's own refusals pass through as they are).

NoSuchRun             the workflow or run is not there
NoSuchActivity        the standalone activity is not there (to a task it is a run that is gone)
NoSuchOperation       the standalone Nexus operation is not there
NoSuchSchedule        the schedule is not there
Unflushed             (commits) the change is not durable and forgotten: try again
"""

from __future__ import annotations


class NoSuchRun(Exception):
    """There is no such run; the sentence is the real server's."""

    @classmethod
    def newest_of(cls, workflow_id: str) -> NoSuchRun:
        """A workflow id has no run."""
        return cls(f"workflow not found for ID: {workflow_id}")

    @classmethod
    def named(cls, workflow_id: str, run_id: str) -> NoSuchRun:
        """A workflow id has no run of this id."""
        return cls(f'workflow execution not found for workflow ID "{workflow_id}" and run ID "{run_id}"')


class NoSuchActivity(NoSuchRun):
    """There is no standalone activity of this id."""

    def __init__(self, activity_id: str) -> None:
        super().__init__(f"activity not found for ID: {activity_id}")


class NoSuchOperation(NoSuchRun):
    """There is no standalone Nexus operation of this id."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(f"operation not found for ID: {operation_id}")


class NoSuchSchedule(Exception):
    """There is no schedule of this id."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f'schedule "{schedule_id}" not found')
