"""Checks that many methods share, with the real server's sentences."""

from __future__ import annotations

import asyncio

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.enums.v1 import NamespaceState, TaskQueueKind
from temporalio.api.errordetails.v1 import NamespaceInvalidStateFailure
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from cloud.engine.core import priority as core_priority
from cloud.engine.core.clock import fit, to_ns
from cloud.engine.core.command_checks import RESERVED_QUEUE_PREFIX
from cloud.engine.core.errors import Invalid
from cloud.engine.core.limits import Limits
from cloud.engine.runtime.dynamic_config import WORKFLOW_TIME_SKIPPING
from cloud.engine.runtime.namespaces import DELETED, DEPRECATED, Namespace, NoSuchNamespace
from cloud.engine.runtime.polling import MIN_TASK_POLL_S
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument, Unimplemented

FAST_FORWARD_ID_LENGTH_MAX = 1_000
SUMMARY_BYTES_MAX = 400
DETAILS_BYTES_MAX = 20_000
SESSION_SKIPS_DEFAULT = 200
"""How often a workflow may skip time until its configuration is given anew (the real server's figure)."""

NAMESPACE_IS_EMPTY = "Namespace is empty."


def namespace_of(runtime: Runtime, name: str) -> Namespace:
    """The namespace that a request names.

    Raises:
        InvalidArgument: it names none.
        NoSuchNamespace: it is unknown.
        FailedPrecondition: it is being deleted.
    """
    if not name:
        raise InvalidArgument(NAMESPACE_IS_EMPTY)
    try:
        found = runtime.namespaces.by_name(name)
    except NoSuchNamespace:
        check_length(name, "Namespace", runtime.limits)
        raise
    if found.state == DELETED:
        raise FailedPrecondition(
            "Namespace has invalid state: Deleted. Must be Registered or Deprecated.",
            NamespaceInvalidStateFailure(
                namespace=name,
                state=NamespaceState.NAMESPACE_STATE_DELETED,
                allowed_states=[
                    NamespaceState.NAMESPACE_STATE_REGISTERED,
                    NamespaceState.NAMESPACE_STATE_DEPRECATED,
                ],
            ),
        )
    return found


def require(value: object, what: str) -> None:
    """Raise InvalidArgument "`what` is not set on request." unless `value` is set."""
    if not value:
        raise InvalidArgument(f"{what} is not set on request.")


def check_identity(identity: str, limits: Limits) -> None:
    """Raise InvalidArgument if a caller's or worker's name of itself is longer than it may be."""
    check_length(identity, "Identity", limits)


def check_length(value: str, what: str, limits: Limits) -> None:
    """Raise InvalidArgument if an id or a name is longer than it may be (in bytes)."""
    check_no_nul(value, what)
    if len(value.encode()) > limits.id_length:
        raise InvalidArgument(f"{what} length exceeds limit.")


def check_id_length(value: str, what: str, limits: Limits) -> None:
    """The same for the ids whose sentence tells both lengths."""
    check_no_nul(value, what)
    size = len(value.encode())
    if size > limits.id_length:
        raise InvalidArgument(f"{what} exceeds maximum allowed length ({size}/{limits.id_length})")


def check_id(value: str, what: str, limits: Limits) -> None:
    """The same for the ids of activities, whose sentence has yet another form."""
    check_no_nul(value, what)
    size = len(value.encode())
    if size > limits.id_length:
        raise InvalidArgument(f"{what} exceeds length limit. Length={size} Limit={limits.id_length}")


def check_execution(execution: WorkflowExecution) -> None:
    """Check the ids of a run that a request names; the run id may be left out."""
    if not execution.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    if execution.run_id and not is_uuid(execution.run_id):
        raise InvalidArgument("Invalid RunId.")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its usual form."""
    return len(text) == 36 and all(
        (character == "-") if index in (8, 13, 18, 23) else character in "0123456789abcdefABCDEF"
        for index, character in enumerate(text)
    )


def check_priority(priority: Priority) -> None:
    """Raise InvalidArgument for a priority that no task can have."""
    try:
        core_priority.check(priority)
    except Invalid as error:
        raise InvalidArgument(str(error)) from None


def check_blob(message: Message, what: str, limits: Limits) -> None:
    """Raise InvalidArgument if a payload is larger than it may be."""
    size = message.ByteSize()
    if size > limits.blob_size_error:
        raise InvalidArgument(
            f"Blob data size exceeds limit: {what} has {size} bytes, the limit is {limits.blob_size_error}. "
            "Offload large payloads to an object store."
        )


def check_no_nul(value: str, what: str) -> None:
    """Raise InvalidArgument for a NUL character: not every database can hold one."""
    if "\x00" in value:
        raise InvalidArgument(f"{what} contains a NUL character, which can't be stored.")


def check_poll_time(context: CallContext) -> None:
    """Raise FailedPrecondition for a poll whose caller will be gone before a task can reach it."""
    if context.deadline_s is None:
        return
    if context.deadline_s - asyncio.get_running_loop().time() < MIN_TASK_POLL_S:
        raise FailedPrecondition("Context timeout is too short.")


def check_memo(memo: Message, limits: Limits) -> None:
    """Raise InvalidArgument if a memo is larger than it may be."""
    if memo.ByteSize() > limits.memo_size_error:
        raise InvalidArgument("Memo size exceeds limit.")


def check_duration(value: Duration, what: str) -> None:
    """Cap a duration in place. Raise InvalidArgument if it is none."""
    try:
        fit(value)
    except Invalid as error:
        raise InvalidArgument(f"An invalid {what} is set on request. cause: {error}") from None


def check_task_queue(request: Message, limits: Limits) -> None:
    """Check the task queue that a request names."""
    if not request.HasField("task_queue"):
        raise InvalidArgument("taskQueue is not set")
    check_queue_name(request.task_queue.name, limits)  # type: ignore[attr-defined]


def check_queue_name(name: str, limits: Limits) -> None:
    """Check the name of a task queue."""
    if not name:
        raise InvalidArgument("missing task queue name")
    if len(name.encode()) > limits.id_length:
        raise InvalidArgument("taskQueue length exceeds limit")
    check_no_nul(name, "taskQueue")
    if name.startswith(RESERVED_QUEUE_PREFIX):
        raise InvalidArgument(f"task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}")


def check_polled_queue(request: Message, limits: Limits) -> None:
    """Check the task queue that a worker polls or that somebody looks at: only a sticky one belongs to another."""
    check_task_queue(request, limits)
    queue: TaskQueue = request.task_queue  # type: ignore[attr-defined]
    if queue.normal_name and queue.kind != TaskQueueKind.TASK_QUEUE_KIND_STICKY:
        raise InvalidArgument(
            f"only sticky queues can have normal name. tq: {queue.name}, normal name: {queue.normal_name[:100]}"
        )
    of_nexus = request.DESCRIPTOR.name == "PollNexusTaskQueueRequest"
    if queue.kind == TaskQueueKind.TASK_QUEUE_KIND_WORKER_COMMANDS and not of_nexus:
        kind = "Activity" if request.DESCRIPTOR.name == "PollActivityTaskQueueRequest" else "Workflow"
        raise InvalidArgument(
            f"worker-commands partitions must have nexus task type, got: {kind}. base name: {queue.name}"
        )


def check_time_skipping(
    runtime: Runtime,
    request: StartWorkflowExecutionRequest
    | SignalWithStartWorkflowExecutionRequest
    | WorkflowExecutionOptions,
) -> None:
    """Check the TimeSkippingConfig of a start or of changed options, and fill in what it leaves out.

    Raises:
        Unimplemented: there is one, and no workflow may skip time here.
        InvalidArgument: its fast-forward is none.
    """
    if not request.HasField("time_skipping_config"):
        return
    require_time_skipping(runtime)
    config = request.time_skipping_config
    if config.max_session_skip_count <= 0:
        config.max_session_skip_count = SESSION_SKIPS_DEFAULT
    if not config.HasField("fast_forward_config"):
        return
    wanted = config.fast_forward_config
    if to_ns(wanted.duration) <= 0:
        raise InvalidArgument("Time skipping config invalid: fast_forward duration must be positive")
    fit(wanted.duration)
    check_fast_forward_id(wanted.id)
    if not config.enabled:
        raise InvalidArgument("time_skipping_config: cannot set fast_forward when enabled is false")


def require_time_skipping(runtime: Runtime) -> None:
    """Raise Unimplemented unless workflows may skip time here."""
    if not runtime.dynamic_config.on(WORKFLOW_TIME_SKIPPING):
        raise Unimplemented("The Time-Skipping feature is not enabled for namespace.")


def check_fast_forward_id(fast_forward_id: str) -> None:
    """Raise InvalidArgument unless there is one, of a length that ids may have."""
    if not fast_forward_id.strip():
        raise InvalidArgument("Time skipping config invalid: fast_forward_id must be set")
    if len(fast_forward_id.encode()) > FAST_FORWARD_ID_LENGTH_MAX:
        raise InvalidArgument(f"fast_forward_id is longer than {FAST_FORWARD_ID_LENGTH_MAX} bytes")


def require_registered(namespace: Namespace) -> None:
    """Check that something may be started in a namespace.

    Raises:
        FailedPrecondition: it is deprecated.
    """
    if namespace.state == DEPRECATED:
        raise FailedPrecondition(
            "Namespace has invalid state: Deprecated. Must be Registered.",
            NamespaceInvalidStateFailure(
                namespace=namespace.name,
                state=NamespaceState.NAMESPACE_STATE_DEPRECATED,
                allowed_states=[NamespaceState.NAMESPACE_STATE_REGISTERED],
            ),
        )


def check_user_metadata(metadata: UserMetadata) -> None:
    """Check what people may say of a standalone execution.

    Raises:
        InvalidArgument: summary or details are too large.
    """
    for what, payload, most in (
        ("summary", metadata.summary, SUMMARY_BYTES_MAX),
        ("details", metadata.details, DETAILS_BYTES_MAX),
    ):
        if payload.ByteSize() > most:
            raise InvalidArgument(
                f"user_metadata.{what} exceeds size limit. Length={payload.ByteSize()} Limit={most}"
            )
