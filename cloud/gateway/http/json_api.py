"""The HTTP API: every RPC that has a path in its proto, as JSON. It calls the gateway as gRPC's transport does.

What a request may say beside its fields: `?pretty`, `?noPayloadShorthand`, or the same in Accept and
Content-Type (`application/json+pretty+no-payload-shorthand`); `Grpc-Timeout` for a deadline. Errors are
google.rpc.Status as JSON, with the HTTP status that grpc-gateway gives the code.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import structlog
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from cloud.gateway.http.calls import GatewayLike, HttpCall, HttpReply
from cloud.gateway.http.fields import set_query, set_variable
from cloud.gateway.http.json_messages import NotThisMessage, parse, render
from cloud.gateway.http.routes import Found, Routes
from cloud.rpc import Code, Internal, InvalidArgument, NotFound, RpcError, Unimplemented
from cloud.transport.bounds import MESSAGE_BYTES_MAX, message_too_large
from cloud.transport.calls import CallParts

_log = structlog.get_logger(__name__)

OFF_LOOP_BYTES = 256 * 1024
"""JSON from here on is read and written in a thread: milliseconds per megabyte are not the event loop's."""

HTTP_STATUS: Mapping[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_JSON = "application/json"
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_TIMEOUT_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(frozen=True, slots=True)
class Form:
    """How JSON is written: with payloads in shorthand or not, indented or not."""

    shorthand: bool = True
    pretty: bool = False

    @property
    def content_type(self) -> str:
        """The media type that names this form."""
        return f"{_JSON}{'+pretty' * self.pretty}{'+no-payload-shorthand' * (not self.shorthand)}"


_FORMS = {form.content_type: form for form in (Form(s, p) for s in (True, False) for p in (True, False))}


class JsonApi:
    """The HTTP API over a gateway. It takes every path that no other handler took, if only to refuse it."""

    def __init__(self, gateway: GatewayLike) -> None:
        self._gateway = gateway
        self._routes = Routes(gateway.methods.values())

    def accepts(self, method: str, segments: tuple[str, ...]) -> bool:
        """Always."""
        return True

    async def answer(self, call: HttpCall) -> HttpReply:
        """Answer one request."""
        read, written = _forms(call)
        try:
            found = self._found(call)
            request = await _request(call, found, read)
            response = await self._gateway.call(found.route.method, request, _with_deadline(call.parts))
            return await _reply(response, written)
        except RpcError as refusal:
            return refused(refusal, written)

    def _found(self, call: HttpCall) -> Found:
        found = self._routes.find(call.method, call.segments)
        if found is not None:
            return found
        if self._routes.other_verb(call.method, call.segments):
            raise Unimplemented("Method Not Allowed")
        raise NotFound("Not Found")


def refused(refusal: RpcError, form: Form | None = None) -> HttpReply:
    """A refusal as an HTTP reply: google.rpc.Status in JSON."""
    form = form or Form()
    status = Status(code=int(refusal.code), message=refusal.message)
    for detail in refusal.details:
        status.details.add().Pack(detail)
    body = render(status, shorthand=form.shorthand, pretty=form.pretty)
    headers = {"content-type": form.content_type}
    if refusal.code is Code.UNAUTHENTICATED:
        headers["www-authenticate"] = "Bearer"
    return HttpReply(status=HTTP_STATUS[refusal.code], body=body, headers=headers)


def _forms(call: HttpCall) -> tuple[Form, Form]:
    """The forms to read and to write."""
    asked = {name for name, _ in call.query}
    pretty, long = "pretty" in asked, "noPayloadShorthand" in asked
    read = _FORMS.get(call.parts.metadata.get("content-type", "").partition(";")[0].strip(), Form())
    if pretty or long:
        return read, Form(shorthand=not long, pretty=pretty)
    return read, _FORMS.get(call.parts.metadata.get("accept", ""), read)


async def _request(call: HttpCall, found: Found, form: Form) -> Message:
    route = found.route
    kind = route.method.request_type
    if route.with_body:
        read = partial(parse, call.body, kind, shorthand=form.shorthand)
        try:
            request = await asyncio.to_thread(read) if len(call.body) >= OFF_LOOP_BYTES else read()
        except NotThisMessage as error:
            raise InvalidArgument(str(error)) from error
        if (size_bytes := request.ByteSize()) > MESSAGE_BYTES_MAX:
            raise message_too_large(size_bytes)
    else:
        request = kind()
        set_query(request, call.query, route.variables)
    for path, text in zip(route.variables, found.values, strict=True):
        set_variable(request, path, text)
    return request


async def _reply(response: Message, form: Form) -> HttpReply:
    write = partial(render, response, shorthand=form.shorthand, pretty=form.pretty)
    try:
        body = await asyncio.to_thread(write) if response.ByteSize() >= OFF_LOOP_BYTES else write()
    except Exception as error:
        error_id = secrets.token_hex(8)
        kind = response.DESCRIPTOR.full_name
        _log.exception("http.not_rendered", error_id=error_id, message=kind)
        raise Internal(f"Internal error {error_id}: the {kind} can't be written as JSON.") from error
    return HttpReply(status=200, body=body, headers={"content-type": form.content_type})


def _with_deadline(parts: CallParts) -> CallParts:
    text = parts.metadata.get("grpc-timeout")
    if text is None:
        return parts
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid grpc-timeout: {text[:100]}")
    timeout_s = int(match[1]) * _TIMEOUT_UNIT_S[match[2]]
    return dataclasses.replace(parts, deadline_s=asyncio.get_running_loop().time() + timeout_s)
