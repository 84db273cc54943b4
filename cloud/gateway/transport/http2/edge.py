"""One connection's socket: what comes in goes to the protocol, what the protocol has to say in one turn of the loop is one write."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from cloud.gateway.limits import POLLS_MAX
from cloud.gateway.transport.grpc_status import HANDSHAKE_S_MAX, KEEPALIVE_AFTER_S, KEEPALIVE_WITHIN_S
from cloud.gateway.transport.http2.calls import TOO_SLOW, RefusedCall, Running, UnaryCall
from cloud.gateway.transport.http2.connection import Connection
from cloud.gateway.transport.http2.frames import ConnectionFault, ErrorCode
from cloud.gateway.transport.http2.heads import Head, Heads
from cloud.gateway.transport.http2.streaming import StreamingCall
from cloud.gateway.transport.http2.streams import Stream
from cloud.gateway.transport.http2.tls import presented_chain
from cloud.gateway.transport.http2.uploads import Uploads

TICK_S = 5.0
"""How often `Edge.tick` is to be called: it counts time in these."""
LINGER_S = 1.0
"""How long a connection that ends may take to hear why."""

_PING_AFTER = round(KEEPALIVE_AFTER_S / TICK_S)
_GONE_AFTER = round((KEEPALIVE_AFTER_S + KEEPALIVE_WITHIN_S) / TICK_S)
_GREETED_WITHIN = round(HANDSHAKE_S_MAX / TICK_S)
_WHOLE_WITHIN = 24
"""A unary call's request must be there in so many ticks, two minutes: until then it holds memory, and proves nothing."""


class Owner(Protocol):
    """What an edge shares with the others of its server."""

    running: Running
    heads: Heads
    conversations: set[StreamingCall]
    loop: asyncio.AbstractEventLoop

    def opened(self, edge: Edge) -> None:
        """The socket, and TLS if there is any, is ready."""

    def greeted(self, edge: Edge) -> None:
        """The client has proved that it speaks HTTP/2."""

    def refused(self, peer: str, reason: str) -> None:
        """A client is turned away before it could make a call."""

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
        self.connection: Connection[Head] = Connection(self, owner.heads.read, streams_max=POLLS_MAX)
        self.uploads = Uploads(owner.running.read_bytes_max, self.connection.consumed)

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

    def tick(self) -> None:
        """TICK_S have passed: close what is silent."""
        self._age_ticks += 1
        self.connection.floods.calm()
        if self._age_ticks % _WHOLE_WITHIN == 0:
            self._end_unfinished()
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

    def shut(self) -> None:
        """End the connection in peace."""
        self.connection.end(ConnectionFault(ErrorCode.NO_ERROR, "the service is stopping"))
        self._flush()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end_unfinished(self) -> None:
        too_old = self.connection.floods.interval - _WHOLE_WITHIN
        for stream in list(self.connection.streams.values()):
            if stream.peer_is_sending and stream.born < too_old and isinstance(stream.call, UnaryCall):
                stream.call.end(TOO_SLOW)

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


def peer_name(address: Any) -> str:
    """A socket's peer as gRPC writes it, such as ipv4:127.0.0.1:80 and ipv6:%5B::1%5D:80."""
    if not isinstance(address, tuple):
        return "unknown"
    host, port = address[0], address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host.removeprefix("::ffff:")
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
