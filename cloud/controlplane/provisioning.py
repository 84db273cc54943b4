"""Carries operations on namespaces and Nexus endpoints out on their cells, and heals what a crash left half-way.

    tenancy commits (operation in progress) ─▶ cell does its part ─▶ tenancy settles (fulfilled or failed)
                          ▲                          ▲
    a crash anywhere here leaves the operation in progress; at the next start it is taken up from the top, which is
    harmless, as each part may be done twice.

One task per operation. A cell out of reach is asked again, with growing pauses, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from temporalio.api.enums.v1 import IndexedValueType

from cloud.controlplane.ports import CellNamespace, CellNexusEndpoint, Provisioner
from cloud.rpc import Code, RpcError
from tenancy import nexus_endpoints
from tenancy.model import Namespace, NexusEndpoint, Operation, SearchAttributeType
from tenancy.namespaces import CREATE, DELETE, UPDATE
from tenancy.service import Tenancy

PAUSE_FIRST_SECONDS = 0.1
PAUSE_MAX_SECONDS = 30.0
# Most cells answer within milliseconds: a caller that waits this long is mostly told of the end at once.
PATIENCE_SECONDS = 2.0

# Answers that stay the same however often the cell is asked.
_FINAL = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.ALREADY_EXISTS,
        Code.FAILED_PRECONDITION,
        Code.PERMISSION_DENIED,
        Code.OUT_OF_RANGE,
        Code.UNIMPLEMENTED,
    }
)

_TYPES: Mapping[SearchAttributeType, IndexedValueType.ValueType] = {
    kind: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.name}") for kind in SearchAttributeType
}

_log = structlog.get_logger(__name__)


class Provisioning:
    """Owns the tasks of operations under way. `stop` may be called at any time, and twice."""

    def __init__(self, tenancy: Tenancy, provisioner: Provisioner) -> None:
        self._tenancy = tenancy
        self._steps: Mapping[str, Callable[[CellNamespace], Awaitable[None]]] = {
            CREATE: provisioner.create_namespace,
            UPDATE: provisioner.update_namespace,
            DELETE: provisioner.delete_namespace,
        }
        self._endpoint_steps: Mapping[str, Callable[[CellNexusEndpoint], Awaitable[None]]] = {
            nexus_endpoints.CREATE: provisioner.put_nexus_endpoint,
            nexus_endpoints.UPDATE: provisioner.put_nexus_endpoint,
            nexus_endpoints.DELETE: provisioner.delete_nexus_endpoint,
        }
        self._tasks: dict[tuple[str, str], asyncio.Task[Operation]] = {}

    async def resume(self) -> int:
        """Take up every operation that was under way; returns how many."""
        operations = await self._tenancy.unfinished_operations()
        for operation in operations:
            self._begin(operation)
        return len(operations)

    async def carry_out(self, operation: Operation) -> Operation:
        """Begin an operation's work and wait a moment for its end; returns it as it then is."""
        task = self._begin(operation)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        return task.result() if done else operation

    async def stop(self) -> None:
        """Leave off; what is under way is resumed at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, operation: Operation) -> asyncio.Task[Operation]:
        key = (operation.account_id, operation.id)
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(self._run(operation), name=f"operation-{operation.id}")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return task

    async def _run(self, operation: Operation) -> Operation:
        pause = PAUSE_FIRST_SECONDS
        while True:
            try:
                return await self._try(operation)
            except RpcError as error:
                _log.warning(
                    "controlplane.cell_unavailable",
                    operation_id=operation.id,
                    resource=operation.resource_id,
                    code=error.code.name,
                )
            except Exception:
                # Whatever it is, the operation must not hang unseen until the next start: say so, and go on trying.
                _log.exception(
                    "controlplane.operation_stuck", operation_id=operation.id, resource=operation.resource_id
                )
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, no secret
            pause = min(pause * 2, PAUSE_MAX_SECONDS)

    async def _try(self, operation: Operation) -> Operation:
        if operation.type in self._endpoint_steps:
            endpoints = self._tenancy.nexus_endpoints
            return await endpoints.settle(operation, await self._failure(operation, self._endpoint_step))
        return await self._tenancy.namespaces.settle(
            operation, await self._failure(operation, self._namespace_step)
        )

    async def _failure(self, operation: Operation, step: Callable[[Operation], Awaitable[None]]) -> str:
        """Have the cell do its part; why it refuses for good, empty if it did it."""
        try:
            await step(operation)
        except RpcError as error:
            if error.code not in _FINAL:
                raise
            _log.warning("controlplane.operation_failed", operation_id=operation.id, reason=error.message)
            return error.message
        return ""

    # What an operation is about is read anew each time: a later change may have been committed meanwhile.

    async def _namespace_step(self, operation: Operation) -> None:
        namespace = await self._tenancy.namespaces.of_operation(operation)
        if namespace is not None:
            await self._steps[operation.type](cell_namespace(namespace))

    async def _endpoint_step(self, operation: Operation) -> None:
        endpoint = await self._tenancy.nexus_endpoints.of_operation(operation)
        if endpoint is not None:
            await self._endpoint_steps[operation.type](_cell_endpoint(endpoint))


def _cell_endpoint(one: NexusEndpoint) -> CellNexusEndpoint:
    settings = one.settings
    return CellNexusEndpoint(
        id=one.id,
        cell=one.cell,
        name=settings.name,
        target_namespace=settings.target_namespace,
        target_task_queue=settings.target_task_queue,
        callers=settings.callers,
        description=settings.description,
    )


def cell_namespace(one: Namespace) -> CellNamespace:
    """What the cell needs to know of a namespace."""
    return CellNamespace(
        name=one.name,
        cell=one.cell,
        retention=timedelta(days=one.settings.retention_days),
        search_attributes={name: _TYPES[kind] for name, kind in one.settings.search_attributes.items()},
    )
