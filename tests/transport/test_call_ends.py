"""How calls and connections end: deadlines, resets, stopping, silence."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse, SignalWorkflowExecutionRequest

from cloud.rpc import Method
from cloud.transport.calls import REFLECTIONS, CallParts
from cloud.transport.http2 import calls, frames
from cloud.transport.http2.frames import ErrorCode, frame
from cloud.transport.http2.messages import framed, timeout_s
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


class TestEnds:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("2H", 7200), ("3M", 180), ("4S", 4), ("250m", 0.25), ("7u", 7e-6), ("90n", 9e-8), ("0S", 0)],
    )
    def test_time_outs(self, text: str, seconds: float) -> None:
        assert timeout_s(text.encode()) == pytest.approx(seconds)

    @pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1S ", "\u0661S"])
    def test_what_is_no_time_out(self, text: str) -> None:
        assert timeout_s(text.encode()) is None

    async def test_the_deadline_ends_the_call(self, wire: Wire, gateway: PlainGateway) -> None:
        gateway.go = asyncio.Event()
        wire.open(1, ("grpc-timeout", "50m"))
        wire.data(1, framed(b""))
        assert await wire.answers() == {}
        deadline_s = gateway.calls[0][2].deadline_s
        assert deadline_s is not None
        assert deadline_s == pytest.approx(asyncio.get_running_loop().time() + 0.05, abs=0.05)
        await asyncio.sleep(0.1)
        assert (await wire.status(1))[0] == "4"
        assert gateway.cancelled == 1
        assert wire.server.running.calls == set()

    async def test_the_deadline_ends_a_request_that_does_not(self, wire: Wire) -> None:
        wire.open(1, ("grpc-timeout", "30m"))
        wire.data(1, b"\0\0\0", ends=False)
        await asyncio.sleep(0.1)
        assert (await wire.status(1))[0] == "4"
        assert wire.edge.uploads.kept_bytes == 0

    async def test_the_deadline_ends_an_answer_that_nobody_takes(
        self, wire: Wire, gateway: PlainGateway
    ) -> None:
        gateway.response = GetSystemInfoResponse(server_version="x" * 200_000)
        wire.open(1, ("grpc-timeout", "50m"))
        wire.data(1, framed(b""))
        await asyncio.sleep(0.1)
        heard = await wire.heard()
        assert sum(len(payload) for kind, *_, payload in heard if kind == frames.DATA) == frames.WINDOW_BYTES
        assert heard[-1] == (frames.RST_STREAM, 0, 1, ErrorCode.CANCEL.to_bytes(4, "big"))
        assert wire.edge.connection.sending.backlog_bytes == 0

    @pytest.mark.parametrize("at_once", [False, True])
    async def test_a_reset_cancels(self, wire: Wire, gateway: PlainGateway, at_once: bool) -> None:
        gateway.go = asyncio.Event()
        wire.open(1)
        wire.data(1, framed(b""))
        if not at_once:
            await wire.heard()
        wire.say(frames.rst_stream(1, ErrorCode.CANCEL))
        assert await wire.heard() == []
        assert gateway.cancelled == (0 if at_once else 1)
        assert wire.server.running.calls == set()

    async def test_a_lost_connection_cancels(self, wire: Wire, gateway: PlainGateway) -> None:
        gateway.go = asyncio.Event()
        for stream in (1, 3):
            wire.open(stream)
            wire.data(stream, framed(b""))
        await wire.heard()
        wire.edge.connection_lost(None)
        await wire.heard()
        assert gateway.cancelled == 2
        assert wire.server.running.calls == set()

    async def test_a_method_that_is_cancelled_from_elsewhere_is_answered(
        self, wire: Wire, gateway: PlainGateway
    ) -> None:
        async def answer(method: Method, message: bytes, parts: CallParts) -> bytes:
            raise asyncio.CancelledError

        wire.server.running.answer = answer
        wire.open(1)
        wire.data(1, framed(b""))
        assert (await wire.status(1))[0] == "14"

    async def test_no_garbage_is_left_for_the_collector(self, wire: Wire, gateway: PlainGateway) -> None:
        import gc

        gc.collect()
        gc.disable()
        try:
            for stream in range(1, 21, 2):
                wire.open(stream)
                wire.data(stream, framed(b""))
            await wire.heard()
            # By type(): the SDK's sandbox leaves proxies about that refuse to be asked for their class.
            alive = [one for one in gc.get_objects() if type(one) is calls.UnaryCall]
        finally:
            gc.enable()
        assert alive == []


class TestStopping:
    async def test_new_calls_are_unavailable_and_running_ones_end(
        self, wire: Wire, gateway: PlainGateway
    ) -> None:
        gateway.go = asyncio.Event()
        wire.open(1)
        wire.data(1, framed(b""))
        await wire.heard()
        stopping = asyncio.create_task(wire.server.stop(5))
        [(kind, _, _, payload)] = await wire.heard()
        assert (kind, payload[:8]) == (frames.GOAWAY, b"\x7f\xff\xff\xff\0\0\0\0")
        wire.open(3)
        wire.data(3, framed(b""))
        assert (await wire.status(3))[0] == "14"
        gateway.go.set()
        await asyncio.sleep(0.01)
        heard = await wire.heard()
        assert [kind for kind, *_ in heard] == [
            frames.HEADERS,
            frames.DATA,
            frames.HEADERS,
            frames.GOAWAY,
        ]
        assert heard[-1][3][:8] == b"\0\0\0\x03\0\0\0\0"
        assert wire.socket.half_closed
        await stopping
        assert wire.socket.aborted

    async def test_health_is_told(self, wire: Wire) -> None:
        wire.open(1, path=HEALTH + "Watch")
        wire.data(1, framed(b""))
        assert (await wire.answers())[1]["body"][-1] == chr(HealthCheckResponse.SERVING)
        wire.server.services.stop()
        assert (await wire.answers())[1]["body"][-1] == chr(HealthCheckResponse.NOT_SERVING)
        wire.open(3, path=HEALTH + "Check")
        wire.data(3, framed(b""))
        answer = (await wire.answers())[3]
        assert (answer["body"][-1], answer["grpc-status"]) == (chr(HealthCheckResponse.NOT_SERVING), "0")
        await wire.server.stop(0)
        assert (await wire.answers())[1]["grpc-status"] == "14"

    async def test_who_watches_and_does_not_read_holds_nothing_up(self, wire: Wire) -> None:
        wire.say(frames.settings_frame({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
        wire.open(1, path=HEALTH + "Watch")
        wire.data(1, framed(b""))
        await wire.heard()
        await asyncio.wait_for(wire.server.stop(0), 10)


class TestSilence:
    async def test_a_silent_connection_is_asked_then_closed(self, wire: Wire) -> None:
        for _ in range(13):
            wire.edge.tick()
        assert [kind for kind, *_ in await wire.heard()] == [frames.PING]
        wire.say(frame(frames.PING, frames.ACK, 0, bytes(8)))
        for _ in range(13):
            wire.edge.tick()
        assert [kind for kind, *_ in await wire.heard()] == [frames.PING]
        assert not wire.socket.aborted
        for _ in range(4):
            wire.edge.tick()
        assert wire.socket.aborted

    async def test_a_request_that_never_gets_whole(self, wire: Wire, gateway: PlainGateway) -> None:
        gateway.go = asyncio.Event()
        wire.open(1, path=SIGNAL)
        wire.data(1, b"\0\0\0", ends=False)
        wire.open(3)
        wire.data(3, framed(b""))
        wire.open(5, path=f"/{REFLECTIONS[0]}/ServerReflectionInfo")
        wire.open(7, content_type="text/plain")
        for _ in range(24):
            wire.say(frame(frames.PING, 0, 0, bytes(8)))
            wire.edge.tick()
        assert await wire.answers() == {}
        wire.edge.tick()
        heard = await wire.heard()
        assert (frames.RST_STREAM, 0, 7, ErrorCode.CANCEL.to_bytes(4, "big")) in heard
        statuses = {
            stream: dict(wire.decoder.decode(block)).get("grpc-status")
            for kind, _, stream, block in heard
            if kind == frames.HEADERS
        }
        assert statuses == {1: "4", 5: "4"}
        assert list(wire.edge.connection.streams) == [3]
        assert wire.edge.uploads.kept_bytes == 0

    async def test_a_connection_that_never_greets(self, gateway: PlainGateway) -> None:
        wire = Wire(gateway)
        stranger = wire.server.edge()
        stranger.connection_made(wire.socket)
        for byte in frames.PREFACE[:3]:
            stranger.data_received(bytes((byte,)))
            stranger.tick()
        assert wire.socket.aborted
        await wire.server.stop(0)


async def test_last_words_are_sent_before_the_socket_closes(wire: Wire) -> None:
    wire.say(frame(frames.PING, 0, 1, bytes(8)))
    *_, (kind, _, _, payload) = await wire.heard()
    assert (kind, payload[8:]) == (frames.GOAWAY, b"PING on a stream")
    assert wire.socket.half_closed
