"""The HTTP API over real sockets: what becomes of a request, and of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest
import structlog
from google.protobuf.message import Message
from temporalio.api.batch.v1 import BatchOperationTermination
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import HistoryEventFilterType, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    ListScheduleMatchingTimesRequest,
    ListWorkflowExecutionsRequest,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    SignalWorkflowExecutionRequest,
    StartBatchOperationRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from cloud.gateway import (
    DevelopmentDirectory,
    Gateway,
    ListenerKind,
    ListenFailed,
    development_http_listener,
)
from cloud.gateway.http import server as http_server
from cloud.gateway.http.calls import HttpCall, HttpHandler, HttpReply
from cloud.gateway.http.json_api import HTTP_STATUS, JsonApi
from cloud.gateway.listeners import HttpListener
from cloud.rpc import CallContext, CallerKind, Code, Method, NotFound, RpcError
from tests.gateway.doubles import EchoCell

StartHttp = Callable[..., Awaitable[str]]
BASE = "/api/v1/namespaces/default"


@pytest.fixture
async def start_http(cell: EchoCell) -> AsyncIterator[StartHttp]:
    started: list[HttpListener] = []
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")

    async def go(handlers: Sequence[HttpHandler] = ()) -> str:
        listener = development_http_listener(gateway, port=0, handlers=lambda: handlers)
        started.append(listener)
        return f"http://127.0.0.1:{await listener.start()}"

    yield go
    for listener in started:
        await listener.stop(0)


@pytest.fixture
async def http(start_http: StartHttp) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(await start_http()) as session:
        yield session


async def asked(
    http: aiohttp.ClientSession, cell: EchoCell, method: str, path: str, body: Any = None, **options: Any
) -> Message:
    """The request that a cell gets."""
    if body is not None:
        options["data"] = body if isinstance(body, (str, bytes)) else json.dumps(body)
    async with http.request(method, path, **options) as response:
        assert response.status == 200, await response.text()
    return cell.calls[-1][1]


async def refused(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with http.request(method, path, **options) as response:
        assert response.headers["content-type"].startswith("application/json")
        return response.status, json.loads(await response.text())


async def test_a_body_and_a_path_make_a_request(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    body = {
        "namespace": "another",
        "workflowType": {"name": "demo"},
        "task_queue": {"name": "tq"},
        "input": ["a", {"_protoMessageType": "x.Y", "b": 1}, None],
        "workflowIdReusePolicy": "RejectDuplicate",
        "workflowRunTimeout": "3s",
        "memo": {"fields": {"k": [1.5]}},
    }
    request = await asked(http, cell, "POST", f"{BASE}/workflows/w%2F1", body)
    expected = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id="w/1",
        input=Payloads(
            payloads=[
                Payload(metadata={"encoding": b"json/plain"}, data=b'"a"'),
                Payload(metadata={"encoding": b"json/protobuf", "messageType": b"x.Y"}, data=b'{"b":1}'),
                Payload(metadata={"encoding": b"binary/null"}),
            ]
        ),
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
    )
    expected.workflow_type.name = "demo"
    expected.task_queue.name = "tq"
    expected.workflow_run_timeout.FromSeconds(3)
    expected.memo.fields["k"].CopyFrom(Payload(metadata={"encoding": b"json/plain"}, data=b"[1.5]"))
    assert request == expected


async def test_an_empty_body_is_an_empty_request(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    request = await asked(http, cell, "POST", f"{BASE}/workflows/w/signal/go")
    expected = SignalWorkflowExecutionRequest(namespace="default", signal_name="go")
    expected.workflow_execution.workflow_id = "w"
    assert request == expected


async def test_a_query_makes_a_request(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    path = f"{BASE}/workflows/w/history?maximumPageSize=5&historyEventFilterType=2&execution.run_id=r&utm=x"
    request = await asked(
        http, cell, "GET", f"{path}&execution.workflowId=other&waitNewEvent=t&nextPageToken=AP8"
    )
    expected = GetWorkflowExecutionHistoryRequest(
        namespace="default",
        maximum_page_size=5,
        wait_new_event=True,
        next_page_token=b"\x00\xff",
        history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
    )
    expected.execution.workflow_id = "w"
    expected.execution.run_id = "r"
    assert request == expected
    request = await asked(
        http, cell, "GET", f"{BASE}/schedules/s/matching-times?startTime=2026-01-02T03:04:05Z"
    )
    assert isinstance(request, ListScheduleMatchingTimesRequest)
    assert request.start_time.ToJsonString() == "2026-01-02T03:04:05Z"


async def test_the_shorter_paths_are_served_too(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    request = await asked(http, cell, "GET", "/namespaces/default/workflows?query=a%20%3D%20%27b%27")
    assert request == ListWorkflowExecutionsRequest(namespace="default", query="a = 'b'")
    await asked(http, cell, "GET", "/cluster")
    assert cell.calls[-1][0].name == "GetClusterInfo"


async def test_oneofs_in_a_body(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    request = await asked(
        http, cell, "POST", f"{BASE}/batch-operations/j", {"terminationOperation": {"details": ["why"]}}
    )
    details = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"why"')])
    expected = StartBatchOperationRequest(
        namespace="default",
        job_id="j",
        termination_operation=BatchOperationTermination(details=details),
    )
    assert request == expected


@pytest.mark.parametrize(
    ("path", "headers", "written"),
    [
        ("", {}, '{"queryResult":["ä",{"a":1,"_protoMessageType":"x.Y"}]}'),
        ("", {"accept": "application/json"}, '{"queryResult":["ä",{"a":1,"_protoMessageType":"x.Y"}]}'),
        ("?pretty", {}, '{\n  "queryResult": [\n    "ä",'),
        ("", {"accept": "application/json+pretty"}, '{\n  "queryResult": [\n    "ä",'),
        (
            "?noPayloadShorthand",
            {},
            '{"queryResult":{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="}',
        ),
        ("", {"accept": "application/json+no-payload-shorthand"}, '{"queryResult":{"payloads":[{"metadata"'),
        ("", {"content-type": "application/json+no-payload-shorthand"}, '{"queryResult":{"payloads":[{"meta'),
        ("?pretty&noPayloadShorthand", {}, '{\n  "queryResult": {\n    "payloads": [\n'),
    ],
)
async def test_forms_of_an_answer(
    http: aiohttp.ClientSession, cell: EchoCell, path: str, headers: dict[str, str], written: str
) -> None:
    async def answer(method: Method, request: Message, context: CallContext) -> Message:
        assert isinstance(request, QueryWorkflowRequest)
        items = [
            Payload(metadata={"encoding": b"json/plain"}, data='"ä"'.encode()),
            Payload(metadata={"encoding": b"json/protobuf", "messageType": b"x.Y"}, data=b'{"a": 1}'),
        ]
        return QueryWorkflowResponse(query_result=Payloads(payloads=items))

    cell.answer = answer
    async with http.post(f"{BASE}/workflows/w/query/q{path}", headers=headers) as response:
        assert (await response.text()).startswith(written)
        assert response.headers["content-type"].startswith("application/json")
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_refusals_are_statuses(http: aiohttp.ClientSession, cell: EchoCell, code: Code) -> None:
    class Refusal(RpcError):
        pass

    Refusal.code = code

    async def refuse(method: Method, request: Message, context: CallContext) -> Message:
        raise Refusal("no \u00fc", NamespaceNotFoundFailure(namespace="x"))

    cell.answer = refuse
    status, body = await refused(http, "GET", BASE)
    assert status == HTTP_STATUS[code]
    assert body["code"] == int(code)
    assert body["message"] == "no \u00fc"
    kind = "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure"
    assert body["details"] == [{"@type": kind, "namespace": "x"}]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[]", "the request is a JSON object"),
        ('{"a":', "Expecting value"),
        ("\xff".encode("latin-1"), "can't decode"),
        ('{"bogus": 1}', 'no field named "bogus"'),
        ('{"workflowId": "a", "workflowId": "b"}', 'duplicate field "workflowId"'),
        ('{"workflowId": NaN}', "NaN is no JSON"),
        ('{"input": {"payloads": {"a": 1}}}', "payloads"),
        ('{"workflowType": 3}', "a WorkflowType is a JSON object, not 3"),
        ('{"workflowType": []}', "a WorkflowType is a JSON object, not []"),
        ('{"requestEagerExecution": "perhaps"}', "requestEagerExecution"),
        ('{"workflowIdReusePolicy": "Perhaps"}', "workflowIdReusePolicy"),
        ('{"workflowIdReusePolicy": {"a": []}}', ""),
        ('{"workflowRunTimeout": "1 year"}', "workflowRunTimeout"),
        ('{"workflowRunTimeout": "9999999999999999s"}', "workflowRunTimeout"),
        ('{"memo": {"fields": [1]}}', ""),
        ('{"input": ["\\ud800"]}', "can't be read"),
        ('{"workflowId": "\\ud800"}', ""),
        ('{"input": [{"_protoMessageType": 1}]}', "_protoMessageType"),
        ("[" * 100_000, "nested too deeply"),
        ('{"input": ' + "[" * 100_000, "nested too deeply"),
        ('{"workflowId": ' + "9" * 5_000 + "}", ""),
    ],
)
async def test_bodies_that_are_none(
    http: aiohttp.ClientSession, cell: EchoCell, body: str | bytes, sentence: str
) -> None:
    status, answer = await refused(http, "POST", f"{BASE}/workflows/w", data=body)
    assert (status, answer["code"]) == (400, 3)
    assert sentence in answer["message"]
    assert not cell.calls


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("pageSize=x", 'parsing field "page_size": "x" is no whole number'),
        ("pageSize=99999999999", 'parsing field "page_size": "99999999999" is out of range'),
        ("pageSize=1&pageSize=2", 'too many values for field "page_size": 1, 2'),
        ("pageSize=1&page_size=2", 'duplicate field "page_size"'),
        ("nextPageToken=a!", 'parsing field "next_page_token": "a!" is no base64'),
        ("query[a]=b", 'field "query" is not a map'),
        ("query=%ff", "the URL is not UTF-8"),
        ("&".join(f"a{n}=1" for n in range(300)), "too many query parameters"),
    ],
)
async def test_queries_that_are_none(
    http: aiohttp.ClientSession, cell: EchoCell, query: str, sentence: str
) -> None:
    status, answer = await refused(http, "GET", f"{BASE}/workflows?{query}")
    assert (status, answer["code"]) == (400, 3)
    assert sentence in answer["message"]
    assert not cell.calls


async def test_paths_and_verbs_that_are_none(http: aiohttp.ClientSession) -> None:
    assert await refused(http, "GET", "/nowhere") == (404, {"code": 5, "message": "Not Found"})
    assert await refused(http, "DELETE", BASE) == (501, {"code": 12, "message": "Method Not Allowed"})
    status, answer = await refused(http, "GET", "/api/v1/namespaces/default/workflows/%ff")
    assert (status, answer["code"]) == (400, 3)


async def test_bodies_are_bounded(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    status, answer = await refused(
        http, "POST", f"{BASE}/workflows/w", data=b" " * (http_server.BODY_BYTES_MAX + 1)
    )
    assert (status, answer["code"]) == (400, 3)
    assert "larger than" in answer["message"]
    assert not cell.calls


async def test_large_bodies_and_answers(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    text = "x" * 400_000

    async def answer(method: Method, request: Message, context: CallContext) -> Message:
        assert isinstance(request, QueryWorkflowRequest)
        return QueryWorkflowResponse(query_result=request.query.query_args)

    cell.answer = answer
    body = json.dumps({"query": {"queryArgs": [text]}})
    async with http.post(f"{BASE}/workflows/w/query/q", data=body) as response:
        assert json.loads(await response.text()) == {"queryResult": [text]}


async def test_hosts_and_origins(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    for headers in ({"host": "evil.example"}, {"host": "127.0.0.1.evil.example:80"}, {"host": ""}):
        assert await refused(http, "GET", BASE, headers=headers) == (
            403,
            {"code": 7, "message": "Host not allowed"},
        )
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://[", "file://"):
        assert await refused(http, "POST", f"{BASE}/workflows/w", headers={"origin": origin}) == (
            403,
            {"code": 7, "message": "Origin not allowed"},
        )
    assert not cell.calls
    for allowed in ({"host": "LOCALHOST:7243"}, {"host": "[::1]:1"}, {"origin": "http://localhost:8233"}):
        await asked(http, cell, "GET", BASE, headers=allowed)


async def test_a_call_goes_through_with_its_surroundings(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    now = asyncio.get_running_loop().time()
    headers = {
        "Client-Name": "curl",
        "authorization": "Bearer secret",
        "cookie": "secret",
        "tacit-account-id": "forged",
        "grpc-timeout": "10S",
    }
    await asked(http, cell, "GET", BASE, headers=headers)
    context = cell.calls[0][2]
    assert context.caller.kind is CallerKind.DEVELOPMENT
    assert context.deadline_s is not None
    assert now + 9 < context.deadline_s < now + 12
    assert context.metadata["client-name"] == "curl"
    assert not {"authorization", "cookie", "tacit-account-id"} & context.metadata.keys()
    assert "secret" not in repr(context)
    assert context.peer == "127.0.0.1"
    status, answer = await refused(http, "GET", BASE, headers={"grpc-timeout": "soon"})
    assert (status, answer["message"]) == (400, "invalid grpc-timeout: soon")


async def test_a_client_that_goes_away_cancels_its_call(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    cell.answer = cell.forever
    with contextlib.suppress(TimeoutError):
        await refused(http, "GET", BASE, timeout=aiohttp.ClientTimeout(total=0.3))
    await asyncio.wait_for(cell.cancelled.wait(), 5)


async def test_stopping_ends_calls_under_way(cell: EchoCell) -> None:
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    listener = development_http_listener(gateway, port=0)
    port = await listener.start()
    cell.answer = cell.forever
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        call = asyncio.create_task(refused(session, "GET", BASE))
        await asyncio.wait_for(cell.entered.wait(), 5)
        await asyncio.wait_for(listener.stop(0.1), 5)
        await asyncio.wait_for(cell.cancelled.wait(), 5)
        with pytest.raises(aiohttp.ClientError):
            await call
        cell.answer = None
        again = await listener.start()
        async with session.get(f"http://127.0.0.1:{again}{BASE}") as response:
            assert response.status == 200
    await listener.stop()


async def test_a_defect_gets_an_error_id(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    async def fail(method: Method, request: Message, context: CallContext) -> Message:
        raise ZeroDivisionError("secret")

    cell.answer = fail
    with structlog.testing.capture_logs() as logs:
        status, answer = await refused(http, "GET", BASE)
    assert (status, answer["code"]) == (500, 13)
    assert "secret" not in str(answer)
    assert logs[0]["error_id"] in answer["message"]


async def test_other_handlers_come_first(start_http: StartHttp, cell: EchoCell) -> None:
    class Callbacks:
        def accepts(self, method: str, segments: tuple[str, ...]) -> bool:
            return method == "POST" and segments[-2:] == ("nexus", "callback")

        async def answer(self, call: HttpCall) -> HttpReply:
            return HttpReply(
                status=202, body=call.body[::-1], headers={"x-token": call.parts.metadata["token"]}
            )

    async with aiohttp.ClientSession(await start_http([Callbacks()])) as session:
        async with session.post(
            "/namespaces/default/nexus/callback", data=b"abc", headers={"Token": "t"}
        ) as response:
            assert (response.status, await response.read(), response.headers["x-token"]) == (202, b"cba", "t")
        await asked(session, cell, "GET", BASE)


async def test_connections_are_bounded(start_http: StartHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 2)
    url = await start_http()
    port = int(url.rpartition(":")[2])
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    assert await asyncio.wait_for(streams[2][0].read(), 5) == b""
    streams[0][1].write(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await asyncio.wait_for(streams[0][0].readline(), 5)).startswith(b"HTTP/1.1 404")
    for _, writer in streams:
        writer.close()


async def test_silent_connections_are_given_up(
    start_http: StartHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEADERS_S_MAX", 0.3)
    port = int((await start_http()).rpartition(":")[2])
    silent, half, whole = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    half[1].write(b"GET /nowhere HTTP/1.1\r\nhost: local")
    whole[1].write(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await asyncio.wait_for(whole[0].readuntil(b"}"), 5)).startswith(b"HTTP/1.1 404")
    assert await asyncio.wait_for(silent[0].read(), 5) == b""
    assert await asyncio.wait_for(half[0].read(), 5) == b""
    whole[1].write(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await asyncio.wait_for(whole[0].readuntil(b"}"), 5)).startswith(b"HTTP/1.1 404")
    for _, writer in (silent, half, whole):
        writer.close()


async def test_connections_that_are_gone_are_forgotten(cell: EchoCell) -> None:
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    server = http_server.HttpServer(
        lambda: [JsonApi(gateway)], ListenerKind.DEVELOPMENT, hosts=frozenset({"localhost"})
    )
    port = await server.start("127.0.0.1", 0)
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(5):
        while server._silent:
            await asyncio.sleep(0.01)
    await server.stop(0)


async def test_slow_bodies_are_given_up(start_http: StartHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_S_MAX", 0.2)
    port = int((await start_http()).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {BASE}/workflows/w HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n".encode()
    )
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_port_in_use_is_named(start_http: StartHttp, cell: EchoCell) -> None:
    port = int((await start_http()).rpartition(":")[2])
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    with pytest.raises(ListenFailed, match=rf"Port {port} on 127.0.0.1 is in use.*--http-port"):
        await development_http_listener(gateway, port=port).start()
    with pytest.raises(ListenFailed, match="loopback only"):
        development_http_listener(gateway, host="192.0.2.1", port=0)


async def test_answers_that_have_no_json(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    """Payloads that are not the JSON they say they are come as they are."""

    async def answer(method: Method, request: Message, context: CallContext) -> Message:
        items = [
            Payload(metadata={"encoding": b"json/plain"}, data=data)
            for data in (b"{", b"1e999", b"NaN", b"[" * 5_000, b"\xff")
        ]
        items.append(Payload(metadata={"encoding": b"json/plain", "more": b"x"}, data=b"1"))
        items.append(Payload(metadata={"encoding": b"json/protobuf", "messageType": b"x"}, data=b"1"))
        items.append(Payload(metadata={"encoding": b"binary/encrypted"}, data=b"1"))
        items.append(Payload(data=b"1"))
        return QueryWorkflowResponse(query_result=Payloads(payloads=items))

    cell.answer = answer
    async with http.post(f"{BASE}/workflows/w/query/q") as response:
        payloads = json.loads(await response.text())["queryResult"]["payloads"]
        assert [set(payload) <= {"metadata", "data"} for payload in payloads] == [True] * 9

    async def surrogate(method: Method, request: Message, context: CallContext) -> Message:
        items = [Payload(metadata={"encoding": b"json/plain"}, data=b'"\\ud800"')]
        return QueryWorkflowResponse(query_result=Payloads(payloads=items))

    cell.answer = surrogate
    async with http.post(f"{BASE}/workflows/w/query/q") as response:
        assert await response.text() == '{"queryResult":["\\ud800"]}'


async def test_nobody_is_answered_twice(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    async def not_found(method: Method, request: Message, context: CallContext) -> Message:
        if method.name == "DescribeWorkflowExecution":
            raise NotFound("none")
        return StartWorkflowExecutionResponse(run_id="r")

    cell.answer = not_found
    for _ in range(3):  # one connection
        assert (await refused(http, "GET", f"{BASE}/workflows/w"))[0] == 404
        assert await asked(http, cell, "POST", f"{BASE}/workflows/w") is not None


async def test_who_connects_to_a_broken_listener_is_hung_up() -> None:
    def broken() -> list[HttpHandler]:
        raise KeyError("a defect")

    server = http_server.HttpServer(broken, ListenerKind.DEVELOPMENT, hosts=frozenset({"127.0.0.1"}))
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get("/cluster", timeout=aiohttp.ClientTimeout(5))
    finally:
        await server.stop(0)
