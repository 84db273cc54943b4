"""Standalone Nexus operations for clients: started, described, waited for, cancelled, terminated, deleted."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import (
    NexusOperationExecutionStatus,
    NexusOperationIdConflictPolicy,
    NexusOperationIdReusePolicy,
    NexusOperationWaitStage,
)
from temporalio.api.errordetails.v1 import (
    NexusOperationExecutionAlreadyStartedFailure,
    NotFoundFailure,
)
from temporalio.api.workflowservice.v1 import (
    DeleteNexusOperationExecutionRequest,
    DeleteNexusOperationExecutionResponse,
    DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse,
    PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse,
    RequestCancelNexusOperationExecutionRequest,
    RequestCancelNexusOperationExecutionResponse,
    StartNexusOperationExecutionRequest,
    StartNexusOperationExecutionResponse,
    TerminateNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.search_attributes import check_search_attributes
from cloud.engine.api.standalone_nexus_info import operation_info, put_outcome
from cloud.engine.core import standalone_nexus
from cloud.engine.core.clock import duration, fit, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.core.nexus_commands import RESERVED_HEADERS
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.standalone_nexus_state import OperationPhase
from cloud.engine.runtime.dynamic_config import STANDALONE_NEXUS_OPERATIONS
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.polling import long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_nexus import StandaloneNexusOperations
from cloud.engine.runtime.tokens import OPERATION_STATE, BadToken, OperationStateToken
from cloud.rpc import (
    AlreadyExists,
    CallContext,
    InvalidArgument,
    NotFound,
    Unimplemented,
)

LONG_POLL_S = 20.0
"""The longest wait for an outcome or a change (the real server's nexusoperation.longPollTimeout)."""

REASON_LENGTH_MAX = 1_000

DISABLED = "Standalone Nexus operation is disabled"

_Reuse = NexusOperationIdReusePolicy
_Conflict = NexusOperationIdConflictPolicy
_Stage = NexusOperationWaitStage


class StandaloneNexusMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, operations: StandaloneNexusOperations) -> None:
        self._runtime = runtime
        self._operations = operations

    # --- start ---

    async def start_nexus_operation_execution(
        self, request: StartNexusOperationExecutionRequest, context: CallContext
    ) -> StartNexusOperationExecutionResponse:
        """Start an operation, or refer to the one that holds its id."""
        namespace = self._namespace(request.namespace)
        request = self._settled(namespace, request)
        endpoint_id = self._endpoint_id(namespace, request.endpoint)
        async with self._operations.lock(namespace, request.operation_id):
            newest = await self._operations.newest(namespace, request.operation_id)
            used = None if newest is None else _resolve(newest, request)
            hot = used or self._operations.begin(namespace, request, endpoint_id)
        await self._operations.durable(hot)
        return StartNexusOperationExecutionResponse(run_id=hot.run_id, started=used is None)

    def _settled(
        self, namespace: Namespace, given: StartNexusOperationExecutionRequest
    ) -> StartNexusOperationExecutionRequest:
        """A copy of a request with all that it leaves out filled in, without what is not served.

        Raises:
            InvalidArgument, FailedPrecondition: with the real server's sentence.
        """
        limits = self._runtime.limits
        checks.require_registered(namespace)
        request = StartNexusOperationExecutionRequest()
        request.CopyFrom(given)
        for unused in ("links", "completion_callbacks", "on_conflict_options"):
            request.ClearField(unused)
        request.request_id = request.request_id or self._runtime.ids.request_id()
        self._check_length("request_id", request.request_id)
        self._check_id(request.operation_id)
        self._check_length("identity", request.identity)
        if not request.endpoint:
            raise InvalidArgument("endpoint is required")
        for what, name in (("service", request.service), ("operation", request.operation)):
            if not name:
                raise InvalidArgument(f"{what} is required")
            self._check_length(what, name, limits.nexus_name_length)
            checks.check_no_nul(name, what)
        _settle_timeouts(request)
        size_max = limits.blob_size_error
        if request.input.ByteSize() > size_max:
            raise InvalidArgument(
                f"input exceeds size limit. Length={request.input.ByteSize()} Limit={size_max}"
            )
        checks.check_user_metadata(request.user_metadata)
        _settle_header(request, limits.nexus_header_size)
        check_search_attributes(namespace, request.search_attributes)
        return request

    def _endpoint_id(self, namespace: Namespace, name: str) -> str:
        found = self._runtime.nexus_endpoints.for_caller(namespace.namespace_id, name)
        if found is None:
            raise NotFound(f"could not find Nexus endpoint by name: {name}", NotFoundFailure())
        return found.endpoint_id

    # --- looks ---

    async def describe_nexus_operation_execution(
        self, request: DescribeNexusOperationExecutionRequest, context: CallContext
    ) -> DescribeNexusOperationExecutionResponse:
        """What it is now; with a token, once it is another than it was. Empty when the time is over."""
        namespace = self._namespace(request.namespace)
        self._check_id(request.operation_id)
        if request.long_poll_token and not request.run_id:
            raise InvalidArgument("run_id is required when long_poll_token is provided")
        _check_run_id(request.run_id)
        seen = -1
        if request.long_poll_token:
            try:
                token: OperationStateToken = self._runtime.tokens.read(
                    request.long_poll_token, OPERATION_STATE, namespace.namespace_id, OperationStateToken
                )
            except BadToken:
                raise InvalidArgument("invalid long poll token") from None
            if token.run_id != request.run_id:
                raise InvalidArgument("long poll token does not match execution")
            seen = token.transitions
        hot = await self._operations.find(namespace, request.operation_id, request.run_id)
        ends_at = _ends_at(context)
        while hot.operation.state.transitions <= seen:
            if not await self._operations.changed(hot, ends_at - asyncio.get_running_loop().time()):
                return DescribeNexusOperationExecutionResponse()
            hot = await self._operations.find(namespace, request.operation_id, request.run_id)
        response = self._describe(hot, request)
        await self._operations.durable(hot)
        return response

    def _describe(
        self, hot: HotOperation, request: DescribeNexusOperationExecutionRequest
    ) -> DescribeNexusOperationExecutionResponse:
        operation = hot.operation
        token = OperationStateToken(hot.run_id, operation.state.transitions)
        response = DescribeNexusOperationExecutionResponse(
            run_id=hot.run_id,
            info=operation_info(hot, self._runtime.clock.now()),
            long_poll_token=self._runtime.tokens.make(OPERATION_STATE, hot.namespace.namespace_id, token),
        )
        if request.include_input and operation.request.HasField("input"):
            response.input.CopyFrom(operation.request.input)
        if request.include_outcome and operation.closed:
            put_outcome(response, operation)
        return response

    async def poll_nexus_operation_execution(
        self, request: PollNexusOperationExecutionRequest, context: CallContext
    ) -> PollNexusOperationExecutionResponse:
        """Its outcome, or its token once it has started, as the request says. Empty when the time is over."""
        namespace = self._namespace(request.namespace)
        if request.wait_stage not in _Stage.values():
            raise InvalidArgument(f"unsupported wait_stage: {request.wait_stage}")
        to_start = request.wait_stage == _Stage.NEXUS_OPERATION_WAIT_STAGE_STARTED
        self._check_id(request.operation_id)
        _check_run_id(request.run_id)
        hot = await self._operations.find(namespace, request.operation_id, request.run_id)
        run_id, ends_at = hot.run_id, _ends_at(context)
        while not (
            hot.operation.closed or (to_start and hot.operation.state.phase == OperationPhase.STARTED)
        ):
            if not await self._operations.changed(hot, ends_at - asyncio.get_running_loop().time()):
                return PollNexusOperationExecutionResponse()
            hot = await self._operations.find(namespace, request.operation_id, run_id)
        operation = hot.operation
        response = PollNexusOperationExecutionResponse(
            run_id=run_id,
            wait_stage=_Stage.NEXUS_OPERATION_WAIT_STAGE_STARTED,
            operation_token=operation.state.token,
        )
        if operation.closed:
            response.wait_stage = _Stage.NEXUS_OPERATION_WAIT_STAGE_CLOSED
            put_outcome(response, operation)
        await self._operations.durable(hot)
        return response

    # --- ends from outside ---

    async def request_cancel_nexus_operation_execution(
        self, request: RequestCancelNexusOperationExecutionRequest, context: CallContext
    ) -> RequestCancelNexusOperationExecutionResponse:
        """Ask for its cancellation."""
        hot, asked = await self._asked(request)
        with self._operations.step(hot) as step:
            standalone_nexus.request_cancel(step, asked)
        await self._operations.durable(hot)
        return RequestCancelNexusOperationExecutionResponse()

    async def terminate_nexus_operation_execution(
        self, request: TerminateNexusOperationExecutionRequest, context: CallContext
    ) -> TerminateNexusOperationExecutionResponse:
        """End it, whatever its handler does."""
        hot, asked = await self._asked(request)
        with self._operations.step(hot) as step:
            standalone_nexus.terminate(step, asked)
        await self._operations.durable(hot)
        return TerminateNexusOperationExecutionResponse()

    async def delete_nexus_operation_execution(
        self, request: DeleteNexusOperationExecutionRequest, context: CallContext
    ) -> DeleteNexusOperationExecutionResponse:
        """Delete it; one that is open is terminated first."""
        namespace = self._namespace(request.namespace)
        self._check_id(request.operation_id)
        _check_run_id(request.run_id)
        await self._operations.delete(
            await self._operations.find(namespace, request.operation_id, request.run_id)
        )
        return DeleteNexusOperationExecutionResponse()

    async def _asked(
        self,
        request: RequestCancelNexusOperationExecutionRequest | TerminateNexusOperationExecutionRequest,
    ) -> tuple[HotOperation, Asked]:
        namespace = self._namespace(request.namespace)
        request_id = request.request_id or self._runtime.ids.request_id()
        self._check_length("request_id", request_id)
        self._check_id(request.operation_id)
        _check_run_id(request.run_id)
        self._check_length("identity", request.identity)
        self._check_length("reason", request.reason, REASON_LENGTH_MAX)
        hot = await self._operations.find(namespace, request.operation_id, request.run_id)
        return hot, Asked(self._runtime.clock.now(), request.identity, request.reason, request_id)

    # --- checks ---

    def _namespace(self, name: str) -> Namespace:
        namespace = checks.namespace_of(self._runtime, name)
        require_enabled(self._runtime)
        return namespace

    def _check_id(self, operation_id: str) -> None:
        if not operation_id:
            raise InvalidArgument("operation_id is required")
        self._check_length("operation_id", operation_id)
        checks.check_no_nul(operation_id, "operation_id")

    def _check_length(self, what: str, value: str, length_max: int = 0) -> None:
        length_max = length_max or self._runtime.limits.id_length
        length = len(value.encode())
        if length > length_max:
            raise InvalidArgument(f"{what} exceeds length limit. Length={length} Limit={length_max}")


def require_enabled(runtime: Runtime) -> None:
    """Raise Unimplemented if standalone Nexus operations are switched off."""
    if not runtime.dynamic_config.on(STANDALONE_NEXUS_OPERATIONS):
        raise Unimplemented(DISABLED)


def _check_run_id(run_id: str) -> None:
    if run_id and not checks.is_uuid(run_id):
        raise InvalidArgument("run_id is not a valid UUID")


def _ends_at(context: CallContext) -> float:
    return asyncio.get_running_loop().time() + long_poll_timeout_s(context, LONG_POLL_S)


def _settle_timeouts(request: StartNexusOperationExecutionRequest) -> None:
    """Check the timeouts, and cap in place those that lie beyond the whole."""
    names = ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout")
    for name in names:
        try:
            fit(getattr(request, name))
        except Invalid as error:
            raise InvalidArgument(f"{name} is invalid: {error}") from None
    whole = to_ns(request.schedule_to_close_timeout)
    for name in names[1:]:
        if whole and to_ns(getattr(request, name)) > whole:
            getattr(request, name).CopyFrom(duration(whole))


def _settle_header(request: StartNexusOperationExecutionRequest, size_max: int) -> None:
    """Check the header, and put its keys into lower case."""
    size, lowered = 0, {}
    for key, text in request.nexus_header.items():
        size += len(key.encode()) + len(text.encode())
        if key.lower() in RESERVED_HEADERS:
            raise InvalidArgument(f'nexus_header contains a disallowed key: "{key}"')
        lowered[key.lower()] = text
    if size > size_max:
        raise InvalidArgument("nexus_header exceeds size limit")
    request.ClearField("nexus_header")
    for key, text in lowered.items():
        request.nexus_header[key] = text


def _resolve(newest: HotOperation, request: StartNexusOperationExecutionRequest) -> HotOperation | None:
    """What the policies say of an id that has an operation: the one to use, or None to start anew.

    Policies that are none of the known are the usual ones, as on the real server.

    Raises:
        AlreadyExists: they forbid a new one.
    """
    operation = newest.operation
    start_request_id = operation.state.start_request_id
    if start_request_id == request.request_id:
        return newest
    if not operation.closed:
        if request.id_conflict_policy == _Conflict.NEXUS_OPERATION_ID_CONFLICT_POLICY_USE_EXISTING:
            return newest
    elif request.id_reuse_policy == _Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY:
        completed = NexusOperationExecutionStatus.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED
        if operation.status != completed:
            return None
    elif request.id_reuse_policy != _Reuse.NEXUS_OPERATION_ID_REUSE_POLICY_REJECT_DUPLICATE:
        return None
    raise AlreadyExists(
        f"nexus operation execution already started: request_id={start_request_id}, run_id={newest.run_id}",
        NexusOperationExecutionAlreadyStartedFailure(start_request_id=start_request_id, run_id=newest.run_id),
    )
