"""What Nexus scenarios share: endpoints, hand-made commands, and a handler that is driven by hand."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import temporalio.api.nexus.v1 as nexus
import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.command.v1 import (
    Command,
    RequestCancelNexusOperationCommandAttributes,
    ScheduleNexusOperationCommandAttributes,
)
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import Failure, NexusHandlerFailureInfo
from temporalio.api.taskqueue.v1 import TaskQueue

from .commands import payload, with_durations
from .raw import POLL_SECONDS, Scenario
from .rendering import IDENTITY, Names, render

UPSTREAM_SECONDS = 9.0
"""After this long a call that no handler took is given up (the real server's ten, less what it needs to say so)."""

NexusTask = ws.PollNexusTaskQueueResponse


def endpoint_name(s: Scenario, role: str = "ep") -> str:
    """A name that is this test's own, shown as its role."""
    name = f"{s.prefix}-{role}".replace("_", "-")
    s.names.aliases[name] = role
    return name


def worker_target(s: Scenario, queue: str = "", *, namespace: str | None = None) -> nexus.EndpointTarget:
    """A task queue as target, that of the scenario unless told."""
    return nexus.EndpointTarget(
        worker=nexus.EndpointTarget.Worker(
            namespace=s.namespace if namespace is None else namespace, task_queue=queue or s.tq
        )
    )


def external_target(url: str) -> nexus.EndpointTarget:
    """A URL as target."""
    return nexus.EndpointTarget(external=nexus.EndpointTarget.External(url=url))


async def create_endpoint(
    s: Scenario, name: str | None = None, target: nexus.EndpointTarget | None = None, **fields: Any
) -> nexus.Endpoint:
    """Make an endpoint; it targets the scenario's own queue unless told."""
    spec = nexus.EndpointSpec(
        name=endpoint_name(s) if name is None else name, target=target or worker_target(s), **fields
    )
    response = await s.client.operator_service.create_nexus_endpoint(
        operator.CreateNexusEndpointRequest(spec=spec)
    )
    return response.endpoint


async def delete_endpoint(s: Scenario, endpoint: nexus.Endpoint) -> None:
    """Remove an endpoint."""
    await s.client.operator_service.delete_nexus_endpoint(
        operator.DeleteNexusEndpointRequest(id=endpoint.id, version=endpoint.version)
    )


def schedule(
    endpoint: nexus.Endpoint | str,
    *values: Any,
    service: str = "svc",
    operation: str = "op",
    header: Mapping[str, str] | None = None,
    **fields: Any,
) -> Command:
    """Schedule an operation; timeouts in seconds."""
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION,
        schedule_nexus_operation_command_attributes=ScheduleNexusOperationCommandAttributes(
            endpoint=endpoint if isinstance(endpoint, str) else endpoint.spec.name,
            service=service,
            operation=operation,
            input=payload(values[0]) if values else None,
            nexus_header=header,
            **with_durations(fields),
        ),
    )


def request_cancel(scheduled_event_id: int) -> Command:
    """Ask an operation to cancel."""
    return Command(
        command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION,
        request_cancel_nexus_operation_command_attributes=RequestCancelNexusOperationCommandAttributes(
            scheduled_event_id=scheduled_event_id
        ),
    )


async def poll_nexus(s: Scenario, queue: str = "", *, timeout: float = POLL_SECONDS) -> NexusTask:
    """The next Nexus task of a queue; fails when none comes."""
    task = await s.service.poll_nexus_task_queue(
        ws.PollNexusTaskQueueRequest(
            namespace=s.namespace, task_queue=TaskQueue(name=queue or s.tq), identity=IDENTITY
        ),
        timeout=timedelta(seconds=timeout),
    )
    assert task.task_token, "no Nexus task came"
    return task


async def answer(s: Scenario, task: NexusTask | bytes, response: nexus.Response | None) -> None:
    """Answer a Nexus task."""
    await s.service.respond_nexus_task_completed(
        ws.RespondNexusTaskCompletedRequest(
            namespace=s.namespace,
            task_token=task if isinstance(task, bytes) else task.task_token,
            response=response,
            identity=IDENTITY,
        )
    )


def sync(value: Any, *links: nexus.Link) -> nexus.Response:
    """The operation is done."""
    success = nexus.StartOperationResponse.Sync(payload=payload(value), links=links)
    return nexus.Response(start_operation=nexus.StartOperationResponse(sync_success=success))


def started(token: str, *links: nexus.Link) -> nexus.Response:
    """The operation goes on by itself."""
    success = nexus.StartOperationResponse.Async(operation_token=token, links=links)
    return nexus.Response(start_operation=nexus.StartOperationResponse(async_success=success))


def operation_failed(why: Failure) -> nexus.Response:
    """The operation failed."""
    return nexus.Response(start_operation=nexus.StartOperationResponse(failure=why))


def cancelling() -> nexus.Response:
    """The request to cancel was taken."""
    return nexus.Response(cancel_operation=nexus.CancelOperationResponse())


def handler_failure(kind: str, message: str = "not now", **fields: Any) -> Failure:
    """A failure of the handler itself, of a type that says whether to try again."""
    return Failure(message=message, nexus_handler_failure_info=NexusHandlerFailureInfo(type=kind), **fields)


async def fail_nexus(
    s: Scenario, task: NexusTask, why: Failure | None = None, error: nexus.HandlerError | None = None
) -> None:
    """Fail a Nexus task, in today's form or the older one."""
    await s.service.respond_nexus_task_failed(
        ws.RespondNexusTaskFailedRequest(
            namespace=s.namespace, task_token=task.task_token, failure=why, error=error, identity=IDENTITY
        )
    )


async def pending(s: Scenario, **ids: str) -> str:
    """What Describe says of the one pending operation."""
    found = (await s.describe(**ids)).pending_nexus_operations
    assert len(found) == 1
    return render(found[0], s.names)


async def pending_until(s: Scenario, text: str, *, seconds: float = 5) -> str:
    """What Describe says of the one pending operation, once it says `text`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await pending(s)
        if text in found or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.05)


def links_text(links: Iterable[Link], names: Names) -> str:
    """The links of an event, a line each."""
    return "\n".join(render(link, names) for link in links)
