"""A connection of a real server with a socket that only notes what is written, for what needs no network."""

from __future__ import annotations

import asyncio
from typing import Any

import hpack
from google.protobuf.message import Message

from cloud.gateway.method_table import METHOD_TABLE
from cloud.rpc import Method
from cloud.transport.calls import CallParts, ListenerKind, MessageAnswers
from cloud.transport.http2 import frames
from cloud.transport.http2.frames import frame
from cloud.transport.http2.server import _Open
from tests.transport.peer import Frame, split

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", SERVICE + "GetSystemInfo"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


class PlainGateway(MessageAnswers):
    """Answers at once, or when `go` is set; notes what it is asked and what is cancelled."""

    def __init__(self) -> None:
        self.methods = {path: row.method for path, row in METHOD_TABLE.items() if row.method is not None}
        self.calls: list[tuple[Method, Message, CallParts]] = []
        self.cancelled = 0
        self.go: asyncio.Event | None = None
        self.response: Message | None = None

    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        self.calls.append((method, request, parts))
        try:
            if self.go is not None:
                await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.response or method.response_type()


class NotingSocket:
    """A transport as asyncio's, whose other end reads nothing by itself."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = self.aborted = self.half_closed = False
        self.room = True

    def get_write_buffer_size(self) -> int:
        return 0 if self.room else 300_000

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Wire:
    """A client on that socket. Needs a running loop."""

    def __init__(
        self,
        gateway: PlainGateway,
        kind: ListenerKind = ListenerKind.DEVELOPMENT,
        server: _Open | None = None,
    ) -> None:
        self.server = server or _Open(gateway, kind)
        self.edge = self.server.edge()
        self.socket = NotingSocket()
        self.edge.connection_made(self.socket)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self._read = 0
        self.say(frames.PREFACE + frames.settings_frame({}) + frames.window_update(0, 2**30))

    def say(self, data: bytes) -> None:
        self.edge.data_received(data)

    def open(self, stream: int, *fields: tuple[str, str], ends: bool = False, **changed: str) -> None:
        """Begin a call: HEADERS with some fields changed, and others behind them."""
        names = {"path": ":path", "method": ":method", "content_type": "content-type"}
        new = {names[key]: value for key, value in changed.items()}
        block = self.encoder.encode([*((k, new.get(k, v)) for k, v in HEADERS), *fields])
        self.say(frame(frames.HEADERS, 4 | ends, stream, bytes(block)))

    def data(self, stream: int, data: bytes, *, ends: bool = True) -> None:
        while len(data) > frames.FRAME_BYTES_MAX:
            self.say(frame(frames.DATA, 0, stream, data[: frames.FRAME_BYTES_MAX]))
            data = data[frames.FRAME_BYTES_MAX :]
        self.say(frame(frames.DATA, int(ends), stream, data))

    async def heard(self) -> list[Frame]:
        """What was written since the last look, once the loop has nothing more to do."""
        for _ in range(20):
            await asyncio.sleep(0)
        said = b"".join(self.socket.writes)
        new, self._read = said[self._read :], len(said)
        return list(split(new))

    async def answers(self) -> dict[int, dict[str, str]]:
        """Headers and trailers of each stream that was answered since the last look; the body is under "body"."""
        found: dict[int, dict[str, str]] = {}
        for kind, _, stream, payload in await self.heard():
            if kind == frames.HEADERS:
                found.setdefault(stream, {}).update(self.decoder.decode(payload))  # type: ignore[call-overload]
            elif kind == frames.DATA:
                seen = found.setdefault(stream, {})
                seen["body"] = seen.get("body", "") + payload.decode("latin-1")
        return found

    async def status(self, stream: int) -> tuple[str, str]:
        """grpc-status and grpc-message of the one answer that there is."""
        answers: dict[int, dict[str, str]] = {}
        async with asyncio.timeout(20):
            while not answers:
                await asyncio.sleep(0.005)
                answers = await self.answers()
        assert list(answers) == [stream]
        return answers[stream]["grpc-status"], answers[stream].get("grpc-message", "")
