"""The codec server's socket, on aiohttp: connections, their time-outs, and bodies. What is answered is `service.py`'s.

A connection has until a moment for whatever it is at: the first bytes of a request, its body, reading the answer. Then
it is closed, whatever it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from codec.server.protocol import Answer, Refusal, Request

_log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 500
HANDSHAKE_S_MAX = 10.0
HEADERS_S_MAX = 15.0
BODY_S_MAX = 30.0
ANSWER_S_MAX = 30.0
"""How long a client may take to read an answer."""
WORK_S_MAX = 120.0
"""How long a request may take in all: a slow key service or object store among it."""
IDLE_S_MAX = 60.0
LINE_BYTES_MAX = 8_190
HEADER_BYTES_MAX = 24 * 1024
"""An access token and an ID token have each a header of their own."""
STOP_GRACE_S = 5.0

Respond = Callable[[Request], Awaitable[Answer]]


class CodecEdge:
    """One listening port."""

    def __init__(self, answer: Respond, *, hosts: frozenset[str] | None = None) -> None:
        """`hosts`: the names that a request may be addressed to; None: any.

        A server on loopback names its own: a web page's name can be made to point at the visitor's machine, and its
        scripts then count as of the same origin.
        """
        self._answer = answer
        self._hosts = hosts
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._timers: dict[Any, asyncio.TimerHandle] = {}

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address can't be bound.
        """
        loop = asyncio.get_running_loop()
        self._web = self._made(loop)
        self._server = await loop.create_server(
            self._protocol,
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_S_MAX if tls is not None else None,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no new connections, let requests under way end for a moment, close."""
        server, self._server = self._server, None
        if server is None or self._web is None:
            return
        server.close()
        self._web.pre_shutdown()
        await self._web.shutdown(STOP_GRACE_S)

    def _protocol(self) -> asyncio.BaseProtocol:
        assert self._web is not None
        if len(self._web.connections) >= CONNECTIONS_MAX:
            return _Closed()
        protocol = self._web()
        self._until(protocol, HANDSHAKE_S_MAX + HEADERS_S_MAX)
        return protocol

    def _until(self, protocol: Any, seconds: float) -> None:
        self._forget(protocol)
        self._timers[protocol] = asyncio.get_running_loop().call_later(seconds, self._hang_up, protocol)

    def _forget(self, protocol: Any) -> None:
        timer = self._timers.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _hang_up(self, protocol: Any) -> None:
        self._timers.pop(protocol, None)
        if protocol.transport is not None:
            protocol.transport.abort()

    def _made(self, loop: asyncio.AbstractEventLoop) -> web.Server:
        forget = self._forget
        until = self._until

        class Connections(web.Server):
            def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
                forget(handler)
                super().connection_lost(handler, exc)

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            until(protocol, BODY_S_MAX + WORK_S_MAX + ANSWER_S_MAX)
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

        return Connections(
            self._handle,
            request_factory=request,
            handler_cancellation=True,
            access_log=None,
            logger=_quiet_logger(),
            auto_decompress=False,
            keepalive_timeout=IDLE_S_MAX,
            lingering_time=0,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = await self._reply(request)
        response = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
        if not request.content.is_eof():
            # What is left of a body that nobody wanted to read is not read either.
            response.force_close()
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            self._until(request.protocol, ANSWER_S_MAX)
            await response.write_eof()
        self._until(request.protocol, IDLE_S_MAX + HEADERS_S_MAX)
        return response

    async def _reply(self, request: web.BaseRequest) -> Answer:
        path, _, query = request.raw_path.partition("?")
        if self._hosts is not None and _host_of(request.headers.get("host", "")) not in self._hosts:
            return Refusal(403, "This codec server is not known by that name.", "host").answer()
        asked = Request(
            method=request.method,
            path=path,
            query=query,
            # Of a header that comes twice the first counts.
            headers={name.lower(): value for name, value in reversed(list(request.headers.items()))},
            remote=request.remote or "",
            read_body=lambda most: _body(request, most),
        )
        try:
            async with asyncio.timeout(BODY_S_MAX + WORK_S_MAX):
                return await self._answer(asked)
        except TimeoutError:
            return Refusal(503, "It took too long; ask for fewer payloads, or try again.", "slow").answer()


async def _body(request: web.BaseRequest, most: int) -> bytes:
    too_large = Refusal(413, f"The request's body is larger than {most} bytes.", "too-large")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(400, "The body must not be compressed.", "malformed")
    declared = request.content_length
    if declared is not None and declared > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for part in request.content.iter_any():
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, f"The body did not come within {BODY_S_MAX:g} seconds.", "slow") from None
    except (web.PayloadAccessError, HttpProcessingError, ConnectionError, ValueError):
        raise Refusal(400, "The body was cut short or malformed.", "malformed") from None
    return b"".join(parts)


class _Closed(asyncio.Protocol):
    """A connection beyond the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _host_of(header: str) -> str:
    host = header.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _quiet_logger() -> logging.Logger:
    """aiohttp's, which would write a traceback for every request that is none."""

    def told(record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        if isinstance(fault, HttpProcessingError):
            _log.info("codec_server.malformed_request", status=fault.code)
        else:
            _log.warning("codec_server.connection_failed", error=type(fault).__name__ if fault else "")
        return False

    logger = logging.Logger("aiohttp.server")  # noqa: LOG001 - a global one would keep what this server told it
    logger.addFilter(told)
    return logger
