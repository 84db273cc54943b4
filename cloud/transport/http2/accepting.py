"""Sockets that listen, and new connections up to the end of their handshake."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

import structlog

from cloud.transport.grpc_status import HANDSHAKE_S_MAX, PortUnavailable
from cloud.transport.http2.edge import Edge, peer_name
from cloud.transport.http2.tls import Contexts

_log = structlog.get_logger(__name__)

BACKLOG = 1_024
HALF_OPEN_MAX = 1_000
"""Connections that have not shown yet that they speak TLS and HTTP/2. With more, the oldest goes: honest clients take
milliseconds, so it is not one of them."""

CONNECTIONS_MAX = 10_000
"""Connections of a listener."""
PEER_SHARE = 0.25
"""How many of them may come from one address: many clients may be behind one, but not all there are."""

REFUSALS_LOGGED_MAX = 20
REFUSALS_INTERVAL_S = 10.0
"""So many refused handshakes are logged in so long; the rest are counted."""


def listen(address: str) -> list[socket.socket]:
    """Sockets that listen on `address` (host:port) and all that its name stands for; 0.0.0.0 and [::] are all addresses.

    Raises:
        PortUnavailable: one of them can't be bound.
    """
    host, _, port_text = address.rpartition(":")
    host, port = host.strip("[]"), int(port_text)
    sockets: list[socket.socket] = []
    try:
        if host in ("0.0.0.0", "::", "") and socket.has_dualstack_ipv6():  # noqa: S104
            sockets.append(_bound(socket.AF_INET6, ("::", port), dual=True))
            return sockets
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, where in dict.fromkeys(found):
            if sockets and not port:
                where = (where[0], sockets[0].getsockname()[1], *where[2:])
            try:
                sockets.append(_bound(family, where))
            except OSError as error:
                # "localhost" may stand for an IPv6 address that this machine does not have.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or len(found) == 1:
                    raise
        if not sockets:
            raise PortUnavailable(address)
    except OSError as error:
        for each in sockets:
            each.close()
        raise PortUnavailable(address) from error
    return sockets


def _bound(family: int, where: tuple[object, ...], *, dual: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        # Connections of a server that just stopped don't hold its port; another server that listens does.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        bound.bind(where)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


class Refusals:
    """The log of clients that are turned away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._count = self._unlogged = 0

    def add(self, peer: str, reason: str) -> None:
        """Log one, unless there are too many."""
        now = self._clock()
        if now - self._since >= REFUSALS_INTERVAL_S:
            self._since, self._count = now, 0
        self._count += 1
        if self._count > REFUSALS_LOGGED_MAX:
            self._unlogged += 1
            return
        more = {"unlogged_before": self._unlogged} if self._unlogged else {}
        self._unlogged = 0
        _log.info("grpc.connection_refused", peer=peer, reason=reason, **more)


class Acceptor:
    """Accepts connections and takes them through TLS. `make` makes the protocol for each."""

    def __init__(
        self,
        sockets: list[socket.socket],
        contexts: Contexts | None,
        make: Callable[[], Edge],
        refusals: Refusals,
    ) -> None:
        self._sockets = sockets
        self._contexts = contexts
        self._make = make
        self._refusals = refusals
        self._half_open: OrderedDict[Edge, asyncio.Task[None]] = OrderedDict()
        self._hosts: dict[Edge, str] = {}
        self._per_host: Counter[str] = Counter()
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]

    @property
    def half_open(self) -> int:
        """Connections that have not proved themselves yet."""
        return len(self._half_open)

    def proved(self, edge: Edge) -> None:
        """The connection is open: half no more."""
        self._half_open.pop(edge, None)

    def closed(self, edge: Edge) -> None:
        """The connection is no more, or will never be one."""
        self._half_open.pop(edge, None)
        host = self._hosts.pop(edge, None)
        if host is not None:
            self._per_host[host] -= 1
            if not self._per_host[host]:
                del self._per_host[host]

    def close(self) -> None:
        """Listen no more, and give up handshakes."""
        for task in (*self._accepting, *self._half_open.values()):
            task.cancel()
        for each in self._sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                # No descriptors left, or the client is gone already.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._refusals.add("all", f"no connection can be accepted: {error.strerror}")
                    await asyncio.sleep(0.2)
                await asyncio.sleep(0.01)
                continue
            except Exception:
                _log.exception("grpc.accept_failed")
                await asyncio.sleep(0.2)
                continue
            try:
                self._take(accepted, address)
            except Exception:
                accepted.close()
                _log.exception("grpc.accept_failed")
                await asyncio.sleep(0.01)

    def _take(self, accepted: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        if len(self._hosts) >= CONNECTIONS_MAX:
            accepted.close()
            self._refusals.add(peer_name(address), f"{CONNECTIONS_MAX} connections are open")
            return
        if self._per_host[host] >= CONNECTIONS_MAX * PEER_SHARE:
            accepted.close()
            self._refusals.add(peer_name(address), "too many connections are open from its address")
            return
        edge = self._make()
        self._hosts[edge] = host
        self._per_host[host] += 1
        handed_over: list[bool] = []
        task = asyncio.create_task(self._shake_hands(edge, accepted, address, handed_over))
        self._half_open[edge] = task

        def done(task: asyncio.Task[None]) -> None:
            if not handed_over:
                accepted.close()
            if task.cancelled() or task.exception() is not None:
                self.closed(edge)
                if not task.cancelled():
                    _log.error("grpc.handshake_failed", exc_info=task.exception())

        task.add_done_callback(done)
        if len(self._half_open) > HALF_OPEN_MAX:
            oldest, task = self._half_open.popitem(last=False)
            task.cancel()
            oldest.abort()

    async def _shake_hands(
        self, edge: Edge, accepted: socket.socket, address: object, handed_over: list[bool]
    ) -> None:
        loop = asyncio.get_running_loop()
        peer = peer_name(address)
        context = None
        if self._contexts is not None:
            context = await self._contexts.current()
        try:
            handed_over.append(True)
            # From here on the loop closes the socket, whatever happens.
            await loop.connect_accepted_socket(
                lambda: edge,
                accepted,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HANDSHAKE_S_MAX,
            )
        except ssl.SSLError as error:
            self._refusals.add(peer, error.reason or str(error))
        except (TimeoutError, ConnectionAbortedError):  # the loops say it differently
            self._refusals.add(peer, f"the handshake took more than {HANDSHAKE_S_MAX} s")
        except OSError as error:
            # Whoever only looks whether the port is open, such as a load balancer, ends here.
            _log.debug("grpc.connection_ended_early", peer=peer, reason=str(error))
        else:
            return
        self.closed(edge)
