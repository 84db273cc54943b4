"""The older forms of worker versioning: which build id's workers the tasks of each queue are for, by its sets and rules.

The data of all queues that have any is in memory, written through to the store. A worker that says a build id, and no deployment,
waits in that build id's *lane* (``versions.lane_of_build``). Tasks that rules have assigned are stored in the lane of what they are
assigned to; a redirect is looked up when one is taken, so the workers that it leads to look through all lanes before it. Tasks that sets
lead lie in the common lane, and go to whichever build id is their set's default when they are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy

from cloud.engine.core import older_versioning
from cloud.engine.core.build_id_rules import upstream
from cloud.engine.core.build_ids import BuildIds
from cloud.engine.core.state import Activity, Execution
from cloud.engine.core.versions import build_of, is_build_lane, lane_of_build
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.routes import ANYONE, NEXUS_TASK, BuildPlaces, Lane, Placement, share_of
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.build_ids import read_all_build_ids, size_of, write_build_ids
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK, Rows

QUEUES_MAX = 1_000
BYTES_MAX = 16 * 1024 * 1024
"""Queues of a namespace that may have sets or rules, and bytes of all that, as stored: it is in memory, with the rules deleted lately."""

_EMPTY = BuildIds()


class NewerBuildExists(Exception):
    """A worker polls with a build id whose tasks another one has by now: `default`."""

    def __init__(self, default: str) -> None:
        super().__init__(f'Task queue has a newer compatible build: "{default}"')
        self.default = default


class TooMuch(Exception):
    """The namespace has sets and rules enough."""


class Builds(BuildPlaces):
    """See the module's head. A companion of the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: dict[tuple[str, str], BuildIds] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        runtime.accompany(self)
        runtime.routes.builds = self

    # --- life ---

    async def start(self) -> None:
        """Load all."""
        self._queues = await self._runtime.database.scan(read_all_build_ids)
        self._sizes = {key: size_of(data) for key, data in self._queues.items()}
        self._runtime.routes.any_builds = bool(self._queues)

    async def stop(self) -> None:
        """Nothing runs."""

    def flushed(self, rows: Rows) -> None:
        """Build ids are not written with batches."""

    def forget(self) -> None:
        """What is in memory is durable."""

    def forget_namespace(self, namespace_id: str) -> None:
        """A namespace is gone."""
        for key in [key for key in self._queues if key[0] == namespace_id]:
            del self._queues[key]
            self._sizes.pop(key, None)

    # --- data ---

    def of_queue(self, namespace_id: str, queue: str) -> BuildIds:
        """A queue's sets and rules. Not to be changed."""
        return self._queues.get((namespace_id, queue), _EMPTY)

    def queues_of_build_id(self, namespace_id: str, build_id: str) -> list[str]:
        """The queues in whose sets a build id is, by their names."""
        return sorted(
            queue
            for (of, queue), data in self._queues.items()
            if of == namespace_id and data.set_of(build_id) >= 0
        )

    @asynccontextmanager
    async def changing(self, namespace: Namespace, queue: str) -> AsyncIterator[BuildIds]:
        """Change a queue's data: what is done to the copy is stored and takes effect when the block ends; nothing if it raises.

        Raises:
            TooMuch: the namespace has such data enough.
            StoreUnavailable: it could not be stored.
        """
        key = (namespace.namespace_id, queue)
        async with self._runtime.id_locks.held(
            namespace.namespace_id, "\0build-ids"
        ):  # one by one: bounds hold
            data = deepcopy(self._queues.get(key, _EMPTY))
            yield data
            self._check_room(key, data)
            # A caller that gives up must not leave memory behind the store.
            storing = asyncio.ensure_future(self._store(namespace, queue, data))
            try:
                await asyncio.shield(storing)
            except asyncio.CancelledError:
                await asyncio.wait({storing})
                raise

    def _check_room(self, key: tuple[str, str], data: BuildIds) -> None:
        sizes = {each: size for each, size in self._sizes.items() if each[0] == key[0]}
        if key not in sizes and len(sizes) >= QUEUES_MAX:
            raise TooMuch(f"{len(sizes)} task queues of this namespace have build ids already")
        size, before = size_of(data), sizes.get(key, 0)
        if size > before and sum(sizes.values()) - before + size > BYTES_MAX:
            raise TooMuch(
                f"the build ids of this namespace's task queues, with the rules deleted lately, would exceed {BYTES_MAX} bytes"
            )

    async def _store(self, namespace: Namespace, queue: str, data: BuildIds) -> None:
        runtime, namespace_id = self._runtime, namespace.namespace_id
        if not runtime.namespaces.serves(namespace_id):
            raise StoreUnavailable("the namespace is being deleted")
        epoch = runtime.lease.epoch
        await runtime.database.write(lambda c: write_build_ids(c, namespace_id, queue, data, epoch))
        self._queues[(namespace_id, queue)] = data
        self._sizes[(namespace_id, queue)] = size_of(data)
        runtime.routes.any_builds = True
        for kind in (WORKFLOW_TASK, ACTIVITY_TASK, NEXUS_TASK):
            runtime.queues.rerouted(QueueKey(namespace_id, queue, kind))

    # --- workers ---

    def lane_of(self, namespace_id: str, queue: str, build_id: str, *, sticky: bool = False) -> Lane:
        """Where a worker of `build_id` waits for tasks of `queue`; at its `sticky` queue it has no lane.

        Raises:
            NewerBuildExists: it would wait in vain.
        """
        data = self.of_queue(namespace_id, queue)
        default = data.default_of_set(build_id)
        if default:
            if default != build_id:
                raise NewerBuildExists(default)
            return Lane("") if sticky else Lane(lane_of_build(build_id))
        end = data.redirected(build_id)
        if end != build_id:
            raise NewerBuildExists(end)
        if sticky:
            return Lane("")
        before = sorted(upstream(data.active_redirects, build_id) - {""})
        return Lane(lane_of_build(build_id), tuple(map(lane_of_build, before)), build_id)

    # --- tasks ---

    def place_workflow_task(self, execution: Execution, lane: str = "") -> Placement:
        """Whom the workflow tasks of a run are for; one that is stored may be in a build id's `lane`."""
        key = execution.key
        wanted = older_versioning.of_workflow_tasks(execution)
        return self._place(key.namespace_id, execution.started.task_queue.name, wanted, key.run_id, lane)

    def place_activity(
        self, execution: Execution, pending: Activity | None, queue: str, lane: str = ""
    ) -> Placement:
        """The same of an activity on `queue`."""
        if pending is None:
            return ANYONE
        wanted = older_versioning.of_activity(execution, pending)
        return self._place(execution.key.namespace_id, queue, wanted, execution.key.run_id, lane)

    def place_standalone(self, namespace_id: str, run_id: str, queue: str, lane: str = "") -> Placement:
        """The same of what belongs to no workflow."""
        return self._place(namespace_id, queue, older_versioning.TO_BE_ASSIGNED, run_id, lane)

    def leads(self, namespace_id: str, queue: str) -> bool:
        """Whether the queue's tasks may be for workers of a build id."""
        return bool(self._queues) and not self.of_queue(namespace_id, queue).is_empty

    def _place(self, namespace_id: str, queue: str, wanted: str | None, run_id: str, lane: str) -> Placement:
        if wanted is None:
            return ANYONE
        data = self.of_queue(namespace_id, queue)
        if wanted == older_versioning.TO_BE_ASSIGNED:
            build_id = build_of(lane) if is_build_lane(lane) else data.assigned(share_of(run_id))
            default = "" if build_id else data.default_set()
        else:
            build_id, default = wanted, data.default_of_set(wanted)
        if default:
            return ANYONE._replace(version=lane_of_build(default), by_set=True, stays=default == wanted)
        end = data.redirected(build_id)
        return ANYONE._replace(
            lane=lane_of_build(build_id),
            version=lane_of_build(end),
            assigns=build_id if wanted == older_versioning.TO_BE_ASSIGNED else "",
            stays=end == wanted,
        )
