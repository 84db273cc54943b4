"""Nothing that was decoded is handed out without a line in the audit log: every way on which a response is decoded."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowTaskQueueResponse,
)
from temporalio.client import WorkflowQueryFailedError

import codec
import sdk
from cloud.app.development import Development
from cloud.rpc import RpcError
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.routes import Route, Routes
from cloud.sidecar.setting_up import routes_of
from cloud.sidecar.sidecar import Sidecar
from cloud.transport.calls import CallParts, ListenerKind
from codec.audit_trail import AuditFailed
from codec.proxy.payloads import PayloadChain
from tests.sidecar.conftest import HOST, Proxy, Start
from tests.sidecar.test_sidecar import Shouter, run_one, worker

METHOD = "ExecuteMultiOperation"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"words"')


class Lines(AuditLog):
    """Keeps the lines, but for the first so many, which fail."""

    def __init__(self, failing: int = 0) -> None:
        super().__init__(None)
        self.failing = failing
        self.kept: list[dict[str, Any]] = []

    async def decoded(self, **line: Any) -> None:
        if self.failing:
            self.failing -= 1
            raise AuditFailed("no space left")
        self.kept.append(line)

    @property
    def payloads(self) -> int:
        return sum(line["payloads"] for line in self.kept)


class Answering:
    """A service that answers `response`, and remembers what it is told."""

    def __init__(self, response: Message) -> None:
        self.response = response
        self.told: list[str] = []

    async def call(self, path: str, *_: Any, timed: bool = False) -> bytes:
        self.told.append(path.rpartition("/")[2])
        return self.response.SerializeToString() if path.endswith(METHOD) else b""


@pytest.fixture
def route(make_profile: Callable[..., sdk.Profile]) -> Route:
    return routes_of([make_profile("default", "127.0.0.1:1", refuse_plaintext=True)]).first


async def both(chain: PayloadChain, *, task_with: Payload = PLAIN) -> ExecuteMultiOperationResponse:
    """A response with a task that nobody polled for, and the outcome of an update beside it."""
    response = ExecuteMultiOperationResponse()
    task: PollWorkflowTaskQueueResponse = response.responses.add().start_workflow.eager_workflow_task
    task.task_token = b"token"
    sealed, outcome = await chain.encode([task_with, PLAIN])
    started = task.history.events.add().workflow_execution_started_event_attributes
    started.input.payloads.append(sealed)
    response.responses.add().update_workflow.outcome.success.payloads.append(outcome)
    return response


async def asked(
    route: Route, response: Message, audit: AuditLog
) -> tuple[ExecuteMultiOperationResponse, list[str]]:
    service: Any = Answering(response)
    sidecar = Sidecar(Routes([dataclasses.replace(route, upstream=service)]), audit=audit)
    [method] = [one for one in sidecar.methods.values() if one.name == METHOD]
    request = ExecuteMultiOperationRequest(namespace="default")
    try:
        data = await sidecar.answer(
            method, request.SerializeToString(), CallParts(listener=ListenerKind.DEVELOPMENT)
        )
    finally:
        await route.upstream.close()
    return ExecuteMultiOperationResponse.FromString(data), service.told


def outcome_of(response: ExecuteMultiOperationResponse) -> Payload:
    return response.responses[1].update_workflow.outcome.success.payloads[0]


async def test_what_is_beside_a_task_that_fails(route: Route) -> None:
    other = PayloadChain(codec.EncryptionCodec(codec.KeyRing.create("default")), None, encrypts=True)
    [foreign] = await other.encode([PLAIN])
    lines = Lines()
    answer, told = await asked(route, await both(route.chain, task_with=foreign), lines)
    assert not answer.responses[0].start_workflow.HasField("eager_workflow_task")
    assert "RespondWorkflowTaskFailed" in told
    assert outcome_of(answer) == PLAIN
    [line] = lines.kept
    assert (line["method"], line["payloads"], len(line["key_ids"])) == (METHOD, 1, 1)


async def test_a_line_that_fails_once_is_written_before_anything_is_handed_out(route: Route) -> None:
    """What was decoded for it is decoded anew from what came, and never twice."""
    lines = Lines(failing=1)
    answer, told = await asked(route, await both(route.chain), lines)
    assert told == [METHOD]
    assert outcome_of(answer) == PLAIN
    task = answer.responses[0].start_workflow.eager_workflow_task
    started = task.history.events[0].workflow_execution_started_event_attributes
    assert list(started.input.payloads) == [PLAIN]
    assert lines.payloads == 2


async def test_lines_that_all_fail(route: Route) -> None:
    with pytest.raises(RpcError, match="no space left"):
        await asked(route, await both(route.chain), Lines(failing=10))


async def test_a_failure_in_an_errors_details(proxy: Proxy) -> None:
    client = await proxy.connect()
    async with worker(client):
        handle = await client.start_workflow(
            Shouter.run, args=["x", True], id=f"w-{uuid.uuid4()}", task_queue="q"
        )
        with pytest.raises(WorkflowQueryFailedError, match="secret query failure"):
            await handle.query(Shouter.ask, "fail")
        await handle.signal(Shouter.go)
        await handle.result()
    lines = [line for line in proxy.audited() if line["method"] == "QueryWorkflow"]
    assert [(line["payloads"], len(line["key_ids"])) for line in lines] == [(1, 1)]
    assert lines[0]["peer"].startswith("ipv4:")


async def test_a_failure_that_can_not_be_written_down_stays_encrypted(
    service: Development, make_profile: Callable[..., sdk.Profile], start_proxy: Start
) -> None:
    class Queries(AuditLog):
        async def decoded(self, **line: Any) -> None:
            if line["method"] == "QueryWorkflow":
                raise AuditFailed("no space left")

    proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"), audit=Queries(None))
    client = await proxy.connect()
    async with worker(client):
        handle = await client.start_workflow(
            Shouter.run, args=["x", True], id=f"w-{uuid.uuid4()}", task_queue="q"
        )
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Shouter.ask, "fail")
        assert "secret" not in str(failed.value)
        await handle.terminate()


async def test_keys_of_what_is_in_the_object_store(
    service: Development,
    make_profile: Callable[..., sdk.Profile],
    start_proxy: Start,
    ring: Path,
    tmp_path: Path,
) -> None:
    store = {"object_store": (tmp_path / "objects").as_uri(), "offload_threshold_bytes": 1}
    proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}", **store))
    client = await proxy.connect()
    async with worker(client):
        assert await run_one(client) == "SECRET"
    assert proxy.audited()
    assert {tuple(line["key_ids"]) for line in proxy.audited()} == {(codec.load_key_ring(ring).active.id,)}
