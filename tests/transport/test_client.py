"""The client's half of HTTP/2 against both of our servers, and against peers that break rules."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse

from cloud.gateway import OwnCertificate
from cloud.rpc import Code, InvalidArgument, Method
from cloud.transport.calls import CallParts, ListenerKind, TlsMaterial
from cloud.transport.grpc_aio import GrpcServer
from cloud.transport.grpc_status import Ended, FinalStatus
from cloud.transport.http2 import calling, frames
from cloud.transport.http2.calling import Channel, _Words
from cloud.transport.http2.client import ACKS_WAITING_MAX, ClientConnection
from cloud.transport.http2.frames import ErrorCode, Setting, frame
from cloud.transport.http2.header_blocks import Block
from cloud.transport.http2.server import Http2Server
from tests.transport.wire import SERVICE, PlainGateway

PATH = SERVICE + "GetSystemInfo"
SIGNAL = SERVICE + "SignalWorkflowExecution"
Open = Callable[..., Awaitable[Channel]]


class BytesGateway(PlainGateway):
    """Gives back what `reply` says, and remembers the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[bytes] = []
        self.parts: list[CallParts] = []
        self.reply: bytes | Exception = b""
        self.cancelled_calls = asyncio.Event()
        self.entered = asyncio.Event()

    async def answer(self, method: Method, message: bytes, parts: CallParts) -> bytes:
        self.messages.append(message)
        self.parts.append(parts)
        self.entered.set()
        try:
            if self.go is not None:
                await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled_calls.set()
            raise
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
def gateway() -> BytesGateway:
    return BytesGateway()


@pytest.fixture(params=[Http2Server, GrpcServer], ids=["http2", "grpcio"])
async def opened(gateway: BytesGateway, request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    server = request.param(gateway, ListenerKind.DEVELOPMENT)
    port = await server.start("127.0.0.1:0")
    channel = Channel("127.0.0.1", port)
    yield channel
    await channel.close()
    await server.stop(0)


async def status_of(calling: Awaitable[bytes]) -> FinalStatus:
    with pytest.raises(Ended) as ended:
        await calling
    return ended.value.status


async def test_a_call(opened: Channel, gateway: BytesGateway) -> None:
    gateway.reply = b"answer"
    assert await opened.call(PATH, b"request", (("client-name", "me"),), 60) == b"answer"
    assert gateway.messages == [b"request"]
    assert gateway.parts[0].metadata["client-name"] == "me"
    assert gateway.parts[0].deadline_s is not None


async def test_an_empty_answer_is_one(opened: Channel) -> None:
    assert await opened.call(PATH, b"", (), None) == b""


@pytest.mark.parametrize("size", [60_000, 3_000_000])
async def test_large_messages_both_ways(opened: Channel, gateway: BytesGateway, size: int) -> None:
    gateway.reply = bytes(4 * size)
    answers = await asyncio.gather(*(opened.call(SIGNAL, bytes(size), (), 60) for _ in range(4)))
    assert {len(answer) for answer in answers} == {4 * size}
    assert {len(message) for message in gateway.messages} == {size}


async def test_many_calls_on_one_connection(opened: Channel, gateway: BytesGateway) -> None:
    gateway.go = asyncio.Event()
    tasks = [asyncio.create_task(opened.call(PATH, b"", (), 60)) for _ in range(500)]
    while len(gateway.messages) < 500:
        await asyncio.sleep(0.01)
    assert len(opened._lines) == 1
    gateway.go.set()
    assert await asyncio.gather(*tasks) == [b""] * 500


async def test_errors_with_their_details(opened: Channel, gateway: BytesGateway) -> None:
    gateway.reply = InvalidArgument("it won't do: ä, %", QueryFailedFailure())
    status = await status_of(opened.call(PATH, b"", (), 60))
    assert status.code is Code.INVALID_ARGUMENT
    assert status.sentence == "it won't do: ä, %"
    assert status.details is not None
    assert b"QueryFailedFailure" in status.details


async def test_the_deadline_is_kept_here_and_told(opened: Channel, gateway: BytesGateway) -> None:
    gateway.go = asyncio.Event()
    status = await status_of(opened.call(PATH, b"", (), 0.2))
    assert status.code is Code.DEADLINE_EXCEEDED
    await asyncio.wait_for(gateway.cancelled_calls.wait(), 5)


async def test_who_gives_up_cancels(opened: Channel, gateway: BytesGateway) -> None:
    gateway.go = asyncio.Event()
    task = asyncio.create_task(opened.call(PATH, b"", (), 60))
    await asyncio.wait_for(gateway.entered.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(gateway.cancelled_calls.wait(), 5)
    gateway.go.set()
    assert await opened.call(PATH, b"", (), 60) == b""


async def test_methods_that_are_not_served(opened: Channel) -> None:
    assert (await status_of(opened.call("/none/None", b"", (), 60))).code is Code.UNIMPLEMENTED


async def test_it_connects_again(gateway: BytesGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "BACKOFF_S_MAX", 0.05)
    server = Http2Server(gateway, ListenerKind.DEVELOPMENT)
    port = await server.start("127.0.0.1:0")
    channel = Channel("127.0.0.1", port)
    assert await channel.call(PATH, b"", (), 60) == b""
    await server.stop(0)
    status = await status_of(channel.call(PATH, b"", (), 60))
    assert status.code is Code.UNAVAILABLE
    assert str(port) in status.sentence
    server = Http2Server(gateway, ListenerKind.DEVELOPMENT)
    await server.start(f"127.0.0.1:{port}")
    for _ in range(50):
        try:
            assert await channel.call(PATH, b"", (), 60) == b""
            break
        except Ended:
            await asyncio.sleep(0.05)
    else:
        raise AssertionError("it never came back")
    await channel.close()
    await server.stop(0)


async def test_a_server_that_stops_loses_no_new_calls(gateway: BytesGateway) -> None:
    """GOAWAY: what is under way ends there, what is new is told at once."""
    server = Http2Server(gateway, ListenerKind.DEVELOPMENT)
    port = await server.start("127.0.0.1:0")
    channel = Channel("127.0.0.1", port)
    gateway.go = asyncio.Event()
    under_way = asyncio.create_task(channel.call(PATH, b"", (), 60))
    await asyncio.wait_for(gateway.entered.wait(), 5)
    stopping = asyncio.create_task(server.stop(5))
    await asyncio.sleep(0.1)
    assert channel._line_with_room() is None
    gateway.go.set()
    assert await under_way == b""
    await stopping
    await channel.close()


async def test_nobody_there() -> None:
    status = await status_of(Channel("127.0.0.1", 1).call(PATH, b"", (), 60))
    assert status.code is Code.UNAVAILABLE
    assert "127.0.0.1:1 can't be reached" in status.sentence


async def test_a_port_that_speaks_something_else() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)
        await writer.drain()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = Channel("127.0.0.1", port)
    assert (await status_of(channel.call(PATH, b"", (), 5))).code in (Code.INTERNAL, Code.UNAVAILABLE)
    await channel.close()
    server.close()


class TestTls:
    @pytest.fixture
    async def port(self, gateway: BytesGateway, certificate: OwnCertificate) -> AsyncIterator[int]:
        shown = certificate.current()
        material = TlsMaterial(
            version=1, chain_pem=shown.chain_pem, key_pem=shown.key_pem, client_roots_pem=None
        )
        server = Http2Server(gateway, ListenerKind.API_KEY, lambda: material)
        yield await server.start("127.0.0.1:0")
        await server.stop(0)

    def context(self, certificate: OwnCertificate) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=certificate.ca_pem.decode())
        context.set_alpn_protocols(["h2"])
        return context

    async def test_a_call(self, port: int, certificate: OwnCertificate) -> None:
        channel = Channel("127.0.0.1", port, tls=self.context(certificate), server_name="localhost")
        assert await channel.call(PATH, b"", (), 60) == b""
        await channel.close()

    async def test_another_name_is_refused(self, port: int, certificate: OwnCertificate) -> None:
        channel = Channel("127.0.0.1", port, tls=self.context(certificate), server_name="example.com")
        status = await status_of(channel.call(PATH, b"", (), 60))
        assert status.code is Code.UNAVAILABLE
        assert "certificate" in status.sentence

    async def test_an_unknown_ca_is_refused(self, port: int) -> None:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        status = await status_of(Channel("127.0.0.1", port, tls=context).call(PATH, b"", (), 60))
        assert "certificate is not trusted" in status.sentence


class Noting:
    """A handler that only notes."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.lost: list[tuple[int, ErrorCode, bool]] = []

    def headers(self, stream: frames.__class__, meaning: _Words, ended: bool) -> None:  # type: ignore[valid-type]
        if ended:
            self.ended.append(stream.id)

    def data(self, stream: object, chunk: bytes, ended: bool) -> None:
        pass

    def reset(self, stream: object, code: ErrorCode, *, untouched: bool) -> None:
        self.lost.append((stream.id, code, untouched))  # type: ignore[attr-defined]

    def output(self) -> None:
        pass


def begun() -> tuple[ClientConnection, Noting]:
    handler = Noting()
    connection = ClientConnection(handler, _Words)
    connection.receive(frames.settings_frame({Setting.MAX_CONCURRENT_STREAMS: 2}))
    return connection, handler


BLOCK = Block((":method", "POST"), (":path", PATH))


class TestConnection:
    def test_the_peers_number_of_streams_is_kept(self) -> None:
        connection, _ = begun()
        for _ in range(2):
            assert connection.has_room
            connection.open(BLOCK, b"x", None)
        assert not connection.has_room

    def test_goaway_gives_back_what_was_not_begun(self) -> None:
        connection, handler = begun()
        connection.open(BLOCK, b"x", None)
        connection.open(BLOCK, b"x", None)
        connection.receive(frames.goaway(1, ErrorCode.NO_ERROR))
        assert handler.lost == [(3, ErrorCode.REFUSED_STREAM, True)]
        assert not connection.has_room
        assert connection.over is None

    @pytest.mark.parametrize(
        "wrong",
        [
            frame(frames.DATA, 0, 7, b"x"),
            frame(frames.HEADERS, frames.END_HEADERS, 7, b"\x88"),
            frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\x00\x00\x00\x02\x88"),
            frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff"),
            frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
            frame(frames.SETTINGS, 0, 0, b"abc"),
            frame(frames.GOAWAY, 0, 0, b"abc"),
            frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
            b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        ],
    )
    def test_a_broken_rule_ends_the_connection(self, wrong: bytes) -> None:
        connection, handler = begun()
        connection.open(BLOCK, b"x", None)
        connection.receive(wrong)
        assert connection.over is not None
        assert handler.lost[0][0] == 1

    def test_more_than_the_window_ends_it(self) -> None:
        connection, _ = begun()
        stream = connection.open(BLOCK, b"x", None)
        stream.credit = 10
        connection.receive(frame(frames.DATA, 0, 1, bytes(11)))
        assert connection.over is not None

    @pytest.mark.parametrize(
        "asking", [frame(frames.PING, 0, 0, bytes(8)), frame(frames.SETTINGS, 0, 0)], ids=["ping", "settings"]
    )
    def test_who_asks_for_answers_without_reading_them_ends_it(self, asking: bytes) -> None:
        connection, _ = begun()
        for _ in range(5):
            # A peer that reads may ask as often as it likes.
            connection.receive(asking * (ACKS_WAITING_MAX - 1))
            assert connection.over is None
            connection.take_output()
        connection.receive(asking * (ACKS_WAITING_MAX + 1))
        assert connection.over is not None
        assert connection.over.code is ErrorCode.ENHANCE_YOUR_CALM
        connection.receive(asking * ACKS_WAITING_MAX)
        assert len(connection.take_output()) < 20 * ACKS_WAITING_MAX

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
    def test_nothing_that_comes_raises(self, pieces: list[bytes], framed: bool) -> None:
        connection, _ = begun()
        connection.open(BLOCK, b"x", None)
        for piece in pieces:
            kind, flags = (piece[0] % 11, piece[1]) if len(piece) > 1 else (0, 0)
            connection.receive(frame(kind, flags, 1, piece[2:]) if framed else piece)
        connection.take_output()


@pytest.mark.parametrize(("seconds", "told"), [(70.0, "70S"), (69.2, "70S"), (0.25, "250m"), (0.0, "1m")])
def test_timeouts_are_round(seconds: float, told: str) -> None:
    assert calling._timeout(seconds) == told


def test_what_an_answer_without_a_status_is() -> None:
    words = _Words([(b":status", b"503"), (b"content-type", b"text/html")])
    assert words.http_status == 503
    assert words.status is None
    assert _Words([(b"grpc-status", b"99")]).status == FinalStatus(Code.UNKNOWN, "")
    assert GetSystemInfoResponse().SerializeToString() == b""
