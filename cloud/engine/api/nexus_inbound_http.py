"""Nexus over HTTP from outside: operations of a task queue that clients start and cancel without gRPC.

A call becomes a Nexus task of the queue, or of the one that an endpoint targets; what its worker says is the answer. The protocol is
github.com/nexus-rpc/api (SPEC.md). Whoever may call is let in by the listener: nothing is identified here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import (
    CancelOperationRequest,
    HandlerError,
    Link,
    Request,
    Response,
    StartOperationRequest,
    StartOperationResponse,
)
from temporalio.api.nexus.v1 import Failure as NexusFailure

from cloud.engine.api import checks
from cloud.engine.api.nexus_callback_http import NexusReply
from cloud.engine.core.clock import MILLISECOND, SECOND, timestamp
from cloud.engine.core.command_checks import RESERVED_QUEUE_PREFIX
from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_wire as wire
from cloud.engine.runtime.namespaces import NoSuchNamespace
from cloud.engine.runtime.nexus_services import STATUS_OF_KIND, UNSUCCESSFUL, carried
from cloud.engine.runtime.nexus_tasks import NEXUS_TASK, NobodyAnswered, WorkerAnswer
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey

TIMEOUT_S = 60.0
"""How long a worker has if the caller does not say."""

BODY_BYTES_MAX = 2 * 1024 * 1024
HEADER_BYTES_MAX = 32 * 1024
"""Of the headers that a worker is sent."""

FAILURE_SOURCE = "temporal-nexus-failure-source"
_WORKER = {FAILURE_SOURCE: "worker"}
_JSON = {"content-type": "application/json"}
_TIMEOUT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m)")
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND}


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundCall:
    """A POST request. By `namespace` and `task_queue`, or else by `endpoint_id`; `names` are the path's parts behind them."""

    namespace: str = ""
    task_queue: str = ""
    endpoint_id: str = ""
    names: tuple[str, ...]
    callback: str
    header: Mapping[str, str]
    body: bytes


class _Refused(Exception):
    """The call is answered before a worker sees it."""

    def __init__(self, kind: str, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.failure = failures.handler_failure(kind, message)
        if retryable is not None:
            info = self.failure.nexus_handler_failure_info
            info.retry_behavior = failures.RETRYABLE if retryable else failures.NON_RETRYABLE


class NexusInboundHttp:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def answer(self, call: InboundCall) -> NexusReply:
        """Have a worker answer a call."""
        understands = call.header.get(wire.FAILURE_SUPPORT) == "true"
        try:
            key, endpoint = self._target(call)
            request = self._request(call)
            request.capabilities.temporal_failure_responses = understands
            request.endpoint = endpoint
            timeout_s = _timeout_s(call.header)
        except _Refused as error:
            return _handler_failed(error.failure, {})
        try:
            said = await self._runtime.nexus_tasks.dispatch(
                key, self._runtime.ids.request_id(), request, timeout_s
            )
        except NobodyAnswered:
            return _handler_failed(failures.handler_failure("UPSTREAM_TIMEOUT", "upstream timeout"), _WORKER)
        return _reply(request, said, understands)

    def _target(self, call: InboundCall) -> tuple[QueueKey, str]:
        """The queue, and the name of the endpoint if there is one."""
        runtime = self._runtime
        if call.endpoint_id:
            endpoint = runtime.nexus_endpoints.by_id(call.endpoint_id)
            if endpoint is None or endpoint.callers is not None:
                raise _Refused("NOT_FOUND", "nexus endpoint not found", retryable=False)
            if endpoint.url:
                raise _Refused("BAD_REQUEST", "invalid endpoint target")
            return QueueKey(endpoint.namespace_id, endpoint.task_queue, NEXUS_TASK), endpoint.name
        try:
            namespace = checks.namespace_of(runtime, call.namespace)
        except NoSuchNamespace:
            raise _Refused("NOT_FOUND", f'namespace not found: "{call.namespace}"') from None
        queue = call.task_queue
        bad = not queue or len(queue.encode()) > runtime.limits.id_length or "\0" in queue
        if bad or queue.startswith(RESERVED_QUEUE_PREFIX):
            raise _Refused("BAD_REQUEST", "invalid task queue")
        return QueueKey(namespace.namespace_id, queue, NEXUS_TASK), ""

    def _request(self, call: InboundCall) -> Request:
        header = {
            key: text
            for key, text in carried(call.header).items()
            if not key.startswith(("content-", wire.CALLBACK_PREFIX))
        }
        if sum(len(key) + len(text) for key, text in header.items()) > HEADER_BYTES_MAX:
            raise _Refused("BAD_REQUEST", "header exceeds size limit")
        match call.names:
            case (service, operation) if service and operation:
                request = Request(start_operation=self._start(call, service, operation))
            case (service, operation, "cancel") if service and operation:
                request = Request(cancel_operation=_cancel(call, service, operation))
            case _:
                raise _Refused("NOT_FOUND", "not found")
        for key, text in header.items():
            request.header[key] = text
        request.scheduled_time.CopyFrom(timestamp(self._runtime.clock.now()))
        return request

    def _start(self, call: InboundCall, service: str, operation: str) -> StartOperationRequest:
        if len(call.body) > BODY_BYTES_MAX:
            raise _Refused("BAD_REQUEST", "invalid input")
        try:
            payload = wire.read_payload(call.header, call.body)
        except wire.MalformedMessage:
            raise _Refused("BAD_REQUEST", "invalid input") from None
        if payload.ByteSize() > self._runtime.limits.blob_size_error:
            raise _Refused("BAD_REQUEST", "input exceeds size limit")
        prefix = wire.CALLBACK_PREFIX
        return StartOperationRequest(
            service=service,
            operation=operation,
            request_id=call.header.get(wire.REQUEST_ID, ""),
            callback=call.callback,
            callback_header={
                key.removeprefix(prefix): text for key, text in call.header.items() if key.startswith(prefix)
            },
            payload=payload,
            links=[Link(url=url, type=kind) for url, kind in wire.raw_links(call.header)],
        )


def _cancel(call: InboundCall, service: str, operation: str) -> CancelOperationRequest:
    token = call.header.get(wire.OPERATION_TOKEN, "")
    if not token:
        raise _Refused("BAD_REQUEST", "missing operation token")
    return CancelOperationRequest(
        service=service, operation=operation, operation_token=token, operation_id=token
    )


def _timeout_s(header: Mapping[str, str]) -> float:
    text = header.get(wire.REQUEST_TIMEOUT, "")
    if not text:
        return TIMEOUT_S
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise _Refused("BAD_REQUEST", "invalid request timeout header")
    return min(float(found[1]) * _UNITS[found[2]] / SECOND, TIMEOUT_S)


# --- what a worker said -----------------------------------------------------------------------------------------


def _reply(request: Request, said: WorkerAnswer, understands: bool) -> NexusReply:
    if isinstance(said, Failure):
        return _handler_failed(said, _WORKER, understands)
    if isinstance(said, HandlerError):
        return _older_handler_error(said, understands)
    if request.HasField("cancel_operation"):
        return NexusReply(status=202, header={}, body=b"")
    return _started(said, understands)


def _started(response: Response, understands: bool) -> NexusReply:
    start: StartOperationResponse = response.start_operation
    match start.WhichOneof("variant"):
        case "sync_success":
            success = start.sync_success
            header, body = wire.write_payload(success.payload if success.HasField("payload") else None)
            return NexusReply(status=200, header=header | _links(success.links), body=body)
        case "async_success":
            begun = start.async_success
            token = begun.operation_token or begun.operation_id
            body = json.dumps({"token": token, "state": "running"}, separators=(",", ":")).encode()
            return NexusReply(status=201, header=_JSON | _links(begun.links), body=body)
        case "operation_error":
            error = start.operation_error
            return _unsuccessful(error.operation_state, error.failure, understands)
        case "failure":
            state = "canceled" if start.failure.HasField("canceled_failure_info") else "failed"
            return _unsuccessful(state, failures.as_nexus(start.failure), understands)
        case _:
            return _handler_failed(failures.handler_failure("INTERNAL", "empty outcome"), _WORKER)


def _links(links: Iterable[Link]) -> dict[str, str]:
    text = wire.write_links(links)
    return {wire.LINK: text} if text else {}


def _unsuccessful(state: str, failure: NexusFailure, understands: bool) -> NexusReply:
    if understands:
        details = json.dumps({"state": state}, separators=(",", ":")).encode()
        metadata = {"type": "nexus.OperationError", wire.UNWRAP: "true"}
        failure = NexusFailure(message="operation error", metadata=metadata, details=details, cause=failure)
    header = {**_JSON, **_WORKER, wire.OPERATION_STATE: state}
    return NexusReply(status=UNSUCCESSFUL, header=header, body=wire.write_failure(failure))


def _handler_failed(failure: Failure, source: Mapping[str, str], understands: bool = False) -> NexusReply:
    """Who does not understand failures as Temporal's own is told the cause of a handler's error, if there is one."""
    info, told = failure.nexus_handler_failure_info, failures.as_nexus(failure)
    if not understands and told.HasField("cause"):
        told = told.cause
    header = {**_JSON, **source}
    if info.retry_behavior in (failures.RETRYABLE, failures.NON_RETRYABLE):
        header[wire.RETRYABLE] = "true" if info.retry_behavior == failures.RETRYABLE else "false"
    status = STATUS_OF_KIND.get(info.type, 500)
    return NexusReply(status=status, header=header, body=wire.write_failure(told))


def _older_handler_error(error: HandlerError, understands: bool) -> NexusReply:
    if understands:
        return _handler_failed(failures.of_handler_error(error).failure, _WORKER, understands)
    header = {**_JSON, **_WORKER}
    if error.retry_behavior in (failures.RETRYABLE, failures.NON_RETRYABLE):
        header[wire.RETRYABLE] = "true" if error.retry_behavior == failures.RETRYABLE else "false"
    status = STATUS_OF_KIND.get(error.error_type, 500)
    return NexusReply(status=status, header=header, body=wire.write_failure(error.failure))
