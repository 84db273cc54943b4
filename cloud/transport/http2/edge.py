"""One connection's socket: what comes in goes to the protocol, what the protocol has to say in one turn of the loop is one write."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from cloud.rpc import Code
from cloud.transport.bounds import POLLS_MAX
from cloud.transport.calls import ListenerKind
from cloud.transport.grpc_status import (
    HANDSHAKE_S_MAX,
    KEEPALIVE_AFTER_S,
    KEEPALIVE_WITHIN_S,
    FinalStatus,
)
from cloud.transport.http2.calls import TOO_SLOW, RefusedCall, Running, UnaryCall
from cloud.transport.http2.connection import Connection
from cloud.transport.http2.frames import ConnectionFault, ErrorCode
from cloud.transport.http2.heads import Head, Heads, Refusal
from cloud.transport.http2.messages import COMPRESSED_BYTES_MAX, PREFIX_BYTES, trailers_only
from cloud.transport.http2.streaming import PER_CONNECTION_MAX, StreamingCall
from cloud.transport.http2.streams import Stream
from cloud.transport.http2.tls import presented_chain
from cloud.transport.http2.uploads import Budget, Uploads

TICK_S = 5.0
"""How often `Edge.tick` is to be called: it counts time in these."""
LINGER_S = 1.0
"""How long a connection that ends may take to hear why."""

_PING_AFTER = round(KEEPALIVE_AFTER_S / TICK_S)
_GONE_AFTER = round((KEEPALIVE_AFTER_S + KEEPALIVE_WITHIN_S) / TICK_S)
_GREETED_WITHIN = round(HANDSHAKE_S_MAX / TICK_S)
_WHOLE_WITHIN = 24
"""A request must be there in so many ticks, two minutes: until then it holds memory, and proves nothing."""
_READ_WITHIN = 12
"""An answer that is not taken must move in so many ticks, a minute, whatever else the client says."""
_MOVES_BYTES = 1_024

STREAMS_STRANGER_MAX = 100
"""Calls of a client at once until one of them has proved who it is; then POLLS_MAX."""
HELD_BYTES_MAX = 128 * 1024 * 1024
"""Large requests of a connection that wait for their answer."""
_STRANGER_BYTES_MAX = COMPRESSED_BYTES_MAX + PREFIX_BYTES
"""What is kept of a client's requests until it has proved who it is: one of the largest."""
_TOO_MANY_TALKS = Refusal(
    trailers_only(
        FinalStatus(
            Code.RESOURCE_EXHAUSTED,
            f"This connection has {PER_CONNECTION_MAX} calls to health or reflection open; end one first.",
        )
    )
)


class Owner(Protocol):
    """What an edge shares with the others of its server."""

    running: Running
    heads: Heads
    conversations: set[StreamingCall]
    loop: asyncio.AbstractEventLoop
    budget: Budget
    strangers_budget: Budget

    def opened(self, edge: Edge) -> None:
        """The socket, and TLS if there is any, is ready."""

    def greeted(self, edge: Edge) -> None:
        """The client has proved that it speaks HTTP/2."""

    def refused(self, peer: str, reason: str) -> None:
        """A client is turned away."""

    def closed(self, edge: Edge) -> None:
        """The connection is no more."""


class Edge(asyncio.Protocol):
    """A connection. After `shut` it ends once the client has read what there is for it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: Any = None
        self._flushing = self._ending = self._heard = self._greeted = False
        self._age_ticks = self._silent_ticks = 0
        self.peer = ""
        self.leaf_pem: bytes | None = None
        self.intermediates_pem: tuple[bytes, ...] = ()
        self._left_bytes = self._moved_bytes = self._still_ticks = 0
        self.conversations = 0
        trusted = self.trusted = owner.running.kind is ListenerKind.DEVELOPMENT
        self.connection: Connection[Head] = Connection(
            self,
            owner.heads.read,
            streams_max=POLLS_MAX if trusted else STREAMS_STRANGER_MAX,
            is_vain=_is_vain,
            trusted=trusted,
        )
        self.uploads = Uploads(
            owner.running.read_bytes_max if trusted else _STRANGER_BYTES_MAX,
            HELD_BYTES_MAX if trusted else _STRANGER_BYTES_MAX,
            owner.budget if trusted else owner.strangers_budget,
            self.connection.consumed,
        )

    def connection_made(self, transport: Any) -> None:
        """The socket, and TLS if there is any, is ready."""
        self._transport = transport
        self._owner.opened(self)
        self.peer = peer_name(transport.get_extra_info("peername"))
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            if tls.selected_alpn_protocol() != "h2":
                self._owner.refused(self.peer, "the client did not ask for HTTP/2 (ALPN h2)")
                self.abort()
                return
            self.leaf_pem, self.intermediates_pem = presented_chain(tls)
        self._flush()

    def trust(self) -> None:
        """A call has proved who the client is."""
        if not self.trusted:
            self.trusted = True
            self.connection.trust(POLLS_MAX)
            self.uploads.trust(self._owner.running.read_bytes_max, HELD_BYTES_MAX, self._owner.budget)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._heard = True
        self.connection.receive(data)
        if not self._greeted and self.connection.greeted:
            self._greeted = True
            self._owner.greeted(self)

    def eof_received(self) -> bool:
        """The client is through; so is this."""
        return False

    def connection_lost(self, fault: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        self._ending = True
        if self.connection.over is None:
            self.connection.over = ConnectionFault(ErrorCode.NO_ERROR, "the connection is lost")
        self.connection.lost()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The socket has no room."""
        self.connection.sending.hold()

    def resume_writing(self) -> None:
        """The socket has room again."""
        self.connection.sending.release()
        self.output()

    def request(self, stream: Stream, head: Head, ended: bool) -> None:
        """A request begins."""
        call: UnaryCall | StreamingCall | RefusedCall
        if head.method is not None:
            call = UnaryCall(self._owner.running, self, stream, head)
        elif head.refusal is not None:
            call = RefusedCall(self, stream, head.refusal)
        elif self.conversations >= PER_CONNECTION_MAX:
            call = RefusedCall(self, stream, _TOO_MANY_TALKS)
        else:
            call = StreamingCall(self._owner.conversations, self, stream, head)
        if stream.closed:
            return
        stream.call = call
        if ended:
            call.data(b"", True)

    def data(self, stream: Stream, chunk: bytes, ended: bool) -> None:
        """A request goes on."""
        if stream.call is not None:
            stream.call.data(chunk, ended)

    def reset(self, stream: Stream) -> None:
        """A request is given up."""
        if stream.call is not None:
            stream.call.abandon()

    def drained(self, stream: Stream) -> None:
        """What was sent has left."""
        if stream.call is not None:
            stream.call.drained()

    def output(self) -> None:
        """Write, at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._owner.loop.call_soon(self._flush)

    @property
    def unread_bytes(self) -> int:
        """Answers that wait for the client."""
        return self.connection.sending.backlog_bytes

    def tick(self) -> None:
        """TICK_S have passed: close what is silent."""
        self._age_ticks += 1
        self.connection.floods.calm()
        self._end_unfinished()
        self._end_unread()
        if not self._greeted and self._age_ticks > _GREETED_WITHIN:
            self.abort()
        elif self._heard:
            self._heard = False
            self._silent_ticks = 0
        else:
            self._silent_ticks += 1
            if self._silent_ticks >= _GONE_AFTER:
                self.abort()
            elif self._silent_ticks == _PING_AFTER:
                self.connection.ping()

    def drain(self) -> None:
        """Have the client move on to another connection; what it began here goes on."""
        self.connection.drain()

    def shut(self) -> None:
        """End the connection in peace."""
        self.connection.end(ConnectionFault(ErrorCode.NO_ERROR, "the service is stopping"))
        self._flush()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end_unfinished(self) -> None:
        """End requests that the client has been sending for too long, whatever they are."""
        connection = self.connection
        too_old = connection.floods.interval - _WHOLE_WITHIN
        old = []
        for stream in connection.streams.values():  # the oldest are first
            if stream.born >= too_old:
                break
            if stream.peer_is_sending:
                old.append(stream)
        for stream in old:
            if isinstance(stream.call, UnaryCall | StreamingCall):
                stream.call.end(TOO_SLOW)
            else:
                connection.reset(stream, ErrorCode.CANCEL)

    def _end_unread(self) -> None:
        """End what waits for a client that does not read, though it may say much."""
        connection, transport = self.connection, self._transport
        sending = connection.sending
        if transport is None or not (sending.held or sending.backlog_bytes):
            self._still_ticks = 0
            return
        # With a full socket, what the kernel took is what moves; else what windows let out.
        left_bytes = sending.taken_bytes - transport.get_write_buffer_size() if sending.held else 0
        if left_bytes > self._left_bytes or sending.moved_bytes > self._moved_bytes:
            self._still_ticks = 0
        else:
            self._still_ticks += 1
        self._left_bytes, self._moved_bytes = left_bytes, sending.moved_bytes
        if self._still_ticks >= _READ_WITHIN:
            self._owner.refused(self.peer, "the client does not read its answers")
            self.abort()
            return
        for stream in list(connection.streams.values()):
            unsent = stream.unsent
            if unsent is None or not unsent.body:
                continue
            left = len(unsent.body) - unsent.sent
            if left <= unsent.left_before - _MOVES_BYTES or left > unsent.left_before:
                unsent.left_before, unsent.still = left, 0
                continue
            unsent.still += 1
            if unsent.still >= _READ_WITHIN and not sending.held:
                connection.reset(stream, ErrorCode.CANCEL)
                self.reset(stream)

    def _flush(self) -> None:
        self._flushing = False
        transport, connection = self._transport, self.connection
        if transport is None or self._ending:
            return
        if connection.over is not None:
            self._ending = True
            transport.write(connection.take_output())
            self._owner.loop.call_later(LINGER_S, self.abort)
            if not transport.can_write_eof():  # TLS
                transport.close()
                return
            # Closed with bytes unread, the socket would take the last words back.
            try:
                transport.write_eof()
            except OSError:  # the client was faster
                transport.abort()
            return
        if connection.sending.held:
            return
        data = connection.take_output()
        if data:
            transport.write(data)
            connection.sending.pump()


def _is_vain(head: Head) -> bool:
    return head.refusal is not None


def peer_name(address: Any) -> str:
    """A socket's peer as gRPC writes it, such as ipv4:127.0.0.1:80 and ipv6:%5B::1%5D:80."""
    if not isinstance(address, tuple):
        return "unknown"
    host, port = address[0], address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host.removeprefix("::ffff:")
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
