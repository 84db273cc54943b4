"""The gRPC transport on `grpc.aio`, for `--transport grpc`: the one file that knows gRPC's server.

Each call costs this layer a dictionary of headers and a task; there are no interceptors, because
each one costs as much again. What a transport must do beside carrying calls, and where it is done:
- typed errors become a status with `grpc-status-details-bin`, defects an error id only (`grpc_status.py`);
- a deadline becomes a reading of the loop's clock, a client that goes away cancels the coroutine;
- requests may be compressed; gRPC checks the limit before and after decompression;
- headers lose credentials and what only the gateway may say (`grpc_status.admitted`);
- the certificate chain of the handshake goes to identity, and roots change without a restart
  (`_credentials`);
- `stop` drains here, not in gRPC: its own way cancels calls that arrive meanwhile, and SDKs retry UNAVAILABLE
  but not CANCELLED. So health turns to NOT_SERVING, new calls are answered UNAVAILABLE, those under way may end
  within the grace and are then answered UNAVAILABLE too; only then does the socket close.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cloud.rpc import Method, RpcError
from cloud.transport import grpc_status
from cloud.transport.bounds import MESSAGE_BYTES_MAX, POLLS_MAX, message_too_large
from cloud.transport.calls import HEALTH, REFLECTIONS, Answers, CallParts, ListenerKind, TlsMaterial
from cloud.transport.grpc_status import FLUSH_S_MAX, READ_BYTES_MAX, Ended, FinalStatus, PortUnavailable

_log = structlog.get_logger(__name__)

_OPTIONS = (
    # A second server on the same port must fail to start, not take half of the connections.
    ("grpc.so_reuseport", 0),
    # Answers (a page of history) may be larger than requests.
    ("grpc.max_send_message_length", -1),
    # One connection of a client carries all its polls.
    ("grpc.max_concurrent_streams", POLLS_MAX),
    # All polls of a fleet come at once after a restart. By default gRPC begins to cancel calls at random once a
    # thousand wait to be looked at, and SDKs take that for an end, not for a reason to try again.
    ("grpc.server.max_pending_requests", POLLS_MAX // 2),
    ("grpc.server.max_pending_requests_hard_limit", POLLS_MAX),
    # Find half-open connections.
    ("grpc.keepalive_time_ms", grpc_status.KEEPALIVE_AFTER_S * 1_000),
    ("grpc.keepalive_timeout_ms", grpc_status.KEEPALIVE_WITHIN_S * 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # SDKs ping every 30 s, some every 10 s.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", grpc_status.HANDSHAKE_S_MAX * 1_000),
)


_MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class GrpcServer:
    """One listening port. `tls` is asked at every handshake, from gRPC's threads; None is plaintext."""

    def __init__(
        self, answers: Answers, kind: ListenerKind, tls: Callable[[], TlsMaterial] | None = None
    ) -> None:
        self._answers = answers
        self._kind = kind
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self._health: Any = None
        self._running: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._ending = False

    async def start(self, address: str) -> int:
        """Listen on `address` (host:port, port 0 for any free one) and return the port.

        Raises:
            PortUnavailable: the address can't be bound.
        """
        self._draining = self._ending = False
        server = grpc.aio.server(
            options=(*_OPTIONS, ("grpc.max_receive_message_length", READ_BYTES_MAX[self._kind]))
        )
        handlers = {path: self._handler(method) for path, method in self._answers.methods.items()}
        server.add_generic_rpc_handlers((_Handlers(handlers | _reflection(self._answers.methods.values())),))
        services = {method.service for method in self._answers.methods.values()}
        self._health = _Health(("", *sorted(services), HEALTH))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        try:
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            await server.stop(None)
            raise PortUnavailable(address) from error
        await server.start()
        for service in self._health.services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._server = server
        return port

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those under way end for `grace_s` seconds, then end them."""
        server, self._server = self._server, None
        if server is None:
            return
        self._draining = True
        # Who watches and does not read would keep it for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S_MAX):
                await self._health.enter_graceful_shutdown()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        self.hurry()
        if self._running:
            await asyncio.wait(self._running, timeout=FLUSH_S_MAX)
        await server.stop(FLUSH_S_MAX)

    def hurry(self) -> None:
        """While it stops: its grace is over."""
        if not self._draining:
            return
        self._ending = True
        for task in self._running:
            task.cancel()

    def _handler(self, method: Method) -> _MethodHandler:
        answer_call = self._answers.answer
        kind = self._kind
        loop_time = asyncio.get_running_loop().time
        with_certificate = kind is ListenerKind.MTLS

        running = self._running

        async def answer(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            if self._draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, grpc_status.STOPPING)
            if len(message) > MESSAGE_BYTES_MAX:
                await _refuse(context, grpc_status.of_refusal(message_too_large(len(message))))
            task = asyncio.current_task()
            if task is not None:
                running.add(task)
            try:
                parts = _parts(context, kind, loop_time, with_certificate)
                answering = answer_call(method, message, parts)
                del message  # a long poll would keep it
                return await answering
            except Ended as ended:
                await _refuse(context, ended.status)
                raise  # not reached: refusing raises
            except RpcError as refusal:
                await _refuse(context, grpc_status.of_refusal(refusal))
                raise  # not reached: refusing raises
            except asyncio.CancelledError:
                if self._ending:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, grpc_status.STOPPING)
                raise
            except Exception:
                await _refuse(context, grpc_status.of_defect(method.name))
                raise  # not reached: refusing raises
            finally:
                running.discard(task)

        return grpc.unary_unary_rpc_method_handler(answer)


class _Health(health.aio.HealthServicer):  # type: ignore[misc] # it has no types
    """The official servicer, with the method that it lacks."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self.services = services

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802 # the proto's name
        return health_pb2.HealthListResponse(
            statuses={
                service: await self.Check(health_pb2.HealthCheckRequest(service=service), context)
                for service in self.services
            }
        )


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, _MethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _MethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _reflection(methods: Iterable[Method]) -> dict[str, _MethodHandler]:
    """Reflection by its two names."""
    services = sorted({method.service for method in methods})
    servicer = reflection.aio.ReflectionServicer([*services, HEALTH, *REFLECTIONS])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{name}/ServerReflectionInfo": handler for name in REFLECTIONS}


def _parts(
    context: Any, kind: ListenerKind, loop_time: Callable[[], float], with_certificate: bool
) -> CallParts:
    metadata, authorization = grpc_status.admitted(context.invocation_metadata() or ())
    remaining_s = context.time_remaining()
    leaf: bytes | None = None
    intermediates: tuple[bytes, ...] = ()
    if with_certificate:
        leaf, intermediates = _presented_chain(context.auth_context())
    return CallParts(
        listener=kind,
        metadata=metadata,
        deadline_s=None if remaining_s is None else loop_time() + remaining_s,
        peer=context.peer(),
        authorization=authorization,
        leaf_pem=leaf,
        intermediates_pem=intermediates,
    )


_END_OF_CERTIFICATE = b"-----END CERTIFICATE-----\n"


def _presented_chain(auth_context: Mapping[str, Any]) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The leaf and the rest of the chain that the client presented, each as one PEM block."""
    leaves = auth_context.get("x509_pem_cert")
    if not leaves:
        return None, ()
    leaf: bytes = leaves[0]
    chain: bytes = (auth_context.get("x509_pem_cert_chain") or (b"",))[0]
    blocks = [block + _END_OF_CERTIFICATE for block in chain.split(_END_OF_CERTIFICATE) if block.strip()]
    return leaf, tuple(block for block in blocks if block != leaf)


async def _refuse(context: Any, status: FinalStatus) -> None:
    details = () if status.details is None else (("grpc-status-details-bin", status.details),)
    await context.abort(_STATUS_CODES[status.code], status.sentence, (*details, *status.metadata))


_STATUS_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def _credentials(tls: Callable[[], TlsMaterial]) -> grpc.ServerCredentials:
    """Credentials that follow `tls`: each handshake takes its present material, without a restart."""
    first = tls()
    with_clients = first.client_roots_pem is not None
    used = first.version

    def configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(material.key_pem, material.chain_pem)], root_certificates=material.client_roots_pem
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called from gRPC's threads. Two at once may both build the new configuration, which does no harm. An
        # error must not escape: the handshake then goes on with the material known before.
        nonlocal used
        try:
            material = tls()
            if material.version == used:
                return None
            changed = configuration(material)
        except Exception:
            _log.exception("grpc.tls_reload_failed")
            return None
        used = material.version
        return changed

    return grpc.dynamic_ssl_server_credentials(
        configuration(first),
        fetch,  # type: ignore[arg-type] # the stubs do not know that None keeps what there is
        require_client_authentication=with_clients,
    )
