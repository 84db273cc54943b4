"""A runtime on a real database, with a wrapper that makes chosen transactions fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    service_pb2,
)

from cloud.engine.api.service import EngineService
from cloud.engine.runtime import lease
from cloud.engine.runtime.clock import SystemClock, SystemIds
from cloud.engine.runtime.dynamic_config import DynamicConfig
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.migrating import prepare
from cloud.rpc import CallContext, Caller, CallerKind, methods_of

T = TypeVar("T")

METHODS = methods_of(service_pb2.DESCRIPTOR.services_by_name["WorkflowService"])
CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="test"))
NAMESPACE = "ns"


class _Gate:
    """Holds callers while it is closed. `reached` is set once one waits."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.reached = asyncio.Event()

    async def passed(self) -> None:
        if not self._open.is_set():
            self.reached.set()
            await self._open.wait()

    def close(self) -> None:
        self.reached.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()


class FaultyDatabase:
    """Passes everything on, but fails or loses the writes that it is told to."""

    def __init__(self, inner: Database, *, exclusive: bool | None = None) -> None:
        self._inner = inner
        self.exclusive = inner.exclusive if exclusive is None else exclusive
        self.dialect = inner.dialect
        self.fail_next = 0
        self.fail_reads = 0
        self.fail_scans: list[Exception] = []
        self.fail_lists: list[Exception] = []
        self.writing = _Gate()
        self.reading = _Gate()

    async def write(self, function: Callable[[Connection], T]) -> T:
        # The lease is renewed when its time comes, which is no test's to say: it must not take a fault that is another's.
        if self.fail_next and getattr(function, "__module__", "") != lease.__name__:
            self.fail_next -= 1
            raise StoreUnavailable("the database refused: a fault of the test")
        await self.writing.passed()
        return await self._inner.write(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        if self.fail_reads:
            self.fail_reads -= 1
            raise StoreUnavailable("the database refused: a fault of the test")
        await self.reading.passed()
        return await self._inner.read(function)

    async def scan(self, function: Callable[[Connection], T]) -> T:
        if self.fail_scans:
            raise self.fail_scans.pop()
        return await self._inner.scan(function)

    async def list(self, tenant: str, function: Callable[[Connection], T]) -> T:
        if self.fail_lists:
            raise self.fail_lists.pop()
        return await self._inner.list(tenant, function)

    async def close(self) -> None:
        await self._inner.close()


class Engine:
    """A started runtime and its methods."""

    def __init__(self, runtime: Runtime, service: EngineService) -> None:
        self.runtime = runtime
        self._service = service

    async def call(self, name: str, request: object, timeout_s: float | None = None) -> Any:
        context = CONTEXT
        if timeout_s is not None:
            context = replace(CONTEXT, deadline_s=asyncio.get_running_loop().time() + timeout_s)
        return await self._service.call(METHODS[name], request, context)  # type: ignore[arg-type]

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
        return str(reply.run_id)

    async def poll(self, queue: str = "tq", timeout_s: float = 10) -> PollWorkflowTaskQueueResponse:
        """A workflow task; empty if none came."""
        request = PollWorkflowTaskQueueRequest(
            namespace=NAMESPACE, task_queue=TaskQueue(name=queue), identity="test"
        )
        reply: PollWorkflowTaskQueueResponse = await self.call("PollWorkflowTaskQueue", request, timeout_s)
        return reply

    async def complete(
        self, task: PollWorkflowTaskQueueResponse, *commands: Command, **fields: object
    ) -> None:
        """Answer a workflow task."""
        await self.call(
            "RespondWorkflowTaskCompleted",
            RespondWorkflowTaskCompletedRequest(
                namespace=NAMESPACE,
                task_token=task.task_token,
                commands=commands,
                **fields,  # type: ignore[arg-type]
            ),
        )

    async def terminate(self, workflow_id: str) -> None:
        request = TerminateWorkflowExecutionRequest(namespace=NAMESPACE)
        request.workflow_execution.workflow_id = workflow_id
        await self.call("TerminateWorkflowExecution", request)

    async def status(self, workflow_id: str) -> int:
        """A WorkflowExecutionStatus."""
        request = DescribeWorkflowExecutionRequest(namespace=NAMESPACE)
        request.execution.workflow_id = workflow_id
        reply = await self.call("DescribeWorkflowExecution", request)
        return int(reply.workflow_execution_info.status)

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
            for event in reply.history.events
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]


@asynccontextmanager
async def engine(
    database: Database,
    on_ended: Callable[[str], None] = lambda _: None,
    dynamic_config: DynamicConfig | None = None,
) -> AsyncIterator[Engine]:
    """A runtime on `database`, stopped at the end; the database stays open."""
    await prepare(database)
    clock = SystemClock()
    runtime = Runtime(
        database, clock=clock, ids=SystemIds(clock), on_ended=on_ended, dynamic_config=dynamic_config
    )
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
