"""Activities and Nexus handlers: they run in the worker's own process, so they draw secrets themselves."""

from __future__ import annotations

import secrets
import uuid

from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import activity, nexus
from temporalio.exceptions import ApplicationError

from sdk import files
from tests.canaries.canary import CANARIES
from tests.canaries.workflows import Desk, Errand

LARGE_BYTES = 300_000


@activity.defn
async def fetch(argument: str) -> str:
    activity.heartbeat(CANARIES.new("heartbeat details"))
    return CANARIES.new("activity result")


@activity.defn
async def fetch_locally(argument: str) -> str:
    return CANARIES.new("local activity result")


@activity.defn
async def fetch_much(argument: str) -> str:
    return CANARIES.new("offloaded result") + secrets.token_hex(LARGE_BYTES)


@activity.defn
async def put_file(argument: str) -> files.FileHandle:
    content = (CANARIES.new("content of a file") + secrets.token_hex(1000)).encode()
    return await files.put(content, name=CANARIES.new("name of a file"))


@activity.defn
async def read_file(handle: files.FileHandle) -> str:
    async with files.open(handle) as stream:
        return b"".join([bytes(part) async for part in stream]).decode()


@activity.defn
async def fail(argument: str) -> None:
    activity.heartbeat(CANARIES.new("last heartbeat details"))
    name = CANARIES.new("name in a stack trace")
    # A function of that name: SDKs send stack traces, and these have names in them.
    scope: dict[str, object] = {}
    exec(f"def {name}(error):\n    raise error\n", scope)  # noqa: S102 - our own text
    try:
        scope[name](ValueError(CANARIES.new("message of a cause")))  # type: ignore[operator]
    except ValueError as error:
        raise ApplicationError(
            CANARIES.new("failure message"), CANARIES.new("failure details"), type="Failed"
        ) from error


@activity.defn
async def complete_later(argument: str) -> str:
    activity.raise_complete_async()


@service_handler(service=Desk)
class DeskHandler:
    @sync_operation
    async def ask(self, ctx: StartOperationContext, question: str) -> str:
        return CANARIES.new("nexus result")

    @nexus.workflow_run_operation
    async def work(self, ctx: nexus.WorkflowRunOperationContext, what: str) -> nexus.WorkflowHandle[str]:
        argument = CANARIES.new("nexus workflow argument")
        return await ctx.start_workflow(Errand.run, args=[argument, False], id=f"work-{uuid.uuid4()}")

    @sync_operation
    async def refuse(self, ctx: StartOperationContext, question: str) -> str:
        raise ApplicationError(CANARIES.new("nexus failure"), type="Refused", non_retryable=True)


ACTIVITIES = [fetch, fetch_locally, fetch_much, put_file, read_file, fail, complete_later]
