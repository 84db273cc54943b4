"""Both transports over real sockets, with real gRPC channels and the official SDK's client."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    PollWorkflowTaskQueueRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cloud.gateway import (
    METHOD_TABLE,
    DevelopmentDirectory,
    Gateway,
    Listener,
    ListenerKind,
    ListenFailed,
    development_listener,
    refuse_taken_port,
)
from cloud.rpc import CallContext, CallerKind, Method, NotFound
from cloud.settings import Transport
from cloud.transport.bounds import MESSAGE_BYTES_MAX
from tests.gateway.conftest import Start
from tests.gateway.doubles import EchoCell

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"


async def answer_start(method: Method, request: Message, context: CallContext) -> Message:
    if method.name == "GetSystemInfo":
        return GetSystemInfoResponse(server_version="1.0")
    return StartWorkflowExecutionResponse(run_id="run")


@pytest.fixture
async def channel(development_port: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{development_port}") as channel:
        yield channel


def call(channel: grpc.aio.Channel, name: str, request: Message | bytes, **options: Any) -> Any:
    row = METHOD_TABLE[SERVICE + name]
    assert row.method is not None
    return channel.unary_unary(
        row.path,
        request_serializer=lambda r: r if isinstance(r, bytes) else r.SerializeToString(),
        response_deserializer=row.method.response_type.FromString,
    )(request, **options)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(packed, bytes)
    return Status.FromString(packed)


async def test_a_call_goes_through_with_its_surroundings(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    cell.answer = answer_start
    now = asyncio.get_running_loop().time()
    response = await call(
        channel,
        "StartWorkflowExecution",
        StartWorkflowExecutionRequest(namespace="default", workflow_id="w"),
        timeout=10,
        metadata=(
            ("client-name", "temporal-python"),
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("tacit-account-id", "forged"),
            ("some-bin", b"\x00"),
        ),
    )
    assert response.run_id == "run"
    method, request, context = cell.calls[0]
    assert method.name == "StartWorkflowExecution"
    assert request == StartWorkflowExecutionRequest(namespace="default", workflow_id="w")
    assert context.caller.kind is CallerKind.DEVELOPMENT
    assert context.deadline_s is not None
    assert now + 8 < context.deadline_s <= now + 11
    assert context.metadata["client-name"] == "temporal-python"
    assert not {"authorization", "cookie", "tacit-account-id", "some-bin"} & context.metadata.keys()
    assert "secret" not in repr(context)
    assert context.peer.startswith("ipv4:127.0.0.1:")


async def test_no_deadline_is_none(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    await call(channel, "GetSystemInfo", GetSystemInfoRequest())
    assert cell.calls[0][2].deadline_s is None


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_work(
    channel: grpc.aio.Channel, cell: EchoCell, compression: grpc.Compression
) -> None:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w" * 5_000)
    await call(channel, "StartWorkflowExecution", request, compression=compression)
    assert cell.calls[0][1] == request


async def test_typed_errors_reach_an_sdk(development_port: int, cell: EchoCell) -> None:
    async def refuse(method: Method, request: Message, context: CallContext) -> Message:
        if method.name != "StartWorkflowExecution":
            return method.response_type()
        raise NotFound("Namespace nüll is not found.", NamespaceNotFoundFailure(namespace="nüll"))

    cell.answer = refuse
    client = await Client.connect(f"127.0.0.1:{development_port}")
    with pytest.raises(RPCError) as caught:
        await client.start_workflow("W", id="w", task_queue="q")
    assert caught.value.status is RPCStatusCode.NOT_FOUND
    assert caught.value.message == "Namespace nüll is not found."
    details = caught.value.grpc_status.details
    failure = NamespaceNotFoundFailure()
    assert details[0].Unpack(failure)
    assert failure.namespace == "nüll"


async def test_a_defect_tells_an_id_and_nothing_else(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    async def fail(method: Method, request: Message, context: CallContext) -> Message:
        raise KeyError("secret words")

    cell.answer = fail
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "GetSystemInfo", GetSystemInfoRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")
    [entry] = [log for log in logs if log["event"] == "grpc.call_failed"]
    assert entry["error_id"] in (caught.value.details() or "")
    assert entry["exc_info"]


async def test_a_client_that_leaves_cancels_the_call(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    cell.answer = cell.forever
    poll = call(channel, "PollWorkflowTaskQueue", PollWorkflowTaskQueueRequest(namespace="default"))
    task = asyncio.ensure_future(poll)
    await asyncio.wait_for(cell.entered.wait(), 5)
    poll.cancel()
    await asyncio.wait_for(cell.cancelled.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_cancels_the_call(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    cell.answer = cell.forever
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(
            channel, "PollWorkflowTaskQueue", PollWorkflowTaskQueueRequest(namespace="default"), timeout=0.2
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(cell.cancelled.wait(), 5)


@pytest.mark.parametrize(
    "body", [b"\xff", b"\n\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", gzip.compress(b"x")], ids=range(4)
)
async def test_garbage_is_the_callers_fault(channel: grpc.aio.Channel, cell: EchoCell, body: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "StartWorkflowExecution", body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "StartWorkflowExecutionRequest" in (caught.value.details() or "")
    assert cell.calls == []


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_a_message_above_the_limit(
    channel: grpc.aio.Channel, cell: EchoCell, compression: grpc.Compression
) -> None:
    payload = Payload(data=bytes(MESSAGE_BYTES_MAX))
    request = SignalWorkflowExecutionRequest(namespace="default", input=Payloads(payloads=[payload]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "SignalWorkflowExecution", request, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (caught.value.details() or "").startswith("grpc: received message larger than max (")
    assert len(status_of(caught.value).details) == 1
    assert cell.calls == []


async def test_a_bomb_is_not_unpacked(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "SignalWorkflowExecution", bytes(100 << 20), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert cell.calls == []


async def test_a_message_just_below_the_limit(channel: grpc.aio.Channel, cell: EchoCell) -> None:
    payload = Payload(data=bytes(MESSAGE_BYTES_MAX - 100))
    request = SignalWorkflowExecutionRequest(namespace="default", input=Payloads(payloads=[payload]))
    await call(channel, "SignalWorkflowExecution", request)
    assert len(cell.calls) == 1


async def test_long_sentences_and_details_stay_below_what_clients_accept(
    channel: grpc.aio.Channel, cell: EchoCell
) -> None:
    async def refuse(method: Method, request: Message, context: CallContext) -> Message:
        raise NotFound("ä" * 100_000, NamespaceNotFoundFailure(namespace="n" * 100_000))

    cell.answer = refuse
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "GetSystemInfo", GetSystemInfoRequest())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert (caught.value.details() or "").startswith("äää")


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(SERVICE + "Invented")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection(channel: grpc.aio.Channel, development_port: int) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "temporal.api.workflowservice.v1.WorkflowService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    listed = (await health.List(health_pb2.HealthListRequest())).statuses
    assert "temporal.api.workflowservice.v1.WorkflowService" in listed
    assert {status.status for status in listed.values()} == {health_pb2.HealthCheckResponse.SERVING}
    for service in listed:
        await health.Check(health_pb2.HealthCheckRequest(service=service))

    def reflect() -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{development_port}") as blocking:
            return list(ProtoReflectionDescriptorDatabase(blocking).get_services())

    services = await asyncio.to_thread(reflect)
    assert "temporal.api.workflowservice.v1.WorkflowService" in services
    assert "grpc.health.v1.Health" in services
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = []
    for path in (row.path for row in METHOD_TABLE.values() if "reflection" in row.path):
        talk = channel.stream_stream(path)([request.SerializeToString()])
        answers.append([message async for message in talk])
    assert len(answers) == 2
    assert answers[0] == answers[1] != []


@pytest.mark.parametrize("name", ["authorization", "temporal-namespace"])
async def test_what_says_who_calls_is_there_once(channel: grpc.aio.Channel, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(SERVICE + "GetSystemInfo")(b"", metadata=((name, "a"), (name, "b")))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert name in str(caught.value.details())


async def test_stopping_lets_calls_end(cell: EchoCell, start: Start, transport: Transport) -> None:
    go = asyncio.Event()

    async def slow(method: Method, request: Message, context: CallContext) -> Message:
        await go.wait()
        return StartWorkflowExecutionResponse(run_id="late")

    cell.answer = slow
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    listener = development_listener(gateway, port=0, transport=transport)
    port = await start(listener)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = asyncio.ensure_future(
            call(channel, "StartWorkflowExecution", StartWorkflowExecutionRequest(namespace="default"))
        )
        await asyncio.wait_for(cell.entered.wait(), 5)
        stopping = asyncio.ensure_future(listener.stop(grace_s=10))
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "GetSystemInfo", GetSystemInfoRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        go.set()
        assert (await answer).run_id == "late"
        await asyncio.wait_for(stopping, 5)


async def test_stopping_cancels_what_outlasts_the_grace(
    cell: EchoCell, start: Start, transport: Transport
) -> None:
    cell.answer = cell.forever
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    listener = development_listener(gateway, port=0, transport=transport)
    port = await start(listener)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        poll = asyncio.ensure_future(
            call(channel, "PollWorkflowTaskQueue", PollWorkflowTaskQueueRequest(namespace="default"))
        )
        await asyncio.wait_for(cell.entered.wait(), 5)
        await asyncio.wait_for(listener.stop(grace_s=0.1), 5)
        await asyncio.wait_for(cell.cancelled.wait(), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await poll
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_listener_stops_twice_and_starts_again(
    cell: EchoCell, start: Start, transport: Transport
) -> None:
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    listener = development_listener(gateway, port=0, transport=transport)
    await listener.stop()
    await start(listener)
    await listener.stop()
    await listener.stop()
    port = await listener.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await call(channel, "GetSystemInfo", GetSystemInfoRequest())


async def test_a_port_in_use_is_named(development_port: int, gateway: Gateway, transport: Transport) -> None:
    for kind, option in (
        (ListenerKind.DEVELOPMENT, "--port"),
        (ListenerKind.MTLS, "--mtls-port"),
        (ListenerKind.API_KEY, "--api-port"),
    ):
        listener = Listener(
            gateway, kind, host="127.0.0.1", port=development_port, tls=None, transport=transport
        )
        said = f"Port {development_port} on 127.0.0.1 is in use.* another port with {option}"
        with pytest.raises(ListenFailed, match=said) as caught:
            await listener.start()
        assert caught.value.port == development_port
        with pytest.raises(ListenFailed, match=said):
            refuse_taken_port(kind, "127.0.0.1", development_port)


def test_a_port_that_only_remembers_its_connections_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            # The server closes first, so the kernel keeps its end of the connection for a minute.
            listener.accept()[0].close()
            assert client.recv(1) == b""
    refuse_taken_port(ListenerKind.DEVELOPMENT, "127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_what_only_the_start_can_tell_is_left_to_it(host: str) -> None:
    refuse_taken_port(ListenerKind.DEVELOPMENT, host, 0)


async def test_an_address_of_another_machine_is_named(gateway: Gateway, transport: Transport) -> None:
    listener = Listener(
        gateway, ListenerKind.DEVELOPMENT, host="192.0.2.1", port=0, tls=None, transport=transport
    )
    with pytest.raises(ListenFailed, match="no address of this machine; give one that is with --ip"):
        await listener.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])  # noqa: S104
def test_development_is_for_loopback_alone(gateway: Gateway, host: str) -> None:
    with pytest.raises(ListenFailed, match="loopback only"):
        development_listener(gateway, host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_has_several_names(gateway: Gateway, host: str) -> None:
    development_listener(gateway, host=host, port=0)
