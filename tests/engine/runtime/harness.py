"""A runtime on a real database, with a wrapper that makes chosen transactions fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    service_pb2,
)

from cloud.engine.api.service import EngineService
from cloud.engine.runtime.clock import SystemClock, SystemIds
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.migrating import prepare
from cloud.rpc import CallContext, Caller, CallerKind, methods_of

T = TypeVar("T")

METHODS = methods_of(service_pb2.DESCRIPTOR.services_by_name["WorkflowService"])
CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="test"))
NAMESPACE = "ns"


class FaultyDatabase:
    """Passes everything on, but fails or loses the writes that it is told to."""

    def __init__(self, inner: Database, *, exclusive: bool | None = None) -> None:
        self._inner = inner
        self.exclusive = inner.exclusive if exclusive is None else exclusive
        self.dialect = inner.dialect
        self.fail_next = 0
        self.statements = 0

    async def write(self, function: Callable[[Connection], T]) -> T:
        if self.fail_next:
            self.fail_next -= 1
            raise StoreUnavailable("the database refused: a fault of the test")
        return await self._inner.write(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._inner.read(function)

    async def scan(self, function: Callable[[Connection], T]) -> T:
        return await self._inner.scan(function)

    async def close(self) -> None:
        await self._inner.close()


class Engine:
    """A started runtime and its methods."""

    def __init__(self, runtime: Runtime, service: EngineService) -> None:
        self.runtime = runtime
        self._service = service

    async def call(self, name: str, request: object) -> object:
        return await self._service.call(METHODS[name], request, CONTEXT)  # type: ignore[arg-type]

    async def start(self, workflow_id: str, **fields: object) -> str:
        reply = await self.call(
            "StartWorkflowExecution",
            StartWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_id=workflow_id,
                workflow_type=WorkflowType(name="demo"),
                task_queue=TaskQueue(name="tq"),
                **fields,  # type: ignore[arg-type]
            ),
        )
        return str(reply.run_id)  # type: ignore[attr-defined]

    async def signal(self, workflow_id: str, name: str = "s") -> None:
        request = SignalWorkflowExecutionRequest(namespace=NAMESPACE, signal_name=name)
        request.workflow_execution.workflow_id = workflow_id
        await self.call("SignalWorkflowExecution", request)

    async def signals(self, workflow_id: str) -> list[str]:
        request = GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE)
        request.execution.workflow_id = workflow_id
        reply = await self.call("GetWorkflowExecutionHistory", request)
        return [
            event.workflow_execution_signaled_event_attributes.signal_name
            for event in reply.history.events  # type: ignore[attr-defined]
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]


@asynccontextmanager
async def engine(
    database: Database, on_ended: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Engine]:
    """A runtime on `database`, stopped at the end; the database stays open."""
    await prepare(database)
    clock = SystemClock()
    runtime = Runtime(database, clock=clock, ids=SystemIds(clock), on_ended=on_ended)
    service = EngineService(runtime)
    await runtime.start()
    try:
        if not runtime.namespaces.all():
            await runtime.namespaces.create(
                Namespace(namespace_id="ns-id", name=NAMESPACE, created_at=clock.now()), runtime.lease.epoch
            )
        yield Engine(runtime, service)
    finally:
        await runtime.stop()
