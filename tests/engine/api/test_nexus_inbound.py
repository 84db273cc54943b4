"""Nexus over HTTP from outside: what it keeps out. What it lets through is in tests/scenarios/test_nexus_http.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cloud.engine.api.nexus_inbound_http import HEADER_BYTES_MAX, InboundCall
from cloud.engine.runtime.nexus_endpoints import NexusEndpoint
from tests.engine.api.calling import NAMESPACE, Api

QUEUE = InboundCall(
    namespace=NAMESPACE, task_queue="tq", names=("svc", "op"), callback="", header={}, body=b""
)


async def told(api: Api, call: InboundCall) -> tuple[int, str]:
    """A call's status, and what it is told."""
    reply = await api._service.nexus_inbound.answer(call)
    return reply.status, json.loads(reply.body)["message"]


async def test_an_endpoint_that_names_its_callers_is_not_there(api: Api) -> None:
    for endpoint_id, callers in (("open", None), ("guarded", ("ns-id",)), ("nobodys", ())):
        endpoint = NexusEndpoint(
            endpoint_id=endpoint_id,
            name=endpoint_id,
            namespace_id="ns-id",
            task_queue="tq",
            callers=callers,
        )
        endpoints = api.runtime.nexus_endpoints
        make = endpoints.create if callers is None else endpoints.put
        await make(endpoint, api.runtime.lease.epoch)
    called = replace(QUEUE, namespace="", task_queue="", header={"request-timeout": "1ms"})
    assert await told(api, replace(called, endpoint_id="open")) == (520, "upstream timeout")
    for endpoint_id in ("guarded", "nobodys", "unknown"):
        assert await told(api, replace(called, endpoint_id=endpoint_id)) == (404, "nexus endpoint not found")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (replace(QUEUE, header={"a": "x" * HEADER_BYTES_MAX}), "header exceeds size limit"),
        (replace(QUEUE, task_queue="q" * 1001), "invalid task queue"),
        (replace(QUEUE, task_queue="/_sys/q"), "invalid task queue"),
        (replace(QUEUE, header={"request-timeout": "-1s"}), "invalid request timeout header"),
        (replace(QUEUE, names=("svc", "op", "cancel")), "missing operation token"),
    ],
)
async def test_what_is_refused(api: Api, call: InboundCall, message: str) -> None:
    assert await told(api, call) == (400, message)


async def test_what_is_of_the_connection_reaches_no_worker(api: Api) -> None:
    header = {"host": "x", "content-type": "text/plain", "nexus-callback-token": "t", "own": "kept"}
    request = api._service.nexus_inbound._request(replace(QUEUE, header=header))
    assert dict(request.header) == {"own": "kept"}
    assert dict(request.start_operation.callback_header) == {"token": "t"}
