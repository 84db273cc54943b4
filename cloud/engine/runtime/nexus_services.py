"""Services behind URLs: the calls that endpoints with an external target, and callbacks outside the cell, are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import CancelOperationRequest, StartOperationRequest
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.core import nexus_answers
from cloud.engine.core.clock import MILLISECOND, SECOND
from cloud.engine.core.limits import Limits
from cloud.engine.core.nexus_answers import Answer, Pending, Refused, Succeeded
from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime import nexus_wire as wire
from cloud.engine.runtime.nexus_completions import Completion
from cloud.engine.runtime.nexus_delivery import CallFailed
from cloud.engine.runtime.outbound import Outbound, OutboundFailed, OutboundRefused, OutboundReply

CALLBACK_TIMEOUT_S = 10.0
MESSAGE_SIZE_MARGIN = 64 * 1024
"""Bytes of an answer beside the largest payload in it."""

UNSUCCESSFUL = 424
"""The status of an operation that ended without a result."""

_KINDS = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "UNAUTHORIZED",
    404: "NOT_FOUND",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "NOT_IMPLEMENTED",
    503: "UNAVAILABLE",
    520: "UPSTREAM_TIMEOUT",
}
"""Types of handler errors by HTTP status (the protocol's predefined ones)."""

STATUS_OF_KIND = {kind: status for status, kind in _KINDS.items()}
"""The inverse."""

# What says how a message is carried is not a tenant's to say.
_OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class NexusServices:
    """Speaks Nexus with services behind URLs, through the one way out."""

    def __init__(self, outbound: Outbound, limits: Limits) -> None:
        self._outbound = outbound
        self._size_max = limits.blob_size_error + MESSAGE_SIZE_MARGIN

    async def start(
        self, url: str, request: StartOperationRequest, header: Mapping[str, str], timeout_ns: int
    ) -> Answer:
        """Ask the service at `url` to start an operation."""
        content, body = wire.write_payload(request.payload if request.HasField("payload") else None)
        sent = {
            **carried(header),
            **content,
            wire.REQUEST_ID: request.request_id,
            wire.FAILURE_SUPPORT: "true",
            **{f"{wire.CALLBACK_PREFIX}{key}": text for key, text in request.callback_header.items()},
        }
        links = wire.write_links(request.links)
        if links:
            sent[wire.LINK] = links
        query = urlencode({"callback": request.callback}) if request.callback else ""
        try:
            target = below(url, request.service, request.operation, query=query)
        except NoPathPart as error:
            return failures.refused(failures.handler_failure("BAD_REQUEST", str(error)))
        reply = await self._post(target, sent, body, timeout_ns)
        return reply if isinstance(reply, Refused) else self._started(reply, bool(request.callback))

    async def cancel(
        self, url: str, request: CancelOperationRequest, header: Mapping[str, str], timeout_ns: int
    ) -> Answer:
        """Ask the service at `url` to cancel an operation."""
        sent = {**carried(header), wire.OPERATION_TOKEN: request.operation_token}
        target = below(url, request.service, request.operation, "cancel")
        reply = await self._post(target, sent, b"", timeout_ns)
        if isinstance(reply, Refused):
            return reply
        return Pending() if reply.status == 202 else _handler_error(reply)

    async def complete(
        self, url: str, header: Mapping[str, str], completion: Completion, closed_at: int
    ) -> None:
        """Tell the callback at `url` how an operation ended.

        Raises:
            CallFailed: it did not take it.
        """
        outcome = completion.outcome
        if isinstance(outcome, Succeeded):
            sent, body = wire.write_payload(outcome.result)
            sent[wire.OPERATION_STATE] = "succeeded"
        else:
            body = wire.write_failure(failures.as_nexus(outcome.failure))
            state = "canceled" if outcome.canceled else "failed"
            sent = {"content-type": "application/json", wire.OPERATION_STATE: state}
        if completion.token:
            sent[wire.OPERATION_TOKEN] = completion.token
        if completion.started_at:
            sent[wire.START_TIME] = wire.write_date(completion.started_at)
        sent[wire.CLOSE_TIME] = wire.write_time(closed_at)
        links = wire.write_links(_as_nexus(completion))
        if links:
            sent[wire.LINK] = links
        reply = await self._post(url, {**sent, **carried(header)}, body, int(CALLBACK_TIMEOUT_S * SECOND))
        refusal = reply if isinstance(reply, Refused) else None
        if isinstance(reply, OutboundReply):
            if 200 <= reply.status < 300:
                return
            refusal = _handler_error(reply)
        assert refusal is not None
        raise CallFailed(_sentence(refusal.failure), retryable=refusal.retryable)

    async def _post(
        self, url: str, header: dict[str, str], body: bytes, timeout_ns: int
    ) -> OutboundReply | Refused:
        header.setdefault("user-agent", wire.USER_AGENT)
        header[wire.REQUEST_TIMEOUT] = f"{timeout_ns // MILLISECOND}ms"
        try:
            return await self._outbound.post(
                url, header, body, timeout_s=timeout_ns / SECOND, size_max=self._size_max
            )
        except OutboundFailed as error:
            retryable = not isinstance(error, OutboundRefused)
            return Refused(nexus_answers.call_failure(str(error), retryable=retryable), retryable)

    def _started(self, reply: OutboundReply, calls_back: bool) -> Answer:
        try:
            if reply.status == 200:
                return Succeeded(wire.read_payload(reply.header, reply.body), wire.read_links(reply.header))
            if reply.status == 201:
                return _begun(reply, calls_back)
            if reply.status == UNSUCCESSFUL:
                if not wire.is_json(reply.header):
                    return _unexpected(
                        reply, f'invalid response content type: "{reply.header.get("content-type", "")}"'
                    )
                return _unsuccessful(reply)
        except (wire.MalformedMessage, failures.MalformedFailure) as error:
            return _unexpected(reply, str(error))
        return _handler_error(reply)


def _as_nexus(completion: Completion) -> list[NexusLink]:
    return [made for link in completion.links if (made := nexus_links.as_nexus(link)) is not None]


def carried(header: Mapping[str, str]) -> dict[str, str]:
    """A tenant's headers, by names in lower case."""
    found = {key.lower(): text for key, text in header.items()}
    return {
        key: text
        for key, text in found.items()
        if key not in _OF_THE_CONNECTION and not key.startswith("proxy-")
    }


class NoPathPart(ValueError):
    """A name that would lead elsewhere than below its URL."""


def below(url: str, *parts: str, query: str = "") -> str:
    """`url` with `parts` behind its path, whatever is in them; with `query` beside what it has.

    Raises:
        NoPathPart: a part is one of the two that mean another place.
    """
    if {".", ".."}.intersection(parts):
        raise NoPathPart("a service or an operation can't be named . or .. behind a URL")
    base = urlsplit(url)
    path = "/".join((base.path.rstrip("/"), *(quote(part, safe="") for part in parts)))
    both = "&".join(text for text in (base.query, query) if text)
    return urlunsplit((base.scheme, base.netloc, path, both, ""))


def _begun(reply: OutboundReply, calls_back: bool) -> Answer:
    try:
        info = json.loads(reply.body)
        token, state = info.get("token") or info.get("id"), info.get("state")
    except (ValueError, AttributeError, RecursionError):
        return _unexpected(reply, "the body is no operation's info")
    if state != "running":
        return _unexpected(reply, f'invalid operation state in response info: "{str(state)[:40]}"')
    if not isinstance(token, str) or not token:
        return _unexpected(reply, "empty operation token in response")
    if not calls_back:
        reason = "the operation was started, but nobody could tell how it ends: this service has no URL for callbacks"
        return Refused(nexus_answers.call_failure(reason, retryable=False), retryable=False)
    return Pending(token, wire.read_links(reply.header))


def _unsuccessful(reply: OutboundReply) -> Answer:
    failure, state = wire.read_failure(reply.body), reply.header.get(wire.OPERATION_STATE, "")
    if failure.metadata.get("type") != "nexus.OperationError" and state not in ("failed", "canceled"):
        return _unexpected(reply, f'invalid operation state header: "{state[:40]}"', failure)
    return wire.unsuccessful(failure, state)


def _handler_error(reply: OutboundReply) -> Refused:
    """What an answer that is no success says."""
    cause: NexusFailure | None = None
    if wire.is_json(reply.header):
        try:
            cause = wire.read_failure(reply.body)
            if cause.metadata.get("type") == "nexus.HandlerError":
                return failures.refused(failures.as_temporal(cause))
        except (wire.MalformedMessage, failures.MalformedFailure):
            cause = None
    kind = _KINDS.get(reply.status)
    if kind is None:
        return _unexpected(reply, f'unexpected response status: "{reply.status} {reply.reason[:80]}"', cause)
    failure = Failure()
    failure.nexus_handler_failure_info.type = kind
    match reply.header.get(wire.RETRYABLE, "").lower():
        case "true":
            failure.nexus_handler_failure_info.retry_behavior = failures.RETRYABLE
        case "false":
            failure.nexus_handler_failure_info.retry_behavior = failures.NON_RETRYABLE
        case _:
            pass
    if cause is not None:
        try:
            failure.cause.CopyFrom(failures.as_temporal(cause))
        except failures.MalformedFailure:
            failure.cause.message = cause.message
    return failures.refused(failure)


def _unexpected(reply: OutboundReply, message: str, cause: NexusFailure | None = None) -> Refused:
    if cause is not None and cause.message:
        message = f"{message}: {cause.message}"
    return Refused(nexus_answers.call_failure(message, retryable=True), retryable=True)


def _sentence(failure: Failure) -> str:
    """A refusal as one sentence for people."""
    if not failure.HasField("nexus_handler_failure_info"):
        return failure.message
    kind = f"handler error ({failure.nexus_handler_failure_info.type})"
    return f"{kind}: {failure.message}" if failure.message else kind
