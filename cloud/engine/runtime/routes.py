"""Which version of workers a task is for: the routing of each queue that versions poll, and what a run adds to it.

A run that is pinned has its tasks done by its own version. What is not pinned goes to the queue's current version, a share of the
workflow ids (by a stable hash) to the ramping one. Queues that no version polls, which are nearly all, have no route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, Protocol

from cloud.engine.core import older_versioning, versioning
from cloud.engine.core.deployment import Whole
from cloud.engine.core.state import Activity, Execution
from cloud.engine.core.versioning import PINNED, UNSPECIFIED, Taker
from cloud.engine.core.versions import build_of, deployment_of, is_build_lane
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK

NEXUS_TASK = 3
"""The kind of a queue of Nexus tasks, beside WORKFLOW_TASK and ACTIVITY_TASK of ``store.rows``. None of them is stored."""

_QueueName = tuple[str, str, int]
"""Namespace id, name, kind."""


@dataclass(frozen=True, slots=True)
class Route:
    """The routing of one queue. Versions are "" for workers without one; times are ns."""

    current: str = ""
    current_revision: int = 0
    current_changed_at: int = 0
    ramping: str = ""
    is_ramping: bool = False
    percentage: float = 0.0
    ramping_revision: int = 0
    ramping_changed_at: int = 0

    def target(self, workflow_id: str, *, use_ramping: bool = False) -> tuple[str, int]:
        """The version for what is not pinned of a workflow, with the revision of the routing that says so."""
        if use_ramping and self.ramping:
            return self.ramping, self.ramping_revision
        if self.percentage <= 0 or (self.percentage < 100 and share_of(workflow_id) > self.percentage):
            return self.current, self.current_revision
        return self.ramping, self.ramping_revision

    def leads_to(self, version: str) -> bool:
        """Whether tasks that are not pinned may be for `version`."""
        return version == self.current or (self.is_ramping and version == self.ramping)


def share_of(workflow_id: str) -> float:
    """Where a workflow id lies among all, from 0 to 100: the same for ever."""
    return 100 * int.from_bytes(blake2b(workflow_id.encode(), digest_size=4).digest()) / 2**32


class Placement(NamedTuple):
    """Where a task waits: in the lane of one version, or ("") in the queue's common one; and for whom it is now.

    `version` is that of the workers that are to have it, by `revision` of the routing; `target` is whom the routing names, which
    differs for a pinned run. By the older forms of versioning (``builds``) lane and version are those of build ids: then `by_set` tells
    the two forms apart, `assigns` is the build id that the task's run is assigned to with it, if it was to none, and `stays` whether
    the worker that did the run's last task may go on with it.
    """

    lane: str
    version: str
    revision: int
    target: str
    target_revision: int

    by_set: bool = False
    assigns: str = ""
    stays: bool = True

    def taken_by(self, version: str) -> Taker:
        """What a worker of `version` takes the task with."""
        if is_build_lane(version):
            return Taker(build="" if self.by_set else build_of(version))
        return Taker(version, self.revision, self.target, self.target_revision)


ANYONE = Placement("", "", 0, "", 0)


class Lane(NamedTuple):
    """Where a worker of an older form of versioning waits: its lane, those that redirects lead from to its own, and the build id that
    events tell of it."""

    version: str
    upstream: tuple[str, ...] = ()
    build_id: str = ""


class BuildPlaces(Protocol):
    """Whom the older forms of versioning give tasks to: ``builds.Builds``. A stored task may lie in a build id's `lane`."""

    def leads(self, namespace_id: str, queue: str) -> bool:
        """Whether the queue's tasks may be for workers of a build id."""

    def place_workflow_task(self, execution: Execution, lane: str = "") -> Placement:
        """Whom the workflow tasks of a run are for."""

    def place_activity(
        self, execution: Execution, pending: Activity | None, queue: str, lane: str = ""
    ) -> Placement:
        """The same of an activity on `queue`."""

    def place_standalone(self, namespace_id: str, run_id: str, queue: str, lane: str = "") -> Placement:
        """The same of what belongs to no workflow."""

    def forget_namespace(self, namespace_id: str) -> None:
        """A namespace is gone."""


class Routes:
    """The routing of all queues of a cell that versions poll, from the deployments in memory."""

    def __init__(self) -> None:
        self._deployments: dict[tuple[str, str], Whole] = {}
        self._members: dict[_QueueName, set[str]] = {}
        self._cached: dict[_QueueName, Route] = {}
        self.builds: BuildPlaces | None = None
        self.any_builds = False  # whether any queue has sets or rules: else none is looked for

    # --- deployments ---

    def put(self, namespace_id: str, name: str, whole: Whole | None) -> set[tuple[str, int]]:
        """A deployment is as `whole` now, or gone. Returns the queues (name, kind) of all its versions, old and new."""
        key = (namespace_id, name)
        before = self._deployments.pop(key, None)
        touched: set[tuple[str, int]] = set()
        for text, queue in _queues_of(before):
            touched.add(queue)
            members = self._members[(namespace_id, *queue)]
            members.discard(text)
        if whole is not None:
            self._deployments[key] = whole
            for text, queue in _queues_of(whole):
                touched.add(queue)
                self._members.setdefault((namespace_id, *queue), set()).add(text)
        for queue in touched:
            self._cached.pop((namespace_id, *queue), None)
            if not self._members.get((namespace_id, *queue)):
                self._members.pop((namespace_id, *queue), None)
        return touched

    def add_queue(self, namespace_id: str, version: str, name: str, kind: int) -> None:
        """A version, which is put already, polls one queue more."""
        self._members.setdefault((namespace_id, name, kind), set()).add(version)
        self._cached.pop((namespace_id, name, kind), None)

    def forget_namespace(self, namespace_id: str) -> None:
        """A namespace is gone."""
        for name in [name for of, name in self._deployments if of == namespace_id]:
            self.put(namespace_id, name, None)
        if self.builds is not None:
            self.builds.forget_namespace(namespace_id)

    def deployment(self, namespace_id: str, name: str) -> Whole | None:
        """A deployment as it is stored, None if there is none. Not to be changed."""
        return self._deployments.get((namespace_id, name))

    def deployments(self, namespace_id: str) -> list[Whole]:
        """All deployments of a namespace, of which there are at most some hundreds."""
        return [whole for (of, _), whole in self._deployments.items() if of == namespace_id]

    # --- queues ---

    def versions_of(self, namespace_id: str, name: str, kind: int) -> Iterable[str]:
        """The versions that poll a queue, or did."""
        return self._members.get((namespace_id, name, kind), ())

    def has(self, namespace_id: str, name: str, kind: int, version: str) -> bool:
        """Whether a version polls a queue, or did."""
        members = self._members.get((namespace_id, name, kind))
        return members is not None and version in members

    def of_queue(self, namespace_id: str, name: str, kind: int) -> Route | None:
        """The routing of a queue, None if no version polls it."""
        key = (namespace_id, name, kind)
        if key not in self._members:
            return None
        found = self._cached.get(key)
        if found is None:
            found = self._cached[key] = self._compute(namespace_id, self._members[key])
        return found

    def _compute(self, namespace_id: str, members: set[str]) -> Route:
        """Of the deployments that poll the queue the one whose routing changed last counts, one that names a version before others."""
        wholes = [
            self._deployments[(namespace_id, name)] for name in {deployment_of(each) for each in members}
        ]
        states = [whole.deployment for whole in wholes]
        current = max(
            (each for each in states if each.current in members),
            key=lambda each: each.current_changed_at,
            default=None,
        ) or max(
            (each for each in states if not each.current and each.current_changed_at),
            key=lambda each: each.current_changed_at,
            default=None,
        )
        ramping = max(
            (each for each in states if each.ramping in members),
            key=lambda each: each.percentage_changed_at,
            default=None,
        ) or max(
            (each for each in states if not each.ramping and each.percentage_changed_at),
            key=lambda each: each.percentage_changed_at,
            default=None,
        )
        return Route(
            current=current.current if current else "",
            current_revision=current.revision if current else 0,
            current_changed_at=current.current_changed_at if current else 0,
            ramping=(ramping.ramping or "") if ramping else "",
            is_ramping=ramping is not None and (bool(ramping.ramping) or ramping.percentage > 0),
            percentage=ramping.percentage if ramping else 0.0,
            ramping_revision=ramping.revision if ramping else 0,
            ramping_changed_at=ramping.percentage_changed_at if ramping else 0,
        )

    # --- tasks ---

    def place_workflow_task(self, execution: Execution, lane: str = "") -> Placement:
        """Whom the workflow tasks of a run are for. A stored one may lie in a `lane`."""
        queue = execution.started.task_queue.name
        use_ramping = versioning.starts_on_ramping(execution)
        place = self._place(execution, queue, WORKFLOW_TASK, use_ramping=use_ramping)
        if not self.any_builds and execution.volatile.builds is None:
            return place
        if self.builds is None or not self._by_build(execution, queue):
            return place
        if place.version and older_versioning.of_workflow_tasks(execution) in (
            None,
            older_versioning.TO_BE_ASSIGNED,
        ):
            return place
        return self.builds.place_workflow_task(execution, lane)

    def place_activity(
        self, execution: Execution, scheduled_event_id: int, queue: str, lane: str = ""
    ) -> Placement:
        """Whom an activity of a run on `queue` is for. A stored task may lie in a `lane`."""
        place = self._place(execution, queue, ACTIVITY_TASK)
        if not self.any_builds and execution.volatile.builds is None:
            return place
        if self.builds is None or not self._by_build(execution, queue):
            return place
        pending = execution.activities.get(scheduled_event_id)
        if place.version and (pending is None or not pending.scheduled.use_workflow_build_id):
            return place
        return self.builds.place_activity(execution, pending, queue, lane)

    def place_standalone(
        self, namespace_id: str, activity_id: str, run_id: str, queue: str, lane: str = ""
    ) -> Placement:
        """Whom a standalone activity on `queue` is for: nothing pins it. A stored task may lie in a `lane`."""
        route = self.of_queue(namespace_id, queue, ACTIVITY_TASK)
        target, revision = route.target(activity_id) if route is not None else ("", 0)
        if target:
            return Placement("", target, revision, target, revision)
        if self.builds is not None and (lane or self.builds.leads(namespace_id, queue)):
            return self.builds.place_standalone(namespace_id, run_id, queue, lane)
        return ANYONE

    def place_nexus(self, namespace_id: str, queue: str, task_id: str) -> Placement:
        """Whom a call of a Nexus operation on `queue` is for: nothing pins it."""
        route = self.of_queue(namespace_id, queue, NEXUS_TASK)
        target, revision = route.target(task_id) if route is not None else ("", 0)
        if target:
            return Placement("", target, revision, target, revision)
        if self.builds is not None and self.builds.leads(namespace_id, queue):
            return self.builds.place_standalone(namespace_id, task_id, queue)
        return ANYONE

    def _by_build(self, execution: Execution, queue: str) -> bool:
        """Whether an older form of versioning may have a say in whom a task is for."""
        builds = self.builds
        if builds is None or (
            execution.volatile.builds is None and not builds.leads(execution.key.namespace_id, queue)
        ):
            return False
        return versioning.effective_behavior(execution) == UNSPECIFIED

    def _place(self, execution: Execution, queue: str, kind: int, *, use_ramping: bool = False) -> Placement:
        key = execution.key
        route = self.of_queue(key.namespace_id, queue, kind)
        if route is None and versioning.is_plain(execution):
            return ANYONE
        behavior = versioning.effective_behavior(execution)
        if route is None and behavior == UNSPECIFIED:
            return ANYONE
        target, target_revision = (
            route.target(key.workflow_id, use_ramping=use_ramping) if route is not None else ("", 0)
        )
        if behavior == PINNED:
            mine = versioning.effective_version(execution)
            if kind == WORKFLOW_TASK or self.has(key.namespace_id, queue, kind, mine):
                return Placement(mine, mine, target_revision, target, target_revision)
            # An activity on a queue that its version does not poll is on its own.
        if not target:
            return ANYONE
        mine = versioning.effective_version(execution)
        revision = versioning.revision_of(execution)
        if deployment_of(target) != deployment_of(mine) or target_revision >= revision:
            return Placement("", target, target_revision, target, target_revision)
        return Placement(mine, mine, revision, target, target_revision)


def _queues_of(whole: Whole | None) -> Iterator[tuple[str, tuple[str, int]]]:
    if whole is not None:
        for version in whole.versions.values():
            for queue in version.queues:
                yield whole.text(version), (queue[0], queue[1])
