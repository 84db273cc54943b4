"""Worker deployments of a cell: all in memory, written through to the store, and how they come to know that a version is drained.

A change is made to a copy, stored, and only then seen by anyone; changes of a namespace's deployments follow one another. Nothing
that runs do depends on a deployment that is not durable.

While a version drains it is looked now and then whether a run that is pinned to it is open. A witness is remembered: as long as
that run is open the look is a read by key. Without draining versions nothing is looked at; after a restart the looks go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from sqlalchemy import Connection

from cloud.engine.core import deployment as rules
from cloud.engine.core.clock import SECOND
from cloud.engine.core.deployment import DRAINING, Deployment, TooManyVersions, Version, Whole
from cloud.engine.core.errors import CoreRefusal
from cloud.engine.core.versions import build_of, deployment_of
from cloud.engine.runtime.dynamic_config import (
    DEPLOYMENTS_MAX,
    DRAINAGE_GRACE,
    DRAINAGE_INTERVAL,
    QUEUES_IN_VERSION_MAX,
    VERSIONS_IN_DEPLOYMENT_MAX,
    VERSIONS_IN_QUEUE_MAX,
)
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import POLLER_SEEN_NS, QueueKey
from cloud.engine.store import schema as s
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.deployments import (
    read_deployments,
    remove_deployment,
    remove_versions,
    write_deployment,
)
from cloud.engine.store.rows import Rows

log = structlog.get_logger(__name__)

AUTO_CREATED = "_auto_create_"
"""How the request ids begin of deployments that came by a worker's poll."""

_RETRY_S = 1.0


class NoSuchDeployment(Exception):
    """There is no deployment of this name."""


class DeploymentExists(Exception):
    """There is one already. `by_poll`: it came by a worker's poll."""

    def __init__(self, name: str, *, by_poll: bool) -> None:
        super().__init__(name)
        self.by_poll = by_poll


@dataclass(slots=True)
class Change:
    """A change of one deployment in the making: `whole` is a copy to work on. With `removed` the deployment goes."""

    whole: Whole
    removed_versions: set[str] = field(default_factory=set)
    removed: bool = False


class Deployments:
    """See the module's head. A companion of the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._locks: dict[str, asyncio.Lock] = {}
        self._due: dict[tuple[str, str], int] = {}  # (namespace id, version) that drains -> the next look
        self._witnesses: dict[tuple[str, str], str] = {}
        self._earlier = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        runtime.accompany(self)
        runtime.expect_version = self._expect

    # --- life ---

    async def start(self) -> None:
        """Load all."""
        found = await self._runtime.database.scan(read_deployments)
        for (namespace_id, name), whole in found.items():
            self._runtime.routes.put(namespace_id, name, whole)
            self._watch(namespace_id, whole)
        self._task = asyncio.create_task(self._look_as_they_drain(), name="drainage")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def flushed(self, rows: Rows) -> None:
        """Deployments are not written with batches."""

    def forget(self) -> None:
        """What is in memory is durable."""

    # --- reads ---

    def find(self, namespace: Namespace, name: str) -> Whole:
        """A deployment. Not to be changed.

        Raises:
            NoSuchDeployment: there is none.
        """
        found = self._runtime.routes.deployment(namespace.namespace_id, name)
        if found is None:
            raise NoSuchDeployment(name)
        return found

    def all(self, namespace: Namespace) -> list[Whole]:
        """All of a namespace."""
        return self._runtime.routes.deployments(namespace.namespace_id)

    def has_pollers(self, namespace: Namespace, whole: Whole, version: Version) -> bool:
        """Whether workers of a version polled lately."""
        text = whole.text(version)
        since = self._runtime.clock.now() - POLLER_SEEN_NS
        for name, kind in version.queues:
            queue = self._runtime.queues.find(QueueKey(namespace.namespace_id, name, kind, text))
            if queue is not None and (queue.pollers or queue.last_poll_at > since):
                return True
        return False

    # --- changes ---

    @asynccontextmanager
    async def changing(
        self, namespace: Namespace, name: str, *, make: Callable[[], Deployment] | None = None
    ) -> AsyncIterator[Change]:
        """Change a deployment: what is done to the copy is stored and takes effect when the block ends; nothing if it raises.

        Raises:
            NoSuchDeployment: there is none, and it is not to be made.
            TooManyVersions: the namespace has deployments enough.
            StoreUnavailable: it could not be stored.
        """
        async with self._locks.setdefault(namespace.namespace_id, asyncio.Lock()):
            routes = self._runtime.routes
            before = routes.deployment(namespace.namespace_id, name)
            if before is None:
                if make is None:
                    raise NoSuchDeployment(name)
                limit = self._runtime.dynamic_config.of(DEPLOYMENTS_MAX)
                if len(routes.deployments(namespace.namespace_id)) >= limit:
                    raise TooManyVersions(f"reached maximum deployments in namespace ({limit})")
                change = Change(Whole(make()))
            else:
                change = Change(_copy(before))
            yield change
            # A caller that gives up must not leave memory behind the store, nor let others build on what is older.
            storing = asyncio.ensure_future(self._store(namespace, before, change))
            try:
                await asyncio.shield(storing)
            except asyncio.CancelledError:
                await asyncio.wait({storing})
                raise

    async def _store(self, namespace: Namespace, before: Whole | None, change: Change) -> None:
        namespace_id, whole = namespace.namespace_id, change.whole
        name = whole.deployment.name
        if not self._runtime.namespaces.serves(namespace_id):
            raise StoreUnavailable("the namespace is being deleted")
        old = before.versions if before is not None else {}
        changed = [each for each in whole.versions.values() if old.get(each.build_id) != each]
        epoch = self._runtime.lease.epoch

        def write(connection: Connection) -> None:
            remove_versions(connection, namespace_id, name, change.removed_versions, epoch)
            if change.removed:
                remove_deployment(connection, namespace_id, name, epoch)
            else:
                write_deployment(connection, namespace_id, whole, changed, epoch)

        await self._runtime.database.write(write)
        rerouted = before is None or (
            before.deployment.revision != whole.deployment.revision or old.keys() != whole.versions.keys()
        )
        routes = self._runtime.routes
        touched = routes.put(namespace_id, name, None if change.removed else whole)
        self._watch(namespace_id, whole)
        if rerouted:
            self._reroute(namespace_id, touched)

    def _reroute(self, namespace_id: str, queues: Iterable[tuple[str, int]]) -> None:
        for name, kind in queues:
            self._runtime.queues.rerouted(QueueKey(namespace_id, name, kind))

    # --- workers register by polling ---

    def is_registered(self, namespace: Namespace, version: str, queue: str, kind: int) -> bool:
        """Whether it is known that workers of a version poll a queue."""
        return self._runtime.routes.has(namespace.namespace_id, queue, kind, version)

    async def register(self, namespace: Namespace, version: str, queue: str, kind: int) -> None:
        """Workers of a version poll a queue, which is not known yet: deployment and version are made if they are not there.

        Raises:
            TooManyVersions: the namespace, the deployment, the version or the queue has enough.
            StoreUnavailable: it could not be stored.
        """
        runtime, now = self._runtime, self._runtime.clock.now()
        name, build_id = deployment_of(version), build_of(version)
        limit = runtime.dynamic_config.of(VERSIONS_IN_QUEUE_MAX)
        in_queue = runtime.routes.versions_of(namespace.namespace_id, queue, kind)
        if len(set(in_queue)) > limit:
            raise TooManyVersions(
                f"exceeding maximum number of Deployment Versions in this task queue (limit = {limit})"
            )

        def make() -> Deployment:
            return Deployment(name, now, f"{AUTO_CREATED}{runtime.ids.request_id()}", conflict_token=now)

        async with self.changing(namespace, name, make=make) as change:
            found = change.whole.versions.get(build_id)
            if found is None:
                found = self.add_version(namespace, change, Version(build_id, now))
            if (queue, kind) not in found.queues:
                rules.register(
                    found, queue, kind, queues_max=runtime.dynamic_config.of(QUEUES_IN_VERSION_MAX)
                )
        # A version that is current already gets the queue's tasks from now on.
        self._reroute(namespace.namespace_id, [(queue, kind)])

    def add_version(self, namespace: Namespace, change: Change, version: Version) -> Version:
        """Add a version to a deployment that is being changed. If it is full, the oldest one that nobody needs makes room.

        Raises:
            TooManyVersions: all are needed.
        """
        whole = change.whole
        limit = self._runtime.dynamic_config.of(VERSIONS_IN_DEPLOYMENT_MAX)
        if len(whole.versions) >= limit and not self._make_room(namespace, change):
            text = f"{whole.deployment.name}.{version.build_id}"
            raise TooManyVersions(
                f"cannot add version {text} since maximum number of versions ({limit}) "
                "have been registered in the deployment"
            )
        change.removed_versions.discard(version.build_id)
        whole.versions[version.build_id] = version
        return version

    def _make_room(self, namespace: Namespace, change: Change) -> bool:
        for version in sorted(change.whole.versions.values(), key=lambda each: each.created_at):
            with contextlib.suppress(CoreRefusal):
                rules.check_removal(change.whole, version, identity=None, skip_drainage=False)
                if not self.has_pollers(namespace, change.whole, version):
                    self.remove_version(change, version)
                    return True
        return False

    @staticmethod
    def remove_version(change: Change, version: Version) -> None:
        """Remove a version of a deployment that is being changed."""
        del change.whole.versions[version.build_id]
        change.removed_versions.add(version.build_id)

    def _expect(self, namespace: Namespace, version: str) -> None:
        """A run is to be pinned to a version from outside: one that was drained, or never active, drains (again)."""
        whole = self._runtime.routes.deployment(namespace.namespace_id, deployment_of(version))
        found = whole.version(version) if whole is not None else None
        if found is not None and found.status in (rules.DRAINED, rules.INACTIVE):
            self._runtime.spawn(self._pinned_anew(namespace, version), "pinned-anew")

    async def _pinned_anew(self, namespace: Namespace, version: str) -> None:
        try:
            async with self.changing(namespace, deployment_of(version)) as change:
                changed = change.whole.version(version)
                if changed is not None:
                    rules.pinned_anew(changed, self._runtime.clock.now())
        except NoSuchDeployment:
            pass
        except StoreUnavailable as error:
            log.warning("version_stays_drained", version=version, reason=str(error))

    # --- drainage ---

    def _watch(self, namespace_id: str, whole: Whole) -> None:
        """Note when the deployment's draining versions are to be looked at."""
        config = self._runtime.dynamic_config
        prefix = f"{whole.deployment.name}:"
        for key in [key for key in self._due if key[0] == namespace_id and key[1].startswith(prefix)]:
            if whole.version(key[1]) is None or whole.versions[build_of(key[1])].status != DRAINING:
                del self._due[key]
                self._witnesses.pop(key, None)
        for version in whole.versions.values():
            drainage = version.drainage
            if version.status == DRAINING and drainage is not None:
                first = drainage.checked_at == drainage.changed_at
                after = config.of(DRAINAGE_GRACE if first else DRAINAGE_INTERVAL)
                self._due[(namespace_id, whole.text(version))] = drainage.checked_at + after
                self._earlier.set()

    async def _look_as_they_drain(self) -> None:
        while True:
            try:
                await self._look_at_next()
            except StoreUnavailable as error:
                log.warning("drainage_delayed", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("drainage_broke")
                await asyncio.sleep(_RETRY_S)

    async def _look_at_next(self) -> None:
        now = self._runtime.clock.now()
        if not self._due:
            await self._earlier.wait()
            self._earlier.clear()
            return
        key, at = min(self._due.items(), key=lambda item: item[1])
        if at > now:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._earlier.wait(), (at - now) / SECOND)
            self._earlier.clear()
            return
        self._due[key] = now + self._runtime.dynamic_config.of(DRAINAGE_INTERVAL)
        await self._look_at(*key)

    async def _look_at(self, namespace_id: str, version: str) -> None:
        runtime = self._runtime
        if not runtime.namespaces.serves(namespace_id):
            self._due.pop((namespace_id, version), None)
            return
        namespace = runtime.namespaces.by_id(namespace_id)
        witness = self._witnesses.get((namespace_id, version), "")
        pinned = partial(s.visibility.open_run_pinned_to, namespace_id=namespace_id, version=version)
        found = ""
        if witness:
            found = await runtime.database.scan(lambda c: pinned(c, run_id=witness))
        if not found:
            found = await runtime.database.scan(lambda c: pinned(c))
        if found:
            self._witnesses[(namespace_id, version)] = found
        with contextlib.suppress(NoSuchDeployment):
            async with self.changing(namespace, deployment_of(version)) as change:
                drains = change.whole.version(version)
                if drains is not None:
                    rules.checked(drains, in_use=bool(found), now=runtime.clock.now())


def _copy(whole: Whole) -> Whole:
    return Whole(
        replace(whole.deployment),
        {
            build_id: replace(
                version,
                queues=list(version.queues),
                drainage=replace(version.drainage) if version.drainage is not None else None,
            )
            for build_id, version in whole.versions.items()
        },
    )
