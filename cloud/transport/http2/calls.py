"""Unary calls: from a request's bytes to the gateway and back, until the deadline, the client's or the service's end."""

from __future__ import annotations

import asyncio
from typing import Protocol

from cloud.rpc import Code, ResourceExhausted, RpcError
from cloud.transport import grpc_status
from cloud.transport.calls import Answers, CallParts, ListenerKind
from cloud.transport.grpc_status import Ended, FinalStatus
from cloud.transport.http2.connection import Connection
from cloud.transport.http2.frames import ErrorCode
from cloud.transport.http2.header_blocks import Block
from cloud.transport.http2.heads import Head, Refusal
from cloud.transport.http2.inflating import Inflating
from cloud.transport.http2.messages import (
    COMPRESSION_BYTES,
    OK,
    OPENING,
    PREFIX_BYTES,
    framed,
    only_message,
    refuse_size,
    trailers_only,
)
from cloud.transport.http2.streams import Stream
from cloud.transport.http2.uploads import Uploads

STOPPING = trailers_only(FinalStatus(Code.UNAVAILABLE, grpc_status.STOPPING))
_TOO_LATE = trailers_only(FinalStatus(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))
TOO_SLOW = FinalStatus(Code.DEADLINE_EXCEEDED, "The request took too long to arrive; try again.")
_TOO_MUCH = "Too many large requests are on their way; try again, or send fewer at once."
TOO_MUCH = FinalStatus(Code.RESOURCE_EXHAUSTED, _TOO_MUCH)
SMALL_BYTES = 4_096
"""A whole request up to here is not counted while it waits for its answer: it is no larger than the rest of a call."""


class Line(Protocol):
    """What a call knows of its connection. `leaf_pem` and `intermediates_pem` are what the client showed; `trusted`: one
    of its calls has proved who it is."""

    connection: Connection[Head]
    uploads: Uploads
    peer: str
    leaf_pem: bytes | None
    intermediates_pem: tuple[bytes, ...]
    trusted: bool
    conversations: int

    def trust(self) -> None:
        """A call has proved who the client is."""


class Running:
    """The unary calls of one server, and whether it takes new ones."""

    def __init__(self, answers: Answers, kind: ListenerKind, message_bytes_max: int) -> None:
        self.answer = answers.answer
        self.kind = kind
        self.loop = asyncio.get_running_loop()
        self.message_bytes_max = message_bytes_max
        self.read_bytes_max = max(grpc_status.READ_BYTES_MAX[kind], message_bytes_max + COMPRESSION_BYTES)
        self.calls: set[UnaryCall] = set()
        self.draining = False
        self.inflating = Inflating(message_bytes_max)

    async def wait(self, timeout_s: float) -> None:
        """Until all calls have ended, or for so long."""
        tasks = [call.task for call in self.calls if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def end_all(self) -> None:
        """Answer those that still run with UNAVAILABLE."""
        for call in list(self.calls):
            call.end(grpc_status.STOPPED)


class RefusedCall:
    """A request whose headers decide the answer. What HTTP answers waits for the request's end: those clients expect it so."""

    __slots__ = ("_line", "_refusal", "_stream")

    def __init__(self, line: Line, stream: Stream, refusal: Refusal) -> None:
        self._line = line
        self._stream = stream
        self._refusal = refusal
        if not refusal.body:
            line.connection.sending.send(stream, None, closing=refusal.opening)

    def data(self, chunk: bytes, ended: bool) -> None:
        """What a request says that is not looked at."""
        self._line.connection.consumed(self._stream, len(chunk))
        if ended and self._refusal.body:
            self._line.connection.sending.send(
                self._stream, self._refusal.opening, self._refusal.body, ends=True
            )

    def abandon(self) -> None:
        """Nothing runs."""

    def drained(self) -> None:
        """Nothing follows."""


class UnaryCall:
    """One call. Whatever ends it early answers and closes the stream first and then cancels the task, whose
    own answer, if it has one still, then goes nowhere."""

    __slots__ = (
        "_body",
        "_deadline_s",
        "_head",
        "_line",
        "_running",
        "_started",
        "_stream",
        "_timer",
        "task",
    )

    def __init__(self, running: Running, line: Line, stream: Stream, head: Head) -> None:
        self._running = running
        self._line = line
        self._stream = stream
        self._head = head
        self._body: bytearray | None = None
        self._started = False
        self.task: asyncio.Task[None] | None = None
        self._deadline_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout_s is not None:
            self._deadline_s = running.loop.time() + head.timeout_s
            self._timer = running.loop.call_at(self._deadline_s, self._expire)

    def data(self, chunk: bytes, ended: bool) -> None:
        """More of the request; with `ended` it is whole and the call begins."""
        body = self._body
        if ended:
            if body is None:
                self._begin(chunk)
            else:
                body += chunk
                self._line.uploads.release(self._stream)
                self._body = None
                self._begin(body)
            return
        if body is None:
            body = self._body = bytearray(chunk)
        else:
            body += chunk
        if len(body) >= PREFIX_BYTES:
            try:
                refuse_size(body, self._running.message_bytes_max)
            except ResourceExhausted as refusal:
                self._end(trailers_only(grpc_status.of_refusal(refusal)))
                return
        if not self._line.uploads.keep(self._stream, len(chunk)):
            self.end(TOO_MUCH)

    def end(self, status: FinalStatus) -> None:
        """Answer with a status now, and cancel what runs."""
        self._end(trailers_only(status))

    def _end(self, answer: Block) -> None:
        """Answer with a status now, and cancel what runs."""
        self._line.connection.sending.send(self._stream, None, closing=answer)
        self.abandon()

    def abandon(self) -> None:
        """The stream is over: cancel what runs."""
        self._stream.call = None
        if self._timer is not None:
            self._timer.cancel()
        if self._body is not None:
            self._body = None
            self._line.uploads.release(self._stream)
        if self.task is not None:
            self.task.cancel()
            if not self._started:  # then it never will
                self._running.calls.discard(self)
                self.task = None

    def drained(self) -> None:
        """Nothing follows what was sent."""

    def _expire(self) -> None:
        if self._stream.call is self:
            self._end(_TOO_LATE)
        else:
            # Answered in time, but the client has not taken the answer.
            self._line.connection.reset(self._stream, ErrorCode.CANCEL)

    def _begin(self, body: bytes | bytearray) -> None:
        running = self._running
        if running.draining:
            self._end(STOPPING)
            return
        try:
            compressed, message = only_message(body, self._head.encoding, running.message_bytes_max)
        except Ended as refusal:
            self.end(refusal.status)
            return
        except ResourceExhausted as refusal:
            self.end(grpc_status.of_refusal(refusal))
            return
        running.calls.add(self)
        self.task = running.loop.create_task(self._serve(message, compressed))

    async def _serve(self, message: bytes, compressed: bool) -> None:
        self._started = True
        running, head, line, stream = self._running, self._head, self._line, self._stream
        method = head.method
        assert method is not None
        sending = line.connection.sending
        held_bytes = 0
        try:
            if compressed and head.encoding is not None:
                message = await running.inflating.inflated(message, head.encoding, stranger=not line.trusted)
            held_bytes = _held(line, len(message))
            answering = running.answer(
                method,
                message,
                CallParts(
                    listener=running.kind,
                    metadata=head.metadata,
                    deadline_s=self._deadline_s,
                    peer=line.peer,
                    authorization=head.authorization,
                    leaf_pem=line.leaf_pem,
                    intermediates_pem=line.intermediates_pem,
                    proved=None if line.trusted else line.trust,
                ),
            )
            del message  # a long poll would keep it
            sending.send(stream, OPENING, framed(await answering), OK)
        except RpcError as refusal:
            sending.send(stream, None, closing=trailers_only(grpc_status.of_refusal(refusal)))
        except Ended as ended:
            sending.send(stream, None, closing=trailers_only(ended.status))
        except asyncio.CancelledError:
            # If the stream is still open, it is not its end that cancelled this.
            sending.send(stream, None, closing=STOPPING)
            raise
        except Exception:
            sending.send(stream, None, closing=trailers_only(grpc_status.of_defect(method.name)))
        finally:
            running.calls.discard(self)
            if held_bytes:
                line.uploads.let_go(held_bytes)
            stream.call = self.task = None
            if self._timer is not None and stream.closed:
                self._timer.cancel()


def _held(line: Line, size_bytes: int) -> int:
    """How much of a whole request is counted until its answer."""
    if size_bytes <= SMALL_BYTES:
        return 0
    if not line.uploads.hold(size_bytes):
        raise ResourceExhausted(_TOO_MUCH)
    return size_bytes
