"""What a client that has proved nothing, or means harm, can make a connection of the server keep or do."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse, SignalWorkflowExecutionRequest

from cloud.rpc import InvalidArgument, Method, ResourceExhausted, Unauthenticated
from cloud.transport.bounds import MESSAGE_BYTES_MAX, POLLS_MAX
from cloud.transport.calls import REFLECTIONS, CallParts, ListenerKind
from cloud.transport.http2 import frames, inflating, streaming
from cloud.transport.http2.edge import STREAMS_STRANGER_MAX
from cloud.transport.http2.frames import ErrorCode, frame
from cloud.transport.http2.inflating import Inflating
from cloud.transport.http2.messages import COMPRESSIONS, framed
from cloud.transport.http2.uploads import Budget, Uploads
from tests.transport.loops import event_loop_policy  # noqa: F401 # a fixture
from tests.transport.wire import SERVICE, PlainGateway, Wire

SIGNAL = SERVICE + "SignalWorkflowExecution"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = f"/{REFLECTIONS[0]}/ServerReflectionInfo"
GZIP = COMPRESSIONS[b"gzip"]


class KeyGateway(PlainGateway):
    """Knows callers by a key."""

    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        if parts.authorization != "good":
            raise Unauthenticated("no key")
        if parts.proved is not None:
            parts.proved()
        return await super().call(method, request, parts)


@pytest.fixture
def gateway() -> KeyGateway:
    return KeyGateway()


@pytest.fixture
async def wire(gateway: PlainGateway) -> AsyncIterator[Wire]:
    """A client of `tacit dev`: nobody has to prove anything."""
    wire = Wire(gateway)
    await wire.heard()
    yield wire
    wire.edge.connection_lost(None)
    await wire.server.stop(0)


@pytest.fixture
async def stranger(gateway: PlainGateway) -> AsyncIterator[Wire]:
    wire = Wire(gateway, ListenerKind.API_KEY)
    await wire.heard()
    yield wire
    wire.edge.connection_lost(None)
    await wire.server.stop(0)


def signal(size_bytes: int) -> bytes:
    payload = Payload(data=bytes(size_bytes))
    return SignalWorkflowExecutionRequest(input=Payloads(payloads=[payload])).SerializeToString()


class TestConversations:
    async def test_a_connection_has_a_few(self, wire: Wire) -> None:
        count = streaming.PER_CONNECTION_MAX
        for number in range(count + 1):
            wire.open(2 * number + 1, path=WATCH)
            wire.data(2 * number + 1, framed(b""))
        answers = await wire.answers()
        assert answers.pop(2 * count + 1)["grpc-status"] == "8"
        assert len(answers) == count
        assert all("grpc-status" not in answer for answer in answers.values())
        wire.say(frames.rst_stream(1, ErrorCode.CANCEL))
        await wire.heard()
        wire.open(99, path=WATCH)
        wire.data(99, framed(b""))
        assert "grpc-status" not in (await wire.answers())[99]

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize("method", ["Check", "Watch"])
    async def test_what_follows_the_one_message_ends_them(
        self, wire: Wire, method: str, at_once: bool
    ) -> None:
        wire.open(1, path="/grpc.health.v1.Health/" + method)
        if at_once:
            wire.data(1, framed(b"") + b"more", ends=False)
        else:
            wire.data(1, framed(b""), ends=False)
            if method == "Watch":
                assert "grpc-status" not in (await wire.answers())[1]
            wire.data(1, b"more", ends=False)
        assert (await wire.answers())[1]["grpc-status"] == "13"
        assert wire.edge.uploads.held_bytes == 0
        assert wire.edge.conversations == 0

    async def test_what_waits_counts_among_uploads(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        wire.edge.uploads._held_bytes_max = 1_000
        wire.open(1, path=REFLECT)
        wire.data(1, b"\0\0\0\x08\0" + bytes(900), ends=False)
        await wire.heard()
        assert wire.edge.uploads.held_bytes == wire.server.budget.kept_bytes == 905
        wire.data(1, bytes(96), ends=False)
        assert (await wire.status(1))[0] == "8"
        assert wire.edge.uploads.held_bytes == wire.server.budget.kept_bytes == 0


class TestStrangers:
    async def test_a_few_streams_until_a_call_is_authorised(
        self, stranger: Wire, gateway: KeyGateway
    ) -> None:
        gateway.go = asyncio.Event()
        for number in range(STREAMS_STRANGER_MAX + 1):
            stranger.open(2 * number + 1, path=SIGNAL)
        refused = 2 * STREAMS_STRANGER_MAX + 1
        resets = [f for f in await stranger.heard() if f[0] == frames.RST_STREAM]
        assert resets == [(frames.RST_STREAM, 0, refused, ErrorCode.REFUSED_STREAM.to_bytes(4, "big"))]
        stranger.say(frames.rst_stream(1, ErrorCode.CANCEL))
        stranger.open(301, ("authorization", "bad"))
        stranger.data(301, framed(b""))
        assert (await stranger.status(301))[0] == "16"
        assert not stranger.edge.trusted
        stranger.open(303, ("authorization", "good"))
        stranger.data(303, framed(b""))
        heard = await stranger.heard()
        assert (frames.SETTINGS, 0, 0, b"\0\x03" + POLLS_MAX.to_bytes(4, "big")) in heard
        for stream in range(305, 505, 2):
            stranger.open(stream)
        assert await stranger.heard() == []
        assert len(stranger.edge.connection.streams) == 2 * STREAMS_STRANGER_MAX

    async def test_they_share_a_budget_of_their_own(self, stranger: Wire, gateway: KeyGateway) -> None:
        server = stranger.server
        server.strangers_budget.bytes_max = 300_000
        stranger.open(1, path=SIGNAL)
        stranger.data(1, b"\0\0\x10\0\0" + bytes(199_995), ends=False)
        another = Wire(gateway, server=server)
        another.edge = server.edge()
        another.edge.connection_made(another.socket)
        another.say(frames.PREFACE + frames.settings_frame({}))
        await another.heard()
        another.open(1, path=SIGNAL)
        another.data(1, b"\0\0\x10\0\0" + bytes(99_995), ends=False)
        assert await another.answers() == {}
        another.data(1, b"x", ends=False)
        assert (await another.status(1))[0] == "8"
        assert server.strangers_budget.kept_bytes == 200_000
        stranger.edge.trust()
        assert (server.strangers_budget.kept_bytes, server.budget.kept_bytes) == (0, 200_000)
        another.edge.connection_lost(None)
        stranger.say(frames.rst_stream(1, ErrorCode.CANCEL))
        assert (server.strangers_budget.kept_bytes, server.budget.kept_bytes) == (0, 0)

    async def test_their_header_blocks_are_counted(self, stranger: Wire) -> None:
        for number in range(1_000):
            stranger.open(2 * number + 1, *((f"x{n}", str(number)) for n in range(60)), ends=True)
            if stranger.edge.connection.over is not None:
                break
        assert 30 < number < 200
        assert "headers" in str(stranger.edge.connection.over)


async def test_refused_calls_are_counted_of_everybody(wire: Wire) -> None:
    for number in range(1_000):
        fields = ((f"x{n}", str(number)) for n in range(60))
        wire.open(2 * number + 1, *fields, ends=True, path=SERVICE + "Invented")
        if wire.edge.connection.over is not None:
            break
    assert 30 < number < 200
    assert "headers" in str(wire.edge.connection.over)


class TestUnread:
    async def test_a_client_that_only_pings_is_ended(self, wire: Wire, gateway: PlainGateway) -> None:
        gateway.response = GetSystemInfoResponse(server_version="x" * 200_000)
        wire.open(1, ("authorization", "good"))
        wire.data(1, framed(b""))
        await wire.heard()
        for _ in range(12):
            wire.say(frame(frames.PING, 0, 0, bytes(8)))
            wire.edge.tick()
        assert not wire.socket.aborted
        wire.say(frame(frames.PING, 0, 0, bytes(8)))
        wire.edge.tick()
        assert wire.socket.aborted

    async def test_a_full_socket_that_nobody_reads(self, wire: Wire) -> None:
        wire.edge.pause_writing()
        wire.socket.room = False
        for _ in range(13):
            wire.say(frame(frames.PING, 0, 0, bytes(8)))
            wire.edge.tick()
        assert wire.socket.aborted

    async def test_a_dribble_keeps_the_connection_and_not_the_stream(
        self, wire: Wire, gateway: PlainGateway
    ) -> None:
        gateway.response = GetSystemInfoResponse(server_version="x" * 200_000)
        for stream in (1, 3):
            wire.open(stream, ("authorization", "good"))
            wire.data(stream, framed(b""))
        await wire.heard()
        for _ in range(14):
            wire.say(frames.window_update(1, 1) + frames.window_update(3, 2_000))
            wire.edge.tick()
        heard = await wire.heard()
        assert not wire.socket.aborted
        assert [f[2] for f in heard if f[0] == frames.RST_STREAM] == [1]
        assert list(wire.edge.connection.streams) == [3]

    async def test_of_all_connections_the_slowest_goes(
        self, wire: Wire, gateway: PlainGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cloud.transport.http2 import server

        gateway.response = GetSystemInfoResponse(server_version="x" * 200_000)
        monkeypatch.setattr(server, "UNREAD_BYTES_MAX", 300_000)
        another = Wire(gateway, server=wire.server)
        for one, streams in ((wire, (1,)), (another, (1, 3))):
            for stream in streams:
                one.open(stream, ("authorization", "good"))
                one.data(stream, framed(b""))
            await one.heard()
        wire.server._tick()
        assert (wire.socket.aborted, another.socket.aborted) == (False, True)
        another.edge.connection_lost(None)


class TestUnpacking:
    async def test_no_more_is_unpacked_than_a_message_may_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unpacked = 0

        class Noting:
            def __init__(self, inflater: Any) -> None:
                self.inflater = inflater

            def decompress(self, data: bytes, size: int) -> bytes:
                nonlocal unpacked
                part: bytes = self.inflater.decompress(data, size)
                unpacked += len(part)
                return part

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inflater, name)

        real = inflating.zlib.decompressobj
        monkeypatch.setattr(inflating.zlib, "decompressobj", lambda encoding: Noting(real(encoding)))
        bomb = gzip.compress(bytes(40_000_000))
        with pytest.raises(ResourceExhausted, match=r"^grpc: received message larger than max \(more than"):
            await Inflating().inflated(bomb, GZIP, stranger=False)
        assert unpacked == MESSAGE_BYTES_MAX + 1

    async def test_few_wait_and_fewer_strangers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        go = threading.Event()
        real = inflating._rest

        def slow(*arguments: Any) -> bytes:
            go.wait(20)
            return real(*arguments)

        monkeypatch.setattr(inflating, "_rest", slow)
        one, packed = Inflating(), gzip.compress(bytes(100_000))

        def start(count: int, *, stranger: bool) -> list[asyncio.Task[bytes]]:
            return [asyncio.create_task(one.inflated(packed, GZIP, stranger=stranger)) for _ in range(count)]

        strangers = start(inflating.STRANGERS_MAX + 1, stranger=True)
        known = start(inflating.WAITING_MAX - inflating.STRANGERS_MAX + 1, stranger=False)
        await asyncio.sleep(0.01)
        for refused in (strangers.pop(), known.pop()):
            with pytest.raises(ResourceExhausted):
                await refused
        go.set()
        assert set(await asyncio.gather(*strangers, *known)) == {bytes(100_000)}
        assert one._waiting == one._strangers == 0

    async def test_who_is_gone_is_not_unpacked_for(self) -> None:
        import zlib

        gone = threading.Event()
        gone.set()
        inflater = zlib.decompressobj(GZIP)
        first = inflater.decompress(gzip.compress(bytes(1_000_000)), 65_536)
        with pytest.raises(InvalidArgument):
            inflating._rest(inflater, first, gone, MESSAGE_BYTES_MAX)
        assert inflater.unconsumed_tail  # it was not gone on with

    async def test_a_call_that_is_given_up_says_that_it_is_gone(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends: list[bool] = []
        begun = threading.Event()

        def wait(inflater: Any, first: bytes, gone: threading.Event, bytes_max: int) -> bytes:
            begun.set()
            ends.append(gone.wait(20))
            return b""

        monkeypatch.setattr(inflating, "_rest", wait)
        packed = gzip.compress(signal(1_000_000))
        wire.open(1, ("grpc-encoding", "gzip"), path=SIGNAL)
        wire.data(1, b"\x01" + framed(packed)[1:])
        await wire.heard()
        assert await asyncio.to_thread(begun.wait, 20)
        wire.say(frames.rst_stream(1, ErrorCode.CANCEL))
        async with asyncio.timeout(20):
            while not ends:
                await asyncio.sleep(0.01)
        assert ends == [True]


class TestWholeRequests:
    async def test_they_count_until_their_answer_and_their_bytes_go(
        self, wire: Wire, gateway: PlainGateway
    ) -> None:
        gateway.go = asyncio.Event()
        request = signal(50_000)
        wire.open(1, ("authorization", "good"), path=SIGNAL)
        wire.data(1, framed(request))
        await wire.heard()
        assert wire.edge.uploads.held_bytes == wire.server.budget.kept_bytes == len(request)
        [call] = wire.server.running.calls
        assert call.task is not None
        coroutine: Any = call.task.get_coro()
        assert "message" not in coroutine.cr_frame.f_locals
        gateway.go.set()
        assert (await wire.status(1))[0] == "0"
        assert wire.edge.uploads.held_bytes == wire.server.budget.kept_bytes == 0

    async def test_too_many_at_once(self, wire: Wire, gateway: PlainGateway) -> None:
        gateway.go = asyncio.Event()
        wire.edge.uploads._held_bytes_max = 150_000
        for stream in (1, 3, 5):
            wire.open(stream, ("authorization", "good"), path=SIGNAL)
            wire.data(stream, framed(signal(70_000)))
        assert (await wire.status(5))[0] == "8"
        assert len(gateway.calls) == 2


@pytest.mark.parametrize("name", ["authorization", "temporal-namespace"])
async def test_what_says_who_calls_is_there_once(wire: Wire, gateway: PlainGateway, name: str) -> None:
    wire.open(1, (name, "a"), (name, "b"), path=SIGNAL)
    status, words = await wire.status(1)
    assert (status, name in words) == ("3", True)
    assert gateway.calls == []


@pytest.mark.parametrize("value", ["Bearer ", " good", "good\t"])
async def test_blanks_around_a_key_are_refused_in_words(stranger: Wire, value: str) -> None:
    stranger.open(1, ("authorization", value))
    status, words = await stranger.status(1)
    assert (status, "blanks" in words) == ("16", True)


def test_a_budget_is_shared() -> None:
    budget = Budget(100)
    one, two = (Uploads(1_000, 80, budget, lambda *_: None) for _ in range(2))
    assert one.hold(60)
    assert not one.hold(30)
    assert two.hold(40)
    assert not two.hold(1)
    assert not two.keep("a", 1)  # type: ignore[arg-type]
    two.release("a")  # type: ignore[arg-type]
    one.let_go(60)
    assert two.keep("a", 60)  # type: ignore[arg-type]
    assert budget.kept_bytes == 100
