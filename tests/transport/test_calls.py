"""gRPC's part of the transport, call by call, without a network."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse, SignalWorkflowExecutionRequest

from cloud.transport.bounds import MESSAGE_BYTES_MAX
from cloud.transport.http2 import frames
from cloud.transport.http2.connection import STREAM_CREDIT
from cloud.transport.http2.frames import ErrorCode
from cloud.transport.http2.header_blocks import LIST_BYTES_MAX
from cloud.transport.http2.messages import framed
from cloud.transport.http2.uploads import Budget, Uploads
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


async def test_a_call(wire: Wire, gateway: PlainGateway) -> None:
    gateway.response = GetSystemInfoResponse(server_version="1")
    wire.open(1)
    wire.data(1, framed(b""))
    assert (await wire.answers())[1] == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity, deflate, gzip",
        "body": framed(gateway.response.SerializeToString()).decode("latin-1"),
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


async def test_a_full_socket_holds_answers_back(wire: Wire, gateway: PlainGateway) -> None:
    gateway.response = GetSystemInfoResponse(server_version="x" * 30_000)
    wire.edge.pause_writing()
    before = len(wire.socket.writes)
    for stream in range(1, 21, 2):
        wire.open(stream)
        wire.data(stream, framed(b""))
    assert await wire.heard() == []
    assert len(wire.socket.writes) == before
    wire.edge.resume_writing()
    assert len(await wire.answers()) == 10
