"""Standalone Nexus operations as an application sees them: the official SDK's client and service handlers, unmodified; and the CLI."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import nexus, workflow
from temporalio.client import NexusOperationFailureError, NexusOperationHandle
from temporalio.common import NexusOperationExecutionStatus, NexusOperationIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    NexusOperationAlreadyStartedError,
    TerminatedError,
)

from .nexus import create_endpoint
from .raw import Scenario
from .workers import sdk_worker

SHORT = timedelta(seconds=30)


@nexusrpc.service
class Greeting:
    greet: nexusrpc.Operation[str, str]
    refuse: nexusrpc.Operation[str, str]
    work: nexusrpc.Operation[str, str]


@workflow.defn
class Work:
    @workflow.run
    async def run(self, what: str) -> str:
        if what.startswith("wait"):
            await asyncio.sleep(3600)
        return f"did {what}"


@service_handler(service=Greeting)
class GreetingHandler:
    @sync_operation
    async def greet(self, ctx: StartOperationContext, name: str) -> str:
        return f"hello {name}"

    @sync_operation
    async def refuse(self, ctx: StartOperationContext, name: str) -> str:
        raise ApplicationError(f"not {name}", type="Refused", non_retryable=True)

    @nexus.workflow_run_operation
    async def work(self, ctx: nexus.WorkflowRunOperationContext, what: str) -> nexus.WorkflowHandle[str]:
        return await ctx.start_workflow(Work.run, what, id=f"work-{ctx.request_id}")


async def test_results_and_failures(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    client = s.client.create_nexus_client(service=Greeting, endpoint=endpoint.spec.name)
    async with sdk_worker(s, workflows=[Work], nexus_service_handlers=[GreetingHandler()]):
        assert await client.execute_operation(Greeting.greet, "you", id=s.id("a")) == "hello you"
        handle = await client.start_operation(Greeting.work, "much", id=s.id("b"), summary="work")
        assert await handle.result() == "did much"
        described = await handle.describe()
        assert described.status == NexusOperationExecutionStatus.COMPLETED
        assert described.operation == "work"
        with pytest.raises(NexusOperationFailureError) as caught:
            await client.execute_operation(Greeting.refuse, "you", id=s.id("c"))
        assert caught.value.cause is not None
        assert "not you" in str(caught.value.cause.__cause__)
        with pytest.raises(NexusOperationAlreadyStartedError):
            await client.start_operation(
                Greeting.greet,
                "you",
                id=s.id("a"),
                id_reuse_policy=NexusOperationIDReusePolicy.REJECT_DUPLICATE,
            )


async def _started(handle: NexusOperationHandle[str]) -> None:
    for _ in range(200):
        if (await handle.describe()).operation_token:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it was not started")


async def test_cancellation_and_termination(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    client = s.client.create_nexus_client(service=Greeting, endpoint=endpoint.spec.name)
    async with sdk_worker(s, workflows=[Work], nexus_service_handlers=[GreetingHandler()]):
        handle = await client.start_operation(
            Greeting.work, "wait", id=s.id("a"), schedule_to_close_timeout=SHORT
        )
        await _started(handle)
        await handle.cancel(reason="enough")
        with pytest.raises(NexusOperationFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        handle = await client.start_operation(Greeting.work, "wait", id=s.id("b"))
        await handle.terminate(reason="now")
        with pytest.raises(NexusOperationFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, TerminatedError)


async def test_lists_and_counts(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    client = s.client.create_nexus_client(service=Greeting, endpoint=endpoint.spec.name)
    async with sdk_worker(s, workflows=[Work], nexus_service_handlers=[GreetingHandler()]):
        for number in range(3):
            await client.execute_operation(Greeting.greet, "you", id=s.id(str(number)))
        query = f"Endpoint = '{endpoint.spec.name}' AND ExecutionStatus = 'Completed'"
        for _ in range(100):
            found = [each.operation_id async for each in s.client.list_nexus_operations(query)]
            if len(found) == 3:
                break
            await asyncio.sleep(0.05)
        assert sorted(found) == [s.id(str(number)) for number in range(3)]
        assert (await s.client.count_nexus_operations(query)).count == 3


async def test_cli(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    address = s.client.service_client.config.target_host

    async def temporal(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "temporal"),
            *arguments,
            "--address",
            address,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    async with sdk_worker(s, workflows=[Work], nexus_service_handlers=[GreetingHandler()]):
        of = ("--endpoint", endpoint.spec.name, "--service", "Greeting", "--operation", "greet")
        result = await temporal(
            *(
                "nexus",
                "operation",
                "execute",
                "--operation-id",
                s.id("cli"),
                *of,
                "--input",
                '"you"',
                "-o",
                "json",
            )
        )
        assert "hello you" in result
        shown = json.loads(
            await temporal("nexus", "operation", "describe", "--operation-id", s.id("cli"), "-o", "json")
        )
        assert "COMPLETED" in json.dumps(shown).upper()
