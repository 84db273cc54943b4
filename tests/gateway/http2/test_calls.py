"""gRPC's part of the transport, call by call, without a network."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse, SignalWorkflowExecutionRequest

from cloud.gateway.calls import CallParts
from cloud.gateway.limits import MESSAGE_BYTES_MAX
from cloud.gateway.method_table import REFLECTIONS
from cloud.gateway.transport.http2 import calls, frames
from cloud.gateway.transport.http2.connection import STREAM_CREDIT
from cloud.gateway.transport.http2.frames import ErrorCode, frame
from cloud.gateway.transport.http2.header_blocks import LIST_BYTES_MAX
from cloud.gateway.transport.http2.messages import framed, timeout_s
from cloud.gateway.transport.http2.uploads import Budget, Uploads
from cloud.rpc import Method
from tests.gateway.http2.loops import event_loop_policy  # noqa: F401 # a fixture
from tests.gateway.http2.wire import SERVICE, PlainGateway, Wire

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


async def test_a_call(wire: Wire, gateway: PlainGateway) -> None:
    gateway.answer = GetSystemInfoResponse(server_version="1")
    wire.open(1)
    wire.data(1, framed(b""))
    assert (await wire.answers())[1] == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity, deflate, gzip",
        "body": framed(gateway.answer.SerializeToString()).decode("latin-1"),
        "grpc-status": "0",
    }
    assert wire.edge.connection.streams == {}
    assert wire.server.running.calls == set()


async def test_answers_of_one_turn_are_one_write(wire: Wire, gateway: PlainGateway) -> None:
    gateway.go = asyncio.Event()
    for stream in range(1, 100, 2):
        wire.open(stream)
        wire.data(stream, framed(b""))
    await wire.heard()
    before = len(wire.socket.writes)
    gateway.go.set()
    assert len(await wire.answers()) == 50
    assert len(wire.socket.writes) == before + 1


@pytest.mark.parametrize(
    ("changed", "fields", "status"),
    [
        ({"content_type": "application/json"}, (), "415"),
        ({"content_type": "application/grpc-web"}, (), "415"),
        ({"method": "GET"}, (), "405"),
    ],
)
async def test_what_is_no_grpc_is_answered_as_http(
    wire: Wire, changed: dict[str, str], fields: tuple[tuple[str, str], ...], status: str
) -> None:
    wire.open(1, *fields, **changed)
    assert await wire.answers() == {}
    wire.data(1, b"{}")
    answer = (await wire.answers())[1]
    assert answer[":status"] == status
    assert "gRPC" in answer["body"]


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
async def test_content_types_of_grpc(wire: Wire, content_type: str) -> None:
    wire.open(1, content_type=content_type)
    wire.data(1, framed(b""))
    assert (await wire.status(1))[0] == "0"


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        (SERVICE + "Invented", (), "12", "is not served here"),
        ("/", (), "12", "is not served here"),
        (SIGNAL, (("grpc-encoding", "snappy"),), "12", "identity, deflate, gzip only"),
        (SIGNAL, (("grpc-timeout", "soon"),), "3", "grpc-timeout"),
        (SIGNAL, (("grpc-timeout", "123456789S"),), "3", "grpc-timeout"),
        (SIGNAL, (("x", "y" * LIST_BYTES_MAX),), "8", "headers are larger"),
    ],
)
async def test_refusals_by_the_headers_alone(
    wire: Wire, path: str, fields: tuple[tuple[str, str], ...], status: str, words: str
) -> None:
    for stream in (1, 3):
        wire.open(stream, *fields, path=path)
        answer = (await wire.answers())[stream]
        assert answer["grpc-status"] == status
        assert words in unquote(answer["grpc-message"])
        if "snappy" in str(fields):
            assert answer["grpc-accept-encoding"] == "identity, deflate, gzip"
        wire.data(stream, framed(b"on its way"))
    assert await wire.answers() == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "13"),
        (b"\0\0", "13"),
        (framed(b"")[:-1], "13"),
        (framed(b"abc")[:-1], "13"),
        (framed(b"") + framed(b""), "13"),
        (b"\x02" + framed(b"")[1:], "13"),
        (b"\x01" + framed(b"")[1:], "13"),  # and nothing says how it is compressed
        (framed(b"\xff"), "3"),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
async def test_bodies_that_are_no_message(
    wire: Wire, gateway: PlainGateway, body: bytes, status: str, cut: bool
) -> None:
    wire.open(1, path=SIGNAL)
    if cut:
        wire.data(1, body[:3], ends=False)
        wire.data(1, body[3:], ends=False)
        wire.data(1, b"")
    else:
        wire.data(1, body)
    assert (await wire.status(1))[0] == status
    assert gateway.calls == []


async def test_a_request_without_a_body(wire: Wire) -> None:
    wire.open(1, ends=True)
    assert (await wire.status(1))[0] == "13"


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", None)]
)
@pytest.mark.parametrize("size_bytes", [10, 100_000])
async def test_compressions(
    wire: Wire, gateway: PlainGateway, encoding: str, pack: object, size_bytes: int
) -> None:
    request = signal(size_bytes)
    wire.open(1, ("grpc-encoding", encoding), path=SIGNAL)
    wire.data(1, compressed(pack(request)) if callable(pack) else framed(request))
    assert (await wire.status(1))[0] == "0"
    assert gateway.calls[0][1].SerializeToString(deterministic=True) == request


@pytest.mark.parametrize(
    "broken",
    [b"", b"abc", gzip.compress(b"x")[:-3], gzip.compress(b"x") + b"y", gzip.compress(bytes(10**6))[:-9]],
    ids=["nothing", "no gzip", "cut off", "more behind it", "cut off late"],
)
async def test_what_can_not_be_unpacked(wire: Wire, gateway: PlainGateway, broken: bytes) -> None:
    wire.open(1, ("grpc-encoding", "gzip"), path=SIGNAL)
    wire.data(1, compressed(broken))
    status, words = await wire.status(1)
    assert (status, "unpacked" in words) == ("3", True)
    assert gateway.calls == []


async def test_a_message_that_is_too_large_is_refused_by_its_first_bytes(wire: Wire) -> None:
    wire.open(1, path=SIGNAL)
    wire.data(1, b"\0" + (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big") + b"abc", ends=False)
    heard = await wire.heard()
    assert [(kind, stream) for kind, _, stream, _ in heard] == [(frames.HEADERS, 1), (frames.RST_STREAM, 1)]
    told = dict(wire.decoder.decode(heard[0][3]))
    assert told["grpc-message"].startswith("grpc: received message larger than max (4194305 vs. 4194304)")
    assert wire.edge.uploads.kept_bytes == 0
    assert heard[1][3] == ErrorCode.NO_ERROR.to_bytes(4, "big")


async def test_a_large_request_gets_its_windows(wire: Wire, gateway: PlainGateway) -> None:
    body = framed(signal(MESSAGE_BYTES_MAX - 1_000))
    gateway.go = asyncio.Event()
    wire.open(1, path=SIGNAL)
    window = STREAM_CREDIT
    sent = 0
    while sent < len(body):
        size = min(window, frames.FRAME_BYTES_MAX, len(body) - sent)
        assert size > 0
        wire.data(1, body[sent : sent + size], ends=sent + size == len(body))
        sent += size
        window -= size
        for kind, _, stream, payload in await wire.heard():
            if kind == frames.WINDOW_UPDATE and stream == 1:
                window += int.from_bytes(payload, "big")
    assert len(gateway.calls) == 1
    assert wire.edge.uploads.kept_bytes == 0
    gateway.go.set()
    assert (await wire.status(1))[0] == "0"
    assert gateway.calls[0][1].SerializeToString() == body[5:]


class TestUploads:
    def test_the_oldest_goes_on_while_others_wait(self) -> None:
        given: list[tuple[str, int]] = []
        budget = Budget(10_000)
        uploads = Uploads(1_000, 0, budget, lambda stream, size: given.append((stream, size)))  # type: ignore[arg-type]
        a, b, c = "abc"
        for each in (a, b, c):
            assert uploads.keep(each, 200)  # type: ignore[arg-type]
        assert given == [(a, 200), (b, 200)]
        assert uploads.keep(a, 100)  # type: ignore[arg-type]
        assert uploads.keep(b, 10)  # type: ignore[arg-type]
        assert given[2:] == [(a, 100)]
        assert not uploads.keep(c, 500)  # type: ignore[arg-type]
        uploads.release(c)  # type: ignore[arg-type]
        assert uploads.kept_bytes == 510
        assert given[3:] == []
        uploads.release(a)  # type: ignore[arg-type]
        assert given[3:] == [(b, 10)]
        uploads.release(b)  # type: ignore[arg-type]
        assert uploads.kept_bytes == budget.kept_bytes == 0

    async def test_too_much_on_a_connection_is_refused(self, wire: Wire, gateway: PlainGateway) -> None:
        most = wire.server.running.read_bytes_max
        piece = b"\0" + (1_000_000).to_bytes(4, "big") + bytes(STREAM_CREDIT - 5)
        count = most // len(piece) + 1
        for number in range(count):
            wire.open(2 * number + 1, path=SIGNAL)
            wire.data(2 * number + 1, piece, ends=False)
        answers = await wire.answers()
        assert list(answers) == [2 * count - 1]
        assert answers[2 * count - 1]["grpc-status"] == "8"
        assert wire.edge.uploads.kept_bytes <= most
        for number in range(count - 1):
            wire.say(frames.rst_stream(2 * number + 1, ErrorCode.CANCEL))
        assert wire.edge.uploads.kept_bytes == 0
        assert gateway.calls == []


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
        gateway.answer = GetSystemInfoResponse(server_version="x" * 200_000)
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
        async def call(method: Method, request: Message, parts: CallParts) -> Message:
            raise asyncio.CancelledError

        wire.server.running.call = call
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
            alive = [one for one in gc.get_objects() if isinstance(one, calls.UnaryCall)]
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


async def test_a_full_socket_holds_answers_back(wire: Wire, gateway: PlainGateway) -> None:
    gateway.answer = GetSystemInfoResponse(server_version="x" * 30_000)
    wire.edge.pause_writing()
    before = len(wire.socket.writes)
    for stream in range(1, 21, 2):
        wire.open(stream)
        wire.data(stream, framed(b""))
    assert await wire.heard() == []
    assert len(wire.socket.writes) == before
    wire.edge.resume_writing()
    assert len(await wire.answers()) == 10


async def test_last_words_are_sent_before_the_socket_closes(wire: Wire) -> None:
    wire.say(frame(frames.PING, 0, 1, bytes(8)))
    *_, (kind, _, _, payload) = await wire.heard()
    assert (kind, payload[8:]) == (frames.GOAWAY, b"PING on a stream")
    assert wire.socket.half_closed
