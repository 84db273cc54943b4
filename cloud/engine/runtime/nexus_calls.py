"""Calls of Nexus handlers on behalf of runs: to start an operation, to cancel one, and what they answer.

A call goes out only once its intent is durable, and is made again if a crash or a failed flush took its answer: handlers know a call by its
request id. While one is out the run's `wake_at` is in the past, so that recovery finds it (`HotRun.calls`); its timers go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

import structlog
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType, TimeoutType
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

from cloud.engine.core import nexus_answers, nexus_operation, run_clock
from cloud.engine.core.clock import MILLISECOND, SECOND, timestamp, to_ns
from cloud.engine.core.effects import CancelNexusOperation, StartNexusOperation
from cloud.engine.core.nexus_answers import Answer, OutOfTime, Pending, Refused, Succeeded
from cloud.engine.core.state import NexusOperation
from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.nexus_breakers import BreakerKey, TooManyCalls
from cloud.engine.runtime.nexus_callbacks import SYSTEM_CALLBACK
from cloud.engine.runtime.nexus_completions import CALLBACK_TOKEN_HEADER, callback_token
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


class NexusCalls:
    """Makes the calls that the core asks for."""

    def __init__(self, runtime: Runtime, services: NexusServices) -> None:
        self._runtime = runtime
        self._services = services
        runtime.carry_out_with(StartNexusOperation, self._begin(self._start))
        runtime.carry_out_with(CancelNexusOperation, self._begin(self._cancel))

    def _begin(
        self, call: Callable[[HotRun, Any], Coroutine[Any, Any, None]]
    ) -> Callable[[HotRun, Any], None]:
        def begin(hot: HotRun, effect: Any) -> None:
            task = self._runtime.spawn(self._until_answered(call, hot, effect), type(effect).__name__)
            hot.calls.add(task)

        return begin

    async def _until_answered(
        self, call: Callable[[HotRun, Any], Coroutine[Any, Any, None]], hot: HotRun, effect: Any
    ) -> None:
        """Try until there is an answer. A call that is cut off by the runtime's end stays in `calls`: its run still says so."""
        retry_s = RETRY_S
        while not hot.dropped:  # else the run asks again when it is loaded
            try:
                await call(hot, effect)
            except (Unflushed, StoreUnavailable) as error:
                log.warning("nexus_call_delayed", run_id=hot.run_id, effect=repr(effect), reason=str(error))
            except Exception:
                log.exception("nexus_call_failed", run_id=hot.run_id, effect=repr(effect))
                retry_s = RETRY_S_MAX
            else:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    # --- the two calls ---

    async def _start(self, hot: HotRun, effect: StartNexusOperation) -> None:
        key = effect.scheduled_event_id
        await self._runtime.durable(hot)
        operation = self._pending(hot, key, nexus_operation.awaits_start)
        if operation is None:
            self._nothing_to_do(hot)
            return
        attempt = operation.progress.attempt
        answer = await self._asked(hot, operation, nexus_operation.awaits_start, self._ask_to_start)
        if hot.dropped:
            return
        if answer is None or not hot.execution.running:
            self._nothing_to_do(hot)
            return
        answer = self._within_limits(answer)
        with self._runtime.transition(hot) as turn:
            self._forget_this_call(hot)
            nexus_operation.start_answered(turn, key, attempt, answer)
            turn.dirty = True  # the row no longer says that a call is out

    async def _cancel(self, hot: HotRun, effect: CancelNexusOperation) -> None:
        key = effect.scheduled_event_id
        await self._runtime.durable(hot)
        operation = self._pending(hot, key, nexus_operation.awaits_cancel)
        if operation is None:
            self._nothing_to_do(hot)
            return
        attempt = operation.progress.cancel_attempt
        answer = await self._asked(hot, operation, nexus_operation.awaits_cancel, self._ask_to_cancel)
        if hot.dropped:
            return
        if answer is None or not hot.execution.running:
            self._nothing_to_do(hot)
            return
        with self._runtime.transition(hot) as turn:
            self._forget_this_call(hot)
            nexus_operation.cancel_answered(turn, key, attempt, answer)
            turn.dirty = True

    @staticmethod
    def _pending(hot: HotRun, key: int, awaits: Callable[[NexusOperation], bool]) -> NexusOperation | None:
        """The operation if a call of its handler is still wanted."""
        if hot.dropped or not hot.execution.running:
            return None
        operation = hot.execution.nexus_operations.get(key)
        return operation if operation is not None and awaits(operation) else None

    async def _asked(
        self,
        hot: HotRun,
        operation: NexusOperation,
        awaits: Callable[[NexusOperation], bool],
        ask: Callable[[HotRun, NexusOperation], Awaitable[Answer]],
    ) -> Answer | None:
        """The handler's answer, once its destination may be called; None if the call is not wanted any more by then."""
        breakers, destination = self._runtime.nexus_breakers, destination_of(hot, operation)
        try:
            with breakers.counted(destination):
                await breakers.passed(destination)
                try:
                    if self._pending(hot, operation.scheduled_event_id, awaits) is not operation:
                        breakers.abandon(destination)
                        return None
                    answer = await ask(hot, operation)
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

    @staticmethod
    def _forget_this_call(hot: HotRun) -> None:
        task = asyncio.current_task()
        if task is not None:
            hot.calls.discard(task)

    def _nothing_to_do(self, hot: HotRun) -> None:
        self._forget_this_call(hot)
        if not hot.dropped:
            self._runtime.touch(hot)

    async def _ask_to_start(self, hot: HotRun, operation: NexusOperation) -> Answer:
        scheduled = operation.scheduled
        endpoint = self._endpoint_of(operation)
        if endpoint is None:
            return failures.refused(failures.handler_failure("NOT_FOUND", "endpoint not registered"))
        time_left, timeout_type = self._time_to_start(hot, operation)
        if time_left < self._runtime.limits.nexus_request_timeout_min:
            return OutOfTime(timeout_type)
        request = StartOperationRequest(
            service=scheduled.service,
            operation=scheduled.operation,
            request_id=scheduled.request_id,
            callback=self._callback(hot, endpoint),
            links=[_link_to(hot, operation)],
        )
        if request.callback:
            token = callback_token(self._runtime, hot.execution.key, operation)
            request.callback_header[CALLBACK_TOKEN_HEADER] = token
        if scheduled.HasField("input"):
            request.payload.CopyFrom(scheduled.input)
        header = dict(scheduled.nexus_header)
        timeout = self._operation_timeout(hot, operation)
        if timeout:
            header.setdefault(OPERATION_TIMEOUT_HEADER, f"{timeout // MILLISECOND}ms")
        if endpoint.url:
            return await self._services.start(endpoint.url, request, header, time_left)
        return _started(await self._ask_worker(endpoint, Request(start_operation=request), header, time_left))

    def _callback(self, hot: HotRun, endpoint: NexusEndpoint) -> str:
        """Where the handler tells how what it started ended."""
        if not endpoint.url:
            return SYSTEM_CALLBACK
        return self._runtime.nexus_callback_url.replace("{namespace}", quote(hot.namespace.name, safe=""))

    async def _ask_to_cancel(self, hot: HotRun, operation: NexusOperation) -> Answer:
        scheduled = operation.scheduled
        endpoint = self._endpoint_of(operation)
        if endpoint is None:
            return failures.refused(failures.handler_failure("NOT_FOUND", "endpoint not registered"))
        time_left, timeout_type = self._time_to_cancel(hot, operation)
        if time_left < self._runtime.limits.nexus_request_timeout_min:
            return OutOfTime(timeout_type)
        request = CancelOperationRequest(
            service=scheduled.service,
            operation=scheduled.operation,
            operation_token=operation.token,
            operation_id=operation.token,
        )
        header = dict(scheduled.nexus_header)
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

    # --- what a call is made of ---

    def _endpoint_of(self, operation: NexusOperation) -> NexusEndpoint | None:
        """By its id; one that was made anew under its name serves too."""
        registry, scheduled = self._runtime.nexus_endpoints, operation.scheduled
        return registry.by_id(scheduled.endpoint_id) or registry.by_name(scheduled.endpoint)

    def _now(self, hot: HotRun) -> int:
        """The run's own time."""
        return self._runtime.clock.now() + run_clock.ahead(hot.execution)

    def _time_to_start(self, hot: HotRun, operation: NexusOperation) -> tuple[int, TimeoutType.ValueType]:
        """How long (ns) a call to start may take, and which of the operation's timeouts bounds it."""
        scheduled, longest = operation.scheduled, self._runtime.limits.nexus_request_timeout
        passed = self._now(hot) - operation.scheduled_time
        to_start, to_close = (
            to_ns(scheduled.schedule_to_start_timeout),
            to_ns(scheduled.schedule_to_close_timeout),
        )
        if to_start:
            return min(longest, to_start - passed), TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
        if to_close:
            return min(longest, to_close - passed), TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
        return longest, TimeoutType.TIMEOUT_TYPE_UNSPECIFIED

    def _time_to_cancel(self, hot: HotRun, operation: NexusOperation) -> tuple[int, TimeoutType.ValueType]:
        scheduled, now = operation.scheduled, self._now(hot)
        left, kind = self._runtime.limits.nexus_request_timeout, TimeoutType.TIMEOUT_TYPE_UNSPECIFIED
        for timeout, since, of_kind in (
            (
                to_ns(scheduled.start_to_close_timeout),
                operation.started_time,
                TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE,
            ),
            (
                to_ns(scheduled.schedule_to_close_timeout),
                operation.scheduled_time,
                TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE,
            ),
        ):
            if timeout:
                left, kind = min(left, timeout - (now - since)), of_kind
        return left, kind

    def _operation_timeout(self, hot: HotRun, operation: NexusOperation) -> int:
        """How long (ns) the handler has for the whole operation; 0 if it is not said."""
        scheduled = operation.scheduled
        timeouts = []
        if to_ns(scheduled.start_to_close_timeout):
            timeouts.append(to_ns(scheduled.start_to_close_timeout))
        if to_ns(scheduled.schedule_to_close_timeout):
            passed = self._now(hot) - operation.scheduled_time
            timeouts.append(max(to_ns(scheduled.schedule_to_close_timeout) - passed, MILLISECOND))
        return min(timeouts, default=0)

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


def destination_of(hot: HotRun, operation: NexusOperation) -> BreakerKey:
    """What is left alone when the operation's endpoint is down."""
    return hot.execution.key.namespace_id, operation.scheduled.endpoint


def _link_to(hot: HotRun, operation: NexusOperation) -> NexusLink:
    event = Link.WorkflowEvent(
        namespace=hot.namespace.name,
        workflow_id=hot.execution.key.workflow_id,
        run_id=hot.run_id,
        event_ref=Link.WorkflowEvent.EventReference(
            event_id=operation.scheduled_event_id,
            event_type=EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
        ),
    )
    made = nexus_links.as_nexus(Link(workflow_event=event))
    assert made is not None
    return made


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
