"""The HTTP transport on aiohttp: sockets, headers and bounds. What is answered is its handlers' matter.

- It listens without aiohttp, which is imported when the first client connects: most development servers never
  see one, and it costs 13 MB.
- A browser lets any web page send requests to localhost, and a page's own name can be made to point there. So
  `hosts` names what a request may be addressed to, and what page it may come from; all else is FORBIDDEN.
- A client that goes away cancels the coroutine.
- `stop` closes the socket, lets calls under way end within the grace, and then cancels them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from cloud.gateway.http.calls import HttpCall, HttpHandler, HttpReply
from cloud.transport.calls import CREDENTIAL_HEADERS, TRUSTED_HEADER_PREFIX, CallParts, ListenerKind

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, RequestHandler, Response, Server

_log = structlog.get_logger(__name__)

BODY_BYTES_MAX = 4 * 1024 * 1024
BODY_S_MAX = 60.0
"""How long a body may take to come."""

HEADERS_S_MAX = 30.0
"""How long a new connection may take to send the headers of its first request."""

PATH_BYTES_MAX = 8_190
"""Of the request line, and of each header."""

QUERY_FIELDS_MAX = 200
IDLE_S_MAX = 75.0
CONNECTIONS_MAX = 1_000
"""Connections of one port. Those beyond are closed at once."""

_HTTP2_OPENING = "PRI/Upgrade"
"""In what aiohttp's parser says of the first bytes of HTTP/2."""

_REFUSED_HOST = b'{"code":7,"message":"Host not allowed"}'
_REFUSED_ORIGIN = b'{"code":7,"message":"Origin not allowed"}'
_JSON = {"content-type": "application/json"}
_ALWAYS = {"server": "tacit", "x-content-type-options": "nosniff", "cache-control": "no-store"}


HURRIED_S = 0.01
"""What is left to calls whose grace is over; none at all would be for ever to aiohttp."""


class HttpServer:
    """One listening port. `handlers` is called once, at the first connection; the last one takes what is left.

    `grpc_port` says where clients are to go that speak gRPC.
    """

    def __init__(
        self,
        handlers: Callable[[], Sequence[HttpHandler]],
        kind: ListenerKind,
        *,
        hosts: frozenset[str],
        grpc_port: Callable[[], int] | None = None,
    ) -> None:
        self._grpc_port = grpc_port
        self._make_handlers = handlers
        self._handlers: Sequence[HttpHandler] = ()
        self._kind = kind
        self._hosts = hosts
        self._server: asyncio.Server | None = None
        self._web: Server | None = None
        self._draining: asyncio.Task[None] | None = None
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections that have not sent a request yet, and when they are given up."""

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address can't be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, let calls under way end for `grace_s` seconds, then end them."""
        server, self._server = self._server, None
        web, self._web = self._web, None
        if server is None:
            return
        server.close()
        if web is not None:
            web.pre_shutdown()
            self._draining = asyncio.create_task(web.shutdown(grace_s))
            await asyncio.wait({self._draining})
            if self._draining.cancelled():
                await web.shutdown(HURRIED_S)

    def hurry(self) -> None:
        """While it stops: its grace is over."""
        if self._draining is not None:
            self._draining.cancel()

    def _protocol(self) -> asyncio.BaseProtocol:
        if self._web is None:
            try:
                self._web = self._made()
            except Exception:
                _log.exception("http.handlers_broke")  # a defect; whoever connects must not wait for ever
                return _Closed()
        if len(self._web.connections) >= CONNECTIONS_MAX:
            return _Closed()
        protocol = self._web()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(HEADERS_S_MAX, self._hang_up, protocol)
        return protocol

    def _hang_up(self, protocol: RequestHandler) -> None:
        protocol.close()
        if protocol.transport is not None:
            protocol.transport.close()

    def _heard(self, protocol: asyncio.BaseProtocol) -> None:
        timer = self._silent.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _made(self) -> Server:
        from aiohttp import web  # at the first connection: see above

        loop = asyncio.get_running_loop()
        heard = self._heard

        class Connections(web.Server):
            def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
                heard(handler)
                super().connection_lost(handler, exc)

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> BaseRequest:
            heard(protocol)
            return web.BaseRequest(
                message, payload, protocol, writer, task, loop, client_max_size=BODY_BYTES_MAX
            )

        self._handlers = self._make_handlers()
        return Connections(
            self._answer,
            request_factory=request,
            handler_cancellation=True,
            access_log=None,
            logger=self._logger(),
            auto_decompress=False,
            keepalive_timeout=IDLE_S_MAX,
            max_line_size=PATH_BYTES_MAX,
            max_field_size=PATH_BYTES_MAX,
        )

    def _logger(self) -> logging.Logger:
        """aiohttp's, which tells of requests that are none in a line instead of a traceback."""
        from aiohttp.http_exceptions import HttpProcessingError

        def told(record: logging.LogRecord) -> bool:
            fault = record.exc_info[1] if record.exc_info else None
            if not isinstance(fault, HttpProcessingError):
                return True
            if _HTTP2_OPENING in fault.message:
                where = f"; gRPC is on port {self._grpc_port()}" if self._grpc_port is not None else ""
                _log.info(f"a gRPC client called the HTTP port{where}")
            else:
                _log.info("http.malformed_request", status=fault.code)
            return False

        logger = logging.Logger("aiohttp.server")  # noqa: LOG001 - a global one would keep what this server told it
        logger.addFilter(told)
        logger.parent = logging.getLogger()
        return logger

    async def _answer(self, request: BaseRequest) -> Response:
        from aiohttp.web import Response

        try:
            reply = await self._reply(request)
        except Exception:
            error_id = secrets.token_hex(8)
            _log.exception("http.call_failed", error_id=error_id)
            reply = _refusal(
                500, 13, f"Internal error {error_id}: a defect here, which the service's log tells of."
            )
        return Response(status=reply.status, body=reply.body, headers={**_ALWAYS, **reply.headers})

    async def _reply(self, request: BaseRequest) -> HttpReply:
        from aiohttp.web import HTTPRequestEntityTooLarge

        if _host_of(f"//{request.headers.get('host', '')}") not in self._hosts:
            return HttpReply(status=403, body=_REFUSED_HOST, headers=_JSON)
        origin = request.headers.get("origin")
        if origin is not None and _host_of(origin) not in self._hosts:
            return HttpReply(status=403, body=_REFUSED_ORIGIN, headers=_JSON)
        path, _, query_text = request.raw_path.partition("?")
        try:
            segments = tuple(unquote(part, errors="strict") for part in path.removeprefix("/").split("/"))
            query = parse_qsl(
                query_text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
            )
        except ValueError:
            return _refusal(400, 3, "the URL is not UTF-8, or has too many query parameters")
        if not path.startswith("/"):
            return _refusal(400, 3, "Bad Request")
        handler = next(h for h in self._handlers if h.accepts(request.method, segments))
        try:
            async with asyncio.timeout(BODY_S_MAX):
                body = await request.read()
        except HTTPRequestEntityTooLarge:
            return _refusal(400, 3, f"the request's body is larger than {BODY_BYTES_MAX} bytes")
        except TimeoutError:
            return _refusal(408, 4, f"the request's body did not come within {BODY_S_MAX:g} seconds")
        return await handler.answer(
            HttpCall(
                method=request.method,
                segments=segments,
                query=query,
                body=body,
                parts=_parts(request, self._kind),
            )
        )


class _Closed(asyncio.Protocol):
    """A connection that can't be served."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _parts(request: BaseRequest, kind: ListenerKind) -> CallParts:
    metadata = {
        name: value
        for name, value in ((name.lower(), value) for name, value in request.headers.items())
        if name not in CREDENTIAL_HEADERS and not name.startswith(TRUSTED_HEADER_PREFIX)
    }
    return CallParts(
        listener=kind,
        metadata=metadata,
        peer=request.remote or "",
        authorization=request.headers.get("authorization"),
    )


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _refusal(status: int, code: int, sentence: str) -> HttpReply:
    return HttpReply(status=status, body=f'{{"code":{code},"message":"{sentence}"}}'.encode(), headers=_JSON)
