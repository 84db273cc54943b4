"""Unary calls of a gRPC service: connections that come and go by themselves, deadlines, cancellation, statuses.

grpc.aio does the same for twice the CPU, and in threads of its own; for a proxy, whose work is passing calls on, that is most of
what it costs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog

from cloud.rpc import Code
from cloud.transport.grpc_status import Ended, FinalStatus
from cloud.transport.http2.client import ClientConnection
from cloud.transport.http2.frames import ConnectionFault, ErrorCode
from cloud.transport.http2.header_blocks import Block, Field
from cloud.transport.http2.messages import PREFIX_BYTES, framed, read_prefix
from cloud.transport.http2.streams import Stream

_log = structlog.get_logger(__name__)

ANSWER_BYTES_MAX = 128 * 1024 * 1024
"""As the SDKs' own clients take."""
CONNECT_S_MAX = 10.0
BACKOFF_S_MAX = 5.0
KEEPALIVE_AFTER_S = 30.0
KEEPALIVE_WITHIN_S = 15.0
"""As the SDKs' own: a connection that is silent for so long is asked for a sign of life."""
CONNECTIONS_MAX = 16
"""More than one is opened where the service takes no more calls on those that are there."""
BLOCKS_MAX = 256
LINGER_S = 1.0

_BY_RESET = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
    ErrorCode.NO_ERROR: Code.UNAVAILABLE,
}
_BY_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
_NOT_HTTP2 = "what listens there ended the connection, as a port does that does not speak gRPC, or wants TLS"
_TOO_LATE = FinalStatus(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
_NO_METADATA = frozenset(
    {b"content-type", b"date", b"server", b"trailer", b"grpc-encoding", b"grpc-accept-encoding"}
)


class _Words:
    """What a block of an answer's headers says; shared by all answers with the same ones."""

    __slots__ = ("http_status", "status")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.http_status: int | None = None
        self.status: FinalStatus | None = None
        code: int | None = None
        sentence, details, others = "", None, []
        for name, value in fields:
            if name == b":status":
                self.http_status = int(value) if value.isdigit() else 0
            elif name == b"grpc-status":
                code = int(value) if value.isdigit() else int(Code.UNKNOWN)
            elif name == b"grpc-message":
                sentence = unquote_to_bytes(value).decode("utf-8", "replace")
            elif name == b"grpc-status-details-bin":
                details = _unbased(value)
            elif name not in _NO_METADATA and not name.endswith(b"-bin") and not name.startswith(b":"):
                others.append((name.decode("latin-1"), value.decode("latin-1")))
        if code is not None:
            known = Code(code) if code in list(Code) else Code.UNKNOWN
            self.status = FinalStatus(known, sentence, details, tuple(others))


def _unbased(value: bytes) -> bytes | None:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return None


class _Call:
    """One call under way."""

    __slots__ = ("body", "done", "http_status", "untouched")

    def __init__(self, done: asyncio.Future[bytes]) -> None:
        self.done = done
        self.body: bytes | bytearray = b""
        self.http_status = 200
        self.untouched = False

    def end(self, status: FinalStatus) -> None:
        """The answer is a status."""
        if not self.done.done():
            self.done.set_exception(Ended(status))

    def finish(self, status: FinalStatus | None) -> None:
        """The answer's last words are there."""
        if self.done.done():
            return
        if status is None:
            code = _BY_HTTP.get(self.http_status, Code.UNKNOWN)
            self.end(
                FinalStatus(code, f"The service answered with HTTP status {self.http_status}, not as gRPC.")
            )
        elif status.code is not Code.OK:
            self.end(status)
        else:
            message = _message(self.body)
            if message is None:
                self.end(FinalStatus(Code.INTERNAL, "The service's answer is not one whole message."))
            else:
                self.done.set_result(message)


def _message(body: bytes | bytearray) -> bytes | None:
    if len(body) < PREFIX_BYTES:
        return None
    compressed, length = read_prefix(body)
    if compressed or len(body) != PREFIX_BYTES + length:
        return None
    return bytes(body[PREFIX_BYTES:])


class _Line(asyncio.Protocol):
    """One connection's socket."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[None] = self.loop.create_future()
        """Done once the peer has shown that it speaks HTTP/2, and how many calls it takes at once."""
        self._transport: Any = None
        self._flushing = False
        self.connection = ClientConnection(self, _Words)
        self._heard = True
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The socket, and TLS if there is any, is ready."""
        self._transport = transport
        self._timer = self.loop.call_later(KEEPALIVE_AFTER_S, self._look)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._heard = True
        self.connection.receive(data)
        if self.connection.settled and not self.settled.done():
            self.settled.set_result(None)
        if self.connection.over is not None:
            self.output()
        elif self.connection.leaving and not self.connection.streams:
            self.close()

    def connection_lost(self, fault: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self.connection.end(ConnectionFault(ErrorCode.NO_ERROR, "the connection is lost"))
        if not self.settled.done():
            self.settled.set_exception(ConnectionError(_NOT_HTTP2 if fault is None else str(fault)))

    def pause_writing(self) -> None:
        """The socket has no room."""
        self.connection.sending.hold()

    def resume_writing(self) -> None:
        """The socket has room again."""
        self.connection.sending.release()
        self.output()

    def headers(self, stream: Stream, meaning: _Words, ended: bool) -> None:
        """Headers of an answer."""
        call: _Call = stream.call
        if meaning.http_status is not None:
            call.http_status = meaning.http_status
        if ended:
            call.finish(meaning.status)

    def data(self, stream: Stream, chunk: bytes, ended: bool) -> None:
        """More of an answer."""
        call: _Call = stream.call
        if not call.body:
            call.body = chunk
        else:
            if isinstance(call.body, bytes):
                call.body = bytearray(call.body)
            call.body += chunk
            if len(call.body) > ANSWER_BYTES_MAX:
                self.connection.cancel(stream)
                call.end(
                    FinalStatus(
                        Code.RESOURCE_EXHAUSTED, f"The answer is larger than {ANSWER_BYTES_MAX} bytes."
                    )
                )
                return
        if ended:
            call.finish(None)

    def reset(self, stream: Stream, code: ErrorCode, *, untouched: bool) -> None:
        """No answer comes."""
        call: _Call = stream.call
        call.untouched = untouched
        call.end(
            FinalStatus(
                _BY_RESET.get(code, Code.UNAVAILABLE if self._transport is None else Code.INTERNAL),
                f"The connection to the service ended the call ({code.name}).",
            )
        )

    def output(self) -> None:
        """Write, at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def close(self) -> None:
        """End the connection in peace."""
        self.connection.end(ConnectionFault(ErrorCode.NO_ERROR, "the client is through"))
        self._flush()

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if transport is None:
            return
        if self.connection.over is not None:
            transport.write(self.connection.take_output())
            transport.close()
            self.loop.call_later(LINGER_S, transport.abort)
            return
        if self.connection.sending.held:
            return
        data = self.connection.take_output()
        if data:
            transport.write(data)
            self.connection.sending.pump()

    def _look(self) -> None:
        """Whether the service still lives."""
        if self._transport is None:
            return
        wait_s = KEEPALIVE_AFTER_S
        if self._heard:
            self._heard = self._asked = False
        elif self._asked:
            self._transport.abort()
            return
        else:
            self._asked = True
            self.connection.ping()
            wait_s = KEEPALIVE_WITHIN_S
        self._timer = self.loop.call_later(wait_s, self._look)


class Channel:
    """Calls one service at `host`:`port`. `tls` is None for plaintext; `server_name` is what its certificate must name."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        user_agent: str = "grpc-tacit",
    ) -> None:
        self._host, self._port = host, port
        self._tls = tls
        self._server_name = server_name or host
        shown = f"[{host}]" if ":" in host else host
        self._common = (
            (":method", "POST"),
            (":scheme", "http" if tls is None else "https"),
            (":authority", f"{server_name or shown}:{port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", user_agent),
        )
        self._lines: list[_Line] = []
        self._connecting: asyncio.Task[_Line] | None = None
        self._failures = 0
        self._not_before_s = 0.0
        self._last_fault = ""
        self._blocks: dict[tuple[object, ...], Block] = {}
        self._closed = False

    async def call(
        self,
        path: str,
        message: bytes,
        metadata: tuple[tuple[str, str], ...],
        timeout_s: float | None,
        *,
        timed: bool = False,
    ) -> bytes:
        """Make a unary call and return the answer's bytes; who gives up waiting cancels it.

        `timed`: that happens after `timeout_s` at the latest, so no other timer is wound for it here.

        Raises:
            Ended: it ended with another status than OK.
        """
        loop = asyncio.get_running_loop()
        block = self._block(path, metadata, timeout_s)
        deadline_s = None if timeout_s is None else loop.time() + timeout_s
        body = framed(message)
        del message
        for attempt in (1, 2):
            line = self._line_with_room()
            if line is None:
                line = await self._connected(deadline_s)
            call = _Call(loop.create_future())
            stream = line.connection.open(block, body, call)
            timer = None if deadline_s is None or timed else loop.call_at(deadline_s, call.end, _TOO_LATE)
            try:
                return await call.done
            except Ended:
                # The service has surely not begun with it: it goes to another connection, once.
                if attempt == 2 or not call.untouched:
                    raise
            finally:
                if timer is not None:
                    timer.cancel()
                if not stream.closed:
                    line.connection.cancel(stream)
        raise AssertionError

    async def close(self) -> None:
        """End all connections; calls under way end."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for line in self._lines:
            line.close()
        self._lines.clear()

    def _line_with_room(self) -> _Line | None:
        for line in self._lines:
            if line.connection.has_room:
                return line
        return None

    async def _connected(self, deadline_s: float | None) -> _Line:
        """A connection with room, made if need be: by one task for all who wait."""
        loop = asyncio.get_running_loop()
        self._lines = [one for one in self._lines if one.connection.over is None]
        if len(self._lines) >= CONNECTIONS_MAX:
            raise Ended(
                FinalStatus(Code.RESOURCE_EXHAUSTED, "The service takes no more calls at once; try again.")
            )
        if self._closed:
            raise Ended(FinalStatus(Code.UNAVAILABLE, "The proxy is stopping; try again."))
        if self._connecting is None:
            if loop.time() < self._not_before_s:
                raise Ended(self._unreachable())
            self._connecting = loop.create_task(self._connect())
            self._connecting.add_done_callback(self._settle)
        connecting = self._connecting
        try:
            async with asyncio.timeout_at(deadline_s):
                line = await asyncio.shield(connecting)
        except TimeoutError:
            raise Ended(_TOO_LATE) from None
        if not line.connection.has_room:
            raise Ended(FinalStatus(Code.UNAVAILABLE, "The connection to the service ended; try again."))
        return line

    async def _connect(self) -> _Line:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                _, line = await asyncio.get_running_loop().create_connection(
                    _Line,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._server_name if self._tls is not None else None,
                )
                try:
                    await line.settled
                except BaseException:
                    line.close()
                    raise
        except (OSError, TimeoutError) as error:
            self._failures += 1
            pause_s = min(BACKOFF_S_MAX, 0.1 * 2 ** min(self._failures, 10))
            self._not_before_s = asyncio.get_running_loop().time() + pause_s
            self._last_fault = _why(error)
            _log.warning("grpc.connect_failed", address=f"{self._host}:{self._port}", reason=self._last_fault)
            raise Ended(self._unreachable()) from None
        self._failures = 0
        self._lines.append(line)
        return line

    def _settle(self, connecting: asyncio.Task[_Line]) -> None:
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # whoever waits for it is told; if nobody does, nobody need be

    def _unreachable(self) -> FinalStatus:
        return FinalStatus(
            Code.UNAVAILABLE,
            f"The service at {self._host}:{self._port} can't be reached: {self._last_fault}.",
        )

    def _block(self, path: str, metadata: tuple[tuple[str, str], ...], timeout_s: float | None) -> Block:
        timeout = None if timeout_s is None else _timeout(timeout_s)
        key = (path, metadata, timeout)
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= BLOCKS_MAX:
                self._blocks.clear()
            more = () if timeout is None else (("grpc-timeout", timeout),)
            block = self._blocks[key] = Block(
                self._common[0], self._common[1], (":path", path), *self._common[2:], *more, *metadata
            )
        return block


def _timeout(timeout_s: float) -> str:
    """A time-out in whole seconds where that changes little: headers that repeat cost both sides less."""
    if timeout_s > 5:
        return f"{min(math.ceil(timeout_s), 99_999_999)}S"
    return f"{max(1, math.ceil(timeout_s * 1_000))}m"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"it does not answer within {CONNECT_S_MAX:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
