"""Nexus over HTTP from outside: operations that a client starts and cancels by a task queue or an endpoint, without gRPC."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import temporalio.api.nexus.v1 as nexus
from temporalio.api.failure.v1 import CanceledFailureInfo, Failure
from yarl import URL

from . import commands as c
from .conftest import Server
from .nexus import (
    NexusTask,
    answer,
    cancelling,
    create_endpoint,
    external_target,
    fail_nexus,
    handler_failure,
    operation_failed,
    poll_nexus,
    started,
    sync,
)
from .raw import Scenario
from .snapshots import expect, grouped

SHOWN = ("content-type", "nexus-", "temporal-nexus-failure")
ABSENT = "00000000-0000-4000-8000-000000000000"


class Caller:
    """Calls of the scenario's queue, and of endpoints."""

    def __init__(self, s: Scenario, base: str, session: aiohttp.ClientSession) -> None:
        self.s = s
        self.base = base
        self.session = session

    def by_queue(self, *parts: str, namespace: str = "") -> str:
        """The path of an operation by namespace and queue."""
        names = "/".join(quote(part, safe="") for part in parts)
        where = f"namespaces/{namespace or self.s.namespace}/task-queues/{quote(self.s.tq, safe='')}"
        return f"{self.base}/{where}/nexus-services/{names}"

    def by_endpoint(self, endpoint_id: str, *parts: str) -> str:
        """The path of an operation by endpoint."""
        names = "/".join(quote(part, safe="") for part in parts)
        return f"{self.base}/nexus/endpoints/{endpoint_id}/services/{names}"

    async def post(self, url: str, body: bytes = b"", **header: str) -> str:
        """The answer: status, headers that tell something, body."""
        named = {key.replace("_", "-"): text for key, text in header.items()}
        async with self.session.post(URL(url, encoded=True), data=body, headers=named) as reply:
            shown = sorted(key.lower() for key in reply.headers if key.lower().startswith(SHOWN))
            lines = [str(reply.status), *(f"{key}: {reply.headers[key]}" for key in shown)]
            content = (await reply.read()).decode()
            with contextlib.suppress(ValueError):
                content = json.dumps(json.loads(content), sort_keys=True)
            return self.s.names.clean("\n".join([*lines, content]).strip())


@pytest.fixture
async def caller(s: Scenario, server: Server) -> AsyncIterator[Caller]:
    if not server.http_address:
        pytest.skip("TACIT_SCENARIOS_HTTP_ADDRESS says where the HTTP API is")
    async with aiohttp.ClientSession() as session:
        yield Caller(s, f"http://{server.http_address}", session)


JSON = {"content_type": "application/json"}


async def told(s: Scenario, calling: "asyncio.Future[str]", how: Any) -> str:
    """The answer to a call that a worker answers, or fails."""
    task = await poll_nexus(s)
    if isinstance(how, nexus.Response):
        await answer(s, task, how)
    elif isinstance(how, Failure):
        await fail_nexus(s, task, how)
    else:
        await fail_nexus(s, task, error=how)
    return await calling


async def test_what_a_worker_is_sent(s: Scenario, caller: Caller) -> None:
    url = caller.by_queue("svc", "op") + "?callback=http%3A%2F%2Fx%2Fcb"
    calling = asyncio.ensure_future(
        caller.post(
            url,
            b'"in"',
            **JSON,
            nexus_request_id="once",
            nexus_callback_secret="s",
            nexus_link='<temporal:///namespaces/n/workflows/w/r/history>; type="temporal.api.common.v1.Link.WorkflowEvent"',
            operation_timeout="60s",
            some_key="some value",
        )
    )
    task: NexusTask = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.start_operation.service=svc
                  request.start_operation.operation=op request.start_operation.request_id=once
                  request.start_operation.callback=http://x/cb request.start_operation.payload='in'
                  request.start_operation.callback_header={secret: s}
                  request.start_operation.links=[{url=temporal:///namespaces/n/workflows/w/r/history
                  type=temporal.api.common.v1.Link.WorkflowEvent}] request.capabilities={}
        """,
        hide=("request.header",),
    )
    header = task.request.header
    shown = ("some-key", "nexus-callback-secret", "content-type", "nexus-request-id")
    expect(
        "\n".join(f"{key}: {header[key]}" for key in shown if key in header),
        """
            some-key: some value
            nexus-request-id: once
        """,
    )
    await answer(
        s,
        task,
        sync(
            "out",
            nexus.Link(
                url="temporal:///namespaces/n/workflows/w/r/history",
                type="temporal.api.common.v1.Link.WorkflowEvent",
            ),
        ),
    )
    expect(
        await calling,
        """
            200
            content-type: application/json
            nexus-link: <temporal:///namespaces/n/workflows/w/r/history>;
                  type="temporal.api.common.v1.Link.WorkflowEvent"
            "out"
        """,
    )


async def test_answers(s: Scenario, caller: Caller) -> None:
    outcomes: dict[str, str] = {}
    error = nexus.HandlerError(
        error_type="BAD_REQUEST", failure=nexus.Failure(message="older form", metadata={"k": "v"})
    )
    unsuccessful = nexus.UnsuccessfulOperationError(
        operation_state="failed", failure=nexus.Failure(message="older form")
    )
    for case, how in {
        "done": sync("out"),
        "started": started("token"),
        "failed": operation_failed(c.failure("bad")),
        "cancelled": operation_failed(
            Failure(message="canceled", canceled_failure_info=CanceledFailureInfo())
        ),
        "failed, older form": nexus.Response(
            start_operation=nexus.StartOperationResponse(operation_error=unsuccessful)
        ),
        "handler fails": handler_failure("INTERNAL"),
        "handler refuses": handler_failure("BAD_REQUEST", cause=c.failure("cause")),
        "handler is busy": handler_failure("RESOURCE_EXHAUSTED"),
        "handler fails, older form": error,
        "empty": nexus.Response(),
    }.items():
        calling = asyncio.ensure_future(caller.post(caller.by_queue("svc", "op"), b'"in"', **JSON))
        outcomes[case] = await told(s, calling, how)
    expect(
        grouped(outcomes),
        """
            200 | content-type: application/json | "out"
              done
            201 | content-type: application/json | {"state": "running", "token": "token"}
              started
            424 | content-type: application/json | nexus-operation-state: failed |
                  temporal-nexus-failure-source: worker | {"details": {"applicationFailureInfo": {"type":
                  "Boom"}}, "message": "bad", "metadata": {"type": "temporal.api.failure.v1.Failure"}}
              failed
            424 | content-type: application/json | nexus-operation-state: canceled |
                  temporal-nexus-failure-source: worker | {"details": {"canceledFailureInfo": {}}, "message":
                  "canceled", "metadata": {"type": "temporal.api.failure.v1.Failure"}}
              cancelled
            424 | content-type: application/json | nexus-operation-state: failed |
                  temporal-nexus-failure-source: worker | {"message": "older form"}
              failed, older form
            500 | content-type: application/json | temporal-nexus-failure-source: worker | {"details":
                  {"type": "INTERNAL"}, "message": "not now", "metadata": {"type": "nexus.HandlerError"}}
              handler fails
            400 | content-type: application/json | temporal-nexus-failure-source: worker | {"details":
                  {"applicationFailureInfo": {"type": "Boom"}}, "message": "cause", "metadata": {"type":
                  "temporal.api.failure.v1.Failure"}}
              handler refuses
            429 | content-type: application/json | temporal-nexus-failure-source: worker | {"details":
                  {"type": "RESOURCE_EXHAUSTED"}, "message": "not now", "metadata": {"type":
                  "nexus.HandlerError"}}
              handler is busy
            400 | content-type: application/json | temporal-nexus-failure-source: worker | {"message": "older
                  form", "metadata": {"k": "v"}}
              handler fails, older form
            500 | content-type: application/json | temporal-nexus-failure-source: worker | {"details":
                  {"type": "INTERNAL"}, "message": "empty outcome", "metadata": {"type":
                  "nexus.HandlerError"}}
              empty
        """,
    )


async def test_failures_as_temporals_own(s: Scenario, caller: Caller) -> None:
    outcomes: dict[str, str] = {}
    for case, how in {
        "failed": operation_failed(c.failure("bad")),
        "handler refuses": handler_failure("BAD_REQUEST", cause=c.failure("cause")),
    }.items():
        calling = asyncio.ensure_future(
            caller.post(caller.by_queue("svc", "op"), b'"in"', **JSON, temporal_nexus_failure_support="true")
        )
        outcomes[case] = await told(s, calling, how)
    expect(
        grouped(outcomes),
        """
            424 | content-type: application/json | nexus-operation-state: failed |
                  temporal-nexus-failure-source: worker | {"cause": {"details": {"applicationFailureInfo":
                  {"type": "Boom"}}, "message": "bad", "metadata": {"type":
                  "temporal.api.failure.v1.Failure"}}, "details": {"state": "failed"}, "message": "operation
                  error", "metadata": {"type": "nexus.OperationError", "unwrap-error": "true"}}
              failed
            400 | content-type: application/json | temporal-nexus-failure-source: worker | {"cause":
                  {"details": {"applicationFailureInfo": {"type": "Boom"}}, "message": "cause", "metadata":
                  {"type": "temporal.api.failure.v1.Failure"}}, "details": {"type": "BAD_REQUEST"}, "message":
                  "not now", "metadata": {"type": "nexus.HandlerError"}}
              handler refuses
        """,
    )


async def test_cancel(s: Scenario, caller: Caller) -> None:
    outcomes: dict[str, str] = {}
    url = caller.by_queue("svc", "op", "cancel")
    calling = asyncio.ensure_future(caller.post(url, nexus_operation_token="token", some_key="value"))
    task = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.cancel_operation.service=svc
                  request.cancel_operation.operation=op request.cancel_operation.operation_id=token
                  request.cancel_operation.operation_token=token request.capabilities={}
        """,
        hide=("request.header",),
    )
    await answer(s, task, cancelling())
    outcomes["taken"] = await calling
    calling = asyncio.ensure_future(caller.post(url, nexus_operation_token="token"))
    outcomes["refused"] = await told(s, calling, handler_failure("NOT_FOUND", "no such operation"))
    outcomes["without a token"] = await caller.post(url)
    expect(
        grouped(outcomes),
        """
            202
              taken
            404 | content-type: application/json | temporal-nexus-failure-source: worker | {"details":
                  {"type": "NOT_FOUND"}, "message": "no such operation", "metadata": {"type":
                  "nexus.HandlerError"}}
              refused
            400 | content-type: application/json | {"details": {"type": "BAD_REQUEST"}, "message": "missing
                  operation token", "metadata": {"type": "nexus.HandlerError"}}
              without a token
        """,
    )


async def test_by_endpoint(s: Scenario, caller: Caller) -> None:
    endpoint = await create_endpoint(s)
    url = caller.by_endpoint(endpoint.id, "svc", "op")
    for _ in range(50):  # until the server knows it everywhere
        calling = asyncio.ensure_future(caller.post(url, b'"in"', **JSON))
        done, _ = await asyncio.wait({calling}, timeout=0.2)
        if not done:
            break
    task = await poll_nexus(s)
    s.expect_message(
        task,
        """
            task_token=<set> request.scheduled_time=<time> request.start_operation.service=svc
                  request.start_operation.operation=op request.start_operation.payload='in'
                  request.endpoint=ep request.capabilities={}
        """,
        hide=("request.header", "request.start_operation.request_id"),
    )
    await answer(s, task, sync("out"))
    expect(
        await calling,
        """
            200
            content-type: application/json
            "out"
        """,
    )


async def test_bad_calls(s: Scenario, caller: Caller) -> None:
    outside = await create_endpoint(s, target=external_target("http://localhost:1/"))
    outcomes: dict[str, str] = {}
    for case, url in {
        "unknown namespace": caller.by_queue("svc", "op", namespace="nowhere"),
        "unknown endpoint": caller.by_endpoint(ABSENT, "svc", "op"),
        "an endpoint behind a URL": caller.by_endpoint(outside.id, "svc", "op"),
        "no operation": caller.by_queue("svc"),
        "too much behind": caller.by_queue("svc", "op", "other"),
    }.items():
        outcomes[case] = await caller.post(url, b'"in"', **JSON)
    outcomes["a payload that is none"] = await caller.post(
        caller.by_queue("svc", "op"), b"\xff\xff", content_type="application/x-temporal-payload"
    )
    outcomes["too large"] = await caller.post(
        caller.by_queue("svc", "op"), b'"' + b"x" * (2 * 1024 * 1024) + b'"', **JSON
    )
    outcomes["a bad timeout"] = await caller.post(
        caller.by_queue("svc", "op"), b'"in"', **JSON, request_timeout="soon"
    )
    expect(
        grouped({case: re.sub(r"[0-9a-f-]{36}", "<id>", text) for case, text in outcomes.items()}),
        r"""
            404 | content-type: application/json | {"details": {"type": "NOT_FOUND"}, "message": "namespace
                  not found: \"nowhere\"", "metadata": {"type": "nexus.HandlerError"}}
              unknown namespace
            404 | content-type: application/json | nexus-request-retryable: false | {"details":
                  {"retryableOverride": false, "type": "NOT_FOUND"}, "message": "nexus endpoint not found",
                  "metadata": {"type": "nexus.HandlerError"}}
              unknown endpoint
            400 | content-type: application/json | {"details": {"type": "BAD_REQUEST"}, "message": "invalid
                  endpoint target", "metadata": {"type": "nexus.HandlerError"}}
              an endpoint behind a URL
            404 | content-type: application/json | {"details": {"type": "NOT_FOUND"}, "message": "not found",
                  "metadata": {"type": "nexus.HandlerError"}}
              no operation, too much behind
            400 | content-type: application/json | {"details": {"type": "BAD_REQUEST"}, "message": "invalid
                  input", "metadata": {"type": "nexus.HandlerError"}}
              a payload that is none, too large
            400 | content-type: application/json | {"details": {"type": "BAD_REQUEST"}, "message": "invalid
                  request timeout header", "metadata": {"type": "nexus.HandlerError"}}
              a bad timeout
        """,
    )


async def test_nobody_answers(s: Scenario, caller: Caller) -> None:
    expect(
        await caller.post(caller.by_queue("svc", "op"), b'"in"', **JSON, request_timeout="1500ms"),
        """
            520
            content-type: application/json
            temporal-nexus-failure-source: worker
            {"details": {"type": "UPSTREAM_TIMEOUT"}, "message": "upstream timeout", "metadata": {"type":
                  "nexus.HandlerError"}}
        """,
    )
