"""Whom a task is for, by the versions' lanes of its queue, and before which others it goes."""

from __future__ import annotations

from cloud.engine.core import priority, versioning
from cloud.engine.core.state import Execution
from cloud.engine.core.versions import is_build_lane
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.routes import Placement, Routes
from cloud.engine.runtime.task_queues import TaskQueue
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK, TaskRow


def place_of(routes: Routes, hot: HotRun | HotActivity, row: TaskRow) -> Placement:
    """Whom a stored task is for now. One on a sticky queue is for whoever polls that."""
    if isinstance(hot, HotActivity):
        return routes.place_standalone(row.namespace_id, hot.activity_id, hot.run_id, row.queue, row.version)
    execution = hot.execution
    if row.kind == ACTIVITY_TASK:
        return routes.place_activity(execution, row.scheduled_event_id, row.queue, row.version)
    return routes.place_workflow_task(execution, row.version)


def leads_to(routes: Routes, common: TaskQueue, version: str) -> bool:
    """Whether workers of `version` may have tasks in the common lane."""
    key = common.key
    if key.kind == ACTIVITY_TASK and common.may_have_strays:
        return True
    if is_build_lane(version):
        return routes.builds is not None and routes.builds.leads(key.namespace_id, key.name)
    route = routes.of_queue(key.namespace_id, key.name, key.kind)
    return not version if route is None else route.leads_to(version)


def stays_sticky(execution: Execution, place: Placement) -> bool:
    """Whether a run's next task may go to the worker that has it in its cache: the routing leads to no other version."""
    if is_build_lane(place.version):
        return place.stays
    return place.version in ("", versioning.effective_version(execution))


def rank_of(hot: HotRun | HotActivity, kind: int, scheduled_event_id: int) -> priority.Rank:
    """The rank of a task that is offered: its activity's, and for what that leaves out its run's."""
    if isinstance(hot, HotActivity):
        options = hot.activity.options
        return priority.rank(options.priority) if options.HasField("priority") else priority.USUAL
    of_run = hot.execution.options
    if kind == WORKFLOW_TASK:
        return priority.rank(of_run.priority) if of_run.HasField("priority") else priority.USUAL
    pending = hot.execution.activities.get(scheduled_event_id)
    if pending is None or not (of_run.HasField("priority") or pending.options.HasField("priority")):
        return priority.USUAL
    return priority.rank(priority.merged(of_run.priority, pending.options.priority))
