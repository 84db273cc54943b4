"""Listeners: ports on which the gateway is open, each with its one way of proving who calls.

TLS asks for a client certificate on all of a port or on none of it, hence one port for certificates and one
for keys. The roots that a handshake is checked against are the union of all namespaces' bundles; they let a
caller in to be asked for which namespace, and no further (identity checks the chain against that namespace's
bundle on every call).
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from cloud.gateway.http.calls import GatewayLike, HttpHandler
from cloud.gateway.http.server import HttpServer
from cloud.gateway.server_certificate import CertificateSource, nobody_ca_pem
from cloud.settings import Transport
from cloud.transport.calls import Answers, ListenerKind, TlsMaterial
from cloud.transport.grpc_status import PortUnavailable
from cloud.transport.http2.server import Http2Server


class RootsDirectory(Protocol):
    """What the certificate listener asks of the directory, from any thread."""

    @property
    def version(self) -> int:
        """Grows with every change."""

    def client_roots_pem(self) -> bytes:
        """The CA certificates of all namespaces, PEM, oldest first; empty where there is none.

        The order matters: of two CAs by the same name and key id, TLS tries the first only. Oldest first, a
        later tenant can't shut an earlier one out by taking its CA's name.
        """


class ListenFailed(Exception):
    """A listener can't be opened. `port` is the one asked for."""

    def __init__(self, sentence: str, *, host: str, port: int) -> None:
        super().__init__(sentence)
        self.host = host
        self.port = port


class Listener:
    """One port of one kind. Stopping twice, or before starting, is safe; it may be started again after."""

    def __init__(
        self,
        gateway: Answers,
        kind: ListenerKind,
        *,
        host: str,
        port: int,
        tls: Callable[[], TlsMaterial] | None,
        transport: Transport = Transport.HTTP2,
    ) -> None:
        self.kind = kind
        self._transport = transport
        self._gateway = gateway
        self._host = host
        self._port = port
        self._tls = tls
        self._server: _Server | None = None
        self._stopping: _Server | None = None

    async def start(self) -> int:
        """Open the port and return it (a free one where 0 was asked for).

        Raises:
            ListenFailed: it can't be bound; the sentence says why, and what to do.
        """
        server = _server(self._transport)(self._gateway, self.kind, self._tls)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            port = await server.start(f"{host}:{self._port}")
        except PortUnavailable as error:
            sentence = _why_not(_OPTIONS[self.kind], self._host, self._port, error.__cause__)
            raise ListenFailed(sentence, host=self._host, port=self._port) from None
        self._server = server
        return port

    async def stop(self, grace_s: float = 5.0) -> None:
        """Close the port; calls under way may end within `grace_s` seconds."""
        server, self._server = self._server, None
        if server is not None:
            self._stopping = server
            await server.stop(grace_s)

    def hurry(self) -> None:
        """While it stops: its grace is over."""
        if self._stopping is not None:
            self._stopping.hurry()


class _Server(Protocol):
    """What a transport is to a listener."""

    async def start(self, address: str) -> int: ...

    async def stop(self, grace_s: float) -> None: ...

    def hurry(self) -> None: ...


def _server(
    transport: Transport,
) -> Callable[[Answers, ListenerKind, Callable[[], TlsMaterial] | None], _Server]:
    if transport is Transport.GRPC:
        from cloud.transport.grpc_aio import GrpcServer  # 10 MB that are else not needed

        return GrpcServer
    return Http2Server


class HttpListener:
    """A port for HTTP, or any free one if it is taken and `or_any`.

    Stopping twice, or before starting, is safe; it may be started again after.
    """

    def __init__(self, server: HttpServer, *, host: str, port: int, or_any: bool = False) -> None:
        self._server = server
        self._host = host
        self._port = port
        self._or_any = or_any

    async def start(self) -> int:
        """Open the port and return it (a free one where 0 was asked for).

        Raises:
            ListenFailed: it can't be bound; the sentence says why, and what to do.
        """
        try:
            return await self._server.start(self._host, self._port)
        except OSError as fault:
            if self._or_any and fault.errno == errno.EADDRINUSE:
                return await self._server.start(self._host, 0)
            sentence = _sentence(HTTP_OPTIONS, self._host, self._port, fault)
            raise ListenFailed(sentence, host=self._host, port=self._port) from None

    async def stop(self, grace_s: float = 5.0) -> None:
        """Close the port; calls under way may end within `grace_s` seconds."""
        await self._server.stop(grace_s)

    def hurry(self) -> None:
        """While it stops: its grace is over."""
        self._server.hurry()


def development_listener(
    gateway: Answers,
    *,
    host: str = "127.0.0.1",
    port: int,
    transport: Transport = Transport.HTTP2,
) -> Listener:
    """Plaintext, for `tacit dev`. Whoever reaches it may do everything, so it is for loopback alone.

    Raises:
        ListenFailed: `host` is not a loopback address.
    """
    _loopback_only(host, port)
    return Listener(gateway, ListenerKind.DEVELOPMENT, host=host, port=port, tls=None, transport=transport)


def development_http_listener(
    gateway: GatewayLike,
    *,
    host: str = "127.0.0.1",
    port: int,
    or_any: bool = False,
    handlers: Callable[[], Sequence[HttpHandler]] = tuple,
    grpc_port: Callable[[], int] | None = None,
) -> HttpListener:
    """The HTTP API in plaintext, for `tacit dev`; `handlers` are asked first for the paths that they accept.

    `grpc_port` says where clients are to go that speak gRPC.

    Raises:
        ListenFailed: `host` is not a loopback address.
    """
    _loopback_only(host, port)

    def all_handlers() -> Sequence[HttpHandler]:
        from cloud.gateway.http.json_api import JsonApi  # with the first connection

        return (*handlers(), JsonApi(gateway))

    server = HttpServer(
        all_handlers, ListenerKind.DEVELOPMENT, hosts=_LOOPBACK_NAMES | {host}, grpc_port=grpc_port
    )
    return HttpListener(server, host=host, port=port, or_any=or_any)


def mtls_listener(
    gateway: Answers,
    directory: RootsDirectory,
    certificate: CertificateSource,
    *,
    host: str,
    port: int,
    transport: Transport = Transport.HTTP2,
) -> Listener:
    """TLS with a client certificate required. New roots count from the next handshake on."""
    lock = threading.Lock()
    nobody = nobody_ca_pem()
    known: TlsMaterial | None = None
    looked_at: object = None

    def material() -> TlsMaterial:
        nonlocal known, looked_at
        with lock:
            shown = certificate.current()
            # The version is read first: a change in between is then seen at the next handshake.
            version = (shown.version, directory.version)
            if known is None or looked_at != version:
                looked_at = version
                roots = directory.client_roots_pem() or nobody
                # Most changes of the directory are not of roots, and reading all roots again costs all tenants' handshakes.
                of_this = (shown.version, hashlib.sha256(roots).digest())
                if known is None or known.version != of_this:
                    known = TlsMaterial(
                        version=of_this,
                        chain_pem=shown.chain_pem,
                        key_pem=shown.key_pem,
                        client_roots_pem=roots,
                    )
            return known

    return Listener(gateway, ListenerKind.MTLS, host=host, port=port, tls=material, transport=transport)


def api_key_listener(
    gateway: Answers,
    certificate: CertificateSource,
    *,
    host: str,
    port: int,
    transport: Transport = Transport.HTTP2,
) -> Listener:
    """TLS without client certificates; callers send an API key with each call."""
    lock = threading.Lock()

    def material() -> TlsMaterial:
        with lock:
            shown = certificate.current()
        return TlsMaterial(
            version=shown.version,
            chain_pem=shown.chain_pem,
            key_pem=shown.key_pem,
            client_roots_pem=None,
        )

    return Listener(gateway, ListenerKind.API_KEY, host=host, port=port, tls=material, transport=transport)


def _loopback_only(host: str, port: int) -> None:
    if not _is_loopback(host):
        raise ListenFailed(
            "The development listener has neither TLS nor identities, so it opens on loopback only, not on "
            f"{host}. Use 127.0.0.1, or `tacit up` to serve others.",
            host=host,
            port=port,
        )


_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# What `tacit dev` and `tacit up` call the address and the port of each listener.
_OPTIONS = {
    ListenerKind.DEVELOPMENT: ("--ip", "--port"),
    ListenerKind.MTLS: ("--host", "--mtls-port"),
    ListenerKind.API_KEY: ("--host", "--api-port"),
}
HTTP_OPTIONS = ("--ip", "--http-port")
_SURELY_NOT = (errno.EADDRINUSE, errno.EACCES)


def refuse_taken_port(
    kind: ListenerKind, host: str, port: int, options: tuple[str, str] | None = None
) -> None:
    """Look at a port before anything is made for the listener that will want it.

    `options` are what the caller calls address and port, where that is not the usual for the kind.
    What only a resolver or the transport can settle is left to `Listener.start`.

    Raises:
        ListenFailed: it can't be bound now; the sentence says why, and what to do.
    """
    fault = _bind_fault(host, port)
    if fault is not None and fault.errno in _SURELY_NOT:
        raise ListenFailed(_sentence(options or _OPTIONS[kind], host, port, fault), host=host, port=port)


def _why_not(options: tuple[str, str], host: str, port: int, cause: BaseException | None) -> str:
    """The reason of a transport; grpcio tells none, so the port is bound once more, by hand."""
    fault = cause if isinstance(cause, OSError) else _bind_fault(host, port)
    if fault is None:
        return f"{host}:{port} could not be opened a moment ago and is free now; start again."
    return _sentence(options, host, port, fault)


def _bind_fault(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the transports do: connections of a server that just stopped don't hold its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _sentence(options: tuple[str, str], host: str, port: int, fault: OSError) -> str:
    host_option, port_option = options
    where = f"{host}:{port}"
    if fault.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use. Stop what listens there (`ss -ltnp` names it), "
            f"or choose another port with {port_option}."
        )
    if fault.errno == errno.EACCES:
        return f"{where} can't be opened without privileges; choose a port from 1024 on with {port_option}."
    if fault.errno == errno.EADDRNOTAVAIL or isinstance(fault, socket.gaierror):
        return (
            f"{host} is no address of this machine; give one that is with {host_option}, such as 127.0.0.1."
        )
    return f"{where} can't be opened: {fault.strerror}."
