"""Tasks to workers: dispatch, and polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions

from cloud.engine.core import activity, older_versioning, versioning, workflow_task
from cloud.engine.core.effects import DispatchActivity, DispatchWorkflowTask, UpdateVisibility
from cloud.engine.core.errors import NoSuchTask
from cloud.engine.runtime.commits import HeldUp, Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.placing import leads_to, place_of, rank_of, stays_sticky
from cloud.engine.runtime.queries import PendingQuery
from cloud.engine.runtime.routes import Lane, Placement
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.started_tasks import STANDALONE, Given, StartedStandaloneActivity
from cloud.engine.runtime.task_queues import Poller, QueueKey, TaskQueue
from cloud.engine.runtime.task_starts import TaskStarts
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK, TaskRow

log = structlog.get_logger(__name__)

UNFLUSHED_RETRY_S = 0.05


class _Poll(NamedTuple):
    """A poll: it waits in `queue`, the lane of its version, and looks through that, lanes `upstream` of it and the `common` one of
    the name."""

    queue: TaskQueue
    common: TaskQueue
    sticky: bool
    identity: str
    build_id: str
    version: str
    sdk: tuple[str, str] = ("", "")
    worker: str = ""
    upstream: tuple[TaskQueue, ...] = ()

    @property
    def own(self) -> tuple[TaskQueue, ...]:
        """The lanes beside the common one."""
        return () if self.queue is self.common else (self.queue, *self.upstream)


class Matching:
    """Offers what the core dispatches, and answers polls."""

    def __init__(self, runtime: Runtime, standalone: StandaloneActivities, starts: TaskStarts) -> None:
        self._runtime = runtime
        self._standalone = standalone
        self._starts = starts
        standalone.offer = self._offer_standalone
        runtime.carry_out_with(DispatchWorkflowTask, self._dispatch_workflow_task)
        runtime.carry_out_with(DispatchActivity, self._dispatch_activity)

    # --- dispatch ---

    def _dispatch_workflow_task(self, hot: HotRun, effect: DispatchWorkflowTask) -> None:
        if hot.execution.workflow_task.scheduled_event_id != effect.scheduled_event_id:
            return  # what followed in the same turn ended it
        key = QueueKey(hot.execution.key.namespace_id, effect.queue, WORKFLOW_TASK)
        place = self._runtime.routes.place_workflow_task(hot.execution)
        if effect.sticky and not (
            self._runtime.queues.has_live_worker(key) and stays_sticky(hot.execution, place)
        ):
            with self._runtime.transition(hot) as turn:
                workflow_task.leave_sticky(turn)
            return
        self._offer(
            hot,
            key,
            effect.scheduled_event_id,
            effect.dispatch,
            place._replace(lane="", version="") if effect.sticky else place,
            lambda poller: self._starts.start_workflow_task(
                hot,
                effect.scheduled_event_id,
                effect.dispatch,
                poller.identity,
                poller.build_id,
                place.taken_by(poller.version),
            ),
        )

    def _dispatch_activity(self, hot: HotRun, effect: DispatchActivity) -> None:
        key = QueueKey(hot.execution.key.namespace_id, effect.queue, ACTIVITY_TASK)
        place = self._runtime.routes.place_activity(hot.execution, effect.scheduled_event_id, effect.queue)
        self._offer(
            hot,
            key,
            effect.scheduled_event_id,
            effect.stamp,
            place,
            lambda poller: self._starts.start_offered_activity(
                hot,
                effect.scheduled_event_id,
                effect.stamp,
                poller.identity,
                poller.build_id,
                place.taken_by(poller.version),
            ),
        )

    def _offer_standalone(self, hot: HotActivity) -> None:
        activity = hot.activity
        key = QueueKey(hot.namespace.namespace_id, activity.options.task_queue.name, ACTIVITY_TASK)
        stamp = activity.state.progress.stamp
        self._offer(
            hot,
            key,
            STANDALONE,
            stamp,
            self._runtime.routes.place_standalone(key.namespace_id, hot.activity_id, hot.run_id, key.name),
            lambda poller: self._starts.start_standalone(
                hot, stamp, poller.identity, poller.build_id, poller.sdk
            ),
        )

    def _offer(
        self,
        hot: HotRun | HotActivity,
        key: QueueKey,
        scheduled_event_id: int,
        stamp: int,
        place: Placement,
        start: Callable[[Poller], Given],
    ) -> None:
        """Give a task of the queue `key` (its common lane) to a worker that waits, or store it where `place` says."""
        queues = self._runtime.queues
        queue = queues.get(key._replace(version=place.lane) if place.lane else key)
        waiting = queue if place.version == place.lane else queues.get(key._replace(version=place.version))
        rank = rank_of(hot, key.kind, scheduled_event_id)
        poller = None if queue.has_backlog else waiting.next_poller()
        if poller is not None and queue.limited and not queues.may_go(queue, rank):
            waiting.pollers.appendleft(poller)  # it waits with the task for the limit
            poller = None
        if poller is not None:
            try:
                given = start(poller)
            except NoSuchTask:
                # What followed in the same turn ended it (a cancellation, the run's close): it was never to be.
                waiting.pollers.appendleft(poller)
                return
            queue.rates.added[rank.level] += 1
            queue.rates.dispatched[rank.level] += 1
            poller.matched.set_result(given)
            return
        task_id = self._runtime.serial()
        order_key, stride = queues.place(queue, rank, task_id)
        row = TaskRow(
            task_id,
            key.namespace_id,
            key.name,
            key.kind,
            hot.run_id,
            scheduled_event_id,
            stamp,
            self._runtime.clock.now(),
            order_key,
            rank.fairness_key,
            stride,
            place.lane,
        )
        if isinstance(hot, HotRun) and key.kind == ACTIVITY_TASK and not place.lane:
            queue.may_have_strays |= versioning.effective_behavior(hot.execution) == versioning.PINNED
        self._runtime.commits.touch().tasks[row.task_id] = row
        queues.put(queue, row, waiting)
        if place.assigns and isinstance(hot, HotRun):
            self._assign(hot, key.kind, scheduled_event_id, place.assigns)

    def _assign(self, hot: HotRun, kind: int, scheduled_event_id: int, build_id: str) -> None:
        """A task was stored for workers of a build id: it stays with that, whatever its queue's rules are later."""
        with self._runtime.transition(hot) as turn:
            if kind == WORKFLOW_TASK:
                if older_versioning.assign(hot.execution, build_id):
                    turn.dirty = True
                    turn.ask(UpdateVisibility())
            else:
                hot.execution.activities[scheduled_event_id].progress.assigned_build = build_id
                turn.progress(scheduled_event_id)

    # --- polls ---

    async def poll(
        self,
        namespace: Namespace,
        queue_name: str,
        kind: int,
        *,
        identity: str,
        build_id: str,
        timeout_s: float,
        tasks_per_second: float | None = None,
        version: str = "",
        options: WorkerDeploymentOptions | None = None,
        capabilities: WorkerVersionCapabilities | None = None,
        sticky: bool = False,
        lane_of: Callable[[], Lane] | None = None,
        sdk: tuple[str, str] = ("", ""),
        worker: str = "",
    ) -> Given | None:
        """Wait for a task of a queue; None when the time is over. What is returned is durable.

        `tasks_per_second` is how fast this worker wants the queue's tasks to go to all workers.
        Workers of a `version` wait in its own lane of a normal queue; a sticky queue is one worker's alone, and has none.
        With `lane_of` a worker is of an older form of versioning: it says each time where such a worker waits by now.

        Raises:
            Unflushed: what was matched did not become durable.
            NewerBuildExists: `lane_of` says that it waits in vain.
        """
        loop = asyncio.get_running_loop()
        queues = self._runtime.queues
        common = queues.get(QueueKey(namespace.namespace_id, queue_name, kind))
        queue = queues.get(common.key._replace(version=version)) if version and not sticky else common
        poll = _Poll(queue, common, sticky, identity, build_id, version, sdk, worker)
        lane: Lane | None = None
        if lane_of is None:
            queues.note_poll(queue, identity, options, capabilities)
        if kind == ACTIVITY_TASK:
            queues.set_worker_rate(queue, tasks_per_second)
        began_at = loop.time()
        ends_at = began_at + timeout_s
        while True:
            if queues.closed or queues.has_stopped(namespace.namespace_id, worker):
                return None
            if lane_of is not None and (now := lane_of()) != lane:
                lane, poll = now, self._in_lane(poll, now)
                queue = poll.queue
                queues.note_poll(queue, identity, options, capabilities)
            stored = False
            given: Given | None = self._take_query(queue)
            if given is None:
                given = await self._take_stored(poll)
                stored = given is not None
                if not stored and lane_of is not None and lane_of() != lane:
                    continue  # the routing changed while the store was asked
            if given is None:
                given = await self._wait(poll, ends_at)
            if given is not None:
                waited_s = loop.time() - began_at
                if isinstance(given, StartedStandaloneActivity):
                    await self._standalone.durable(given.hot)
                elif not isinstance(given, PendingQuery):
                    await self._runtime.durable(given.hot)
                given.scaling = queues.scaling(common, waited_s=waited_s, stored=stored)
                return given
            if loop.time() >= ends_at or queue.left:
                return None

    def _in_lane(self, poll: _Poll, lane: Lane) -> _Poll:
        """The poll, in the lane of a build id."""
        queues, key = self._runtime.queues, poll.common.key
        queue = queues.get(key._replace(version=lane.version)) if lane.version else poll.common
        upstream = tuple(queues.get(key._replace(version=version)) for version in lane.upstream)
        return poll._replace(queue=queue, upstream=upstream, version=lane.version, build_id=lane.build_id)

    def _take_query(self, queue: TaskQueue) -> PendingQuery | None:
        while queue.queries:
            query = queue.queries.popleft()
            if not query.answer.done() and not query.taken.is_set():
                self._runtime.queries.hold(query)
                return query
        return None

    async def _next_row(self, poll: _Poll) -> tuple[TaskQueue, TaskRow] | None:
        """A stored task that may be for a poll, and the lane that it was taken from."""
        queues, common = self._runtime.queues, poll.common
        for lane in poll.own:
            row = await queues.next_stored_for(lane, poll.version)
            if row is not None:
                return lane, row
        if poll.sticky:
            row = await queues.next_stored(common)
        elif leads_to(self._runtime.routes, common, poll.version):
            row = await queues.next_stored_for(common, poll.version)
            if row is None and not common.has_backlog and not common.aside:
                common.may_have_strays = False
        else:
            return None
        return None if row is None else (common, row)

    async def _take_stored(self, poll: _Poll) -> Given | None:
        runtime = self._runtime
        identity, build_id = poll.identity, poll.build_id
        while True:
            found = await self._next_row(poll)
            if found is None:
                return None
            queue, row = found
            try:
                hot: HotRun | HotActivity
                if row.scheduled_event_id == STANDALONE:
                    hot = await self._standalone.get(row.run_id)
                else:
                    hot = await runtime.runs.get(row.run_id)
            except NoSuchRun:
                runtime.commits.touch().finish_task(row.task_id)
                continue
            except (StoreUnavailable, asyncio.CancelledError):
                runtime.queues.put_back(queue, row)  # the task is still there for the next poll
                raise
            except Exception:
                # Its row stays in the store; the tasks behind it do not wait for a run that can't be rebuilt.
                log.exception("run_can_not_be_loaded", run_id=row.run_id)
                continue
            place = place_of(runtime.routes, hot, row)
            taker = place.taken_by(poll.version)
            try:
                if isinstance(hot, HotActivity):
                    if place.version != poll.version:
                        runtime.queues.set_aside(queue, row, place.version)
                        continue
                elif not (
                    stays_sticky(hot.execution, place) if poll.sticky else place.version == poll.version
                ):
                    self._pass_on(queue, hot, row, place, sticky=poll.sticky)
                    continue
                given: Given
                if isinstance(hot, HotActivity):
                    given = self._starts.start_standalone(hot, row.stamp, identity, build_id, poll.sdk)
                elif queue.key.kind == WORKFLOW_TASK:
                    given = self._starts.start_workflow_task(
                        hot, row.scheduled_event_id, row.stamp, identity, build_id, taker
                    )
                else:
                    given = self._starts.start_offered_activity(
                        hot, row.scheduled_event_id, row.stamp, identity, build_id, taker
                    )
            except NoSuchTask:
                runtime.commits.touch().finish_task(row.task_id)
                continue
            except HeldUp:
                continue  # its row stays in the store; those behind it do not wait for it
            except Unflushed:
                # The run left memory: a task whose queue was forgotten with it will be read again.
                if queue.backlog.asked:
                    runtime.queues.put_back(queue, row)
                    await asyncio.sleep(UNFLUSHED_RETRY_S)
                continue
            runtime.commits.touch().finish_task(row.task_id)
            return given

    def _pass_on(
        self, queue: TaskQueue, hot: HotRun, row: TaskRow, place: Placement, *, sticky: bool
    ) -> None:
        """A stored task was found by a worker that it is not for (any more).

        Raises:
            NoSuchTask: it is stale.
        """
        runtime, execution = self._runtime, hot.execution
        if place.lane == row.version and not sticky:
            runtime.queues.set_aside(queue, row, place.version)
            return
        # Its run moved, or was pinned, or is not any more, since it was stored.
        if row.kind == ACTIVITY_TASK:
            activity.require_waiting(execution, row.scheduled_event_id, row.stamp)
            self._dispatch_activity(hot, DispatchActivity(row.queue, row.scheduled_event_id, row.stamp))
        else:
            workflow_task.require_waiting(execution, row.scheduled_event_id, row.stamp)
            with runtime.transition(hot) as turn:
                workflow_task.leave_sticky(turn)
        runtime.commits.touch().finish_task(row.task_id)

    async def _wait(self, poll: _Poll, ends_at: float) -> Given | None:
        queues, queue, common = self._runtime.queues, poll.queue, poll.common
        if queues.closed or queue.queries:
            return None  # something came while the store was asked
        if any(lane.has_work_for(poll.version) and not queues.is_held_back(lane) for lane in poll.own):
            return None
        if (
            common.has_work_for(poll.version)
            and (poll.sticky or leads_to(self._runtime.routes, common, poll.version))
            and not queues.is_held_back(common)
        ):
            return None
        poller = Poller(
            poll.identity,
            poll.build_id,
            asyncio.get_running_loop().create_future(),
            poll.version,
            poll.sdk,
            poll.worker,
        )
        queue.pollers.append(poller)
        loop = asyncio.get_running_loop()
        timer = loop.call_at(ends_at, _give_up, poller.matched)
        try:
            given: Given | None = await poller.matched
            return given
        finally:
            timer.cancel()
            if not poller.matched.done():
                poller.matched.cancel()
            if poller in queue.pollers:
                queue.pollers.remove(poller)
            queue.last_poll_at = self._runtime.clock.real.now()

    # --- queries ---

    def offer_query(self, query: PendingQuery, queue_name: str) -> None:
        """Hand a query of its own to a worker of `queue_name`."""
        execution = query.hot.execution
        key = QueueKey(execution.key.namespace_id, queue_name, WORKFLOW_TASK)
        if not query.sticky:
            key = key._replace(version=self._runtime.routes.place_workflow_task(execution).version)

        def give(poller: Poller) -> None:
            self._runtime.queries.hold(query)
            poller.matched.set_result(query)

        self._runtime.queues.offer_query(query, key, give)


def _give_up(matched: asyncio.Future[Any]) -> None:
    if not matched.done():
        matched.set_result(None)
