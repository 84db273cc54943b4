"""The moment that a worker takes a task: the check that it is not stale, and what the run notes of its taker."""

from __future__ import annotations

from cloud.engine.core import (
    activity,
    activity_rules,
    older_versioning,
    standalone_activity,
    versioning,
    workflow_task,
)
from cloud.engine.core.errors import NoSuchTask
from cloud.engine.core.versioning import Taker
from cloud.engine.core.versions import deployment_of
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.started_tasks import (
    StartedActivity,
    StartedStandaloneActivity,
    StartedWorkflowTask,
    as_started,
)


class TaskStarts:
    """Gives tasks to the workers that matching, or a call of their own, found for them."""

    def __init__(self, runtime: Runtime, standalone: StandaloneActivities) -> None:
        self._runtime = runtime
        self._standalone = standalone

    def start_workflow_task(
        self,
        hot: HotRun,
        scheduled_event_id: int,
        dispatch: int,
        identity: str,
        build_id: str,
        taker: Taker,
        request_id: str = "",
    ) -> StartedWorkflowTask:
        """Give a workflow task to a worker, whose poll has the `request_id` (a new one, unless told).

        Raises:
            NoSuchTask: it is stale.
        """
        execution = hot.execution
        sticky = execution.workflow_task.sticky
        if taker.build:
            build_id = taker.build
        with self._runtime.transition(hot) as turn:
            workflow_task.start(
                turn,
                scheduled_event_id=scheduled_event_id,
                dispatch=dispatch,
                request_id=request_id or self._runtime.ids.request_id(),
                identity=identity,
                build_id=build_id,
                taker=taker,
            )
        started = as_started(hot, sticky=sticky)
        if hot.updates:
            # Who replays from the beginning has forgotten what an earlier task brought.
            again = not sticky or started.attempt > 1
            started.messages = hot.updates.messages(started.started_event_id, again=again)
        for query in hot.queries:
            started.queries[query.query_id] = query.query
            query.taken.set()
        return started

    def start_offered_activity(
        self,
        hot: HotRun,
        scheduled_event_id: int,
        stamp: int,
        identity: str,
        build_id: str,
        taker: Taker,
    ) -> StartedActivity:
        """Give an activity attempt to the worker that takes it, unless the namespace's rules pause it.

        Raises:
            NoSuchTask: it is stale, or paused.
        """
        runtime = self._runtime
        pending = hot.execution.activities.get(scheduled_event_id)
        if runtime.around(hot.namespace).activity_rules and pending is not None:
            waits = hot.execution.running and activity.waits(pending)
            if waits and pending.progress.stamp == stamp:
                with runtime.transition(hot) as turn:
                    paused = activity_rules.apply(turn, pending)
                if paused:
                    raise NoSuchTask("a workflow rule paused the activity")
        return self.start_activity(hot, scheduled_event_id, stamp, identity, build_id, taker)

    def start_activity(
        self,
        hot: HotRun,
        scheduled_event_id: int,
        stamp: int,
        identity: str,
        build_id: str,
        taker: Taker,
    ) -> StartedActivity:
        """Give an activity attempt to a worker.

        Raises:
            NoSuchTask: it is stale, or the run moves to the worker's version first.
        """
        if taker.version != versioning.effective_version(hot.execution):
            self._move_first(hot, scheduled_event_id, stamp, taker)
        before = older_versioning.assigned_to(hot.execution)
        with self._runtime.transition(hot) as turn:
            pending = activity.start(
                turn,
                scheduled_event_id=scheduled_event_id,
                stamp=stamp,
                request_id=self._runtime.ids.request_id(),
                identity=identity,
                build_id=build_id,
                version=taker.version,
                build=taker.build,
            )
            if older_versioning.assigned_to(hot.execution) != before:
                workflow_task.offer_anew(turn)
        progress = pending.progress
        return StartedActivity(
            hot=hot,
            activity=pending,
            attempt=progress.attempt,
            started_time=progress.started_time,
            scheduled_time=progress.scheduled_time,
            heartbeat_details=progress.heartbeat_details,
        )

    def _move_first(self, hot: HotRun, scheduled_event_id: int, stamp: int, taker: Taker) -> None:
        """A worker of another version than the run's asks for an activity of it: where the run's own queue leads to that version
        too, the run moves there first, and its activities are offered anew once it has.

        Raises:
            NoSuchTask: it does.
        """
        execution = hot.execution
        if versioning.effective_behavior(execution) == versioning.PINNED:
            return
        if versioning.transition_of(execution) is not None:
            return
        place = self._runtime.routes.place_workflow_task(execution)
        newer = (
            deployment_of(taker.version) == deployment_of(place.version) and taker.revision > place.revision
        )
        if taker.version != place.version and not newer:
            return  # an activity on a queue of its own
        with self._runtime.transition(hot) as turn:
            activity.require_waiting(execution, scheduled_event_id, stamp)
            versioning.begin_transition(turn, taker.version, taker.revision)
            if not execution.has_pending_workflow_task:
                workflow_task.schedule(turn)
            elif not execution.workflow_task_in_flight:
                workflow_task.leave_sticky(turn)
        raise NoSuchTask("the workflow moves to the worker's version first")

    def start_standalone(
        self, hot: HotActivity, stamp: int, identity: str, build_id: str, sdk: tuple[str, str]
    ) -> StartedStandaloneActivity:
        """Give an attempt of a standalone activity to a worker.

        Raises:
            NoSuchTask: it is stale.
        """
        with self._standalone.step(hot) as step:
            standalone_activity.start(
                step,
                stamp=stamp,
                request_id=self._runtime.ids.request_id(),
                identity=identity,
                build_id=build_id,
            )
            hot.activity.state.progress.sdk_name, hot.activity.state.progress.sdk_version = sdk
        progress = hot.activity.state.progress
        return StartedStandaloneActivity(
            hot=hot,
            attempt=progress.attempt,
            started_time=progress.started_time,
            scheduled_time=progress.scheduled_time,
            heartbeat_details=progress.heartbeat_details,
        )
