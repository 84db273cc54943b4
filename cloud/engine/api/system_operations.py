"""Nexus operations of the service itself, behind the endpoint `__temporal_system`: workflows call what clients call.

There is one: signal another workflow, and start it if it is not there. The operation's request id is the call's, so that one which is made
again after a crash signals once. A caller reaches its own namespace only.
"""

from __future__ import annotations

import json

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
)

from cloud.engine.api.refusals import REFUSALS, as_rpc_error
from cloud.engine.api.workflows import Workflows
from cloud.engine.core.errors import Invalid
from cloud.engine.core.nexus_answers import Answer, Refused, Succeeded
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime.dynamic_config import SIGNAL_WITH_START_FROM_WORKFLOW
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_calling import OperationCall
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import (
    AlreadyExists,
    CallContext,
    Caller,
    CallerKind,
    Internal,
    ResourceExhausted,
    RpcError,
    Unavailable,
)

SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
OPERATION = "SignalWithStartWorkflowExecution"

_AGAIN = (Unavailable, ResourceExhausted, Internal)
_CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="workflow"))


class SystemOperations:
    """See the module's head."""

    def __init__(self, runtime: Runtime, workflows: Workflows) -> None:
        self._runtime = runtime
        self._workflows = workflows

    def check(self, namespace: Namespace, service: str, operation: str, given: Payload) -> None:
        """Check what a command asks for.

        Raises:
            Invalid: it can't be called so; with the real server's sentence.
        """
        if service != SERVICE:
            raise Invalid(f'service "{service}" not found')
        if operation != OPERATION:
            raise Invalid(f'operation "{operation}" not found')
        if not self._runtime.dynamic_config.on(SIGNAL_WITH_START_FROM_WORKFLOW):
            raise Invalid("SignalWithStart operation is disabled")
        request = _read(given)
        if request.namespace and request.namespace != namespace.name:
            raise Invalid(
                f'Namespace in request "{request.namespace}" does not match namespace in context "{namespace.name}"'
            )
        if request.request_id:
            raise Invalid("RequestID should not be set on the request")
        if request.links:
            raise Invalid("Links should not be set on the request")
        if not request.workflow_id:
            raise Invalid("WorkflowId is not set on request.")
        if not request.HasField("task_queue"):
            raise Invalid("taskQueue is not set")
        if not request.signal_name:
            raise Invalid("signal not set")
        if not request.workflow_type.name:
            raise Invalid("workflow type not set")
        try:
            self._workflows.check_signal_with_start(request, namespace)
        except _AGAIN:
            return  # it is not the request's fault: the call will tell
        except RpcError as error:
            raise Invalid(error.message) from None

    async def start(self, call: OperationCall) -> Answer:
        """Carry out an operation whose command was checked."""
        try:
            request = _read(call.input or Payload())
        except Invalid as error:  # an older release took the command
            return Refused(_failure("InvalidArgument", str(error)), retryable=False)
        request.namespace = call.namespace.name
        request.request_id = call.request_id
        request.links.extend(nexus_links.from_nexus([call.link]))
        try:
            try:
                response = await self._workflows.signal_with_start_workflow_execution(request, _CONTEXT)
            except REFUSALS as error:
                raise as_rpc_error(error) from error
        except RpcError as error:
            kind = type(error).__name__
            if isinstance(error, AlreadyExists):
                kind = "WorkflowExecutionAlreadyStarted"
            again = isinstance(error, _AGAIN)
            return Refused(_failure(kind, error.message, non_retryable=not again), retryable=again)
        response.ClearField("first_execution_run_id")
        return Succeeded(_write(response), [response.signal_link])


def _failure(kind: str, sentence: str, *, non_retryable: bool = True) -> Failure:
    failure = Failure(message=f"{kind}: {sentence}")
    failure.server_failure_info.non_retryable = non_retryable
    return failure


def _read(payload: Payload) -> SignalWithStartWorkflowExecutionRequest:
    """The request in an operation's input, in either of the two encodings of protos.

    Raises:
        Invalid: there is none.
    """
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    fault = "failed to decode input payload: payload item 0: "
    if not payload.metadata:
        raise Invalid(fault + "metadata is not set")
    try:
        if encoding in ("binary/protobuf", "json/protobuf"):
            kind = payload.metadata.get("messageType", b"").decode(errors="replace")
            wanted = SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.full_name
            if kind and kind != wanted:
                raise Invalid(f"{fault}unable to decode: it is a {kind}, not a {wanted}")
        if encoding == "binary/protobuf":
            return SignalWithStartWorkflowExecutionRequest.FromString(payload.data)
        if encoding in ("json/protobuf", "json/plain"):
            parsed = json.loads(payload.data)
            if not isinstance(parsed, dict):
                raise Invalid(f"{fault}unable to decode: it is no JSON object")
            return json_format.ParseDict(
                parsed, SignalWithStartWorkflowExecutionRequest(), ignore_unknown_fields=True
            )
    # ValueError: no JSON, no UTF-8, or an integer of more digits than Python reads.
    except (DecodeError, ValueError, json_format.ParseError, RecursionError) as error:
        raise Invalid(f"{fault}unable to decode: {error}") from None
    raise Invalid(f"{fault}unable to decode: unknown encoding {encoding!r}")


def _write(response: SignalWithStartWorkflowExecutionResponse) -> Payload:
    return Payload(
        metadata={
            "encoding": b"binary/protobuf",
            "messageType": response.DESCRIPTOR.full_name.encode(),
        },
        data=response.SerializeToString(),
    )
