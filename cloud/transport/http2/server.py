"""The lean gRPC server: same contract as `grpc_aio.GrpcServer`, on an HTTP/2 of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cloud.rpc import Code
from cloud.transport import grpc_status
from cloud.transport.bounds import MESSAGE_BYTES_MAX
from cloud.transport.calls import Answers, ListenerKind, TlsMaterial
from cloud.transport.grpc_status import FLUSH_S_MAX, FinalStatus
from cloud.transport.http2.accepting import Acceptor, Refusals, listen
from cloud.transport.http2.calls import Running
from cloud.transport.http2.edge import TICK_S, Edge
from cloud.transport.http2.heads import Heads
from cloud.transport.http2.services import Services
from cloud.transport.http2.streaming import StreamingCall
from cloud.transport.http2.tls import Contexts
from cloud.transport.http2.uploads import Budget

KEPT_BYTES_MAX = 512 * 1024 * 1024
"""Requests that are not whole, or large and not answered, of all connections of a server together."""
KEPT_BYTES_STRANGERS_MAX = 64 * 1024 * 1024
"""The same of those that have not proved who they are."""
UNREAD_BYTES_MAX = 1024 * 1024 * 1024
"""Answers that wait for their readers, of all connections together; with more, the slowest are ended."""


class Http2Server:
    """One listening port. `tls` is asked at every handshake, from a thread; None is plaintext.

    Requests may have `message_bytes_max` bytes.
    """

    def __init__(
        self,
        answers: Answers,
        kind: ListenerKind,
        tls: Callable[[], TlsMaterial] | None = None,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._answers = answers
        self._kind = kind
        self._tls = tls
        self._message_bytes_max = message_bytes_max
        self._open: _Open | None = None
        self._stopping: Running | None = None

    async def start(self, address: str) -> int:
        """Listen on `address` (host:port, port 0 for any free one) and return the port.

        Raises:
            PortUnavailable: the address can't be bound.
        """
        contexts = None
        if self._tls is not None:
            contexts = Contexts(self._tls)
        try:
            if contexts is not None:
                await contexts.current()  # a certificate that is of no use is to stop the start
            sockets = await asyncio.to_thread(listen, address)
        except BaseException:
            if contexts is not None:
                contexts.close()
            raise
        self._open = _Open(self._answers, self._kind, self._message_bytes_max)
        self._open.accept(Acceptor(sockets, contexts, self._open.edge, self._open.refusals), contexts)
        port: int = sockets[0].getsockname()[1]
        return port

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those under way end for `grace_s` seconds, then end them."""
        opened, self._open = self._open, None
        if opened is not None:
            self._stopping = opened.running
            await opened.stop(grace_s)

    def hurry(self) -> None:
        """While it stops: its grace is over."""
        if self._stopping is not None:
            self._stopping.end_all()


class _Open:
    """A server from its start to its stop; what all connections share."""

    def __init__(
        self, answers: Answers, kind: ListenerKind, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.running = Running(answers, kind, message_bytes_max)
        self.services = Services(sorted({method.service for method in answers.methods.values()}))
        self.heads = Heads(answers.methods, self.services.conversations)
        self.conversations: set[StreamingCall] = set()
        self.refusals = Refusals()
        self.budget = Budget(KEPT_BYTES_MAX)
        self.strangers_budget = Budget(KEPT_BYTES_STRANGERS_MAX)
        self._edges: set[Edge] = set()
        self._all_closed = asyncio.Event()
        self._acceptor: Acceptor | None = None
        self._contexts: Contexts | None = None
        self._ticking = self.loop.call_later(TICK_S, self._tick)

    def accept(self, acceptor: Acceptor, contexts: Contexts | None) -> None:
        """Let connections come."""
        self._acceptor = acceptor
        self._contexts = contexts

    def edge(self) -> Edge:
        """The protocol for a new connection."""
        return Edge(self)

    def opened(self, edge: Edge) -> None:
        """The socket, and TLS if there is any, is ready."""
        self._edges.add(edge)

    def greeted(self, edge: Edge) -> None:
        """The client has proved that it speaks HTTP/2."""
        if self._acceptor is not None:
            self._acceptor.proved(edge)

    def refused(self, peer: str, reason: str) -> None:
        """A client is turned away."""
        self.refusals.add(peer, reason)

    def closed(self, edge: Edge) -> None:
        """The connection is no more."""
        self._edges.discard(edge)
        if self._acceptor is not None:
            self._acceptor.closed(edge)
        if not self._edges:
            self._all_closed.set()

    async def stop(self, grace_s: float) -> None:
        """See `Http2Server.stop`."""
        self.running.draining = True
        self.services.stop()
        # Clients that hear it make their next calls elsewhere; those under way go on, and whatever comes still is answered.
        for edge in list(self._edges):
            edge.drain()
        await self.running.wait(grace_s)
        self.running.end_all()
        await self.running.wait(FLUSH_S_MAX)
        for call in list(self.conversations):
            call.end(FinalStatus(Code.UNAVAILABLE, grpc_status.STOPPING))
        self._ticking.cancel()
        self.running.inflating.close()
        if self._acceptor is not None:
            self._acceptor.close()
        if self._contexts is not None:
            self._contexts.close()
        for edge in list(self._edges):
            edge.shut()
        if self._edges:
            self._all_closed.clear()
            try:
                async with asyncio.timeout(FLUSH_S_MAX):
                    await self._all_closed.wait()
            except TimeoutError:
                for edge in list(self._edges):
                    edge.abort()

    def _tick(self) -> None:
        self._ticking = self.loop.call_later(TICK_S, self._tick)
        for edge in list(self._edges):
            edge.tick()
        unread_bytes = sum(edge.unread_bytes for edge in self._edges)
        if unread_bytes > UNREAD_BYTES_MAX:
            for edge in sorted(self._edges, key=lambda edge: edge.unread_bytes, reverse=True):
                self.refused(edge.peer, "too many answers wait for this client and others")
                unread_bytes -= edge.unread_bytes
                edge.abort()
                if unread_bytes <= UNREAD_BYTES_MAX:
                    break
