"""A started engine whose methods are called as a transport would call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from cloud.engine.api.service import SERVICES, EngineService
from cloud.engine.runtime.clock import SystemClock, SystemIds
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import Database
from cloud.engine.store.migrating import prepare
from cloud.rpc import CallContext, Caller, CallerKind, RpcError, methods_of

CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="test"))
NAMESPACE = "ns"


class Api:
    """Methods by their bare names: ``await api("ListNamespaces", ListNamespacesRequest())``."""

    def __init__(self, runtime: Runtime, service: EngineService) -> None:
        self.runtime = runtime
        self._service = service
        self._methods = {
            name: method for described in SERVICES for name, method in methods_of(described).items()
        }

    async def __call__(self, name: str, request: Message) -> Any:
        return await self._service.call(self._methods[name], request, CONTEXT)


@asynccontextmanager
async def started(database: Database) -> AsyncIterator[Api]:
    """An engine on `database`, with the namespace ``ns``; the database stays open."""
    await prepare(database)
    clock = SystemClock()
    runtime = Runtime(database, clock=clock, ids=SystemIds(clock))
    service = EngineService(runtime)
    await runtime.start()
    try:
        if not runtime.namespaces.all():
            namespace = Namespace(namespace_id="ns-id", name=NAMESPACE, created_at=clock.now())
            await runtime.namespaces.create(namespace, runtime.lease.epoch)
        yield Api(runtime, service)
    finally:
        await runtime.stop()


async def start(api: Api, workflow_id: str, *, namespace: str = NAMESPACE, **fields: object) -> str:
    """Start a workflow of type ``demo`` on queue ``tq``; its run id."""
    request = StartWorkflowExecutionRequest(
        namespace=namespace,
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="demo"),
        task_queue=TaskQueue(name="tq"),
        request_id=workflow_id,
    )
    request.MergeFrom(StartWorkflowExecutionRequest(**fields))  # type: ignore[arg-type]
    reply = await api("StartWorkflowExecution", request)
    return str(reply.run_id)


async def refusal(answer: Awaitable[object]) -> str:
    """The refusal as one line: code, sentence, and each detail's type and content."""
    try:
        await answer
    except RpcError as error:
        details = "".join(
            f" [{type(detail).__name__} {' '.join(str(detail).split())}]" for detail in error.details
        )
        return f"{error.code.name}: {error.message}{details}"
    raise AssertionError("the call was not refused")
