"""The official SDK behind an enforcing guard, on the real server: with a codec nothing of it is refused.

These are the ways by which the SDK sends payloads and messages that no codec sees: markers of patches and local
activities, failures of the core and of the server that a workflow passes on, reports of a worker that stops.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    Client,
    HeaderCodecBehavior,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import codec
from cloud.gateway import DevelopmentDirectory, Gateway, development_listener
from tenancy.access import GuardMode, NamespaceAccess
from tests.gateway.conftest import Start
from tests.gateway.forwarding import ForwardingCell
from tests.processes import Server, temporal_dev

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("temporal-server")]

ONCE = RetryPolicy(maximum_attempts=1)
A_SECOND = timedelta(seconds=1)
LONG = timedelta(seconds=30)


@activity.defn
async def shout(word: str) -> str:
    activity.heartbeat(word)
    return word.upper()


@activity.defn
async def fail(word: str) -> str:
    raise ApplicationError(f"secret {word}", word, non_retryable=True)


@activity.defn
async def hang(word: str) -> str:
    activity.heartbeat(word)
    await asyncio.Event().wait()
    return word


@workflow.defn
class Child:
    @workflow.run
    async def run(self, word: str) -> str:
        if word == "hang":
            await workflow.wait_condition(lambda: False)
        if word == "fail":
            raise ApplicationError("secret of a child", word)
        return word


@workflow.defn
class Everything:
    def __init__(self) -> None:
        self._words: list[str] = []

    @workflow.run
    async def run(self, word: str) -> str:
        workflow.patched("a-patch")
        workflow.upsert_memo({"later": word})
        local = await workflow.execute_local_activity(shout, word, start_to_close_timeout=LONG, summary=word)
        normal = await workflow.execute_activity(shout, word, start_to_close_timeout=LONG, summary=word)
        child = await workflow.execute_child_workflow(
            Child.run, word, memo={"m": word}, static_summary=word, static_details=word
        )
        await workflow.wait_condition(lambda: bool(self._words))
        return " ".join([local, normal, child, *self._words])

    @workflow.signal
    async def say(self, word: str) -> None:
        self._words.append(word)

    @workflow.query
    def asked(self, word: str) -> str:
        if word == "fail":
            raise RuntimeError("secret of a query")
        return word

    @workflow.update
    async def changed(self, word: str) -> str:
        if word == "fail":
            raise ApplicationError("secret of an update", word)
        return word

    @changed.validator
    def check(self, word: str) -> None:
        if word == "invalid":
            raise ValueError("secret of a validator")


@workflow.defn
class PassesOn:
    """Fails with what something else failed with."""

    @workflow.run
    async def run(self, how: str) -> None:
        match how:
            case "activity timed out":
                await workflow.execute_activity(hang, how, start_to_close_timeout=A_SECOND, retry_policy=ONCE)
            case "heartbeat timed out":
                await workflow.execute_activity(
                    hang, how, start_to_close_timeout=LONG, heartbeat_timeout=A_SECOND, retry_policy=ONCE
                )
            case "hangs":
                await workflow.execute_activity(hang, how, start_to_close_timeout=LONG)
            case "nobody took it":
                await workflow.execute_activity(
                    hang, how, task_queue="nobody", schedule_to_close_timeout=A_SECOND
                )
            case "activity failed":
                await workflow.execute_activity(fail, how, start_to_close_timeout=LONG)
            case "activity cancelled":
                handle = workflow.start_activity(hang, how, task_queue="nobody", start_to_close_timeout=LONG)
                await workflow.sleep(0.1)
                handle.cancel()
                await handle
            case "local activity timed out":
                await workflow.execute_local_activity(
                    hang, how, start_to_close_timeout=A_SECOND, retry_policy=ONCE
                )
            case "local activity failed":
                await workflow.execute_local_activity(fail, how, start_to_close_timeout=LONG)
            case "child failed":
                await workflow.execute_child_workflow(Child.run, "fail")
            case "child timed out":
                await workflow.execute_child_workflow(Child.run, "hang", run_timeout=A_SECOND)
            case "child cancelled":
                child = await workflow.start_child_workflow(Child.run, "hang")
                child.cancel()
                await child
            case "signal found nobody":
                await workflow.get_external_workflow_handle("nobody").signal("s", how)
            case "cancel found nobody":
                await workflow.get_external_workflow_handle("nobody").cancel()
            case "raised from another":
                raise ApplicationError("secret") from ValueError("inner secret")
            case _:
                raise AssertionError(how)


WAYS = [
    "activity timed out",
    "heartbeat timed out",
    "nobody took it",
    "activity failed",
    "activity cancelled",
    "local activity timed out",
    "local activity failed",
    "child failed",
    "child timed out",
    "child cancelled",
    "signal found nobody",
    "cancel found nobody",
    "raised from another",
]


class EnforcingDirectory(DevelopmentDirectory):
    def namespace(self, name: str) -> NamespaceAccess:
        return dataclasses.replace(super().namespace(name), guard=GuardMode.ENFORCE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = temporal_dev(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def address(server: Server, start: Start) -> AsyncIterator[str]:
    cell = ForwardingCell(server.address)
    gateway = Gateway(EnforcingDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    yield f"127.0.0.1:{await start(development_listener(gateway, port=0))}"
    await cell.close()


@pytest.fixture
async def client(address: str) -> Client:
    ring = codec.KeyRing.create(binding="default")
    converter = DataConverter(
        payload_codec=codec.EncryptionCodec(ring),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    return await Client.connect(
        address, data_converter=converter, header_codec_behavior=HeaderCodecBehavior.CODEC
    )


def worker(client: Client, task_queue: str) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Everything, Child, PassesOn],
        activities=[shout, fail, hang],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


async def test_all_that_an_sdk_does_passes_with_a_codec(client: Client) -> None:
    queue = f"guard-{uuid.uuid4()}"
    async with worker(client, queue):
        handle = await client.start_workflow(
            Everything.run,
            "word",
            id=queue,
            task_queue=queue,
            memo={"m": "secret"},
            static_summary="secret",
            static_details="secret",
        )
        assert await handle.query(Everything.asked, "q") == "q"
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query(Everything.asked, "fail")
        for internal in ("__stack_trace", "__temporal_workflow_metadata"):
            assert await handle.query(internal)
        assert await handle.execute_update(Everything.changed, "u") == "u"
        for word in ("fail", "invalid"):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(Everything.changed, word)
        await handle.signal(Everything.say, "end")
        assert await handle.result() == "WORD WORD word end"


async def test_failures_that_are_passed_on_pass(client: Client) -> None:
    queue = f"guard-{uuid.uuid4()}"

    async def one(way: str) -> str:
        handle = await client.start_workflow(PassesOn.run, way, id=f"{queue} {way}", task_queue=queue)
        with pytest.raises(WorkflowFailureError) as caught:
            await asyncio.wait_for(handle.result(), 20)
        return repr(caught.value.cause)

    async with worker(client, queue):
        causes = await asyncio.gather(*map(one, WAYS))
    assert not [cause for cause in causes if "takes encrypted payloads only" in cause]


async def test_a_worker_that_stops_can_say_so(client: Client) -> None:
    queue = f"guard-{uuid.uuid4()}"

    async def pending(found: Callable[[PendingActivityInfo], bool]) -> None:
        while not any(map(found, (await handle.describe()).raw_description.pending_activities)):
            await asyncio.sleep(0.02)

    async with worker(client, queue):
        handle = await client.start_workflow(PassesOn.run, "hangs", id=queue, task_queue=queue)
        await asyncio.wait_for(pending(lambda a: a.HasField("last_started_time")), 10)
    await asyncio.wait_for(
        pending(lambda a: a.last_failure.message.startswith("Worker is shutting down")), 10
    )
    await handle.terminate()


@pytest.mark.parametrize("what", ["input", "memo", "failure"])
async def test_a_client_without_codec_is_told_what_to_do(address: str, what: str) -> None:
    plain = await Client.connect(address)
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "input": lambda: plain.start_workflow("W", "secret", id="w", task_queue="q"),
        "memo": lambda: plain.start_workflow("W", id="w", task_queue="q", memo={"m": "secret"}),
        "failure": lambda: plain.get_async_activity_handle(task_token=b"t").fail(RuntimeError("secret")),
    }
    with pytest.raises(RPCError) as caught:
        await attempts[what]()
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert "Connect with sdk.connect()" in caught.value.message
    assert "secret" not in caught.value.message
