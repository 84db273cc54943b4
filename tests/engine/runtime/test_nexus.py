"""Nexus under faults and between tenants: calls are made again, completions count once, nobody reaches what is another's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Callback, Payload, Payloads
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.nexus.v1 import Response
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollNexusTaskQueueRequest,
    PollNexusTaskQueueResponse,
    RespondNexusTaskCompletedRequest,
)

from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_completions import CALLBACK_TOKEN_HEADER
from cloud.engine.runtime.nexus_endpoints import NexusEndpoint
from cloud.engine.store.database import Database
from cloud.rpc import InvalidArgument, NotFound, RpcError, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

ENDPOINT = "endpoint"


@asynccontextmanager
async def with_endpoint(database: Database) -> AsyncIterator[Engine]:
    async with engine(database) as e:
        if e.runtime.nexus_endpoints.by_name(ENDPOINT) is None:
            made = NexusEndpoint(
                endpoint_id=str(uuid.uuid4()), name=ENDPOINT, namespace_id="ns-id", task_queue="tq"
            )
            await e.runtime.nexus_endpoints.create(made, e.runtime.lease.epoch)
        yield e


def schedule() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION)
    wanted = command.schedule_nexus_operation_command_attributes
    wanted.endpoint, wanted.service, wanted.operation = ENDPOINT, "svc", "op"
    return command


def finished() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    result = Payloads(payloads=[Payload(data=b"out")])
    command.complete_workflow_execution_command_attributes.result.CopyFrom(result)
    return command


async def poll(e: Engine, namespace: str = NAMESPACE, timeout_s: float = 10) -> PollNexusTaskQueueResponse:
    request = PollNexusTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name="tq"), identity="test")
    reply: PollNexusTaskQueueResponse = await e.call("PollNexusTaskQueue", request, timeout_s)
    return reply


async def answer(e: Engine, token: bytes, response: Response, namespace: str = NAMESPACE) -> None:
    request = RespondNexusTaskCompletedRequest(namespace=namespace, task_token=token, response=response)
    await e.call("RespondNexusTaskCompleted", request)


def sync() -> Response:
    response = Response()
    response.start_operation.sync_success.payload.data = b"out"
    return response


def started() -> Response:
    response = Response()
    response.start_operation.async_success.operation_token = "token"
    return response


async def event_types(e: Engine, workflow_id: str) -> list[str]:
    request = GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE)
    request.execution.workflow_id = workflow_id
    reply = await e.call("GetWorkflowExecutionHistory", request)
    return [
        EventType.Name(event.event_type).removeprefix("EVENT_TYPE_NEXUS_OPERATION_")
        for event in reply.history.events
        if "NEXUS" in EventType.Name(event.event_type)
    ]


async def until(e: Engine, workflow_id: str, last: str) -> list[str]:
    found: list[str] = []
    for _ in range(200):
        with contextlib.suppress(Unavailable):
            found = await event_types(e, workflow_id)
        if found and found[-1] == last:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{last} did not come: {found}")


async def callback_states(e: Engine, workflow_id: str) -> list[tuple[int, int]]:
    """(state, attempt) of each callback."""
    request = DescribeWorkflowExecutionRequest(namespace=NAMESPACE)
    request.execution.workflow_id = workflow_id
    reply = await e.call("DescribeWorkflowExecution", request)
    return [(callback.state, callback.attempt) for callback in reply.callbacks]


async def scheduled(e: Engine, workflow_id: str = "caller") -> PollNexusTaskQueueResponse:
    """A caller whose operation is with a handler."""
    await e.start(workflow_id)
    await e.complete(await e.poll(), schedule())
    return await poll(e)


async def test_a_call_whose_answer_was_lost_is_made_again(database: Database) -> None:
    async with with_endpoint(database) as e:
        first = await scheduled(e)
    async with with_endpoint(database) as e:
        again = await poll(e)
        assert again.request.start_operation.request_id == first.request.start_operation.request_id
        # What the first handler was asked is not answered any more.
        with pytest.raises(NotFound):
            await answer(e, first.task_token, sync())
        await answer(e, again.task_token, sync())
        assert await until(e, "caller", "COMPLETED") == ["SCHEDULED", "COMPLETED"]


async def test_a_failed_flush_takes_no_answer_along(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with with_endpoint(faulty) as e:
        task = await scheduled(e)
        faulty.fail_next = 1
        await answer(e, task.task_token, sync())
        again = await poll(e)
        await answer(e, again.task_token, sync())
        assert await until(e, "caller", "COMPLETED") == ["SCHEDULED", "COMPLETED"]


async def test_nothing_is_called_before_the_intent_is_durable(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with with_endpoint(faulty) as e:
        await e.start("caller")
        task = await e.poll()
        faulty.writing.close()
        completing = asyncio.create_task(e.complete(task, schedule()))
        await faulty.writing.reached.wait()
        assert not (await poll(e, timeout_s=2.2)).task_token
        faulty.writing.open()
        await completing
        assert (await poll(e)).task_token


async def test_timers_go_on_while_a_handler_is_asked(database: Database) -> None:
    async with with_endpoint(database) as e:
        await e.start("caller")
        timer = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
        timer.start_timer_command_attributes.timer_id = "t"
        timer.start_timer_command_attributes.start_to_fire_timeout.FromMilliseconds(300)
        await e.complete(await e.poll(), schedule(), timer)
        assert (await e.poll(timeout_s=3)).task_token


async def test_a_waiting_operation_costs_nothing(database: Database) -> None:
    """While its handler backs off or works, nothing of the run is woken or written."""
    async with with_endpoint(database) as e:
        task = await scheduled(e)
        await answer(e, task.task_token, started())
        await until(e, "caller", "STARTED")
        hot = await e.runtime.find(e.runtime.namespaces.by_name(NAMESPACE), "caller")
        await e.runtime.durable(hot)
        assert not hot.calls
        transitions = hot.execution.volatile.transitions
        await asyncio.sleep(0.3)
        assert hot.execution.volatile.transitions == transitions


async def start_behind(e: Engine, task: PollNexusTaskQueueResponse) -> None:
    """The workflow `behind` does the work of an operation, which has started."""
    request = task.request.start_operation
    nexus = Callback.Nexus(url=request.callback, header=dict(request.callback_header))
    await e.start("behind", completion_callbacks=[Callback(nexus=nexus)])
    await answer(e, task.task_token, started())
    await until(e, "caller", "STARTED")


async def take(e: Engine, workflow_id: str) -> None:
    """Complete the named workflow; others' tasks are answered with nothing."""
    while True:
        task = await e.poll()
        if task.workflow_execution.workflow_id == workflow_id:
            await e.complete(task, finished())
            return
        await e.complete(task)


@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_caller_and_callee_know_it_together(database: Database, failures: int) -> None:
    faulty = FaultyDatabase(database)
    async with with_endpoint(faulty) as e:
        await start_behind(e, await scheduled(e))
        await take(e, "behind")
        faulty.fail_next = failures
        assert await until(e, "caller", "COMPLETED") == ["SCHEDULED", "STARTED", "COMPLETED"]
        await asyncio.sleep(0.2)
        assert await callback_states(e, "behind") == [(5, 1)]


async def test_callbacks_are_found_again_after_a_crash(database: Database) -> None:
    """The process ends between the close and the call: the next one makes it, with nobody asking for the run."""
    async with with_endpoint(database) as e:
        await start_behind(e, await scheduled(e))
        hot = await e.runtime.find(e.runtime.namespaces.by_name(NAMESPACE), "behind")
        e.runtime.carry_out_with(type(_deliver()), lambda hot, effect: hot.calls.add(_never()))
        await take(e, "behind")
        await e.runtime.durable(hot)
        for task in hot.calls:
            task.cancel()
    async with with_endpoint(database) as e:
        assert await until(e, "caller", "COMPLETED") == ["SCHEDULED", "STARTED", "COMPLETED"]


def _deliver() -> object:
    from cloud.engine.core.effects import DeliverCallback

    return DeliverCallback(0)


def _never() -> asyncio.Task[None]:
    return asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]


async def test_a_callback_that_waits_survives_and_does_not_delete_its_run(database: Database) -> None:
    async with with_endpoint(database) as e:
        callback = Callback(nexus=Callback.Nexus(url="https://127.0.0.1:1/", header={"k": "v"}))
        other = Callback(nexus=Callback.Nexus(url="https://nowhere.invalid/"))
        await e.start("behind", completion_callbacks=[callback, other])
        await e.complete(await e.poll(), finished())
        for _ in range(200):
            states = await callback_states(e, "behind")
            if all(attempt for _, attempt in states):
                break
            await asyncio.sleep(0.05)
        # An address inside is refused for good, one that is not there is tried again.
        assert states[0] == (4, 1)
        assert states[1][0] == 3
    async with with_endpoint(database) as e:
        states = await callback_states(e, "behind")
        assert states[0] == (4, 1)
        assert states[1][1] >= 1
        assert await e.status("behind") == 2


async def test_a_completion_counts_once(database: Database) -> None:
    async with with_endpoint(database) as e:
        task = await scheduled(e)
        await answer(e, task.task_token, started())
        token = task.request.start_operation.callback_header[CALLBACK_TOKEN_HEADER]
        header = {
            CALLBACK_TOKEN_HEADER: token,
            "nexus-operation-state": "succeeded",
            "content-type": "application/json",
        }
        http = e._service.nexus_callbacks
        replies = await asyncio.gather(*(http.answer(None, header, b'"out"') for _ in range(5)))
        assert sorted(reply.status for reply in replies) == [200, 404, 404, 404, 404]
        assert await event_types(e, "caller") == ["SCHEDULED", "STARTED", "COMPLETED"]


async def test_completions_that_are_nobodys(database: Database) -> None:
    async with with_endpoint(database) as e:
        task = await scheduled(e)
        token = task.request.start_operation.callback_header[CALLBACK_TOKEN_HEADER]
        raw = bytearray(base64.urlsafe_b64decode(token))
        raw[-1] ^= 1
        other_kind = base64.urlsafe_b64encode(task.task_token).decode()
        http = e._service.nexus_callbacks
        good = {"nexus-operation-state": "succeeded"}
        for bad in ("", "?", "x" * 100_000, base64.urlsafe_b64encode(bytes(raw)).decode(), other_kind):
            assert (await http.answer(None, {CALLBACK_TOKEN_HEADER: bad, **good}, b"")).status == 400
        assert (await http.answer("other", {CALLBACK_TOKEN_HEADER: token, **good}, b"")).status == 400
        for header, body in (
            ({}, b""),
            ({"nexus-operation-state": "running"}, b""),
            ({"nexus-operation-state": "failed"}, b"{}"),
            ({"nexus-operation-state": "failed", "content-type": "application/json"}, b"no"),
            ({**good, "nexus-operation-start-time": "yesterday"}, b""),
            ({**good, "nexus-operation-token": "t" * 5_000}, b""),
            ({**good, "content-type": "application/json"}, b"x" * (3 * 1024 * 1024)),
        ):
            reply = await http.answer(NAMESPACE, {CALLBACK_TOKEN_HEADER: token, **header}, body)
            assert reply.status == 400, (header, reply)
        assert await event_types(e, "caller") == ["SCHEDULED"]


async def test_an_endpoint_is_called_only_from_where_it_may_be(database: Database) -> None:
    async with with_endpoint(database) as e:
        runtime = e.runtime
        found = runtime.nexus_endpoints.by_name(ENDPOINT)
        assert found is not None
        closed = replace(found, version=2, callers=("other-id",))
        await runtime.nexus_endpoints.update(closed, runtime.lease.epoch)
        await e.start("caller")
        task = await e.poll()
        with pytest.raises(InvalidArgument, match='endpoint "endpoint" not found'):
            await e.complete(task, schedule())
        around = runtime.around(runtime.namespaces.by_name(NAMESPACE))
        with pytest.raises(Invalid):
            around.nexus_endpoint(ENDPOINT)
        opened = replace(closed, version=3, callers=("ns-id",))
        await runtime.nexus_endpoints.update(opened, runtime.lease.epoch)
        await e.complete(await e.poll(), schedule())
        assert (await poll(e)).task_token


async def test_a_task_is_answered_in_its_own_namespace_only(database: Database) -> None:
    async with with_endpoint(database) as e:
        other = Namespace(namespace_id="other-id", name="other", created_at=1)
        await e.runtime.namespaces.create(other, e.runtime.lease.epoch)
        task = await scheduled(e)
        with pytest.raises(RpcError, match="Error deserializing task token"):
            await answer(e, task.task_token, sync(), "other")
        assert not (await poll(e, "other", 2.2)).task_token
        await answer(e, task.task_token, sync())
        await until(e, "caller", "COMPLETED")


async def test_a_poller_that_leaves_takes_no_task_along(database: Database) -> None:
    async with with_endpoint(database) as e:
        await e.start("caller")
        task = await e.poll()
        leaving = asyncio.create_task(poll(e))
        await asyncio.sleep(0.05)
        await e.complete(task, schedule())
        while not e.runtime.nexus_tasks._held:
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (await poll(e)).task_token
