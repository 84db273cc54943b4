"""Calls whose messages stream: health and reflection."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

from cloud.transport.calls import REFLECTIONS
from cloud.transport.http2 import frames
from cloud.transport.http2.connection import STREAM_CREDIT
from cloud.transport.http2.frames import ErrorCode, frame
from cloud.transport.http2.messages import framed
from tests.transport.loops import event_loop_policy  # noqa: F401 # a fixture
from tests.transport.wire import SERVICE, PlainGateway, Wire

SIGNAL = SERVICE + "SignalWorkflowExecution"


HEALTH = "/grpc.health.v1.Health/"


@pytest.fixture
def gateway() -> PlainGateway:
    return PlainGateway()


@pytest.fixture
async def wire(gateway: PlainGateway) -> AsyncIterator[Wire]:
    wire = Wire(gateway)
    await wire.heard()
    yield wire
    wire.edge.connection_lost(None)
    await wire.server.stop(0)


def signal(size_bytes: int) -> bytes:
    payload = Payload(data=os.urandom(size_bytes))
    return SignalWorkflowExecutionRequest(input=Payloads(payloads=[payload])).SerializeToString()


def compressed(data: bytes) -> bytes:
    return b"\x01" + len(data).to_bytes(4, "big") + data


class TestStreaming:
    async def test_health_of_what_is_not_here(self, wire: Wire) -> None:
        request = framed(HealthCheckRequest(service="nothing").SerializeToString())
        wire.open(1, path=HEALTH + "Check")
        wire.data(1, request)
        wire.open(3, path=HEALTH + "Watch")
        wire.data(3, request)
        answers = await wire.answers()
        assert answers[1]["grpc-status"] == "5"
        assert answers[3]["body"][-1] == chr(HealthCheckResponse.SERVICE_UNKNOWN)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", "3"),
            (framed(b"\xff"), "3"),
            (framed(b"abc")[:-1], "13"),
            (b"\x01" + framed(b"")[1:], "13"),
            (b"\0\0\x02\0\0", "8"),
        ],
    )
    async def test_bad_messages(self, wire: Wire, body: bytes, status: str) -> None:
        wire.open(1, path=HEALTH + "Watch")
        wire.data(1, body)
        assert (await wire.status(1))[0] == status

    @pytest.mark.parametrize("version", ["v1", "v1alpha"])
    async def test_reflection_answers_message_by_message(self, wire: Wire, version: str) -> None:
        request = framed(ServerReflectionRequest(list_services="").SerializeToString())
        wire.open(1, path=f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        for _ in range(2):
            wire.data(1, request[:4], ends=False)
            assert "grpc-status" not in (await wire.answers()).get(1, {})
            wire.data(1, request[4:], ends=False)
            body = (await wire.answers())[1]["body"]
            assert "temporal.api.workflowservice.v1.WorkflowService" in body
            assert f"grpc.reflection.{version}.ServerReflection" in body
        wire.data(1, b"")
        assert (await wire.status(1))[0] == "0"

    async def test_packed_messages(self, wire: Wire) -> None:
        wire.open(1, ("grpc-encoding", "gzip"), path=HEALTH + "Check")
        wire.data(1, compressed(gzip.compress(b"")))
        assert (await wire.answers())[1]["grpc-status"] == "0"

    async def test_deadline_reset_and_a_reader_that_stops(self, wire: Wire) -> None:
        wire.open(1, ("grpc-timeout", "400m"), path=HEALTH + "Watch")
        wire.data(1, framed(b""))
        wire.open(3, path=HEALTH + "Watch")
        wire.data(3, framed(b""))
        assert set(await wire.answers()) == {1, 3}
        wire.say(frames.settings_frame({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
        wire.open(5, ("grpc-timeout", "400m"), path=HEALTH + "Watch")
        wire.data(5, framed(b""))
        assert set(await wire.answers()) == {5}
        wire.say(frames.rst_stream(3, ErrorCode.CANCEL))
        await asyncio.sleep(0.6)
        heard = await wire.heard()
        assert [(kind, stream) for kind, _, stream, _ in heard] == [
            (frames.HEADERS, 1),
            (frames.RST_STREAM, 5),
        ]
        assert wire.server.conversations == set()

    async def test_what_is_not_received_holds_the_client_back(self, wire: Wire) -> None:
        # Reflection that waits for its answer to leave takes no more messages.
        wire.say(frames.settings_frame({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
        wire.open(1, path=f"/{REFLECTIONS[0]}/ServerReflectionInfo")
        request = framed(ServerReflectionRequest(list_services="").SerializeToString())
        wire.data(1, request + bytes(STREAM_CREDIT - len(request)), ends=False)
        await wire.heard()
        assert wire.edge.uploads.held_bytes == STREAM_CREDIT - len(request)
        wire.say(frame(frames.DATA, 0, 1, bytes(100)))
        assert (await wire.heard())[-1][3] == ErrorCode.FLOW_CONTROL_ERROR.to_bytes(4, "big")
        assert wire.edge.uploads.held_bytes == 0
