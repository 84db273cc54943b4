"""Calls of Nexus handlers, whoever they are made for: to start an operation, to cancel one, and what they answer.

A call goes to a worker of its endpoint's queue, or to a service behind a URL. A destination that is down is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import structlog
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import (
    CancelOperationRequest,
    HandlerError,
    Request,
    Response,
    StartOperationRequest,
    StartOperationResponse,
)
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.core import nexus_answers
from cloud.engine.core.clock import MILLISECOND, SECOND, timestamp
from cloud.engine.core.nexus_answers import Answer, OutOfTime, Pending, Refused, Succeeded
from cloud.engine.core.nexus_commands import SYSTEM_ENDPOINT
from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_breakers import BreakerKey, TooManyCalls
from cloud.engine.runtime.nexus_completions import CALLBACK_TOKEN_HEADER
from cloud.engine.runtime.nexus_delivery import SYSTEM_CALLBACK
from cloud.engine.runtime.nexus_endpoints import NexusEndpoint
from cloud.engine.runtime.nexus_services import NexusServices
from cloud.engine.runtime.nexus_tasks import NEXUS_TASK, NobodyAnswered, WorkerAnswer
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.database import StoreUnavailable

log = structlog.get_logger(__name__)

OPERATION_TIMEOUT_HEADER = "operation-timeout"

RETRY_S = 0.2
RETRY_S_MAX = 10.0


class Caller(Protocol):
    """Who calls: what is in memory of a run, or of a standalone operation."""

    dropped: bool

    @property
    def run_id(self) -> str:
        """The run's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCall:
    """What the calls of an operation's handler are made of. Times and timeouts are ns, 0 for none; `now` is the caller's own time."""

    namespace: Namespace
    endpoint: str
    endpoint_id: str
    service: str
    operation: str
    request_id: str
    header: Mapping[str, str]
    input: Payload | None
    schedule_to_close: int
    schedule_to_start: int
    start_to_close: int
    scheduled_time: int
    started_time: int
    now: int
    token: str
    callback_token: str
    link: NexusLink


class SystemOperations(Protocol):
    """The service's own operations."""

    async def start(self, call: OperationCall) -> Answer:
        """Carry one out."""


async def until_answered(caller: Caller, call: Callable[[], Awaitable[None]]) -> None:
    """Try until there is an answer, or the caller is in memory no more (it asks again when it is loaded)."""
    retry_s = RETRY_S
    while not caller.dropped:
        try:
            await call()
        except (Unflushed, StoreUnavailable) as error:
            log.warning("nexus_call_delayed", run_id=caller.run_id, reason=str(error))
        except Exception:
            log.exception("nexus_call_failed", run_id=caller.run_id)
            retry_s = RETRY_S_MAX
        else:
            return
        await asyncio.sleep(retry_s)
        retry_s = min(retry_s * 2, RETRY_S_MAX)


class NexusCalling:
    """Makes single calls."""

    def __init__(self, runtime: Runtime, services: NexusServices, system: SystemOperations) -> None:
        self._runtime = runtime
        self._services = services
        self._system = system

    async def start(self, destination: BreakerKey, make: Callable[[], OperationCall | None]) -> Answer | None:
        """Ask a handler to start an operation, once its destination may be called.

        `make` tells of the call as it is by then; None if it is not wanted any more, which is the answer then.
        """
        answer = await self._asked(destination, make, self._ask_to_start)
        return None if answer is None else self._within_limits(answer)

    async def cancel(
        self, destination: BreakerKey, make: Callable[[], OperationCall | None]
    ) -> Answer | None:
        """Ask a handler to cancel an operation, once its destination may be called; `make` as for `start`."""
        return await self._asked(destination, make, self._ask_to_cancel)

    async def _asked(
        self,
        destination: BreakerKey,
        make: Callable[[], OperationCall | None],
        ask: Callable[[OperationCall], Awaitable[Answer]],
    ) -> Answer | None:
        breakers = self._runtime.nexus_breakers
        try:
            with breakers.counted(destination):
                await breakers.passed(destination)
                try:
                    call = make()
                    if call is None:
                        breakers.abandon(destination)
                        return None
                    answer = await ask(call)
                except BaseException:
                    breakers.abandon(destination)
                    raise
                if isinstance(answer, OutOfTime):
                    breakers.abandon(destination)
                else:
                    breakers.note(destination, down=isinstance(answer, Refused) and answer.retryable)
                return answer
        except TooManyCalls as error:
            return Refused(nexus_answers.call_failure(str(error), retryable=True), retryable=True)

    async def _ask_to_start(self, call: OperationCall) -> Answer:
        if call.endpoint == SYSTEM_ENDPOINT:
            return await self._system.start(call)
        endpoint = self._endpoint_of(call)
        if endpoint is None:
            return failures.refused(failures.handler_failure("NOT_FOUND", "endpoint not registered"))
        time_left, timeout_type = self._time_to_start(call)
        if time_left < self._runtime.limits.nexus_request_timeout_min:
            return OutOfTime(timeout_type)
        request = StartOperationRequest(
            service=call.service,
            operation=call.operation,
            request_id=call.request_id,
            callback=self._callback(call, endpoint),
            links=[call.link],
        )
        if request.callback:
            request.callback_header[CALLBACK_TOKEN_HEADER] = call.callback_token
        if call.input is not None:
            request.payload.CopyFrom(call.input)
        header = dict(call.header)
        timeout = _operation_timeout(call)
        if timeout:
            header.setdefault(OPERATION_TIMEOUT_HEADER, f"{timeout // MILLISECOND}ms")
        if endpoint.url:
            return await self._services.start(endpoint.url, request, header, time_left)
        return _started(await self._ask_worker(endpoint, Request(start_operation=request), header, time_left))

    def _callback(self, call: OperationCall, endpoint: NexusEndpoint) -> str:
        """Where the handler tells how what it started ended."""
        if not endpoint.url:
            return SYSTEM_CALLBACK
        return self._runtime.nexus_callback_url.replace("{namespace}", quote(call.namespace.name, safe=""))

    async def _ask_to_cancel(self, call: OperationCall) -> Answer:
        endpoint = self._endpoint_of(call)
        if endpoint is None:
            return failures.refused(failures.handler_failure("NOT_FOUND", "endpoint not registered"))
        time_left, timeout_type = self._time_to_cancel(call)
        if time_left < self._runtime.limits.nexus_request_timeout_min:
            return OutOfTime(timeout_type)
        request = CancelOperationRequest(
            service=call.service,
            operation=call.operation,
            operation_token=call.token,
            operation_id=call.token,
        )
        header = dict(call.header)
        if endpoint.url:
            return await self._services.cancel(endpoint.url, request, header, time_left)
        return _cancelled(
            await self._ask_worker(endpoint, Request(cancel_operation=request), header, time_left)
        )

    async def _ask_worker(
        self, endpoint: NexusEndpoint, request: Request, header: dict[str, str], time_left: int
    ) -> WorkerAnswer | None:
        """What a worker of the endpoint's queue says, None if nobody says anything in time."""
        runtime = self._runtime
        for name, text in header.items():
            request.header[name] = text
        request.scheduled_time.CopyFrom(timestamp(runtime.clock.now()))
        request.endpoint = endpoint.name
        request.capabilities.temporal_failure_responses = request.HasField("start_operation")
        key = QueueKey(endpoint.namespace_id, endpoint.task_queue, NEXUS_TASK)
        timeout = time_left - runtime.limits.nexus_dispatch_margin
        try:
            return await runtime.nexus_tasks.dispatch(
                key, runtime.ids.request_id(), request, timeout / SECOND
            )
        except NobodyAnswered:
            return None

    def _endpoint_of(self, call: OperationCall) -> NexusEndpoint | None:
        """By its id, if the caller may still call it; one that was made anew under its name serves too."""
        registry, namespace_id = self._runtime.nexus_endpoints, call.namespace.namespace_id
        found = registry.by_id(call.endpoint_id)
        if found is not None and found.may_be_called_from(namespace_id):
            return found
        return registry.for_caller(namespace_id, call.endpoint)

    def _time_to_start(self, call: OperationCall) -> tuple[int, TimeoutType.ValueType]:
        """How long (ns) a call to start may take, and which of the operation's timeouts bounds it."""
        longest, passed = self._runtime.limits.nexus_request_timeout, call.now - call.scheduled_time
        if call.schedule_to_start:
            return min(longest, call.schedule_to_start - passed), TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
        if call.schedule_to_close:
            return min(longest, call.schedule_to_close - passed), TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
        return longest, TimeoutType.TIMEOUT_TYPE_UNSPECIFIED

    def _time_to_cancel(self, call: OperationCall) -> tuple[int, TimeoutType.ValueType]:
        left, kind = self._runtime.limits.nexus_request_timeout, TimeoutType.TIMEOUT_TYPE_UNSPECIFIED
        for timeout, since, of_kind in (
            (call.start_to_close, call.started_time, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE),
            (call.schedule_to_close, call.scheduled_time, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE),
        ):
            if timeout:
                left, kind = min(left, timeout - (call.now - since)), of_kind
        return left, kind

    def _within_limits(self, answer: Answer) -> Answer:
        limits = self._runtime.limits
        if isinstance(answer, Pending) and len(answer.token.encode()) > limits.nexus_token_length:
            reason = (
                "invalid operation token: length exceeds allowed limit "
                f"({len(answer.token.encode())}/{limits.nexus_token_length})"
            )
            return Refused(nexus_answers.call_failure(reason, retryable=False), retryable=False)
        result = answer.result if isinstance(answer, Succeeded) else None
        if result is not None and result.ByteSize() > limits.blob_size_error:
            reason = "http: response body too large"
            return Refused(nexus_answers.call_failure(reason, retryable=False), retryable=False)
        return answer


def _operation_timeout(call: OperationCall) -> int:
    """How long (ns) the handler has for the whole operation; 0 if it is not said."""
    timeouts = []
    if call.start_to_close:
        timeouts.append(call.start_to_close)
    if call.schedule_to_close:
        timeouts.append(max(call.schedule_to_close - (call.now - call.scheduled_time), MILLISECOND))
    return min(timeouts, default=0)


def _refusal(answer: Failure | HandlerError | None) -> Answer:
    if answer is None:
        return failures.refused(failures.handler_failure("UPSTREAM_TIMEOUT", "upstream timeout"))
    if isinstance(answer, HandlerError):
        return failures.of_handler_error(answer)
    return failures.of_handler(answer)


def _started(answer: WorkerAnswer | None) -> Answer:
    try:
        if not isinstance(answer, Response):
            return _refusal(answer)
        return _of_response(answer.start_operation)
    except failures.MalformedFailure as error:
        return failures.refused(failures.handler_failure("INTERNAL", f"malformed failure: {error}"))


def _of_response(response: StartOperationResponse) -> Answer:
    match response.WhichOneof("variant"):
        case "sync_success":
            success = response.sync_success
            result = success.payload if success.HasField("payload") else None
            return Succeeded(result, nexus_links.from_nexus(success.links))
        case "async_success":
            begun = response.async_success
            return Pending(begun.operation_token or begun.operation_id, nexus_links.from_nexus(begun.links))
        case "operation_error":
            return failures.of_operation_error(response.operation_error)
        case "failure":
            return failures.unsuccessful(response.failure)
        case _:
            return failures.refused(failures.handler_failure("INTERNAL", "empty outcome"))


def _cancelled(answer: WorkerAnswer | None) -> Answer:
    try:
        return Pending() if isinstance(answer, Response) else _refusal(answer)
    except failures.MalformedFailure as error:
        return failures.refused(failures.handler_failure("INTERNAL", f"malformed failure: {error}"))
