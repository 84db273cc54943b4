"""Calls whose messages stream: health's Watch and reflection. Nothing hot goes this way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from cloud.rpc import Code, Internal, ResourceExhausted, RpcError
from cloud.transport import grpc_status
from cloud.transport.grpc_status import FinalStatus
from cloud.transport.http2.calls import STOPPING, TOO_MUCH, Line
from cloud.transport.http2.frames import ErrorCode
from cloud.transport.http2.heads import Conversation, Head
from cloud.transport.http2.inflating import inflated_small
from cloud.transport.http2.messages import (
    OK,
    OPENING,
    PREFIX_BYTES,
    framed,
    read_prefix,
    trailers,
    trailers_only,
)
from cloud.transport.http2.streams import Stream

MESSAGE_BYTES_MAX = 65_536
PER_CONNECTION_MAX = 16
"""Conversations of one connection at once. A client watches one or two services, and asks for reflection once."""
_JUST_ONE = "The call takes one message, and got more."


class StreamingCall:
    """One call, served by a `Conversation`. What the client sends is given back to its window as it is received, so
    no more than one window waits, which counts among the connection's uploads."""

    def __init__(self, calls: set[StreamingCall], line: Line, stream: Stream, head: Head) -> None:
        self._calls = calls
        self._line = line
        self._stream = stream
        self._head = head
        self._received = bytearray()
        self._ended = False
        self._is_full = False
        self._opened = False
        self._change = asyncio.Event()  # more was received, or what was sent has left
        conversation = head.conversation
        assert conversation is not None
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._serve(conversation))
        self._timer = None if head.timeout_s is None else loop.call_later(head.timeout_s, self._expire)
        calls.add(self)
        self._task.add_done_callback(self._done)
        line.conversations += 1

    def data(self, chunk: bytes, ended: bool) -> None:
        """More from the client."""
        if chunk and self._is_full:
            self.end(FinalStatus(Code.INTERNAL, _JUST_ONE))
            return
        if chunk and not self._line.uploads.hold(len(chunk)):
            self.end(TOO_MUCH)
            return
        self._received += chunk
        self._ended = self._ended or ended
        self._change.set()

    def drained(self) -> None:
        """What was sent has left."""
        self._change.set()

    def end(self, status: FinalStatus) -> None:
        """End the call now; a client that does not even take what it was sent gets no status."""
        if self._stream.unsent is not None:
            self._line.connection.reset(self._stream, ErrorCode.CANCEL)
        else:
            closing = trailers(status) if self._opened else trailers_only(status)
            self._line.connection.sending.send(self._stream, None, closing=closing)
        self.abandon()

    def abandon(self) -> None:
        """The stream is over: cancel what runs."""
        self._stream.call = None
        self._forget(len(self._received))
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()

    async def only_message(self) -> bytes | None:
        """The client's one message, None if it sent none; whatever it sends behind it ends the call.

        Raises:
            RpcError: it is too large, or is none, or something follows it already.
        """
        message = await self._next()
        if self._received:
            raise Internal(_JUST_ONE)
        self._is_full = True
        return message

    async def messages(self) -> AsyncIterator[bytes]:
        """The client's messages as they come.

        Raises:
            RpcError: one is too large, or is none.
        """
        while True:
            message = await self._next()
            if message is None:
                return
            yield message

    async def send(self, message: bytes) -> None:
        """Send a message, and wait until it has left."""
        opening = None if self._opened else OPENING
        self._opened = True
        self._line.connection.sending.send(self._stream, opening, framed(message))
        while self._stream.unsent is not None:
            self._change.clear()
            await self._change.wait()

    async def _next(self) -> bytes | None:
        while len(self._received) < PREFIX_BYTES:
            if self._ended:
                return None
            await self._more()
        compressed, length = read_prefix(self._received)
        if length > MESSAGE_BYTES_MAX:
            raise ResourceExhausted(f"The message is larger than {MESSAGE_BYTES_MAX} bytes.")
        whole = PREFIX_BYTES + length
        while len(self._received) < whole:
            if self._ended:
                raise Internal("The last message is cut off.")
            await self._more()
        message = bytes(self._received[PREFIX_BYTES:whole])
        self._forget(whole)
        self._line.connection.consumed(self._stream, whole)
        if compressed:
            if self._head.encoding is None:
                raise Internal("The message is compressed, and nothing says how.")
            message = inflated_small(message, self._head.encoding)
        return message

    def _forget(self, size_bytes: int) -> None:
        del self._received[:size_bytes]
        self._line.uploads.let_go(size_bytes)

    def _done(self, _: asyncio.Task[None]) -> None:
        self._calls.discard(self)
        self._line.conversations -= 1

    async def _more(self) -> None:
        self._change.clear()
        await self._change.wait()

    def _expire(self) -> None:
        self.end(FinalStatus(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    async def _serve(self, conversation: Conversation) -> None:
        sending = self._line.connection.sending
        try:
            await conversation(self)
            status = None
        except RpcError as refusal:
            status = grpc_status.of_refusal(refusal)
        except asyncio.CancelledError:
            if not self._opened:
                sending.send(self._stream, None, closing=STOPPING)
            raise
        except Exception:
            status = grpc_status.of_defect("streaming")
        finally:
            self._stream.call = None
            self._forget(len(self._received))
            if self._timer is not None:
                self._timer.cancel()
        if self._opened:
            sending.send(self._stream, None, closing=OK if status is None else trailers(status))
        else:
            sending.send(self._stream, None, closing=trailers_only(status or FinalStatus(Code.OK, "")))
