"""The load of single operations: each in a closed loop, so that a server's CPU is divided by what it really did."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import nexusrpc
from temporalio import workflow
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    WorkflowUpdateStage,
)

ENDPOINT = "benchmarks"
SCHEDULES = 8
"""Few enough that a server keeps up with them: what waits costs too."""

INTERVAL = timedelta(seconds=1)
CALLS_IN_A_RUN = 10

Measured = Callable[[], Awaitable[int]]
"""Does what is measured, and returns how many operations that were."""


@nexusrpc.service
class Greeter:
    greet: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Greeter)
class GreeterHandler:
    @nexusrpc.handler.sync_operation
    async def greet(self, _context: nexusrpc.handler.StartOperationContext, name: str) -> str:
        return f"Hello, {name}!"


@workflow.defn
class Talker:
    """Answers signals, queries and updates until it is ended."""

    def __init__(self) -> None:
        self._heard = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def say(self) -> None:
        self._heard += 1

    @workflow.query
    def heard(self) -> int:
        return self._heard

    @workflow.update
    def ask(self) -> int:
        self._heard += 1
        return self._heard


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        """Done at once: what leads to it is what is measured."""


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        for number in range(CALLS_IN_A_RUN):
            await workflow.execute_child_workflow(Nothing.run, id=f"{workflow.info().workflow_id}/{number}")


@workflow.defn
class Caller:
    @workflow.run
    async def run(self) -> None:
        client = workflow.create_nexus_client(service=Greeter, endpoint=ENDPOINT)
        for _ in range(CALLS_IN_A_RUN):
            await client.execute_operation(Greeter.greet, "world")


WORKFLOWS = [Talker, Nothing, Parent, Caller]


async def prepared(client: Client, operation: str, queue: str, in_flight: int, seconds: float) -> Measured:
    """Set up what `operation` needs on the server; the returned function then does it."""
    if operation == "schedule":
        return await _schedules(client, queue, seconds)
    if operation == "nexus":
        target = EndpointTarget.Worker(namespace=client.namespace, task_queue=queue)
        spec = EndpointSpec(name=ENDPOINT, target=EndpointTarget(worker=target))
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    if operation in {"child", "nexus"}:
        kind = Parent if operation == "child" else Caller

        async def run(_number: int) -> int:
            await client.execute_workflow(kind.run, id=f"{operation}-{uuid.uuid4()}", task_queue=queue)
            return CALLS_IN_A_RUN

        await run(0)
        return lambda: _closed_loop(run, in_flight, seconds)
    talkers = [
        await client.start_workflow(Talker.run, id=f"talker-{uuid.uuid4()}", task_queue=queue)
        for _ in range(in_flight)
    ]

    async def call(number: int) -> int:
        talker = talkers[number]
        if operation == "signal":
            await talker.signal(Talker.say)
        elif operation == "query":
            await talker.query(Talker.heard)
        elif operation == "update":
            await talker.execute_update(Talker.ask)
        else:
            accepted = WorkflowUpdateStage.ACCEPTED
            await talker.start_update(Talker.ask, wait_for_stage=accepted)
        return 1

    await asyncio.gather(*(call(number) for number in range(in_flight)))
    return lambda: _closed_loop(call, in_flight, seconds)


async def _closed_loop(call: Callable[[int], Awaitable[int]], in_flight: int, seconds: float) -> int:
    ends_at = time.monotonic() + seconds
    done = 0

    async def caller(number: int) -> None:
        nonlocal done
        while time.monotonic() < ends_at:
            count = await call(number)
            done += count

    await asyncio.gather(*(caller(number) for number in range(in_flight)))
    return done


async def _schedules(client: Client, queue: str, seconds: float) -> Measured:
    handles = [
        await client.create_schedule(
            f"schedule-{uuid.uuid4()}",
            Schedule(
                action=ScheduleActionStartWorkflow(Nothing.run, id=f"fired-{number}", task_queue=queue),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=INTERVAL)]),
                policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL),
            ),
        )
        for number in range(SCHEDULES)
    ]

    async def fired() -> int:
        return sum([(await handle.describe()).info.num_actions for handle in handles])

    async def wait() -> int:
        before = await fired()
        await asyncio.sleep(seconds)
        count = await fired() - before
        for handle in handles:
            await handle.delete()
        return count

    return wait
