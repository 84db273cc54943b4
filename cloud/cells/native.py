"""A native cell: our engine over one database, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.protobuf.message import Message

from cloud.engine.api.nexus_callback_http import NexusReply
from cloud.engine.api.nexus_inbound_http import InboundCall
from cloud.engine.api.service import EngineService
from cloud.engine.core.limits import Limits
from cloud.engine.core.turn import Ids
from cloud.engine.runtime.clock import Clock, SystemClock, SystemIds
from cloud.engine.runtime.dynamic_config import DynamicConfig
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.namespaces import Namespace, NoSuchNamespace
from cloud.engine.runtime.outbound import Outbound, OutboundPolicy
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import open_database
from cloud.engine.store.migrating import prepare
from cloud.engine.store.reading import read_usage
from cloud.rpc import CallContext, Method

_SECOND = 1_000_000_000

__all__ = ["CellUsage", "NativeCell", "NexusReply", "NoSuchNamespace", "NoSuchRun", "OutboundPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellUsage:
    """`count` units of usage of a kind in one hour (its beginning, UTC)."""

    namespace: str
    hour: datetime
    kind: str
    workflow_type: str
    count: int


class NativeCell:
    """See :class:`cloud.cells.base.Cell`. `start` waits for the cell's lease; stopping twice is safe."""

    def __init__(
        self,
        name: str,
        database_url: str,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        limits: Limits | None = None,
        dynamic_config: DynamicConfig | None = None,
        outbound: OutboundPolicy | None = None,
        on_ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._url = database_url
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds(self._clock)
        self._limits = limits
        self._dynamic_config = dynamic_config
        self._outbound_policy = outbound or OutboundPolicy()
        self._outbound: Outbound | None = None
        self._on_ended = on_ended
        self._runtime: Runtime | None = None
        self._service: EngineService | None = None

    @property
    def name(self) -> str:
        """See :class:`cloud.cells.base.Cell`."""
        return self._name

    @property
    def runtime(self) -> Runtime:
        """The running engine.

        Raises:
            RuntimeError: the cell is not started.
        """
        if self._runtime is None:
            raise RuntimeError(f"cell {self._name!r} is not started")
        return self._runtime

    async def start(self) -> None:
        """Open and migrate the database, take the lease, recover.

        Raises:
            StoreUnavailable: the database can't be opened.
        """
        database = open_database(self._url)
        try:
            await prepare(database)
            runtime = Runtime(
                database,
                clock=self._clock,
                ids=self._ids,
                limits=self._limits,
                dynamic_config=self._dynamic_config,
                on_ended=self._on_ended,
            )
            self._outbound = Outbound(self._outbound_policy)
            self._service = EngineService(runtime, self._outbound)
            await runtime.start()
        except BaseException:
            await database.close()
            raise
        self._runtime = runtime

    def leave(self) -> None:
        """The cell is about to stop: polls, and waits for what is still to come, end as at the end of their time."""
        if self._runtime is not None:
            self._runtime.waits.end()

    async def stop(self) -> None:
        """Flush, release the lease, close the database."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.stop()
            await runtime.database.close()
        if self._outbound is not None:
            await self._outbound.close()

    async def call(self, method: Method, request: Message, context: CallContext) -> Message:
        """See :class:`cloud.cells.base.Cell`."""
        if self._service is None:
            raise RuntimeError(f"cell {self._name!r} is not started")
        return await self._service.call(method, request, context)

    async def nexus_completion(
        self, namespace: str | None, header: Mapping[str, str], body: bytes
    ) -> NexusReply:
        """Take what a service outside tells of an operation (the POST of a Nexus callback, its header's names in lower case).

        `namespace` is the one that the request's path names, if any.
        """
        if self._service is None:
            raise RuntimeError(f"cell {self._name!r} is not started")
        return await self._service.nexus_callbacks.answer(namespace, header, body)

    async def nexus_call(
        self,
        *,
        namespace: str,
        task_queue: str,
        endpoint_id: str,
        names: tuple[str, ...],
        callback: str,
        header: Mapping[str, str],
        body: bytes,
    ) -> NexusReply:
        """Have a worker answer a Nexus call that came by HTTP (its header's names in lower case).

        By `namespace` and `task_queue`, or else by `endpoint_id`; `names` are the path's parts behind them.
        """
        if self._service is None:
            raise RuntimeError(f"cell {self._name!r} is not started")
        return await self._service.nexus_inbound.answer(
            InboundCall(
                namespace=namespace,
                task_queue=task_queue,
                endpoint_id=endpoint_id,
                names=names,
                callback=callback,
                header=header,
                body=body,
            )
        )

    def take_nexus_callbacks_at(self, url: str) -> None:
        """Services outside reach `nexus_completion` by `url`, with ``{namespace}`` for a namespace's name."""
        self.runtime.nexus_callback_url = url

    async def ensure_namespace(self, name: str, *, retention_s: int) -> None:
        """Make namespace `name` unless it is there."""
        runtime = self.runtime
        try:
            runtime.namespaces.by_name(name)
        except NoSuchNamespace:
            namespace = Namespace(
                namespace_id=runtime.ids.request_id(),
                name=name,
                retention=retention_s * _SECOND,
                created_at=runtime.clock.now(),
            )
            await runtime.namespaces.create(namespace, runtime.lease.epoch)

    async def ensure_search_attributes(self, name: str, types: Mapping[str, int]) -> None:
        """Define the search attributes `types` (IndexedValueTypes) in namespace `name` where they are not."""
        runtime = self.runtime
        async with runtime.namespaces.changing:
            namespace = runtime.namespaces.by_name(name)
            updated = replace(namespace, search_attributes={**namespace.search_attributes, **types})
            await runtime.namespaces.update(updated, runtime.lease.epoch)
            runtime.refresh_namespace(updated)

    async def usage(
        self, namespaces: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[CellUsage]:
        """The ledger of [start, end), summed by hour; of all namespaces if none are named."""
        registry = self.runtime.namespaces
        names = {namespace.namespace_id: namespace.name for namespace in registry.all()}
        wanted = (
            None if namespaces is None else [key for key, name in names.items() if name in set(namespaces)]
        )
        first, last = (int(moment.timestamp()) * _SECOND for moment in (start, end))
        rows = await self.runtime.database.scan(lambda c: read_usage(c, wanted, first, last))
        return [
            CellUsage(
                namespace=names.get(namespace_id, namespace_id),
                hour=datetime.fromtimestamp(hour / _SECOND, UTC),
                kind=kind,
                workflow_type=workflow_type,
                count=count,
            )
            for namespace_id, hour, kind, workflow_type, count in rows
        ]
